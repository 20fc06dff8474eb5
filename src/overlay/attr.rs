// SPDX-License-Identifier: GPL-2.0-only

//! Attributes: what `stat(2)` shows, inode numbers, and who may do what.
//!
//! See 1.10 of the behaviour of overlayfs, `ovl_getattr`, `ovl_map_dev_ino`, `ovl_map_ino` and
//! `ovl_permission` in [`fs/overlayfs/inode.c`](srctree/fs/overlayfs/inode.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    fs::{
        Instance,
        Overlay, //
    },
    layer::LayerId,
    node::Node,
    stack::LowerObject,
};
use crate::vfs::{
    attr::{
        Stat,
        StatFs,
        StatRequest, //
    },
    dentry::Dentry,
    inode::{
        Access,
        FileType,
        Inode, //
    },
    mount::Idmap,
    path::PathRef,
    superblock::SuperBlock,
    AnyFs,
    FileSystem, //
};

/// The number for a new inode, whose identity is that of `key`, or of `real` if it has none.
///
/// Where not all layers are on one filesystem a directory gets a number that is made up, since `st_dev`
/// of directories is the overlay's, so that two may not have the same number.
pub(super) fn inode_number(
    instance: &Instance,
    key: Option<&Inode<AnyFs>>,
    real: &Dentry<AnyFs>,
) -> u64 {
    let inode = key.or(real.inode());
    let is_directory = inode.is_some_and(Inode::is_directory);
    if is_directory && !instance.layers().same_filesystem() {
        return instance.next_number();
    }
    inode.map_or(0, Inode::number)
}

/// Whether the number of the lower object, from which the upper one was copied, is shown: numbers shall
/// not change when a file is copied up.
fn shows_lower_number(instance: &Instance, node: &Node, is_directory: bool) -> bool {
    node.upper().is_some()
        && !node.lower().is_empty()
        && is_directory
        && instance.layers().same_filesystem()
}

/// Tells the attributes of `inode`.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(crate) fn getattr(
    idmap: &Idmap,
    inode: &Inode<Overlay>,
    stat: &mut Stat,
    request: StatRequest,
) -> Result {
    let sb = inode.superblock();
    let instance = sb.data();
    let node = inode.node();
    let real = node.real(instance.layers()).ok_or(EIO)?;
    stat.fill_from(&real, request)?;
    stat.report_flags_of(inode);

    let is_directory = inode.file_type() == FileType::Directory;
    if shows_lower_number(instance, node, is_directory) {
        stat.set_number(lower_number(instance, node)?);
    }
    set_device(sb, inode, stat)?;
    if is_directory && node.has_several() {
        // The links of a merged directory are not counted; one link tells `find` not to rely on it.
        stat.set_links(1);
    }
    stat.map_owner(idmap, inode);
    Ok(())
}

/// The number of the uppermost lower object.
fn lower_number(instance: &Instance, node: &Node) -> Result<u64> {
    let lower = node.lower().first().ok_or(EIO)?;
    let layer = instance.layers().get(lower.layer())?;
    let dentry = LowerObject::dentry(lower).ok_or(EIO)?;
    number_of(&layer.path(dentry))
}

/// The inode number of an object of a layer.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(super) fn number_of(path: &PathRef<'_>) -> Result<u64> {
    let mut stat = Stat::empty();
    stat.fill_from(path, StatRequest::NUMBER)?;
    Ok(stat.number())
}

/// Makes the pair of device and number unique in the overlay.
fn set_device(sb: &SuperBlock<Overlay>, inode: &Inode<Overlay>, stat: &mut Stat) -> Result {
    let layers = sb.data().layers();
    if layers.same_filesystem() {
        stat.set_device(sb.device());
    } else if inode.is_directory() {
        stat.set_device(sb.device());
        stat.set_number(inode.number());
    } else {
        let layer = inode.node().real_layer().unwrap_or(LayerId::Upper);
        stat.set_device(layers.device_of(layers.get(layer)?.fs())?);
    }
    Ok(())
}

/// The number that `stat(2)` shows for the directory `inode`.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(super) fn shown_number(inode: &Inode<Overlay>) -> Result<u64> {
    let instance = inode.superblock().data();
    let node = inode.node();
    if !instance.layers().same_filesystem() {
        return Ok(inode.number());
    }
    if shows_lower_number(instance, node, inode.is_directory()) {
        return lower_number(instance, node);
    }
    number_of(&node.real(instance.layers()).ok_or(EIO)?)
}

/// Checks the mounter's right to do what `access` says with the object below. The caller has checked the
/// task's right to do it with the inode of the overlay.
///
/// Works under the RCU read lock too.
///
/// # Errors
///
/// `EACCES` and others; `ECHILD` if it cannot be told without blocking.
pub(crate) fn real_permission(inode: &Inode<Overlay>, access: Access) -> Result {
    let layers = inode.superblock().data().layers();
    let node = inode.node();
    let real = node.real(layers).ok_or(ECHILD)?;
    let real_inode = real.dentry.inode().ok_or(ECHILD)?;
    // A file will be copied up before it is written to, for which the mounter has to read it.
    let copied_up = matches!(
        inode.file_type(),
        FileType::Regular | FileType::Directory | FileType::Symlink
    );
    let access = if access.writes() && node.upper().is_none() && copied_up {
        access.read_instead_of_write()
    } else {
        access
    };
    real_inode.permission(real.mount.idmap(), access)
}

/// Tells the figures of the filesystem that is written to, or read first.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(crate) fn statfs(instance: &Instance, stat: &mut StatFs) -> Result {
    let top = instance.layers().top()?;
    stat.fill_from(&top.path(top.root()))?;
    stat.set_identity(instance.layers().name_length(), Overlay::MAGIC);
    Ok(())
}
