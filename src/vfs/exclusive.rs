// SPDX-License-Identifier: GPL-2.0-only

//! A mark on directories of filesystems below that somebody stacks on, and writes to.
//!
//! It is `I_OVL_INUSE` of [`include/linux/fs.h`](srctree/include/linux/fs.h), one bit that all stacking
//! filesystems share.

use kernel::sync::aref::ARef;

use super::{
    dentry::Dentry,
    AnyFs, //
};
use crate::bindings;

const MARK: u32 = bindings::inode_state_flags_enum_I_OVL_INUSE;

/// Holds an inode's spinlock.
///
/// # Invariants
///
/// The inode is valid during `'a`, and its `i_lock` is held by the current task.
struct StateLock<'a> {
    inode: &'a super::inode::Inode<AnyFs>,
}

impl<'a> StateLock<'a> {
    fn take(inode: &'a super::inode::Inode<AnyFs>) -> Self {
        // SAFETY: The inode is valid, and all paths that take this lock sleep nowhere with it.
        unsafe { bindings::spin_lock(core::ptr::addr_of_mut!((*inode.as_ptr()).i_lock)) };
        // INVARIANT: Just taken.
        Self { inode }
    }

    fn is_marked(&self) -> bool {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::rovl_inode_state_read(self.inode.as_ptr()) & MARK != 0 }
    }
}

impl Drop for StateLock<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe {
            bindings::spin_unlock(core::ptr::addr_of_mut!((*self.inode.as_ptr()).i_lock));
        }
    }
}

impl Dentry<AnyFs> {
    /// Whether somebody has taken the directory for himself.
    pub(crate) fn is_in_exclusive_use(&self) -> bool {
        self.inode()
            .is_some_and(|inode| StateLock::take(inode).is_marked())
    }
}

/// A directory that we have taken for ourselves, until this is dropped.
///
/// # Invariants
///
/// The dentry has an inode, which has the mark, and we set it.
pub(crate) struct ExclusiveUse(ARef<Dentry<AnyFs>>);

impl ExclusiveUse {
    /// Takes the directory. `None` if somebody else has it, or it does not exist.
    pub(crate) fn try_take(dentry: &Dentry<AnyFs>) -> Option<Self> {
        let lock = StateLock::take(dentry.inode()?);
        if lock.is_marked() {
            return None;
        }
        // SAFETY: The lock is held.
        unsafe { bindings::rovl_inode_state_set(lock.inode.as_ptr(), MARK) };
        drop(lock);
        // INVARIANT: Just set. What a held dentry points to does not change.
        Some(Self(dentry.into()))
    }
}

impl Drop for ExclusiveUse {
    fn drop(&mut self) {
        let Some(inode) = self.0.inode() else {
            return;
        };
        let lock = StateLock::take(inode);
        // SAFETY: The lock is held. By the type invariant the mark is ours.
        unsafe { bindings::rovl_inode_state_clear(lock.inode.as_ptr(), MARK) };
    }
}
