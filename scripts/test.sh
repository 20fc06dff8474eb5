#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs all tests: those of the host by cargo, then those of the guest on the kernel with all checks, and closes with the line
# "N passed, N failed, N skipped". Failures are printed with what led to them, skips with their reasons.
#   FILTER=text    only guest tests whose names hold the text, and no host tests
#   LEAK_ROUNDS=n  rounds of mounting and loading in the hunt for leaks (default 1000)

source "$(dirname "$0")/lib.sh"

passed=0
failed=0
skipped=0
logs=$cache/log

"$top/scripts/packages.sh" build guest test
kdir=$("$top/scripts/kdir.sh" test)
rovl=$("$top/scripts/module.sh" "$kdir")
dropin=$("$top/scripts/module.sh" --dropin "$kdir")
runner=$("$top/scripts/program.sh" rovl-guest)
selftests=$("$top/scripts/program.sh" rovl-selftests)
disks=$("$top/scripts/disks.sh")
bzimage=$kdir/arch/x86/boot/bzImage
[[ -f $bzimage ]] || die "$kdir holds no arch/x86/boot/bzImage, so there is nothing to boot: build it there, or leave KDIR out"

# KDIR= and KERNEL= may lead to a kernel that cannot look for leaks.
leaks=()
if grep -q '^CONFIG_DEBUG_KMEMLEAK=y' "$kdir/include/config/auto.conf"; then
	leaks=(--kmemleak)
else
	say "tests: the kernel in $kdir has no kmemleak, so leaks are only found where they are counted"
fi

# Adds cargo's totals, and lists what failed or was left out.
host_tests() {
	local log=$logs/test-host.log status=0 p f s
	long "host tests" "$log" "$top/scripts/cargo.sh" test --locked --workspace --no-fail-fast || status=$?
	read -r p f s < <(awk '/^test result: /{ p += $4; f += $6; s += $8 } END { print p + 0, f + 0, s + 0 }' "$log")
	if ((status != 0 && f == 0)); then
		say "host tests: they could not be built or run; see $log"
		f=1
	fi
	sed -n -E 's/^test (.*) \.\.\. ignored,? ?(.*)$/skipped: \1: \2/p' "$log" >&2
	passed=$((passed + p))
	failed=$((failed + f))
	skipped=$((skipped + s))
	printf '%-14s %d passed, %d failed, %d skipped (%s)\n' "host tests" "$p" "$f" "$s" "$(duration "$SECONDS")" >&2
}

# Reads KTAP from the test program, prints failures (with the diagnostics before them) and skips as they come, shows on a
# terminal how far it is, and prints at the end: passed, failed, skipped, planned.
ktap() {
	local label=$1 line p=0 f=0 s=0 planned=0 said=() wipe=
	[[ ! -t 2 ]] || wipe=$'\r\033[K'
	while IFS= read -r line; do
		case $line in
		1..*) planned=$((planned + ${line#1..})) ;;
		'#'*) said+=("$line") ;;
		'ok '*'# SKIP'*)
			s=$((s + 1))
			line=${line#ok * }
			say "${wipe}skipped: ${line/ \# SKIP /: }"
			said=()
			;;
		'ok '*)
			p=$((p + 1))
			said=()
			;;
		'not ok '*)
			f=$((f + 1))
			printf '%s\n' "$wipe${line}" "${said[@]}" >&2
			said=()
			;;
		esac
		[[ -z $wipe ]] || printf '%s%-14s %d of %d' "$wipe" "$label" $((p + f + s)) "$planned" >&2
	done
	[[ -z $wipe ]] || printf '%s' "$wipe" >&2
	echo "$p $f $s $planned"
}

# guest NAME SECONDS MODULE-FOR-OVERLAY ARGUMENT..: one boot with rovl.ko and the given overlay.ko, running the test program.
guest() {
	local name=$1 limit=$2 overlay=$3 begun=$SECONDS status p f s planned log modules
	shift 3
	modules=(--module "$rovl")
	# A kernel may have overlayfs built in.
	[[ ! -f $overlay ]] || modules+=(--module "$overlay")
	log=$logs/test-$name.log
	# The program's output is kept as it came, whatever becomes of the guest.
	{
		status=0
		"$runner" --kernel "$bzimage" --kvm "${KVM:-auto}" --timeout "$limit" --log "$log" "${leaks[@]}" \
			"${modules[@]}" --file "$selftests:/bin/rovl-selftests:755" \
			--disk "$disks/ext4.img:snapshot" --disk "$disks/xfs.img:snapshot" --mem 2G --cpus 2 -- /bin/rovl-selftests "$@" || status=$?
		echo "$status" >"$logs/test-$name.status"
	} | tee "$logs/test-$name.ktap" | ktap "$name" >"$logs/test-$name.totals"
	status=$(<"$logs/test-$name.status")
	read -r p f s planned <"$logs/test-$name.totals"
	# A planned test that did not report has failed: the guest died of it, or of one before.
	if ((p + f + s < planned)); then
		say "$name: $((planned - p - f - s)) of $planned tests did not report"
		f=$((planned - p - s))
	elif ((planned == 0)); then
		say "$name: no test reported"
		f=$((f + 1))
	elif ((status != 0 && f == 0)); then
		say "$name: the tests passed, but the guest ended with status $status"
		f=1
	fi
	((f == 0)) || say "$name: the guest's log is $log, the tests' output is ${log%.log}.ktap"
	passed=$((passed + p))
	failed=$((failed + f))
	skipped=$((skipped + s))
	printf '%-14s %d passed, %d failed, %d skipped (%s)\n' "$name" "$p" "$f" "$s" "$(duration $((SECONDS - begun)))" >&2
}

filter=()
if [[ -n ${FILTER:-} ]]; then
	filter=(--filter "$FILTER")
else
	host_tests
fi
guest behaviour 3000 "$kdir/fs/overlayfs/overlay.ko" --type overlay --type rovl "${filter[@]}"
# The drop-in is the same code under other names, so the same tests have to pass.
guest drop-in 1800 "$dropin" --type overlay "${filter[@]}"
if [[ -z ${FILTER:-} ]]; then
	guest leaks 2400 "$kdir/fs/overlayfs/overlay.ko" --type rovl --leak-rounds "${LEAK_ROUNDS:-1000}"
fi

echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
