#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Every file names its licence in its first lines.

source "$(dirname "$0")/lib.sh"
cd "$top"

# The text of the licence itself, and what programs write.
mapfile -t files < <(project_files '*' | grep -v -E '(^|/)(COPYING|Cargo\.lock|(proptest-)?regressions/.*)$')
bad=$(for file in "${files[@]}"; do
	head -n 3 "$file" | grep 'SPDX-License-Identifier: GPL-2.0-only' >/dev/null || echo "$file"
done)
if [[ -n $bad ]]; then
	say "files without 'SPDX-License-Identifier: GPL-2.0-only' in their first three lines:"
	say "$bad"
	exit 1
fi
