// SPDX-License-Identifier: GPL-2.0-only

//! New objects of ours: the name that is to be given, the inode that is made ready for it, and the
//! credentials that the filesystem below makes its object with.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/dcache.h`](srctree/include/linux/dcache.h),
//! [`include/linux/security.h`](srctree/include/linux/security.h).

use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    cred::Credential,
    error::to_result,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    cred::{
        NewCredential,
        Override, //
    },
    dentry::Dentry,
    inode::Inode,
    mount::Idmap,
    revalidate::Wish,
    superblock::{
        Found,
        SuperBlock, //
    },
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// A name in a directory of ours that stands for nothing yet, and is about to.
///
/// # Invariants
///
/// The dentry is negative. The VFS has called us to make something of it, with the directory locked, so
/// that its name and its parent are stable, and nobody else makes something of it.
pub(crate) struct NewName<'a, F>(&'a Dentry<F>);

impl<'a, F: FileSystem> NewName<'a, F> {
    /// Wraps the dentry of a callback.
    ///
    /// # Safety
    ///
    /// `ptr` must be as in the type invariant, during `'a`.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::dentry) -> Self {
        // SAFETY: By this function's requirements.
        // INVARIANT: Likewise.
        Self(unsafe { Dentry::from_raw(ptr) })
    }

    /// The name, without a terminating NUL.
    pub(crate) fn name(&self) -> &'a [u8] {
        // SAFETY: By the type invariant the name is stable.
        unsafe { self.0.stable_name() }
    }

    /// The directory that it is in.
    pub(crate) fn directory(&self) -> &'a Dentry<F> {
        // SAFETY: By the type invariant the parent is stable, and a dentry holds its parent.
        unsafe { Dentry::from_raw((*self.0.as_ptr()).d_parent) }
    }

    /// The superblock that it belongs to.
    pub(crate) fn superblock(&self) -> &'a SuperBlock<F> {
        self.0.superblock()
    }

    /// The credentials with which a filesystem below makes the object that `inode` is to stand for: those
    /// in force, but owner and group are the inode's, and security modules may label what is made as if
    /// `caller` made it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what a security module says.
    pub(crate) fn creator(
        &self,
        inode: &PreparedInode<F>,
        caller: &Override<'_>,
    ) -> Result<ARef<Credential>> {
        let new = NewCredential::prepare()?;
        let (cred, inode) = (new.as_ptr(), inode.0.as_ptr());
        // SAFETY: Nobody else knows the new credentials, nor the inode.
        unsafe {
            (*cred).fsuid = (*inode).i_uid;
            (*cred).fsgid = (*inode).i_gid;
        }
        // SAFETY: All are valid. By the type invariant the name is stable.
        to_result(unsafe {
            bindings::rovl_security_dentry_create_files_as(
                self.0.as_ptr(),
                c_int::from((*inode).i_mode),
                caller.previous(),
                cred,
            )
        })?;
        Ok(new.freeze())
    }

    /// Whether the dentry was marked ([`Dentry::is_marked`]).
    pub(crate) fn is_marked(&self) -> bool {
        self.0.is_marked()
    }

    /// Marks the dentry ([`Dentry::mark`]).
    pub(crate) fn mark(&self) {
        self.0.mark();
    }

    /// Makes the name stand for `inode`. `wish` says whether to ask, each time that the name is used,
    /// whether it is still current.
    pub(crate) fn attach(self, inode: ARef<Inode<F>>, wish: Wish) {
        // SAFETY: By the type invariant the dentry is negative, and the inode's reference is handed over.
        unsafe { bindings::d_instantiate(self.0.as_ptr(), ARef::into_raw(inode).as_ptr().cast()) };
        // Only now, since about a name that stands for nothing nobody may be asked.
        self.0.set_wish(wish);
    }

    /// Makes the name stand for `inode`, and drops it from the cache, so that the next one who comes looks
    /// it up.
    pub(crate) fn attach_uncached(self, inode: ARef<Inode<F>>) {
        let dentry = self.0;
        self.attach(inode, Wish::NONE);
        // SAFETY: The dentry is valid.
        unsafe { bindings::d_drop(dentry.as_ptr()) };
    }
}

/// An inode for an object that is still to be made: it has its owner and its mode.
///
/// # Invariants
///
/// The inode is not hashed, and only we know it.
pub(crate) struct PreparedInode<F: FileSystem>(ARef<Inode<F>>);

impl<F: FileSystem> PreparedInode<F> {
    /// Makes an inode for an object that is made as `name`, through a mount with `idmap`. The credentials in
    /// force, and the directory, say who owns it; the directory may change `mode`, too.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(idmap: &Idmap, name: &NewName<'_, F>, mode: u16) -> Result<Self> {
        let dir = name.directory().inode().ok_or(ESTALE)?;
        // SAFETY: The superblock is valid.
        let inode = unsafe { bindings::new_inode(dir.superblock().as_ptr()) };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;
        // SAFETY: All are valid, and nobody else knows the inode.
        unsafe {
            bindings::inode_init_owner(idmap.as_ptr(), inode.as_ptr(), dir.as_ptr(), mode);
        }
        // SAFETY: It is an inode of this superblock, with a reference for us.
        // INVARIANT: It was made above.
        Ok(Self(unsafe { ARef::from_raw(inode.cast()) }))
    }

    /// The mode, which may have lost or inherited the bit for the group.
    pub(crate) fn mode(&self) -> u16 {
        // SAFETY: The inode is valid.
        unsafe { (*self.0.as_ptr()).i_mode }
    }

    /// Lets the inode stand for `key`, unless another does already.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the other one is just being made.
    pub(crate) fn stand_for(self, key: &Inode<AnyFs>) -> Result<Found<F>> {
        // SAFETY: By the type invariant the inode is not hashed.
        let found = unsafe { SuperBlock::<F>::insert_inode(self.0.as_ptr(), key) };
        let Some(found) = NonNull::new(found) else {
            return Err(EEXIST);
        };
        if ptr::eq(found.as_ptr(), self.0.as_ptr()) {
            // SAFETY: The function has made it known, and it waits to be filled.
            return unsafe { Found::from_owned(ARef::into_raw(self.0).as_ptr().cast()) };
        }
        // SAFETY: The function returns an inode of this superblock with a reference for us.
        unsafe { Found::from_owned(found.as_ptr()) }
    }
}

impl<F: FileSystem> Inode<F> {
    /// Counts one more name. The inode is locked.
    pub(crate) fn add_link(&self) {
        // SAFETY: The inode is valid by its invariant.
        unsafe { bindings::inc_nlink(self.as_ptr()) };
    }
}
