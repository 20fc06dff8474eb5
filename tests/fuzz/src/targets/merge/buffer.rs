// SPDX-License-Identifier: GPL-2.0-only

//! Buffers on the heap that may fail to grow. Those of the model's own tests are part of no other
//! build.

extern crate std;

use crate::source::model::buffer::Buffer;
use crate::source::model::buffer::Buffers;
use crate::source::model::buffer::Full;
use std::cell::Cell;
use std::vec::Vec;

std::thread_local! {
    static BUDGET: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Runs `work` with buffers that fail when they have to grow for the `growths` + 1st time.
pub(super) fn with_budget<R>(growths: usize, work: impl FnOnce() -> R) -> R {
    BUDGET.set(growths);
    let result = work();
    BUDGET.set(usize::MAX);
    result
}

/// Content with room of its own, so that each growth is seen.
pub(super) struct HeapBuffer<T> {
    content: Vec<T>,
    room: usize,
}

impl<T> Default for HeapBuffer<T> {
    fn default() -> Self {
        Self {
            content: Vec::new(),
            room: 0,
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

        if needed > self.room {
            BUDGET.set(BUDGET.get().checked_sub(1).ok_or(Full)?);
            self.room = needed.max(self.room * 2);
        }
        Ok(())
    }

    fn push(&mut self, value: T) -> Result<(), Full> {
        self.extend(&[value])
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
pub(super) struct Heap;

impl Buffers for Heap {
    type Of<T: Copy> = HeapBuffer<T>;
}
