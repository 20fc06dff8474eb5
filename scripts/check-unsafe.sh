#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The wall around unsafe code: it lives in src/vfs and src/bindings.rs. Every other file of the module forbids it, and none
# names the raw bindings. src/rovl_main.rs cannot forbid it, for there the attribute would cover the whole crate.

source "$(dirname "$0")/lib.sh"
cd "$top"

mapfile -t outside < <(project_files 'src/*.rs' | grep -v -E '^src/(vfs(/|\.rs$)|bindings\.rs$)')
((${#outside[@]} > 0)) || exit 0
status=0

for file in "${outside[@]}"; do
	[[ $file != src/rovl_main.rs ]] || continue
	if ! grep -q '^#!\[forbid(unsafe_code)\]$' "$file"; then
		say "$file: lacks #![forbid(unsafe_code)]"
		status=1
	fi
done

# Comments may speak of both.
for file in "${outside[@]}"; do
	found=$(code_of "$file" | grep -n -w -E 'unsafe|bindings' || true)
	if [[ $file == src/rovl_main.rs ]]; then
		found=$(grep -v -E '^[0-9]+:mod bindings;$' <<<"$found" || true)
	fi
	if [[ -n $found ]]; then
		say "$file: unsafe code and raw bindings belong in src/vfs:"
		say "$found"
		status=1
	fi
done
exit "$status"
