#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Fuzzes the parsers of src/model, one after the other, by cargo-fuzz and libFuzzer. The targets are those of tests/fuzz.
#   scripts/fuzz.sh [TARGET..]
#   FUZZ_SECONDS=n  how long each target runs (default 30)
# The inputs that reach new code stay in the cache, for the next run to go on from. One that fails is made smaller and named.

source "$(dirname "$0")/lib.sh"

seconds=${FUZZ_SECONDS:-30}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "FUZZ_SECONDS=$seconds is no number of seconds"
# Later ones need a compiler of 1.91.
pinned=0.13.1
fuzz=$top/tests/fuzz

mapfile -t known < <(cd "$fuzz/fuzz_targets" && printf '%s\n' *.rs | sed 's/\.rs$//')
(($# > 0)) || set -- "${known[@]}"
for target; do
	[[ -f $fuzz/fuzz_targets/$target.rs ]] || die "there is no target named '$target', only: ${known[*]}"
done

"$top/scripts/packages.sh" build
rust=$("$top/scripts/rust.sh")
# libFuzzer comes as C++; clang is there in any case.
if [[ -z ${CXX:-} ]] && ! command -v c++ >/dev/null; then
	CXX=$(llvm_program "$(llvm_argument)" clang++)
	export CXX
fi

lock fuzz
tool=$cache/tools/cargo-fuzz-$pinned
if [[ ! -x $tool/bin/cargo-fuzz ]]; then
	rm -rf "$tool.part"
	mkdir -p "$tool.part"
	PATH=$rust:$PATH CARGO_TARGET_DIR=$tool.part/target long cargo-fuzz "$cache/log/cargo-fuzz.log" \
		cargo install cargo-fuzz --version "$pinned" --locked --no-track --root "$tool.part" ||
		die "cargo-fuzz $pinned could not be built; the reason is above"
	rm -rf "$tool.part/target"
	mv "$tool.part" "$tool"
	did cargo-fuzz "$pinned, built by cargo"
fi
export PATH=$rust:$tool/bin:$PATH

# Only sanitizers need a nightly compiler, and they look for what code without unsafe cannot do. src/model forbids unsafe.
built=$cache/target-fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
long "fuzz, build" "$cache/log/fuzz-build.log" cargo fuzz build --fuzz-dir "$fuzz" --sanitizer none --target-dir "$built" ||
	die "the targets could not be built; the reason is above"
did "fuzz, build" "${#known[@]} targets"

# stat LOG NAME: one of libFuzzer's numbers.
stat_of() {
	sed -n "s/^stat::$2: *//p" "$1"
}

failed=()
for target; do
	program=$built/$triple/release/$target
	corpus=$cache/fuzz/$target
	log=$cache/log/fuzz-$target.log
	mkdir -p "$corpus" "$cache/fuzz-failed"
	folders=("$corpus")
	[[ ! -d $fuzz/regressions/$target ]] || folders+=("$fuzz/regressions/$target")

	status=0
	"$program" "${folders[@]}" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 \
		-artifact_prefix="$cache/fuzz-failed/$target-" >"$log" 2>&1 </dev/null || status=$?
	runs=$(stat_of "$log" number_of_executed_units)
	case $status in
	0)
		kept=$(find "$corpus" -type f | wc -l)
		did "fuzz $target" "$runs inputs tried, $kept kept"
		continue
		;;
	72) die "interrupted" ;;
	esac

	failed+=("$target")
	input=$(sed -n 's/^.*Test unit written to //p' "$log" | tail -n 1)
	say "fuzz $target: FAILED with status $status after ${runs:-no} inputs; from $log:"
	grep -m 1 -A 3 -E 'panicked at|ERROR: libFuzzer' "$log" >&2 || tail -n 25 "$log" >&2
	[[ -n $input ]] || continue
	"$program" -minimize_crash=1 -max_total_time=10 -exact_artifact_path="$input.small" "$input" >/dev/null 2>&1 </dev/null || true
	[[ ! -s $input.small ]] || mv "$input.small" "$input"
	say "the input is $input"
	say "once it is understood, keep it as $fuzz/regressions/$target/NAME-OF-THE-FAULT: the host tests try it each time"
done
((${#failed[@]} == 0)) || die "targets that failed: ${failed[*]}"
