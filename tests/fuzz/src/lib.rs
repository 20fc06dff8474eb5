// SPDX-License-Identifier: GPL-2.0-only

//! Compiles `src/model` of the module for libFuzzer, with the checks of [`targets`] on top.
//!
//! The inline module below exists for its path alone, as in the host tests.

#![forbid(unsafe_code)]

#[cfg(not(fuzzing))]
compile_error!("scripts/fuzz.sh builds this crate, which needs cargo-fuzz and its --cfg fuzzing");

#[allow(dead_code, unused_imports)]
#[path = "../../../src"]
mod source {
    pub(crate) mod model;
}

mod targets;

pub use targets::run;
