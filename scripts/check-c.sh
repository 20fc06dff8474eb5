#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The kernel's checkpatch has no word to say on the C files.

source "$(dirname "$0")/lib.sh"
cd "$top"

mapfile -t files < <(project_files 'src/*.c' 'src/*.h')
((${#files[@]} > 0)) || exit 0
kdir=$("$top/scripts/kdir.sh" test)
for checkpatch in "$kdir/source/scripts/checkpatch.pl" "$kdir/scripts/checkpatch.pl"; do
	[[ ! -f $checkpatch ]] || break
done
[[ -f $checkpatch ]] || die "$kdir comes without scripts/checkpatch.pl: give KDIR= of a kernel built from its source"
# MAINTAINERS and the tree's other files are not here, hence --no-tree.
perl "$checkpatch" --no-tree --no-summary --terse --strict --show-types --file "${files[@]}" >&2
