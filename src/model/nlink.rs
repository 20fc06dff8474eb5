// SPDX-License-Identifier: GPL-2.0-only

//! The `nlink` attribute: the link count of an indexed file over all layers (X5, H5).
//!
//! It is stored as a difference to the count of an inode on a layer, so that it stays right when a
//! change is made to that layer and the overlay dies before it can note it. Follows
//! `ovl_set_nlink_common()` and `ovl_get_nlink()` in `fs/overlayfs/inode.c`.

#![forbid(unsafe_code)]

/// The longest value.
pub(crate) const SIZE_MAX: usize = 12;

/// The inode whose count the stored one is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// The one in the upper layer.
    Upper,
    /// The one that was copied up.
    Lower,
}

/// The value of the attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nlink {
    base: Base,
    difference: i32,
}

impl Nlink {
    /// Makes the value for a count over all layers, and that of the inode it is to be relative to.
    pub(crate) const fn new(base: Base, union: u32, real: u32) -> Self {
        Self {
            base,
            // CAST: the difference modulo 2^32, as C stores it.
            difference: union.wrapping_sub(real) as i32,
        }
    }

    /// Parses a value as stored. A NUL ends it, since C takes it for a string, and a newline may
    /// stand at the end.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > SIZE_MAX {
            return None;
        }

        let text = value.split(|&byte| byte == 0).next()?;
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let (base, sign, digits) = match text {
            [b'U', sign, digits @ ..] => (Base::Upper, *sign, digits),
            [b'L', sign, digits @ ..] => (Base::Lower, *sign, digits),
            _ => return None,
        };
        if digits.is_empty() {
            return None;
        }

        let mut number: i64 = 0;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            let digit = i64::from(digit.checked_sub(b'0')?);
            number = number.checked_mul(10)?.checked_add(digit)?;
        }
        let difference = match sign {
            b'+' => number,
            b'-' => number.checked_neg()?,
            _ => return None,
        };
        Some(Self {
            base,
            difference: i32::try_from(difference).ok()?,
        })
    }

    /// Writes the value to `out`.
    pub(crate) fn encode(self, out: &mut [u8; SIZE_MAX]) -> &[u8] {
        let mut rest = self.difference.unsigned_abs();
        let mut start = SIZE_MAX;

        loop {
            start = start.saturating_sub(1);
            if let Some(place) = out.get_mut(start) {
                *place = b'0'.wrapping_add((rest % 10) as u8); // CAST: a digit fits.
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let sign = if self.difference < 0 { b'-' } else { b'+' };
        let base = match self.base {
            Base::Upper => b'U',
            Base::Lower => b'L',
        };
        for byte in [sign, base] {
            start = start.saturating_sub(1);
            if let Some(place) = out.get_mut(start) {
                *place = byte;
            }
        }
        out.get(start..).unwrap_or(&[])
    }

    /// Returns the inode that the value is relative to.
    pub(crate) const fn base(self) -> Base {
        self.base
    }

    /// Returns the count over all layers, given that of the inode that the value is relative to.
    /// `None` if there would be no link, which cannot be.
    pub(crate) fn union(self, real: u32) -> Option<u32> {
        let union = i64::from(real).checked_add(i64::from(self.difference))?;

        u32::try_from(union)
            .ok()
            .filter(|&union| union > 0 && i32::try_from(union).is_ok())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    fn text(nlink: Nlink) -> String {
        let mut out = [0; SIZE_MAX];

        String::from_utf8(nlink.encode(&mut out).to_vec()).unwrap()
    }

    #[test]
    fn values_are_those_of_overlayfs() {
        assert_eq!(text(Nlink::new(Base::Upper, 3, 2)), "U+1");
        assert_eq!(text(Nlink::new(Base::Lower, 2, 2)), "L+0");
        assert_eq!(text(Nlink::new(Base::Upper, 1, 20)), "U-19");
        assert_eq!(text(Nlink::new(Base::Lower, 0, 1 << 31)), "L-2147483648");
    }

    #[test]
    fn strings_are_read_as_c_reads_them() {
        let parse = |text: &str| Nlink::parse(text.as_bytes()).map(|nlink| nlink.difference);

        assert_eq!(parse("U+1"), Some(1));
        assert_eq!(parse("L-007"), Some(-7));
        assert_eq!(parse("U+1\n"), Some(1));
        assert_eq!(parse("U+1\0junk"), Some(1));
        assert_eq!(parse("U+2147483647"), Some(i32::MAX));
        for bad in [
            "",
            "U",
            "U+",
            "U1",
            "X+1",
            "U+1 ",
            "U++1",
            "U-+1",
            "U+0x1",
            "U+\n",
            "U+1\n\n",
            "U+2147483648",
            "U+00000000001",
            "u+1",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn there_is_at_least_one_link() {
        let nlink = Nlink::parse(b"U-2").unwrap();

        assert_eq!(nlink.base(), Base::Upper);
        assert_eq!(nlink.union(3), Some(1));
        assert_eq!(nlink.union(2), None);
        assert_eq!(nlink.union(0), None);
        assert_eq!(Nlink::parse(b"L+1").unwrap().union(i32::MAX as u32), None);
    }

    proptest! {
        #[test]
        fn counts_come_back(union in 1u32..1 << 31, real in 0u32..1 << 31, upper: bool) {
            let base = if upper { Base::Upper } else { Base::Lower };
            let nlink = Nlink::new(base, union, real);

            prop_assert_eq!(Nlink::parse(text(nlink).as_bytes()), Some(nlink));
            prop_assert_eq!(nlink.union(real), Some(union));
        }

        #[test]
        fn any_value_is_safe(value in prop::collection::vec(any::<u8>(), 0..16)) {
            let _ = Nlink::parse(&value);
        }

        /// The sign is in the text, so the standard library reads the rest the same.
        #[test]
        fn numbers_are_those_of_the_standard_library(text in "[UL][+-][0-9]{1,10}") {
            let expected = text[1..].parse().ok();
            prop_assert_eq!(Nlink::parse(text.as_bytes()).map(|n| n.difference), expected);
        }
    }
}
