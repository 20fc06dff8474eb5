// SPDX-License-Identifier: GPL-2.0-only

//! A value that one task at a time can have, and for which nobody waits.

use core::{
    cell::UnsafeCell,
    marker::PhantomData, //
};

use kernel::sync::atomic::{
    ordering::{
        Acquire,
        Release, //
    },
    Atomic, //
};

/// Holds a `T`. Who finds it taken does without.
///
/// # Invariants
///
/// Only the [`Taken`] that set `taken`, if there is one, looks at the value.
pub(crate) struct TryCell<T> {
    taken: Atomic<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: By the type invariant one task at a time has the value, so that it is enough that it may go from
// task to task.
unsafe impl<T: Send> Sync for TryCell<T> {}

impl<T> TryCell<T> {
    /// Makes a cell that is not taken.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            taken: Atomic::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the value until what is returned is dropped. `None` while another has it.
    pub(crate) fn try_take(&self) -> Option<Taken<'_, T>> {
        // INVARIANT: Whoever changes it to true is the only one until it is false again.
        (!self.taken.xchg(true, Acquire)).then(|| Taken {
            cell: self,
            _value: PhantomData,
        })
    }
}

/// A value that was taken.
///
/// # Invariants
///
/// It is the one that set `cell.taken`.
#[must_use]
pub(crate) struct Taken<'a, T> {
    cell: &'a TryCell<T>,
    /// To be shared and sent as a reference to the value is.
    _value: PhantomData<&'a mut T>,
}

impl<T> core::ops::Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants nobody else looks at the value, and `self` is borrowed.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> core::ops::DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants nobody else looks at the value, and `self` is borrowed alone.
        unsafe { &mut *self.cell.value.get() }
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        self.cell.taken.store(false, Release);
    }
}
