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
        acl,
        attr,
        change,
        create,
        fileattr,
        fs::Overlay,
        lookup,
        remove,
        rename,
        revalidate,
        xattr::view, //
    },
    vfs::{
        acl::{
            Acl,
            AclKind,
            CachedAcl,
            RcuWalk, //
        },
        attr::{
            Stat,
            StatRequest, //
        },
        create::{
            NewName,
            PreparedInode, //
        },
        dentry::{
            Dentry,
            Unhashed, //
        },
        dirop::NewObject,
        fileattr::{
            ExtentRequest,
            FileAttr, //
        },
        inode::{
            Access,
            Inode, //
        },
        layer_files::LayerFiles,
        locked_name::LockedName,
        mount::Idmap,
        revalidate::Wish,
        setattr::{
            Change,
            TimeUpdate, //
        },
        tmpfile::UnnamedFile,
        vtable::{
            inode::{
                InodeOps,
                InodeTables,
                LinkCleanup,
                LinkTarget, //
            },
            inode_removal::RenameMode, //
        },
        xattr::ListBuffer, //
    },
};

/// The callbacks of each kind of file.
pub(crate) struct Tables;

impl InodeTables for Tables {
    type Fs = Overlay;
    type Directory = Directory;
    type DirectoryFile = dir::Ops;
    type Regular = Regular;
    type RegularFile = file::Ops;
    type Symlink = Symlink;
    type Special = Special;
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

fn get_acl(inode: &Inode<Overlay>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
    let _creds = inode.superblock().data().as_mounter();
    acl::get(inode, kind)
}

fn read_acl(dentry: &Dentry<Overlay>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
    let inode = dentry.inode().ok_or(ESTALE)?;
    let _creds = inode.superblock().data().as_mounter();
    acl::read(inode, kind)
}

fn list_xattrs(dentry: &Dentry<Overlay>, list: ListBuffer<'_>) -> Result<usize> {
    view::list(dentry.inode().ok_or(ESTALE)?, list)
}

fn fileattr(dentry: &Dentry<Overlay>, attr: &mut FileAttr) -> Result {
    let inode = dentry.inode().ok_or(ESTALE)?;
    let _creds = inode.superblock().data().as_mounter();
    fileattr::get(inode, attr)
}

fn setattr(idmap: &Idmap, dentry: &Dentry<Overlay>, change: &mut Change) -> Result {
    // What the task may do is decided by its own credentials.
    change.prepare(idmap, dentry)?;
    let _creds = dentry.superblock().data().as_mounter();
    change::setattr(dentry, change)
}

fn set_acl(idmap: &Idmap, dentry: &Dentry<Overlay>, acl: Option<&Acl>, kind: AclKind) -> Result {
    // As above.
    let inode = dentry.inode().ok_or(ESTALE)?;
    let Some(new) = acl::permit(idmap, inode, acl, kind)? else {
        return Ok(());
    };
    let _creds = inode.superblock().data().as_mounter();
    acl::set(dentry, &new)
}

fn set_fileattr(dentry: &Dentry<Overlay>, attr: &mut FileAttr) -> Result {
    let _creds = dentry.superblock().data().as_mounter();
    fileattr::set(dentry, attr)
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
        let found = {
            let _creds = dir.superblock().data().as_mounter();
            lookup::lookup(dir.superblock(), dir.node(), name.name())?
        };
        if found.is_named_in_upper {
            name.mark();
        }
        let inode = found.inode.as_deref();
        let wish = inode.map_or(Wish::NONE, |inode| revalidate::wish(inode.node()));
        name.splice(found.inode, wish)
    }

    fn create(idmap: &Idmap, name: NewName<'_, Overlay>, object: NewObject<'_>) -> Result {
        let inode = PreparedInode::new(idmap, &name, object.mode)?;
        let caller = name.superblock().data().as_mounter();
        create::create(inode, name, object.kind, &caller)
    }

    fn link(old: &Dentry<Overlay>, name: NewName<'_, Overlay>) -> Result {
        let _creds = name.superblock().data().as_mounter();
        create::link(old, name)
    }

    fn tmpfile(idmap: &Idmap, file: UnnamedFile<'_, Overlay>, mode: u16) -> Result<LayerFiles> {
        let inode = PreparedInode::new(idmap, &file.name(), mode)?;
        let caller = file.name().superblock().data().as_mounter();
        Ok(create::tmpfile(inode, file, &caller)?.into())
    }

    fn unlink(name: LockedName<'_, Overlay>) -> Result {
        let _creds = name.dentry().superblock().data().as_mounter();
        remove::unlink(&name)
    }

    fn rmdir(name: LockedName<'_, Overlay>) -> Result {
        let _creds = name.dentry().superblock().data().as_mounter();
        remove::rmdir(&name)
    }

    fn rename(
        old: LockedName<'_, Overlay>,
        new: LockedName<'_, Overlay>,
        mode: RenameMode,
    ) -> Result {
        let _creds = old.dentry().superblock().data().as_mounter();
        rename::rename(&old, &new, mode)
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

    fn acl(inode: &Inode<Overlay>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
        get_acl(inode, kind)
    }

    fn cached_acl<'a>(
        inode: &'a Inode<Overlay>,
        kind: AclKind,
        walk: &'a RcuWalk,
    ) -> Result<CachedAcl<'a>> {
        acl::get_cached(inode, kind, walk)
    }

    fn read_acl(dentry: &Dentry<Overlay>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
        read_acl(dentry, kind)
    }

    fn list_xattrs(dentry: &Dentry<Overlay>, list: ListBuffer<'_>) -> Result<usize> {
        list_xattrs(dentry, list)
    }

    fn fileattr(dentry: &Dentry<Overlay>, attr: &mut FileAttr) -> Result {
        fileattr(dentry, attr)
    }

    fn setattr(idmap: &Idmap, dentry: &Dentry<Overlay>, change: &mut Change) -> Result {
        setattr(idmap, dentry, change)
    }

    fn set_acl(
        idmap: &Idmap,
        dentry: &Dentry<Overlay>,
        acl: Option<&Acl>,
        kind: AclKind,
    ) -> Result {
        set_acl(idmap, dentry, acl, kind)
    }

    fn set_fileattr(dentry: &Dentry<Overlay>, attr: &mut FileAttr) -> Result {
        set_fileattr(dentry, attr)
    }

    fn update_time(inode: &Inode<Overlay>, update: TimeUpdate) -> Result {
        change::update_time(inode, update)
    }
}

/// Callbacks of regular files.
pub(crate) struct Regular;

#[vtable]
impl InodeOps for Regular {
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

    fn acl(inode: &Inode<Overlay>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
        get_acl(inode, kind)
    }

    fn cached_acl<'a>(
        inode: &'a Inode<Overlay>,
        kind: AclKind,
        walk: &'a RcuWalk,
    ) -> Result<CachedAcl<'a>> {
        acl::get_cached(inode, kind, walk)
    }

    fn read_acl(dentry: &Dentry<Overlay>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
        read_acl(dentry, kind)
    }

    fn list_xattrs(dentry: &Dentry<Overlay>, list: ListBuffer<'_>) -> Result<usize> {
        list_xattrs(dentry, list)
    }

    fn fileattr(dentry: &Dentry<Overlay>, attr: &mut FileAttr) -> Result {
        fileattr(dentry, attr)
    }

    fn extents(inode: &Inode<Overlay>, request: ExtentRequest) -> Result {
        let _creds = inode.superblock().data().as_mounter();
        fileattr::extents(inode, request)
    }

    fn setattr(idmap: &Idmap, dentry: &Dentry<Overlay>, change: &mut Change) -> Result {
        setattr(idmap, dentry, change)
    }

    fn set_acl(
        idmap: &Idmap,
        dentry: &Dentry<Overlay>,
        acl: Option<&Acl>,
        kind: AclKind,
    ) -> Result {
        set_acl(idmap, dentry, acl, kind)
    }

    fn set_fileattr(dentry: &Dentry<Overlay>, attr: &mut FileAttr) -> Result {
        set_fileattr(dentry, attr)
    }

    fn update_time(inode: &Inode<Overlay>, update: TimeUpdate) -> Result {
        change::update_time(inode, update)
    }
}

/// Callbacks of device nodes, FIFOs and sockets.
pub(crate) struct Special;

#[vtable]
impl InodeOps for Special {
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

    fn acl(inode: &Inode<Overlay>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
        get_acl(inode, kind)
    }

    fn cached_acl<'a>(
        inode: &'a Inode<Overlay>,
        kind: AclKind,
        walk: &'a RcuWalk,
    ) -> Result<CachedAcl<'a>> {
        acl::get_cached(inode, kind, walk)
    }

    fn read_acl(dentry: &Dentry<Overlay>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
        read_acl(dentry, kind)
    }

    fn list_xattrs(dentry: &Dentry<Overlay>, list: ListBuffer<'_>) -> Result<usize> {
        list_xattrs(dentry, list)
    }

    fn setattr(idmap: &Idmap, dentry: &Dentry<Overlay>, change: &mut Change) -> Result {
        setattr(idmap, dentry, change)
    }

    fn set_acl(
        idmap: &Idmap,
        dentry: &Dentry<Overlay>,
        acl: Option<&Acl>,
        kind: AclKind,
    ) -> Result {
        set_acl(idmap, dentry, acl, kind)
    }

    fn update_time(inode: &Inode<Overlay>, update: TimeUpdate) -> Result {
        change::update_time(inode, update)
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

    fn list_xattrs(dentry: &Dentry<Overlay>, list: ListBuffer<'_>) -> Result<usize> {
        list_xattrs(dentry, list)
    }

    fn setattr(idmap: &Idmap, dentry: &Dentry<Overlay>, change: &mut Change) -> Result {
        setattr(idmap, dentry, change)
    }

    fn update_time(inode: &Inode<Overlay>, update: TimeUpdate) -> Result {
        change::update_time(inode, update)
    }
}
