// SPDX-License-Identifier: GPL-2.0-only

//! Changing attributes of objects of a filesystem below, and making files that have no name.
//!
//! C headers: [`include/linux/xattr.h`](srctree/include/linux/xattr.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h).

use kernel::{
    error::to_result,
    prelude::*, //
};

use super::{
    acl::AclKind,
    dentry::Dentry,
    dirop::WriteAccess,
    inode::Inode,
    AnyFs, //
};
use crate::bindings;

/// Holds an inode's lock for writing.
///
/// # Invariants
///
/// The inode's `i_rwsem` is held by the current task.
pub(super) struct InodeLock<'a>(&'a Inode<AnyFs>);

impl<'a> InodeLock<'a> {
    /// Waits for the lock.
    pub(super) fn take(inode: &'a Inode<AnyFs>) -> Self {
        // SAFETY: The inode is valid.
        unsafe { bindings::rovl_inode_lock(inode.as_ptr()) };
        // INVARIANT: Just taken.
        Self(inode)
    }
}

impl Drop for InodeLock<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is held.
        unsafe { bindings::rovl_inode_unlock(self.0.as_ptr()) };
    }
}

impl WriteAccess<'_> {
    /// Removes the extended attribute `name`.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is none, and what the filesystem says.
    pub(crate) fn remove_xattr(&self, dentry: &Dentry<AnyFs>, name: &CStr) -> Result {
        // SAFETY: All are valid.
        to_result(unsafe {
            bindings::vfs_removexattr(self.idmap(), dentry.as_ptr(), name.as_char_ptr())
        })
    }

    /// Removes an ACL. That there is none, or could be none, is no error.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn remove_acl(&self, dentry: &Dentry<AnyFs>, kind: AclKind) -> Result {
        // SAFETY: All are valid.
        let result = to_result(unsafe {
            bindings::vfs_remove_acl(
                self.idmap(),
                dentry.as_ptr(),
                kind.xattr_name().as_char_ptr(),
            )
        });
        match result {
            Err(error) if error == ENODATA || error == EOPNOTSUPP => Ok(()),
            other => other,
        }
    }

    /// Sets the permission bits.
    ///
    /// # Errors
    ///
    /// `EPERM`, and what else the filesystem says.
    pub(crate) fn set_permissions(&self, dentry: &Dentry<AnyFs>, permissions: u16) -> Result {
        // CAST: All types of files fit 16 bits.
        const TYPE: u16 = bindings::S_IFMT as u16;

        let inode = dentry.inode().ok_or(ESTALE)?;
        // CAST: A mode fits 16 bits.
        let kind = inode.mode_bits() as u16 & TYPE;
        let mut attributes = bindings::iattr {
            ia_valid: bindings::ROVL_ATTR_MODE,
            ia_mode: kind | (permissions & !TYPE),
            ..pin_init::zeroed()
        };
        let _lock = InodeLock::take(inode);
        // SAFETY: All are valid, and the inode is locked.
        to_result(unsafe {
            bindings::notify_change(
                self.idmap(),
                dentry.as_ptr(),
                &mut attributes,
                core::ptr::null_mut(),
            )
        })
    }

    /// Whether a file without a name can be made in the directory `dir`. It is gone at once.
    pub(crate) fn can_make_unnamed_file(&self, dir: &Dentry<AnyFs>) -> bool {
        // CAST: The constant fits 16 bits.
        const REGULAR: u16 = bindings::S_IFREG as u16;

        self.make_nameless(dir, REGULAR).is_ok()
    }
}
