// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of a mount that is being made.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::{
    model::lowerdir,
    overlay::{
        fs::Overlay,
        setup::Options,
        sync, //
    },
    vfs::{
        context::{
            Log,
            MountContext,
            Param,
            ParamError, //
        },
        superblock::{
            NewSuperBlock,
            SuperBlock, //
        },
    },
};

impl MountContext for Options {
    type Fs = Overlay;

    fn begin() -> Result<KBox<Self>> {
        Ok(KBox::new(Self::new(), GFP_KERNEL_ACCOUNT)?)
    }

    fn parse(&mut self, log: &Log<'_>, param: &Param<'_>) -> Result<(), ParamError> {
        self.set(log, param)
    }

    fn fill(&mut self, log: &Log<'_>, sb: NewSuperBlock<'_, Overlay>) -> Result {
        self.mount(log, sb)
    }

    fn option_end(data: &[u8]) -> Option<usize> {
        let (option, rest) = lowerdir::next_option(data);
        rest.map(|_| option.len())
    }

    fn reconfigure(sb: &SuperBlock<Overlay>, read_only: bool) -> Result {
        if !read_only {
            return sb.data().writable().map(|_| ());
        }
        if sb.is_read_only() {
            return Ok(());
        }
        sync::before_read_only(sb.data())
    }
}
