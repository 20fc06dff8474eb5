// SPDX-License-Identifier: GPL-2.0-only

//! Reading directories: of the filesystems below, and giving names to whoever reads one of ours.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

use super::file::LayerFile;
use crate::bindings;

/// A name in a directory.
#[derive(Clone, Copy)]
pub(crate) struct DirEntry<'a> {
    /// The name.
    pub(crate) name: &'a [u8],
    /// The inode number.
    pub(crate) ino: u64,
    /// The kind of file (`DT_*`).
    pub(crate) d_type: u8,
}

/// The other side of a `getdents(2)` call on a directory of ours.
///
/// # Invariants
///
/// The context is valid, and ours to use during `'a`.
pub(crate) struct Emitter<'a> {
    ctx: NonNull<bindings::dir_context>,
    _borrowed: PhantomData<&'a mut ()>,
}

impl Emitter<'_> {
    /// Wraps the argument of the `iterate_shared` callback.
    ///
    /// # Safety
    ///
    /// `ctx` must be valid, and ours to use, as long as this lives.
    pub(super) unsafe fn from_raw(ctx: NonNull<bindings::dir_context>) -> Self {
        // INVARIANT: By this function's requirements.
        Self {
            ctx,
            _borrowed: PhantomData,
        }
    }

    /// The position of the next name.
    pub(crate) fn position(&self) -> i64 {
        // SAFETY: By the type invariant.
        unsafe { (*self.ctx.as_ptr()).pos }
    }

    /// Sets the position of the next name.
    pub(crate) fn set_position(&mut self, position: i64) {
        // SAFETY: By the type invariant.
        unsafe { (*self.ctx.as_ptr()).pos = position };
    }

    /// Hands a name over. `false` if there is no room left for it: it has to be offered again at the
    /// next call.
    pub(crate) fn emit(&mut self, entry: &DirEntry<'_>) -> bool {
        let ctx = self.ctx.as_ptr();
        // SAFETY: By the type invariant.
        let (actor, position) = unsafe { ((*ctx).actor, (*ctx).pos) };
        let (Some(actor), Ok(len)) = (actor, c_int::try_from(entry.name.len())) else {
            return false;
        };
        // SAFETY: The actor is the context's own, and the name has `len` bytes.
        unsafe {
            actor(
                ctx,
                entry.name.as_ptr().cast(),
                len,
                position,
                entry.ino,
                c_uint::from(entry.d_type),
            )
        }
    }
}

/// A context whose actor hands names to a closure.
#[repr(C)]
struct Collector<'a, C> {
    ctx: bindings::dir_context,
    each: &'a mut C,
    seen: usize,
    failure: Result,
}

/// # Safety
///
/// `ctx` must be the head of a `Collector<'_, C>`, and `name` must have `len` bytes. Called by
/// filesystems from within `iterate_dir`.
unsafe extern "C" fn collect<C: FnMut(DirEntry<'_>) -> Result>(
    ctx: *mut bindings::dir_context,
    name: *const c_char,
    len: c_int,
    _offset: bindings::loff_t,
    ino: u64,
    d_type: c_uint,
) -> bool {
    // SAFETY: By this function's requirements; `iterate_dir` has lent the collector to us alone.
    let collector = unsafe { &mut *ctx.cast::<Collector<'_, C>>() };
    let Ok(len) = usize::try_from(len) else {
        return false;
    };
    // SAFETY: By this function's requirements.
    let name = unsafe { core::slice::from_raw_parts(name.cast(), len) };
    collector.seen = collector.seen.saturating_add(1);
    collector.failure = (collector.each)(DirEntry {
        name,
        ino,
        // CAST: The upper bits are flags for the one who asked for them, we did not.
        d_type: d_type as u8,
    });
    collector.failure.is_ok()
}

impl LayerFile {
    /// Calls `each` for every name in the directory, from its start.
    ///
    /// # Errors
    ///
    /// The first error of `each`, or what the filesystem says; `ENOTDIR` if it is no directory.
    pub(crate) fn for_each_entry<C>(&self, each: &mut C) -> Result
    where
        C: FnMut(DirEntry<'_>) -> Result,
    {
        let mut collector = Collector {
            ctx: bindings::dir_context {
                actor: Some(collect::<C>),
                // CAST: `INT_MAX` stands for no limit.
                count: i32::MAX,
                ..pin_init::zeroed()
            },
            each,
            seen: 0,
            failure: Ok(()),
        };
        loop {
            collector.seen = 0;
            // SAFETY: Both are valid, and the context's actor fits it.
            to_result(unsafe { bindings::iterate_dir(self.as_ptr(), &mut collector.ctx) })?;
            collector.failure?;
            if collector.seen == 0 {
                return Ok(());
            }
        }
    }

    /// Lets the reader of a directory of ours read this one instead, from where it is.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn forward_entries(&self, emitter: &mut Emitter<'_>) -> Result {
        // SAFETY: Both are valid.
        to_result(unsafe { bindings::iterate_dir(self.as_ptr(), emitter.ctx.as_ptr()) })
    }

    /// As [`LayerFile::forward_entries`], but with the inode numbers that `number` gives for the names.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn forward_entries_renumbered<N>(
        &self,
        emitter: &mut Emitter<'_>,
        number: &mut N,
    ) -> Result
    where
        N: FnMut(&DirEntry<'_>) -> u64,
    {
        let reader = emitter.ctx.as_ptr();
        let mut renumberer = Renumberer {
            ctx: bindings::dir_context {
                actor: Some(renumber::<N>),
                // SAFETY: By the invariant of `Emitter`.
                count: unsafe { (*reader).count },
                // SAFETY: As above.
                dt_flags_mask: unsafe { (*reader).dt_flags_mask },
                ..pin_init::zeroed()
            },
            reader: emitter.ctx,
            number,
        };
        // SAFETY: Both are valid, and the context's actor fits it.
        let result =
            to_result(unsafe { bindings::iterate_dir(self.as_ptr(), &mut renumberer.ctx) });
        // SAFETY: By the invariant of `Emitter`.
        unsafe { (*reader).pos = renumberer.ctx.pos };
        result
    }
}

/// A context whose actor passes names on to a reader, with other inode numbers.
///
/// # Invariants
///
/// `reader` is valid, and ours to use.
#[repr(C)]
struct Renumberer<'a, N> {
    ctx: bindings::dir_context,
    reader: NonNull<bindings::dir_context>,
    number: &'a mut N,
}

/// # Safety
///
/// `ctx` must be the head of a `Renumberer<'_, N>`, and `name` must have `len` bytes. Called by
/// filesystems from within `iterate_dir`.
unsafe extern "C" fn renumber<N: FnMut(&DirEntry<'_>) -> u64>(
    ctx: *mut bindings::dir_context,
    name: *const c_char,
    len: c_int,
    offset: bindings::loff_t,
    ino: u64,
    d_type: c_uint,
) -> bool {
    // SAFETY: By this function's requirements; `iterate_dir` has lent it to us alone.
    let this = unsafe { &mut *ctx.cast::<Renumberer<'_, N>>() };
    let reader = this.reader.as_ptr();
    // SAFETY: By the type invariant.
    let actor = unsafe { (*reader).actor };
    let (Some(actor), Ok(bytes)) = (actor, usize::try_from(len)) else {
        return false;
    };
    let entry = DirEntry {
        // SAFETY: By this function's requirements.
        name: unsafe { core::slice::from_raw_parts(name.cast(), bytes) },
        ino,
        // CAST: The type is in the lower bits.
        d_type: d_type as u8,
    };
    let number = (this.number)(&entry);
    // SAFETY: The actor is the reader's own, everything but the number is as it came.
    let more = unsafe { actor(reader, name, len, offset, number, d_type) };
    // SAFETY: By the type invariant.
    this.ctx.count = unsafe { (*reader).count };
    more
}
