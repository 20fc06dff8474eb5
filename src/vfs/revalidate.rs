// SPDX-License-Identifier: GPL-2.0-only

//! Asking filesystems below whether names are still what they were.
//!
//! Most filesystems know all that happens to their names. Those that do not, such as network filesystems,
//! are asked each time that a name is used, and then so is whoever stacks on them.
//!
//! C headers: [`include/linux/dcache.h`](srctree/include/linux/dcache.h),
//! [`include/linux/namei.h`](srctree/include/linux/namei.h).

use core::mem::MaybeUninit;
use kernel::{
    prelude::*,
    sync::rcu, //
};

use super::{
    dentry::Dentry,
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// How a name is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is walked through, or found at the end of a path.
    Walked,
    /// It was reached without a look at it, as by `..` or a mount point.
    Jumped,
}

/// What a path walk asks for when it comes to a name.
#[derive(Clone, Copy)]
pub(crate) struct Question {
    how: Use,
    /// `LOOKUP_*` flags.
    flags: c_uint,
}

impl Question {
    /// From the arguments of a callback.
    pub(super) fn from_raw(how: Use, flags: c_uint) -> Self {
        Self { how, flags }
    }

    /// Whether the walker holds the RCU read lock, and nothing else.
    fn is_rcu(self) -> bool {
        self.flags & bindings::ROVL_LOOKUP_RCU != 0
    }
}

/// Whether a filesystem wants to be asked about a name: a set of dentry flags.
#[derive(Clone, Copy)]
pub(crate) struct Wish(u32);

impl Wish {
    const WALKED: u32 = bindings::dentry_flags_DCACHE_OP_REVALIDATE;
    const JUMPED: u32 = bindings::dentry_flags_DCACHE_OP_WEAK_REVALIDATE;

    /// That of a name which does not exist, about which nobody is asked.
    pub(crate) const NONE: Self = Self(0);

    /// What any of the dentries below wants.
    pub(crate) fn of_any<'a>(below: impl Iterator<Item = &'a Dentry<AnyFs>>) -> Self {
        let flags = below.fold(0, |flags, dentry| flags | dentry.flags());
        Self(flags & (Self::WALKED | Self::JUMPED))
    }
}

impl<F: FileSystem> Dentry<F> {
    /// Lets the VFS ask about this dentry when `wish` says so, and only then.
    ///
    /// A new dentry is asked about always.
    pub(crate) fn set_wish(&self, wish: Wish) {
        let dentry = self.as_ptr();
        // SAFETY: The dentry is valid by the type invariant; both variants of the union begin with the
        // lock.
        let lock = unsafe {
            core::ptr::addr_of_mut!((*dentry).d_lockref.__bindgen_anon_1.__bindgen_anon_1.lock)
        };
        // SAFETY: The lock is valid, and not held by this task.
        unsafe { bindings::spin_lock(lock) };
        // SAFETY: The lock that guards the flags is held.
        unsafe {
            (*dentry).d_flags = ((*dentry).d_flags & !(Wish::WALKED | Wish::JUMPED)) | wish.0;
        }
        // SAFETY: It was locked above.
        unsafe { bindings::spin_unlock(lock) };
    }
}

impl Dentry<AnyFs> {
    /// Whether the dentry is still what it was, as its filesystem says. (C: `ovl_revalidate_real`.)
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is not and was walked through, `ECHILD` if it cannot be told under the RCU read
    /// lock, and what the filesystem says.
    pub(crate) fn is_current(&self, question: Question) -> Result<bool> {
        let answer = match question.how {
            Use::Walked if self.flags() & Wish::WALKED != 0 => self.ask(question)?,
            Use::Jumped if self.flags() & Wish::JUMPED != 0 => self.ask_weakly(question)?,
            _ => return Ok(true),
        };
        if answer || question.how == Use::Jumped {
            return Ok(answer);
        }
        if !question.is_rcu() {
            // SAFETY: The dentry is valid, and held since this is no RCU walk.
            unsafe { bindings::d_invalidate(self.as_ptr()) };
        }
        Err(ESTALE)
    }

    /// Calls `d_weak_revalidate`.
    fn ask_weakly(&self, question: Question) -> Result<bool> {
        // SAFETY: The dentry can be read, and with this flag it has the callback.
        let Some(callback) = (unsafe { (*(*self.as_ptr()).d_op).d_weak_revalidate }) else {
            return Ok(true);
        };
        // SAFETY: The callback fits its dentry.
        answer(unsafe { callback(self.as_ptr(), question.flags) })
    }

    /// Calls `d_revalidate`, with the name and the parent that the dentry has now.
    fn ask(&self, question: Question) -> Result<bool> {
        // SAFETY: The dentry can be read, and with this flag it has the callback.
        let Some(callback) = (unsafe { (*(*self.as_ptr()).d_op).d_revalidate }) else {
            return Ok(true);
        };
        let (rcu, held);
        let parent = if question.is_rcu() {
            rcu = rcu::read_lock();
            self.parent_under(&rcu)
        } else {
            held = self.parent();
            &held
        };
        let dir = parent.inode().ok_or(ECHILD)?;
        let mut name = MaybeUninit::<bindings::name_snapshot>::uninit();
        // SAFETY: There is room for the copy, and the dentry is valid.
        unsafe { bindings::take_dentry_name_snapshot(name.as_mut_ptr(), self.as_ptr()) };
        // SAFETY: The snapshot was just taken.
        let text = unsafe { core::ptr::addr_of!((*name.as_ptr()).name) };
        // SAFETY: The callback fits its dentry, which is or was in that directory; a filesystem has to put
        // up with a name that has just changed.
        let said = unsafe { callback(dir.as_ptr(), text, self.as_ptr(), question.flags) };
        // SAFETY: The snapshot was taken above, and is used no more.
        unsafe { bindings::release_dentry_name_snapshot(name.as_mut_ptr()) };
        answer(said)
    }
}

/// What a callback's return means.
fn answer(said: c_int) -> Result<bool> {
    kernel::error::to_result(said)?;
    Ok(said > 0)
}
