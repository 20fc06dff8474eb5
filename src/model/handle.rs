// SPDX-License-Identifier: GPL-2.0-only

//! File handles as stored in attributes, in names of the index, and as given out by the overlay
//! (H1, H2, H6).
//!
//! Follows `struct ovl_fb`, `ovl_check_fb_len()` and `ovl_get_index_name_fh()` in `fs/overlayfs/`,
//! and `ovl_fid_to_fh()` in `fs/overlayfs/export.c`. Making and finding the inner handle is left to
//! the filesystem of the layer.

#![forbid(unsafe_code)]

/// Version, magic, length, flags, type of the inner handle and uuid.
pub(crate) const HEADER: usize = 21;

/// The longest inner handle (`MAX_HANDLE_SZ`).
pub(crate) const FID_MAX: usize = 128;

/// The longest stored handle.
pub(crate) const SIZE_MAX: usize = HEADER + FID_MAX;

/// The longest name in the index.
pub(crate) const NAME_MAX: usize = 2 * SIZE_MAX;

/// What the overlay puts before a stored handle to align the inner one (`OVL_FH_WIRE_OFFSET`).
const PADDING: usize = 3;

/// The longest handle that the overlay gives out.
pub(crate) const WIRE_MAX: usize = PADDING + SIZE_MAX;

/// The type of handles that the overlay gives out (`OVL_FILEID_V1`).
pub(crate) const WIRE_TYPE: u8 = 0xf8;

/// The type of handles that old kernels gave out, without padding (`OVL_FILEID_V0`).
const WIRE_TYPE_UNALIGNED: u8 = 0xfb;

const VERSION: u8 = 0;
const MAGIC: u8 = 0xfb;

const BIG_ENDIAN: u8 = 1 << 0;
const ANY_ENDIAN: u8 = 1 << 1;
const PATH_UPPER: u8 = 1 << 2;
const KNOWN_FLAGS: u8 = BIG_ENDIAN | ANY_ENDIAN | PATH_UPPER;

/// The byte order of inner handles of this machine.
const CPU_ENDIAN: u8 = if cfg!(target_endian = "big") {
    BIG_ENDIAN
} else {
    0
};

/// The layer that a handle points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The upper layer.
    Upper,
    /// One of the lower layers.
    Lower,
}

/// A handle of an inode on a layer, with the filesystem that it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle<'a> {
    /// The layer it points into.
    pub(crate) side: Side,
    /// The uuid of the filesystem, all zero with the option `uuid=off`.
    pub(crate) uuid: [u8; 16],
    /// The type of the inner handle (`FILEID_*`).
    pub(crate) kind: u8,
    /// The inner handle.
    pub(crate) fid: &'a [u8],
}

/// Why a handle cannot be made use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is of another version or byte order. The origin counts as unknown (ENODATA).
    Unknown,
    /// It is no handle, which deserves a warning (EINVAL).
    Invalid,
}

impl<'a> Handle<'a> {
    /// Parses a stored handle. It may be shorter than the bytes, but not longer.
    pub(crate) fn parse(stored: &'a [u8]) -> Result<Self, Unusable> {
        let (header, _) = stored
            .split_first_chunk::<HEADER>()
            .ok_or(Unusable::Invalid)?;
        let [version, magic, len, flags, kind, uuid @ ..] = *header;
        let handle = stored.get(..usize::from(len)).ok_or(Unusable::Invalid)?;

        if magic != MAGIC {
            return Err(Unusable::Invalid);
        }
        if version > VERSION || flags & !KNOWN_FLAGS != 0 {
            return Err(Unusable::Unknown);
        }
        if flags & ANY_ENDIAN == 0 && flags & BIG_ENDIAN != CPU_ENDIAN {
            return Err(Unusable::Unknown);
        }

        Ok(Self {
            side: if flags & PATH_UPPER != 0 {
                Side::Upper
            } else {
                Side::Lower
            },
            uuid,
            kind,
            fid: handle.get(HEADER..).ok_or(Unusable::Invalid)?,
        })
    }

    /// Returns the part of `stored`, a handle that [`Handle::parse`] accepts, that counts when two
    /// are compared.
    pub(crate) fn significant(stored: &[u8]) -> Option<&[u8]> {
        let len = *stored.get(2)?;
        stored.get(..usize::from(len))
    }

    /// Writes the handle as it is stored, or returns `None` if the inner one is too long.
    pub(crate) fn encode<'b>(&self, out: &'b mut [u8; SIZE_MAX]) -> Option<&'b [u8]> {
        let len = HEADER.checked_add(self.fid.len())?;
        let side = match self.side {
            Side::Upper => PATH_UPPER,
            Side::Lower => 0,
        };
        let flags = CPU_ENDIAN | side;
        let header = [VERSION, MAGIC, u8::try_from(len).ok()?, flags, self.kind];

        let place = out.get_mut(..len)?;
        let bytes = header.iter().chain(&self.uuid).chain(self.fid);
        for (to, from) in place.iter_mut().zip(bytes) {
            *to = *from;
        }
        Some(place)
    }
}

/// Writes the name that a stored handle has in the index: its bytes as lower-case hexadecimal
/// digits.
pub(crate) fn index_name<'a>(stored: &[u8], out: &'a mut [u8; NAME_MAX]) -> Option<&'a [u8]> {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";

    let place = out.get_mut(..stored.len().checked_mul(2)?)?;
    for (to, byte) in place.chunks_exact_mut(2).zip(stored) {
        if let [high, low] = to {
            *high = *DIGITS.get(usize::from(byte >> 4))?;
            *low = *DIGITS.get(usize::from(byte & 15))?;
        }
    }
    Some(place)
}

/// Writes the stored handle that an entry of the index is named after. Whether it is one, is for
/// [`Handle::parse`] to say.
pub(crate) fn from_index_name<'a>(
    name: &[u8],
    out: &'a mut [u8; SIZE_MAX],
) -> Result<&'a [u8], Unusable> {
    // An odd digit at the end is not looked at, nor is it by C.
    let len = name.len() / 2;
    if len < HEADER {
        return Err(Unusable::Invalid);
    }

    let place = out.get_mut(..len).ok_or(Unusable::Invalid)?;
    for (byte, digits) in place.iter_mut().zip(name.chunks_exact(2)) {
        let [high, low] = digits else {
            return Err(Unusable::Invalid);
        };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(place)
}

fn digit(digit: u8) -> Result<u8, Unusable> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
        .ok_or(Unusable::Invalid)
}

/// Writes the handle that the overlay gives out for a stored one, whose type is [`WIRE_TYPE`].
pub(crate) fn to_wire<'a>(stored: &[u8], out: &'a mut [u8; WIRE_MAX]) -> Option<&'a [u8]> {
    let len = PADDING.checked_add(stored.len())?;
    let place = out.get_mut(..len)?;

    for (to, from) in place.iter_mut().zip([0; PADDING].iter().chain(stored)) {
        *to = *from;
    }
    Some(place)
}

/// Returns the stored handle in one that the overlay has given out, in the present or the former
/// form.
pub(crate) fn from_wire(kind: u8, wire: &[u8]) -> Result<&[u8], Unusable> {
    let stored = match kind {
        WIRE_TYPE => wire.get(PADDING..),
        // Handles are a multiple of four bytes long. What does not fit a padded one of that length
        // was never looked at.
        WIRE_TYPE_UNALIGNED => wire
            .len()
            .checked_sub(PADDING)
            .and_then(|len| wire.get(..len)),
        _ => None,
    };

    stored.ok_or(Unusable::Invalid)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const EXAMPLE: Handle<'static> = Handle {
        side: Side::Lower,
        uuid: *b"0123456789abcdef",
        kind: 1,
        fid: &[1, 2, 3, 4, 5, 6, 7, 8],
    };

    fn stored(handle: &Handle<'_>) -> Vec<u8> {
        handle.encode(&mut [0; SIZE_MAX]).unwrap().to_vec()
    }

    fn changed(at: usize, value: u8) -> Result<(), Unusable> {
        let mut bytes = stored(&EXAMPLE);
        bytes[at] = value;
        Handle::parse(&bytes).map(|_| ())
    }

    #[test]
    fn the_header_is_that_of_overlayfs() {
        let bytes = stored(&EXAMPLE);

        assert_eq!(bytes[..5], [0, 0xfb, 29, CPU_ENDIAN, 1]);
        assert_eq!(&bytes[5..21], b"0123456789abcdef");
        assert_eq!(bytes[21..], [1, 2, 3, 4, 5, 6, 7, 8]);
        let upper = stored(&Handle {
            side: Side::Upper,
            ..EXAMPLE
        });
        assert_eq!(upper[3], CPU_ENDIAN | 4);
    }

    #[test]
    fn handles_of_the_future_are_unknown() {
        assert_eq!(changed(0, 1), Err(Unusable::Unknown));
        assert_eq!(changed(3, 8), Err(Unusable::Unknown));
        assert_eq!(changed(3, CPU_ENDIAN ^ BIG_ENDIAN), Err(Unusable::Unknown));
        assert_eq!(changed(3, CPU_ENDIAN ^ BIG_ENDIAN | ANY_ENDIAN), Ok(()));
    }

    #[test]
    fn what_is_no_handle_is_invalid() {
        assert_eq!(changed(1, 0xfa), Err(Unusable::Invalid));
        assert_eq!(changed(2, 30), Err(Unusable::Invalid));
        assert_eq!(changed(2, 20), Err(Unusable::Invalid));
        assert_eq!(changed(2, 21), Ok(()));
        for len in 0..HEADER {
            let bytes = &stored(&EXAMPLE)[..len];
            assert_eq!(Handle::parse(bytes), Err(Unusable::Invalid));
        }
    }

    #[test]
    fn bytes_after_a_handle_do_not_count() {
        let mut bytes = stored(&EXAMPLE);
        bytes.extend([9, 9]);

        assert_eq!(Handle::parse(&bytes), Ok(EXAMPLE));
        assert_eq!(Handle::significant(&bytes), Some(&stored(&EXAMPLE)[..]));
    }

    #[test]
    fn names_in_the_index_are_hexadecimal() {
        let mut name = [0; NAME_MAX];
        let mut back = [0; SIZE_MAX];
        let bytes = stored(&EXAMPLE);
        let name = index_name(&bytes, &mut name).unwrap();

        assert!(name.starts_with(b"00fb1d"));
        assert_eq!(from_index_name(name, &mut back), Ok(&bytes[..]));
        assert!(from_index_name(&name.to_ascii_uppercase(), &mut back).is_ok());
        assert!(from_index_name(&name[..41], &mut back).is_err());
        assert!(from_index_name(&vec![b'0'; NAME_MAX + 2], &mut back).is_err());
        assert!(from_index_name(&[b"0g", name].concat(), &mut back).is_err());
    }

    #[test]
    fn both_forms_of_wire_handles_are_read() {
        let mut wire = [0xff; WIRE_MAX];
        let bytes = stored(&EXAMPLE);
        let aligned = to_wire(&bytes, &mut wire).unwrap();
        let unaligned = [&bytes[..], &[0; 3]].concat();

        assert_eq!(aligned.len() % 4, 0);
        assert_eq!(from_wire(WIRE_TYPE, aligned), Ok(&bytes[..]));
        assert_eq!(from_wire(WIRE_TYPE_UNALIGNED, &unaligned), Ok(&bytes[..]));
        assert_eq!(from_wire(1, aligned), Err(Unusable::Invalid));
        assert_eq!(from_wire(WIRE_TYPE, &[0; 2]), Err(Unusable::Invalid));
        assert_eq!(
            from_wire(WIRE_TYPE_UNALIGNED, &[0; 2]),
            Err(Unusable::Invalid)
        );
    }

    #[test]
    fn an_inner_handle_that_is_too_long_is_not_written() {
        let handle = Handle {
            fid: &[0; FID_MAX + 1],
            ..EXAMPLE
        };

        assert_eq!(handle.encode(&mut [0; SIZE_MAX]), None);
    }

    /// `ovl_check_fb_len()`, for handles that are at least as long as their own header.
    fn reference(bytes: &[u8]) -> Result<(), Unusable> {
        if bytes.len() < 21 || bytes.len() < usize::from(bytes[2]) || bytes[1] != 0xfb {
            return Err(Unusable::Invalid);
        }
        let swapped = bytes[3] & 2 == 0 && bytes[3] & 1 != CPU_ENDIAN;
        if bytes[0] > 0 || bytes[3] & !7 != 0 || swapped {
            return Err(Unusable::Unknown);
        }
        if bytes[2] < 21 {
            return Err(Unusable::Invalid);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn handles_come_back(
            upper: bool,
            uuid: [u8; 16],
            kind: u8,
            fid in prop::collection::vec(any::<u8>(), 0..=FID_MAX),
        ) {
            let side = if upper { Side::Upper } else { Side::Lower };
            let handle = Handle { side, uuid, kind, fid: &fid };
            let bytes = stored(&handle);
            prop_assert_eq!(Handle::parse(&bytes), Ok(handle));

            let (mut name, mut back) = ([0; NAME_MAX], [0; SIZE_MAX]);
            let name = index_name(&bytes, &mut name).unwrap();
            prop_assert_eq!(from_index_name(name, &mut back), Ok(&bytes[..]));
            let mut wire = [0; WIRE_MAX];
            let wire = to_wire(&bytes, &mut wire).unwrap();
            prop_assert_eq!(from_wire(WIRE_TYPE, wire), Ok(&bytes[..]));
        }

        #[test]
        fn accepts_what_the_c_code_accepts(
            header: [u8; 4],
            rest in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let [version, magic, len, flags] = header;
            let magic = if magic < 200 { 0xfb } else { magic };
            let header = [version % 2, magic, len % 80, flags % 12];
            let bytes = [&header[..], &rest].concat();

            prop_assert_eq!(Handle::parse(&bytes).map(|_| ()), reference(&bytes));
        }

        #[test]
        fn any_bytes_are_safe(bytes: Vec<u8>, kind in 0xf0u8..) {
            let _ = Handle::parse(&bytes);
            let _ = Handle::significant(&bytes);
            let _ = from_wire(kind, &bytes);
            let _ = from_index_name(&bytes, &mut [0; SIZE_MAX]);
        }
    }
}
