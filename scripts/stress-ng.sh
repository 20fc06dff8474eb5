#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Unpacks the distribution's stress-ng and the libraries that it needs into a folder of the cache, to be a root in the guest, and
# prints it. Nothing is installed.

source "$(dirname "$0")/lib.sh"

# What a package depends on, as far as it may be a library. The drivers of graphics cards are only loaded by name, and large.
libraries_of() {
	apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$1" 2>/dev/null |
		sed -n -E 's/^ *\|?(Pre)?Depends: ((lib|zlib)[^ ]*)$/\2/p' | grep -v -E 'mesa|^libc6$'
}

closure() {
	local -A known=()
	local next=(stress-ng libc6) package
	while ((${#next[@]} > 0)); do
		package=${next[0]}
		next=("${next[@]:1}")
		[[ -z ${known[$package]:-} ]] || continue
		known[$package]=1
		mapfile -t -O "${#next[@]}" next < <(libraries_of "$package")
	done
	printf '%s\n' "${!known[@]}" | sort
}

version=$(apt-cache policy stress-ng | sed -n 's/^ *Candidate: //p')
[[ -n $version && $version != '(none)' ]] || die "the distribution has no package stress-ng"
mapfile -t packages < <(closure)
id=$(echo "2 $version ${packages[*]}" | key)
out=$cache/stress-ng/$version-$id
if [[ ! -d $out ]]; then
	lock stress-ng
fi
if [[ ! -d $out ]]; then
	rm -rf "$out.part"
	mkdir -p "$out.part/debs" "$out.part/tree"/{dev,proc,sys,tmp,mnt}
	log=$cache/log/stress-ng.log
	(cd "$out.part/debs" && long stress-ng "$log" apt-get download "${packages[@]}") ||
		die "the packages of stress-ng could not be fetched; the reason is above"
	for package in "$out.part/debs"/*.deb; do
		dpkg-deb --fsys-tarfile "$package" |
			tar --extract --directory "$out.part/tree" --no-same-owner --exclude='./usr/share' --exclude='./usr/bin/[a-rt-z]*'
	done
	ldd=$("$out.part/tree/lib64/ld-linux-x86-64.so.2" --inhibit-cache --library-path \
		"$out.part/tree/lib/x86_64-linux-gnu:$out.part/tree/usr/lib/x86_64-linux-gnu" --list "$out.part/tree/usr/bin/stress-ng") || true
	! grep -q 'not found' <<<"$ldd" || die "stress-ng lacks libraries: $(grep 'not found' <<<"$ldd")"
	rm -rf "$out.part/debs"
	sync -f "$out.part"
	mv -T "$out.part" "$out"
	did stress-ng "$version, unpacked with ${#packages[@]} packages"
else
	in_place stress-ng "$version, unpacked before"
fi
used "$out"
echo "$out/tree"
