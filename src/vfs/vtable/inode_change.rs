// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of inodes that change what a file has beside its data: attributes, ACLs, flags, times.
//!
//! A part of [`super::inode`], which has the trait and the table.
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
        acl::{
            Acl,
            AclKind, //
        },
        dentry::Dentry,
        fileattr::FileAttr,
        inode::Inode,
        mount::Idmap,
        setattr::{
            Change,
            TimeUpdate, //
        }, //
    },
};

impl<T: InodeOps> InodeTable<T> {
    /// # Safety
    ///
    /// Called by the VFS with a positive dentry of `T::Fs` whose inode is locked, and a change.
    pub(super) unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        change: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let idmap = unsafe { Idmap::from_raw(idmap) };
            // SAFETY: By the callback's contract.
            let dentry = unsafe { Dentry::from_raw(dentry) };
            // SAFETY: By the callback's contract; the change is lent to us.
            let change = unsafe { Change::from_raw(change) };
            T::setattr(idmap, dentry, change)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a positive dentry of `T::Fs` whose inode is locked, and a list or null.
    pub(super) unsafe extern "C" fn set_acl(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        acl: *mut kernel::bindings::posix_acl,
        kind: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let idmap = unsafe { Idmap::from_raw(idmap) };
            // SAFETY: By the callback's contract.
            let dentry = unsafe { Dentry::from_raw(dentry) };
            // SAFETY: By the callback's contract.
            let acl = unsafe { Acl::from_raw(acl.cast()) };
            T::set_acl(idmap, dentry, acl, AclKind::from_raw(kind))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a positive dentry of `T::Fs` whose inode is locked, and flags.
    pub(super) unsafe extern "C" fn fileattr_set(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut kernel::bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let dentry = unsafe { Dentry::from_raw(dentry) };
            // SAFETY: By the callback's contract; the flags are lent to us.
            let attr = unsafe { FileAttr::from_raw(attr.cast()) };
            T::set_fileattr(dentry, attr)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with an inode of `T::Fs` that is held.
    pub(super) unsafe extern "C" fn update_time(
        inode: *mut bindings::inode,
        kind: bindings::fs_update_time,
        flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let inode = unsafe { Inode::from_raw(inode) };
            T::update_time(inode, TimeUpdate::from_raw(kind, flags))?;
            Ok(0)
        })
    }
}
