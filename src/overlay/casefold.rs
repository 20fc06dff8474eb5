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

/// Why case can neither count nor not count in an overlay.
pub(super) enum Unfit {
    /// The topmost layer refuses names that are no proper text.
    Strict,
    /// This lower layer folds names in another way than the topmost one.
    Differs(usize),
    /// Anything else.
    Other(Error),
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Lets case not count in the new superblock if it does not in the layers' roots.
///
/// # Errors
///
/// [`Unfit`] if the layers do not fold names in the same way, or refuse names that are no proper text.
pub(super) fn adopt(sb: &mut NewSuperBlock<'_, Overlay>, layers: &Layers) -> Result<(), Unfit> {
    let first = layers.top()?;
    if Case::of(first.root()) == Case::Counts {
        return Ok(());
    }
    let first = first.mount().superblock();
    if first.has_strict_encoding() {
        return Err(Unfit::Strict);
    }
    let differs = |layer: &Layer| !layer.mount().superblock().has_encoding_of(first);
    if let Some(index) = layers.lower().iter().position(differs) {
        return Err(Unfit::Differs(index));
    }
    sb.adopt_encoding(first);
    Ok(())
}
