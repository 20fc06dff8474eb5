// SPDX-License-Identifier: GPL-2.0-only

//! Compiles `src/model` of the module on the host, as it stands, so that cargo runs its tests.
//!
//! The inline module below exists for its path alone: it makes the compiler look for the files
//! where Kbuild does. Without the standard library, as in the kernel, nothing but `core` is in
//! reach.

#![no_std]

#[allow(dead_code, unused_imports)]
#[path = "../../../src"]
mod source {
    pub(crate) mod model;
}

#[cfg(test)]
mod fuzz;
