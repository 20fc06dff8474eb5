// SPDX-License-Identifier: GPL-2.0-only

//! Random numbers.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h).

use crate::bindings;

/// A random number that nobody can guess.
pub(crate) fn number() -> u64 {
    // SAFETY: There are no requirements.
    unsafe { bindings::get_random_u64() }
}
