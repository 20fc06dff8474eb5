// SPDX-License-Identifier: GPL-2.0-only

//! The flags that `chattr(1)` sets, and where the data of a file lies.
//!
//! C headers: [`include/linux/fileattr.h`](srctree/include/linux/fileattr.h),
//! [`include/linux/fiemap.h`](srctree/include/linux/fiemap.h).

use core::ptr::NonNull;
use kernel::{
    cred::Credential,
    error::to_result,
    prelude::*, //
};

use super::{
    file::{
        LayerFile,
        OpenFlags, //
    },
    inode::Inode,
    path::PathRef,
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// The flags of a file.
#[repr(transparent)]
pub(crate) struct FileAttr(bindings::file_kattr);

impl FileAttr {
    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid, and nobody else may use it, during `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::file_kattr) -> &'a mut Self {
        // SAFETY: By this function's requirements, and `FileAttr` is a transparent wrapper.
        unsafe { &mut *ptr.cast() }
    }

    /// Takes the flags of `path`, if a security module lets `cred`, which has to be in force, ask for
    /// them. (C: `ovl_real_fileattr_get`.)
    ///
    /// # Errors
    ///
    /// `ENOTTY` if the filesystem has no flags, and what else it or a security module says.
    pub(crate) fn fill_from(&mut self, path: &PathRef<'_>, cred: &Credential) -> Result {
        let command = if self.0.fsx_valid() {
            bindings::ROVL_FS_IOC_FSGETXATTR
        } else {
            bindings::ROVL_FS_IOC_GETFLAGS
        };
        // Security modules know of no other way to ask for flags than by an open file.
        let file = LayerFile::open_unchecked(path, OpenFlags::LARGE_FILE, cred)?;
        // SAFETY: The file is valid.
        to_result(unsafe { bindings::security_file_ioctl(file.as_ptr(), command, 0) })?;
        // SAFETY: Both are valid.
        let result = unsafe { bindings::vfs_fileattr_get(path.dentry.as_ptr(), &mut self.0) };
        to_result(result).map_err(|e| if e == ENOIOCTLCMD { ENOTTY } else { e })
    }

    /// Adds the append-only and immutable flags of `inode`.
    pub(crate) fn add_protection_of<F: FileSystem>(&mut self, inode: &Inode<F>) {
        let flags = inode.flags();
        if flags & bindings::S_APPEND != 0 {
            self.0.flags |= bindings::FS_APPEND_FL;
            self.0.fsx_xflags |= bindings::FS_XFLAG_APPEND;
        }
        if flags & bindings::S_IMMUTABLE != 0 {
            self.0.flags |= bindings::FS_IMMUTABLE_FL;
            self.0.fsx_xflags |= bindings::FS_XFLAG_IMMUTABLE;
        }
    }
}

/// A request for the extents of a file.
pub(crate) struct ExtentRequest {
    pub(super) info: NonNull<bindings::fiemap_extent_info>,
    pub(super) start: u64,
    pub(super) len: u64,
}

impl Inode<AnyFs> {
    /// Tells where the data lies.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the filesystem cannot tell, and what it says.
    pub(crate) fn extents(&self, request: ExtentRequest) -> Result {
        // SAFETY: The inode is valid by its invariant; each has a table of callbacks.
        let fiemap = unsafe { (*(*self.as_ptr()).i_op).fiemap }.ok_or(EOPNOTSUPP)?;
        // SAFETY: The inode is of the filesystem that the callback belongs to, and the request is one
        // that the VFS made.
        to_result(unsafe {
            fiemap(
                self.as_ptr(),
                request.info.as_ptr().cast(),
                request.start,
                request.len,
            )
        })
    }
}
