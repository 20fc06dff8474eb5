// SPDX-License-Identifier: GPL-2.0-only

//! Removing names, and making the kind of object that stands for a removed one.
//!
//! C header: [`include/linux/namei.h`](srctree/include/linux/namei.h).

use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

use super::{
    FreeName,
    Locked,
    Removing,
    TakenName,
    WriteAccess, //
};
use crate::{
    bindings,
    vfs::{
        dentry::Dentry,
        lookup::qstr,
        AnyFs, //
    },
};

impl WriteAccess<'_> {
    /// Locks `dir`, and finds what `name` stands for.
    ///
    /// # Errors
    ///
    /// `ENOENT` if that is nothing, `EACCES` if `dir` may not be searched.
    pub(crate) fn start_removing_name<'a>(
        &'a self,
        dir: &'a Dentry<AnyFs>,
        name: &[u8],
    ) -> Result<Removing<'a>> {
        let mut name = qstr(name)?;
        // SAFETY: All are valid, and the name outlives the call.
        let child = unsafe { bindings::start_removing(self.idmap(), dir.as_ptr(), &mut name) };
        let child = NonNull::new(from_err_ptr(child)?).ok_or(EIO)?;
        // INVARIANT: The function locked the directory and returned a dentry in it, which is ours.
        Ok(Removing(Locked {
            child,
            dir,
            access: self,
        }))
    }
}

impl Removing<'_> {
    /// What is about to be removed.
    pub(crate) fn object(&self) -> &Dentry<AnyFs> {
        self.0.child()
    }
}

impl<'a> FreeName<'a> {
    /// Makes the device node that stands for an object which was removed. It takes no right to make
    /// device nodes.
    ///
    /// # Errors
    ///
    /// `ENOSPC` and others.
    pub(crate) fn make_whiteout(self) -> Result<TakenName<'a>> {
        // CAST: The constant fits 16 bits.
        self.mknod(bindings::S_IFCHR as u16, 0)
    }
}
