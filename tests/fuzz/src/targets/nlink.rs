// SPDX-License-Identifier: GPL-2.0-only

//! The `nlink` attribute (X5, H5).

extern crate std;

use super::rest;
use crate::source::model::nlink::Base;
use crate::source::model::nlink::Nlink;
use crate::source::model::nlink::SIZE_MAX;
use arbitrary::Result;
use arbitrary::Unstructured;

pub(super) fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let real: u32 = input.arbitrary()?;
    let union: u32 = input.arbitrary()?;
    let value = rest(input)?;

    let parsed = Nlink::parse(value);
    assert_eq!(
        parsed.map(|nlink| (nlink.base(), nlink.union(real))),
        reference(value).map(|(base, difference)| (base, sum(real, difference)))
    );
    if let Some(nlink) = parsed {
        check_stored(nlink);
        if let Some(union) = nlink.union(real) {
            assert_eq!(Nlink::new(nlink.base(), union, real), nlink);
        }
    }
    for base in [Base::Upper, Base::Lower] {
        check_stored(Nlink::new(base, union, real));
        // The kernel's link counts are no larger than an int.
        let (union, real) = (union >> 1, real >> 1);
        let expected = (union > 0).then_some(union);
        assert_eq!(Nlink::new(base, union, real).union(real), expected);
    }
    Ok(())
}

fn check_stored(nlink: Nlink) {
    let mut out = [0; SIZE_MAX];

    assert_eq!(Nlink::parse(nlink.encode(&mut out)), Some(nlink));
}

/// What `sscanf()` and `kstrtoint()` make of the value, by the standard library's parser.
fn reference(value: &[u8]) -> Option<(Base, i32)> {
    let end = value.iter().position(|&byte| byte == 0);
    let text = std::str::from_utf8(&value[..end.unwrap_or(value.len())]).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let (base, number) = match text.as_bytes().first()? {
        b'U' => (Base::Upper, &text[1..]),
        b'L' => (Base::Lower, &text[1..]),
        _ => return None,
    };

    (value.len() <= SIZE_MAX && number.starts_with(['+', '-']))
        .then(|| number.parse().ok())
        .flatten()
        .map(|difference| (base, difference))
}

fn sum(real: u32, difference: i32) -> Option<u32> {
    let sum = i128::from(real) + i128::from(difference);

    (1..=i128::from(i32::MAX))
        .contains(&sum)
        .then(|| u32::try_from(sum).expect("positive and small"))
}
