#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Finds the Rust toolchain and prints the folder that holds its rustc and cargo, to be put first in PATH.
#   scripts/rust.sh              the one to build with
#   scripts/rust.sh --all        every one that would do, best first, one a line
#   scripts/rust.sh --for KDIR   the one that built the kernel in KDIR
# In order: the toolchain that rust-toolchain.toml names, others of rustup, the distribution's, and on Debian 12 the packages
# made for its browser, unpacked in the cache (installed, they would conflict with a packaged rustup).

source "$(dirname "$0")/lib.sh"

# The kernel and this project both need this one.
least=1.85.0

usable() {
	local version
	version=$("$1/rustc" -V 2>/dev/null | cut -d' ' -f2) || return 1
	[[ $version == *.*.* && $version != *-nightly* && $version != *-beta* && $version != *-dev* ]] && version_ge "$version" "$least" &&
		[[ -x $1/cargo ]]
}

# The folder itself instead of rustup's proxies: what they start depends on the current folder, and kernels are built elsewhere.
rustup_folder() {
	local rustc
	rustc=$(RUSTUP_AUTO_INSTALL=0 rustup which --toolchain "$1" rustc 2>/dev/null) && realpath "${rustc%/*}"
}

from_rustup() {
	command -v rustup >/dev/null || return 0
	local named
	named=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$top/rust-toolchain.toml")
	if ! rustup_folder "$named"; then
		if [[ ${RUSTUP_AUTO_INSTALL:-1} != 0 ]]; then
			say "rust: rustup lacks toolchain $named: adding it"
			RUSTUP_MAX_RETRIES=0 timeout 900 rustup -q toolchain install "$named" --profile minimal --component rustfmt,clippy >&2 &&
				rustup_folder "$named"
		fi
	fi
	local name
	rustup toolchain list 2>/dev/null | awk '{print $1}' | while read -r name; do
		[[ $name == "$named"* ]] || rustup_folder "$name" || true
	done
}

from_path() {
	local rustc
	while read -r rustc; do
		[[ $(basename "$(realpath "$rustc")") == rustup* ]] || realpath "${rustc%/*}"
	done < <(type -ap rustc)
}

# rustc-web and its companions, as Debian 12 keeps them up to date for browsers.
from_web_packages() {
	command -v apt-get >/dev/null || return 0
	local version home
	version=$(apt-cache policy rustc-web 2>/dev/null | sed -n 's/^ *Candidate: //p')
	[[ -n $version && $version != '(none)' ]] || return 0
	home=$cache/rust/web-$version
	if [[ ! -d $home ]]; then
		lock "rust-web"
	fi
	if [[ ! -d $home ]]; then
		say "rust: no toolchain of $least or later is installed; unpacking the distribution's rustc-web $version in the cache"
		rm -rf "$home.part"
		mkdir -p "$home.part/debs" "$home.part/bin"
		local upstream=${version%%[+-]*} package
		(
			cd "$home.part/debs"
			long rust "$cache/log/rust-web.log" apt-get -q download \
				{rustc-web,libstd-rust-web-dev,"libstd-rust-web-${upstream%.*}",rust-web-src,cargo-web,rustfmt-web,rust-web-clippy}="$version"
		) || return 0
		for package in "$home.part"/debs/*.deb; do
			dpkg-deb -x "$package" "$home.part" || return 0
		done
		rm -r "$home.part/debs"
		# The programs look for their libraries where the package would have installed them.
		local program
		for program in rustc rustdoc cargo rustfmt cargo-fmt cargo-clippy clippy-driver; do
			[[ -x $home.part/usr/bin/$program ]] || continue
			cat >"$home.part/bin/$program" <<-END
				#!/bin/sh
				LD_LIBRARY_PATH=$home/usr/lib:$home/usr/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH} exec $home/usr/bin/$program "\$@"
			END
			chmod +x "$home.part/bin/$program"
		done
		mv "$home.part" "$home"
		did rust "$version, from rustc-web, unpacked in the cache"
	fi
	echo "$home/bin"
}

# The costly source comes last, and is only asked when the others have nothing: unlike rustup's toolchains, an unpacked one
# is never wanted for its own sake.
candidates() {
	local installed
	# Several names may lead to one folder.
	installed=$({ from_rustup; from_path; } | awk '!seen[$0]++')
	{
		if [[ -n $installed ]]; then
			printf '%s\n' "$installed"
		else
			from_web_packages
		fi
	} | while read -r folder; do
		usable "$folder" && echo "$folder"
	done || true
}

case ${1:-} in
'')
	while read -r folder; do
		echo "$folder"
		exit 0
	done < <(candidates)
	die "no rustc of $least or later was found; install rustup with the toolchain of rust-toolchain.toml, or the distribution's rustc and cargo"
	;;
--all) candidates ;;
--for)
	kdir=$2
	text=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"/\1/p' "$kdir/.config" 2>/dev/null || true)
	while read -r folder; do
		if [[ $("$folder/rustc" --version) == "$text" ]]; then
			echo "$folder"
			exit 0
		fi
	done < <(candidates)
	die "$kdir was built by '$text', which is not installed here; install that toolchain, or build the kernel again with $(rustc --version 2>/dev/null || echo "the one you have")"
	;;
*) die "rust.sh: unknown argument '$1'" ;;
esac
