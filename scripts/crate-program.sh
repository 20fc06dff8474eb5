#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds a test program of others from the Rust package registry, static, so that it runs in the guest, and prints its path.
#   scripts/crate-program.sh pjdfstest|fsx
# Its version is fixed here, those of what it depends on by its own lock file.

source "$(dirname "$0")/lib.sh"

# Both build with the oldest compiler that the workspace takes.
declare -A versions=([pjdfstest]=0.2.2 [fsx]=0.3.2)
name=${1:-}
[[ -n $name && -n ${versions[$name]:-} ]] || die "crate-program.sh: which program, ${!versions[*]}?"
version=${versions[$name]}

rust=$("$top/scripts/rust.sh")
export PATH=$rust:$PATH
export RUSTFLAGS="-C target-feature=+crt-static"
triple=$(rustc -vV | sed -n 's/^host: //p')
id=$({
	echo "$name $version $RUSTFLAGS"
	rustc -vV
} | key)
out=$cache/crates/$name-$version-$id
if [[ ! -x $out/bin/$name ]]; then
	lock "$name"
fi
if [[ ! -x $out/bin/$name ]]; then
	rm -rf "$out.part"
	mkdir -p "$out.part"
	CARGO_TARGET_DIR=$out.part/target long "$name" "$cache/log/$name-build.log" \
		cargo install "$name" --version "=$version" --locked --no-track --target "$triple" --root "$out.part" ||
		die "$name $version could not be built; the reason is above"
	rm -rf "$out.part/target"
	sync -f "$out.part"
	mv -T "$out.part" "$out"
	did "$name" "$version, built by cargo"
else
	in_place "$name" "$version, built before"
fi
used "$out"
echo "$out/bin/$name"
