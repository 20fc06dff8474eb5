// SPDX-License-Identifier: GPL-2.0-only

//! Copying data from one file of the filesystems below to another.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/splice.h`](srctree/include/linux/splice.h).

use kernel::{
    cred::Credential,
    error::to_result,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    file::{
        usize_or_errno,
        LayerFile,
        OpenFlags,
        Whence, //
    },
    inode::Access,
    path::PathRef, //
};
use crate::bindings;

/// Whether somebody wants to kill the current task, which then has to leave off soon.
pub(crate) fn is_being_killed() -> bool {
    // SAFETY: There are no requirements.
    unsafe { bindings::rovl_fatal_signal_pending() }
}

/// The length that a C function has returned, or the error.
fn length_or_errno(value: i64) -> Result<i64> {
    if value < 0 {
        // CAST: A negative value is an errno.
        to_result(value as c_int)?;
    }
    Ok(value)
}

impl LayerFile {
    /// Opens what is at `path` to write to it, if `cred`, which has to be in force, may.
    ///
    /// # Errors
    ///
    /// `EACCES` and what else opening can give. (C: `ovl_path_open`.)
    pub(crate) fn open_to_write(path: &PathRef<'_>, cred: &Credential) -> Result<ARef<Self>> {
        let inode = path.dentry.inode().ok_or(ESTALE)?;
        inode.permission(path.mount.idmap(), Access::OPEN_WRITE)?;
        Self::open_unchecked(path, OpenFlags::WRITE_LARGE, cred)
    }

    /// Lets `to`, which is empty, share the first `len` bytes with this file. Returns how many it shares.
    ///
    /// # Errors
    ///
    /// `EXDEV` and `EOPNOTSUPP` if the filesystem does not do that, and what else it says.
    pub(crate) fn clone_to(&self, to: &Self, len: i64) -> Result<i64> {
        // SAFETY: Both files are valid by their invariants.
        length_or_errno(unsafe {
            bindings::vfs_clone_file_range(self.as_ptr(), 0, to.as_ptr(), 0, len, 0)
        })
    }

    /// Asks the security modules whether `len` bytes may be read from here and written to `to`.
    ///
    /// # Errors
    ///
    /// What they say.
    pub(crate) fn may_copy_to(&self, to: &Self, len: i64) -> Result {
        // CAST: Constants of 0 and 1.
        const READ: c_int = bindings::READ as c_int;
        // CAST: As above.
        const WRITE: c_int = bindings::WRITE as c_int;

        let (start, len) = (0, usize::try_from(len)?);
        // SAFETY: The file is valid by the type invariant, and the position is only read.
        to_result(unsafe { bindings::rw_verify_area(READ, self.as_ptr(), &start, len) })?;
        // SAFETY: As above.
        to_result(unsafe { bindings::rw_verify_area(WRITE, to.as_ptr(), &start, len) })
    }

    /// Whether the filesystem has a way of its own to copy into this file, as network filesystems do.
    pub(crate) fn copies_on_its_own(&self) -> bool {
        // SAFETY: The file is valid, and an open file has a table of callbacks.
        unsafe { (*(*self.as_ptr()).f_op).copy_file_range.is_some() }
    }

    /// Copies up to `len` bytes from `position` on to the same place in `to`, in the way that the
    /// filesystem has of its own. Returns how many were copied.
    ///
    /// # Errors
    ///
    /// `EXDEV` and `EOPNOTSUPP` if it cannot do it between these two, and what else it says.
    pub(crate) fn copy_range_to(&self, to: &Self, position: i64, len: usize) -> Result<usize> {
        // SAFETY: Both files are valid by their invariants.
        usize_or_errno(unsafe {
            bindings::vfs_copy_file_range(self.as_ptr(), position, to.as_ptr(), position, len, 0)
        })
    }

    /// Copies up to `len` bytes from `position` on to the same place in `to`, through the page caches of
    /// both. Returns how many were copied.
    ///
    /// # Errors
    ///
    /// What the filesystems say.
    pub(crate) fn splice_to(&self, to: &Self, position: i64, len: usize) -> Result<usize> {
        let (mut from_position, mut to_position) = (position, position);
        // SAFETY: Both files are valid by their invariants, and so are the positions.
        usize_or_errno(unsafe {
            bindings::rovl_do_splice_direct(
                self.as_ptr(),
                &mut from_position,
                to.as_ptr(),
                &mut to_position,
                len,
                bindings::ROVL_SPLICE_F_MOVE,
            )
        })
    }

    /// Whether a position in the file can be chosen.
    pub(crate) fn can_seek(&self) -> bool {
        // SAFETY: The file is valid, and its mode does not change once it is open.
        unsafe { (*self.as_ptr()).f_mode & bindings::ROVL_FMODE_LSEEK != 0 }
    }

    /// Where the next data is, from `position` on; `None` if there is a hole up to the end.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn next_data(&self, position: i64) -> Result<Option<i64>> {
        // CAST: A small constant.
        const DATA: c_int = bindings::SEEK_DATA as c_int;

        self.seek_next(position, DATA)
    }

    /// Where the next hole is, from `position` on, at the end at the latest; `None` if `position` is beyond
    /// it.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn next_hole(&self, position: i64) -> Result<Option<i64>> {
        // CAST: A small constant.
        const HOLE: c_int = bindings::SEEK_HOLE as c_int;

        self.seek_next(position, HOLE)
    }

    fn seek_next(&self, position: i64, what: c_int) -> Result<Option<i64>> {
        match self.seek(position, position, Whence::Other(what)) {
            Err(error) if error == ENXIO => Ok(None),
            result => result.map(Some),
        }
    }

    /// Writes all of it to the disk.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn sync_all(&self) -> Result {
        // SAFETY: The file is valid by the type invariant.
        to_result(unsafe { bindings::vfs_fsync(self.as_ptr(), 0) })
    }
}
