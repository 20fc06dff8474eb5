// SPDX-License-Identifier: GPL-2.0-only

//! Names of our own, in directories that the VFS has locked so that a callback can change them.
//!
//! C header: [`include/linux/dcache.h`](srctree/include/linux/dcache.h). See also
//! [`Documentation/filesystems/directory-locking.rst`](srctree/Documentation/filesystems/directory-locking.rst).

use core::ptr;
use kernel::prelude::*;

use super::{
    dentry::Dentry,
    inode::Inode,
    FileSystem, //
};
use crate::bindings;

/// A name in a directory of ours, and what it stands for, if anything.
///
/// # Invariants
///
/// The `i_rwsem` of the directory is held exclusively on behalf of the current callback, so that parent,
/// name and inode are stable. If there is an inode, and its name is about to go, the VFS has locked it
/// too.
#[derive(Clone, Copy)]
pub(crate) struct LockedName<'a, F>(&'a Dentry<F>);

impl<'a, F: FileSystem> LockedName<'a, F> {
    /// Wraps an argument of a callback.
    ///
    /// # Safety
    ///
    /// `ptr` must be as in the type invariant, during `'a`.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::dentry) -> Self {
        // SAFETY: By this function's requirements.
        // INVARIANT: Likewise.
        Self(unsafe { Dentry::from_raw(ptr) })
    }

    /// The dentry.
    pub(crate) fn dentry(&self) -> &'a Dentry<F> {
        self.0
    }

    /// What it stands for.
    pub(crate) fn inode(&self) -> Option<&'a Inode<F>> {
        self.0.inode()
    }

    /// The dentry of the directory.
    pub(crate) fn parent(&self) -> &'a Dentry<F> {
        // SAFETY: By the type invariant the parent is stable, and a dentry holds its parent.
        unsafe { Dentry::from_raw((*self.0.as_ptr()).d_parent) }
    }

    /// The directory.
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is none, which cannot be.
    pub(crate) fn directory(&self) -> Result<&'a Inode<F>> {
        self.parent().inode().ok_or(ESTALE)
    }

    /// Whether both are names in the same directory.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        ptr::eq(self.parent(), other.parent())
    }

    /// The name, without a terminating NUL.
    pub(crate) fn name(&self) -> &'a [u8] {
        // SAFETY: By the type invariant the name is stable.
        unsafe { self.0.stable_name() }
    }

    /// Takes the name out of the cache: it has to be looked up again.
    pub(crate) fn forget(&self) {
        // SAFETY: The dentry is valid.
        unsafe { bindings::d_drop(self.0.as_ptr()) };
    }

    /// Takes the name out of the cache, and counts one name less for the file that it stood for.
    ///
    /// The count does not go to zero as long as there is another name in the cache: somebody may have
    /// changed the layers, and the count is not to be relied on. (C: `ovl_drop_nlink`.)
    pub(crate) fn forget_link(&self) {
        self.forget();
        let Some(inode) = self.inode() else {
            return;
        };
        let has_other_name = || {
            // SAFETY: The inode is valid.
            let alias = unsafe { bindings::d_find_alias(inode.as_ptr()) };
            // SAFETY: The function returns null, or a dentry with a reference for us.
            unsafe { bindings::dput(alias) };
            !alias.is_null()
        };
        match inode.links() {
            0 => (),
            1 if has_other_name() => (),
            // SAFETY: The inode is valid and, by the type invariant, locked.
            _ => unsafe { bindings::drop_nlink(inode.as_ptr()) },
        }
    }

    /// Takes the name out of the cache, and marks the directory that it stood for as removed.
    pub(crate) fn forget_directory(&self) {
        self.forget();
        if let Some(inode) = self.inode() {
            // SAFETY: The inode is valid and, by the type invariant, locked.
            unsafe { bindings::clear_nlink(inode.as_ptr()) };
        }
    }
}
