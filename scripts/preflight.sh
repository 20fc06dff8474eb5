#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Says in one sentence what keeps the module from being built against a kernel tree, or a built module from being loaded
# there, and what to do.
#   scripts/preflight.sh KDIR [MODULE.ko]

source "$(dirname "$0")/lib.sh"

line=7.3
kdir=${1:-}
module=${2:-}

[[ -n $kdir ]] || die "preflight.sh: which kernel tree?"
[[ -d $kdir ]] || die "KDIR=$kdir is no folder: give the build folder of a $line kernel, or leave KDIR out to have one built"
[[ -f $kdir/Makefile ]] || die "KDIR=$kdir is no kernel tree, for it has no Makefile: give the folder in which the kernel was built (that of O=), or /lib/modules/RELEASE/build"

config=$kdir/include/config/auto.conf
release=$kdir/include/config/kernel.release
if [[ ! -f $config || ! -f $release ]]; then
	die "the kernel in $kdir is not built: run 'make LLVM=1 olddefconfig bzImage modules' there, or leave KDIR out to have one built"
fi
release=$(<"$release")
[[ $release == "$line" || $release == "$line"[.-]* ]] ||
	die "the kernel in $kdir is $release, and rovl is for the $line line: give KDIR= of a $line kernel, or leave it out to have one built"
grep -q '^CONFIG_RUST=y' "$config" ||
	die "the kernel in $kdir was built without CONFIG_RUST: set it (it needs a rustc and bindgen that 'make LLVM=1 rustavailable' accepts) and build that kernel again"
if [[ ! -f $kdir/rust/libkernel.rmeta ]]; then
	if [[ -d $kdir/rust || ! $kdir -ef /lib/modules/$release/build ]]; then
		die "the kernel in $kdir is not built: it lacks rust/libkernel.rmeta; run 'make bzImage modules' there with the LLVM= and O= that it was configured with"
	fi
	die "the headers in $kdir come without Rust's metadata (rust/libkernel.rmeta), as distributions ship them: give KDIR= of a tree in which the kernel was built"
fi
[[ -f $kdir/Module.symvers ]] ||
	die "the kernel in $kdir is only half built, for it has no Module.symvers: run 'make modules' there"
config_value() {
	sed -n "s/^$1=//p" "$config" | tr -d '"'
}
# The option that a person can set, to have the other one set.
asked_by() {
	case $1 in
	FS_POSIX_ACL) echo "CONFIG_TMPFS_POSIX_ACL or that of another filesystem" ;;
	*) echo "CONFIG_OVERLAY_FS" ;;
	esac
}
[[ $(config_value CONFIG_MODULES) == y ]] || die "the kernel in $kdir was built without CONFIG_MODULES, so it loads none: set it and build that kernel again"

# What the module calls is compiled into a kernel only if something asks for it.
while read -r option what; do
	[[ $(config_value "CONFIG_$option") == [ym] ]] ||
		die "the kernel in $kdir was built without CONFIG_$option, from which rovl needs $what: set $(asked_by "$option") and build that kernel again"
done <<-END
	FS_POSIX_ACL its access control lists
	FS_STACK its backing files
	EXPORTFS its file handles
END

# (These two say themselves what is wrong.)
rust=$("$top/scripts/rust.sh" --for "$kdir")
compiler=$(compiler_for "$kdir")

minimum() {
	local script
	for script in "$kdir/scripts/min-tool-version.sh" "$kdir/source/scripts/min-tool-version.sh"; do
		if [[ -f $script ]]; then
			sh "$script" "$1"
			return
		fi
	done
	case $1 in
	bindgen) echo 0.71.1 ;;
	llvm) echo 17.0.1 ;;
	esac
}

bindgen=${BINDGEN:-$("$top/scripts/bindgen.sh")}
have=$("$bindgen" --version 2>/dev/null | cut -d' ' -f2) || die "bindgen ($bindgen) does not run: unset BINDGEN to have scripts/bindgen.sh find or build one"
least=$(minimum bindgen)
version_ge "$have" "$least" ||
	die "bindgen ($bindgen) is version $have and the kernel needs $least: unset BINDGEN to have scripts/bindgen.sh find or build one"

# bindgen is asked itself which libclang it loads.
[[ $compiler != LLVM=* ]] || export_libclang "${compiler#LLVM=}"
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
echo '#pragma message("clang version " __clang_version__)' >"$probe/probe.h"
PATH=$rust:$PATH "$bindgen" "$probe/probe.h" >"$probe/out" 2>&1 ||
	die "bindgen cannot load libclang ($(grep -m 1 -i -E 'libclang|error|panicked' "$probe/out" || tail -n 1 "$probe/out")): install libclang-$llvm_least-dev or a later one (scripts/packages.sh build does)"
have=$(sed -n 's/.*clang version \([0-9.]*\).*/\1/p' "$probe/out" | sed -n 1p)
least=$(minimum llvm)
version_ge "${have:=0}" "$least" ||
	die "libclang, as bindgen finds it, is version $have and the kernel needs $least: install libclang-$llvm_least-dev or a later one, or point LIBCLANG_PATH at it"

if [[ -n $module ]]; then
	[[ -f $module ]] || die "$module is not built: run 'make' (rovl.ko) or 'make dropin' (overlay.ko)"
	magic=$(PATH=$PATH:/usr/sbin:/sbin modinfo -F vermagic "$module" | cut -d' ' -f1)
	[[ $magic == "$release" ]] ||
		die "$module was built for kernel $magic, and this is $release: build it again with KDIR=$kdir"
fi
in_place preflight "$release with $("$rust/rustc" -V | cut -d' ' -f1,2) and $compiler will do"
