#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds the kernel's own selftests for overlayfs, static, and prints the folder that holds them. They come from the kernel's
# source as it is; only the name of the filesystem type is another one.
#   scripts/kselftests.sh TYPE

source "$(dirname "$0")/lib.sh"

fs=${1:-}
[[ -n $fs ]] || die "kselftests.sh: which filesystem type?"

from=$("$top/scripts/kernel-source.sh")/tools/testing/selftests
llvm=$(llvm_argument)
clang=$(llvm_program "$llvm" clang)
folder=filesystems/overlayfs
recipe=1
id=$({
	echo "$recipe $fs"
	"$clang" --version | sed -n 1p
	(cd "$from" && cat "$folder"/*.[ch] filesystems/{utils,wrappers}.* pidfd/pidfd.h kselftest*.h)
} | key)
out=$cache/kselftests/$fs-$id
if [[ ! -d $out ]]; then
	lock "kselftests-$fs"
fi
if [[ -d $out ]]; then
	in_place kselftests "for $fs, built before"
	used "$out"
	echo "$out"
	exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$cache/log/kselftests.log

# Its header and its static library are all that is wanted of this package, so it is not installed.
mkdir "$work/libcap"
(cd "$work/libcap" && long kselftests "$log" apt-get download libcap-dev && dpkg-deb -x libcap-dev_*.deb .) ||
	die "the package libcap-dev could not be fetched; the reason is above"
library=$(find "$work/libcap" -name libcap.a)

# They include headers of their neighbours.
mkdir "$work/selftests"
ln -s "$from"/* "$work/selftests/"
rm "$work/selftests/filesystems"
mkdir "$work/selftests/filesystems"
cp -r "$from/filesystems"/{utils.c,utils.h,wrappers.h,overlayfs} "$work/selftests/filesystems/"
sed -i "s/\"overlay\"/\"$fs\"/g" "$work/selftests/$folder"/*.c

build() {
	local name names more
	mkdir "$work/out"
	mapfile -t names < <(sed -n 's/^TEST_GEN_PROGS *[+:]= *//p' Makefile)
	for name in "${names[@]}"; do
		more=()
		! grep -q "/$name: ../utils.c" Makefile || more=(../utils.c)
		"$clang" -static -O2 -w -D_GNU_SOURCE= -isystem "$work/libcap/usr/include" -I "$work/selftests" \
			-o "$work/out/$name" "$name.c" "${more[@]}" "$library" || return
	done
}
cd "$work/selftests/$folder"
long kselftests "$log" build || die "the kernel's selftests could not be built; the reason is above"
mkdir -p "$cache/kselftests"
rm -rf "$out.part"
cp -r "$work/out" "$out.part"
sync -f "$out.part"
mv -T "$out.part" "$out"
did kselftests "for $fs: $(find "$out" -type f -printf '%f ')"
echo "$out"
