// SPDX-License-Identifier: GPL-2.0-only

//! The lock of a node, and what lockdep has to know about the locks of stacked filesystems.
//!
//! With one filesystem stacked on another of the same kind, the inode locks of both are taken at once,
//! always from the top down. Each depth gets classes of its own, so that lockdep sees that order and not
//! a lock that is taken twice. (C: `ovl_lockdep_annotate_inode_mutex_key`.)

use core::{
    marker::PhantomData,
    pin::Pin, //
};
use kernel::{
    error::to_result,
    prelude::*,
    static_lock_class,
    sync::LockClassKey,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

use super::{
    inode::Inode,
    FileSystem, //
};
use crate::bindings;

/// The class of a lock that each node has, by how deep its filesystem is stacked.
pub(crate) fn node_class(depth: u32) -> Pin<&'static LockClassKey> {
    match depth {
        0 | 1 => static_lock_class!(),
        _ => static_lock_class!(),
    }
}

/// Puts the inode's lock into the class for its kind and depth. The inode is not yet in use.
pub(super) fn annotate<F: FileSystem>(inode: &Inode<F>, depth: u32) {
    let class = match (inode.is_directory(), depth) {
        (true, 0 | 1) => static_lock_class!(),
        (true, _) => static_lock_class!(),
        (false, 0 | 1) => static_lock_class!(),
        (false, _) => static_lock_class!(),
    };
    // SAFETY: The inode is valid, its lock is not held since nobody else uses it yet, and the class is
    // static.
    unsafe { bindings::rovl_lockdep_set_class(inode.as_ptr(), class.as_ptr()) };
}

/// A lock that each node has, for what may take so long that a signal has to be able to end the wait.
///
/// It has no data of its own: the node says what it guards.
///
/// # Invariants
///
/// The mutex is initialised.
#[pin_data]
pub(crate) struct NodeLock {
    #[pin]
    mutex: Opaque<bindings::mutex>,
}

// SAFETY: A mutex that is not held can be sent to another thread.
unsafe impl Send for NodeLock {}

// SAFETY: A mutex can be used by all threads at once.
unsafe impl Sync for NodeLock {}

impl NodeLock {
    /// Makes the lock of a node of a filesystem that is stacked `depth` deep.
    pub(crate) fn new(depth: u32) -> impl PinInit<Self> {
        let class = match depth {
            0 | 1 => static_lock_class!(),
            _ => static_lock_class!(),
        };
        pin_init!(Self {
            mutex <- Opaque::ffi_init(move |slot| {
                // SAFETY: There is room for a mutex, and both the name and the class are static.
                unsafe {
                    bindings::__mutex_init(slot, c"rovl::NodeLock".as_char_ptr(), class.as_ptr());
                }
            }),
        })
    }

    /// Takes the lock, unless a signal comes first.
    ///
    /// # Errors
    ///
    /// `EINTR`.
    pub(crate) fn lock_interruptible(&self) -> Result<NodeLocked<'_>> {
        // SAFETY: The mutex is initialised by the type invariant.
        to_result(unsafe { bindings::rovl_mutex_lock_interruptible(self.mutex.get()) })?;
        // INVARIANT: Just taken.
        Ok(NodeLocked {
            lock: self,
            _not_send: PhantomData,
        })
    }

    /// Takes the lock.
    pub(crate) fn lock(&self) -> NodeLocked<'_> {
        // SAFETY: The mutex is initialised by the type invariant.
        unsafe { bindings::mutex_lock(self.mutex.get()) };
        // INVARIANT: Just taken.
        NodeLocked {
            lock: self,
            _not_send: PhantomData,
        }
    }
}

/// Holds the lock of a node.
///
/// # Invariants
///
/// The current task holds the lock.
#[must_use = "the lock is given back at once when this is dropped"]
pub(crate) struct NodeLocked<'a> {
    lock: &'a NodeLock,
    _not_send: PhantomData<NotThreadSafe>,
}

impl Drop for NodeLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the current task holds the lock.
        unsafe { bindings::mutex_unlock(self.lock.mutex.get()) };
    }
}

/// Holds the lock of an inode, so that nobody else changes it through the VFS.
///
/// # Invariants
///
/// The current task holds the inode's `i_rwsem` exclusively.
#[must_use = "the inode is unlocked at once when this is dropped"]
pub(crate) struct InodeLocked<'a, F: FileSystem> {
    inode: &'a Inode<F>,
    _not_send: PhantomData<NotThreadSafe>,
}

impl<F: FileSystem> Inode<F> {
    /// Takes the lock.
    #[inline]
    pub(crate) fn lock(&self) -> InodeLocked<'_, F> {
        // SAFETY: The inode is valid by its invariant.
        unsafe { bindings::rovl_inode_lock(self.as_ptr()) };
        // INVARIANT: Just taken.
        InodeLocked {
            inode: self,
            _not_send: PhantomData,
        }
    }
}

impl<F: FileSystem> Drop for InodeLocked<'_, F> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the current task holds the lock.
        unsafe { bindings::rovl_inode_unlock(self.inode.as_ptr()) };
    }
}
