#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# rustfmt would change nothing. It takes the .rustfmt.toml that is nearest to a file.

source "$(dirname "$0")/lib.sh"
cd "$top"

PATH=$("$top/scripts/rust.sh"):$PATH
command -v rustfmt >/dev/null || die "rustfmt is not installed: 'rustup component add rustfmt', or the distribution's package, brings it"
mapfile -t files < <(project_files '*.rs')
if ! rustfmt --check --edition 2021 --color never "${files[@]}" >&2; then
	say "run 'make fmt'"
	exit 1
fi
