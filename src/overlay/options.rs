// SPDX-License-Identifier: GPL-2.0-only

//! Scalar options where they meet the module: the defaults, and what is not there yet.
//!
//! What they mean, and which go together, is in `model::options`.

#![forbid(unsafe_code)]

use crate::{
    model::options::{
        Defaults,
        Options,
        Verity, //
    },
    vfs::param, //
};

/// The defaults of now. The order is that of `src/shim/params.c`.
pub(super) fn defaults() -> Defaults {
    Defaults {
        redirect_dir: param::switch(0),
        redirect_always_follow: param::switch(1),
        xino_auto: param::switch(2),
        index: param::switch(3),
        nfs_export: param::switch(4),
        metacopy: param::switch(5),
    }
}

/// The first option in force that would change what is written, or what is followed, in a way that is
/// not there yet.
// TODO: They are refused, for fear that somebody counts on them.
pub(super) fn unsupported(options: &Options) -> Option<&'static str> {
    let off = [
        (options.metacopy, "metacopy=on"),
        (options.nfs_export, "nfs_export=on"),
        (options.index, "index=on"),
        (options.verity == Verity::On, "verity=on"),
        (options.verity == Verity::Require, "verity=require"),
    ];
    off.iter().find(|(is_on, _)| *is_on).map(|(_, name)| *name)
}
