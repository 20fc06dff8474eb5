#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Finds the sources of Rust's own library, from which a kernel builds its `core`, and prints the library folder.
#   scripts/rust-src.sh [FOLDER]    for the rustc in that folder; else for the one of rust.sh
# In order: the toolchain's own, the cache, rustup's component, and the package rust-src of a Debian suite that has the very
# version of the compiler: the library and its compiler only fit each other.

source "$(dirname "$0")/lib.sh"

bin=${1:-$("$top/scripts/rust.sh")}
version=$("$bin/rustc" -V | cut -d' ' -f2)
sysroot=$("$bin/rustc" --print sysroot)

found() {
	echo "$1"
	exit 0
}

own() {
	local library
	for library in "$sysroot/lib/rustlib/src/rust/library" "$sysroot/src/rustc-$version/library" "$bin/../usr/src/rustc-$version/library"; do
		if [[ -f $library/core/src/lib.rs ]]; then
			realpath "$library"
			return
		fi
	done
}

library=$(own)
if [[ -n $library ]]; then
	in_place rust-src "$version, the toolchain's own"
	found "$library"
fi

home=$cache/rust/src-$version
if [[ ! -d $home ]]; then
	lock rust-src
fi
if [[ -d $home ]]; then
	in_place rust-src "$version, in the cache"
	found "$home/library"
fi

# The name of the toolchain, where rustup manages it.
toolchain=$(basename "$sysroot")
if command -v rustup >/dev/null && [[ $sysroot == */toolchains/* ]]; then
	if RUSTUP_MAX_RETRIES=0 timeout 300 rustup -q component add rust-src --toolchain "$toolchain" >"$cache/log/rust-src.log" 2>&1; then
		library=$(own)
		if [[ -n $library ]]; then
			did rust-src "$version, added by rustup"
			found "$library"
		fi
	fi
	say "rust-src: rustup cannot add it here ($(grep -v '^ *$' "$cache/log/rust-src.log" | tail -n 1)); looking for the distribution's package"
fi

# The suite with the longest overlap of compilers comes first; unstable ones last.
for suite in trixie-backports trixie testing sid; do
	package=$("$top/scripts/apt-private.sh" --versions "$suite" rust-src | grep -E "^${version//./\\.}[+~-]" | sed -n 1p || true)
	[[ -n $package ]] || continue
	rm -rf "$home.part"
	mkdir -p "$home.part/unpacked" "$cache/rust"
	"$top/scripts/apt-private.sh" "$suite" "$home.part" "rust-src=$package" || continue
	dpkg-deb -x "$home.part"/rust-src_*.deb "$home.part/unpacked"
	mv "$home.part/unpacked/usr/src/rustc-$version/library" "$home.part/library"
	rm -r "$home.part/unpacked" "$home.part"/*.deb
	[[ -f $home.part/library/core/src/lib.rs ]] || die "the package rust-src $package of $suite holds no library/core"
	mv "$home.part" "$home"
	did rust-src "$version, from package rust-src $package of $suite"
	found "$home/library"
done
die "no rust-src $version was found: add it with 'rustup component add rust-src --toolchain $toolchain' where the network allows, or use the distribution's rustc with its rust-src"
