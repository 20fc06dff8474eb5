// SPDX-License-Identifier: GPL-2.0-only

//! The module's own parameters, as they are now: whoever may can write them at any time.
//!
//! They are declared in `src/shim/params.c`.

use crate::bindings;

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $variable:ident,)+) => {$(
        $(#[$doc])*
        pub(crate) fn $name() -> bool {
            // SAFETY: The variable is a static one, and C writes only zero or one to it. It is read
            // without a lock, as C does.
            unsafe { core::ptr::addr_of!(bindings::$variable).read_volatile() }
        }
    )+};
}

flags! {
    /// The value of `redirect_dir`.
    redirect_dir = rovl_redirect_dir_def,
    /// The value of `redirect_always_follow`.
    redirect_always_follow = rovl_redirect_always_follow,
    /// The value of `xino_auto`.
    xino_auto = rovl_xino_auto_def,
    /// The value of `index`.
    index = rovl_index_def,
    /// The value of `nfs_export`.
    nfs_export = rovl_nfs_export_def,
    /// The value of `metacopy`.
    metacopy = rovl_metacopy_def,
}
