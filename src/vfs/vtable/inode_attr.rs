// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of inodes for what a file has beside its data: extended attributes.
//!
//! The other half of [`super::inode`], which has the trait and the table.
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
    vfs::{
        dentry::Dentry,
        xattr::ListBuffer, //
    },
};

impl<T: InodeOps> InodeTable<T> {
    /// # Safety
    ///
    /// Called by the VFS with a positive dentry of `T::Fs`, and room for `size` bytes.
    pub(super) unsafe extern "C" fn listxattr(
        dentry: *mut bindings::dentry,
        list: *mut c_char,
        size: usize,
    ) -> isize {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let dentry = unsafe { Dentry::from_raw(dentry) };
            // SAFETY: By the callback's contract.
            let list = unsafe { ListBuffer::from_raw(list, size) };
            let len = T::list_xattrs(dentry, list)?;
            isize::try_from(len).map_err(|_| EOVERFLOW)
        })
    }
}
