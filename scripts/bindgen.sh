#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Prints the path of a bindgen that the kernel accepts: the installed one where it is new enough, else one built by cargo
# in the cache, at a pinned version.

source "$(dirname "$0")/lib.sh"

least=0.71.1
pinned=0.72.1

while read -r program; do
	if version_ge "$("$program" --version 2>/dev/null | cut -d' ' -f2)" "$least"; then
		in_place bindgen "$("$program" --version | cut -d' ' -f2), installed"
		echo "$program"
		exit 0
	fi
done < <(type -ap bindgen)

home=$cache/bindgen/$pinned
if [[ ! -x $home/bin/bindgen ]]; then
	lock bindgen
fi
if [[ -x $home/bin/bindgen ]]; then
	in_place bindgen "$pinned, in the cache"
	echo "$home/bin/bindgen"
	exit 0
fi

bin=$("$top/scripts/rust.sh")
rm -rf "$home.part"
mkdir -p "$home.part"
# Its own target folder, removed at the end: nothing of this build is wanted but the program.
PATH=$bin:$PATH CARGO_TARGET_DIR=$home.part/target long bindgen "$cache/log/bindgen.log" \
	cargo install bindgen-cli --version "$pinned" --locked --no-track --root "$home.part" ||
	die "bindgen $pinned could not be built; an installed bindgen of $least or later would do as well"
rm -rf "$home.part/target"
"$home.part/bin/bindgen" --version >/dev/null
mv "$home.part" "$home"
did bindgen "$pinned, built by cargo"
echo "$home/bin/bindgen"
