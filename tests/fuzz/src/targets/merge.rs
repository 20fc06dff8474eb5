// SPDX-License-Identifier: GPL-2.0-only

//! Listings of any layers merged, and patched afterwards, against a reference of vectors and maps
//! (section 1.14, R1 to R3).

extern crate std;

mod buffer;
mod reference;

use crate::source::model::hash::Seed;
use crate::source::model::merge::Entry;
use crate::source::model::merge::Layer;
use crate::source::model::merge::Listing;
use crate::source::model::merge::Merge;
use crate::source::model::merge::Position;
use crate::source::model::merge::State;
use arbitrary::Result;
use arbitrary::Unstructured;
use buffer::with_budget;
use buffer::Heap;
use reference::Merging;
use reference::Positions;
use std::collections::BTreeSet;
use std::vec::Vec;

/// A name as a layer lists it, and what it is found by.
#[derive(Clone, Debug)]
struct Name {
    text: Vec<u8>,
    key: Vec<u8>,
}

/// How names are made: few and short ones, so that layers have many in common.
struct Naming {
    fold: bool,
}

impl Naming {
    fn name(&self, input: &mut Unstructured<'_>) -> Result<Name> {
        let text: Vec<u8> = if input.ratio(1, 16)? {
            input.arbitrary::<&[u8]>()?.to_vec()
        } else {
            let bytes: [u8; 3] = input.arbitrary()?;
            let len = input.int_in_range(0..=3)?;
            bytes[..len]
                .iter()
                .map(|byte| b"aAbB~xyz"[usize::from(byte % 8)])
                .collect()
        };

        // Like the folding of Unicode, which drops characters too, and may leave nothing.
        let key = if self.fold {
            let kept = text.iter().filter(|&&byte| byte != b'~');
            kept.map(u8::to_ascii_lowercase).collect()
        } else {
            text.clone()
        };
        Ok(Name { text, key })
    }
}

pub(super) fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let seed = Seed::new(input.arbitrary()?, input.arbitrary()?);
    let naming = Naming {
        fold: input.arbitrary()?,
    };
    let mut merge = Merge::<Heap>::new(seed);
    let mut reference = Merging::default();

    let layers = input.int_in_range(0..=4u16)?;
    for number in 0..layers {
        let layer = Layer {
            number,
            position: if number + 1 == layers {
                Position::Lowest
            } else {
                Position::Above
            },
            xwhiteouts: input.arbitrary()?,
        };
        add_layer(input, &naming, layer, &mut merge, &mut reference)?;
    }

    let listing = merge.finish().expect("enough memory");
    let positions = reference.finish();
    compare(&listing, &positions);
    patch(input, &naming, listing, positions)
}

fn add_layer(
    input: &mut Unstructured<'_>,
    naming: &Naming,
    layer: Layer,
    merge: &mut Merge<Heap>,
    reference: &mut Merging,
) -> Result<()> {
    // Whether a device is a whiteout is decided by its name.
    let verdicts: u64 = input.arbitrary()?;
    let is_whiteout = |name: &[u8]| {
        let sum = name.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        verdicts >> (sum % 64) & 1 == 1
    };
    let mut devices = BTreeSet::new();

    merge.begin(layer);
    for _ in 0..input.int_in_range(0..=24)? {
        let name = naming.name(input)?;
        let ino = input.arbitrary()?;
        let d_type = *input.choose(&[8, 2, 2, 4, 0, 10, 255])?;
        let added = merge.add(&name.text, &name.key, ino, d_type);
        added.expect("enough memory");
        if d_type == 2 {
            devices.insert(name.text.clone());
        }
        reference.add(layer, name, ino, d_type, is_whiteout);
    }

    let checked = merge.check_whiteouts(|name| {
        assert!(devices.contains(name), "only devices are asked for");
        Ok::<_, ()>(is_whiteout(name))
    });
    assert_eq!(checked, Ok(()));
    Ok(())
}

fn patch(
    input: &mut Unstructured<'_>,
    naming: &Naming,
    mut listing: Listing<Heap>,
    mut positions: Positions,
) -> Result<()> {
    while !input.is_empty() {
        let name = naming.name(input)?;
        let at = input.int_in_range(0..=31)?;
        match input.int_in_range(0..=7)? {
            0..=2 => {
                let (ino, d_type) = (input.arbitrary()?, input.arbitrary()?);
                let budget = input.int_in_range(0..=4)?;
                insert(
                    &mut listing,
                    &mut positions,
                    name,
                    (ino, d_type),
                    Some(budget),
                );
            }
            3 => {
                let len = name.text.len() + name.key.len();
                listing.reserve(len).expect("enough memory");
                compare(&listing, &positions);
                // What was reserved is there.
                insert(&mut listing, &mut positions, name, (0, 8), None);
            }
            4 => {
                let removed = listing.remove(name.lookup());
                assert_eq!(removed, positions.remove(name.lookup()));
            }
            5 => {
                let states = [
                    State::Shown,
                    State::Renumbered,
                    State::Unchecked,
                    State::Whiteout,
                    State::Gone,
                ];
                let state = *input.choose(&states)?;
                listing.set_state(at, state);
                positions.set_state(at, state);
            }
            6 => {
                let ino = input.arbitrary()?;
                listing.set_ino(at, ino);
                positions.set_ino(at, ino);
            }
            _ => {
                listing = listing.compacted().expect("enough memory");
                positions.compact();
            }
        }
        compare(&listing, &positions);
    }
    Ok(())
}

/// Inserts with memory for a few growths only, or for none where nothing has to grow.
fn insert(
    listing: &mut Listing<Heap>,
    positions: &mut Positions,
    name: Name,
    (ino, d_type): (u64, u8),
    budget: Option<usize>,
) {
    let inserted = with_budget(budget.unwrap_or(0), || {
        listing.insert(&name.text, &name.key, ino, d_type)
    });

    match inserted {
        Ok(at) => assert_eq!(at, positions.insert(name, ino, d_type)),
        Err(_) => {
            assert!(budget.is_some(), "what was reserved was not there");
            compare(listing, positions);
        }
    }
}

fn compare(listing: &Listing<Heap>, positions: &Positions) {
    assert_eq!(listing.len(), positions.all.len());
    let mut shown = listing.entries_from(0);
    let mut gone = 0;
    let mut renumbered = 0;

    for (at, expected) in positions.all.iter().enumerate() {
        let entry = Entry {
            name: &expected.name.text,
            ino: expected.ino,
            d_type: expected.d_type,
            layer: expected.layer,
            state: expected.state,
        };
        if expected.state == State::Gone {
            assert_eq!(listing.get(at), None);
            gone += 1;
        } else {
            assert_eq!(listing.get(at), Some(entry));
            assert_eq!(shown.next(), Some((at, entry)));
        }
        renumbered += usize::from(expected.state == State::Renumbered);
        let key = expected.name.lookup();
        assert_eq!(listing.find(key), positions.find(key));
    }
    assert_eq!(shown.next(), None);
    assert_eq!(listing.gone(), gone);
    assert_eq!(listing.renumbered(), renumbered);
    assert_eq!(listing.get(listing.len()), None);
    let from_the_middle = listing.entries_from(listing.len() / 2).count();
    assert!(from_the_middle <= listing.len().div_ceil(2));
}

impl Name {
    /// Without a key, a name is its own.
    fn lookup(&self) -> &[u8] {
        if self.key.is_empty() {
            &self.text
        } else {
            &self.key
        }
    }
}
