// SPDX-License-Identifier: GPL-2.0-only

//! Layers in which case does not count: all of them have to agree.
//!
//! See E17 and L9 of the behaviour of overlayfs, `ovl_set_encoding` and `ovl_get_layers` in
//! [`fs/overlayfs/super.c`](srctree/fs/overlayfs/super.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    fs::Overlay,
    layer::{
        Layer,
        Layers, //
    },
};
use crate::vfs::{
    context::Log,
    dentry::Dentry,
    superblock::NewSuperBlock,
    AnyFs, //
};

/// Whether case counts in the directories of an overlay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// It does, in all of them.
    Counts,
    /// It does not, in any of them.
    Folded,
}

impl Case {
    /// That of a directory of a layer.
    #[inline]
    pub(super) fn of(directory: &Dentry<AnyFs>) -> Self {
        match directory.is_casefolded() {
            true => Self::Folded,
            false => Self::Counts,
        }
    }
}

/// Lets case not count in the new superblock if it does not in the layers' roots.
///
/// # Errors
///
/// `EINVAL` if the layers do not fold names in the same way, or refuse names that are no proper text.
pub(super) fn adopt(log: &Log<'_>, sb: &mut NewSuperBlock<'_, Overlay>, layers: &Layers) -> Result {
    let first = layers.top()?;
    if Case::of(first.root()) == Case::Counts {
        return Ok(());
    }
    let first = first.mount().superblock();
    if first.has_strict_encoding() {
        return Err(log.refuse(fmt!("strict encoding not supported")));
    }
    let same = |layer: &Layer| layer.mount().superblock().has_encoding_of(first);
    if !layers.lower().iter().all(same) {
        return Err(log.refuse(fmt!("lowerdir: all layers must have the same encoding")));
    }
    sb.adopt_encoding(first);
    Ok(())
}
