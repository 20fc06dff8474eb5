// SPDX-License-Identifier: GPL-2.0-only

//! What the filesystems below can do, as far as their superblocks tell.
//!
//! C header: [`include/linux/errseq.h`](srctree/include/linux/errseq.h).

use kernel::{
    error::to_result,
    prelude::*, //
};

use super::{
    dentry::Dentry,
    superblock::SuperBlock,
    AnyFs, //
};
use crate::bindings;

impl SuperBlock<AnyFs> {
    /// Whether security attributes of its files tell by a flag that there are none (C: `SB_NOSEC`).
    pub(crate) fn flags_missing_security(&self) -> bool {
        // SAFETY: The superblock is valid by the type invariant.
        let flags = unsafe { (*self.as_ptr()).s_flags };
        flags & bindings::ROVL_SB_NOSEC as c_ulong != 0 // CAST: A positive flag below 2^31.
    }

    /// Whether a clone comes to the disk before any name that its file gets afterwards, as far as is known.
    ///
    /// XFS writes the data out before it shares it, and logs both changes in their order. The log of btrfs may
    /// hold the name of a file without its extents.
    pub(crate) fn orders_clones(&self) -> bool {
        // CAST: A positive number below 2^31.
        const XFS: c_ulong = bindings::XFS_SUPER_MAGIC as c_ulong;

        // SAFETY: The superblock is valid by the type invariant; the field is set before it is mounted.
        unsafe { (*self.as_ptr()).s_magic == XFS }
    }

    /// Whether a process may be asked when one of its files is opened, and how long that takes is up to it: it
    /// answers for the filesystem, or it wants to know (C: `FAN_OPEN_PERM`). A stacked filesystem does not
    /// tell what is below it.
    pub(crate) fn may_ask_to_open(&self) -> bool {
        // CAST: A positive number below 2^31.
        const FUSE: c_ulong = bindings::FUSE_SUPER_MAGIC as c_ulong;

        // SAFETY: The superblock is valid by the type invariant; the field is set before it is mounted.
        let magic = unsafe { (*self.as_ptr()).s_magic };
        if magic == FUSE || self.stack_depth() > 0 {
            return true;
        }
        // SAFETY: The superblock is valid by the type invariant.
        unsafe { bindings::rovl_sb_has_permission_watchers(self.as_ptr()) }
    }

    /// Whether writing back has failed, and nobody has been told yet.
    pub(crate) fn has_unseen_write_error(&self) -> bool {
        // SAFETY: The superblock is valid by the type invariant, and errseq is made to be read at any
        // time.
        let errors = unsafe { core::ptr::addr_of_mut!((*self.as_ptr()).s_wb_err) };
        // SAFETY: As above.
        let now = unsafe { bindings::errseq_sample(errors) };
        // SAFETY: As above.
        unsafe { bindings::errseq_check(errors, now) != 0 }
    }
}

impl SuperBlock<AnyFs> {
    /// Where the record of errors in writing stands now.
    pub(crate) fn error_cursor(&self) -> ErrorCursor {
        // SAFETY: The superblock is valid by the type invariant, and errseq is made to be read at any
        // time.
        let errors = unsafe { core::ptr::addr_of_mut!((*self.as_ptr()).s_wb_err) };
        // SAFETY: As above.
        ErrorCursor(unsafe { bindings::errseq_sample(errors) })
    }

    /// Checks that nothing failed to be written since `cursor`.
    ///
    /// # Errors
    ///
    /// The last error.
    pub(crate) fn check_errors_since(&self, cursor: ErrorCursor) -> Result {
        // SAFETY: The superblock is valid by the type invariant, and errseq is made to be read at any
        // time.
        let errors = unsafe { core::ptr::addr_of_mut!((*self.as_ptr()).s_wb_err) };
        // SAFETY: As above.
        to_result(unsafe { bindings::errseq_check(errors, cursor.0) })
    }

    /// Writes all that was changed to the disk, and waits for it.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn sync(&self) -> Result {
        // SAFETY: The superblock is valid by the type invariant.
        let lock = unsafe { core::ptr::addr_of_mut!((*self.as_ptr()).s_umount) };
        // SAFETY: The lock is valid. The filesystem above, whose own lock of this kind may be held, is
        // of another type, or stacked higher, for which lockdep has another class.
        unsafe { bindings::down_read(lock) };
        // SAFETY: The superblock is valid, and its lock is held.
        let result = to_result(unsafe { bindings::sync_filesystem(self.as_ptr()) });
        // SAFETY: It was taken above.
        unsafe { bindings::up_read(lock) };
        result
    }
}

/// A place in the record of errors that a filesystem had in writing.
#[derive(Clone, Copy)]
pub(crate) struct ErrorCursor(bindings::errseq_t);

impl Dentry<AnyFs> {
    /// Whether the filesystem wants to check names each time they are used: names may change without
    /// anybody's doing here.
    pub(crate) fn is_remote(&self) -> bool {
        const CHECKS: u32 = bindings::dentry_flags_DCACHE_OP_REVALIDATE
            | bindings::dentry_flags_DCACHE_OP_WEAK_REVALIDATE;

        self.flags() & CHECKS != 0
    }
}
