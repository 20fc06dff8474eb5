// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks that make file handles.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::{
    overlay::{
        export,
        fs::Overlay, //
    },
    vfs::{
        inode::Inode,
        vtable::export::{
            ExportOps,
            HandleRoom, //
        },
    },
};

/// Callbacks that make file handles.
pub(crate) struct Ops;

impl ExportOps for Ops {
    type Fs = Overlay;

    fn encode(inode: &Inode<Overlay>, room: &mut HandleRoom<'_>) -> Result<u8> {
        export::encode(inode, room)
    }
}
