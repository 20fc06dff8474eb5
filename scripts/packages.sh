#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Installs the distribution's packages that a group of steps needs, after printing which.
#   scripts/packages.sh [build] [guest] [images] [test] [host-dev]   (no argument: build guest)
#   scripts/packages.sh --update                                 reads the package lists again
# ROVL_NO_INSTALL=1: only says what is missing, and exits 1 if anything is.

source "$(dirname "$0")/lib.sh"

# What has to be there, and is asked for by package name.
build_packages() {
	# perl and python3 are called by the kernel's build; the others are its documented requirements.
	echo gcc libc6-dev make flex bison libelf-dev libssl-dev bc cpio kmod rsync xz-utils perl python3-minimal ca-certificates curl
	if [[ -z $(newest_llvm) ]]; then
		local n=$llvm_least
		echo "clang-$n lld-$n llvm-$n libclang-$n-dev"
	fi
	rust_packages
}

candidate() {
	apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p' | grep -v '(none)' || true
}

# Nothing where a compiler is at hand. Else the distribution's own where it is new enough; else only the libraries that cargo
# needs in the copy that rust.sh unpacks.
rust_packages() {
	if command -v rustup >/dev/null; then
		return
	fi
	if command -v rustc >/dev/null && version_ge "$(rustc -V | cut -d' ' -f2)" 1.85.0; then
		[[ $(command -v rustc) == /usr/bin/rustc ]] || return 0
	fi
	if version_ge "$(candidate rustc)" 1.85.0; then
		echo rustc cargo rust-src rustfmt rust-clippy
		if version_ge "$(candidate bindgen)" 0.71.1; then
			echo bindgen
		fi
	elif [[ -z $(candidate rustc) ]]; then
		# The package lists were never read. This name makes main read them and ask again.
		echo rustc
	elif [[ -n $(candidate cargo-web) ]]; then
		local version
		version=$(candidate rustc-web)
		version=${version%%[+-]*}
		# (A name with an alternative is a compiler or linker, which is among the packages above.)
		apt-cache show --no-all-versions cargo-web "libstd-rust-web-${version%.*}" | sed -n 's/^Depends: //p' | tr ',' '\n' |
			grep -v -e '|' -e rustc-web | awk '{print $1}'
	fi
}

guest_packages() {
	echo qemu-system-x86 busybox-static
}

images_packages() {
	local list=$top/scripts/images.packages
	if [[ -f $list ]]; then
		sed 's/#.*//' "$list"
	else
		echo mmdebstrap e2fsprogs
	fi
}

test_packages() {
	echo e2fsprogs xfsprogs
}

host_dev_packages() {
	echo shellcheck perl
}

update_only=
case ${1:-} in
'') set -- build guest ;;
--update) update_only=1 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	say "packages: this is no Debian system, so nothing is installed; the names to look for are in scripts/packages.sh"
	exit 0
fi

wanted() {
	local group
	for group; do
		case $group in
		build) build_packages ;;
		guest) guest_packages ;;
		images) images_packages ;;
		test) test_packages ;;
		host-dev) host_dev_packages ;;
		*) die "packages.sh: no group is called '$group'; there are build, guest, images, test and host-dev" ;;
		esac
	done | tr -s ' \n' '\n' | sed '/^$/d' | sort -u
}

# The names on standard input that are not installed.
missing() {
	local name
	while read -r name; do
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || echo "$name"
	done
}

if [[ -z $update_only ]]; then
	mapfile -t need < <(wanted "$@" | missing)
	if ((${#need[@]} == 0)); then
		in_place packages "all there for: $*"
		exit 0
	fi
fi
if [[ -n ${ROVL_NO_INSTALL:-} ]]; then
	say "packages: ROVL_NO_INSTALL is set, and ${need[*]:-fresh package lists} would be needed"
	exit 1
fi

lock packages

become_root "packages are to be installed"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -q)

log=$cache/log/packages.log
if [[ -n $update_only ]]; then
	long packages "$log" "${apt[@]}" update || die "the package lists could not be read"
	exit 0
fi
for name in "${need[@]}"; do
	if [[ -z $(candidate "$name") ]]; then
		long packages "$log" "${apt[@]}" update || say "packages: not every list could be read; going on with those that could"
		break
	fi
done

# Fresh lists may know a newer compiler than the stale ones did.
mapfile -t need < <(wanted "$@" | missing)
say "packages: installing ${need[*]}"
long packages "$log" "${apt[@]}" install -y --no-install-recommends "${need[@]}" ||
	die "the packages could not be installed; the reason is above"
did packages "installed: ${need[*]}"
