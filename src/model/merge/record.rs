// SPDX-License-Identifier: GPL-2.0-only

//! The entries of a listing and their names, as they are kept in memory.

#![forbid(unsafe_code)]

use super::super::buffer::Buffer;
use super::super::buffer::Buffers;
use super::super::buffer::Full;

/// What is known of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is listed.
    Shown,
    /// It is listed, and its number is another than its layer lists: that of what it was copied from.
    Renumbered,
    /// It is a regular file of a directory that may hold whiteouts of the attribute form, and has
    /// to be looked at before it is listed (`check_xwhiteout` in C).
    Unchecked,
    /// It is a whiteout: not listed, but it keeps its position, and an emptied directory has to be
    /// cleared of it.
    Whiteout,
    /// The name is no longer there. Its position stays, for those who are in the middle of reading.
    Gone,
}

impl State {
    /// Whether the entry is listed.
    pub(crate) const fn is_listed(self) -> bool {
        matches!(self, Self::Shown | Self::Renumbered)
    }
}

/// An entry of a listing, as its users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The name.
    pub(crate) name: &'a [u8],
    /// The inode number that is listed, which is first that of the layer's filesystem.
    pub(crate) ino: u64,
    /// The type as listed (`DT_*`).
    pub(crate) d_type: u8,
    /// The number of the layer that the entry is from, zero for upper.
    pub(crate) layer: u16,
    /// Whether it is to be listed.
    pub(crate) state: State,
}

/// Where a name is in [`Names`].
#[derive(Clone, Copy)]
pub(super) struct Name {
    at: u32,
    len: u16,
    /// The length of the key, which stands behind the name, or zero if the name is its own key.
    key_len: u16,
}

/// Returns what a name is found by: its key, or the name itself if there is none.
///
/// Of a name that has nothing but characters to be ignored, folding of case leaves nothing at all. C
/// takes the name as it is then (`ovl_fill_merge()`), or else all such names would be the same.
pub(super) const fn key_of<'a>(name: &'a [u8], key: &'a [u8]) -> &'a [u8] {
    if key.is_empty() {
        name
    } else {
        key
    }
}

/// An entry as it is stored.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub(super) ino: u64,
    /// The folded hash of the name; meaningful while an index holds the record.
    pub(super) hash: u32,
    pub(super) name: Name,
    pub(super) layer: u16,
    pub(super) d_type: u8,
    pub(super) state: State,
}

impl Record {
    /// Makes the hash of a name small enough to be kept.
    pub(super) const fn fold(hash: u64) -> u32 {
        hash as u32 // CAST: all bits of the hash are equally good, half of them is enough.
    }

    pub(super) fn entry<'a, B: Buffers>(&self, names: &'a Names<B>) -> Entry<'a> {
        Entry {
            name: names.get(self.name),
            ino: self.ino,
            d_type: self.d_type,
            layer: self.layer,
            state: self.state,
        }
    }
}

/// All names of a listing, one behind the other.
pub(super) struct Names<B: Buffers> {
    bytes: B::Of<u8>,
}

impl<B: Buffers> Default for Names<B> {
    fn default() -> Self {
        Self {
            bytes: Default::default(),
        }
    }
}

impl<B: Buffers> Names<B> {
    /// Makes room for names of together `len` bytes.
    pub(super) fn reserve(&mut self, len: usize) -> Result<(), Full> {
        self.bytes.reserve(len)
    }

    /// Returns the length of all names together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.as_slice().len()
    }

    /// Returns a copy, in which all names have the same places.
    pub(super) fn copied(&self) -> Result<Self, Full> {
        let mut copy = Self::default();
        copy.bytes.extend(self.bytes.as_slice())?;
        Ok(copy)
    }

    /// Adds a name with the key that it is found by: names with equal keys are the same name.
    pub(super) fn add(&mut self, name: &[u8], key: &[u8]) -> Result<Name, Full> {
        let stored_key = if key == name { &[] } else { key };
        let place = Name {
            at: u32::try_from(self.bytes.as_slice().len()).map_err(|_| Full)?,
            len: u16::try_from(name.len()).map_err(|_| Full)?,
            key_len: u16::try_from(stored_key.len()).map_err(|_| Full)?,
        };

        self.bytes
            .reserve(name.len().saturating_add(stored_key.len()))?;
        self.bytes.extend(name)?;
        self.bytes.extend(stored_key)?;
        Ok(place)
    }

    pub(super) fn get(&self, name: Name) -> &[u8] {
        self.bytes_at(usize::try_from(name.at).ok(), name.len)
    }

    pub(super) fn key(&self, name: Name) -> &[u8] {
        if name.key_len == 0 {
            return self.get(name);
        }
        let at = usize::try_from(name.at).ok();
        let at = at.and_then(|at| at.checked_add(usize::from(name.len)));
        self.bytes_at(at, name.key_len)
    }

    fn bytes_at(&self, at: Option<usize>, len: u16) -> &[u8] {
        at.and_then(|at| self.bytes.as_slice().get(at..))
            .and_then(|tail| tail.get(..usize::from(len)))
            .unwrap_or(&[])
    }
}
