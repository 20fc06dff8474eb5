// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of a superblock.
//!
//! C header: [`include/linux/fs/super_types.h`](srctree/include/linux/fs/super_types.h).

use core::marker::PhantomData;
use kernel::{
    error::from_result,
    prelude::*, //
};

use crate::{
    bindings,
    vfs::{
        attr::StatFs,
        dentry::Dentry,
        inode::{
            Inode,
            Node, //
        },
        register::Registration,
        seq::OptionWriter,
        slab,
        superblock::SuperBlock,
        FileSystem, //
    },
};

/// What a filesystem does with a superblock. Nodes are made and released by the trait [`Node`].
pub(crate) trait SuperOps {
    /// The filesystem.
    type Fs: FileSystem;

    /// Tells the figures of the filesystem.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn statfs(sb: &SuperBlock<Self::Fs>, stat: &mut StatFs) -> Result;

    /// Writes all that was changed to the disk, and waits for it.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn sync(sb: &SuperBlock<Self::Fs>) -> Result;

    /// How much memory [`SuperOps::reclaim`] could free, in pages.
    fn reclaimable(sb: &SuperBlock<Self::Fs>) -> usize;

    /// Frees at least `pages` of memory if that is possible, and returns how many were freed. It must not
    /// allocate, nor wait for anyone who might.
    fn reclaim(sb: &SuperBlock<Self::Fs>, pages: usize) -> usize;

    /// Prints the mount options.
    ///
    /// # Errors
    ///
    /// None are expected.
    fn show_options(sb: &SuperBlock<Self::Fs>, to: &OptionWriter) -> Result;
}

/// The table for `F`.
pub(in crate::vfs) struct SuperTable<F>(PhantomData<F>);

impl<F: FileSystem> SuperTable<F> {
    /// The table.
    pub(in crate::vfs) const TABLE: &'static bindings::super_operations =
        &bindings::super_operations {
            alloc_inode: Some(Self::alloc_inode),
            destroy_inode: Some(Self::destroy_inode),
            free_inode: Some(Self::free_inode),
            drop_inode: Some(bindings::inode_just_drop),
            sync_fs: Some(Self::sync_fs),
            statfs: Some(Self::statfs),
            show_options: Some(Self::show_options),
            nr_cached_objects: Some(Self::nr_cached_objects),
            free_cached_objects: Some(Self::free_cached_objects),
            ..pin_init::zeroed()
        };

    /// # Safety
    ///
    /// Called by the VFS with a superblock of `F`.
    unsafe extern "C" fn alloc_inode(sb: *mut bindings::super_block) -> *mut bindings::inode {
        // SAFETY: By the callback's contract.
        let cache = unsafe { Registration::<F>::cache_of(sb) };
        // SAFETY: By the callback's contract.
        unsafe { cache.allocate(sb) }
    }

    /// # Safety
    ///
    /// Called by the VFS, once, with an inode of `F` that nobody refers to.
    unsafe extern "C" fn destroy_inode(inode: *mut bindings::inode) {
        // SAFETY: By the callback's contract. The last reference is gone, but nobody can make a new one,
        // and the memory stays until `free_inode`.
        unsafe { Inode::<F>::from_raw(inode) }.node().release();
    }

    /// # Safety
    ///
    /// Called by the VFS, once, an RCU grace period after `destroy_inode`.
    unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
        // SAFETY: By the callback's contract.
        unsafe { slab::free::<F>(inode) };
    }

    /// # Safety
    ///
    /// Called by the VFS's shrinker with a superblock of `F` that is being used or made.
    unsafe extern "C" fn nr_cached_objects(
        sb: *mut bindings::super_block,
        _control: *mut bindings::shrink_control,
    ) -> c_long {
        // SAFETY: By the callback's contract.
        if unsafe { (*sb).s_root }.is_null() {
            return 0;
        }
        // SAFETY: By the callback's contract, and what has a root has its data too.
        let sb = unsafe { SuperBlock::<F>::from_raw(sb) };
        c_long::try_from(F::SuperOps::reclaimable(sb)).unwrap_or(c_long::MAX)
    }

    /// # Safety
    ///
    /// Called by the VFS's shrinker with a superblock of `F` that has a root, and whose `s_umount` is held.
    unsafe extern "C" fn free_cached_objects(
        sb: *mut bindings::super_block,
        control: *mut bindings::shrink_control,
    ) -> c_long {
        // SAFETY: By the callback's contract.
        let wanted = unsafe { (*control).nr_to_scan };
        // SAFETY: By the callback's contract.
        let sb = unsafe { SuperBlock::<F>::from_raw(sb) };
        c_long::try_from(F::SuperOps::reclaim(sb, wanted)).unwrap_or(c_long::MAX)
    }

    /// # Safety
    ///
    /// Called by the VFS with a superblock of `F` that has a root.
    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: c_int) -> c_int {
        from_result(|| {
            // What begins to be written without waiting is not worth a pass of its own.
            if wait != 0 {
                // SAFETY: By the callback's contract.
                F::SuperOps::sync(unsafe { SuperBlock::<F>::from_raw(sb) })?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a dentry of `F`, and room for the result.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        stat: *mut kernel::bindings::kstatfs,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let dentry = unsafe { Dentry::<F>::from_raw(dentry) };
            // SAFETY: By the callback's contract.
            let stat = unsafe { StatFs::from_raw(stat.cast()) };
            F::SuperOps::statfs(dentry.superblock(), stat)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a dentry of `F`, and a place to print to.
    unsafe extern "C" fn show_options(
        to: *mut bindings::seq_file,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let dentry = unsafe { Dentry::<F>::from_raw(dentry) };
            // SAFETY: By the callback's contract.
            let to = unsafe { OptionWriter::from_raw(to) };
            F::SuperOps::show_options(dentry.superblock(), to)?;
            Ok(0)
        })
    }
}
