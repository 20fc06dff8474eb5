// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of dentries.

#![forbid(unsafe_code)]

use crate::{
    overlay::fs::Overlay,
    vfs::{
        dentry::Dentry,
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
}
