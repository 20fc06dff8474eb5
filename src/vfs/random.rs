// SPDX-License-Identifier: GPL-2.0-only

//! Random numbers.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h).

use crate::bindings;

/// A new identity, that nothing else has.
pub(crate) fn uuid() -> [u8; 16] {
    let mut uuid = [0; 16];
    // SAFETY: There is room for the 16 bytes.
    unsafe { bindings::generate_random_uuid(uuid.as_mut_ptr()) };
    uuid
}

/// A random number that nobody can guess.
pub(crate) fn number() -> u64 {
    // SAFETY: There are no requirements.
    unsafe { bindings::get_random_u64() }
}
