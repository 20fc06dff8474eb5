#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs all tests: those of the host by cargo, then those of the guest on the kernel with all checks, and closes with the line
# "N passed, N failed, N skipped". Failures are printed with what led to them, skips with their reasons.
# The guests run side by side, as many as there are processors, and memory for them.
#   FILTER=text    only guest tests whose names hold the text, and no host tests
#   LEAK_ROUNDS=n  rounds of mounting and loading in the hunt for leaks (default 1000)
#   GUESTS=n       how many guests run at a time

source "$(dirname "$0")/lib.sh"

logs=$cache/log
filter=()
# Not every guest has a test of such a name.
[[ -z ${FILTER:-} ]] || filter=(--filter "$FILTER" --allow-none)

"$top/scripts/packages.sh" build guest test
kdir=$("$top/scripts/kdir.sh" test)
# A module takes one processor for a while, so both are made at once.
"$top/scripts/module.sh" --dropin "$kdir" >/dev/null &
other=$!
rovl=$("$top/scripts/module.sh" "$kdir")
wait "$other"
dropin=$("$top/scripts/module.sh" --dropin "$kdir")
programs=(rovl-guest rovl-selftests)
[[ -n ${FILTER:-} ]] || programs+=(rovl-stress rovl-crash rovl-suites rovl-oracle)
# Cargo is told of all at once: it uses both processors then, and would build them anew with the features that one alone needs.
made=$("$top/scripts/program.sh" "${programs[@]}")
bin=${made%%/rovl-guest*}
runner=$bin/rovl-guest
selftests=$bin/rovl-selftests
disks=$("$top/scripts/disks.sh")
bzimage=$kdir/arch/x86/boot/bzImage
[[ -f $bzimage ]] || die "$kdir holds no arch/x86/boot/bzImage, so there is nothing to boot: build it there, or leave KDIR out"

# What the guest of the short forms has besides. Each is a step of its own, so that a failure of one ends the script.
loads=(--disk "$disks/small-ext4.img:ro" --disk "$disks/small-xfs.img:ro")
prepare_loads() {
	local name made
	for name in dm-mod dm-flakey dm-log-writes; do
		made=$kdir/drivers/md/$name.ko
		[[ ! -f $made ]] || loads+=(--module "$made")
	done
	for name in stress crash suites; do
		loads+=(--file "$bin/rovl-$name:/bin/rovl-$name:755")
	done
	oracle=(--file "$bin/rovl-oracle:/bin/rovl-oracle:755")
	for name in pjdfstest fsx; do
		made=$("$top/scripts/crate-program.sh" "$name")
		loads+=(--file "$made:/bin/$name:755")
	done
	made=$("$top/scripts/kselftests.sh" rovl)
	loads+=(--file "$made:/opt/kselftests")
	made=$("$top/scripts/stress-ng.sh")
	loads+=(--file "$made:/opt/stress-ng")
}
oracle=()
[[ -n ${FILTER:-} ]] || prepare_loads

# KDIR= and KERNEL= may lead to a kernel that cannot look for leaks.
leaks=()
if grep -q '^CONFIG_DEBUG_KMEMLEAK=y' "$kdir/include/config/auto.conf"; then
	leaks=(--kmemleak)
else
	say "tests: the kernel in $kdir has no kmemleak, so leaks are only found where they are counted"
fi

# totals NAME BEGUN PASSED FAILED SKIPPED: what a job has to say at its end.
totals() {
	echo "$3 $4 $5" >"$results/$1"
	printf '%-14s %d passed, %d failed, %d skipped (%s)\n' "$1" "$3" "$4" "$5" "$(duration $((SECONDS - $2)))" >&2
}

# Adds cargo's totals, and lists what failed or was left out.
host_tests() {
	local log=$logs/test-host.log begun=$SECONDS status=0 p f s
	long "host tests" "$log" "$top/scripts/cargo.sh" test --locked --workspace --no-fail-fast || status=$?
	read -r p f s < <(awk '/^test result: /{ p += $4; f += $6; s += $8 } END { print p + 0, f + 0, s + 0 }' "$log")
	if ((status != 0 && f == 0)); then
		say "host tests: they could not be built or run; see $log"
		f=1
	fi
	sed -n -E 's/^test (.*) \.\.\. ignored,? ?(.*)$/skipped: \1: \2/p' "$log" >&2
	totals "host tests" "$begun" "$p" "$f" "$s"
}

# Reads KTAP from the test program, prints failures (with the diagnostics before them) and skips as they come, keeps in a file
# how far it is, and prints at the end: passed, failed, skipped, planned. Several run at once, so each prints whole lines.
ktap() {
	local label=$1 line p=0 f=0 s=0 planned=-1 said=''
	while IFS= read -r line; do
		case $line in
		# A guest may run several programs, and each of them has tests.
		1..0 | '1..0 '*)
			planned=$((planned < 0 ? 0 : planned))
			if [[ -z ${FILTER:-} ]]; then
				planned=$((planned + 1)) f=$((f + 1))
				say "$label: a program has no test"
			fi
			;;
		1..*) planned=$(((planned < 0 ? 0 : planned) + ${line#1..})) ;;
		'#'*) said+=$'\n'$line ;;
		'ok '*'# SKIP'*)
			s=$((s + 1))
			line=${line#ok * }
			say "skipped: $label: ${line/ \# SKIP /: }"
			said=
			;;
		'ok '*)
			p=$((p + 1))
			said=
			;;
		'not ok '*)
			f=$((f + 1))
			say "$label: $line$said"
			said=
			;;
		esac
		((planned < 0)) || echo "$((p + f + s)) of $planned" >"$results/.$label"
	done
	echo "$p $f $s $planned"
}

# guest NAME SECONDS MODULE-FOR-OVERLAY RUNNER-ARGUMENT.. -- COMMAND..: one boot with rovl.ko and the given overlay.ko.
guest() {
	local name=$1 limit=$2 overlay=$3 begun=$SECONDS status p f s planned log=$logs/test-$1.log options=()
	shift 3
	while [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	shift
	# A kernel may have overlayfs built in.
	[[ ! -f $overlay ]] || options+=(--module "$overlay")
	# The program's output is kept as it came, whatever becomes of the guest.
	{
		status=0
		"$runner" --kernel "$bzimage" --kvm "${KVM:-auto}" --timeout "$limit" --log "$log" --module "$rovl" \
			--file "$selftests:/bin/rovl-selftests:755" \
			--disk "$disks/ext4.img:snapshot" --disk "$disks/xfs.img:snapshot" --out "$results/out-$name" \
			--mem 2G --cpus 2 "${options[@]}" -- "$@" || status=$?
		echo "$status" >"$logs/test-$name.status"
	} | tee "$logs/test-$name.ktap" | ktap "$name" >"$logs/test-$name.totals"
	status=$(<"$logs/test-$name.status")
	read -r p f s planned <"$logs/test-$name.totals"
	# A planned test that did not report has failed: the guest died of it, or of one before.
	if ((p + f + s < planned)); then
		say "$name: $((planned - p - f - s)) of $planned tests did not report"
		f=$((planned - p - s))
	elif ((planned < 0)); then
		say "$name: no test reported"
		f=$((f + 1))
	elif [[ -z ${FILTER:-} ]] && ((p + f == 0)); then
		say "$name: no test ran"
		f=1
	elif ((status != 0 && f == 0)); then
		say "$name: the tests passed, but the guest ended with status $status"
		f=1
	fi
	((f == 0)) || say "$name: the guest's log is $log, the tests' output is ${log%.log}.ktap"
	totals "$name" "$begun" "$p" "$f" "$s"
}

# The guests, the longest first. Every test runs under kmemleak, on rovl. Where that does on disks what it did in tmpfs, it runs
# in a guest that need not track each allocation. The two longest have one processor, which an emulator runs at three quarters
# of the cost; what happens at the same time is tried with two on disks, on the drop-in and under load.
names=(rovl overlay leaks rovl-disks drop-in load faults oracle selinux cost)
run_guest() {
	case $1 in
	rovl) guest rovl 3000 "$stock" --cpus 1 "${leaks[@]}" -- /bin/rovl-selftests --type rovl --repeated false "${filter[@]}" ;;
	rovl-disks) guest rovl-disks 3000 "$stock" -- /bin/rovl-selftests --type rovl --repeated true "${filter[@]}" ;;
	overlay) guest overlay 3000 "$stock" --cpus 1 -- /bin/rovl-selftests --type overlay "${filter[@]}" ;;
	# What is looked for here is counted, after one thing at a time was done: a second processor would only be waited for.
	# Unloading a module waits for RCU several times.
	leaks) guest leaks 2400 "$stock" --cpus 1 --append rcupdate.rcu_expedited=1 -- /bin/rovl-selftests --type rovl --leak-rounds "${LEAK_ROUNDS:-1000}" ;;
	# The drop-in is the same code under other names, which have nothing to do with where the layers are.
	drop-in) guest drop-in 1800 "$dropin" -- /bin/rovl-selftests --type overlay --expect-rovl --backing tmpfs "${filter[@]}" ;;
	# The same scripts in each run, and those that once showed a difference; make oracle tries others.
	oracle) guest oracle 1800 "$stock" "${oracle[@]}" -- /bin/rovl-oracle --count 100 --batch 25 --seed 1 ;;
	# Labels, on both types: first what there is without a policy, which once loaded stays.
	selinux) guest selinux 600 "$stock" --append lsm=selinux -- sh -c 'status=0
		rovl-selftests --type overlay --type rovl --filter selinux_unready || status=1
		rovl-selftests --type overlay --type rovl --filter selinux_label || status=1
		exit $status' ;;
	# What a call costs is counted by tracing, which an emulator bears on one processor alone.
	cost) guest cost 600 "$stock" --cpus 1 -- /bin/rovl-selftests --type overlay --type rovl --filter cost_of ;;
	# Where allocations fail, what was allocated before is given back.
	faults) guest faults 900 "$stock" "${leaks[@]}" --file "$bin/rovl-stress:/bin/rovl-stress:755" "${oracle[@]}" -- sh -c 'status=0
		rovl-stress --type rovl --short faults || status=1
		rovl-oracle --fail-allocations --count 10 --batch 5 || status=1
		exit $status' ;;
	# Short forms of make stress, make crash and make posix, each with a plan of its own.
	load) guest load 900 "$stock" "${loads[@]}" -- sh -c 'status=0
		rovl-stress --type rovl --short readers writers flakey || status=1
		rovl-crash --type rovl --short || status=1
		rovl-suites --type rovl --short || status=1
		exit $status' ;;
	esac
}
stock=$kdir/fs/overlayfs/overlay.ko

# How many guests this machine can bear.
guests_at_a_time() {
	local processors memory
	if [[ -n ${GUESTS:-} ]]; then
		echo "$GUESTS"
		return
	fi
	processors=$(nproc)
	# What a guest of 2 GiB takes with its emulator.
	memory=$(awk '/^MemAvailable:/ { print int($2 / (2.5 * 1024 * 1024)) }' /proc/meminfo)
	((processors < memory)) && echo "$processors" || echo "$((memory > 0 ? memory : 1))"
}

# How far the running guests are, in place on a terminal, else once a minute.
progress() {
	local name line='' file
	for name in "${names[@]}"; do
		file=$results/.$name
		if [[ -f $file && ! -f $results/$name ]]; then
			line+="${line:+, }$name $(<"$file")"
		fi
	done
	if [[ -z $line ]]; then
		return
	elif [[ -t 2 ]]; then
		printf '\r\033[K%-14s %s' tests "$line" >&2
	elif ((SECONDS - said >= 60)); then
		said=$SECONDS
		say "tests          ... $line after $(duration "$SECONDS")"
	fi
}

# Each guest has a process group of its own, with all that reads its output.
running=()
stop() {
	local group
	trap - EXIT INT TERM HUP
	for group in "${running[@]}"; do
		kill -TERM -- "-$group" 2>/dev/null || true
	done
	wait
	rm -rf "$results"
	exit "$1"
}
results=$(mktemp -d)
trap 'stop $?' EXIT
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM

if [[ ${FILTER:-} == selinux* ]]; then
	names=(selinux)
elif [[ ${FILTER:-} == cost* ]]; then
	names=(cost)
elif [[ -n ${FILTER:-} ]]; then
	names=(rovl overlay rovl-disks drop-in)
else
	host_tests
fi
slots=$(guests_at_a_time)
waiting=("${names[@]}")
said=$SECONDS
while ((${#waiting[@]} + ${#running[@]} > 0)); do
	while ((${#waiting[@]} > 0 && ${#running[@]} < slots)); do
		set -m
		run_guest "${waiting[0]}" &
		set +m
		running+=($!)
		waiting=("${waiting[@]:1}")
	done
	pause 1
	progress
	alive=()
	for group in "${running[@]}"; do
		if kill -0 "$group" 2>/dev/null; then
			alive+=("$group")
		fi
	done
	running=("${alive[@]}")
done
[[ ! -t 2 ]] || printf '\r\033[K' >&2

passed=0 failed=0 skipped=0
[[ -n ${FILTER:-} ]] || names+=("host tests")
for name in "${names[@]}"; do
	# What a job has not lived to say is a failure.
	read -r p f s < <(cat "$results/$name" 2>/dev/null || echo "0 1 0")
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
if ((passed + failed + skipped == 0)); then
	say "no test has '$FILTER' in its name"
	failed=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
