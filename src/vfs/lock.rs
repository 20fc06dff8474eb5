// SPDX-License-Identifier: GPL-2.0-only

//! What lockdep has to know about the locks of stacked filesystems.
//!
//! With one filesystem stacked on another of the same kind, the inode locks of both are taken at once,
//! always from the top down. Each depth gets classes of its own, so that lockdep sees that order and not
//! a lock that is taken twice. (C: `ovl_lockdep_annotate_inode_mutex_key`.)

use core::pin::Pin;
use kernel::{
    static_lock_class,
    sync::LockClassKey, //
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
