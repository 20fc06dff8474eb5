#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Compares rovl with overlayfs in the guest, by scripts made from seeds: the same steps on the same layers, once on each type.
#   scripts/oracle.sh [ARGUMENT..]   further arguments go to the program (--help lists them), such as --backing ext4
#   N=n       how many scripts (default 2000)
#   STEPS=n   how many steps each (default 50)
#   SEED=n    the seed of the first (default 1)
#   TYPE=overlay  compare overlayfs with itself, where nothing may differ
#   REPLAY=file   run the script in this file, as a failure prints it, and nothing else
#   KERNEL=test   on the kernel with all checks, which takes five times as long
# A difference is printed with the smallest script that shows it. Understood and repaired, it is kept in tests/oracle/regressions.

source "$(dirname "$0")/lib.sh"

type=${TYPE:-rovl}
limit=${ORACLE_TIMEOUT:-14400}
arguments=(--count "${N:-2000}" --steps "${STEPS:-50}" --seed "${SEED:-1}")

"$top/scripts/packages.sh" build guest test
kdir=$("$top/scripts/kdir.sh" bench)
bzimage=$kdir/arch/x86/boot/bzImage
[[ -f $bzimage ]] || die "$kdir holds no arch/x86/boot/bzImage, so there is nothing to boot: build it there, or leave KDIR out"
runner=$("$top/scripts/program.sh" rovl-guest)
oracle=$("$top/scripts/program.sh" rovl-oracle)
disks=$("$top/scripts/disks.sh")

files=(--file "$oracle:/bin/rovl-oracle:755")
# A kernel may have overlayfs built in.
[[ ! -f $kdir/fs/overlayfs/overlay.ko ]] || files+=(--module "$kdir/fs/overlayfs/overlay.ko")
case $type in
overlay) arguments+=(--type-b overlay) ;;
rovl)
	rovl=$("$top/scripts/module.sh" "$kdir")
	files+=(--module "$rovl")
	;;
*) die "TYPE=$type is none of rovl, overlay" ;;
esac
if [[ -n ${REPLAY:-} ]]; then
	[[ -f $REPLAY ]] || die "there is no file $REPLAY"
	files+=(--file "$(realpath "$REPLAY"):/replay.txt:644")
	arguments+=(--replay /replay.txt)
fi

# The output is kept, and the runner's status is the script's.
"$runner" --kernel "$bzimage" --kvm "${KVM:-auto}" --timeout "$limit" --log "$cache/log/oracle.log" "${files[@]}" \
	--disk "$disks/ext4.img:snapshot" --disk "$disks/xfs.img:snapshot" --mem 2G --cpus 2 \
	-- /bin/rovl-oracle "${arguments[@]}" "$@" | tee "$cache/log/oracle.ktap"
