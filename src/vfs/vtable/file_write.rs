// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of open files that are written to.
//!
//! The other half of [`super::file`], which has the trait and the table.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use core::ptr::NonNull;
use kernel::{
    error::from_result,
    iov::IovIterSource,
    prelude::*, //
};

use super::file::{
    FileOps,
    FileTable, //
};
use crate::{
    bindings,
    vfs::{
        file::{
            File,
            Iocb,
            Splice, //
        },
        write::{
            Allocation,
            CopyKind,
            CopyRange, //
        }, //
    },
};

impl<T: FileOps> FileTable<T> {
    /// # Safety
    ///
    /// Called by the VFS with a request for a file that was opened by `Self::open`.
    pub(super) unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        from: *mut bindings::iov_iter,
    ) -> isize {
        from_result(|| {
            let iocb = NonNull::new(iocb).ok_or(EINVAL)?;
            // SAFETY: By the callback's contract.
            let raw = unsafe { (*iocb.as_ptr()).ki_filp };
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            // SAFETY: By the callback's contract.
            let from = unsafe { IovIterSource::from_raw(from) };
            if from.is_empty() {
                return Ok(0);
            }
            // SAFETY: By the callback's contract.
            let mut iocb = unsafe { Iocb::from_raw(iocb) };
            let written = T::write_iter(file, handle, &mut iocb, from)?;
            isize::try_from(written).map_err(|_| EOVERFLOW)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a pipe, a file that was opened by `Self::open` and a position.
    pub(super) unsafe extern "C" fn splice_write(
        pipe: *mut bindings::pipe_inode_info,
        raw: *mut bindings::file,
        position: *mut bindings::loff_t,
        len: usize,
        flags: c_uint,
    ) -> isize {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            let splice = Splice {
                pipe: NonNull::new(pipe).ok_or(EINVAL)?,
                len,
                flags,
            };
            // SAFETY: By the callback's contract.
            let position = unsafe { &mut *position };
            let moved = T::splice_write(file, handle, position, splice)?;
            isize::try_from(moved).map_err(|_| EOVERFLOW)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a file that was opened by `Self::open`, to write.
    pub(super) unsafe extern "C" fn fallocate(
        raw: *mut bindings::file,
        mode: c_int,
        offset: bindings::loff_t,
        len: bindings::loff_t,
    ) -> c_long {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            T::fallocate(file, handle, Allocation { mode, offset, len })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with two files that were opened by `Self::open`, which it knows by the one having
    /// this very callback, as the other has: the first to read, the second to write.
    pub(super) unsafe extern "C" fn copy_file_range(
        file_in: *mut bindings::file,
        from: bindings::loff_t,
        file_out: *mut bindings::file,
        to: bindings::loff_t,
        len: usize,
        flags: c_uint,
    ) -> isize {
        from_result(|| {
            let range = CopyRange {
                from,
                to,
                len: i64::try_from(len).map_err(|_| EOVERFLOW)?,
                flags,
            };
            // SAFETY: By the callback's contract.
            let done = unsafe { Self::copy(file_in, file_out, range, CopyKind::Copy) }?;
            isize::try_from(done).map_err(|_| EOVERFLOW)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with two files of one superblock that were opened by `Self::open`: the first to
    /// read, the second to write, or by somebody who might write.
    pub(super) unsafe extern "C" fn remap_file_range(
        file_in: *mut bindings::file,
        from: bindings::loff_t,
        file_out: *mut bindings::file,
        to: bindings::loff_t,
        len: bindings::loff_t,
        flags: c_uint,
    ) -> bindings::loff_t {
        const KNOWN: c_uint = bindings::REMAP_FILE_DEDUP | bindings::REMAP_FILE_ADVISORY;

        from_result(|| {
            if flags & !KNOWN != 0 {
                return Err(EINVAL);
            }
            let kind = if flags & bindings::REMAP_FILE_DEDUP != 0 {
                CopyKind::Dedupe
            } else {
                CopyKind::Clone
            };
            // What else there is to say to the file below is said by the function that is called.
            let flags = flags & bindings::REMAP_FILE_ADVISORY;
            let range = CopyRange {
                from,
                to,
                len,
                flags,
            };
            // SAFETY: By the callback's contract.
            unsafe { Self::copy(file_in, file_out, range, kind) }
        })
    }

    /// # Safety
    ///
    /// Both files must have been opened by `Self::open`.
    unsafe fn copy(
        file_in: *mut bindings::file,
        file_out: *mut bindings::file,
        range: CopyRange,
        kind: CopyKind,
    ) -> Result<i64> {
        // SAFETY: By this function's requirements.
        let from = unsafe { (File::from_raw(file_in), Self::handle(file_in)) };
        // SAFETY: By this function's requirements.
        let to = unsafe { (File::from_raw(file_out), Self::handle(file_out)) };
        T::copy_range(from, to, range, kind)
    }
}
