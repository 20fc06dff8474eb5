// SPDX-License-Identifier: GPL-2.0-only

//! Growing arrays whose memory comes from the user of `model`: `KVVec` in the module, `Vec` on the
//! host.

#![forbid(unsafe_code)]

/// No memory for a buffer, or more content than its offsets can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A growing array. A method that fails leaves the content as it was.
///
/// After [`Buffer::reserve`] has succeeded, [`Buffer::push`] and [`Buffer::extend`] do not fail
/// before that many elements have been added.
pub(crate) trait Buffer<T: Copy>: Default {
    /// Returns the content.
    fn as_slice(&self) -> &[T];

    /// Returns the content, to be changed in place.
    fn as_mut_slice(&mut self) -> &mut [T];

    /// Makes room for `additional` more elements; grows by a factor, so that many small calls cost
    /// little.
    fn reserve(&mut self, additional: usize) -> Result<(), Full>;

    /// Appends one element.
    fn push(&mut self, value: T) -> Result<(), Full>;

    /// Appends copies of all `values`.
    fn extend(&mut self, values: &[T]) -> Result<(), Full>;

    /// Makes the content `len` times `value`.
    fn fill(&mut self, len: usize, value: T) -> Result<(), Full>;
}

/// A kind of buffer for any type of element.
pub(crate) trait Buffers {
    /// The buffer with elements of type `T`.
    type Of<T: Copy>: Buffer<T>;
}

#[cfg(test)]
pub(crate) mod testing {
    //! Buffers on the host's heap that can be made to fail.

    extern crate std;

    use super::*;
    use std::cell::Cell;
    use std::vec::Vec;

    std::thread_local! {
        static BUDGET: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// Runs `work` with buffers that fail when they have to grow for the `growths` + 1st time.
    pub(crate) fn with_budget<R>(growths: usize, work: impl FnOnce() -> R) -> R {
        BUDGET.set(growths);
        let result = work();
        BUDGET.set(usize::MAX);
        result
    }

    /// Content with a capacity of its own, so that each growth is seen.
    #[derive(Debug)]
    pub(crate) struct HeapBuffer<T> {
        content: Vec<T>,
        capacity: usize,
    }

    impl<T> Default for HeapBuffer<T> {
        fn default() -> Self {
            Self {
                content: Vec::new(),
                capacity: 0,
            }
        }
    }

    impl<T: Copy> Buffer<T> for HeapBuffer<T> {
        fn as_slice(&self) -> &[T] {
            &self.content
        }

        fn as_mut_slice(&mut self) -> &mut [T] {
            &mut self.content
        }

        fn reserve(&mut self, additional: usize) -> Result<(), Full> {
            let needed = self.content.len() + additional;

            if needed > self.capacity {
                BUDGET.set(BUDGET.get().checked_sub(1).ok_or(Full)?);
                self.capacity = needed.max(self.capacity * 2);
            }
            Ok(())
        }

        fn push(&mut self, value: T) -> Result<(), Full> {
            self.reserve(1)?;
            self.content.push(value);
            Ok(())
        }

        fn extend(&mut self, values: &[T]) -> Result<(), Full> {
            self.reserve(values.len())?;
            self.content.extend_from_slice(values);
            Ok(())
        }

        fn fill(&mut self, len: usize, value: T) -> Result<(), Full> {
            self.reserve(len.saturating_sub(self.content.len()))?;
            self.content.clear();
            self.content.resize(len, value);
            Ok(())
        }
    }

    /// The kind of [`HeapBuffer`].
    pub(crate) struct Heap;

    impl Buffers for Heap {
        type Of<T: Copy> = HeapBuffer<T>;
    }
}
