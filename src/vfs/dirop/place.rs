// SPDX-License-Identifier: GPL-2.0-only

//! Moving an object to a place that has to be free.

use kernel::{
    error::to_result,
    prelude::*, //
};

use super::{
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
        let mut name = qstr(name)?;
        let mut data = bindings::renamedata {
            mnt_idmap: self.idmap(),
            old_parent: from.as_ptr(),
            new_parent: to.as_ptr(),
            ..pin_init::zeroed()
        };
        // CAST: A flag below 2^31.
        const EXCLUSIVE: c_int = bindings::ROVL_LOOKUP_EXCL as c_int;
        // SAFETY: All are valid, and the name outlives the call.
        to_result(unsafe {
            bindings::start_renaming_dentry(&mut data, EXCLUSIVE, child.as_ptr(), &mut name)
        })?;
        // INVARIANT: It has succeeded.
        Ok(Renaming {
            data,
            _access: self,
            _to: to,
        })
    }
}
