// SPDX-License-Identifier: GPL-2.0-only

//! The name of an object of ours, where nothing keeps it from being renamed.
//!
//! C header: [`include/linux/dcache.h`](srctree/include/linux/dcache.h).

use core::mem::MaybeUninit;

use super::dentry::Dentry;
use crate::bindings;

impl<F> Dentry<F> {
    /// Calls `with` with the name that the dentry has now, without a terminating NUL.
    pub(crate) fn with_name<T>(&self, with: impl FnOnce(&[u8]) -> T) -> T {
        let mut snapshot = MaybeUninit::<bindings::name_snapshot>::uninit();
        // SAFETY: There is room for the copy, and the dentry is valid.
        unsafe { bindings::take_dentry_name_snapshot(snapshot.as_mut_ptr(), self.as_ptr()) };
        // SAFETY: The snapshot was just taken.
        let name = unsafe { &(*snapshot.as_ptr()).name };
        // SAFETY: Both variants of the union hold the length in the same place.
        let len = unsafe { name.__bindgen_anon_1.__bindgen_anon_1.len };
        // SAFETY: The name has that many bytes, and the snapshot keeps them.
        // CAST: The length is 32 bits wide, `usize` is not smaller.
        let result = with(unsafe { core::slice::from_raw_parts(name.name, len as usize) });
        // SAFETY: The snapshot was taken above, and is used no more.
        unsafe { bindings::release_dentry_name_snapshot(snapshot.as_mut_ptr()) };
        result
    }
}
