// SPDX-License-Identifier: GPL-2.0-only

//! The `protattr` attribute: append-only and immutable, which must not be set on the file in the
//! upper layer (X9).
//!
//! Follows `ovl_check_protattr()` and `ovl_set_protattr()` in `fs/overlayfs/util.c`.

#![forbid(unsafe_code)]

/// The longest value that is looked at.
pub(crate) const SIZE_MAX: usize = 32;

/// What the attribute stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Protection {
    /// The file can only grow (`a`).
    pub(crate) append: bool,
    /// The file cannot be changed (`i`).
    pub(crate) immutable: bool,
}

impl Protection {
    /// Parses the value, or returns `None` if it has to be ignored as a whole, with a warning.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        if value.is_empty() || value.len() > SIZE_MAX {
            return None;
        }

        let mut protection = Self::default();
        for letter in value {
            match letter {
                b'a' => protection.append = true,
                b'i' => protection.immutable = true,
                _ => return None,
            }
        }
        Some(protection)
    }

    /// Returns the value to be stored, or `None` if the attribute has to be removed.
    pub(crate) const fn value(self) -> Option<&'static [u8]> {
        match (self.append, self.immutable) {
            (false, false) => None,
            (true, false) => Some(b"a"),
            (false, true) => Some(b"i"),
            (true, true) => Some(b"ai"),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn letters_are_flags() {
        let protection = |append, immutable| Protection { append, immutable };

        assert_eq!(Protection::parse(b"a"), Some(protection(true, false)));
        assert_eq!(Protection::parse(b"i"), Some(protection(false, true)));
        assert_eq!(Protection::parse(b"ia"), Some(protection(true, true)));
        assert_eq!(Protection::parse(b"aa"), Some(protection(true, false)));
        assert_eq!(
            Protection::parse(&[b'a'; 32]),
            Some(protection(true, false))
        );
        for ignored in [&b""[..], b"x", b"ax", b"a\0", &[b'a'; 33]] {
            assert_eq!(Protection::parse(ignored), None);
        }
        assert_eq!(Protection::default().value(), None);
    }

    proptest! {
        #[test]
        fn flags_come_back(append: bool, immutable: bool) {
            let protection = Protection { append, immutable };

            match protection.value() {
                Some(value) => prop_assert_eq!(Protection::parse(value), Some(protection)),
                None => prop_assert_eq!(protection, Protection::default()),
            }
        }

        #[test]
        fn any_value_is_safe(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let known = value.iter().all(|letter| b"ai".contains(letter));
            let sized = (1..=SIZE_MAX).contains(&value.len());
            prop_assert_eq!(Protection::parse(&value).is_some(), known && sized);
        }
    }
}
