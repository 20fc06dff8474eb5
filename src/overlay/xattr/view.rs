// SPDX-License-Identifier: GPL-2.0-only

//! Extended attributes as they are seen through the overlay (F16, X11).
//!
//! All of them are those of the uppermost object, but for the overlay's own. Attributes that bear such a
//! name for somebody else, another overlay that has this one as a layer, are escaped on the layer.
//!
//! See [`fs/overlayfs/xattrs.c`](srctree/fs/overlayfs/xattrs.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::{
    model::names::NAME_MAX,
    overlay::{
        attr,
        copy_up::copy_up,
        fs::Overlay, //
    },
    vfs::{
        cred,
        dentry::Dentry,
        inode::Inode,
        xattr::{
            ListBuffer,
            NameList,
            ValueBuffer,
            XattrChange, //
        },
    },
};

/// Reads the attribute `name`, which is not one of those that the overlay keeps for itself.
///
/// # Errors
///
/// `ENODATA`, `ERANGE`, and what the layer's filesystem says.
pub(crate) fn get(inode: &Inode<Overlay>, name: &CStr, value: ValueBuffer<'_>) -> Result<usize> {
    let instance = inode.superblock().data();
    let real = inode.node().real(instance.layers()).ok_or(EIO)?;
    let _creds = instance.as_mounter();
    real.read_xattr(name, value)
}

/// Reads the attribute whose name is the prefix of the overlay's own names and `rest`.
///
/// # Errors
///
/// `EOPNOTSUPP` if the name is too long to be escaped, and as [`get`].
pub(crate) fn get_escaped(
    inode: &Inode<Overlay>,
    rest: &CStr,
    value: ValueBuffer<'_>,
) -> Result<usize> {
    let mut space = [0; NAME_MAX + 1];
    let namespace = inode.superblock().data().namespace();
    let name = namespace.escape(rest, &mut space).map_err(|_| EOPNOTSUPP)?;
    get(inode, name, value)
}

/// Sets or removes the attribute `name`, which is not one of those that the overlay keeps for itself. The
/// inode is locked.
///
/// # Errors
///
/// Those of copying up, `ENODATA` or `EEXIST` as the change demands, and what upper's filesystem says.
pub(crate) fn change(dentry: &Dentry<Overlay>, name: &CStr, change: XattrChange<'_>) -> Result {
    let inode = dentry.inode().ok_or(ESTALE)?;
    let instance = inode.superblock().data();
    let node = inode.node();
    let _creds = instance.as_mounter();
    if matches!(change, XattrChange::Remove) && node.upper().is_none() {
        // What is not there is no reason to copy the file up.
        let real = node.real(instance.layers()).ok_or(EIO)?;
        real.read_xattr(name, ValueBuffer::NONE)?;
    }
    copy_up(dentry)?;
    let writable = instance.writable()?;
    let upper = writable.upper(node)?;
    let result = writable.access()?.change_xattr(upper, name, change);
    // Also what failed may have changed times.
    attr::refresh(inode);
    result
}

/// As [`change`], of the attribute whose name is the prefix of the overlay's own names and `rest`.
///
/// # Errors
///
/// `EOPNOTSUPP` if the name is too long to be escaped, and as [`change`].
pub(crate) fn change_escaped(dentry: &Dentry<Overlay>, rest: &CStr, to: XattrChange<'_>) -> Result {
    let mut space = [0; NAME_MAX + 1];
    let namespace = dentry.superblock().data().namespace();
    let name = namespace.escape(rest, &mut space).map_err(|_| EOPNOTSUPP)?;
    change(dentry, name, to)
}

/// Lists the names of the attributes, and returns the length of the list. With no room for the list the
/// length is that of the layer's, which may be longer.
///
/// # Errors
///
/// `ERANGE`, `EIO` for a list that is broken, and what the layer's filesystem says.
pub(crate) fn list(inode: &Inode<Overlay>, buffer: ListBuffer<'_>) -> Result<usize> {
    let instance = inode.superblock().data();
    let real = inode.node().real(instance.layers()).ok_or(EIO)?;
    let list = {
        let _creds = instance.as_mounter();
        real.list_xattrs(buffer)?
    };
    match list {
        NameList::Length(len) => Ok(len),
        // The right to see trusted names is that of the task, not the mounter's.
        NameList::Names(names) => instance
            .namespace()
            .filter(names, cred::is_system_admin)
            .map_err(|_| EIO),
    }
}
