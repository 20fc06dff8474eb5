// SPDX-License-Identifier: GPL-2.0-only

//! Reading a symlink of a filesystem below.
//!
//! C header: [`include/linux/delayed_call.h`](srctree/include/linux/delayed_call.h).

use core::marker::PhantomData;
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

use super::{
    dentry::Dentry,
    AnyFs, //
};
use crate::bindings;

/// The target of a symlink.
///
/// # Invariants
///
/// `target` is a C string, until `done` is called.
pub(crate) struct Target<'a> {
    target: *const c_char,
    done: bindings::delayed_call,
    _link: PhantomData<&'a Dentry<AnyFs>>,
}

impl Dentry<AnyFs> {
    /// Reads the target of this symlink.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is none, and what the filesystem says.
    pub(crate) fn target(&self) -> Result<Target<'_>> {
        let mut done = pin_init::zeroed();
        // SAFETY: The dentry is valid, and there is room for what is to be done later.
        let target = unsafe { bindings::vfs_get_link(self.as_ptr(), &mut done) };
        // INVARIANT: The function has returned a C string, that `done` gives back.
        Ok(Target {
            target: from_err_ptr(target.cast_mut())?,
            done,
            _link: PhantomData,
        })
    }
}

impl Target<'_> {
    /// The text.
    pub(crate) fn text(&self) -> &CStr {
        // SAFETY: By the type invariant it is a C string as long as we live.
        unsafe { CStr::from_char_ptr(self.target) }
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        // SAFETY: It is called once, and the target is used no more.
        unsafe { bindings::rovl_do_delayed_call(&mut self.done) };
    }
}
