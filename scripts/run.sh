#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The main job: mounts a real Debian tree, cut into three layers, in the guest, compares it with what the host worked out, and
# runs its own programs in it. What it prints at the end fits one screen; the last line says PASS or FAIL.
#   TYPE=rovl      the module that is tried (default); dropin is the same source as overlay.ko, overlay the kernel's own one

source "$(dirname "$0")/lib.sh"

case ${TYPE:=rovl} in
rovl) fs=rovl ;;
dropin | overlay) fs=overlay ;;
*) die "TYPE=$TYPE: there are rovl, dropin and overlay" ;;
esac

"$top/scripts/packages.sh" build guest images
kdir=$("$top/scripts/kdir.sh" bench)
bzimage=$kdir/arch/x86/boot/bzImage
[[ -f $bzimage ]] || die "$kdir holds no arch/x86/boot/bzImage, so there is nothing to boot: build it there, or leave KDIR out"
case $TYPE in
rovl) module=$("$top/scripts/module.sh" "$kdir") ;;
dropin) module=$("$top/scripts/module.sh" --dropin "$kdir") ;;
overlay)
	module=$kdir/fs/overlayfs/overlay.ko
	[[ -f $module ]] || die "$kdir holds no fs/overlayfs/overlay.ko"
	;;
esac
runner=$("$top/scripts/program.sh" rovl-guest)
tool=$("$top/scripts/program.sh" rovl-run)
image=$("$top/scripts/images.sh")
prepared=$SECONDS

out=$top/build/run
log=$cache/log/run.log
rm -rf "$out"
mkdir -p "$out"
status=0
"$runner" --kernel "$bzimage" --kvm "${KVM:-auto}" --mem 2G --cpus 2 --timeout 600 --log "$log" --out "$out" \
	--module "$module" --file "$tool:/bin/rovl-run:755" --disk "$image/layers.ext4:snapshot" \
	-- /bin/rovl-run guest --type "$fs" --module "/lib/modules/${module##*/}" --image /dev/disk/rovl/layers --out /out ||
	status=$?

case $status in
0) reason= ;;
1) reason="what was found is not what was expected; both are in $out" ;;
120) reason="the kernel complained; its log is $log" ;;
121) reason="the guest took more than 600 s; its log is $log" ;;
122) reason="the guest died; its log is $log" ;;
*) reason="the guest ended with status $status; its log is $log" ;;
esac
# The guest wrote to a copy, if at all.
if ! (cd "$image" && sha256sum --check --status sum); then
	reason="the image in $image has changed${reason:+, and }$reason"
fi

times="prepared in $(duration "$prepared"), guest $(duration $((SECONDS - prepared)))"
if [[ -n $reason ]]; then
	echo "FAIL: $TYPE: $reason ($times)"
	exit 1
fi
echo "PASS: $TYPE shows and runs the tree as it is ($times)"
