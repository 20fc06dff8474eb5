// SPDX-License-Identifier: GPL-2.0-only

//! Renaming by names, or by two objects that are known.
//!
//! C header: [`include/linux/namei.h`](srctree/include/linux/namei.h).

use kernel::{
    error::to_result,
    prelude::*, //
};

use super::{
    RenameFlags,
    Renaming,
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

/// A place that something is renamed to.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The directory.
    pub(crate) dir: &'a Dentry<AnyFs>,
    /// The name in it.
    pub(crate) name: &'a [u8],
}

impl WriteAccess<'_> {
    /// Locks both directories, and finds what both names stand for.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is nothing in `from`, or nothing in `to` though it shall be exchanged; `EINVAL`
    /// and `ENOTEMPTY` if one is above the other.
    pub(crate) fn start_renaming_names<'a>(
        &'a self,
        from: Place<'a>,
        to: Place<'a>,
        flags: RenameFlags,
    ) -> Result<Renaming<'a>> {
        let mut old_name = qstr(from.name)?;
        let mut new_name = qstr(to.name)?;
        self.renaming(from.dir, to.dir, flags, |data| {
            // SAFETY: All are valid, and the names outlive the call.
            unsafe { bindings::start_renaming(data, 0, &mut old_name, &mut new_name) }
        })
    }

    /// Locks both directories by `start`, one of the C functions `start_renaming..`, which finds what is to
    /// be renamed.
    ///
    /// # Errors
    ///
    /// What `start` returns.
    pub(super) fn renaming<'a>(
        &'a self,
        from: &'a Dentry<AnyFs>,
        to: &'a Dentry<AnyFs>,
        flags: RenameFlags,
        start: impl FnOnce(&mut bindings::renamedata) -> c_int,
    ) -> Result<Renaming<'a>> {
        let mut data = bindings::renamedata {
            mnt_idmap: self.idmap(),
            old_parent: from.as_ptr(),
            new_parent: to.as_ptr(),
            flags: flags.0,
            ..pin_init::zeroed()
        };
        to_result(start(&mut data))?;
        // INVARIANT: It has succeeded.
        Ok(Renaming {
            data,
            access: self,
            to,
        })
    }
}

impl Renaming<'_> {
    /// What is renamed.
    pub(crate) fn object(&self) -> &Dentry<AnyFs> {
        // SAFETY: By the type invariant the dentry is held as long as this lives.
        unsafe { Dentry::from_raw(self.data.old_dentry) }
    }

    /// What is at the place where it goes, which may be nothing.
    pub(crate) fn target(&self) -> &Dentry<AnyFs> {
        // SAFETY: As above.
        unsafe { Dentry::from_raw(self.data.new_dentry) }
    }

    /// Carries it out with other flags than those with which it was begun. If they exchange both places,
    /// there has to be something in each.
    ///
    /// # Errors
    ///
    /// As [`Renaming::rename`].
    pub(crate) fn rename_with(mut self, flags: RenameFlags) -> Result {
        self.data.flags = flags.0;
        self.rename()
    }
}
