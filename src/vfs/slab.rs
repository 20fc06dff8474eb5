// SPDX-License-Identifier: GPL-2.0-only

//! The slab cache that inodes with their nodes come from.
//!
//! C header: [`include/linux/slab.h`](srctree/include/linux/slab.h).

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::prelude::*;

use super::{
    inode::{
        Node,
        WithNode, //
    },
    superblock,
    FileSystem, //
};
use crate::bindings;

/// The cache of one filesystem type.
///
/// # Invariants
///
/// The pointer is a cache of objects as large as `WithNode<F>`, and we own it.
pub(super) struct InodeCache<F> {
    ptr: NonNull<bindings::kmem_cache>,
    _inodes: PhantomData<fn() -> F>,
}

impl<F: FileSystem> InodeCache<F> {
    /// Creates the cache.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn create() -> Result<Self> {
        // SAFETY: The name is static, and the constructor fits the objects, which begin with an inode.
        let cache = unsafe {
            bindings::rovl_kmem_cache_create(
                F::NAME.as_char_ptr(),
                // CAST: A few hundred bytes.
                superblock::inode_size::<F>() as c_uint,
                Some(init_once),
            )
        };
        // INVARIANT: Just created so.
        Ok(Self {
            ptr: NonNull::new(cache).ok_or(ENOMEM)?,
            _inodes: PhantomData,
        })
    }

    /// Allocates an inode with a vacant node, or returns null.
    ///
    /// # Safety
    ///
    /// `sb` must be a valid superblock of `F`.
    pub(super) unsafe fn allocate(&self, sb: *mut bindings::super_block) -> *mut bindings::inode {
        // SAFETY: By this function's requirements, and the type invariant.
        let inode = unsafe { bindings::rovl_alloc_inode_sb(sb, self.ptr.as_ptr()) };
        let Some(whole) = NonNull::new(inode.cast::<WithNode<F>>()) else {
            return ptr::null_mut();
        };
        // SAFETY: The superblock is valid by this function's requirements.
        let depth = u32::try_from(unsafe { (*sb).s_stack_depth }).unwrap_or(0);
        // SAFETY: The allocation is as large as a `WithNode<F>`, and nobody else knows it.
        let node = unsafe { ptr::addr_of_mut!((*whole.as_ptr()).node) };
        // SAFETY: The node's memory is ours to write, and stays where it is until it is dropped.
        unsafe { pin_init::raw_init(node.cast::<F::Node>(), F::Node::vacant(depth)) };
        inode
    }
}

impl<F> Drop for InodeCache<F> {
    fn drop(&mut self) {
        // Inodes are given back by RCU callbacks: all of those have to be through.
        // SAFETY: There are no requirements.
        unsafe { bindings::rcu_barrier() };
        // SAFETY: By the type invariant it is ours, and nobody is left to use it, since the filesystem type
        // is no longer registered.
        unsafe { bindings::kmem_cache_destroy(self.ptr.as_ptr()) };
    }
}

/// # Safety
///
/// `object` must point to memory for an inode. Called by the slab allocator, once for each object that
/// it makes, not for each use.
unsafe extern "C" fn init_once(object: *mut c_void) {
    // SAFETY: By this function's requirements.
    unsafe { bindings::inode_init_once(object.cast()) };
}

/// Drops the node, and frees the inode.
///
/// # Safety
///
/// `inode` must come from [`InodeCache::allocate`], and nobody may use it any more.
pub(super) unsafe fn free<F: FileSystem>(inode: *mut bindings::inode) {
    let whole = inode.cast::<WithNode<F>>();
    // SAFETY: The node was initialised by `allocate`, and by this function's requirements nobody uses it.
    unsafe { (*whole).node.assume_init_drop() };
    // The slab allocator finds the cache by itself; the superblock, which led to it, may be gone by now.
    // SAFETY: By this function's requirements.
    unsafe { bindings::kfree(inode.cast()) };
}
