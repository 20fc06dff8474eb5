// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of open regular files.

#![forbid(unsafe_code)]

use kernel::{
    iov::IovIterDest,
    mm::virt::VmaNew,
    prelude::*,
    sync::aref::ARef, //
};

use crate::{
    overlay::{
        fs::Overlay,
        io, //
    },
    vfs::{
        file::{
            File,
            Iocb,
            LayerFile,
            Splice,
            Whence, //
        },
        inode::Inode,
        vtable::file::FileOps, //
    },
};

/// Callbacks of open regular files.
pub(crate) struct Ops;

#[vtable]
impl FileOps for Ops {
    type Fs = Overlay;
    type Handle = ARef<LayerFile>;

    fn open(inode: &Inode<Overlay>, file: &File<Overlay>) -> Result<Self::Handle> {
        let _creds = inode.superblock().data().as_mounter();
        io::open(inode, file)
    }

    fn llseek(file: &File<Overlay>, real: &LayerFile, offset: i64, whence: Whence) -> Result<i64> {
        let _creds = file.inode().superblock().data().as_mounter();
        io::llseek(file, real, offset, whence)
    }

    fn read_iter(
        file: &File<Overlay>,
        real: &LayerFile,
        iocb: &mut Iocb<'_>,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        real.read(iocb, to, file.inode().superblock().data().mounter())
    }

    fn splice_read(
        file: &File<Overlay>,
        real: &LayerFile,
        position: &mut i64,
        splice: Splice,
    ) -> Result<usize> {
        let mounter = file.inode().superblock().data().mounter();
        real.splice_read(file, position, splice, mounter)
    }

    fn mmap(file: &File<Overlay>, real: &LayerFile, vma: &VmaNew) -> Result {
        real.mmap(vma, file.inode().superblock().data().mounter())
    }
}
