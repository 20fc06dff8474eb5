// SPDX-License-Identifier: GPL-2.0-only

//! The hash table that finds an entry of a listing by its name: open addressing over positions,
//! linear probing.

#![forbid(unsafe_code)]

use super::super::buffer::Buffer;
use super::super::buffer::Buffers;
use super::super::buffer::Full;
use super::record::Names;
use super::record::Record;

/// A slot that holds no position.
const VACANT: u32 = u32::MAX;

/// The smallest table.
const SLOTS_MIN: usize = 16;

/// Positions of records by the hash of their names. A position is never taken out.
///
/// # Invariants
///
/// The number of slots is zero or a power of two, and at least a quarter of them is vacant.
pub(super) struct Index<B: Buffers> {
    slots: B::Of<u32>,
    used: usize,
}

impl<B: Buffers> Default for Index<B> {
    fn default() -> Self {
        // INVARIANT: There are no slots.
        Self {
            slots: Default::default(),
            used: 0,
        }
    }
}

/// Returns the slots in the order in which they are tried for `hash`.
fn probe(hash: u32, slots: usize) -> impl Iterator<Item = usize> {
    let mask = slots.wrapping_sub(1);
    let start = usize::try_from(hash).unwrap_or(0);

    (0..slots).map(move |step| start.wrapping_add(step) & mask)
}

impl<B: Buffers> Index<B> {
    /// Whether no table has been made yet.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.as_slice().is_empty()
    }

    /// Returns a copy.
    pub(super) fn copied(&self) -> Result<Self, Full> {
        let mut slots: B::Of<u32> = Default::default();
        slots.extend(self.slots.as_slice())?;
        // INVARIANT: As of the one that is copied.
        Ok(Self {
            slots,
            used: self.used,
        })
    }

    /// Returns how much memory the table takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        core::mem::size_of_val(self.slots.as_slice())
    }

    /// Returns the position of the record whose name has this key.
    pub(super) fn find(
        &self,
        hash: u32,
        key: &[u8],
        records: &[Record],
        names: &Names<B>,
    ) -> Option<usize> {
        let slots = self.slots.as_slice();

        for slot in probe(hash, slots.len()) {
            let at = match slots.get(slot) {
                None | Some(&VACANT) => return None,
                Some(&at) => usize::try_from(at).ok()?,
            };
            let record = records.get(at)?;
            if record.hash == hash && names.key(record.name) == key {
                return Some(at);
            }
        }
        None
    }

    /// Makes room for `additional` positions. The records are those that the index is over.
    pub(super) fn reserve(
        &mut self,
        additional: usize,
        records: &[Record],
        names: &Names<B>,
    ) -> Result<(), Full> {
        let used = self.used.checked_add(additional).ok_or(Full)?;
        let needed = used.checked_mul(4).ok_or(Full)?.div_ceil(3);
        if needed <= self.slots.as_slice().len() {
            return Ok(());
        }

        // Twice as much as needed now, so that the table is rarely made anew.
        let slots = needed
            .checked_add(needed / 2)
            .and_then(usize::checked_next_power_of_two)
            .ok_or(Full)?
            .max(SLOTS_MIN);
        // Positions have to stay below VACANT.
        u32::try_from(slots).map_err(|_| Full)?;

        // INVARIANT: The number of slots is a power of two. All of them are vacant now; what goes
        // in below is at most what was in before, or one for each record if there was no table, and
        // `additional` more fit.
        self.slots.fill(slots, VACANT)?;
        self.used = 0;
        for (at, record) in records.iter().enumerate() {
            let key = names.key(record.name);
            // A filesystem that lists a name twice is broken, but must not break the table.
            if self.find(record.hash, key, records, names).is_none() {
                self.insert(record.hash, at);
            }
        }
        Ok(())
    }

    /// Adds a position that [`Index::reserve`] has made room for.
    pub(super) fn insert(&mut self, hash: u32, at: usize) {
        let slots = self.slots.as_mut_slice();
        let Ok(at) = u32::try_from(at) else {
            return;
        };

        for slot in probe(hash, slots.len()) {
            if let Some(slot @ &mut VACANT) = slots.get_mut(slot) {
                *slot = at;
                self.used = self.used.saturating_add(1);
                return;
            }
        }
    }
}
