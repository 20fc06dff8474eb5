// SPDX-License-Identifier: GPL-2.0-only

//! Open regular files: each one stands for an open file of a layer.
//!
//! See F1 to F7 of the behaviour of overlayfs, and
//! [`fs/overlayfs/file.c`](srctree/fs/overlayfs/file.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    copy_up::{
        copy_up,
        copy_up_truncated, //
    },
    fs::Overlay,
};
use crate::vfs::{
    file::{
        File,
        LayerFile,
        Whence, //
    },
    inode::Inode,
};

/// Opens the file of the uppermost layer for `file`.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(crate) fn open(inode: &Inode<Overlay>, file: &File<Overlay>) -> Result<ARef<LayerFile>> {
    let instance = inode.superblock().data();
    let flags = file.flags();
    if flags.truncates() {
        copy_up_truncated(file.dentry())?;
    } else if flags.writes() {
        copy_up(file.dentry())?;
    }
    file.forget_creation_flags();
    let real = inode.node().real(instance.layers()).ok_or(EIO)?;
    LayerFile::open_for(file, &real, instance.mounter())
}

/// The layer's file for the next operation on `file`, with the flags that `fcntl(2)` has set since. (C:
/// `ovl_real_file`.)
///
/// # Errors
///
/// `EPERM`, or `EINVAL` if the layer's filesystem cannot do what the flags ask for.
#[inline]
pub(crate) fn current<'a>(file: &File<Overlay>, real: &'a LayerFile) -> Result<&'a LayerFile> {
    real.follow_flags(file)?;
    Ok(real)
}

/// Seeks. The position of `file` is the one that counts; only the layer's filesystem knows of holes, and
/// of limits.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(crate) fn llseek(
    file: &File<Overlay>,
    real: &LayerFile,
    offset: i64,
    whence: Whence,
) -> Result<i64> {
    let position = match (whence, offset) {
        (Whence::Current, 0) => return Ok(file.position()),
        (Whence::Start, 0) => 0,
        _ => real.seek(file.position(), offset, whence)?,
    };
    file.set_position(position);
    Ok(position)
}
