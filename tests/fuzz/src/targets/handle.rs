// SPDX-License-Identifier: GPL-2.0-only

//! File handles from attributes, from names in the index, and from NFS clients (H1, H2, H6).

use super::rest;
use crate::source::model::handle::from_index_name;
use crate::source::model::handle::from_wire;
use crate::source::model::handle::index_name;
use crate::source::model::handle::to_wire;
use crate::source::model::handle::Handle;
use crate::source::model::handle::Side;
use crate::source::model::handle::Unusable;
use crate::source::model::handle::FID_MAX;
use crate::source::model::handle::HEADER;
use crate::source::model::handle::NAME_MAX;
use crate::source::model::handle::SIZE_MAX;
use crate::source::model::handle::WIRE_MAX;
use crate::source::model::handle::WIRE_TYPE;
use arbitrary::Result;
use arbitrary::Unstructured;

/// Where the flags are in a stored handle.
const FLAGS: usize = 3;

pub(super) fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let kind = input.arbitrary()?;
    let bytes = rest(input)?;

    match Handle::parse(bytes) {
        Ok(handle) => check_parsed(&handle, bytes),
        Err(reason) => assert_eq!(reference(bytes), Err(reason)),
    }
    check_index_name(bytes);
    check_from_index_name(bytes);
    check_wire(kind, bytes);
    Ok(())
}

/// `ovl_check_fb_len()` and what comes after it, for a handle of this machine or of any.
fn reference(bytes: &[u8]) -> Result<(), Unusable> {
    let big_endian = u8::from(cfg!(target_endian = "big"));
    let of_this_machine = |flags| flags & 2 != 0 || flags & 1 == big_endian;

    if bytes.len() < HEADER || usize::from(bytes[2]) > bytes.len() || bytes[1] != 0xfb {
        Err(Unusable::Invalid)
    } else if bytes[0] != 0 || bytes[FLAGS] > 7 || !of_this_machine(bytes[FLAGS]) {
        Err(Unusable::Unknown)
    } else if usize::from(bytes[2]) < HEADER {
        Err(Unusable::Invalid)
    } else {
        Ok(())
    }
}

fn check_parsed(handle: &Handle<'_>, bytes: &[u8]) {
    assert_eq!(reference(bytes), Ok(()));
    assert_eq!(handle.side == Side::Upper, bytes[FLAGS] & 4 != 0);

    let significant = Handle::significant(bytes).expect("the length of a handle");
    assert_eq!(Handle::parse(significant), Ok(*handle));

    let mut out = [0; SIZE_MAX];
    let Some(written) = handle.encode(&mut out) else {
        assert!(handle.fid.len() > FID_MAX);
        return;
    };
    assert!(handle.fid.len() <= FID_MAX);
    assert_eq!(Handle::parse(written), Ok(*handle));
    // A handle that counts on any machine is written as one of this machine.
    assert_eq!(written[..FLAGS], significant[..FLAGS]);
    assert_eq!(written[FLAGS + 1..], significant[FLAGS + 1..]);
}

fn check_index_name(stored: &[u8]) {
    let mut name = [0; NAME_MAX];
    let mut back = [0; SIZE_MAX];

    let Some(name) = index_name(stored, &mut name) else {
        assert!(stored.len() > SIZE_MAX);
        return;
    };
    assert_eq!(name.len(), 2 * stored.len());
    assert!(name.iter().all(|byte| b"0123456789abcdef".contains(byte)));
    let expected = if stored.len() < HEADER {
        Err(Unusable::Invalid)
    } else {
        Ok(stored)
    };
    assert_eq!(from_index_name(name, &mut back), expected);
    let upper_case = name.to_ascii_uppercase();
    assert_eq!(from_index_name(&upper_case, &mut back), expected);
}

fn check_from_index_name(name: &[u8]) {
    let mut stored = [0; SIZE_MAX];
    let mut again = [0; NAME_MAX];
    let even = &name[..name.len() / 2 * 2];

    let fits = (2 * HEADER..=NAME_MAX).contains(&even.len());
    let digits = even.iter().all(u8::is_ascii_hexdigit);
    match from_index_name(name, &mut stored) {
        Ok(stored) => {
            assert!(fits && digits);
            let again = index_name(stored, &mut again).expect("as long as the name was");
            assert_eq!(again, even.to_ascii_lowercase());
        }
        Err(_) => assert!(!fits || !digits),
    }
}

fn check_wire(kind: u8, bytes: &[u8]) {
    let mut out = [0xff; WIRE_MAX];

    if let Some(wire) = to_wire(bytes, &mut out) {
        assert_eq!(wire[..3], [0; 3]);
        assert_eq!(from_wire(WIRE_TYPE, wire), Ok(bytes));
    } else {
        assert!(bytes.len() > SIZE_MAX);
    }

    let known = matches!(kind, 0xf8 | 0xfb) && bytes.len() >= 3;
    match from_wire(kind, bytes) {
        Ok(stored) => {
            assert!(known);
            assert_eq!(stored.len(), bytes.len() - 3);
            let _ = Handle::parse(stored);
        }
        Err(_) => assert!(!known),
    }
}
