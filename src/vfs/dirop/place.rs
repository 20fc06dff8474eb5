// SPDX-License-Identifier: GPL-2.0-only

//! Moving an object to a place that has to be free.

use kernel::prelude::*;

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

impl WriteAccess<'_> {
    /// Locks both directories, and checks that there is nothing called `name` in `to`, where `child` shall
    /// go.
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is something; `EINVAL` if `child` is no longer in `from`, or above `to`.
    pub(crate) fn start_placing<'a>(
        &'a self,
        from: &'a Dentry<AnyFs>,
        child: &Dentry<AnyFs>,
        to: &'a Dentry<AnyFs>,
        name: &[u8],
    ) -> Result<Renaming<'a>> {
        // CAST: A flag below 2^31.
        const EXCLUSIVE: c_int = bindings::ROVL_LOOKUP_EXCL as c_int;

        let mut name = qstr(name)?;
        self.renaming(from, to, RenameFlags::REPLACE, |data| {
            // SAFETY: All are valid, and the name outlives the call.
            unsafe { bindings::start_renaming_dentry(data, EXCLUSIVE, child.as_ptr(), &mut name) }
        })
    }
}
