#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds the module against a kernel tree and prints the path of the .ko.
#   scripts/module.sh [--dropin] [--as NAME] KDIR [MAKE-ARGUMENT..]
# --dropin builds overlay.ko, which takes the place of the kernel's own, from the same source. Each kernel and flavour has an
# object folder of its own below build/, and --as makes another one, for a build with other arguments.

source "$(dirname "$0")/lib.sh"

flavour=rovl
variant=
while [[ ${1:-} == --* ]]; do
	case $1 in
	--dropin) flavour=overlay ;;
	--as)
		variant=-$2
		shift
		;;
	*) die "module.sh: unknown option $1" ;;
	esac
	shift
done
[[ -n ${1:-} ]] || die "module.sh: which kernel tree?"
kdir=$1
shift

"$top/scripts/preflight.sh" "$kdir"
kdir=$(realpath "$kdir")
tools_for "$kdir"
[[ $kdir != "$cache"/kernel/* ]] || used "$kdir"
release=$(<"$kdir/include/config/kernel.release")
objects=$top/build/$flavour$variant-$(echo "$kdir $release" | key)
mkdir -p "$objects"
lock "module-$(echo "$objects" | key)"
# People look for a folder by its kernel, not by a hash.
echo "$release $kdir" >"$objects/.kernel"

kbuild "$kdir" "$objects" "$flavour" "$@" modules ||
	die "$flavour.ko could not be built for $release; the compiler's reasons are above"
did "module" "$flavour.ko${variant:+ (${variant#-})} for $release"
echo "$objects/$flavour.ko"
