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
    fs::{
        Instance,
        Overlay, //
    },
    io,
    readdir::OpenDir, //
};
use crate::{
    model::options::Fsync,
    vfs::{
        backing::SyncRange,
        file::{
            File,
            LayerFile,
            OpenFlags, //
        },
        layer_files::LayerFiles, //
    },
};

/// What syncing comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// It has to be done.
    Sync,
    /// The mounter does not want it, and nothing is known to be lost (W5).
    Skip,
}

/// Whether to sync at all. (C: `ovl_sync_status`.)
///
/// # Errors
///
/// The error that a volatile overlay's upper has had in writing since it was mounted.
fn duty(instance: &Instance) -> Result<Duty> {
    if instance.options().fsync != Fsync::Volatile {
        return Ok(Duty::Sync);
    }
    instance.check_upper_errors()?;
    Ok(Duty::Skip)
}

/// Syncs the whole filesystem of upper (F20).
///
/// # Errors
///
/// What it says; `EIO` for whatever error a volatile overlay has had.
pub(crate) fn filesystem(instance: &Instance) -> Result {
    let Some(upper) = instance.layers().upper() else {
        return Ok(());
    };
    match duty(instance).map_err(|_| EIO)? {
        Duty::Sync => upper.mount().superblock().sync(),
        Duty::Skip => Ok(()),
    }
}

/// Syncs the filesystem of upper before the overlay becomes read-only (A3). A volatile one is left as it
/// is, errors or not.
///
/// # Errors
///
/// What the filesystem says.
pub(crate) fn before_read_only(instance: &Instance) -> Result {
    match instance.layers().upper() {
        Some(upper) if instance.options().fsync != Fsync::Volatile => {
            upper.mount().superblock().sync()
        }
        _ => Ok(()),
    }
}

/// Syncs a regular file.
///
/// # Errors
///
/// What the filesystem of upper says.
pub(crate) fn file(file: &File<Overlay>, files: &LayerFiles, range: SyncRange) -> Result {
    let inode = file.inode();
    if duty(inode.superblock().data())? == Duty::Skip || inode.node().upper().is_none() {
        return Ok(());
    }
    let real = io::latest(file, files)?;
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
    if duty(instance)? == Duty::Skip {
        return Ok(());
    }
    let (Some(layer), Some(upper)) = (instance.layers().upper(), inode.node().upper()) else {
        return Ok(());
    };
    let _creds = instance.as_mounter();
    if let Some(real) = dir.file_of(upper) {
        return real.sync(range);
    }
    // It was copied up since it was opened.
    let path = layer.path(upper);
    let real = LayerFile::open_to_read(&path, OpenFlags::LARGE_FILE, instance.mounter())?;
    dir.keep(real.clone());
    real.sync(range)
}
