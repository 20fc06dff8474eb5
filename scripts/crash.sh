#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Power cuts under an overlay, in the guest with all checks: the writes to the upper layer's disk are logged while the tree
# changes, and the disk is mounted as it was at many points of that log. tests/crash does it.
#   scripts/crash.sh [--short]
#   TYPE=rovl|dropin|overlay    what is tried (default rovl)
#   CRASH_POINTS=n              at how many points the power is cut, in all (default 500)
#   CRASH_SEED=n                what the changes and the points are drawn from (default 1)

source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/suite-lib.sh
source "$top/scripts/suite-lib.sh"

arguments=(--points "${CRASH_POINTS:-500}")
[[ ${1:-} != --short ]] || arguments=(--short)

"$top/scripts/packages.sh" build guest test
kdir=$("$top/scripts/kdir.sh" test)
suite_type
runner=$("$top/scripts/program.sh" rovl-guest)
program=$("$top/scripts/program.sh" rovl-crash)
disks=$("$top/scripts/disks.sh")
suite_targets dm-mod dm-log-writes
suite_guest crash $((${CRASH_POINTS:-500} * 5 + 600)) --file "$program:/bin/rovl-crash:755" \
	--disk "$disks/small-ext4.img:ro" --disk "$disks/small-xfs.img:ro" \
	-- /bin/rovl-crash --type "$fs" --seed "${CRASH_SEED:-1}" "${arguments[@]}"
