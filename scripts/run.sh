#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The main job: mounts a real Debian tree, cut into three layers, in the guest, compares it with what the host worked out, and
# runs its own programs in it; then lets two containers write over the layers, and uses what they wrote as layers. What it
# prints at the end fits one screen; the last line says PASS or FAIL. On a terminal a shell in a container follows.
#   TYPE=rovl      the module that is tried (default); dropin is the same source as overlay.ko, overlay the kernel's own one
#   CMD='..'       runs only this, in a container over the layers, and ends with its status

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

out=$top/build/run
log=$cache/log/run.log
rm -rf "$out"
mkdir -p "$out"
# The guest's own copy of an empty file system, which takes no room.
changes=$out/changes.ext4
trap 'rm -f "$changes"' EXIT
truncate -s 1G "$changes"
PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 "$changes" || die "an empty disk could not be formatted"
terminal=
[[ ! -t 0 || ! -t 1 ]] || terminal=1

# guest TASK OPTIONS.. -- ARGUMENTS..: does the task in the guest; the options are the runner's, the arguments the task's own.
guest() {
	local task=$1 options=()
	shift
	while [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	shift
	"$runner" --kernel "$bzimage" --kvm "${KVM:-auto}" --mem 2G --cpus 2 --log "$log" --out "$out" "${options[@]}" \
		--module "$module" --file "$tool:/bin/rovl-run:755" --disk "$image/layers.ext4:snapshot" --disk "$changes:snapshot" \
		-- /bin/rovl-run "$task" --type "$fs" --module "/lib/modules/${module##*/}" --image /dev/disk/rovl/layers \
		--changes /dev/disk/rovl/changes --out /out "$@"
}

# container PROGRAM ARGUMENT..: runs it in a container, with this terminal if there is one, and ends with its status.
container() {
	local status=0 options=(--timeout 0)
	[[ -z $terminal ]] || options+=(--interactive)
	guest container "${options[@]}" -- "$@" || status=$?
	# The runner has numbers of its own.
	if ((status == 0)) && [[ -f $out/status ]]; then
		status=$(<"$out/status")
	fi
	return "$status"
}

if [[ -n ${CMD:-} ]]; then
	container /bin/sh -c "$CMD"
	exit
fi

prepared=$SECONDS
status=0
guest guest --timeout 600 -- || status=$?

case $status in
0) reason= ;;
1) reason="what was found is not what was expected; both are in $out" ;;
120) reason="the kernel complained; its log is $log" ;;
121) reason="the guest took more than 600 s; its log is $log" ;;
122) reason="the guest died; its log is $log" ;;
*) reason="the guest ended with status $status; its log is $log" ;;
esac
# With CMD= it is the command's status that counts.
if [[ -z $reason ]]; then
	status=0
	# The shell in the container expands it.
	# shellcheck disable=SC2016
	terminal='' container /bin/sh -c 'echo data >/etc/new && test "$(cat /etc/new)" = data && exit 7' || status=$?
	((status == 7)) || reason="a command in a container that ends with 7 ended with $status; the guest's log is $log"
fi
# The guest wrote to a copy, if at all.
if ! (cd "$image" && sha256sum --check --status sum); then
	reason="the image in $image has changed${reason:+, and }$reason"
fi

times="prepared in $(duration "$prepared"), guest $(duration $((SECONDS - prepared)))"
if [[ -n $reason ]]; then
	echo "FAIL: $TYPE: $reason ($times)"
	exit 1
fi
echo "PASS: $TYPE shows, runs and changes the tree as it should; the changes are listed in ${out#"$PWD/"}/*.changes ($times)"

if [[ -n $terminal ]]; then
	echo "A shell in a container over the same layers follows; what is changed in it is gone when it ends."
	container /bin/bash -l || true
fi
