#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Many threads at once on one overlay, in the guest with all checks: readers, writers, writers whose allocations fail, and writers
# on a disk that fails. tests/stress does it.
#   scripts/stress.sh [--short] [readers|writers|faults|flakey ..]
#   TYPE=rovl|dropin|overlay    what is tried (default rovl)
#   STRESS_SECONDS=n            how long each part runs (default 300)
#   STRESS_SEED=n               what the threads' actions are drawn from (default 1)

source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/suite-lib.sh
source "$top/scripts/suite-lib.sh"

arguments=(--seconds "${STRESS_SECONDS:-300}")
if [[ ${1:-} == --short ]]; then
	arguments=(--short)
	shift
fi

"$top/scripts/packages.sh" build guest test
kdir=$("$top/scripts/kdir.sh" test)
suite_type
runner=$("$top/scripts/program.sh" rovl-guest)
program=$("$top/scripts/program.sh" rovl-stress)
disks=$("$top/scripts/disks.sh")
suite_targets dm-mod dm-flakey
suite_guest stress $((${STRESS_SECONDS:-300} * 7 + 900)) --file "$program:/bin/rovl-stress:755" \
	--disk "$disks/ext4.img:snapshot" --disk "$disks/xfs.img:snapshot" \
	-- /bin/rovl-stress --type "$fs" --seed "${STRESS_SEED:-1}" "${arguments[@]}" "$@"
