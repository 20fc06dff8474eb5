#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs cargo with the toolchain of rust.sh on the workspace of host and guest programs, with its output in the cache.
#   scripts/cargo.sh SUBCOMMAND [ARGUMENT..]

source "$(dirname "$0")/lib.sh"

[[ -n ${1:-} ]] || die "cargo.sh: which subcommand?"
rust=$("$top/scripts/rust.sh")
export PATH=$rust:$PATH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
subcommand=$1
shift
exec cargo "$subcommand" --manifest-path "$top/tests/Cargo.toml" "$@"
