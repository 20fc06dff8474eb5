// SPDX-License-Identifier: GPL-2.0-only

//! Paths: a dentry together with the mount through which it was reached.
//!
//! C headers: [`include/linux/path.h`](srctree/include/linux/path.h),
//! [`include/linux/namei.h`](srctree/include/linux/namei.h).

use core::mem::MaybeUninit;
use kernel::{
    error::to_result,
    prelude::*, //
};

use super::{
    dentry::Dentry,
    mount::Mount,
    AnyFs, //
};
use crate::bindings;

/// A path that owns references to its mount and its dentry.
///
/// # Invariants
///
/// Both pointers are valid, and the path owns a reference to each.
pub(crate) struct Path(bindings::path);

// SAFETY: References to mounts and dentries can be given back by any thread.
unsafe impl Send for Path {}

// SAFETY: Both pointers never change.
unsafe impl Sync for Path {}

impl Path {
    /// Walks `name`, as the current task would, and follows symlinks at its end.
    ///
    /// # Errors
    ///
    /// Those of a path walk.
    pub(crate) fn resolve(name: &CStr) -> Result<Self> {
        let mut path = MaybeUninit::<bindings::path>::uninit();
        // SAFETY: The name is a C string, and `path` has room for the result.
        to_result(unsafe {
            bindings::kern_path(
                name.as_char_ptr(),
                bindings::ROVL_LOOKUP_FOLLOW,
                path.as_mut_ptr(),
            )
        })?;
        // SAFETY: `kern_path` succeeded, so it filled `path`.
        // INVARIANT: And it took a reference to both.
        Ok(Self(unsafe { path.assume_init() }))
    }

    /// The dentry.
    pub(crate) fn dentry(&self) -> &Dentry<AnyFs> {
        // SAFETY: By the type invariant we own a reference.
        unsafe { Dentry::from_raw(self.0.dentry) }
    }

    /// The mount.
    pub(crate) fn mount(&self) -> &Mount {
        // SAFETY: By the type invariant we own a reference.
        unsafe { Mount::from_raw(self.0.mnt) }
    }

    /// The same path, borrowed.
    pub(crate) fn borrow(&self) -> PathRef<'_> {
        PathRef {
            mount: self.mount(),
            dentry: self.dentry(),
        }
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own both references.
        unsafe { bindings::path_put(&self.0) };
    }
}

/// A path whose mount and dentry somebody else keeps.
#[derive(Clone, Copy)]
pub(crate) struct PathRef<'a> {
    /// The mount, through which access rights and owners are seen.
    pub(crate) mount: &'a Mount,
    /// The dentry.
    pub(crate) dentry: &'a Dentry<AnyFs>,
}

impl PathRef<'_> {
    /// The C structure, without references of its own.
    pub(super) fn as_raw(&self) -> bindings::path {
        bindings::path {
            mnt: self.mount.as_ptr(),
            dentry: self.dentry.as_ptr(),
        }
    }
}
