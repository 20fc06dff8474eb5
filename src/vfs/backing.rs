// SPDX-License-Identifier: GPL-2.0-only

//! What else is asked of an open file below, beside its data: hints, syncing, a place in memory.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h).

use core::ptr;
use kernel::{
    error::to_result,
    prelude::*, //
};

use super::{
    file::{
        File,
        LayerFile, //
    },
    FileSystem, //
};
use crate::bindings;

/// The arguments of the `fadvise` callback.
#[derive(Clone, Copy)]
pub(crate) struct Advice {
    pub(super) offset: i64,
    pub(super) len: i64,
    pub(super) advice: c_int,
}

/// The arguments of the `fsync` callback.
#[derive(Clone, Copy)]
pub(crate) struct SyncRange {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) datasync: c_int,
}

/// Who closes a descriptor, as the `flush` callback is told.
#[derive(Clone, Copy)]
pub(crate) struct LockOwner(pub(super) bindings::fl_owner_t);

/// The arguments of the `get_unmapped_area` callback.
#[derive(Clone, Copy)]
pub(crate) struct AreaRequest {
    pub(super) address: c_ulong,
    pub(super) len: c_ulong,
    pub(super) page_offset: c_ulong,
    pub(super) flags: c_ulong,
}

/// The address of an area, or an error, in C's form.
#[derive(Clone, Copy)]
pub(crate) struct AreaAddress(pub(super) c_ulong);

/// Flags of an open file that `fcntl(2)` can change, and that matter below (C: `OVL_SETFL_MASK`).
const CHANGEABLE: u32 =
    bindings::O_APPEND | bindings::O_NONBLOCK | bindings::O_NDELAY | bindings::O_DIRECT;

impl LayerFile {
    fn flags(&self) -> u32 {
        // SAFETY: The file is valid by the type invariant; flags are read without a lock as in C.
        unsafe { ptr::addr_of!((*self.as_ptr()).f_flags).read_volatile() }
    }

    /// Takes over the flags of `user`, the file of ours that this one was opened for, if they were
    /// changed since. (C: `ovl_change_flags`.)
    ///
    /// # Errors
    ///
    /// `EPERM` if an append-only file would no longer append, `EINVAL` if the filesystem has no direct
    /// I/O, and what it says.
    #[inline]
    pub(crate) fn follow_flags<F: FileSystem>(&self, user: &File<F>) -> Result {
        // Not everyone may ask for `O_NOATIME`, so there the two may differ from the start.
        let changed = (user.flags().bits() ^ self.flags()) & !bindings::O_NOATIME;
        if changed == 0 {
            return Ok(());
        }
        self.change_flags(user.flags().bits() & CHANGEABLE)
    }

    #[cold]
    fn change_flags(&self, flags: u32) -> Result {
        let file = self.as_ptr();
        // SAFETY: The file is valid, and holds its inode.
        let inode_flags = unsafe { ptr::addr_of!((*(*file).f_inode).i_flags).read_volatile() };
        let append_changes = (flags ^ self.flags()) & bindings::O_APPEND != 0;
        if append_changes && inode_flags & bindings::S_APPEND != 0 {
            return Err(EPERM);
        }
        // SAFETY: The file is valid, and its mode does not change once it is open.
        let mode = unsafe { (*file).f_mode };
        if flags & bindings::O_DIRECT != 0 && mode & bindings::ROVL_FMODE_CAN_ODIRECT == 0 {
            return Err(EINVAL);
        }
        // SAFETY: The file is valid, and an open file has a table of callbacks.
        if let Some(check) = unsafe { (*(*file).f_op).check_flags } {
            // CAST: Flags are below 2^31.
            // SAFETY: The callback has no requirements.
            to_result(unsafe { check(flags as c_int) })?;
        }
        // SAFETY: The file is valid.
        let lock = unsafe { ptr::addr_of_mut!((*file).f_lock) };
        // SAFETY: The lock is valid, and not held by this task.
        unsafe { bindings::spin_lock(lock) };
        // SAFETY: The lock, which is held, guards the flags.
        unsafe { (*file).f_flags = ((*file).f_flags & !CHANGEABLE) | flags };
        // SAFETY: As above.
        // CAST: Flags are below 2^31.
        unsafe { (*file).f_iocb_flags = bindings::rovl_iocb_flags(file) as c_uint };
        // SAFETY: It was locked above.
        unsafe { bindings::spin_unlock(lock) };
        Ok(())
    }

    /// Tells the filesystem how the file will be read.
    ///
    /// # Errors
    ///
    /// `EINVAL`, and what the filesystem says.
    pub(crate) fn advise(&self, advice: Advice) -> Result {
        let Advice {
            offset,
            len,
            advice,
        } = advice;
        // SAFETY: The file is valid by the type invariant.
        to_result(unsafe { bindings::vfs_fadvise(self.as_ptr(), offset, len, advice) })
    }

    /// Writes what was changed to the disk.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn sync(&self, range: SyncRange) -> Result {
        let SyncRange {
            start,
            end,
            datasync,
        } = range;
        // SAFETY: The file is valid by the type invariant.
        to_result(unsafe { bindings::vfs_fsync_range(self.as_ptr(), start, end, datasync) })
    }

    /// Whether closing a descriptor has to be told with [`LayerFile::flush`].
    #[inline]
    pub(crate) fn wants_flush(&self) -> bool {
        // SAFETY: The file is valid, and an open file has a table of callbacks.
        unsafe { (*(*self.as_ptr()).f_op).flush.is_some() }
    }

    /// Tells the filesystem that a descriptor is closed.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn flush(&self, owner: LockOwner) -> Result {
        // SAFETY: The file is valid, and an open file has a table of callbacks.
        let Some(flush) = (unsafe { (*(*self.as_ptr()).f_op).flush }) else {
            return Ok(());
        };
        // SAFETY: The callback is that of this file, which is open.
        to_result(unsafe { flush(self.as_ptr(), owner.0) })
    }

    /// Finds a place for a mapping, with the alignment that the filesystem wants for its files.
    #[inline]
    pub(crate) fn unmapped_area(&self, request: AreaRequest) -> AreaAddress {
        let AreaRequest {
            address,
            len,
            page_offset,
            flags,
        } = request;
        // SAFETY: The file is valid, and an open file has a table of callbacks.
        let find = unsafe { (*(*self.as_ptr()).f_op).get_unmapped_area };
        // Without a callback the VFS does just the same.
        let find = find.unwrap_or(bindings::mm_get_unmapped_area);
        // SAFETY: The callback is that of this file; both are called as the VFS does it, by a task that
        // maps into its own memory.
        AreaAddress(unsafe { find(self.as_ptr(), address, len, page_offset, flags) })
    }
}
