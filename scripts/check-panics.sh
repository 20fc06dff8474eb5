#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The module has no panic path that can be seen: no unwrap, expect, assert or panic outside its host tests.
# What is checked while compiling, `const { assert!(..) }` and `static_assert!`, is welcome.

source "$(dirname "$0")/lib.sh"
cd "$top"

status=0
while read -r file; do
	found=$(code_of "$file" |
		grep -n -E '\.(unwrap|expect|unwrap_unchecked)\(|(^|[^a-z_])(panic|todo|unimplemented|unreachable|assert|assert_eq|assert_ne)!' |
		grep -v -E '\bconst\b' || true)
	if [[ -n $found ]]; then
		say "$file: possible panics:"
		say "$found"
		status=1
	fi
done < <(project_files 'src/*.rs')
exit "$status"
