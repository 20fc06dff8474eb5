#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds a kernel from the fragments in qemu/config and prints its build folder: what KDIR= takes.
#   scripts/kernel-build.sh test|bench
#   scripts/kernel-build.sh --configure-only test|bench     stops when the configuration is known to be as asked
# The folder's name holds the hash of everything that makes it, and the file .complete says that it is whole. A folder without
# it is what an interrupted run left; make goes on from there. (A finished tree cannot be renamed: it holds its own path.)

source "$(dirname "$0")/lib.sh"

configure_only=
if [[ ${1:-} == --configure-only ]]; then
	configure_only=1
	shift
fi
name=${1:-}
fragments=("$top/qemu/config/base.config" "$top/qemu/config/$name.config")
[[ -n $name && -f ${fragments[1]} ]] || die "kernel-build.sh: which kernel, test or bench?"

source_folder=$("$top/scripts/kernel-source.sh")
rust=$("$top/scripts/rust.sh")
bindgen=$("$top/scripts/bindgen.sh")
llvm=$(llvm_argument)
export PATH=$rust:${bindgen%/*}:$PATH
export_libclang "$llvm"

# A changed comment must not cost a new kernel, so the recipe has a number of its own.
recipe=1
id=$(
	{
		echo "$recipe $name $(basename "$source_folder")"
		sed -e 's/#.*//' -e '/^$/d' "${fragments[@]}"
		rustc -vV
		"$(llvm_program "$llvm" clang)" --version | sed -n 1p
		bindgen --version
	} | key
)
out=$cache/kernel/$name-$id

if [[ -f $out/.complete && -z $configure_only ]]; then
	used "$out"
	in_place "kernel $name" "$(<"$out/.complete")"
	echo "$out"
	exit 0
fi

[[ -z $configure_only ]] || out+=.config-only
lock "$(basename "$out")"
if [[ -f $out/.complete ]]; then
	did "kernel $name" "built by another run meanwhile"
	echo "$out"
	exit 0
fi

# An interrupted make has removed the file that it was writing; a machine that went down has not. So what was left is only
# used within one boot.
boot=$(cat /proc/sys/kernel/random/boot_id)
if [[ -d $out && $(cat "$out/.building" 2>/dev/null) != "$boot" ]]; then
	rm -rf "$out"
fi
mkdir -p "$out"
echo "$boot" >"$out/.building"

RUST_LIB_SRC=$("$top/scripts/rust-src.sh" "$rust")
export RUST_LIB_SRC
build=(make -C "$source_folder" "LLVM=$llvm" "O=$out" "RUST_LIB_SRC=$RUST_LIB_SRC" KBUILD_BUILD_USER=rovl KBUILD_BUILD_HOST=rovl ${verbose:+"$verbose"} "-j$(nproc)")

configure() {
	local seed=$out/.config.fragments
	"${build[@]}" rustavailable
	"${build[@]}" allnoconfig
	cp "$out/.config" "$out/.config.allno"
	(cd "$source_folder" && scripts/kconfig/merge_config.sh -m -O "$out" "$out/.config.allno" "${fragments[@]}")
	cp "$out/.config" "$seed"
	"${build[@]}" olddefconfig
}

# Each line of the fragments against what came out. The later fragment wins, as in merging.
not_taken() {
	sed -e 's/#.*//' -e 's/ *$//' -e '/^$/d' "${fragments[@]}" | awk -F= -v config="$out/.config" '
		BEGIN {
			while ((getline line <config) > 0) {
				at = index(line, "=")
				if (at && line !~ /^#/) have[substr(line, 1, at - 1)] = substr(line, at + 1)
			}
		}
		{ want[$1] = substr($0, length($1) + 2); order[++n] = $1 }
		END {
			for (i = 1; i <= n; i++) {
				name = order[i]
				got = (name in have) ? have[name] : "n"
				if (!done[name]++ && got != want[name]) print name "=" want[name] " (it is " got ")"
			}
		}'
}

log=$cache/log/kernel-$name.log
if [[ ! -f $out/.configured ]]; then
	long "kernel $name" "$log" configure || die "the kernel could not be configured; the reason is above"
	mapfile -t lost < <(not_taken)
	if ((${#lost[@]} > 0)); then
		rm -rf "$out"
		die "kernel options that did not take: ${lost[*]}"
	fi
	touch "$out/.configured"
fi
if [[ -n $configure_only ]]; then
	did "kernel $name" "configured, with each line of $(basename -a "${fragments[@]}" | paste -sd' ') in force"
	echo "$out"
	exit 0
fi

say "kernel $name: building $(<"$source_folder/.rovl-origin") in $out; its log is $log"
long "kernel $name" "$log" "${build[@]}" bzImage modules || die "the kernel could not be built; the reason is above, and another run goes on from here"
[[ -s $out/arch/x86/boot/bzImage && -s $out/Module.symvers && -s $out/fs/overlayfs/overlay.ko ]] ||
	die "the build of the kernel in $out ended well, but left no bzImage, Module.symvers or overlay.ko"
version=$(<"$out/include/config/kernel.release")
# On the disk before it is called complete.
sync -f "$out"
echo "$version, $(grep -c -E '^ +(CC|AS|RUSTC|LD|AR) ' "$log") steps, built in $(duration "$SECONDS")" >"$out/.complete.new"
mv "$out/.complete.new" "$out/.complete"
used "$out"
did "kernel $name" "$version built"
echo "$out"
