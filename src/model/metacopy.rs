// SPDX-License-Identifier: GPL-2.0-only

//! The `metacopy` attribute: a file that has metadata alone, and the digest of the data that it
//! stands for (X8).
//!
//! Follows `struct ovl_metacopy`, `ovl_check_metacopy_xattr()` and `ovl_validate_verity()` in
//! `fs/overlayfs/`.

#![forbid(unsafe_code)]

/// Version, length, flags and algorithm.
const HEADER: usize = 4;

/// `FS_VERITY_MAX_DIGEST_SIZE`.
pub(crate) const DIGEST_MAX: usize = 64;

/// The longest value.
pub(crate) const SIZE_MAX: usize = HEADER + DIGEST_MAX;

/// An fs-verity digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest<'a> {
    /// `FS_VERITY_HASH_ALG_*`, never zero.
    pub(crate) algorithm: u8,
    /// The digest itself.
    pub(crate) bytes: &'a [u8],
}

/// The attribute of a file that has no data of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metacopy<'a> {
    /// What the data has to hash to, if that is known.
    pub(crate) digest: Option<Digest<'a>>,
}

/// A value that cannot be made use of (EIO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// It is too short to have a header.
    TooSmall,
    /// A version of the future.
    Version,
    /// It is not as long as its header says.
    Size,
}

impl Invalid {
    /// Returns the end of the sentence for the log.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::TooSmall => "too small metacopy xattr",
            Self::Version => "unsupported version of metacopy xattr",
            Self::Size => "invalid size of metacopy xattr",
        }
    }
}

/// Checks the size of the attribute, which is all that a lookup needs.
pub(crate) const fn check_size(size: usize) -> Result<(), Invalid> {
    match size {
        0 | HEADER.. => Ok(()),
        _ => Err(Invalid::TooSmall),
    }
}

impl<'a> Metacopy<'a> {
    /// Parses the value of the attribute.
    pub(crate) fn parse(value: &'a [u8]) -> Result<Self, Invalid> {
        let (version, len, algorithm, bytes) = match value {
            [] => return Ok(Self { digest: None }),
            [version, len, _flags, algorithm, bytes @ ..] => (*version, *len, *algorithm, bytes),
            _ => return Err(Invalid::TooSmall),
        };

        if version != 0 {
            return Err(Invalid::Version);
        }
        if usize::from(len) != value.len() || value.len() > SIZE_MAX {
            return Err(Invalid::Size);
        }
        Ok(Self {
            digest: (algorithm != 0).then_some(Digest { algorithm, bytes }),
        })
    }

    /// Writes the value to `out`: nothing without a digest. Returns `None` for a digest that is too
    /// long.
    pub(crate) fn encode(self, out: &mut [u8; SIZE_MAX]) -> Option<&[u8]> {
        let Some(digest) = self.digest else {
            return Some(&[]);
        };
        let size = HEADER.checked_add(digest.bytes.len())?;
        let header = [0, u8::try_from(size).ok()?, 0, digest.algorithm];

        let place = out.get_mut(..size)?;
        for (to, from) in place.iter_mut().zip(header.iter().chain(digest.bytes)) {
            *to = *from;
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn an_empty_value_has_no_digest() {
        let empty = Metacopy { digest: None };
        let mut out = [0; SIZE_MAX];

        assert_eq!(Metacopy::parse(b""), Ok(empty));
        assert_eq!(Metacopy::parse(&[0, 4, 0, 0]), Ok(empty));
        assert_eq!(Metacopy::parse(&[0, 5, 0, 0, 9]), Ok(empty));
        assert_eq!(empty.encode(&mut out), Some(&[][..]));
    }

    #[test]
    fn a_digest_is_kept() {
        let digest = Digest {
            algorithm: 1,
            bytes: &[7; 32],
        };
        let metacopy = Metacopy {
            digest: Some(digest),
        };
        let mut out = [0; SIZE_MAX];
        let value = metacopy.encode(&mut out).unwrap();

        assert_eq!(value[..5], [0, 36, 0, 1, 7]);
        assert_eq!(value.len(), 36);
        assert_eq!(Metacopy::parse(value), Ok(metacopy));
    }

    #[test]
    fn wrong_values_are_refused() {
        let parse = |value: &[u8]| Metacopy::parse(value).map(|_| ());

        assert_eq!(parse(&[0]), Err(Invalid::TooSmall));
        assert_eq!(parse(&[0, 3, 0]), Err(Invalid::TooSmall));
        assert_eq!(parse(&[1, 4, 0, 0]), Err(Invalid::Version));
        assert_eq!(parse(&[0, 5, 0, 0]), Err(Invalid::Size));
        assert_eq!(parse(&[0, 4, 0, 1, 0]), Err(Invalid::Size));
        let mut long = vec![0; SIZE_MAX + 1];
        long[1] = long.len() as u8;
        assert_eq!(parse(&long), Err(Invalid::Size));
        assert_eq!(check_size(3), Err(Invalid::TooSmall));
        assert_eq!(check_size(0).and(check_size(4)), Ok(()));
        assert!(Invalid::Size.reason().contains("size"));
    }

    #[test]
    fn a_digest_that_is_too_long_is_not_written() {
        let metacopy = Metacopy {
            digest: Some(Digest {
                algorithm: 2,
                bytes: &[0; DIGEST_MAX + 1],
            }),
        };

        assert_eq!(metacopy.encode(&mut [0; SIZE_MAX]), None);
    }

    proptest! {
        #[test]
        fn what_is_parsed_is_written_the_same(
            mut value in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            if let [version, len, ..] = &mut value[..] {
                *version &= 1;
                *len = *len % 8 + *len % 80;
            }
            prop_assert_eq!(
                check_size(value.len()).is_err(),
                Metacopy::parse(&value) == Err(Invalid::TooSmall)
            );
            if let Ok(metacopy) = Metacopy::parse(&value) {
                let mut out = [0; SIZE_MAX];
                let written: Vec<u8> = metacopy.encode(&mut out).unwrap().to_vec();
                prop_assert_eq!(Metacopy::parse(&written), Ok(metacopy));
            }
        }

        #[test]
        fn digests_come_back(
            algorithm in 1u8..,
            bytes in prop::collection::vec(any::<u8>(), 0..=64),
        ) {
            let metacopy = Metacopy { digest: Some(Digest { algorithm, bytes: &bytes }) };
            let mut out = [0; SIZE_MAX];
            let value = metacopy.encode(&mut out).unwrap();

            prop_assert_eq!(Metacopy::parse(value), Ok(metacopy));
        }
    }
}
