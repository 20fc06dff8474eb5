#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Both flavours of the module build without a warning.

source "$(dirname "$0")/lib.sh"

kdir=$("$top/scripts/kdir.sh" test)
"$top/scripts/module.sh" --dropin --as werror "$kdir" W=e >/dev/null &
other=$!
status=0
"$top/scripts/module.sh" --as werror "$kdir" W=e >/dev/null || status=1
wait "$other" || status=1
exit "$status"
