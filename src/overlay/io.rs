// SPDX-License-Identifier: GPL-2.0-only

//! Open regular files: each one stands for an open file of a layer.
//!
//! See F1 to F7 of the behaviour of overlayfs, and
//! [`fs/overlayfs/file.c`](srctree/fs/overlayfs/file.c). Writing is in [`super::write`].

#![forbid(unsafe_code)]

use kernel::{
    mm::virt::VmaNew,
    prelude::*, //
};

use super::{
    attr, change,
    copy_up::{
        copy_up,
        copy_up_truncated, //
    },
    fs::Overlay,
};
use crate::vfs::{
    dentry::Dentry,
    file::{
        File,
        LayerFile,
        Whence, //
    },
    inode::Inode,
    layer_files::LayerFiles,
    watch::Watcher,
    AnyFs, //
};

/// Opens the file of the uppermost layer for `file`, after it was copied up if it may be written to.
///
/// # Errors
///
/// Those of copying up, and what the layer's filesystem says.
pub(crate) fn open(inode: &Inode<Overlay>, file: &File<Overlay>) -> Result<LayerFiles> {
    let instance = inode.superblock().data();
    let flags = file.flags();
    // A file that is opened only to read it is emptied later, if that turns out to be permitted.
    if flags.writes() {
        match flags.truncates() {
            true => copy_up_truncated(file.dentry())?,
            false => copy_up(file.dentry())?,
        }
    }
    file.forget_creation_flags();
    let real = inode.node().real(instance.layers()).ok_or(EIO)?;
    Ok(LayerFile::open_for(file, &real, instance.mounter())?.into())
}

/// The layer's file that has the data of `file` now: if it was copied up since it was opened, the one in
/// upper is opened at the first use. (C: `ovl_real_file_path`.)
///
/// # Errors
///
/// What upper's filesystem says.
#[inline]
pub(super) fn latest<'a>(file: &File<Overlay>, files: &'a LayerFiles) -> Result<&'a LayerFile> {
    let real = files.latest();
    match file.inode().node().upper() {
        Some(upper) if !real.is_of(upper) => open_upper(file, files, upper),
        _ => Ok(real),
    }
}

#[cold]
fn open_upper<'a>(
    file: &File<Overlay>,
    files: &'a LayerFiles,
    upper: &Dentry<AnyFs>,
) -> Result<&'a LayerFile> {
    let instance = file.inode().superblock().data();
    let layer = instance.layers().upper().ok_or(EIO)?;
    let _creds = instance.as_mounter();
    let real = LayerFile::open_for(file, &layer.path(upper), instance.mounter())?;
    let real = files.replace(real)?;
    // It can be another one only if upper was tampered with.
    if real.is_of(upper) {
        Ok(real)
    } else {
        Err(EIO)
    }
}

/// As [`latest`], with the flags that `fcntl(2)` has set since. (C: `ovl_real_file`.)
///
/// # Errors
///
/// `EPERM`, or `EINVAL` if the layer's filesystem cannot do what the flags ask for; those of [`latest`].
#[inline]
pub(crate) fn current<'a>(file: &File<Overlay>, files: &'a LayerFiles) -> Result<&'a LayerFile> {
    let real = latest(file, files)?;
    real.follow_flags(file)?;
    Ok(real)
}

/// Keeps the attributes that are cached in our inodes up to date with what is done to files below.
pub(crate) struct Attributes;

impl Watcher for Attributes {
    type Fs = Overlay;

    #[inline]
    fn accessed(file: &File<Overlay>) {
        change::accessed(file);
    }

    #[inline]
    fn written(file: &File<Overlay>) {
        attr::refresh_written(file.inode());
    }
}

/// Maps the file into memory: the one that has the data now, so that a mapping never shows older data than
/// reading does (Q7). Overlayfs maps the one that was opened first.
///
/// The process has its memory locked. One who is asked when upper's file is opened may want to look at that, and
/// would wait for the process that waits for the answer: then what is open already is mapped.
///
/// # Errors
///
/// `ENODEV`, and what the layer's filesystem says.
pub(crate) fn mmap(file: &File<Overlay>, files: &LayerFiles, vma: &VmaNew) -> Result {
    let instance = file.inode().superblock().data();
    let upper = instance.layers().upper();
    let real = match upper.is_some_and(|upper| upper.mount().superblock().may_ask_to_open()) {
        true => files.latest(),
        false => latest(file, files)?,
    };
    real.mmap::<Attributes>(vma, instance.mounter())
}

/// Seeks. The position of `file` is the one that counts; only the layer's filesystem knows of holes, and
/// of limits.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(crate) fn llseek(
    file: &File<Overlay>,
    files: &LayerFiles,
    offset: i64,
    whence: Whence,
) -> Result<i64> {
    let position = match (whence, offset) {
        (Whence::Current, 0) => return Ok(file.position()),
        (Whence::Start, 0) => 0,
        _ => current(file, files)?.seek(file.position(), offset, whence)?,
    };
    file.set_position(position);
    Ok(position)
}
