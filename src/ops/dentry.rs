// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of dentries.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::{
    overlay::{
        fs::Overlay,
        revalidate, //
    },
    vfs::{
        dentry::Dentry,
        revalidate::Question,
        vtable::dentry::{
            DentryOps,
            RealPart, //
        },
        AnyFs, //
    },
};

/// Callbacks of dentries.
pub(crate) struct Ops;

impl DentryOps for Ops {
    type Fs = Overlay;

    fn real(dentry: &Dentry<Overlay>, part: RealPart) -> Option<&Dentry<AnyFs>> {
        // Data and attributes are in the same place, as long as there are no metacopies.
        let (RealPart::Data | RealPart::Metadata) = part;
        let layers = dentry.superblock().data().layers();
        Some(dentry.inode()?.node().real(layers)?.dentry)
    }

    fn is_current(dentry: &Dentry<Overlay>, question: Question) -> Result<bool> {
        revalidate::is_current(dentry, question)
    }
}
