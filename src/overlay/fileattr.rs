// SPDX-License-Identifier: GPL-2.0-only

//! The flags that `chattr(1)` sets (F12), and the extents of files (F11).
//!
//! Append-only and immutable are those of the overlay's inode: of an object in upper they are kept in an
//! attribute (X9), since upper itself has to stay changeable.
//!
//! See `ovl_fileattr_get` and `ovl_fiemap` in [`fs/overlayfs/inode.c`](srctree/fs/overlayfs/inode.c).

#![forbid(unsafe_code)]

use kernel::{
    pr_warn_once,
    prelude::*, //
};

use super::fs::Overlay;
use crate::{
    model::{
        names::{
            Namespace,
            Xattr, //
        },
        protattr, //
    },
    vfs::{
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
