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
use kernel::{
    prelude::*,
    sync::atomic::{
        ordering::Relaxed,
        Atomic, //
    },
};

use super::{
    inode::{
        Node,
        WithNode, //
    },
    superblock,
    FileSystem, //
};
use crate::bindings;

/// The cache of the one filesystem type that the module registers.
///
/// It is here, and not in a value somewhere, because C's `alloc_inode` knows nothing but a superblock
/// that has no data yet.
static CACHE: Atomic<*mut c_void> = Atomic::new(ptr::null_mut());

/// Keeps the cache.
///
/// # Invariants
///
/// `CACHE` is a cache of objects as large as `WithNode<F>`.
pub(super) struct InodeCache<F>(PhantomData<fn() -> F>);

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
        if cache.is_null() {
            return Err(ENOMEM);
        }
        CACHE.store(cache.cast(), Relaxed);
        // INVARIANT: Just created so.
        Ok(Self(PhantomData))
    }
}

impl<F> Drop for InodeCache<F> {
    fn drop(&mut self) {
        // Inodes are given back by RCU callbacks: all of those have to be through.
        // SAFETY: There are no requirements.
        unsafe { bindings::rcu_barrier() };
        // SAFETY: By the type invariant it is a cache, and nobody is left to use it, since the filesystem
        // type is no longer registered.
        unsafe { bindings::kmem_cache_destroy(CACHE.load(Relaxed).cast()) };
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

/// Allocates an inode with a vacant node, or returns null.
///
/// # Safety
///
/// `sb` must be a valid superblock of `F`, and the cache must exist.
pub(super) unsafe fn allocate<F: FileSystem>(
    sb: *mut bindings::super_block,
) -> *mut bindings::inode {
    let cache = CACHE.load(Relaxed).cast();
    // SAFETY: By this function's requirements.
    let inode = unsafe { bindings::rovl_alloc_inode_sb(sb, cache) };
    let Some(whole) = NonNull::new(inode.cast::<WithNode<F>>()) else {
        return ptr::null_mut();
    };
    // SAFETY: The superblock is valid by this function's requirements.
    let depth = u32::try_from(unsafe { (*sb).s_stack_depth }).unwrap_or(0);
    // SAFETY: The allocation is as large as a `WithNode<F>`, and nobody else knows it.
    let node = unsafe { ptr::addr_of_mut!((*whole.as_ptr()).node) };
    let init = F::Node::vacant(depth);
    // SAFETY: The node's memory is ours to write, and stays where it is until it is dropped.
    unsafe { pin_init::raw_init(node.cast::<F::Node>(), init) };
    inode
}

/// Drops the node, and frees the inode.
///
/// # Safety
///
/// `inode` must come from [`allocate`], and nobody may use it any more.
pub(super) unsafe fn free<F: FileSystem>(inode: *mut bindings::inode) {
    let whole = inode.cast::<WithNode<F>>();
    // SAFETY: The node was initialised by `allocate`, and by this function's requirements nobody uses it.
    unsafe { (*whole).node.assume_init_drop() };
    // SAFETY: By this function's requirements.
    unsafe { bindings::kmem_cache_free(CACHE.load(Relaxed).cast(), inode.cast()) };
}
