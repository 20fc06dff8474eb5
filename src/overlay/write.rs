// SPDX-License-Identifier: GPL-2.0-only

//! Writing to open regular files, which are in upper since they were opened for that.
//!
//! The lock of our inode is held, as in overlayfs, so that what writing takes from the file (`chmod(2)`'s
//! set-user-ID and set-group-ID bits, and capabilities) cannot come back before the data is written.
//!
//! See F3, F4, F8 and F9 of the behaviour of overlayfs, and
//! [`fs/overlayfs/file.c`](srctree/fs/overlayfs/file.c).

#![forbid(unsafe_code)]

use kernel::{
    iov::IovIterSource,
    prelude::*, //
};

use super::{
    attr,
    fs::{
        Instance,
        Overlay, //
    },
    io::{
        current,
        Attributes, //
    }, //
};
use crate::{
    model::options::Fsync,
    vfs::{
        file::{
            File,
            Iocb,
            Splice, //
        },
        inode::Inode,
        layer_files::LayerFiles,
        lock::InodeLocked,
        write::{
            Allocation,
            CopyKind,
            CopyRange,
            Durability, //
        }, //
    },
};

/// Locks the inode of a file that is about to be written to.
#[inline]
fn lock(file: &File<Overlay>) -> InodeLocked<'_, Overlay> {
    let held = file.inode().lock();
    attr::refresh_to_write(file.inode());
    held
}

/// Whether to wait for the disk when the writer wants that (M15).
#[inline]
fn durability(instance: &Instance) -> Durability {
    match instance.options().fsync {
        Fsync::Volatile => Durability::Waived,
        _ => Durability::AsAsked,
    }
}

/// Writes. (C: `ovl_write_iter`.)
///
/// # Errors
///
/// What upper's filesystem says; `EIOCBQUEUED` means that the writing goes on.
pub(crate) fn write(
    file: &File<Overlay>,
    files: &LayerFiles,
    iocb: &mut Iocb<'_>,
    from: &mut IovIterSource<'_>,
) -> Result<usize> {
    let instance = file.inode().superblock().data();
    let held = lock(file);
    let real = current(file, files)?;
    real.write::<Attributes>(iocb, from, durability(instance), instance.mounter(), &held)
}

/// Moves data out of a pipe. (C: `ovl_splice_write`, which tells why this is not a matter of [`write`].)
///
/// # Errors
///
/// What upper's filesystem says.
pub(crate) fn splice_write(
    file: &File<Overlay>,
    files: &LayerFiles,
    position: &mut i64,
    splice: Splice,
) -> Result<usize> {
    let mounter = file.inode().superblock().data().mounter();
    let held = lock(file);
    let real = current(file, files)?;
    real.splice_write::<Attributes>(file, position, splice, mounter, &held)
}

/// Reserves, frees or moves the space of a part of the file.
///
/// # Errors
///
/// What upper's filesystem says.
pub(crate) fn fallocate(
    file: &File<Overlay>,
    files: &LayerFiles,
    allocation: Allocation,
) -> Result {
    let held = lock(file);
    file.remove_privileges(&held)?;
    let real = current(file, files)?;
    let result = {
        let _creds = file.inode().superblock().data().as_mounter();
        real.allocate(allocation)
    };
    attr::refresh_written(file.inode());
    result
}

/// Makes a part of `to` the same as a part of `from`. Returns for how many bytes it did. (C:
/// `ovl_copyfile`.)
///
/// # Errors
///
/// `EPERM` to dedupe what is in a lower layer: copying it up would make one more copy of the data, not
/// one less. `EXDEV` and others if the two files are too far apart, and what the layers' filesystems say.
pub(crate) fn copy_range(
    from: (&File<Overlay>, &LayerFiles),
    to: (&File<Overlay>, &LayerFiles),
    range: CopyRange,
    kind: CopyKind,
) -> Result<i64> {
    let in_upper = |inode: &Inode<Overlay>| inode.node().upper().is_some();

    let (source, target) = (from.0.inode(), to.0.inode());
    let held = if kind == CopyKind::Dedupe {
        if !in_upper(source) || !in_upper(target) {
            return Err(EPERM);
        }
        target.lock()
    } else {
        let held = lock(to.0);
        to.0.remove_privileges(&held)?;
        held
    };
    let real_target = current(to.0, to.1)?;
    let real_source = current(from.0, from.1)?;
    if !source.superblock().is(target.superblock()) {
        // Below only the mounter of the target is asked.
        let _creds = source.superblock().data().as_mounter();
        real_source.check_readable(range)?;
    }
    let result = {
        let _creds = target.superblock().data().as_mounter();
        real_target.copy_from(real_source, range, kind)
    };
    attr::refresh_written(target);
    drop(held);
    result
}
