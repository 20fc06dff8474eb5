#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Formats all Rust as scripts/check-format.sh wants it.

source "$(dirname "$0")/lib.sh"
cd "$top"

PATH=$("$top/scripts/rust.sh"):$PATH
mapfile -t files < <(project_files '*.rs')
rustfmt --edition 2021 "${files[@]}"
