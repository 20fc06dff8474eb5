// SPDX-License-Identifier: GPL-2.0-only

//! Writing to open files of filesystems below, for files of ours.
//!
//! C headers: [`include/linux/backing-file.h`](srctree/include/linux/backing-file.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h).

use kernel::{
    cred::Credential,
    error::to_result,
    iov::IovIterSource,
    prelude::*, //
};

use super::{
    file::{
        sync_iocb,
        usize_or_errno,
        File,
        Iocb,
        LayerFile,
        Splice, //
    },
    lock::InodeLocked,
    watch::{
        backing_ctx,
        Watcher, //
    },
    FileSystem, //
};
use crate::bindings;

/// Whether somebody who writes may wait for the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// If it is asked for.
    AsAsked,
    /// Never.
    Waived,
}

/// The arguments of the `fallocate` callback.
#[derive(Clone, Copy)]
pub(crate) struct Allocation {
    pub(super) mode: c_int,
    pub(super) offset: i64,
    pub(super) len: i64,
}

/// A part of one file that is to become the same as a part of another.
#[derive(Clone, Copy)]
pub(crate) struct CopyRange {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) len: i64,
    pub(super) flags: c_uint,
}

/// How a part of a file becomes the same as a part of another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyKind {
    /// The data is copied, by whatever way the filesystem has.
    Copy,
    /// Both share the data.
    Clone,
    /// Both share the data if it is the same already.
    Dedupe,
}

impl<F: FileSystem> File<F> {
    /// Takes away what writing by the current task takes from the file: the set-user-ID and set-group-ID
    /// bits, and capabilities. `_held` is the lock of its inode.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    pub(crate) fn remove_privileges(&self, _held: &InodeLocked<'_, F>) -> Result {
        // SAFETY: The file is valid by the type invariant, and its inode is locked.
        to_result(unsafe { bindings::file_remove_privs(self.as_ptr()) })
    }
}

impl LayerFile {
    /// Writes for `iocb`, which belongs to the file of ours that this one was opened for. `_held` is the
    /// lock of that file's inode.
    ///
    /// # Errors
    ///
    /// What the filesystem says; `EIOCBQUEUED` means that the writing goes on.
    #[inline]
    pub(crate) fn write<W: Watcher>(
        &self,
        iocb: &mut Iocb<'_>,
        from: &mut IovIterSource<'_>,
        durability: Durability,
        cred: &Credential,
        _held: &InodeLocked<'_, W::Fs>,
    ) -> Result<usize> {
        // CAST: Flags are below 2^31.
        const SYNC: c_int = (bindings::ROVL_IOCB_SYNC | bindings::ROVL_IOCB_DSYNC) as c_int;

        let mut ctx = backing_ctx::<W>(cred);
        // SAFETY: The request is valid, and ours to use.
        let asked = unsafe { (*iocb.as_ptr()).ki_flags };
        let flags = match durability {
            Durability::AsAsked => asked,
            Durability::Waived => asked & !SYNC,
        };
        // SAFETY: All are valid. The file was opened by `backing_file_open`.
        let written = unsafe {
            bindings::backing_file_write_iter(
                self.as_ptr(),
                from.as_raw(),
                iocb.as_ptr(),
                flags,
                &mut ctx,
            )
        };
        usize_or_errno(written)
    }

    /// Moves up to `len` bytes out of a pipe, for `user` and to `position`, which is advanced. `_held` is
    /// the lock of the inode of `user`.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn splice_write<W: Watcher>(
        &self,
        user: &File<W::Fs>,
        position: &mut i64,
        splice: Splice,
        cred: &Credential,
        _held: &InodeLocked<'_, W::Fs>,
    ) -> Result<usize> {
        let mut ctx = backing_ctx::<W>(cred);
        let mut iocb = sync_iocb(user, *position);
        // SAFETY: All are valid. The file was opened by `backing_file_open`.
        let moved = unsafe {
            bindings::backing_file_splice_write(
                splice.pipe.as_ptr(),
                self.as_ptr(),
                &mut iocb,
                splice.len,
                splice.flags,
                &mut ctx,
            )
        };
        *position = iocb.ki_pos;
        usize_or_errno(moved)
    }

    /// Reserves, frees or moves the space of a part of the file.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the filesystem cannot, `ENOSPC`, and what else it says.
    pub(crate) fn allocate(&self, allocation: Allocation) -> Result {
        let Allocation { mode, offset, len } = allocation;
        // SAFETY: The file is valid by the type invariant.
        to_result(unsafe { bindings::vfs_fallocate(self.as_ptr(), mode, offset, len) })
    }

    /// Checks that the credentials in force may read the part of this file that `range` is copied from.
    ///
    /// # Errors
    ///
    /// `EACCES`, and what else a security module says.
    pub(crate) fn check_readable(&self, range: CopyRange) -> Result {
        // CAST: A small constant.
        const READ: c_int = bindings::ROVL_READ as c_int;

        let len = usize::try_from(range.len).map_err(|_| EINVAL)?;
        // SAFETY: The file is valid by the type invariant, and the position is there to be read.
        to_result(unsafe { bindings::rw_verify_area(READ, self.as_ptr(), &range.from, len) })
    }

    /// Makes a part of this file the same as a part of `source`. Returns for how many bytes it did.
    ///
    /// # Errors
    ///
    /// `EXDEV` if the two files are too far apart, `EOPNOTSUPP` if the filesystem cannot, `EBADE` if
    /// data that should be the same is not, and what else the filesystem says.
    pub(crate) fn copy_from(
        &self,
        source: &LayerFile,
        range: CopyRange,
        kind: CopyKind,
    ) -> Result<i64> {
        let CopyRange {
            from,
            to,
            len,
            flags,
        } = range;
        let (source, this) = (source.as_ptr(), self.as_ptr());
        let done = match kind {
            CopyKind::Copy => {
                let len = usize::try_from(len).map_err(|_| EINVAL)?;
                // SAFETY: Both files are valid by the type invariant.
                let done =
                    unsafe { bindings::vfs_copy_file_range(source, from, this, to, len, flags) };
                i64::try_from(done).map_err(|_| EOVERFLOW)?
            }
            // SAFETY: As above.
            CopyKind::Clone => unsafe {
                bindings::vfs_clone_file_range(source, from, this, to, len, flags)
            },
            // SAFETY: As above.
            CopyKind::Dedupe => unsafe {
                bindings::vfs_dedupe_file_range_one(source, from, this, to, len, flags)
            },
        };
        if done < 0 {
            // CAST: A negative value is an errno.
            to_result(done as c_int)?;
        }
        Ok(done)
    }
}
