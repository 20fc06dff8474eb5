#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The direction of imports in the module:
#   bindings and shim <- vfs <- overlay <- ops <- rovl_main, and model <- overlay, ops.
# vfs knows nothing of overlays; model imports nothing but core and zerocopy's derives, so that cargo can compile it as it stands.

source "$(dirname "$0")/lib.sh"
cd "$top"

status=0

# refuse ROOM PATTERN REASON: no code line of the room's files may match.
refuse() {
	local room=$1 pattern=$2 reason=$3 file found
	while read -r file; do
		found=$(code_of "$file" | grep -n -E "$pattern" || true)
		if [[ -n $found ]]; then
			say "$file: $reason:"
			say "$found"
			status=1
		fi
	done < <(project_files "src/$room.rs" "src/$room/*")
}

# A path may be written in one piece, `crate::ops::x`, or as a list, `crate::{ops::x, y}`, of which rustfmt puts each on a line.
names() {
	printf '%s' "(crate::|^ *)($1)(::|,|;| as )|crate::\\{.*\\b($1)\\b"
}

refuse vfs "$(names 'overlay|ops|model')" "vfs must not know what is built on it"
refuse vfs '(^|[^A-Za-z0-9_"])([A-Za-z_]*overlay[A-Za-z_]*|copy_up|metacopy|lowerdir|upperdir|workdir)([^A-Za-z0-9_]|$)' "vfs must name nothing of overlays"
refuse overlay "$(names 'ops|bindings')" "overlay may use vfs and model"
refuse ops "$(names 'bindings')" "ops may use overlay, model and vfs"
refuse model "$(names 'overlay|ops|vfs|bindings')" "model may use nothing but core"
refuse model '(^|[^A-Za-z0-9_])(kernel|pin_init|alloc|std|macros)::' "model may use nothing but core"
exit "$status"
