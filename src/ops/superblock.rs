// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of the superblock.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::{
    overlay::{
        attr,
        fs::Overlay,
        sync, //
    },
    vfs::{
        attr::StatFs,
        seq::OptionWriter,
        superblock::SuperBlock,
        vtable::superblock::SuperOps, //
    },
};

/// Callbacks of the superblock.
pub(crate) struct Ops;

impl SuperOps for Ops {
    type Fs = Overlay;

    fn statfs(sb: &SuperBlock<Overlay>, stat: &mut StatFs) -> Result {
        attr::statfs(sb.data(), stat)
    }

    fn sync(sb: &SuperBlock<Overlay>) -> Result {
        sync::filesystem(sb.data())
    }

    fn reclaimable(sb: &SuperBlock<Overlay>) -> usize {
        sb.data().reclaimable()
    }

    fn reclaim(sb: &SuperBlock<Overlay>, pages: usize) -> usize {
        sb.data().reclaim(pages)
    }

    fn show_options(sb: &SuperBlock<Overlay>, to: &OptionWriter) -> Result {
        sb.data().show(to);
        Ok(())
    }
}
