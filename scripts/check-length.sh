#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# No source file is longer than 600 lines: one that is holds two concepts.

source "$(dirname "$0")/lib.sh"
cd "$top"

bad=$(project_files '*.rs' '*.c' '*.h' '*.sh' | xargs -r -d '\n' wc -l | awk '$2 != "total" && $1 > 600')
if [[ -n $bad ]]; then
	say "files over 600 lines:"
	say "$bad"
	exit 1
fi
