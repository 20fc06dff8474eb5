// SPDX-License-Identifier: GPL-2.0-only

//! The memory of listings.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::model::buffer::{
    Buffer,
    Buffers,
    Full, //
};

/// Buffers in kernel memory, charged to the cgroup of the task that fills them.
pub(crate) enum Charged {}

/// One buffer.
pub(crate) struct ChargedBuffer<T>(KVVec<T>);

impl<T> Default for ChargedBuffer<T> {
    fn default() -> Self {
        Self(KVVec::new())
    }
}

impl From<Full> for Error {
    fn from(_: Full) -> Self {
        ENOMEM
    }
}

impl<T: Copy> Buffer<T> for ChargedBuffer<T> {
    fn as_slice(&self) -> &[T] {
        &self.0
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.0
    }

    fn reserve(&mut self, additional: usize) -> Result<(), Full> {
        self.0
            .reserve(additional, GFP_KERNEL_ACCOUNT)
            .map_err(|_| Full)
    }

    fn push(&mut self, value: T) -> Result<(), Full> {
        self.0.push(value, GFP_KERNEL_ACCOUNT).map_err(|_| Full)
    }

    fn extend(&mut self, values: &[T]) -> Result<(), Full> {
        self.0
            .extend_from_slice(values, GFP_KERNEL_ACCOUNT)
            .map_err(|_| Full)
    }

    fn fill(&mut self, len: usize, value: T) -> Result<(), Full> {
        self.0.clear();
        self.0
            .extend_with(len, value, GFP_KERNEL_ACCOUNT)
            .map_err(|_| Full)
    }
}

impl Buffers for Charged {
    type Of<T: Copy> = ChargedBuffer<T>;
}
