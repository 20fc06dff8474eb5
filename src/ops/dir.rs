// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of open directories.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::{
    overlay::{
        fs::Overlay,
        readdir::{
            self,
            OpenDir, //
        },
        sync, //
    },
    vfs::{
        backing::SyncRange,
        file::{
            File,
            Whence, //
        },
        inode::Inode,
        readdir::Emitter,
        vtable::file::FileOps, //
    },
};

/// Callbacks of open directories.
pub(crate) struct Ops;

#[vtable]
impl FileOps for Ops {
    type Fs = Overlay;
    type Handle = KBox<OpenDir>;

    fn open(inode: &Inode<Overlay>, file: &File<Overlay>) -> Result<Self::Handle> {
        let _creds = inode.superblock().data().as_mounter();
        readdir::open(inode, file)
    }

    fn llseek(file: &File<Overlay>, dir: &OpenDir, offset: i64, whence: Whence) -> Result<i64> {
        readdir::llseek(file, dir, offset, whence)
    }

    fn iterate(file: &File<Overlay>, dir: &OpenDir, emitter: &mut Emitter<'_>) -> Result {
        let _creds = file.inode().superblock().data().as_mounter();
        readdir::iterate(file, dir, emitter)
    }

    fn fsync(file: &File<Overlay>, dir: &OpenDir, range: SyncRange) -> Result {
        sync::directory(file, dir, range)
    }
}
