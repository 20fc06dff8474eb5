// SPDX-License-Identifier: GPL-2.0-only

//! The rules of an overlay that need no kernel: options, on-disk formats, merging of listings.
//!
//! These files import `core` alone, allocate nothing and hold no lock: buffers and iterators come
//! in as arguments. The host tests compile the very same files with cargo. Errors are small enums,
//! to which `overlay` gives their errno.

#![forbid(unsafe_code)]

pub(crate) mod buffer;
pub(crate) mod handle;
pub(crate) mod hash;
pub(crate) mod kind;
pub(crate) mod lowerdir;
pub(crate) mod merge;
pub(crate) mod names;
pub(crate) mod options;
pub(crate) mod protattr;
pub(crate) mod xino;

// The formats below are ready and tested, and become part of the module with the feature that uses
// them.
#[cfg(any(test, fuzzing))]
pub(crate) mod metacopy;
#[cfg(any(test, fuzzing))]
pub(crate) mod nlink;
#[cfg(any(test, fuzzing))]
pub(crate) mod redirect;
