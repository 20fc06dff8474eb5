// SPDX-License-Identifier: GPL-2.0-only

//! File handles of objects of the overlay.
//!
//! They tell objects apart, as fanotify needs it. See H6 and H8 of the behaviour of overlayfs, and
//! [`fs/overlayfs/export.c`](srctree/fs/overlayfs/export.c).
//!
//! TODO: Objects cannot be found by their handles yet, so that `nfs_export` is not offered.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    fs::Overlay,
    origin::RealHandle,
    stack::LowerObject, //
};
use crate::{
    model::handle::{
        self,
        Side,
        SIZE_MAX,
        WIRE_MAX,
        WIRE_TYPE, //
    },
    vfs::{
        dentry::Dentry,
        inode::Inode,
        vtable::export::HandleRoom,
        AnyFs, //
    },
};

/// Writes the handle of `inode`, and returns its type. (C: `ovl_encode_fh`.)
///
/// # Errors
///
/// `EIO` if the layer's filesystem makes no handle.
pub(crate) fn encode(inode: &Inode<Overlay>, room: &mut HandleRoom<'_>) -> Result<u8> {
    let instance = inode.superblock().data();
    let (real, side) = encoded_part(inode).ok_or(EIO)?;
    let real = RealHandle::of(instance, real)?;
    let mut stored = [0; SIZE_MAX];
    let stored = real.as_handle(side).encode(&mut stored).ok_or(EIO)?;
    let mut wire = [0; WIRE_MAX];
    room.put(handle::to_wire(stored, &mut wire).ok_or(EIO)?);
    Ok(WIRE_TYPE)
}

/// The object whose handle stands for `inode`: the lower one if there is one, so that copying up does not
/// change it. (C: `ovl_check_encode_origin`, without `nfs_export`.)
fn encoded_part(inode: &Inode<Overlay>) -> Option<(&Inode<AnyFs>, Side)> {
    let node = inode.node();
    let lower = node.lower().first().and_then(LowerObject::dentry);
    let lower = lower.and_then(Dentry::inode);
    let upper = node.upper().and_then(Dentry::inode);
    match (upper, lower) {
        // The root is never copied up.
        (Some(upper), _) if inode.superblock().is_root(inode) => Some((upper, Side::Upper)),
        (_, Some(lower)) => Some((lower, Side::Lower)),
        (Some(upper), None) => Some((upper, Side::Upper)),
        (None, None) => None,
    }
}
