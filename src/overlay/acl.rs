// SPDX-License-Identifier: GPL-2.0-only

//! Access control lists: those of the uppermost object, with the users and groups that its layer shows
//! (F17).
//!
//! See `do_ovl_get_acl` and `ovl_set_acl` in [`fs/overlayfs/inode.c`](srctree/fs/overlayfs/inode.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    attr,
    change,
    copy_up::copy_up,
    fs::Overlay, //
};
use crate::vfs::{
    acl::{
        Acl,
        AclKind,
        CachedAcl,
        RcuWalk, //
    },
    dentry::Dentry,
    inode::Inode,
    mount::Idmap,
    path::PathRef,
    setattr::Change,
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

/// A list that the task may set or remove.
pub(crate) struct NewAcl<'a> {
    /// The list, or `None` to remove what there is.
    acl: Option<&'a Acl>,
    kind: AclKind,
    /// Whether the file loses its set-group-ID bit, as it would if the task itself set the list: the
    /// mounter, who does it, may keep it.
    clears_set_group_id: bool,
}

/// Checks whether the current task may set or remove the list. `None` if there is nothing to be done.
///
/// # Errors
///
/// `EOPNOTSUPP` if there can be no lists, `EACCES` for a default list of anything but a directory, `EPERM`
/// if the task does not own the file.
pub(crate) fn permit<'a>(
    idmap: &Idmap,
    inode: &Inode<Overlay>,
    acl: Option<&'a Acl>,
    kind: AclKind,
) -> Result<Option<NewAcl<'a>>> {
    let instance = inode.superblock().data();
    let work = instance.writable()?.work;
    let real = inode.node().real(instance.layers()).ok_or(EIO)?;
    let real = real.dentry.inode().ok_or(EIO)?;
    if !work.inode().is_some_and(Inode::has_acls) || !real.can_set_acl() {
        return Err(EOPNOTSUPP);
    }
    if kind == AclKind::Default && !inode.is_directory() {
        return if acl.is_some() { Err(EACCES) } else { Ok(None) };
    }
    if !inode.owner_or_capable(idmap) {
        return Err(EPERM);
    }
    Ok(Some(NewAcl {
        acl,
        kind,
        clears_set_group_id: kind == AclKind::Access && inode.loses_set_group_id(idmap),
    }))
}

/// Sets or removes the list. The inode is locked.
///
/// # Errors
///
/// Those of copying up, and what upper's filesystem says.
pub(crate) fn set(dentry: &Dentry<Overlay>, new: &NewAcl<'_>) -> Result {
    let inode = dentry.inode().ok_or(ESTALE)?;
    let instance = inode.superblock().data();
    let node = inode.node();
    if new.clears_set_group_id {
        change::setattr(dentry, &mut Change::clear_set_group_id())?;
    }
    if new.acl.is_none() && node.upper().is_none() {
        // What is not there is no reason to copy the file up.
        node.real(instance.layers()).ok_or(EIO)?.acl(new.kind)?;
    }
    copy_up(dentry)?;
    let writable = instance.writable()?;
    let upper = writable.upper(node)?;
    let result = writable.access()?.set_acl(upper, new.kind, new.acl);
    // Also what failed may have changed times.
    attr::refresh(inode);
    result
}
