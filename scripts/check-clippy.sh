#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# clippy has no word to say, neither on the module nor on the programs of host and guest.

source "$(dirname "$0")/lib.sh"

kdir=$("$top/scripts/kdir.sh" test)
status=0
"$top/scripts/module.sh" --as clippy "$kdir" CLIPPY=1 W=e >/dev/null &
other=$!
long "clippy, host" "$cache/log/check-clippy.log" "$top/scripts/cargo.sh" clippy --locked --workspace --all-targets -- -D warnings || status=1
wait "$other" || status=1
exit "$status"
