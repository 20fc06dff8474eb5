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
#[cfg_attr(
    not(any(test, fuzzing)),
    expect(dead_code, reason = "values are checked, and not followed yet")
)]
pub(crate) mod metacopy;
pub(crate) mod names;
#[cfg_attr(
    not(any(test, fuzzing)),
    expect(dead_code, reason = "values are written, and not read yet")
)]
pub(crate) mod nlink;
pub(crate) mod options;
pub(crate) mod protattr;
pub(crate) mod redirect;
pub(crate) mod xino;
