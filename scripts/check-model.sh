#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The host tests of src/model.

source "$(dirname "$0")/lib.sh"

long "model tests" "$cache/log/check-model.log" "$top/scripts/cargo.sh" test --locked -p rovl-model-tests
grep '^test result: ' "$cache/log/check-model.log" | grep -v ' 0 passed; 0 failed; 0 ignored' >&2 || die "no test of src/model was run"
