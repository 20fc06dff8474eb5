// SPDX-License-Identifier: GPL-2.0-only

//! Extended attributes of objects below.
//!
//! C header: [`include/linux/xattr.h`](srctree/include/linux/xattr.h).

use kernel::{
    error::to_result,
    prelude::*, //
};

use super::path::PathRef;
use crate::bindings;

impl PathRef<'_> {
    /// Reads the extended attribute `name` into `buffer`, and returns the part that was filled. `None`
    /// if there is no such attribute, or could be none.
    ///
    /// # Errors
    ///
    /// `ERANGE` if the value is longer than `buffer`, and what the filesystem says.
    pub(crate) fn xattr<'b>(&self, name: &CStr, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>> {
        // SAFETY: All are valid, and the size is that of the buffer.
        let len = unsafe {
            bindings::vfs_getxattr(
                self.mount.idmap().as_ptr(),
                self.dentry.as_ptr(),
                name.as_char_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
            )
        };
        match usize::try_from(len) {
            Ok(len) => Ok(buffer.get(..len)),
            // CAST: A negative value is an errno.
            Err(_) => match to_result(len as c_int) {
                Err(e) if e == ENODATA || e == EOPNOTSUPP => Ok(None),
                Err(e) => Err(e),
                Ok(()) => Err(EIO),
            },
        }
    }
}
