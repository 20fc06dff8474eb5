#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Writes rust-project.json for the module. (The programs in tests/ and qemu/ are a cargo workspace, which editors find themselves.)

source "$(dirname "$0")/lib.sh"

kdir=$("$top/scripts/kdir.sh" bench)
# The generated bindings are among the files that an editor wants to read.
module=$("$top/scripts/module.sh" "$kdir")
objects=$(dirname "$module")
tools_for "$kdir"
library=$("$top/scripts/rust-src.sh" "$rust")
kbuild "$kdir" "$objects" rovl "RUST_LIB_SRC=$library" rust-analyzer
for file in "$objects/rust-project.json" "$top/rust-project.json"; do
	if [[ -f $file ]]; then
		[[ $file -ef $top/rust-project.json ]] || mv "$file" "$top/rust-project.json"
		did rust-analyzer rust-project.json
		exit 0
	fi
done
die "the kernel's make wrote no rust-project.json"
