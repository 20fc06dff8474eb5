// SPDX-License-Identifier: GPL-2.0-only

//! Inode numbers: those of several filesystems in the space of one (section 1.10).
//!
//! Follows `ovl_get_layers()` in `fs/overlayfs/super.c`, `ovl_map_dev_ino()` and `ovl_map_ino()` in
//! `fs/overlayfs/inode.c`, and `ovl_remap_lower_ino()` in `fs/overlayfs/readdir.c`.

#![forbid(unsafe_code)]

use super::options::Xino;

/// How the inode numbers of layers become those of the overlay (`xino_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// All layers are on one filesystem, whose numbers are unique.
    Same,
    /// Numbers of several filesystems, which may collide.
    None,
    /// The highest bits tell the filesystem.
    Bits(Bits),
}

/// How many of the highest bits are taken: 2 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bits(u8);

/// What is known of the layers of an overlay when all of them are there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layers {
    /// The number of fsids in use, those of data-only layers not counted. Number 0 is set aside for
    /// the upper layer's filesystem and counts even if there is no upper layer.
    pub(crate) count: u32,
    /// There is an upper layer.
    pub(crate) upper: bool,
    /// All of them encode file handles of 32-bit inode numbers.
    pub(crate) ino32: bool,
}

/// What stat(2) reports for an object on a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    /// This number, and the device of the overlay.
    Number(u64),
    /// The number that the overlay made up for it, and the device of the overlay.
    Own,
    /// The number it has on its layer, and the device that stands for the filesystem of the layer.
    Layer,
}

impl Mapping {
    /// Chooses the mapping for an overlay.
    pub(crate) fn new(xino: Xino, layers: &Layers) -> Self {
        let unused = if layers.upper { 0 } else { 1 };

        if layers.count.saturating_sub(unused) <= 1 {
            Self::Same
        } else if xino == Xino::Off {
            Self::None
        } else if layers.ino32 {
            Self::Bits(Bits(32))
        } else {
            // The bits of the largest fsid, and one more for numbers that the overlay makes up.
            let bits = layers.count.saturating_sub(1).checked_ilog2();
            let bits = bits.unwrap_or(0).saturating_add(2);
            Self::Bits(Bits(u8::try_from(bits).unwrap_or(32).min(32)))
        }
    }

    /// Whether all inodes have the device of the overlay, but for those whose numbers are too big.
    pub(crate) const fn same_device(self) -> bool {
        !matches!(self, Self::None)
    }

    /// Returns the overlay's number for an inode on the filesystem `fsid`, or `None` if the numbers
    /// of layers are not made unique, or if this one leaves no room for it.
    pub(crate) fn map(self, ino: u64, fsid: u32) -> Option<u64> {
        match self {
            Self::Same => Some(ino),
            Self::None => None,
            Self::Bits(bits) => bits.map(ino, fsid),
        }
    }

    /// Returns the number of an entry in a listing, which is the layer's own if it cannot be
    /// mapped.
    pub(crate) fn map_entry(self, ino: u64, fsid: u32) -> u64 {
        self.map(ino, fsid).unwrap_or(ino)
    }

    /// Tells what is reported for a directory.
    ///
    /// A directory has the overlay's device in any case, so that walks that stay on one device see
    /// all of them.
    pub(crate) fn directory(self, ino: u64, fsid: u32) -> Reported {
        self.map(ino, fsid).map_or(Reported::Own, Reported::Number)
    }

    /// Tells what is reported for anything else.
    pub(crate) fn file(self, ino: u64, fsid: u32) -> Reported {
        self.map(ino, fsid)
            .map_or(Reported::Layer, Reported::Number)
    }

    /// Makes a number for a directory that cannot be mapped, from a counter of the overlay.
    pub(crate) fn own(self, counter: u64) -> u64 {
        match self {
            Self::Same | Self::None => counter,
            Self::Bits(bits) => bits.own(counter),
        }
    }
}

impl Bits {
    /// Returns how many bits are taken.
    pub(crate) const fn count(self) -> u8 {
        self.0
    }

    fn shift(self) -> u32 {
        u32::from(64_u8.saturating_sub(self.0))
    }

    fn map(self, ino: u64, fsid: u32) -> Option<u64> {
        if ino.checked_shr(self.shift())? != 0 {
            return None;
        }
        let fsid = u64::from(fsid).checked_shl(self.shift().checked_add(1)?)?;
        Some(ino | fsid)
    }

    /// The lowest of the bits is set, which is not so in any number that was mapped.
    fn own(self, counter: u64) -> u64 {
        let bit = 1_u64.wrapping_shl(self.shift());

        (counter & bit.wrapping_sub(1)) | bit
    }
}

/// What decides whether an object that was copied up reports the number of its origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopiedUp {
    /// The index holds it, so that no other object has the same origin.
    pub(crate) indexed: bool,
    /// Origins count only if the index holds them (NFS export).
    pub(crate) verify_lower: bool,
    /// It is a directory.
    pub(crate) directory: bool,
    /// The link count of the origin.
    pub(crate) lower_nlink: u32,
}

impl CopiedUp {
    /// Whether the number of the origin is reported, so that it stays the same over copy-up.
    pub(crate) const fn reports_origin(&self) -> bool {
        self.indexed || (!self.verify_lower && (self.directory || self.lower_nlink == 1))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;

    fn mapping(xino: Xino, count: u32, upper: bool, ino32: bool) -> Mapping {
        Mapping::new(
            xino,
            &Layers {
                count,
                upper,
                ino32,
            },
        )
    }

    #[test]
    fn one_filesystem_needs_no_mapping() {
        assert_eq!(mapping(Xino::On, 1, true, false), Mapping::Same);
        assert_eq!(mapping(Xino::Off, 2, false, false), Mapping::Same);
        assert_eq!(mapping(Xino::Off, 2, true, true), Mapping::None);
        assert_eq!(mapping(Xino::Off, 3, false, true), Mapping::None);
        assert!(Mapping::Same.same_device() && !Mapping::None.same_device());
    }

    #[test]
    fn bits_are_those_of_overlayfs() {
        let bits = |count, ino32| match mapping(Xino::Auto, count, true, ino32) {
            Mapping::Bits(bits) => bits.count(),
            other => panic!("{other:?}"),
        };

        assert_eq!(bits(2, true), 32);
        assert_eq!(bits(2, false), 2);
        assert_eq!(bits(3, false), 3);
        assert_eq!(bits(4, false), 3);
        assert_eq!(bits(5, false), 4);
        assert_eq!(bits(501, false), 10);
    }

    #[test]
    fn numbers_carry_the_fsid_above_the_spare_bit() {
        let ext4 = mapping(Xino::On, 2, true, true);

        assert_eq!(ext4.map(5, 0), Some(5));
        assert_eq!(ext4.map(5, 1), Some(5 | 1 << 33));
        assert_eq!(ext4.map(1 << 32, 1), None);
        assert_eq!(ext4.map_entry(1 << 32, 1), 1 << 32);
        assert_eq!(ext4.file(1 << 32, 1), Reported::Layer);
        assert_eq!(ext4.directory(1 << 32, 1), Reported::Own);
        assert_eq!(ext4.directory(5, 1), Reported::Number(5 | 1 << 33));
        assert_eq!(ext4.own(7), 7 | 1 << 32);
        assert_eq!(Mapping::None.own(7), 7);
        assert_eq!(Mapping::None.file(5, 1), Reported::Layer);
        assert_eq!(Mapping::Same.file(5, 1), Reported::Number(5));
    }

    #[test]
    fn broken_hard_links_have_numbers_of_their_own() {
        let file = CopiedUp {
            indexed: false,
            verify_lower: false,
            directory: false,
            lower_nlink: 1,
        };

        assert!(file.reports_origin());
        for (copied_up, reports) in [
            (
                CopiedUp {
                    lower_nlink: 2,
                    ..file
                },
                false,
            ),
            (
                CopiedUp {
                    verify_lower: true,
                    ..file
                },
                false,
            ),
            (
                CopiedUp {
                    directory: true,
                    lower_nlink: 9,
                    ..file
                },
                true,
            ),
            (
                CopiedUp {
                    indexed: true,
                    verify_lower: true,
                    lower_nlink: 2,
                    ..file
                },
                true,
            ),
        ] {
            assert_eq!(copied_up.reports_origin(), reports);
        }
    }

    proptest! {
        #[test]
        fn numbers_stay_unique(
            count in 2u32..502,
            ino32: bool,
            a in (any::<u64>(), 0u32..502),
            b in (any::<u64>(), 0u32..502),
            narrow in 0u32..64,
        ) {
            let mapping = mapping(Xino::On, count, true, ino32);
            let (a, b) = ((a.0 >> narrow, a.1 % count), (b.0 >> narrow, b.1 % count));
            let (from_a, from_b) = (mapping.map(a.0, a.1), mapping.map(b.0, b.1));

            if from_a.is_some() && from_b.is_some() {
                prop_assert_eq!(a == b, from_a == from_b);
            }
            prop_assert_ne!(from_a, Some(mapping.own(b.0)));
        }

        /// `ovl_map_dev_ino()`.
        #[test]
        fn maps_like_the_c_code(
            count in 2u32..502,
            ino32: bool,
            ino: u64,
            fsid in 0u32..502,
            n in 0..64,
        ) {
            let mapping = mapping(Xino::On, count, true, ino32);
            let (ino, fsid) = (ino >> n, fsid % count);
            let xinobits = if ino32 { 32 } else { (count - 1).ilog2() + 2 };
            let xinoshift = 64 - xinobits;
            let expected =
                (ino >> xinoshift == 0).then(|| ino | u64::from(fsid) << (xinoshift + 1));

            prop_assert_eq!(mapping.map(ino, fsid), expected);
            prop_assert_eq!(mapping.own(ino), (ino & (u64::MAX >> xinobits)) | 1 << xinoshift);
        }
    }
}
