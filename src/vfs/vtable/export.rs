// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks that make file handles.
//!
//! C header: [`include/linux/exportfs.h`](srctree/include/linux/exportfs.h).

use core::{
    marker::PhantomData,
    ptr, //
};
use kernel::prelude::*;

use crate::{
    bindings,
    vfs::{
        inode::Inode,
        FileSystem, //
    },
};

/// What a filesystem does with file handles.
pub(crate) trait ExportOps {
    /// The filesystem.
    type Fs: FileSystem;

    /// Hands over the handle of `inode`, and returns its type.
    ///
    /// # Errors
    ///
    /// Any, if there is no handle.
    fn encode(inode: &Inode<Self::Fs>, room: &mut HandleRoom<'_>) -> Result<u8>;
}

/// Where a handle goes.
///
/// # Invariants
///
/// There is room for `size` bytes at `place`.
pub(crate) struct HandleRoom<'a> {
    place: *mut u8,
    size: usize,
    needed: usize,
    _borrowed: PhantomData<&'a mut [u8]>,
}

impl HandleRoom<'_> {
    /// Hands the bytes of the handle over. If there is not enough room, whoever asks is told how much it
    /// takes.
    pub(crate) fn put(&mut self, handle: &[u8]) {
        self.needed = handle.len();
        if self.fits() {
            // SAFETY: By the type invariant there is room, which nobody else uses.
            unsafe { ptr::copy_nonoverlapping(handle.as_ptr(), self.place, handle.len()) };
        }
    }

    fn fits(&self) -> bool {
        self.needed <= self.size
    }
}

/// The tables for `F`.
pub(in crate::vfs) struct ExportTable<F>(PhantomData<F>);

impl<F: FileSystem> ExportTable<F> {
    /// For handles that tell objects apart, and by which nothing can be found.
    pub(in crate::vfs) const ENCODE_ONLY: &'static bindings::export_operations =
        &bindings::export_operations {
            encode_fh: Some(Self::encode_fh),
            ..pin_init::zeroed()
        };

    /// # Safety
    ///
    /// Called by the VFS with an inode of `F`, and room for `*words` words at `place`.
    unsafe extern "C" fn encode_fh(
        inode: *mut bindings::inode,
        place: *mut u32,
        words: *mut c_int,
        parent: *mut bindings::inode,
    ) -> c_int {
        // CAST: The constant is 255.
        const INVALID: c_int = bindings::fid_type_FILEID_INVALID as c_int;

        // A handle that tells the parent too is asked for only by those who want to find it again.
        if !parent.is_null() {
            return INVALID;
        }
        // SAFETY: By the callback's contract.
        let inode = unsafe { Inode::from_raw(inode) };
        // SAFETY: By the callback's contract.
        let size = usize::try_from(unsafe { *words }).unwrap_or(0);
        // INVARIANT: By the callback's contract.
        let mut room = HandleRoom {
            place: place.cast(),
            size: size.saturating_mul(4),
            needed: 0,
            _borrowed: PhantomData,
        };
        let Ok(kind) = F::ExportOps::encode(inode, &mut room) else {
            return INVALID;
        };
        // SAFETY: By the callback's contract.
        // CAST: A handle has some hundred bytes at most.
        unsafe { *words = room.needed.div_ceil(4) as c_int };
        if room.fits() {
            c_int::from(kind)
        } else {
            INVALID
        }
    }
}
