// SPDX-License-Identifier: GPL-2.0-only

//! The VFS's callbacks: each puts the mounter's credentials in force where layers are touched, and calls
//! what does the work.

#![forbid(unsafe_code)]

mod context;
mod dentry;
mod dir;
mod export;
mod file;
mod inode;
mod superblock;
mod xattr;

use kernel::prelude::*;

use crate::{
    overlay::{
        fs::{
            Instance,
            Overlay, //
        },
        node::Node,
        setup::Options,
    },
    vfs::FileSystem, //
};

impl FileSystem for Overlay {
    #[cfg(not(rovl_dropin))]
    const NAME: &'static CStr = c"rovl";
    #[cfg(rovl_dropin)]
    const NAME: &'static CStr = c"overlay";

    // `OVERLAYFS_SUPER_MAGIC`: engines recognise what is mounted by it.
    const MAGIC: c_ulong = 0x794c_7630;

    type Data = Instance;
    type Node = Node;
    type Context = Options;
    type SuperOps = superblock::Ops;
    type DentryOps = dentry::Ops;
    type ExportOps = export::Ops;
    type Inodes = inode::Tables;
    type Xattrs = xattr::Handlers;
}
