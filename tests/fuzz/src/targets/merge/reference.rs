// SPDX-License-Identifier: GPL-2.0-only

//! What a merged listing has to be, without a thought of memory or speed.

extern crate std;

use super::Name;
use crate::source::model::merge::Layer;
use crate::source::model::merge::Position;
use crate::source::model::merge::State;
use std::collections::btree_map;
use std::collections::BTreeMap;
use std::vec::Vec;

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) name: Name,
    pub(super) ino: u64,
    pub(super) d_type: u8,
    pub(super) layer: u16,
    pub(super) state: State,
}

/// A merge in the making: the first layer that has a name decides what it is.
#[derive(Default)]
pub(super) struct Merging {
    /// Where a name of a layer above the lowest is.
    by_key: BTreeMap<Vec<u8>, usize>,
    /// `None` where the lowest layer has the name too, and has given it its place.
    above: Vec<Option<Item>>,
    lowest: Vec<Item>,
}

impl Merging {
    pub(super) fn add(
        &mut self,
        layer: Layer,
        name: Name,
        ino: u64,
        d_type: u8,
        is_whiteout: impl Fn(&[u8]) -> bool,
    ) {
        let state = match d_type {
            2 if is_whiteout(&name.text) => State::Whiteout,
            8 if layer.xwhiteouts => State::Unchecked,
            _ => State::Shown,
        };
        let found = self.by_key.get(name.lookup()).copied();
        let item = Item {
            name,
            ino,
            d_type,
            layer: layer.number,
            state,
        };

        match (layer.position, found) {
            (Position::Above, Some(_)) => {}
            (Position::Above, None) => {
                let key = item.name.lookup().to_vec();
                self.by_key.insert(key, self.above.len());
                self.above.push(Some(item));
            }
            (Position::Lowest, Some(at)) => self.lowest.extend(self.above[at].take()),
            // A broken filesystem that lists a name twice has it twice.
            (Position::Lowest, None) => self.lowest.push(item),
        }
    }

    pub(super) fn finish(self) -> Positions {
        let left = self.above.into_iter().flatten();

        Positions::new(self.lowest.into_iter().chain(left).collect())
    }
}

/// A listing, with what is gone in its place.
pub(super) struct Positions {
    pub(super) all: Vec<Item>,
    /// The first position of each name.
    first: BTreeMap<Vec<u8>, usize>,
}

impl Positions {
    fn new(all: Vec<Item>) -> Self {
        let mut first = BTreeMap::new();

        for (at, item) in all.iter().enumerate() {
            first.entry(item.name.lookup().to_vec()).or_insert(at);
        }
        Self { all, first }
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let at = *self.first.get(key)?;
        (self.all[at].state != State::Gone).then_some(at)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<usize> {
        let at = self.find(key)?;
        self.all[at].state = State::Gone;
        Some(at)
    }

    pub(super) fn insert(&mut self, name: Name, ino: u64, d_type: u8) -> usize {
        let end = self.all.len();
        let key = name.lookup().to_vec();
        let item = Item {
            name,
            ino,
            d_type,
            layer: 0,
            state: State::Shown,
        };

        match self.first.entry(key) {
            btree_map::Entry::Occupied(entry) => {
                let at = *entry.get();
                self.all[at] = item;
                at
            }
            btree_map::Entry::Vacant(entry) => {
                entry.insert(end);
                self.all.push(item);
                end
            }
        }
    }

    pub(super) fn set_state(&mut self, at: usize, state: State) {
        if let Some(item) = self.all.get_mut(at) {
            item.state = state;
        }
    }

    pub(super) fn set_ino(&mut self, at: usize, ino: u64) {
        if let Some(item) = self.all.get_mut(at) {
            item.ino = ino;
        }
    }

    pub(super) fn compact(&mut self) {
        let left = self.all.drain(..).filter(|item| item.state != State::Gone);

        *self = Self::new(left.collect());
    }
}
