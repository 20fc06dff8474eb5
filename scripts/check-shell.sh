#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Every shell script parses, and shellcheck finds nothing in it.

source "$(dirname "$0")/lib.sh"
cd "$top"

mapfile -t files < <(project_files '*' | while read -r file; do
	case $(head -c 64 "$file" | tr -d '\0' | head -n 1) in
	'#!'*sh) echo "$file" ;;
	esac
done)
status=0
for file in "${files[@]}"; do
	bash -n "$file" || status=1
done
if ! command -v shellcheck >/dev/null; then
	die "shellcheck is not installed: scripts/packages.sh host-dev installs it"
fi
# Each is read with the library that it sources. Single quotes around an expression are meant as such here: what is in them is
# for apt's, make's or the guest's eyes. SC1091 speaks of files that are only there in the guest.
shellcheck --exclude=SC2016,SC1091 --external-sources --source-path=SCRIPTDIR "${files[@]}" >&2 || status=1
exit "$status"
