#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds one program of the workspace in tests/ as a static one, which runs on the host and in the guest, and prints its path.
#   scripts/program.sh rovl-guest|rovl-run|rovl-selftests|rovl-stress|rovl-crash|rovl-suites|rovl-oracle

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

name=${1:-}
[[ -n $name ]] || die "program.sh: which program?"

rust=$("$top/scripts/rust.sh")
export PATH=$rust:$PATH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
# Static, because the guest has no libraries. The target is named so that this does not reach build scripts and macros.
export RUSTFLAGS="-C target-feature=+crt-static"
triple=$(rustc -vV | sed -n 's/^host: //p')

log=$cache/log/program-$name.log
lock "program-$name"
long "$name" "$log" cargo build --manifest-path "$top/tests/Cargo.toml" --locked --release --target "$triple" --package "$name" ||
	die "$name could not be built; the reason is above"
if grep -q '^ *Compiling ' "$log"; then
	did "$name" "built"
else
	in_place "$name" "up to date"
fi
echo "$CARGO_TARGET_DIR/$triple/release/$name"
