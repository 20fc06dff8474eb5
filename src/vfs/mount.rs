// SPDX-License-Identifier: GPL-2.0-only

//! Mounts: borrowed ones, private clones, and the mapping of owners that comes with each.
//!
//! C header: [`include/linux/mount.h`](srctree/include/linux/mount.h).

use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    prelude::*,
    types::Opaque, //
};

use super::{
    attr::StatFs,
    dentry::Dentry,
    path::{
        Path,
        PathRef, //
    },
    superblock::SuperBlock,
    AnyFs, //
};
use crate::bindings;

/// How the owners of files are mapped on a mount.
///
/// # Invariants
///
/// Valid as long as the mount.
#[repr(transparent)]
pub(crate) struct Idmap(Opaque<bindings::mnt_idmap>);

impl Idmap {
    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid during `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *const bindings::mnt_idmap) -> &'a Self {
        // SAFETY: By this function's requirements, and `Idmap` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// C's pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::mnt_idmap {
        self.0.get()
    }
}

/// A mount of a filesystem.
///
/// # Invariants
///
/// The reference count is not zero.
#[repr(transparent)]
pub(crate) struct Mount(Opaque<bindings::vfsmount>);

// SAFETY: All that the methods look at is constant, or read as C does without a lock.
unsafe impl Sync for Mount {}

impl Mount {
    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a mount that somebody holds during `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *const bindings::vfsmount) -> &'a Self {
        // SAFETY: By this function's requirements, and `Mount` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// C's pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::vfsmount {
        self.0.get()
    }

    /// How owners are mapped.
    #[inline]
    pub(crate) fn idmap(&self) -> &Idmap {
        // SAFETY: The mount is valid by the type invariant.
        let idmap = unsafe { bindings::rovl_mnt_idmap(self.as_ptr()) };
        // SAFETY: A mount keeps its mapping, which is set once at most, before the mount is used.
        unsafe { Idmap::from_raw(idmap) }
    }

    /// Whether owners are mapped at all.
    pub(crate) fn is_idmapped(&self) -> bool {
        // SAFETY: The mount is valid by the type invariant.
        unsafe { bindings::rovl_is_idmapped_mnt(self.as_ptr()) }
    }

    /// The root of what is mounted.
    pub(crate) fn root(&self) -> &Dentry<AnyFs> {
        // SAFETY: The mount is valid by the type invariant, and holds its root, which never changes.
        unsafe { Dentry::from_raw((*self.as_ptr()).mnt_root) }
    }

    /// The superblock of what is mounted.
    pub(crate) fn superblock(&self) -> &SuperBlock<AnyFs> {
        // SAFETY: The mount is valid by the type invariant, and keeps its superblock active.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).mnt_sb) }
    }

    /// Whether writing is impossible, by the mount's flags or the filesystem's.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: The mount is valid by the type invariant.
        unsafe { bindings::__mnt_is_readonly(self.as_ptr()) }
    }

    /// Whether both are the same mount.
    pub(crate) fn is(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }
}

impl PathRef<'_> {
    /// Figures of the filesystem, as `statfs(2)` gives them.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn statfs(&self) -> Result<StatFs> {
        StatFs::of(self)
    }
}

/// A mount of our own, in no namespace: a clone of one that the mounter named.
///
/// # Invariants
///
/// The pointer is valid, and we own the only long-term reference.
#[repr(transparent)]
pub(crate) struct PrivateMount(NonNull<bindings::vfsmount>);

// SAFETY: Mounts can be released by any thread.
unsafe impl Send for PrivateMount {}

// SAFETY: `Mount` is `Sync`.
unsafe impl Sync for PrivateMount {}

impl PrivateMount {
    /// Clones the mount of `path`, with `path` as its root and without what is mounted below.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the mount must not be cloned from here, `EPERM` without the right to mount.
    pub(crate) fn clone_of(path: &Path) -> Result<Self> {
        // SAFETY: The path is valid.
        let mount = unsafe { bindings::clone_private_mount(&path.borrow().as_raw()) };
        // INVARIANT: That function returns a mount that only we know, or an error.
        NonNull::new(from_err_ptr(mount)?).map(Self).ok_or(ENOMEM)
    }

    /// Makes the mount read-only, and never update access times on it.
    pub(crate) fn make_read_only(&mut self) {
        // CAST: Both are positive flags below 2^31.
        const FLAGS: c_int =
            (bindings::mount_flags_MNT_READONLY | bindings::mount_flags_MNT_NOATIME) as c_int;

        // SAFETY: By the type invariant nobody else knows the mount.
        unsafe { (*self.0.as_ptr()).mnt_flags |= FLAGS };
    }

    /// Takes back the flags by which the mount it was cloned of restricts updates of access times.
    pub(crate) fn forget_atime_flags(&mut self) {
        // CAST: All are positive flags below 2^31.
        const FLAGS: c_int = (bindings::mount_flags_MNT_NOATIME
            | bindings::mount_flags_MNT_NODIRATIME
            | bindings::mount_flags_MNT_RELATIME) as c_int;

        // SAFETY: By the type invariant nobody else knows the mount.
        unsafe { (*self.0.as_ptr()).mnt_flags &= !FLAGS };
    }

    /// Releases many at once, at the cost of one RCU grace period instead of one for each.
    pub(crate) fn release_all(mut mounts: KVVec<Self>) {
        if mounts.is_empty() {
            return;
        }
        // CAST: There are some hundred layers at most.
        let len = mounts.len() as c_uint;
        // SAFETY: A `PrivateMount` is a pointer, so this is an array of them, and by the type invariant
        // we own each. They are forgotten below.
        unsafe { bindings::kern_unmount_array(mounts.as_mut_ptr().cast(), len) };
        mounts.into_iter().for_each(core::mem::forget);
    }
}

impl core::ops::Deref for PrivateMount {
    type Target = Mount;

    fn deref(&self) -> &Mount {
        // SAFETY: By the type invariant we hold the mount.
        unsafe { Mount::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for PrivateMount {
    fn drop(&mut self) {
        let mut mount = self.0.as_ptr();
        // SAFETY: By the type invariant we own the mount, and it is used no more.
        unsafe { bindings::kern_unmount_array(&mut mount, 1) };
    }
}
