// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of directories by which names go, or change.
//!
//! The trait and the table are in [`super::inode`].
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use kernel::{
    error::from_result,
    prelude::*, //
};

use super::inode::{
    InodeOps,
    InodeTable, //
};
use crate::{
    bindings,
    vfs::locked_name::LockedName, //
};

impl<T: InodeOps> InodeTable<T> {
    /// # Safety
    ///
    /// Called by the VFS with a directory of `T::Fs`, and a positive dentry in it whose inode is no
    /// directory; both inodes are locked.
    pub(super) unsafe extern "C" fn unlink(
        _dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract, until this returns.
            let name = unsafe { LockedName::from_raw(dentry) };
            T::unlink(name)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory of `T::Fs`, and the dentry of a directory in it; both inodes
    /// are locked.
    pub(super) unsafe extern "C" fn rmdir(
        _dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract, until this returns.
            let name = unsafe { LockedName::from_raw(dentry) };
            T::rmdir(name)?;
            Ok(0)
        })
    }
}
