// SPDX-License-Identifier: GPL-2.0-only

//! The module's own parameters, as they are now: whoever may can write them at any time.
//!
//! They are declared in `src/shim/params.c`.

use crate::bindings;

/// How many switches there are.
// CAST: A handful.
const SWITCHES: usize = bindings::ROVL_SWITCHES as usize;

/// The value of the switch `index`, in the order of their declaration; `false` if there are not so many.
pub(crate) fn switch(index: usize) -> bool {
    let switches: *const [bool; SWITCHES] = core::ptr::addr_of!(bindings::rovl_switches);
    // SAFETY: The array is static. C writes only zero or one to its elements, at any time, and reads them
    // without a lock.
    let now = unsafe { switches.read_volatile() };
    now.get(index).copied().unwrap_or(false)
}

/// The length of the longest redirect that is made, if it is a path.
pub(crate) fn redirect_max() -> u16 {
    // SAFETY: The variable is static. C writes to it at any time, as a whole, and reads it without a lock.
    unsafe { core::ptr::addr_of!(bindings::rovl_redirect_max).read_volatile() }
}
