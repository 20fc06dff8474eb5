#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs every check, each a script of its own, and says at the end which did not pass. Those that need no kernel come first.
#   scripts/check.sh [NAME..]     only these, as check-NAME.sh

source "$(dirname "$0")/lib.sh"

if (($# == 0)); then
	set -- license length unsafe imports panics shell format model clippy build c
fi
"$top/scripts/packages.sh" build host-dev
failed=()
for name; do
	[[ -x $top/scripts/check-$name.sh ]] || die "there is no check named $name"
	begun=$SECONDS
	if "$top/scripts/check-$name.sh"; then
		printf '%-14s passed (%s)\n' "check $name" "$(duration $((SECONDS - begun)))" >&2
	else
		printf '%-14s FAILED (%s)\n' "check $name" "$(duration $((SECONDS - begun)))" >&2
		failed+=("$name")
	fi
done
((${#failed[@]} == 0)) || die "checks that failed: ${failed[*]}"
