// SPDX-License-Identifier: GPL-2.0-only

//! rovl, an overlay filesystem.
//!
//! Merges one writable upper directory and any number of read-only lower directories into one tree,
//! with the mounts, the semantics and the layers on disk of overlayfs
//! ([`Documentation/filesystems/overlayfs.rst`](srctree/Documentation/filesystems/overlayfs.rst)).
//!
//! This file owns the module's declaration and registration. The rest is, from the bottom up:
//! `bindings` (generated), `vfs` (safe faces of the kernel's objects, the only place with unsafe code),
//! `model` (pure rules and formats), `overlay` (what an overlay does) and `ops` (the VFS's callbacks).

#![allow(dead_code, reason = "the parts that write come one by one")]

use kernel::prelude::*;

mod bindings;
#[expect(
    dead_code,
    reason = "rules that are tested on the host before the module has a use for them"
)]
mod model;
mod ops;
mod overlay;
mod vfs;

#[cfg(not(rovl_dropin))]
module! {
    type: Rovl,
    name: "rovl",
    authors: ["The rovl developers"],
    description: "Overlay filesystem",
    license: "GPL",
    alias: ["fs-rovl"],
}

#[cfg(rovl_dropin)]
module! {
    type: Rovl,
    name: "overlay",
    authors: ["The rovl developers"],
    description: "Overlay filesystem (rovl)",
    license: "GPL",
    alias: ["fs-overlay"],
}

/// The loaded module: the filesystem type stays registered as long as this lives.
#[pin_data]
struct Rovl {
    #[pin]
    registration: vfs::register::Registration<overlay::fs::Overlay>,
}

impl kernel::InPlaceModule for Rovl {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            registration <- vfs::register::Registration::new(module),
        })
    }
}
