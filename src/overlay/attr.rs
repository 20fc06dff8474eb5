// SPDX-License-Identifier: GPL-2.0-only

//! Attributes: what `stat(2)` shows, and who may do what.
//!
//! See F13 and F15 of the behaviour of overlayfs, `ovl_getattr` and `ovl_permission` in
//! [`fs/overlayfs/inode.c`](srctree/fs/overlayfs/inode.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    fs::{
        Instance,
        Overlay, //
    },
    number, //
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
    FileSystem, //
};

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
    let layers = inode.superblock().data().layers();
    let node = inode.node();
    let real = node.real(layers).ok_or(EIO)?;
    stat.fill_from(&real, request)?;
    stat.report_flags_of(inode);

    number::fill(inode, &real, stat, request)?;
    if inode.is_directory() && node.has_several() {
        // The links of a merged directory are not counted; one link tells `find` not to rely on it.
        stat.set_links(1);
    }
    stat.map_owner(idmap, inode);
    Ok(())
}

/// Takes over the mode, owner, times and size of the object below, after it may have changed.
/// (C: `ovl_copyattr`.)
///
/// The number of links is not among them: it is kept by those who make and remove names.
pub(crate) fn refresh(inode: &Inode<Overlay>) {
    let layers = inode.superblock().data().layers();
    if let Some(real) = inode.node().real(layers) {
        inode.copy_attributes(&real);
    }
}

/// As [`refresh`], before the file in upper is written to. Only the mode counts then, by which the
/// set-user-ID and set-group-ID bits are found that go, and mostly it is still the same.
#[inline]
pub(super) fn refresh_to_write(inode: &Inode<Overlay>) {
    let upper = inode.node().upper().and_then(Dentry::inode);
    if upper.is_some_and(|upper| !inode.has_mode_of(upper)) {
        refresh(inode);
    }
}

/// As [`refresh`], after the file in upper was written to.
#[inline]
pub(super) fn refresh_written(inode: &Inode<Overlay>) {
    if let Some(upper) = inode.node().upper().and_then(Dentry::inode) {
        inode.copy_written(upper);
    }
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
    let real = inode.node().real(layers).ok_or(ECHILD)?;
    let real_inode = real.dentry.inode().ok_or(ECHILD)?;
    // A file will be copied up before it is written to, for which the mounter has to read it.
    let copied_up = matches!(
        inode.file_type(),
        FileType::Regular | FileType::Directory | FileType::Symlink
    );
    let access = if access.writes() && copied_up && !layers.is_upper(&real) {
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
    if let Some(id) = instance.id() {
        stat.set_id(id);
    }
    stat.set_identity(instance.layers().name_length(), Overlay::MAGIC);
    Ok(())
}
