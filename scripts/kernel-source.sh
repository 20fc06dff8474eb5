#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Finds or fetches the kernel's source and prints its folder.
# In order: KERNEL_TARBALL= (with KERNEL_SHA256= to verify it by), the cache, kernel.org (verified by its signed list of
# checksums), and the distribution's package (verified by apt).

source "$(dirname "$0")/lib.sh"

line=7.3
package=linux-source-$line
suite=trixie-backports
store=$cache/source

# The key that signs kernel.org's lists of checksums, "Kernel.org checksum autosigner".
autosigner=B8868C80BA62A1FFFAF5FDA9632D3A06589DA6B1
site=https://cdn.kernel.org/pub/linux/kernel/v${line%%.*}.x

version_of() {
	make -s -C "$1" --no-print-directory kernelversion 2>/dev/null
}

# unpack TARBALL NAME ORIGIN: into the cache under that name, with the version checked.
unpack() {
	local tarball=$1 name=$2 origin=$3 version part=$store/unpack.part
	rm -rf "$part"
	mkdir -p "$part"
	long kernel-source "$cache/log/kernel-source.log" tar --extract --file "$tarball" --directory "$part" --strip-components=1 --no-same-owner ||
		die "$tarball could not be unpacked: it is damaged, or the disk is full"
	version=$(version_of "$part") || die "$tarball holds no kernel source"
	[[ $version == "$line" || $version == "$line".* || $version == "$line"-* ]] || die "$tarball holds kernel $version; this project is for the $line line"
	rm -rf "${store:?}/$name"
	echo "$version from $origin" >"$part/.rovl-origin"
	mv "$part" "$store/$name"
	did kernel-source "$version, from $origin"
	echo "$store/$name"
}

from_tarball() {
	local sum
	[[ -f $KERNEL_TARBALL ]] || die "KERNEL_TARBALL=$KERNEL_TARBALL is no file"
	sum=$(sha256sum "$KERNEL_TARBALL" | cut -d' ' -f1)
	if [[ -n ${KERNEL_SHA256:-} && $sum != "$KERNEL_SHA256" ]]; then
		die "$KERNEL_TARBALL has the checksum $sum, not KERNEL_SHA256=$KERNEL_SHA256"
	fi
	local name=tarball-${sum:0:16}
	if [[ -d $store/$name ]]; then
		used "$store/$name"
		in_place kernel-source "$(<"$store/$name/.rovl-origin"), in the cache"
		echo "$store/$name"
		return
	fi
	[[ -n ${KERNEL_SHA256:-} ]] || say "kernel-source: KERNEL_SHA256 is not set, so $KERNEL_TARBALL (sha256 $sum) is taken as it is"
	unpack "$KERNEL_TARBALL" "$name" "the tarball $(basename "$KERNEL_TARBALL")"
}

# The newest source of the line that an earlier run has unpacked from either public origin.
from_cache() {
	local folder
	folder=$(find "$store" -mindepth 1 -maxdepth 1 -type d \( -name 'kernel.org-*' -o -name 'package-*' \) | sort -V | tail -n 1)
	[[ -n $folder ]] || return 1
	used "$folder"
	in_place kernel-source "$(<"$folder/.rovl-origin"), in the cache"
	echo "$folder"
}

# Fails, with one line that says why, where kernel.org cannot be reached or its signature cannot be checked.
from_kernel_org() {
	local work=$store/kernel.org.part sums name sum
	rm -rf "$work"
	mkdir -p "$work"
	mkdir -m 700 "$work/gpg"
	if ! fetch "$site/sha256sums.asc" "$work/sums.asc" 2>"$work/error"; then
		say "kernel-source: kernel.org is out of reach ($(tail -n 1 "$work/error")); trying the distribution"
		return 1
	fi
	if ! command -v gpg >/dev/null; then
		say "kernel-source: gpg is not installed, so a download from kernel.org could not be verified; trying the distribution"
		return 1
	fi
	if ! timeout 60 gpg --homedir "$work/gpg" --batch --quiet --auto-key-locate clear,wkd --locate-external-keys autosigner@kernel.org >"$work/error" 2>&1 ||
		! gpg --homedir "$work/gpg" --batch --status-fd 1 --output "$work/sums" --decrypt "$work/sums.asc" 2>"$work/error" |
		grep "^\[GNUPG:\] VALIDSIG .*\b$autosigner\b" >/dev/null; then
		say "kernel-source: the signature of kernel.org's checksums could not be verified ($(tail -n 1 "$work/error")); trying the distribution"
		return 1
	fi
	sums=$(sed -n -E "s/^([0-9a-f]{64}) [ *](linux-${line//./\\.}(\.[0-9]+)?\.tar\.xz)$/\1 \2/p" "$work/sums" | sort -V -k 2 | tail -n 1)
	if [[ -z $sums ]]; then
		say "kernel-source: kernel.org lists no release of the $line line; trying the distribution"
		return 1
	fi
	read -r sum name <<<"$sums"
	say "kernel-source: fetching $name from kernel.org"
	if ! fetch "$site/$name" "$work/$name"; then
		say "kernel-source: $name could not be fetched; trying the distribution"
		return 1
	fi
	if [[ $(sha256sum "$work/$name" | cut -d' ' -f1) != "$sum" ]]; then
		say "kernel-source: $name is not what kernel.org's signed list of checksums says; trying the distribution"
		return 1
	fi
	name=${name#linux-}
	unpack "$work/linux-$name" "kernel.org-${name%.tar.xz}" "kernel.org"
	rm -rf "$work"
}

from_distribution() {
	local work=$store/package.part version tarball status=0
	rm -rf "$work"
	mkdir -p "$work"
	version=$("$top/scripts/apt-private.sh" --versions "$suite" "$package" | sed -n 1p)
	[[ -n $version ]] || die "$suite has no package $package; give the kernel's source by KERNEL_TARBALL=, or a built tree by KDIR="
	"$top/scripts/apt-private.sh" "$suite" "$work" "$package=$version" || status=$?
	((status == 0)) || die "the package $package could not be fetched; the reason is above"
	long kernel-source "$cache/log/kernel-source.log" dpkg-deb -x "$work/${package}_"*.deb "$work" ||
		die "the package $package could not be unpacked"
	rm "$work"/*.deb
	tarball=$work/usr/src/$package.tar.xz
	unpack "$tarball" "package-${version//[^A-Za-z0-9.-]/-}" "package $package $version of $suite"
	rm -rf "$work"
}

mkdir -p "$store"
if [[ -n ${KERNEL_TARBALL:-} ]]; then
	lock kernel-source
	from_tarball
	exit 0
fi
from_cache && exit 0
lock kernel-source
from_cache || from_kernel_org || from_distribution
