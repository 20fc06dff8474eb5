// SPDX-License-Identifier: GPL-2.0-only

//! Which file below an open file of ours stands for, when that may change while it is open.
//!
//! Mostly there is one, and it is found without a detour: its address is the `private_data` of ours.
//! Only when it was replaced a pair is allocated, since whoever uses the first one may go on with it.

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            ordering::{
                Acquire,
                Full, //
            },
            Atomic, //
        },
    },
    types::ForeignOwnable, //
};

use super::{
    file::LayerFile,
    vtable::file::OpenState, //
};

/// The file below that an open file of ours was opened with, and the one that has replaced it since.
///
/// # Invariants
///
/// The word is what `ARef<LayerFile>` turns into, or what `KBox<Pair>` turns into with the lowest bit
/// set, and is owned. It changes once at most, from the first to the second.
#[repr(transparent)]
pub(crate) struct LayerFiles(Atomic<*mut c_void>);

// SAFETY: It is made of references that can be sent and shared.
unsafe impl Send for LayerFiles {}

// SAFETY: As above, and the word is only accessed atomically.
unsafe impl Sync for LayerFiles {}

/// The file that was opened first, which may still be in use, and the one that counts.
struct Pair {
    _first: ARef<LayerFile>,
    latest: ARef<LayerFile>,
}

/// What the word stands for.
enum Word {
    /// The address of a file.
    File(*mut c_void),
    /// The address of a pair.
    Pair(*mut c_void),
}

impl Word {
    /// Neither files nor pairs are at odd addresses.
    const IS_PAIR: usize = 1;

    #[inline]
    fn decode(word: *mut c_void) -> Self {
        if word.addr() & Self::IS_PAIR == 0 {
            Self::File(word)
        } else {
            Self::Pair(word.wrapping_byte_sub(Self::IS_PAIR))
        }
    }

    fn encode_pair(pair: KBox<Pair>) -> *mut c_void {
        pair.into_foreign().wrapping_byte_add(Self::IS_PAIR)
    }
}

impl LayerFiles {
    /// The file that was replaced by no other.
    #[inline]
    pub(crate) fn latest(&self) -> &LayerFile {
        match Word::decode(self.0.load(Acquire)) {
            // SAFETY: By the type invariant it is owned by this, and given back only when this is
            // dropped, or by a pair that has taken it over, which then holds it as long.
            Word::File(file) => unsafe { ARef::<LayerFile>::borrow(file) },
            // SAFETY: By the type invariant it is owned by this until this is dropped.
            Word::Pair(pair) => &unsafe { KBox::<Pair>::borrow(pair) }.latest,
        }
    }

    /// Puts `latest` in the place of the first file, unless somebody else was faster to do just this.
    /// Returns the one that is in its place now.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn replace(&self, latest: ARef<LayerFile>) -> Result<&LayerFile> {
        let old = self.0.load(Acquire);
        let Word::File(first) = Word::decode(old) else {
            return Ok(self.latest());
        };
        // SAFETY: As in `latest`.
        let first = unsafe { ARef::<LayerFile>::borrow(first) };
        let pair = Pair {
            _first: first.into(),
            latest,
        };
        let new = Word::encode_pair(KBox::new(pair, GFP_KERNEL)?);
        // INVARIANT: If this succeeds, the word owns the pair.
        let lost = match self.0.cmpxchg(old, new, Full) {
            Ok(first) => first,
            Err(_) => new,
        };
        // SAFETY: Either the word no longer has the reference that it had, and others that have looked
        // at it go on with the one in the pair. Or nobody knows the pair.
        drop(unsafe { Self::from_private(lost) });
        Ok(self.latest())
    }
}

impl From<ARef<LayerFile>> for LayerFiles {
    fn from(file: ARef<LayerFile>) -> Self {
        // INVARIANT: As it says.
        Self(Atomic::new(file.into_foreign()))
    }
}

impl Drop for LayerFiles {
    fn drop(&mut self) {
        match Word::decode(self.0.load(Acquire)) {
            // SAFETY: By the type invariant it is owned, and nobody can look at it any more.
            Word::File(file) => drop(unsafe { ARef::<LayerFile>::from_foreign(file) }),
            // SAFETY: As above.
            Word::Pair(pair) => drop(unsafe { KBox::<Pair>::from_foreign(pair) }),
        }
    }
}

// SAFETY: What `into_private` returns is all there is, and `borrow_at` looks at it in its place.
unsafe impl OpenState for LayerFiles {
    type Borrowed<'a> = &'a Self;

    fn into_private(self) -> *mut c_void {
        let this = core::mem::ManuallyDrop::new(self);
        this.0.load(Acquire)
    }

    unsafe fn from_private(word: *mut c_void) -> Self {
        // INVARIANT: By this function's requirements it is an owned word.
        Self(Atomic::new(word))
    }

    #[inline]
    unsafe fn borrow_at<'a>(place: *mut *mut c_void) -> &'a Self {
        // SAFETY: By this function's requirements the place holds such a word during `'a`, and nobody
        // touches it in another way; this is a transparent wrapper.
        unsafe { &*place.cast() }
    }
}
