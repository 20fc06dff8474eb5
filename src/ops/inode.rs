// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of inodes.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    dir,
    file, //
};
use crate::{
    overlay::{
        attr,
        fs::Overlay,
        lookup, //
    },
    vfs::{
        attr::{
            Stat,
            StatRequest, //
        },
        dentry::{
            Dentry,
            Unhashed, //
        },
        inode::{
            Access,
            Inode, //
        },
        mount::Idmap,
        vtable::inode::{
            InodeOps,
            InodeTables,
            LinkCleanup,
            LinkTarget, //
        },
    },
};

/// The callbacks of each kind of file.
pub(crate) struct Tables;

impl InodeTables for Tables {
    type Fs = Overlay;
    type Directory = Directory;
    type DirectoryFile = dir::Ops;
    type Regular = Other;
    type RegularFile = file::Ops;
    type Symlink = Symlink;
    type Special = Other;
}

fn getattr(
    idmap: &Idmap,
    dentry: &Dentry<Overlay>,
    stat: &mut Stat,
    request: StatRequest,
) -> Result {
    let inode = dentry.inode().ok_or(ESTALE)?;
    let _creds = inode.superblock().data().as_mounter();
    attr::getattr(idmap, inode, stat, request)
}

fn permission(idmap: &Idmap, inode: &Inode<Overlay>, access: Access) -> Result {
    // The task's right by the overlay's own inode, then the mounter's by the one below.
    inode.generic_permission(idmap, access)?;
    let _creds = inode.superblock().data().as_mounter();
    attr::real_permission(inode, access)
}

/// Callbacks of directories.
pub(crate) struct Directory;

#[vtable]
impl InodeOps for Directory {
    type Fs = Overlay;

    fn lookup(
        dir: &Inode<Overlay>,
        name: Unhashed<'_, Overlay>,
    ) -> Result<Option<ARef<Dentry<Overlay>>>> {
        let inode = {
            let _creds = dir.superblock().data().as_mounter();
            lookup::lookup(dir.superblock(), dir.node(), name.name())?
        };
        name.splice(inode)
    }

    fn getattr(
        idmap: &Idmap,
        dentry: &Dentry<Overlay>,
        stat: &mut Stat,
        request: StatRequest,
    ) -> Result {
        getattr(idmap, dentry, stat, request)
    }

    fn permission(idmap: &Idmap, inode: &Inode<Overlay>, access: Access) -> Result {
        permission(idmap, inode, access)
    }
}

/// Callbacks of regular files, device nodes, FIFOs and sockets.
pub(crate) struct Other;

#[vtable]
impl InodeOps for Other {
    type Fs = Overlay;

    fn getattr(
        idmap: &Idmap,
        dentry: &Dentry<Overlay>,
        stat: &mut Stat,
        request: StatRequest,
    ) -> Result {
        getattr(idmap, dentry, stat, request)
    }

    fn permission(idmap: &Idmap, inode: &Inode<Overlay>, access: Access) -> Result {
        permission(idmap, inode, access)
    }
}

/// Callbacks of symlinks. Nobody asks for permission to follow one.
pub(crate) struct Symlink;

#[vtable]
impl InodeOps for Symlink {
    type Fs = Overlay;

    fn getattr(
        idmap: &Idmap,
        dentry: &Dentry<Overlay>,
        stat: &mut Stat,
        request: StatRequest,
    ) -> Result {
        getattr(idmap, dentry, stat, request)
    }

    fn get_link<'a>(
        dentry: &'a Dentry<Overlay>,
        later: &'a mut LinkCleanup,
    ) -> Result<LinkTarget<'a>> {
        let instance = dentry.superblock().data();
        let inode = dentry.inode().ok_or(ESTALE)?;
        let real = inode.node().real(instance.layers()).ok_or(EIO)?;
        let _creds = instance.as_mounter();
        real.dentry.link_target(later)
    }
}
