// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of dentries.
//!
//! C header: [`include/linux/dcache.h`](srctree/include/linux/dcache.h).

use core::marker::PhantomData;
use kernel::{
    error::from_result,
    prelude::*, //
};

use crate::{
    bindings,
    vfs::{
        dentry::Dentry,
        revalidate::{
            Question,
            Use, //
        },
        AnyFs,
        FileSystem, //
    },
};

/// What is looked for behind a dentry of a stacking filesystem.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RealPart {
    /// The dentry whose inode has the data.
    Data,
    /// The dentry whose inode has the attributes.
    Metadata,
}

/// What a filesystem does with dentries.
pub(crate) trait DentryOps {
    /// The filesystem.
    type Fs: FileSystem;

    /// The dentry below that the regular file `dentry` stands for; `None` if it cannot be told.
    fn real(dentry: &Dentry<Self::Fs>, part: RealPart) -> Option<&Dentry<AnyFs>>;

    /// Whether `dentry` is still what it was. Called for those dentries about which someone wanted to be
    /// asked, and maybe under the RCU read lock alone.
    ///
    /// # Errors
    ///
    /// `ECHILD` if it cannot be told without blocking, and what filesystems below say.
    fn is_current(dentry: &Dentry<Self::Fs>, question: Question) -> Result<bool>;
}

/// The tables for `F`.
pub(in crate::vfs) struct DentryTable<F>(PhantomData<F>);

impl<F: FileSystem> DentryTable<F> {
    /// The table.
    pub(in crate::vfs) const TABLE: &'static bindings::dentry_operations = &Self::PLAIN;

    /// The table for a superblock with an encoding, in whose directories case may not count.
    #[cfg(CONFIG_UNICODE)]
    pub(in crate::vfs) const CASEFOLDED: &'static bindings::dentry_operations =
        &bindings::dentry_operations {
            d_hash: Some(bindings::generic_ci_d_hash),
            d_compare: Some(bindings::generic_ci_d_compare),
            ..Self::PLAIN
        };

    /// Without support for encodings no superblock has one.
    #[cfg(not(CONFIG_UNICODE))]
    pub(in crate::vfs) const CASEFOLDED: &'static bindings::dentry_operations = Self::TABLE;

    const PLAIN: bindings::dentry_operations = bindings::dentry_operations {
        d_real: Some(Self::d_real),
        d_revalidate: Some(Self::d_revalidate),
        d_weak_revalidate: Some(Self::d_weak_revalidate),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS with a dentry of `F`.
    unsafe extern "C" fn d_real(
        raw: *mut bindings::dentry,
        part: bindings::d_real_type,
    ) -> *mut bindings::dentry {
        // SAFETY: By the callback's contract.
        let dentry = unsafe { Dentry::<F>::from_raw(raw) };
        let real = match part {
            _ if !dentry.is_regular() => return raw,
            bindings::d_real_type_D_REAL_METADATA => F::DentryOps::real(dentry, RealPart::Metadata),
            _ => F::DentryOps::real(dentry, RealPart::Data),
        };
        let Some(real) = real else {
            return raw;
        };
        // What is below may stand for something else again.
        // SAFETY: The dentry is valid.
        unsafe { bindings::rovl_d_real(real.as_ptr(), part) }
    }

    /// # Safety
    ///
    /// Called by the VFS with a dentry of `F` that is held or, if the flags have `LOOKUP_RCU`, protected
    /// by RCU.
    unsafe extern "C" fn d_revalidate(
        _dir: *mut bindings::inode,
        _name: *const bindings::qstr,
        dentry: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        // SAFETY: By the callback's contract.
        let dentry = unsafe { Dentry::<F>::from_raw(dentry) };
        Self::is_current(dentry, Question::from_raw(Use::Walked, flags))
    }

    /// # Safety
    ///
    /// As for `d_revalidate`.
    unsafe extern "C" fn d_weak_revalidate(dentry: *mut bindings::dentry, flags: c_uint) -> c_int {
        // SAFETY: By the callback's contract.
        let dentry = unsafe { Dentry::<F>::from_raw(dentry) };
        Self::is_current(dentry, Question::from_raw(Use::Jumped, flags))
    }

    fn is_current(dentry: &Dentry<F>, question: Question) -> c_int {
        from_result(|| Ok(c_int::from(F::DentryOps::is_current(dentry, question)?)))
    }
}
