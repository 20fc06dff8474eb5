// SPDX-License-Identifier: GPL-2.0-only

//! The flags that `chattr(1)` sets (F12), and the extents of files (F11).
//!
//! Append-only and immutable are those of the overlay's inode: of an object in upper they are kept in an
//! attribute (X9), since upper itself has to stay changeable.
//!
//! See `ovl_fileattr_get`, `ovl_fileattr_set` and `ovl_fiemap` in [`fs/overlayfs/inode.c`](srctree/fs/overlayfs/inode.c).

#![forbid(unsafe_code)]

use kernel::{
    pr_warn_once,
    prelude::*, //
};

use super::{
    attr,
    copy_up::copy_up,
    edit::Edit,
    fs::Overlay, //
};
use crate::{
    model::{
        names::{
            Namespace,
            Xattr, //
        },
        protattr, //
    },
    vfs::{
        dentry::Dentry,
        fileattr::{
            ExtentRequest,
            FileAttr, //
        },
        inode::Inode,
        path::PathRef,
        superblock::{
            NewInode,
            Protection, //
        },
        AnyFs, //
    },
};

/// Takes over what upper forbids to do with `path` by an attribute. (C: `ovl_check_protattr`.)
pub(super) fn protect(new: &NewInode<Overlay>, path: &PathRef<'_>, namespace: Namespace) {
    let mut value = [0; protattr::SIZE_MAX];
    // An attribute that cannot be read counts as none.
    let Ok(Some(value)) = path.xattr(Xattr::Protattr.name(namespace), &mut value) else {
        return;
    };
    let Some(protection) = protattr::Protection::parse(value) else {
        pr_warn_once!("incompatible protattr format, {} bytes\n", value.len());
        return;
    };
    if protection.append {
        new.protect(Protection::Append);
    }
    if protection.immutable {
        new.protect(Protection::Immutable);
    }
}

/// Tells the flags.
///
/// # Errors
///
/// `ENOTTY` if the layer's filesystem has none, and what else it or a security module says.
pub(crate) fn get(inode: &Inode<Overlay>, attr: &mut FileAttr) -> Result {
    let instance = inode.superblock().data();
    let real = inode.node().real(instance.layers()).ok_or(EIO)?;
    attr.fill_from(&real, instance.mounter())?;
    attr.add_protection_of(inode);
    Ok(())
}

/// Sets the flags. Whether the task may has been checked, and the inode is locked.
///
/// # Errors
///
/// Those of copying up, `EPERM` if append-only or immutable cannot be kept, and what upper's filesystem or
/// a security module says.
pub(crate) fn set(dentry: &Dentry<Overlay>, attr: &mut FileAttr) -> Result {
    let inode = dentry.inode().ok_or(ESTALE)?;
    let instance = inode.superblock().data();
    copy_up(dentry)?;
    let writable = instance.writable()?;
    let upper = writable.upper(inode.node())?;
    attr.may_be_set(&writable.layer.path(upper), instance.mounter())?;
    let result = {
        let edit = Edit::begin(instance)?;
        store_protection(&edit, inode, upper, attr)
            .and_then(|()| edit.access.set_fileattr(upper, attr))
    };
    inode.take_flags_of(upper.inode().ok_or(EIO)?);
    attr::refresh(inode);
    result
}

/// Moves append-only and immutable from `attr` to where they are kept: our inode, and an attribute (X9).
/// (C: `ovl_set_protattr`.)
///
/// They are never set in upper: what is below an immutable directory, or what else has the name of an
/// immutable file, may still have to be copied up.
///
/// # Errors
///
/// `EPERM` if upper has no attributes, and what its filesystem says.
pub(super) fn store_protection(
    edit: &Edit<'_>,
    inode: &Inode<Overlay>,
    upper: &Dentry<AnyFs>,
    attr: &mut FileAttr,
) -> Result {
    let protection = protattr::Protection {
        append: attr.has(Protection::Append),
        immutable: attr.has(Protection::Immutable),
    };
    match protection.value() {
        Some(value) => edit.mark(upper, Xattr::Protattr, value, EPERM)?,
        None if inode.is_protected() => {
            let name = Xattr::Protattr.name(edit.instance.namespace());
            match edit.access.remove_xattr(upper, name) {
                Err(e) if e != EOPNOTSUPP && e != ENODATA => return Err(e),
                _ => (),
            }
        }
        None => (),
    }
    inode.take_protection_of(attr);
    attr.remove_protection();
    Ok(())
}

/// Tells where the data lies.
///
/// # Errors
///
/// `EOPNOTSUPP` if the layer's filesystem cannot tell, and what it says.
pub(crate) fn extents(inode: &Inode<Overlay>, request: ExtentRequest) -> Result {
    let layers = inode.superblock().data().layers();
    let real = inode.node().real(layers).ok_or(EIO)?;
    real.dentry.inode().ok_or(EIO)?.extents(request)
}
