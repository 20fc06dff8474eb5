// SPDX-License-Identifier: GPL-2.0-only

//! The `metacopy` attribute (X8).

use super::rest;
use crate::source::model::metacopy::check_size;
use crate::source::model::metacopy::Digest;
use crate::source::model::metacopy::Invalid;
use crate::source::model::metacopy::Metacopy;
use crate::source::model::metacopy::SIZE_MAX;
use arbitrary::Result;
use arbitrary::Unstructured;

/// Where the flags are, of which none is known and all are ignored.
const FLAGS: usize = 2;

pub(super) fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let value = rest(input)?;
    let parsed = Metacopy::parse(value);

    assert_eq!(parsed, reference(value));
    assert_eq!(
        check_size(value.len()).is_err(),
        parsed == Err(Invalid::TooSmall)
    );
    match parsed {
        Ok(metacopy) => check_parsed(metacopy, value),
        Err(invalid) => assert!(!invalid.reason().is_empty()),
    }
    Ok(())
}

fn reference(value: &[u8]) -> Result<Metacopy<'_>, Invalid> {
    match value.len() {
        0 => Ok(Metacopy { digest: None }),
        1..=3 => Err(Invalid::TooSmall),
        _ if value[0] != 0 => Err(Invalid::Version),
        len if len > SIZE_MAX || len != usize::from(value[1]) => Err(Invalid::Size),
        _ if value[3] == 0 => Ok(Metacopy { digest: None }),
        _ => Ok(Metacopy {
            digest: Some(Digest {
                algorithm: value[3],
                bytes: &value[4..],
            }),
        }),
    }
}

fn check_parsed(metacopy: Metacopy<'_>, value: &[u8]) {
    let mut out = [0xff; SIZE_MAX];
    let written = metacopy.encode(&mut out).expect("what was parsed fits");

    assert_eq!(Metacopy::parse(written), Ok(metacopy));
    if metacopy.digest.is_some() {
        assert_eq!(written[FLAGS], 0);
        assert_eq!(written[..FLAGS], value[..FLAGS]);
        assert_eq!(written[FLAGS + 1..], value[FLAGS + 1..]);
    } else {
        assert!(written.is_empty());
    }
}
