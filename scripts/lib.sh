#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What the other scripts share: the cache, locks, messages with times, and long commands with progress.
# Sourced, never run. People read stderr; a script's result is the only thing on stdout.

set -euo pipefail
shopt -s inherit_errexit

# Sourcing scripts use these.
# shellcheck disable=SC2034
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set, and XDG_CACHE_HOME neither}/.cache}/rovl
mkdir -p "$cache/lock" "$cache/log"

# A script that another one calls stays silent where nothing was to do; else each step of a run would be listed many times.
nested=${ROVL_NESTED:-}
export ROVL_NESTED=1

# The make that called has variables and a job server of its own; a kernel's make must see neither.
verbose=${V:+V=$V}
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES KBUILD_OUTPUT

# Everything is parsed in this locale, whatever the user's is.
export LC_ALL=C.UTF-8

say() {
	printf '%s\n' "$*" >&2
}

die() {
	printf 'rovl: error: %s\n' "$*" >&2
	exit 1
}

# 75 -> "1 min 15 s"
duration() {
	if (($1 < 60)); then
		printf '%d s' "$1"
	else
		printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
	fi
}

# The one line of a step: name, outcome, time since the script began.
did() {
	local step=$1
	shift
	printf '%-14s %s (%s)\n' "$step" "$*" "$(duration "$SECONDS")" >&2
}

# The same for a step that found its work done before.
in_place() {
	[[ -n $nested ]] || did "$@"
}

# What goes before a command that needs root: `become_root` fills it.
as_root=()
become_root() {
	((EUID != 0)) || return 0
	command -v sudo >/dev/null || die "$1, which needs root, and there is no sudo"
	# The path leads to the tools that were chosen; sudo would put its own in its place.
	as_root=(sudo env "PATH=$PATH")
}

# project_files PATTERN..: the project's files of these names, whether or not they are committed yet.
project_files() {
	if [[ -d $top/.git || -f $top/.git ]]; then
		git -C "$top" ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do
			[[ ! -f $top/$file ]] || echo "$file"
		done | sort -u
	else
		local pattern
		for pattern; do
			(cd "$top" && find . -path "./$pattern" -type f -not -path './build/*' -printf '%P\n')
		done | sort -u
	fi
}

# code_of FILE: a Rust file with its comments blanked and without its tests, which stand at its end or in a file of their own;
# lines keep their numbers.
code_of() {
	case $1 in
	*/tests.rs | */tests/*) return ;;
	esac
	awk '
		test { test = 0; if (/^ *(pub\(.*\) )?mod [a-z_]+ *\{/) exit; print ""; next }
		/^ *#\[cfg\(test\)\]/ { test = 1; print ""; next }
		{ sub(/\/\/.*/, ""); print }' "$1"
}

# Standard input -> 16 digits that name it in the cache.
key() {
	sha256sum | cut -c1-16
}

# version_ge 1.96.0 1.85.0
version_ge() {
	[[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | sed -n 1p) == "$2" ]]
}

# Debian 12 has this LLVM and later ones; nothing older was tried.
llvm_least=19

# The number of the newest complete LLVM, as Debian names and places its parts; nothing where there is none.
newest_llvm() {
	local n
	for ((n = 40; n >= llvm_least; n--)); do
		if [[ -x /usr/bin/clang-$n && -x /usr/bin/ld.lld-$n && -x /usr/bin/llvm-ar-$n ]] &&
			compgen -G "/usr/lib/llvm-$n/lib/libclang*.so*" >/dev/null; then
			echo "$n"
			return
		fi
	done
}

# The value of make's LLVM=: what the user says, else the newest one.
llvm_argument() {
	local n
	if [[ -n ${LLVM:-} ]]; then
		echo "$LLVM"
		return
	fi
	n=$(newest_llvm)
	[[ -n $n ]] || die "no complete LLVM of $llvm_least or later is installed: clang, lld, llvm and libclang are needed (scripts/packages.sh build installs them)"
	echo "-$n"
}

# llvm_program LLVM NAME: the program that make would take for this value of LLVM=, a suffix, a folder with its slash, or 1.
llvm_program() {
	case $1 in
	-*) echo "$2$1" ;;
	*/) echo "$1$2" ;;
	*) echo "$2" ;;
	esac
}

# The argument that makes Kbuild use the compiler that built the tree: another one may not know the flags in its configuration,
# and the kernel's own check only warns.
compiler_for() {
	local config=$1/include/config/auto.conf text name n
	text=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\(.*\)"/\1/p' "$config")
	if grep -q '^CONFIG_CC_IS_GCC=y' "$config"; then
		# "x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0": the program's own name comes first.
		name=${text%% *}
		if ! command -v "$name" >/dev/null; then
			die "the kernel in $1 was built by '$text', and there is no $name here: install it"
		fi
		echo "CC=$name"
		return
	fi
	if [[ -n ${LLVM:-} ]]; then
		echo "LLVM=$LLVM"
		return
	fi
	n=$(sed -n 's/^CONFIG_CLANG_VERSION=//p' "$config")
	n=$((${n:-0} / 10000))
	if command -v "clang-$n" >/dev/null && command -v "ld.lld-$n" >/dev/null; then
		echo "LLVM=-$n"
	elif [[ $(clang --version 2>/dev/null | sed -n 1p) == "$text" ]]; then
		echo "LLVM=1"
	else
		die "the kernel in $1 was built by '$text', and there is no clang $n with its lld here: install clang-$n lld-$n llvm-$n"
	fi
}

# bindgen would take any libclang that it finds; it has to be the compiler's own.
export_libclang() {
	local folder
	folder=$("$(llvm_program "$1" llvm-config)" --libdir 2>/dev/null) || return 0
	export LIBCLANG_PATH=$folder
}

# Puts the tools that fit a built tree first in PATH; sets rust, bindgen and compiler.
tools_for() {
	rust=$("$top/scripts/rust.sh" --for "$1")
	bindgen=${BINDGEN:-$("$top/scripts/bindgen.sh")}
	compiler=$(compiler_for "$1")
	export PATH=$rust:${bindgen%/*}:$PATH
	[[ $compiler != LLVM=* ]] || export_libclang "${compiler#LLVM=}"
}

# kbuild KDIR OBJECTS FLAVOUR ARGUMENT..: the kernel's make for the module, after tools_for.
kbuild() {
	local kdir=$1 objects=$2 flavour=$3
	shift 3
	# The name of the release is the tree's own, also where the environment has one.
	"${as_root[@]}" make -C "$kdir" --no-print-directory "M=$top" "MO=$objects" "ROVL_FLAVOUR=$flavour" "$compiler" "BINDGEN=$bindgen" \
		"KERNELRELEASE=$(<"$kdir/include/config/kernel.release")" ${verbose:+"$verbose"} "-j$(nproc)" "$@" >&2
}

# used FOLDER: one of several in the cache of which each serves one purpose until what makes it changes. Notes that it is in
# use, and removes those beside it that were not for a month.
used() {
	touch "$1"
	find "${1%/*}" -mindepth 1 -maxdepth 1 -not -path "$1" -mtime +30 -exec rm -rf {} +
}

# Holds the lock until the script ends. Children inherit it, so that a compiler that outlives an interrupted script still
# keeps others out of its output.
lock() {
	local fd
	exec {fd}>"$cache/lock/$1"
	if ! flock -n "$fd"; then
		say "another run is busy with $1: waiting for it"
		flock "$fd"
	fi
}

# fetch URL FILE: to a temporary name first. The limits are short, for machines that can reach nothing outside.
fetch() {
	rm -f "$2.part"
	curl --fail --silent --show-error --location --connect-timeout 6 --speed-limit 1000 --speed-time 30 --output "$2.part" "$1" &&
		mv "$2.part" "$2"
}

# The number of finished steps in a log of make, cargo, apt or mmdebstrap.
steps_in() {
	grep -c -E '^ +[A-Z][A-Za-z]+ |^(Get:[0-9]|Unpacking |Setting up |I: |layers: )' "$1" 2>/dev/null || true
}

# Waits without a child process: a sleep left behind would hold the locks and the output of a script that is gone.
pause() {
	read -r -t "$1" <> <(:) || true
}

# Reports on a long command, in place on a terminal, else by one line a minute, until it is killed or the script is gone: an
# interrupt from the terminal does not reach what runs in the background.
watch_log() {
	local label=$1 log=$2 begun=$SECONDS every=60 start='' end=$'\n' said=0 now steps
	trap - EXIT
	if [[ -t 2 ]]; then
		every=1 start=$'\r\033[K' end=''
	fi
	while pause 1 && kill -0 $$ 2>/dev/null; do
		now=$((SECONDS - begun))
		if ((now - said >= every)); then
			said=$now
			# Not every command tells what it does.
			steps=$(steps_in "$log")
			((steps > 0)) && steps="$steps steps after" || steps="for"
			printf '%s%-14s ... %s %s%s' "$start" "$label" "$steps" "$(duration "$now")" "$end" >&2
		fi
	done
}

# long LABEL LOG COMMAND..: runs the command with its output in the log, shows progress, and prints the end of the log on failure.
# The command runs in the foreground and the reporter in the background, so that an interrupt from the terminal reaches the command.
long() {
	local label=$1 log=$2 reporter status=0
	shift 2
	: >"$log"
	watch_log "$label" "$log" &
	reporter=$!
	"$@" >"$log" 2>&1 </dev/null || status=$?
	kill "$reporter" 2>/dev/null || true
	wait "$reporter" 2>/dev/null || true
	[[ ! -t 2 ]] || printf '\r\033[K' >&2
	if ((status != 0)); then
		say "$label: failed with status $status; the end of $log:"
		# The first error of a parallel build stands well before its last line.
		grep -n -i -m 12 -E '(^|[^a-z_-])error(:|\[)|No space left|\*\*\*' "$log" >&2 || true
		tail -n 25 "$log" >&2
	fi
	return "$status"
}
