// SPDX-License-Identifier: GPL-2.0-only

//! Merging of the listings of several layers into one (section 1.14, R1 to R3).
//!
//! Follows `ovl_dir_read_merged()`, `ovl_fill_merge()`, `ovl_fill_lowest()`,
//! `ovl_cache_entry_add_rb()` and `ovl_check_whiteouts()` in `fs/overlayfs/readdir.c`, down to the
//! order of the result. Unlike there no name has memory of its own: names share one buffer, entries
//! are an array, and a hash table finds them.
//!
//! Reading of the layers, and looking whether a character device is a whiteout, is left to the
//! caller.

#![forbid(unsafe_code)]

mod index;
mod listing;
mod record;

pub(crate) use listing::Listing;
pub(crate) use record::Entry;
pub(crate) use record::State;

use super::buffer::Buffer;
use super::buffer::Buffers;
use super::buffer::Full;
use super::hash::Seed;
use super::kind::FileType;
use index::Index;
use record::key_of;
use record::Name;
use record::Names;
use record::Record;

/// Where a layer stands among those that make up a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// Another layer comes below.
    Above,
    /// The last one. Its order is the order of the result, so that positions change little while an
    /// overlay is used.
    Lowest,
}

/// The layer whose entries are about to be added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    /// The number of the layer in the overlay, zero for upper. Entries carry it.
    pub(crate) number: u16,
    /// Its place in this directory.
    pub(crate) position: Position,
    /// Whether regular files may turn out to be whiteouts (X10), which is looked at when they are
    /// emitted.
    pub(crate) xwhiteouts: bool,
}

/// A listing in the making.
///
/// Layers are added from the uppermost to the lowest: [`Merge::begin`], [`Merge::add`] for each
/// entry that the layer lists (the dots too), [`Merge::check_whiteouts`]. The first layer that has
/// a name decides what it is, whiteouts included.
///
/// # Invariants
///
/// `index` holds the positions of all elements of `upper`, and nothing else.
pub(crate) struct Merge<B: Buffers> {
    seed: Seed,
    names: Names<B>,
    /// Entries of all layers but the lowest.
    upper: B::Of<Record>,
    index: Index<B>,
    /// Entries of the lowest layer in its order, with those of `upper` that have the same names in
    /// their places.
    lowest: B::Of<Record>,
    layer: Layer,
    /// Where the entries of this layer start, in `upper` or `lowest`.
    start: usize,
    /// How many of them are character devices.
    suspects: usize,
}

impl<B: Buffers> Merge<B> {
    /// Starts with no layer. The seed keys the hash of names.
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            seed,
            names: Names::default(),
            upper: Default::default(),
            index: Index::default(),
            lowest: Default::default(),
            layer: Layer {
                number: 0,
                position: Position::Above,
                xwhiteouts: false,
            },
            start: 0,
            suspects: 0,
        }
    }

    /// Says which layer the entries that follow are from.
    pub(crate) fn begin(&mut self, layer: Layer) {
        self.layer = layer;
        self.suspects = 0;
        self.start = match layer.position {
            Position::Above => self.upper.as_slice().len(),
            Position::Lowest => self.lowest.as_slice().len(),
        };
    }

    /// Adds an entry that the layer lists, unless a layer above has a name with the same key.
    ///
    /// The key is the name itself, but where case does not matter it is the name with its case folded.
    /// An empty key counts as none, and the name is its own.
    pub(crate) fn add(
        &mut self,
        name: &[u8],
        key: &[u8],
        ino: u64,
        d_type: u8,
    ) -> Result<(), Full> {
        let key = key_of(name, key);
        let added = match self.layer.position {
            Position::Above => self.add_above(name, key, ino, d_type)?,
            Position::Lowest => self.add_lowest(name, key, ino, d_type)?,
        };

        if added && d_type == FileType::CharDevice.d_type() {
            self.suspects = self.suspects.saturating_add(1);
        }
        Ok(())
    }

    fn add_above(&mut self, name: &[u8], key: &[u8], ino: u64, d_type: u8) -> Result<bool, Full> {
        let hash = self.seed.hash(key);
        if self.find(hash, key).is_some() {
            return Ok(false);
        }

        self.upper.reserve(1)?;
        self.index.reserve(1, self.upper.as_slice(), &self.names)?;
        let name = self.names.add(name, key)?;
        let record = self.record(name, hash, ino, d_type);
        let at = self.upper.as_slice().len();
        self.upper.push(record)?;
        self.index.insert(record.hash, at);
        Ok(true)
    }

    fn add_lowest(&mut self, name: &[u8], key: &[u8], ino: u64, d_type: u8) -> Result<bool, Full> {
        // A directory that is in one layer only needs no hash at all.
        if !self.upper.as_slice().is_empty() {
            let found = self.find(self.seed.hash(key), key);
            if let Some(above) = found.and_then(|at| self.upper.as_mut_slice().get_mut(at)) {
                // Listed twice by the same layer; the first place is as good as any.
                if above.state != State::Gone {
                    self.lowest.push(*above)?;
                    above.state = State::Gone;
                }
                return Ok(false);
            }
        }

        self.lowest.reserve(1)?;
        let name = self.names.add(name, key)?;
        let record = self.record(name, 0, ino, d_type);
        self.lowest.push(record)?;
        Ok(true)
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.index
            .find(Record::fold(hash), key, self.upper.as_slice(), &self.names)
    }

    fn record(&self, name: Name, hash: u64, ino: u64, d_type: u8) -> Record {
        let state = if self.layer.xwhiteouts && d_type == FileType::Regular.d_type() {
            State::Unchecked
        } else {
            State::Shown
        };

        Record {
            ino,
            hash: Record::fold(hash),
            name,
            layer: self.layer.number,
            d_type,
            state,
        }
    }

    /// Asks for each character device that this layer has brought whether it is a whiteout.
    ///
    /// The first error of `is_whiteout` ends the walk and is returned.
    pub(crate) fn check_whiteouts<E>(
        &mut self,
        mut is_whiteout: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let records = match self.layer.position {
            Position::Above => self.upper.as_mut_slice(),
            Position::Lowest => self.lowest.as_mut_slice(),
        };
        let layer = self.layer.number;
        let suspects = records
            .iter_mut()
            .skip(self.start)
            .filter(|record| {
                // An entry of a layer above may stand among those of the lowest. It has been asked
                // for already.
                record.d_type == FileType::CharDevice.d_type() && record.layer == layer
            })
            .take(self.suspects);

        for suspect in suspects {
            if is_whiteout(self.names.get(suspect.name))? {
                suspect.state = State::Whiteout;
            }
        }
        self.suspects = 0;
        Ok(())
    }

    /// Ends the merge: the lowest layer's entries come first, the others follow from the uppermost
    /// layer downwards.
    pub(crate) fn finish(mut self) -> Result<Listing<B>, Full> {
        let above = self.upper.as_slice();
        let left = above.iter().filter(|record| record.state != State::Gone);

        self.lowest.reserve(left.clone().count())?;
        for record in left {
            self.lowest.push(*record)?;
        }
        Ok(Listing::new(self.seed, self.names, self.lowest))
    }
}

#[cfg(test)]
mod tests;
