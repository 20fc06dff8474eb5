#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Filesystem tests of others on an overlay in the guest, on upper layers of each kind: pjdfstest and fsx from the Rust package
# registry, the kernel's own selftests for overlayfs, and Debian's stress-ng. tests/suites runs them.
#   scripts/posix.sh [--short] [SUITE..]
#   TYPE=rovl|dropin|overlay    what is tried (default rovl)
#   FSX_OPERATIONS=n            how many operations fsx does on each file (default 100000)
#   KERNEL=bench                the kernel without checks, on which fsx is ten times as fast (default test)

source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/suite-lib.sh
source "$top/scripts/suite-lib.sh"

arguments=(--operations "${FSX_OPERATIONS:-100000}")
if [[ ${1:-} == --short ]]; then
	arguments=(--short)
	shift
fi

"$top/scripts/packages.sh" build guest test
kdir=$("$top/scripts/kdir.sh" test)
suite_type
runner=$("$top/scripts/program.sh" rovl-guest)
program=$("$top/scripts/program.sh" rovl-suites)
pjdfstest=$("$top/scripts/crate-program.sh" pjdfstest)
fsx=$("$top/scripts/crate-program.sh" fsx)
kselftests=$("$top/scripts/kselftests.sh" "$fs")
stress_ng=$("$top/scripts/stress-ng.sh")
disks=$("$top/scripts/disks.sh")
suite_guest posix 7200 --file "$program:/bin/rovl-suites:755" \
	--file "$pjdfstest:/bin/pjdfstest:755" --file "$fsx:/bin/fsx:755" \
	--file "$kselftests:/opt/kselftests" --file "$stress_ng:/opt/stress-ng" \
	--disk "$disks/ext4.img:snapshot" --disk "$disks/xfs.img:snapshot" \
	-- /bin/rovl-suites --type "$fs" "${arguments[@]}" "$@"
