#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Installs both modules for the running kernel, or takes them away. They go to updates/, which modprobe prefers: from then on
# `mount -t overlay` loads the drop-in in place of the kernel's own overlay.ko, and `mount -t rovl` loads rovl.ko beside it.
#   scripts/install.sh [--remove]
#   KDIR=             the running kernel's build folder (default: /lib/modules/$(uname -r)/build)
#   INSTALL_MOD_PATH= below this folder instead of /

source "$(dirname "$0")/lib.sh"

root=${INSTALL_MOD_PATH:-}
root=${root%/}
[[ -z $root ]] || root=$(realpath -m "$root")
PATH=$PATH:/usr/sbin:/sbin

# Root is only needed where the folder is root's.
folder=$root/
while [[ ! -d $folder ]]; do
	folder=$(dirname "$folder")
done
index() {
	command -v depmod >/dev/null || die "depmod is not installed: the package kmod brings it"
	"${as_root[@]}" depmod ${root:+-b "$root"} "$1"
}

if [[ ${1:-} == --remove ]]; then
	[[ -w $folder ]] || become_root "modules are to be removed from $folder"
	if [[ -n ${KDIR:-} ]]; then
		release=$(<"$KDIR/include/config/kernel.release")
	else
		release=$(uname -r)
	fi
	updates=$root/lib/modules/$release/updates
	removed=()
	for module in "$updates"/{rovl,overlay}.ko*; do
		# Somebody else's overlay.ko may stand there.
		[[ -f $module && $(modinfo -F description "$module") == *[Oo]verlay* && $(modinfo -F author "$module") == *rovl* ]] || continue
		"${as_root[@]}" rm "$module"
		removed+=("$(basename "$module")")
	done
	((${#removed[@]} == 0)) || index "$release"
	did uninstall "${removed[*]:-nothing of rovl was installed} ($updates)"
	exit 0
fi

running=$(uname -r)
kdir=${KDIR:-/lib/modules/$running/build}
[[ -d $kdir ]] || die "the running kernel $running has no build folder at $kdir: install its headers, or give KDIR="
"$top/scripts/packages.sh" build
"$top/scripts/preflight.sh" "$kdir"
release=$(<"$kdir/include/config/kernel.release")
if [[ -z $root && $release != "$running" ]]; then
	die "KDIR=$kdir is kernel $release, but $running is running: give KDIR= of the running kernel, or INSTALL_MOD_PATH= of another system's root"
fi
rovl=$("$top/scripts/module.sh" "$kdir")
dropin=$("$top/scripts/module.sh" --dropin "$kdir")
tools_for "$kdir"
[[ -w $folder ]] || become_root "modules are to be installed in $folder"
for module in "$rovl" "$dropin"; do
	"$top/scripts/preflight.sh" "$kdir" "$module"
	flavour=$(basename "$module" .ko)
	# Kbuild's own installation signs and compresses as the kernel's configuration says.
	kbuild "$kdir" "$(dirname "$module")" "$flavour" ${root:+"INSTALL_MOD_PATH=$root"} INSTALL_MOD_DIR=updates \
		DEPMOD=true modules_install ||
		die "$flavour.ko could not be installed; the reason is above"
done
index "$release"
did install "rovl.ko and overlay.ko in $root/lib/modules/$release/updates"
if [[ -z $root ]] && grep -q '^overlay ' /proc/modules; then
	say "install: the kernel's own overlay is loaded; the drop-in takes its place when that is unloaded, or at the next boot"
fi
