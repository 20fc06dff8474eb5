#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Prints the kernel tree to work with: KDIR= where it is given, and nothing is fetched; else the kernel that KERNEL= names,
# built when it is not yet.
#   scripts/kdir.sh [test|bench]      the kernel where neither is given (default: bench)

source "$(dirname "$0")/lib.sh"

"$top/scripts/packages.sh" build
if [[ -n ${KDIR:-} ]]; then
	[[ -d $KDIR ]] || die "KDIR=$KDIR is no folder: give the build folder of a 7.3 kernel, or leave KDIR out to have one built"
	realpath "$KDIR"
else
	"$top/scripts/kernel-build.sh" "${KERNEL:-${1:-bench}}"
fi
