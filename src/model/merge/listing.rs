// SPDX-License-Identifier: GPL-2.0-only

//! A merged listing that can be read by position and patched in place (R3).
//!
//! A name that goes leaves its position vacant and a new one gets a position at the end, so
//! positions that were given out stay good. What an open directory lists does not change at all
//! while it is read, or else a program that renames what it lists would never come to an end: the
//! caller patches a copy ([`Listing::copied`]) while somebody reads.

#![forbid(unsafe_code)]

use super::super::buffer::Buffer;
use super::super::buffer::Buffers;
use super::super::buffer::Full;
use super::super::hash::Seed;
use super::index::Index;
use super::record::key_of;
use super::record::Entry;
use super::record::Names;
use super::record::Record;
use super::record::State;

/// The merged listing of a directory.
///
/// # Invariants
///
/// If `index` has a table, it holds the first position of each name in `records`, of those that are
/// gone too.
pub(crate) struct Listing<B: Buffers> {
    seed: Seed,
    names: Names<B>,
    records: B::Of<Record>,
    index: Index<B>,
    gone: usize,
    renumbered: usize,
}

impl<B: Buffers> Listing<B> {
    pub(super) fn new(seed: Seed, names: Names<B>, records: B::Of<Record>) -> Self {
        // INVARIANT: The index has no table.
        Self {
            seed,
            names,
            records,
            index: Index::default(),
            gone: 0,
            renumbered: 0,
        }
    }

    /// Returns the number of positions, vacant ones included.
    pub(crate) fn len(&self) -> usize {
        self.records.as_slice().len()
    }

    /// Returns the number of vacant positions.
    pub(crate) fn gone(&self) -> usize {
        self.gone
    }

    /// Returns how many entries are listed with another number than their layers list.
    pub(crate) fn renumbered(&self) -> usize {
        self.renumbered
    }

    /// Returns the entry at a position, unless the position is vacant or past the end.
    pub(crate) fn get(&self, position: usize) -> Option<Entry<'_>> {
        let record = self.records.as_slice().get(position)?;
        (record.state != State::Gone).then(|| record.entry(&self.names))
    }

    /// Returns the entries from a position on with their positions, whiteouts included.
    pub(crate) fn entries_from(&self, start: usize) -> impl Iterator<Item = (usize, Entry<'_>)> {
        self.records
            .as_slice()
            .iter()
            .enumerate()
            .skip(start)
            .filter(|(_, record)| record.state != State::Gone)
            .map(|(position, record)| (position, record.entry(&self.names)))
    }

    /// Returns the position of the name with this key, be it listed or a whiteout.
    ///
    /// Walks over all names as long as [`Listing::reserve`] was never called.
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        let at = self.slot(key)?;
        let record = self.records.as_slice().get(at)?;
        (record.state != State::Gone).then_some(at)
    }

    /// Returns the position of the name with this key, even if it is gone.
    fn slot(&self, key: &[u8]) -> Option<usize> {
        let records = self.records.as_slice();

        if self.index.is_empty() {
            return records
                .iter()
                .position(|record| self.names.key(record.name) == key);
        }
        let hash = Record::fold(self.seed.hash(key));
        self.index.find(hash, key, records, &self.names)
    }

    /// Notes what a look at an entry has told: that it is a whiteout, or that it is to be shown, and by which
    /// number.
    pub(crate) fn set_state(&mut self, position: usize, state: State) {
        let Some(record) = self.records.as_mut_slice().get_mut(position) else {
            return;
        };

        let before = core::mem::replace(&mut record.state, state);
        match before {
            State::Gone => self.gone = self.gone.saturating_sub(1),
            State::Renumbered => self.renumbered = self.renumbered.saturating_sub(1),
            _ => {}
        }
        match state {
            State::Gone => self.gone = self.gone.saturating_add(1),
            State::Renumbered => self.renumbered = self.renumbered.saturating_add(1),
            _ => {}
        }
    }

    /// Changes the inode number that is listed at a position.
    pub(crate) fn set_ino(&mut self, position: usize, ino: u64) {
        if let Some(record) = self.records.as_mut_slice().get_mut(position) {
            record.ino = ino;
        }
    }

    /// Returns how much memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let records = self.len().saturating_mul(core::mem::size_of::<Record>());
        records
            .saturating_add(self.names.bytes())
            .saturating_add(self.index.bytes())
    }

    /// Returns a copy with the same positions, for when somebody else goes on with this one.
    pub(crate) fn copied(&self) -> Result<Self, Full> {
        let mut records: B::Of<Record> = Default::default();
        records.extend(self.records.as_slice())?;
        // INVARIANT: The records and the index are those of the one that is copied.
        Ok(Self {
            seed: self.seed,
            names: self.names.copied()?,
            records,
            index: self.index.copied()?,
            gone: self.gone,
            renumbered: self.renumbered,
        })
    }

    /// Makes room for one more name, whose length, and that of its key if it is another, are `len` bytes
    /// together: the
    /// next [`Listing::insert`] of such a name cannot fail.
    ///
    /// The first call makes the hash table. It can be done before a lock is taken.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<(), Full> {
        self.records.reserve(1)?;
        self.names.reserve(len)?;

        if self.index.is_empty() {
            for record in self.records.as_mut_slice() {
                record.hash = Record::fold(self.seed.hash(self.names.key(record.name)));
            }
            // INVARIANT: The table is made from all records.
            let all = self.len().checked_add(1).ok_or(Full)?;
            return self
                .index
                .reserve(all, self.records.as_slice(), &self.names);
        }
        self.index.reserve(1, self.records.as_slice(), &self.names)
    }

    /// Adds a name of upper, in its former position if it has one, and at the end otherwise.
    /// Returns the position.
    ///
    /// A name that is listed gets the new number and type: it was renamed over, or copied up. If it
    /// differs in case, it is listed in its new form. An empty key counts as none.
    pub(crate) fn insert(
        &mut self,
        name: &[u8],
        key: &[u8],
        ino: u64,
        d_type: u8,
    ) -> Result<usize, Full> {
        let key = key_of(name, key);
        let key_len = if key == name { 0 } else { key.len() };
        self.reserve(name.len().checked_add(key_len).ok_or(Full)?)?;

        if let Some(at) = self.slot(key) {
            if let Some(record) = self.records.as_mut_slice().get_mut(at) {
                if self.names.get(record.name) != name {
                    record.name = self.names.add(name, key)?;
                }
                record.ino = ino;
                record.d_type = d_type;
                record.layer = 0;
            }
            self.set_state(at, State::Shown);
            return Ok(at);
        }

        let at = self.len();
        let record = Record {
            ino,
            hash: Record::fold(self.seed.hash(key)),
            name: self.names.add(name, key)?,
            layer: 0,
            d_type,
            state: State::Shown,
        };
        self.records.push(record)?;
        // INVARIANT: The name was in no record, and is in the table now.
        self.index.insert(record.hash, at);
        Ok(at)
    }

    /// Takes the name with this key away, and returns the position that it leaves vacant.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<usize> {
        let at = self.find(key)?;

        self.set_state(at, State::Gone);
        Some(at)
    }

    /// Returns a listing without the vacant positions, for when no position is in use.
    pub(crate) fn compacted(&self) -> Result<Self, Full> {
        let mut names = Names::default();
        let mut records: B::Of<Record> = Default::default();

        for record in self.records.as_slice() {
            if record.state != State::Gone {
                records.push(Record {
                    name: names.add(self.names.get(record.name), self.names.key(record.name))?,
                    ..*record
                })?;
            }
        }
        Ok(Self {
            renumbered: self.renumbered,
            ..Self::new(self.seed, names, records)
        })
    }
}
