// SPDX-License-Identifier: GPL-2.0-only

//! Inode numbers of several filesystems in the space of one (section 1.10): they stay unique, and
//! what they are made of can be read off them.

extern crate std;

use crate::source::model::lowerdir::MAX_LAYERS;
use crate::source::model::options::Xino;
use crate::source::model::xino::Bits;
use crate::source::model::xino::Layers;
use crate::source::model::xino::Mapping;
use crate::source::model::xino::Reported;
use arbitrary::Result;
use arbitrary::Unstructured;
use std::collections::BTreeMap;

/// The upper layer's filesystem, and one for each lower layer.
const COUNT_MAX: u32 = MAX_LAYERS as u32 + 1;

pub(super) fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let xino = *input.choose(&[Xino::Off, Xino::Auto, Xino::On])?;
    let layers = Layers {
        count: input.int_in_range(1..=COUNT_MAX)?,
        upper: input.arbitrary()?,
        ino32: input.arbitrary()?,
    };
    let mapping = Mapping::new(xino, &layers);

    let used = if layers.upper {
        layers.count
    } else {
        layers.count - 1
    };
    match mapping {
        Mapping::Same => assert!(used <= 1),
        Mapping::None => assert!(used > 1 && xino == Xino::Off),
        Mapping::Bits(bits) => {
            assert!(used > 1 && xino != Xino::Off);
            check_bits(bits, &layers);
        }
    }

    let mut seen = BTreeMap::new();
    for _ in 0..input.int_in_range(1..=8)? {
        // Real numbers are small, so those that only just fit are rare among arbitrary ones.
        let ino = input.arbitrary::<u64>()? >> input.int_in_range(0..=63)?;
        let fsid = input.int_in_range(0..=layers.count - 1)?;
        let mapped = mapping.map(ino, fsid);

        check_reported(mapping, ino, fsid, mapped);
        match mapping {
            Mapping::Same => assert_eq!(mapped, Some(ino)),
            Mapping::None => assert_eq!(mapped, None),
            Mapping::Bits(bits) => check_mapped(bits, ino, fsid, mapped),
        }
        if let (Mapping::Bits(_), Some(mapped)) = (mapping, mapped) {
            let object = (ino, fsid);
            assert_eq!(*seen.entry(mapped).or_insert(object), object);
        }
    }
    let counter = input.arbitrary()?;
    check_own(mapping, counter);
    assert!(!matches!(mapping, Mapping::Bits(_)) || !seen.contains_key(&mapping.own(counter)));
    Ok(())
}

/// All numbers of filesystems fit above the spare bit.
fn check_bits(bits: Bits, layers: &Layers) {
    let count = bits.count();

    assert!((2..=32).contains(&count));
    assert!((layers.count - 1).checked_shr(u32::from(count) - 1) == Some(0));
    assert_eq!(layers.ino32, count == 32);
}

fn check_mapped(bits: Bits, ino: u64, fsid: u32, mapped: Option<u64>) {
    let shift = 64 - u32::from(bits.count());

    match mapped {
        None => assert_ne!(ino >> shift, 0),
        Some(mapped) => {
            assert_eq!(mapped & ((1 << shift) - 1), ino);
            assert_eq!(mapped >> shift & 1, 0);
            assert_eq!(mapped >> (shift + 1), u64::from(fsid));
        }
    }
}

fn check_reported(mapping: Mapping, ino: u64, fsid: u32, mapped: Option<u64>) {
    assert_eq!(mapping.map_entry(ino, fsid), mapped.unwrap_or(ino));
    match mapped {
        Some(number) => {
            assert!(mapping.same_device());
            assert_eq!(mapping.directory(ino, fsid), Reported::Number(number));
            assert_eq!(mapping.file(ino, fsid), Reported::Number(number));
        }
        None => {
            assert_eq!(mapping.directory(ino, fsid), Reported::Own);
            assert_eq!(mapping.file(ino, fsid), Reported::Layer);
        }
    }
}

fn check_own(mapping: Mapping, counter: u64) {
    let own = mapping.own(counter);

    match mapping {
        Mapping::Same | Mapping::None => assert_eq!(own, counter),
        Mapping::Bits(bits) => {
            let shift = 64 - u32::from(bits.count());
            assert_eq!(own >> shift, 1);
            assert_eq!(own & ((1 << shift) - 1), counter & ((1 << shift) - 1));
        }
    }
}
