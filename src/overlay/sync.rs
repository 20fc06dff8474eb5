// SPDX-License-Identifier: GPL-2.0-only

//! Writing what was changed to the disk (F6, R6).
//!
//! Only upper is ever synced: a lower layer may be on a filesystem that is read-only, and would complain.
//!
//! See `ovl_fsync` in [`fs/overlayfs/file.c`](srctree/fs/overlayfs/file.c) and `ovl_dir_fsync` in
//! [`readdir.c`](srctree/fs/overlayfs/readdir.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    fs::Overlay,
    readdir::OpenDir, //
};
use crate::vfs::{
    backing::SyncRange,
    file::{
        File,
        LayerFile,
        OpenFlags, //
    },
};

/// Syncs a regular file, which `real` was opened for.
///
/// # Errors
///
/// What the filesystem of upper says.
pub(crate) fn file(file: &File<Overlay>, real: &LayerFile, range: SyncRange) -> Result {
    let inode = file.inode();
    if inode.node().upper().is_none() {
        return Ok(());
    }
    let _creds = inode.superblock().data().as_mounter();
    real.sync(range)
}

/// Syncs a directory.
///
/// # Errors
///
/// As [`file`], and those of opening the directory in upper.
pub(crate) fn directory(file: &File<Overlay>, dir: &OpenDir, range: SyncRange) -> Result {
    let inode = file.inode();
    let instance = inode.superblock().data();
    let (Some(layer), Some(upper)) = (instance.layers().upper(), inode.node().upper()) else {
        return Ok(());
    };
    let _creds = instance.as_mounter();
    if let OpenDir::Plain(real) = dir {
        return real.sync(range);
    }
    // A merged directory keeps no file of its layers open; to sync one is rare.
    let path = layer.path(upper);
    LayerFile::open_to_read(&path, OpenFlags::LARGE_FILE, instance.mounter())?.sync(range)
}
