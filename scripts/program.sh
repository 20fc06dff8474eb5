#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds programs of the workspace in tests/ as static ones, which run on the host and in the guest, and prints their paths.
#   scripts/program.sh rovl-guest|rovl-run|rovl-selftests|rovl-stress|rovl-crash|rovl-suites|rovl-oracle ..

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

(($# > 0)) || die "program.sh: which program?"
name=$1
(($# == 1)) || name=programs

rust=$("$top/scripts/rust.sh")
export PATH=$rust:$PATH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
# Static, because the guest has no libraries. The target is named so that this does not reach build scripts and macros.
export RUSTFLAGS="-C target-feature=+crt-static"
triple=$(rustc -vV | sed -n 's/^host: //p')

log=$cache/log/program-$name.log
lock "program-$name"
long "$name" "$log" cargo build --manifest-path "$top/tests/Cargo.toml" --locked --release --target "$triple" "${@/#/--package=}" ||
	die "$name could not be built; the reason is above"
if grep -q '^ *Compiling ' "$log"; then
	did "$name" "built"
else
	in_place "$name" "up to date"
fi
printf "$CARGO_TARGET_DIR/$triple/release/%s\\n" "$@"
