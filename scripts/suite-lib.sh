# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What the scripts of the long tests share: each is one program that runs in one guest and reports by KTAP.
# Sourced after lib.sh, never run.

# TYPE= names what is tried: rovl, dropin (the same source as overlay.ko) or overlay (the kernel's own). Sets fs, the type to
# mount, and modules, the arguments that take the type's module into the guest.
suite_type() {
	local module
	case ${TYPE:=rovl} in
	rovl)
		fs=rovl
		module=$("$top/scripts/module.sh" "$kdir")
		;;
	dropin)
		fs=overlay
		! grep -q '^CONFIG_OVERLAY_FS=y' "$kdir/include/config/auto.conf" ||
			die "the kernel in $kdir has overlayfs built in, whose place the drop-in cannot take"
		module=$("$top/scripts/module.sh" --dropin "$kdir")
		;;
	overlay)
		fs=overlay
		module=$kdir/fs/overlayfs/overlay.ko
		[[ -f $module ]] || die "$kdir holds no fs/overlayfs/overlay.ko"
		;;
	*) die "TYPE=$TYPE: there are rovl, dropin and overlay" ;;
	esac
	modules=(--module "$module")
}

# suite_targets MODULE..: takes these modules of the device mapper into the guest, unless they are built into the kernel.
suite_targets() {
	local module
	for module; do
		[[ ! -f $kdir/drivers/md/$module.ko ]] || modules+=(--module "$kdir/drivers/md/$module.ko")
	done
}

# Sets leaks, the arguments by which a guest looks for leaks, if the kernel can.
suite_leaks() {
	leaks=()
	if grep -q '^CONFIG_DEBUG_KMEMLEAK=y' "$kdir/include/config/auto.conf"; then
		leaks=(--kmemleak)
	else
		say "the kernel in $kdir has no kmemleak, so nobody looks for leaks"
	fi
}

# is_loaded MODULE LOG: whether the guest says in its log that it loaded this module, which is none of the kernel's own.
is_loaded() {
	grep -q -E "(^|[] ])$1: loading out-of-tree module taints kernel" "$2"
}

# suite_guest NAME SECONDS ARGUMENT..: one guest with these arguments of the runner. Its output is kept in the cache, and shown
# as it comes; the last line says PASS or FAIL, with the numbers of tests.
suite_guest() {
	local name=$1 limit=$2 begun=$SECONDS status=0 log=$cache/log/$1.log ktap=$cache/log/$1.ktap reason='' passed failed skipped
	shift 2
	"$runner" --kernel "$kdir/arch/x86/boot/bzImage" --kvm "${KVM:-auto}" --mem 2G --cpus 2 --timeout "$limit" --log "$log" \
		"${modules[@]}" "$@" | tee "$ktap" || status=$?
	passed=$(grep -c '^ok ' "$ktap") || true
	failed=$(grep -c '^not ok ' "$ktap") || true
	skipped=$(grep -c '^ok .* # SKIP ' "$ktap") || true
	case $status in
	0)
		if ((passed - skipped == 0)); then
			reason="no test ran"
		elif [[ $TYPE != overlay ]] && ! is_loaded "$fs" "$log"; then
			reason="the module was not loaded; the guest's log is $log"
		elif [[ $TYPE == overlay ]] && is_loaded '[^ ]+' "$log"; then
			reason="a module of ours was loaded; the guest's log is $log"
		fi
		;;
	120) reason="the kernel complained; its log is $log" ;;
	121) reason="the guest took more than $limit s; its log is $log" ;;
	122) reason="the guest died; its log is $log" ;;
	*) reason="see $ktap; the guest's log is $log" ;;
	esac
	if [[ -n $reason ]]; then
		echo "FAIL: $name on $TYPE: $((passed - skipped)) passed, $failed failed, $skipped skipped: $reason ($(duration $((SECONDS - begun))))"
		return 1
	fi
	echo "PASS: $name on $TYPE: $((passed - skipped)) passed, $skipped skipped ($(duration $((SECONDS - begun))))"
}
