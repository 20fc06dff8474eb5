// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of dentries.
//!
//! C header: [`include/linux/dcache.h`](srctree/include/linux/dcache.h).

use core::marker::PhantomData;

use crate::{
    bindings,
    vfs::{
        dentry::Dentry,
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
}

/// The table for `F`.
pub(in crate::vfs) struct DentryTable<F>(PhantomData<F>);

impl<F: FileSystem> DentryTable<F> {
    /// The table.
    pub(in crate::vfs) const TABLE: &'static bindings::dentry_operations =
        &bindings::dentry_operations {
            d_real: Some(Self::d_real),
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
}
