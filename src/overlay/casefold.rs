// SPDX-License-Identifier: GPL-2.0-only

//! Layers in which case does not count: all of them have to agree.
//!
//! See E17 and L9 of the behaviour of overlayfs, `ovl_set_encoding` and `ovl_get_layers` in
//! [`fs/overlayfs/super.c`](srctree/fs/overlayfs/super.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    fs::Overlay,
    layer::Layers, //
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
    /// The last layer folds names in another way than the topmost one.
    Differs,
    /// Anything else.
    Other(Error),
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Checks that the layer that was added last folds names as the topmost one does. (C: `ovl_set_encoding`.)
///
/// # Errors
///
/// [`Unfit`] if it does not, or refuses names that are no proper text.
pub(super) fn check_last(layers: &Layers) -> Result<(), Unfit> {
    let first = layers.top()?;
    if Case::of(first.root()) == Case::Counts {
        return Ok(());
    }
    let first = first.mount().superblock();
    if first.has_strict_encoding() {
        return Err(Unfit::Strict);
    }
    match layers.lower().last() {
        Some(last) if !last.mount().superblock().has_encoding_of(first) => Err(Unfit::Differs),
        _ => Ok(()),
    }
}

/// Lets case not count in the new superblock if it does not in the layers' roots, which have been checked.
///
/// # Errors
///
/// `EINVAL` if there are no layers.
pub(super) fn adopt(sb: &mut NewSuperBlock<'_, Overlay>, layers: &Layers) -> Result {
    let first = layers.top()?;
    if Case::of(first.root()) == Case::Folded {
        sb.adopt_encoding(first.mount().superblock());
    }
    Ok(())
}
