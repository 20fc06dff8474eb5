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

/// What becomes of what is in the place that something is renamed to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenameMode {
    /// It goes. If it had to be kept, the VFS has made sure that nothing is there.
    Replace,
    /// It takes the place that is left.
    Exchange,
}

impl RenameMode {
    /// From the flags that a callback gets.
    ///
    /// # Errors
    ///
    /// `EINVAL` for others.
    fn from_raw(flags: c_uint) -> Result<Self> {
        match flags {
            0 | bindings::RENAME_NOREPLACE => Ok(Self::Replace),
            bindings::RENAME_EXCHANGE => Ok(Self::Exchange),
            _ => Err(EINVAL),
        }
    }
}

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

    /// # Safety
    ///
    /// Called by the VFS with two directories of `T::Fs` that are locked, a positive dentry in the old
    /// one, and a dentry in the new one. The inode of the latter, if it has one that would go, is locked.
    pub(super) unsafe extern "C" fn rename(
        _idmap: *mut bindings::mnt_idmap,
        _old_dir: *mut bindings::inode,
        old: *mut bindings::dentry,
        _new_dir: *mut bindings::inode,
        new: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        from_result(|| {
            let mode = RenameMode::from_raw(flags)?;
            // SAFETY: By the callback's contract, until this returns.
            let old = unsafe { LockedName::from_raw(old) };
            // SAFETY: As above.
            let new = unsafe { LockedName::from_raw(new) };
            T::rename(old, new, mode)?;
            Ok(0)
        })
    }
}
