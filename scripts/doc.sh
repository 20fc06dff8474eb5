#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Makes the module's documentation by rustdoc, private items included and with the kernel crate linked, and prints its first page.
#
# rustdoc has to see what rustc sees. So Kbuild builds the module once more in a folder of its own, with this script in the
# place of clippy's driver: called as --driver, it gets rustc's arguments, gives them to rustdoc and then to rustc itself.

if [[ ${1:-} == --driver ]]; then
	set -euo pipefail
	shift
	# Where rustc shall write, and what, is none of rustdoc's affair.
	arguments=()
	skip=
	for argument; do
		if [[ -n $skip ]]; then
			skip=
			continue
		fi
		case $argument in
		--out-dir) skip=1 ;;
		--emit=* | --remap-path-scope=*) ;;
		*) arguments+=("$argument") ;;
		esac
	done
	rustdoc "${arguments[@]}" --crate-name rovl --document-private-items --output "$ROVL_DOC" \
		-Zunstable-options --generate-link-to-definition --extern-html-root-url=kernel=https://rust.docs.kernel.org/
	exec rustc "$@"
fi

source "$(dirname "$0")/lib.sh"

kdir=$("$top/scripts/kdir.sh" bench)
rust=$("$top/scripts/rust.sh" --for "$kdir")
[[ -x $rust/rustdoc ]] || die "$rust has no rustdoc: the toolchain's component or package for it is missing"

new=$top/build/doc.new
rm -rf "$new"
mkdir -p "$new"
# The object folder of the last time would tell Kbuild that there is nothing to do.
rm -rf "$top"/build/rovl-doc-*
ROVL_DOC=$new "$top/scripts/module.sh" --as doc "$kdir" CLIPPY=1 "CLIPPY_DRIVER=$top/scripts/doc.sh --driver" >/dev/null

# Links of the form srctree/FILE go to the source that the kernel was built from, as in the kernel's own documentation.
source_folder=$kdir
[[ ! -d $kdir/source ]] || source_folder=$(realpath "$kdir/source")
grep -rlZ 'href="srctree/' "$new" | xargs -0 -r sed -i "s|href=\"srctree/|href=\"file://$source_folder/|g"

rm -rf "$top/build/doc"
mv "$new" "$top/build/doc"
did doc "build/doc/rovl/index.html"
echo "$top/build/doc/rovl/index.html"
