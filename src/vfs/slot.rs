// SPDX-License-Identifier: GPL-2.0-only

//! A reference that is set at most once, and can be looked at by walkers that hold only the RCU read
//! lock.

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::sync::{
    aref::{
        ARef,
        AlwaysRefCounted, //
    },
    atomic::{
        ordering::{
            Acquire,
            Relaxed,
            Release, //
        },
        Atomic, //
    },
};

/// Reference counted objects whose memory outlives the last reference by an RCU grace period.
///
/// # Safety
///
/// Implementers guarantee that an instance can still be read, though it may be dying, until the end of
/// the RCU read-side critical sections that began before its last reference went away.
pub(crate) unsafe trait RcuFreed: AlwaysRefCounted {}

/// Holds at most one reference to a `T`.
///
/// A slot belongs to a node, that is to an inode. It is filled once at most, at the latest by
/// [`Slot::fill`] while others look at it, and emptied by [`Slot::release`] when the inode dies. The VFS still lets path walkers look at an inode that is dying,
/// under the RCU read lock alone, therefore what a slot holds has to be [`RcuFreed`].
///
/// Dropping a slot does not give the reference back, since that may sleep, and the memory of an inode is
/// freed in a context that must not.
///
/// # Invariants
///
/// The pointer is null, or the slot owns one reference to what it points to. After it has been released,
/// a non-null pointer that somebody has read remains readable for an RCU grace period.
pub(crate) struct Slot<T: RcuFreed> {
    ptr: Atomic<*mut T>,
    _owned: PhantomData<ARef<T>>,
}

// SAFETY: A slot is a reference that can be shared and sent when `T` can; the pointer is only accessed
// atomically.
unsafe impl<T: RcuFreed + Send + Sync> Send for Slot<T> {}

// SAFETY: As above.
unsafe impl<T: RcuFreed + Send + Sync> Sync for Slot<T> {}

impl<T: RcuFreed> Slot<T> {
    /// Makes a slot that holds `object`, if there is one.
    pub(crate) fn new(object: Option<ARef<T>>) -> Self {
        let ptr = object.map_or(ptr::null_mut(), |object| ARef::into_raw(object).as_ptr());
        // INVARIANT: The reference that `object` owned is the slot's now.
        Self {
            ptr: Atomic::new(ptr),
            _owned: PhantomData,
        }
    }

    /// What the slot holds.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        let ptr = NonNull::new(self.ptr.load(Acquire))?;
        // SAFETY: By the type invariant the slot owns a reference, or lost it after the pointer was
        // read. `self` can be borrowed only by those who hold the inode that owns it, so that it is not
        // released, or by a walker in an RCU read-side critical section, for whom `RcuFreed` keeps the
        // object readable.
        Some(unsafe { ptr.as_ref() })
    }

    /// Fills the slot, and lets those who look at it from now on see all that was written before.
    ///
    /// # Errors
    ///
    /// The reference itself, if the slot has been filled already.
    pub(crate) fn fill(&self, object: ARef<T>) -> Result<(), ARef<T>> {
        let new = ARef::into_raw(object);
        // INVARIANT: If the slot takes the pointer, it takes over the reference as well.
        match self.ptr.cmpxchg(ptr::null_mut(), new.as_ptr(), Release) {
            Ok(_) => Ok(()),
            // SAFETY: The reference is still the one that was just taken apart.
            Err(_) => Err(unsafe { ARef::from_raw(new) }),
        }
    }

    /// Gives the reference back. May sleep.
    pub(crate) fn release(&self) {
        let ptr = self.ptr.load(Relaxed);
        self.ptr.store(ptr::null_mut(), Release);
        if let Some(ptr) = NonNull::new(ptr) {
            // SAFETY: By the type invariant the slot owned this reference, and it no longer has the
            // pointer. Only the one who destroys the inode calls this, so nobody else took it as well.
            drop(unsafe { ARef::from_raw(ptr) });
        }
    }
}
