#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Load on one overlay, in the guest with all checks: many threads at once, as readers, as writers, as writers whose allocations
# fail, and as writers on a disk that fails; and the oracle's scripts, whose allocations fail. tests/stress and tests/oracle do it.
# Where allocations fail, kmemleak looks for what was not given back.
#   scripts/stress.sh [--short] [readers|writers|faults|flakey|oracle-faults ..]
#   TYPE=rovl|dropin|overlay    what is tried (default rovl)
#   STRESS_SECONDS=n            how long each part runs (default 300), on each kind of upper layer; the oracle's scripts are counted
#   STRESS_SEED=n               what the threads' actions are drawn from (default 1), and the seed of the first script

source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/suite-lib.sh
source "$top/scripts/suite-lib.sh"

seconds=${STRESS_SECONDS:-300}
arguments=(--seconds "$seconds")
scripts=500
if [[ ${1:-} == --short ]]; then
	arguments=(--short)
	scripts=10
	shift
fi
(($# > 0)) || set -- readers writers faults flakey oracle-faults
parts=() faults='' oracle=''
for part; do
	case $part in
	readers | writers | flakey) parts+=("$part") ;;
	faults) faults=1 ;;
	oracle-faults) oracle=1 ;;
	*) die "there are no $part: the parts are readers, writers, faults, flakey and oracle-faults" ;;
	esac
done

"$top/scripts/packages.sh" build guest test
kdir=$("$top/scripts/kdir.sh" test)
suite_type
suite_leaks
runner=$("$top/scripts/program.sh" rovl-guest)
program=$("$top/scripts/program.sh" rovl-stress)
disks=$("$top/scripts/disks.sh")
suite_targets dm-mod dm-flakey

status=0
if ((${#parts[@]} > 0)); then
	suite_guest stress $((seconds * 10 + 900)) --file "$program:/bin/rovl-stress:755" \
		--disk "$disks/ext4.img:snapshot" --disk "$disks/xfs.img:snapshot" \
		-- /bin/rovl-stress --type "$fs" --seed "${STRESS_SEED:-1}" "${arguments[@]}" "${parts[@]}" || status=1
fi
if [[ -n $faults ]]; then
	suite_guest stress-faults $((seconds + 900)) "${leaks[@]}" --file "$program:/bin/rovl-stress:755" \
		-- /bin/rovl-stress --type "$fs" --seed "${STRESS_SEED:-1}" "${arguments[@]}" faults || status=1
fi
if [[ -n $oracle ]]; then
	# The scripts' mounts are compared with the kernel's own overlayfs, which the drop-in takes the place of.
	program=$("$top/scripts/program.sh" rovl-oracle)
	stock=$kdir/fs/overlayfs/overlay.ko
	[[ $fs != rovl || ! -f $stock ]] || modules+=(--module "$stock")
	suite_guest oracle-faults $((scripts * 8 + 900)) "${leaks[@]}" --file "$program:/bin/rovl-oracle:755" \
		-- /bin/rovl-oracle --type-b "$fs" --fail-allocations --count "$scripts" --batch 25 --seed "${STRESS_SEED:-1}" || status=1
fi
exit "$status"
