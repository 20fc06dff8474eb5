// SPDX-License-Identifier: GPL-2.0-only

//! Merged listings against the lists of the C code, and patched ones against a plain map.

#![forbid(unsafe_code)]

extern crate std;

use super::super::buffer::testing::with_budget;
use super::super::buffer::testing::Heap;
use super::super::kind::DT_UNKNOWN;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

const SEED: Seed = Seed::new(7, 11);
const DT_CHR: u8 = FileType::CharDevice.d_type();
const DT_REG: u8 = FileType::Regular.d_type();
const DT_DIR: u8 = FileType::Directory.d_type();

/// What a layer lists: a name, its type, and whether a look at it shows a whiteout.
type Listed = (String, u8, bool);

/// What came out: a name, the number of its layer, its inode number, its state.
type Merged = (String, u16, u64, State);

fn ino(layer: usize, at: usize) -> u64 {
    (layer as u64) << 32 | at as u64
}

fn merged(layers: &[Vec<Listed>], xwhiteouts: bool) -> Result<Listing<Heap>, Full> {
    let mut merge = Merge::<Heap>::new(SEED);

    for (number, layer) in layers.iter().enumerate() {
        merge.begin(Layer {
            number: number as u16,
            position: if number + 1 == layers.len() {
                Position::Lowest
            } else {
                Position::Above
            },
            xwhiteouts,
        });
        for (at, (name, d_type, _)) in layer.iter().enumerate() {
            merge.add(name.as_bytes(), name.as_bytes(), ino(number, at), *d_type)?;
        }

        let mut asked = vec![];
        merge.check_whiteouts(|name| {
            let first = layer.iter().find(|listed| listed.0.as_bytes() == name);
            asked.push(name.to_vec());
            Ok::<_, Full>(first.unwrap().2)
        })?;
        // Nothing is asked twice.
        assert_eq!(merge.check_whiteouts(|_| Err(Full)), Ok(()));
        asked.sort();
        asked.dedup();
        assert!(asked.len() <= layer.len());
    }
    merge.finish()
}

fn outcome(listing: &Listing<Heap>) -> Vec<Merged> {
    listing
        .entries_from(0)
        .map(|(_, entry)| {
            let name = String::from_utf8(entry.name.to_vec()).unwrap();
            (name, entry.layer, entry.ino, entry.state)
        })
        .collect()
}

/// The lists of `ovl_dir_read_merged()`: those before the cursor `middle`, and the others.
fn reference(layers: &[Vec<Listed>], xwhiteouts: bool) -> Vec<Merged> {
    let mut middle: Vec<Merged> = vec![];
    let mut list: Vec<Merged> = vec![];

    for (number, layer) in layers.iter().enumerate() {
        for (at, (name, d_type, whiteout)) in layer.iter().enumerate() {
            let state = match *d_type {
                DT_CHR if *whiteout => State::Whiteout,
                DT_REG if xwhiteouts => State::Unchecked,
                _ => State::Shown,
            };
            let new = (name.clone(), number as u16, ino(number, at), state);
            let found = list.iter().position(|merged| merged.0 == *name);

            match found {
                Some(at) if number + 1 == layers.len() => middle.push(list.remove(at)),
                Some(_) => {}
                None if number + 1 == layers.len() => middle.push(new),
                None => list.push(new),
            }
        }
    }
    middle.append(&mut list);
    middle
}

fn listed(names: &[(&str, u8, bool)]) -> Vec<Listed> {
    names
        .iter()
        .map(|(name, d_type, whiteout)| ((*name).into(), *d_type, *whiteout))
        .collect()
}

fn shown(listing: &Listing<Heap>) -> Vec<String> {
    let all = outcome(listing).into_iter();
    all.filter(|merged| merged.3 != State::Whiteout)
        .map(|merged| merged.0)
        .collect()
}

#[test]
fn the_lowest_layer_gives_the_order() {
    let layers = [
        listed(&[
            (".", DT_DIR, false),
            ("..", DT_DIR, false),
            ("new", DT_REG, false),
            ("b", DT_REG, false),
        ]),
        listed(&[
            (".", DT_DIR, false),
            ("..", DT_DIR, false),
            ("mid", DT_REG, false),
        ]),
        listed(&[
            (".", DT_DIR, false),
            ("..", DT_DIR, false),
            ("c", DT_REG, false),
            ("b", DT_REG, false),
            ("a", DT_REG, false),
        ]),
    ];
    let listing = merged(&layers, false).unwrap();

    assert_eq!(shown(&listing), [".", "..", "c", "b", "a", "new", "mid"]);
    assert_eq!(listing.get(0).unwrap().layer, 0);
    assert_eq!(listing.get(3).unwrap().layer, 0);
    assert_eq!(listing.get(4).unwrap().layer, 2);
    assert_eq!(listing.get(7), None);
}

#[test]
fn whiteouts_hide_names_and_keep_positions() {
    let layers = [
        listed(&[("gone", DT_CHR, true), ("null", DT_CHR, false)]),
        listed(&[
            ("gone", DT_REG, false),
            ("kept", DT_REG, false),
            ("late", DT_CHR, true),
        ]),
    ];
    let listing = merged(&layers, false).unwrap();

    assert_eq!(shown(&listing), ["kept", "null"]);
    assert_eq!(listing.len(), 4);
    assert_eq!(listing.get(0).unwrap().state, State::Whiteout);
    assert_eq!(listing.get(0).unwrap().layer, 0);
}

#[test]
fn unknown_types_are_not_asked() {
    let layers = [
        listed(&[("a", DT_UNKNOWN, true)]),
        listed(&[("a", DT_REG, false)]),
    ];

    assert_eq!(shown(&merged(&layers, false).unwrap()), ["a"]);
}

#[test]
fn the_error_of_a_question_ends_the_walk() {
    let mut merge = Merge::<Heap>::new(SEED);
    let mut asked = 0;

    merge.begin(Layer {
        number: 0,
        position: Position::Lowest,
        xwhiteouts: false,
    });
    for name in [b"a", b"b", b"c"] {
        merge.add(name, name, 1, DT_CHR).unwrap();
    }
    let result = merge.check_whiteouts(|_| {
        asked += 1;
        if asked == 2 {
            Err("interrupted")
        } else {
            Ok(true)
        }
    });
    assert_eq!((result, asked), (Err("interrupted"), 2));
}

#[test]
fn without_a_layer_nothing_is_listed() {
    let listing = Merge::<Heap>::new(SEED).finish().unwrap();

    assert_eq!((listing.len(), listing.find(b"a")), (0, None));
}

#[test]
fn a_former_position_is_used_again() {
    let layers = [listed(&[
        ("a", DT_REG, false),
        ("b", DT_REG, false),
        ("c", DT_REG, false),
    ])];
    let mut listing = merged(&layers, false).unwrap();

    assert_eq!(listing.remove(b"b"), Some(1));
    assert_eq!((listing.remove(b"b"), listing.gone()), (None, 1));
    assert_eq!(listing.insert(b"d", b"d", 4, DT_REG), Ok(3));
    assert_eq!(listing.insert(b"b", b"b", 5, DT_DIR), Ok(1));
    assert_eq!(listing.gone(), 0);
    assert_eq!(shown(&listing), ["a", "b", "c", "d"]);
    assert_eq!(listing.get(1).unwrap().d_type, DT_DIR);
}

#[test]
fn other_numbers_are_counted() {
    let layers = [listed(&[("a", DT_REG, false), ("b", DT_REG, false)])];
    let mut listing = merged(&layers, false).unwrap();

    assert_eq!(listing.renumbered(), 0);
    for position in [0, 1, 1] {
        listing.set_state(position, State::Renumbered);
    }
    assert_eq!(listing.renumbered(), 2);
    assert_eq!(shown(&listing), ["a", "b"]);
    assert_eq!(listing.copied().unwrap().renumbered(), 2);
    assert_eq!(listing.insert(b"a", b"a", 7, DT_REG), Ok(0));
    assert_eq!(listing.renumbered(), 1);
    assert_eq!(listing.insert(b"c", b"c", 8, DT_REG), Ok(2));
    assert_eq!(listing.remove(b"a"), Some(0));
    assert_eq!(listing.compacted().unwrap().renumbered(), 1);
    assert_eq!(listing.remove(b"b"), Some(1));
    assert_eq!(listing.renumbered(), 0);
}

#[test]
fn a_record_is_small() {
    assert_eq!(size_of::<Record>(), 24);
}

fn layer(names: usize) -> impl Strategy<Value = Vec<Listed>> {
    let types = prop::sample::select(vec![DT_CHR, DT_CHR, DT_REG, DT_DIR, DT_UNKNOWN]);
    let entry = (0..names, types, any::<bool>());

    prop::collection::vec(entry, 0..40).prop_map(|entries| {
        let mut seen = vec![];
        entries
            .into_iter()
            .filter(|entry| {
                let new = !seen.contains(&entry.0);
                seen.push(entry.0);
                new
            })
            .map(|(name, d_type, whiteout)| (format!("name{name}"), d_type, whiteout))
            .collect()
    })
}

#[derive(Clone, Debug)]
enum Patch {
    Insert(usize, u64),
    Remove(usize),
    Compact,
    /// Goes on with a copy.
    Copy,
}

fn patch(names: usize) -> impl Strategy<Value = Patch> {
    prop_oneof![
        4 => (0..names, any::<u64>()).prop_map(|(name, ino)| Patch::Insert(name, ino)),
        4 => (0..names).prop_map(Patch::Remove),
        1 => Just(Patch::Compact),
        1 => Just(Patch::Copy),
    ]
}

/// What the kernel's folding of case does to names of ASCII.
fn fold(name: &str) -> std::string::String {
    name.to_ascii_lowercase()
}

#[test]
fn a_name_in_another_case_is_the_same_name() {
    let layers: [&[&str]; 3] = [
        &["Both", "OnlyTop"],
        &["BOTH", "Middle", "lower"],
        &["both", "middle", "Lower", "bottom"],
    ];
    let mut merge = Merge::<Heap>::new(Seed::new(1, 2));
    for (number, layer) in layers.iter().enumerate() {
        merge.begin(Layer {
            number: u16::try_from(number).unwrap(),
            position: if number == 2 {
                Position::Lowest
            } else {
                Position::Above
            },
            xwhiteouts: false,
        });
        for name in *layer {
            merge
                .add(name.as_bytes(), fold(name).as_bytes(), 1, DT_REG)
                .unwrap();
        }
    }
    let mut listing = merge.finish().unwrap();
    let names: Vec<_> = listing
        .entries_from(0)
        .map(|(_, entry)| std::string::String::from_utf8(entry.name.to_vec()).unwrap())
        .collect();
    // In the order of the lowest layer, in the spelling of the uppermost.
    assert_eq!(names, ["Both", "Middle", "lower", "bottom", "OnlyTop"]);

    listing.reserve(0).unwrap();
    assert_eq!(listing.find(b"middle"), Some(1));
    assert_eq!(listing.remove(b"both"), Some(0));
    assert_eq!(listing.insert(b"bOTH", b"both", 9, DT_REG), Ok(0));
    assert_eq!(listing.get(0).unwrap().name, b"bOTH");
    let compact = listing.compacted().unwrap();
    assert_eq!(compact.find(b"onlytop"), Some(4));
}

#[test]
fn a_name_of_which_folding_leaves_nothing_is_its_own_key() {
    let mut merge = Merge::<Heap>::new(SEED);
    for (number, position) in [(0, Position::Above), (1, Position::Lowest)] {
        merge.begin(Layer {
            number,
            position,
            xwhiteouts: false,
        });
        for name in [b"~", b"="] {
            merge.add(name, b"", 1, DT_REG).unwrap();
        }
    }
    let mut listing = merge.finish().unwrap();

    assert_eq!(shown(&listing), ["~", "="]);
    assert_eq!(listing.insert(b"=", b"", 2, DT_REG), Ok(1));
    assert_eq!(listing.insert(b"-", b"", 3, DT_REG), Ok(2));
    assert_eq!(listing.find(b"-"), Some(2));
}

proptest! {
    #[test]
    fn merges_like_the_c_code(
        layers in prop::collection::vec(layer(60), 0..6),
        xwhiteouts: bool,
    ) {
        let listing = merged(&layers, xwhiteouts).unwrap();
        let expected = reference(&layers, xwhiteouts);

        prop_assert_eq!(outcome(&listing), expected.clone());
        prop_assert_eq!(listing.len(), expected.len());
        for (at, (name, _, ino, state)) in expected.into_iter().enumerate() {
            let entry = listing.get(at).unwrap();
            prop_assert_eq!((entry.name, entry.ino, entry.state), (name.as_bytes(), ino, state));
            prop_assert_eq!(listing.find(name.as_bytes()), Some(at));
        }
    }

    #[test]
    fn names_may_come_twice(
        layers in prop::collection::vec(prop::collection::vec(0..6usize, 0..12), 1..4),
    ) {
        let layers: Vec<Vec<Listed>> = layers
            .into_iter()
            .map(|names| names.into_iter().map(|n| (format!("{n}"), DT_REG, false)).collect())
            .collect();
        let mut listing = merged(&layers, false).unwrap();

        listing.reserve(8).unwrap();
        for (name, ..) in layers.iter().flatten() {
            prop_assert!(listing.find(name.as_bytes()).is_some());
        }
    }

    #[test]
    fn patches_like_a_map(
        layers in prop::collection::vec(layer(40), 1..4),
        patches in prop::collection::vec(patch(80), 0..120),
    ) {
        let mut listing = merged(&layers, false).unwrap();
        let mut originals = vec![];
        let mut map: BTreeMap<String, u64> =
            outcome(&listing).into_iter().map(|merged| (merged.0, merged.2)).collect();

        for patch in patches {
            let places: BTreeMap<Vec<u8>, usize> = listing
                .entries_from(0)
                .map(|(at, entry)| (entry.name.to_vec(), at))
                .collect();
            match patch {
                Patch::Insert(name, ino) => {
                    let name = format!("name{name}");
                    let at = listing.insert(name.as_bytes(), name.as_bytes(), ino, DT_REG).unwrap();
                    let entry = listing.get(at).unwrap();
                    prop_assert_eq!((entry.ino, entry.layer, entry.state), (ino, 0, State::Shown));
                    map.insert(name, ino);
                }
                Patch::Remove(name) => {
                    let name = format!("name{name}");
                    let removed = listing.remove(name.as_bytes());
                    prop_assert_eq!(removed.is_some(), map.remove(&name).is_some());
                }
                Patch::Compact => {
                    listing = listing.compacted().unwrap();
                    prop_assert_eq!((listing.gone(), listing.len()), (0, map.len()));
                    continue;
                }
                Patch::Copy => {
                    let copy = listing.copied().unwrap();
                    prop_assert_eq!((copy.len(), copy.bytes()), (listing.len(), listing.bytes()));
                    let original = core::mem::replace(&mut listing, copy);
                    originals.push((outcome(&original), original));
                }
            }
            // Positions in use stay where they are.
            for (name, at) in places {
                prop_assert!(listing.find(&name).is_none_or(|now| now == at));
            }
            prop_assert_eq!(listing.gone(), listing.len() - map.len());
        }

        let left: BTreeMap<_, _> =
            outcome(&listing).into_iter().map(|merged| (merged.0, merged.2)).collect();
        prop_assert_eq!(left, map);
        for (before, original) in originals {
            prop_assert_eq!(outcome(&original), before);
        }
    }

    #[test]
    fn lack_of_memory_changes_nothing(
        layers in prop::collection::vec(layer(60), 1..4),
        budget in 0..24usize,
        patches in prop::collection::vec(patch(200), 0..60),
    ) {
        let Ok(mut listing) = with_budget(budget, || merged(&layers, false)) else {
            return Ok(());
        };

        for patch in patches {
            let before = outcome(&listing);
            if let Patch::Insert(name, ino) = patch {
                let name = format!("{name:0100}");
                if with_budget(0, || listing.insert(name.as_bytes(), name.as_bytes(), ino, DT_REG)).is_err() {
                    prop_assert_eq!(outcome(&listing), before);
                    listing.reserve(name.len()).unwrap();
                    let inserted =
                        with_budget(0, || listing.insert(name.as_bytes(), name.as_bytes(), ino, DT_REG));
                    prop_assert!(inserted.is_ok());
                }
            }
        }
    }
}
