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
    dentry::Dentry,
    dirop::WriteAccess,
    file::{
        LayerFile,
        OpenFlags, //
    },
    inode::Inode,
    path::PathRef,
    superblock::{
        Protection,
        COPIED_FLAGS, //
    },
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// The flags of a file.
#[repr(transparent)]
pub(crate) struct FileAttr(pub(super) bindings::file_kattr);

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
        ask(path, command, cred)?;
        // SAFETY: Both are valid.
        let result = unsafe { bindings::vfs_fileattr_get(path.dentry.as_ptr(), &mut self.0) };
        to_result(result).map_err(|e| if e == ENOIOCTLCMD { ENOTTY } else { e })
    }

    /// Asks whether a security module lets `cred`, which has to be in force, set flags of `path`.
    ///
    /// # Errors
    ///
    /// What a security module says, and what opening the file can give.
    pub(crate) fn may_be_set(&self, path: &PathRef<'_>, cred: &Credential) -> Result {
        let command = if self.0.fsx_valid() {
            bindings::ROVL_FS_IOC_FSSETXATTR
        } else {
            bindings::ROVL_FS_IOC_SETFLAGS
        };
        ask(path, command, cred)
    }

    /// Whether `protection` is among the flags.
    pub(crate) fn has(&self, protection: Protection) -> bool {
        let flag = match protection {
            Protection::Append => bindings::FS_APPEND_FL,
            Protection::Immutable => bindings::FS_IMMUTABLE_FL,
        };
        self.0.flags & flag != 0
    }

    /// Takes the append-only and immutable flags away.
    pub(crate) fn remove_protection(&mut self) {
        self.0.flags &= !(bindings::FS_APPEND_FL | bindings::FS_IMMUTABLE_FL);
        self.0.fsx_xflags &= !(bindings::FS_XFLAG_APPEND | bindings::FS_XFLAG_IMMUTABLE);
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

/// Asks the security modules. They know of no other way to flags than by an open file.
fn ask(path: &PathRef<'_>, command: c_uint, cred: &Credential) -> Result {
    let file = LayerFile::open_unchecked(path, OpenFlags::LARGE_FILE, cred)?;
    // SAFETY: The file is valid.
    to_result(unsafe { bindings::security_file_ioctl(file.as_ptr(), command, 0) })
}

impl WriteAccess<'_> {
    /// Sets the flags of an object below. The inode's lock is taken.
    ///
    /// # Errors
    ///
    /// `ENOTTY` if the filesystem has no flags, and what else it or a security module says.
    pub(crate) fn set_fileattr(&self, dentry: &Dentry<AnyFs>, attr: &mut FileAttr) -> Result {
        // SAFETY: All are valid.
        let result =
            unsafe { bindings::vfs_fileattr_set(self.idmap(), dentry.as_ptr(), &mut attr.0) };
        to_result(result)
    }
}

impl<F: FileSystem> Inode<F> {
    /// Whether it may only be appended to, or not be changed at all.
    pub(crate) fn is_protected(&self) -> bool {
        self.flags() & PROTECTION != 0
    }

    /// Sets the append-only and immutable flags as `attr` has them. The caller has the inode's lock.
    pub(crate) fn take_protection_of(&self, attr: &FileAttr) {
        let mut flags = 0;
        if attr.has(Protection::Append) {
            flags |= bindings::S_APPEND;
        }
        if attr.has(Protection::Immutable) {
            flags |= bindings::S_IMMUTABLE;
        }
        // SAFETY: The inode is valid by its invariant.
        unsafe { bindings::inode_set_flags(self.as_ptr(), flags, PROTECTION) };
    }

    /// Takes over the flags of an object below, beside the append-only and immutable flags that are set.
    /// The caller has the inode's lock.
    pub(crate) fn take_flags_of(&self, real: &Inode<AnyFs>) {
        let flags = real.flags() & COPIED_FLAGS | self.flags() & PROTECTION;
        // SAFETY: The inode is valid by its invariant.
        unsafe { bindings::inode_set_flags(self.as_ptr(), flags, COPIED_FLAGS) };
    }
}

/// The append-only and immutable flags (C: `OVL_PROT_I_FLAGS_MASK`).
const PROTECTION: u32 = bindings::S_APPEND | bindings::S_IMMUTABLE;

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
