// SPDX-License-Identifier: GPL-2.0-only

//! Whether a name still stands for the objects that were found for it.
//!
//! Only filesystems below can tell, and most never need to be asked: the overlay's dentries are marked to be
//! asked about when one of those below is. See L6 of the behaviour of overlayfs, and
//! `ovl_dentry_revalidate_common` in [`fs/overlayfs/super.c`](srctree/fs/overlayfs/super.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    fs::Overlay,
    node::Node, //
};
use crate::vfs::{
    dentry::Dentry,
    revalidate::{
        Question,
        Wish, //
    },
};

/// Whether someone wants to be asked about names of the inode that `node` belongs to.
/// (C: `ovl_dentry_init_flags`.)
pub(crate) fn wish(node: &Node) -> Wish {
    Wish::of_any(node.all().map(|(_, dentry)| dentry))
}

/// Whether all that `dentry` stands for is still what it was.
///
/// Works under the RCU read lock too.
///
/// # Errors
///
/// `ECHILD` if it cannot be told without blocking, `ESTALE`, and what the layers' filesystems say.
pub(crate) fn is_current(dentry: &Dentry<Overlay>, question: Question) -> Result<bool> {
    // A name that does not exist is never asked about, so this one is just going away.
    let inode = dentry.inode().ok_or(ECHILD)?;
    for (_, real) in inode.node().all() {
        if !real.is_current(question)? {
            return Ok(false);
        }
    }
    Ok(true)
}
