// SPDX-License-Identifier: GPL-2.0-only

//! Copying an object up: making it anew in upper, before the first change.
//!
//! See C1 to C7 of the behaviour of overlayfs, and
//! [`fs/overlayfs/copy_up.c`](srctree/fs/overlayfs/copy_up.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::fs::Overlay;
use crate::vfs::dentry::Dentry;

/// Makes sure that the object, and all directories above it, are in upper, with all their data.
///
/// The mounter's credentials are in force, and no write access is held.
///
/// # Errors
///
/// `EROFS` if nothing can be written, `EOVERFLOW` if the owner has no number here, `EINTR`, and what the
/// layers' filesystems say.
pub(crate) fn copy_up(dentry: &Dentry<Overlay>) -> Result {
    match dentry.inode().ok_or(ESTALE)?.node().upper() {
        Some(_) => Ok(()),
        // TODO: Nothing is copied up yet.
        None => Err(EROFS),
    }
}

/// As [`copy_up`], of a regular file that is about to lose all its data, so that none is copied.
///
/// # Errors
///
/// As [`copy_up`].
pub(crate) fn copy_up_truncated(dentry: &Dentry<Overlay>) -> Result {
    copy_up(dentry)
}
