// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of open regular files.

#![forbid(unsafe_code)]

use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    prelude::*, //
};

use crate::{
    overlay::{
        fs::Overlay,
        io::{
            self,
            Attributes, //
        },
        sync,
        write, //
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
            Splice,
            Whence, //
        },
        inode::Inode,
        layer_files::LayerFiles,
        vtable::file::FileOps,
        write::{
            Allocation,
            CopyKind,
            CopyRange, //
        }, //
    },
};

/// Callbacks of open regular files.
pub(crate) struct Ops;

#[vtable]
impl FileOps for Ops {
    type Fs = Overlay;
    type Handle = LayerFiles;

    fn open(inode: &Inode<Overlay>, file: &File<Overlay>) -> Result<Self::Handle> {
        let _creds = inode.superblock().data().as_mounter();
        io::open(inode, file)
    }

    fn llseek(
        file: &File<Overlay>,
        files: &LayerFiles,
        offset: i64,
        whence: Whence,
    ) -> Result<i64> {
        let _creds = file.inode().superblock().data().as_mounter();
        io::llseek(file, files, offset, whence)
    }

    fn read_iter(
        file: &File<Overlay>,
        files: &LayerFiles,
        iocb: &mut Iocb<'_>,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        let mounter = file.inode().superblock().data().mounter();
        io::current(file, files)?.read::<Attributes>(iocb, to, mounter)
    }

    fn splice_read(
        file: &File<Overlay>,
        files: &LayerFiles,
        position: &mut i64,
        splice: Splice,
    ) -> Result<usize> {
        let mounter = file.inode().superblock().data().mounter();
        io::current(file, files)?.splice_read::<Attributes>(file, position, splice, mounter)
    }

    fn write_iter(
        file: &File<Overlay>,
        files: &LayerFiles,
        iocb: &mut Iocb<'_>,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        write::write(file, files, iocb, from)
    }

    fn splice_write(
        file: &File<Overlay>,
        files: &LayerFiles,
        position: &mut i64,
        splice: Splice,
    ) -> Result<usize> {
        write::splice_write(file, files, position, splice)
    }

    fn fallocate(file: &File<Overlay>, files: &LayerFiles, allocation: Allocation) -> Result {
        write::fallocate(file, files, allocation)
    }

    fn copy_range(
        from: (&File<Overlay>, &LayerFiles),
        to: (&File<Overlay>, &LayerFiles),
        range: CopyRange,
        kind: CopyKind,
    ) -> Result<i64> {
        write::copy_range(from, to, range, kind)
    }

    fn mmap(file: &File<Overlay>, files: &LayerFiles, vma: &VmaNew) -> Result {
        io::mmap(file, files, vma)
    }

    fn unmapped_area(
        _file: &File<Overlay>,
        files: &LayerFiles,
        request: AreaRequest,
    ) -> AreaAddress {
        // Only aligned as the layer's filesystem wants it can the file be mapped by huge pages.
        files.latest().unmapped_area(request)
    }

    fn fadvise(file: &File<Overlay>, files: &LayerFiles, advice: Advice) -> Result {
        let _creds = file.inode().superblock().data().as_mounter();
        io::current(file, files)?.advise(advice)
    }

    fn flush(file: &File<Overlay>, files: &LayerFiles, owner: LockOwner) -> Result {
        let real = files.latest();
        if !real.wants_flush() {
            return Ok(());
        }
        let _creds = file.inode().superblock().data().as_mounter();
        real.flush(owner)
    }

    fn fsync(file: &File<Overlay>, files: &LayerFiles, range: SyncRange) -> Result {
        sync::file(file, files, range)
    }
}
