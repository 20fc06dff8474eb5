// SPDX-License-Identifier: GPL-2.0-only

//! Access control lists: those of the uppermost object, with the users and groups that its layer shows
//! (F17).
//!
//! See `do_ovl_get_acl` in [`fs/overlayfs/inode.c`](srctree/fs/overlayfs/inode.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::fs::Overlay;
use crate::vfs::{
    acl::{
        Acl,
        AclKind,
        CachedAcl,
        RcuWalk, //
    },
    inode::Inode,
    path::PathRef,
    AnyFs, //
};

/// The list that access to `inode` is checked by.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(crate) fn get(inode: &Inode<Overlay>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
    of_layer(inode, |_, real| real.acl(kind))
}

/// The list, to be shown.
///
/// # Errors
///
/// As [`get`], and what a security module says.
pub(crate) fn read(inode: &Inode<Overlay>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
    of_layer(inode, |path, _| path.acl(kind))
}

fn of_layer(
    inode: &Inode<Overlay>,
    get: impl FnOnce(&PathRef<'_>, &Inode<AnyFs>) -> Result<Option<ARef<Acl>>>,
) -> Result<Option<ARef<Acl>>> {
    let layers = inode.superblock().data().layers();
    let path = inode.node().real(layers).ok_or(EIO)?;
    let real = path.dentry.inode().ok_or(EIO)?;
    if !real.has_acls() {
        return Ok(None);
    }
    match get(&path, real)? {
        // The list is shared with the layer's filesystem, therefore it is a copy that is mapped.
        Some(acl) if path.mount.is_idmapped() => acl.mapped(path.mount.idmap(), real).map(Some),
        acl => Ok(acl),
    }
}

/// As [`get`], for a path walk under the RCU read lock.
///
/// # Errors
///
/// `ECHILD` if it cannot be told without blocking.
pub(crate) fn get_cached<'a>(
    inode: &'a Inode<Overlay>,
    kind: AclKind,
    walk: &'a RcuWalk,
) -> Result<CachedAcl<'a>> {
    let layers = inode.superblock().data().layers();
    let path = inode.node().real(layers).ok_or(ECHILD)?;
    let real = path.dentry.inode().ok_or(ECHILD)?;
    if !real.has_acls() {
        return Ok(CachedAcl::none());
    }
    if path.mount.is_idmapped() {
        // A mapped list has to be allocated.
        return Err(ECHILD);
    }
    Ok(real.cached_acl(kind, walk))
}
