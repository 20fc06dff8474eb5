#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A shell in the guest, with the module loaded and a sample overlay mounted. What is written to /out stays in build/out.

source "$(dirname "$0")/lib.sh"

[[ -t 0 ]] || die "a shell needs a terminal"
"$top/scripts/packages.sh" build guest
kdir=$("$top/scripts/kdir.sh" bench)
rovl=$("$top/scripts/module.sh" "$kdir")
runner=$("$top/scripts/program.sh" rovl-guest)
mkdir -p "$top/build/out"
exec "$runner" --kernel "$kdir/arch/x86/boot/bzImage" --kvm "${KVM:-auto}" --module "$rovl" --module "$kdir/fs/overlayfs/overlay.ko" \
	--file "$top/qemu/sample:/bin/sample:755" --scratch disk:4G --out "$top/build/out" --log "$cache/log/shell.log" \
	--interactive -- /bin/sample
