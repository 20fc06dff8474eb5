// SPDX-License-Identifier: GPL-2.0-only

//! Paths: a dentry together with the mount through which it was reached.
//!
//! C headers: [`include/linux/path.h`](srctree/include/linux/path.h),
//! [`include/linux/namei.h`](srctree/include/linux/namei.h).

use core::mem::MaybeUninit;
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    str::CString, //
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

    /// A copy of the path, with references of its own.
    ///
    /// # Safety
    ///
    /// `path` must point to a path whose mount and dentry somebody holds.
    pub(super) unsafe fn copy_of(path: *const bindings::path) -> Self {
        // SAFETY: By this function's requirements.
        unsafe { bindings::path_get(path) };
        // SAFETY: By this function's requirements it can be read.
        // INVARIANT: The references were just taken.
        Self(unsafe { path.read() })
    }

    /// The name, as seen from the root directory of the current task.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG`, `ENOMEM`.
    pub(crate) fn name(&self) -> Result<CString> {
        const SIZE: usize = bindings::PATH_MAX as usize; // CAST: The constant is 4096.

        let mut buffer = KVVec::from_elem(0u8, SIZE, GFP_KERNEL_ACCOUNT)?;
        // SAFETY: The path is valid, and the buffer has that many bytes.
        // CAST: As above.
        let name = from_err_ptr(unsafe {
            bindings::d_path(&self.0, buffer.as_mut_ptr().cast(), SIZE as c_int)
        })?;
        // SAFETY: The function returned a C string, somewhere in the buffer.
        let name = unsafe { CStr::from_char_ptr(name) };
        Ok(CString::try_from(name)?)
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
