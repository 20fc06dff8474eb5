// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of inodes for what a file has beside its data: ACLs, extended attributes, flags, extents.
//!
//! The other half of [`super::inode`], which has the trait and the table.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use core::ptr::NonNull;
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
        acl::{
            Acl,
            AclKind,
            RcuWalk, //
        },
        dentry::Dentry,
        fileattr::{
            ExtentRequest,
            FileAttr, //
        },
        inode::Inode,
        xattr::ListBuffer, //
    },
};

/// The kernel crate's bindings know of no more than the name.
type RawAcl = kernel::bindings::posix_acl;

impl<T: InodeOps> InodeTable<T> {
    /// # Safety
    ///
    /// Called by the VFS with an inode of `T::Fs` that is held or, if `rcu`, protected by RCU.
    pub(super) unsafe extern "C" fn get_inode_acl(
        inode: *mut bindings::inode,
        kind: c_int,
        rcu: bool,
    ) -> *mut RawAcl {
        // SAFETY: By the callback's contract.
        let inode = unsafe { Inode::from_raw(inode) };
        let kind = AclKind::from_raw(kind);
        if !rcu {
            return match T::acl(inode, kind) {
                Ok(acl) => Acl::into_raw(acl).cast(),
                Err(error) => error.to_ptr(),
            };
        }
        // SAFETY: By the callback's contract.
        let walk = unsafe { RcuWalk::new() };
        let acl = match T::cached_acl(inode, kind, &walk) {
            Ok(acl) => acl.as_raw().cast(),
            Err(error) => error.to_ptr(),
        };
        acl
    }

    /// # Safety
    ///
    /// Called by the VFS with a positive dentry of `T::Fs`.
    pub(super) unsafe extern "C" fn get_acl(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        kind: c_int,
    ) -> *mut RawAcl {
        // SAFETY: By the callback's contract.
        let dentry = unsafe { Dentry::from_raw(dentry) };
        match T::read_acl(dentry, AclKind::from_raw(kind)) {
            Ok(acl) => Acl::into_raw(acl).cast(),
            Err(error) => error.to_ptr(),
        }
    }

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

    /// # Safety
    ///
    /// Called by the VFS with a positive dentry of `T::Fs`, and room for the result.
    pub(super) unsafe extern "C" fn fileattr_get(
        dentry: *mut bindings::dentry,
        attr: *mut kernel::bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let dentry = unsafe { Dentry::from_raw(dentry) };
            // SAFETY: By the callback's contract.
            let attr = unsafe { FileAttr::from_raw(attr.cast()) };
            T::fileattr(dentry, attr)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with an inode of `T::Fs` that is held, and a request.
    pub(super) unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        info: *mut bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let inode = unsafe { Inode::from_raw(inode) };
            let info = NonNull::new(info).ok_or(EINVAL)?;
            T::extents(inode, ExtentRequest { info, start, len })?;
            Ok(0)
        })
    }
}
