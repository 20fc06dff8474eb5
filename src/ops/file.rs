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
        io,
        sync, //
    },
    vfs::{
        backing::{
            Advice,
            AreaAddress,
            AreaRequest,
            LockOwner,
            SyncRange, //
        },
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
        let mounter = file.inode().superblock().data().mounter();
        io::current(file, real)?.read(iocb, to, mounter)
    }

    fn splice_read(
        file: &File<Overlay>,
        real: &LayerFile,
        position: &mut i64,
        splice: Splice,
    ) -> Result<usize> {
        let mounter = file.inode().superblock().data().mounter();
        io::current(file, real)?.splice_read(file, position, splice, mounter)
    }

    fn mmap(file: &File<Overlay>, real: &LayerFile, vma: &VmaNew) -> Result {
        real.mmap(vma, file.inode().superblock().data().mounter())
    }

    fn unmapped_area(_file: &File<Overlay>, real: &LayerFile, request: AreaRequest) -> AreaAddress {
        // Only aligned as the layer's filesystem wants it can the file be mapped by huge pages.
        real.unmapped_area(request)
    }

    fn fadvise(file: &File<Overlay>, real: &LayerFile, advice: Advice) -> Result {
        let _creds = file.inode().superblock().data().as_mounter();
        io::current(file, real)?.advise(advice)
    }

    fn flush(file: &File<Overlay>, real: &LayerFile, owner: LockOwner) -> Result {
        if !real.wants_flush() {
            return Ok(());
        }
        let _creds = file.inode().superblock().data().as_mounter();
        real.flush(owner)
    }

    fn fsync(file: &File<Overlay>, real: &LayerFile, range: SyncRange) -> Result {
        sync::file(file, real, range)
    }
}
