// SPDX-License-Identifier: GPL-2.0-only

//! Looking a name up in a directory of a filesystem below.
//!
//! C header: [`include/linux/namei.h`](srctree/include/linux/namei.h).

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    dentry::Dentry,
    path::PathRef,
    AnyFs, //
};
use crate::bindings;

/// What becomes of the cached answer that a name does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Negative {
    /// It stays cached.
    Keep,
    /// It is dropped unless somebody else uses it: the answer is about to be remembered elsewhere.
    Drop,
}

/// The name as C wants it. It is only good as long as `name`.
///
/// # Errors
///
/// `ENAMETOOLONG`.
pub(super) fn qstr(name: &[u8]) -> Result<bindings::qstr> {
    let mut qstr = bindings::qstr {
        name: name.as_ptr(),
        ..pin_init::zeroed()
    };
    qstr.__bindgen_anon_1.__bindgen_anon_1.len =
        u32::try_from(name.len()).map_err(|_| ENAMETOOLONG)?;
    Ok(qstr)
}

impl<F> Dentry<F> {
    /// The entry for `name` in this directory, if it is cached. It may be negative.
    ///
    /// # Errors
    ///
    /// `EACCES` if that is no name.
    pub(crate) fn cached(&self, name: &[u8]) -> Result<Option<ARef<Self>>> {
        let mut name = qstr(name)?;
        // SAFETY: Both are valid, and the name outlives the call.
        let found = unsafe { bindings::try_lookup_noperm(&mut name, self.as_ptr()) };
        if found.is_null() {
            return Ok(None);
        }
        // SAFETY: The function returns null, an error, or a dentry with a reference for us. It is of the
        // filesystem that its directory is of.
        unsafe { Self::from_owned(found) }.map(Some)
    }
}

impl PathRef<'_> {
    /// Looks `name` up in this directory. `None` is a name that does not exist.
    ///
    /// The directory's lock is not held by the caller; it is taken when the answer is not cached.
    ///
    /// # Errors
    ///
    /// `EACCES` if the current credentials may not search the directory, `ENAMETOOLONG`, and what the
    /// filesystem says.
    pub(crate) fn lookup(
        &self,
        name: &[u8],
        negative: Negative,
    ) -> Result<Option<ARef<Dentry<AnyFs>>>> {
        let mut name = qstr(name)?;
        // SAFETY: All three are valid, and the name outlives the call.
        let found = unsafe {
            bindings::lookup_one_unlocked(
                self.mount.idmap().as_ptr(),
                &mut name,
                self.dentry.as_ptr(),
            )
        };
        // SAFETY: The function returns an error, or a dentry with a reference for us.
        let found = unsafe { Dentry::<AnyFs>::from_owned(found) }?;
        // SAFETY: We hold the dentry.
        if !unsafe { bindings::rovl_d_flags_negative(found.as_ptr()) } {
            return Ok(Some(found));
        }
        if negative == Negative::Drop {
            found.drop_unused_negative();
        }
        Ok(None)
    }
}
