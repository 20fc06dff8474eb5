// SPDX-License-Identifier: GPL-2.0-only

//! What an overlay does: it is made of layers, finds objects in them, and merges what it finds.
//!
//! Nothing here touches C. Rules and formats are in `model`, kernel objects in `vfs`; whoever calls from
//! `ops` has put the mounter's credentials in force.

#![forbid(unsafe_code)]

pub(crate) mod acl;
pub(crate) mod attr;
mod cache;
mod casefold;
pub(crate) mod change;
mod charged;
pub(crate) mod copy_up;
pub(crate) mod create;
mod edit;
pub(crate) mod export;
pub(crate) mod fileattr;
pub(crate) mod fs;
pub(crate) mod identity;
mod impure;
pub(crate) mod io;
pub(crate) mod layer;
mod leftover;
mod listing;
pub(crate) mod lookup;
pub(crate) mod node;
mod number;
pub(crate) mod options;
mod origin;
pub(crate) mod probe;
pub(crate) mod readdir;
mod redirect;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod revalidate;
mod search;
pub(crate) mod setup;
pub(crate) mod stack;
pub(crate) mod sync;
pub(crate) mod temp;
pub(crate) mod trap;
mod whiteout;
pub(crate) mod workdir;
pub(crate) mod write;
pub(crate) mod xattr;
