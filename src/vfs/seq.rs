// SPDX-License-Identifier: GPL-2.0-only

//! Printing mount options.
//!
//! C header: [`include/linux/seq_file.h`](srctree/include/linux/seq_file.h).

use kernel::{
    prelude::*,
    types::Opaque, //
};

use crate::bindings;

/// Where the mount options go, for `/proc/mounts` and its kin.
#[repr(transparent)]
pub(crate) struct OptionWriter(Opaque<bindings::seq_file>);

impl OptionWriter {
    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid during `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::seq_file) -> &'a Self {
        // SAFETY: By this function's requirements, and this is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// Prints `,name`, and `=value` if there is one. Both must be plain words.
    pub(crate) fn word(&self, name: &str, value: Option<&str>) {
        for part in [Some(","), Some(name), value.map(|_| "="), value] {
            let part = part.unwrap_or("").as_bytes();
            // SAFETY: The place to print to is valid, and the part has that many bytes.
            unsafe { bindings::seq_write(self.0.get(), part.as_ptr().cast(), part.len()) };
        }
    }

    /// Prints `,name=value`, with the characters escaped that would be taken for separators.
    pub(crate) fn option(&self, name: &CStr, value: &CStr) {
        // SAFETY: All three are valid.
        unsafe {
            bindings::rovl_seq_show_option(self.0.get(), name.as_char_ptr(), value.as_char_ptr())
        };
    }
}
