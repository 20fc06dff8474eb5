// SPDX-License-Identifier: GPL-2.0-only

//! What an object on a layer is: its type, whether it is a whiteout, what its `opaque` attribute
//! says (1.9, X1, X10).
//!
//! Reading the attributes is left to the caller. The C code is `ovl_is_whiteout()`,
//! `ovl_path_check_xwhiteout_xattr()` and `ovl_get_dir_xattr_val()` in `fs/overlayfs/util.c`, and
//! `ovl_lookup_single()` in `fs/overlayfs/namei.c`.

#![forbid(unsafe_code)]

/// `DT_UNKNOWN`: the layer's filesystem does not tell the type in its listings.
pub(crate) const DT_UNKNOWN: u8 = 0;

/// `S_IFMT`.
const TYPE_MASK: u32 = 0o170000;

/// The type of an object, with the number that both `S_IFMT` and the listings of directories use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    /// A named pipe.
    Fifo = 1,
    /// A character device, which a whiteout is too.
    CharDevice = 2,
    /// A directory.
    Directory = 4,
    /// A block device.
    BlockDevice = 6,
    /// A regular file.
    Regular = 8,
    /// A symbolic link.
    Symlink = 10,
    /// A socket.
    Socket = 12,
}

impl FileType {
    /// Returns the type in the mode of an inode, if it is one that Linux knows.
    pub(crate) const fn from_mode(mode: u32) -> Option<Self> {
        Some(match (mode & TYPE_MASK) >> 12 {
            1 => Self::Fifo,
            2 => Self::CharDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::Regular,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }

    /// Returns the type in an entry of a listing, or `None` for [`DT_UNKNOWN`] and anything else.
    pub(crate) const fn from_d_type(d_type: u8) -> Option<Self> {
        match d_type {
            // The numbers are those of the mode, but for DT_WHT, which Linux never made use of.
            // CAST: a widening; u32::from is not const.
            0..=15 => Self::from_mode((d_type as u32) << 12),
            _ => None,
        }
    }

    /// Returns the number for an entry of a listing (`DT_*`).
    pub(crate) const fn d_type(self) -> u8 {
        self as u8 // CAST: the discriminants are the numbers.
    }

    /// Returns the bits of a mode (`S_IF*`).
    pub(crate) const fn mode(self) -> u32 {
        (self as u32) << 12 // CAST: the discriminants are the numbers.
    }
}

/// What a look at the attributes of an object tells about it being a whiteout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whiteout {
    /// It hides the name.
    Yes,
    /// It is an object like any other.
    No,
    /// An empty regular file: it hides the name if it has the `whiteout` attribute, whatever its
    /// value (X10).
    IfXattr,
}

/// Judges an object by its mode, its device number and its size.
pub(crate) const fn whiteout(mode: u32, rdev: u32, size: u64) -> Whiteout {
    match FileType::from_mode(mode) {
        Some(FileType::CharDevice) if rdev == 0 => Whiteout::Yes,
        Some(FileType::Regular) if size == 0 => Whiteout::IfXattr,
        _ => Whiteout::No,
    }
}

/// What the `opaque` attribute of a directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opaque {
    /// The directory is merged with those below; an unknown value means the same as none.
    No,
    /// Directories below are not merged.
    Yes,
    /// The directory may hold whiteouts of the attribute form. Only a lower directory that has
    /// another one below can say so, and only where it is the object looked for, not on the path to
    /// it.
    XWhiteouts,
}

impl Opaque {
    /// Parses the value of the attribute, which has exactly one byte.
    pub(crate) const fn parse(value: &[u8]) -> Self {
        match value {
            b"y" => Self::Yes,
            b"x" => Self::XWhiteouts,
            _ => Self::No,
        }
    }

    /// Returns what is written to disk, if anything is.
    pub(crate) const fn value(self) -> Option<&'static [u8]> {
        match self {
            Self::No => None,
            Self::Yes => Some(b"y"),
            Self::XWhiteouts => Some(b"x"),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;

    const TYPES: [(u32, u8, FileType); 7] = [
        (0o010000, 1, FileType::Fifo),
        (0o020000, 2, FileType::CharDevice),
        (0o040000, 4, FileType::Directory),
        (0o060000, 6, FileType::BlockDevice),
        (0o100000, 8, FileType::Regular),
        (0o120000, 10, FileType::Symlink),
        (0o140000, 12, FileType::Socket),
    ];

    #[test]
    fn types_have_the_numbers_of_linux() {
        for (mode, d_type, kind) in TYPES {
            assert_eq!(FileType::from_mode(mode | 0o7777), Some(kind));
            assert_eq!(FileType::from_d_type(d_type), Some(kind));
            assert_eq!((kind.mode(), kind.d_type()), (mode, d_type));
        }
        assert_eq!(FileType::from_d_type(DT_UNKNOWN), None);
        assert_eq!(FileType::from_d_type(14), None);
        assert_eq!(FileType::from_mode(0o644), None);
    }

    #[test]
    fn only_device_zero_is_a_whiteout() {
        assert_eq!(whiteout(0o020000, 0, 0), Whiteout::Yes);
        assert_eq!(whiteout(0o020666, 0, 0), Whiteout::Yes);
        assert_eq!(whiteout(0o020000, 1, 0), Whiteout::No);
        assert_eq!(whiteout(0o060000, 0, 0), Whiteout::No);
        assert_eq!(whiteout(0o040755, 0, 0), Whiteout::No);
        assert_eq!(whiteout(0o100644, 0, 0), Whiteout::IfXattr);
        assert_eq!(whiteout(0o100644, 0, 1), Whiteout::No);
        assert_eq!(whiteout(0o120777, 0, 0), Whiteout::No);
    }

    #[test]
    fn opaque_has_one_known_byte() {
        assert_eq!(Opaque::parse(b"y"), Opaque::Yes);
        assert_eq!(Opaque::parse(b"x"), Opaque::XWhiteouts);
        for other in [&b""[..], b"n", b"0", b"Y", b"yy", b"xy", b"y\0"] {
            assert_eq!(Opaque::parse(other), Opaque::No);
        }
        for opaque in [Opaque::Yes, Opaque::XWhiteouts] {
            assert_eq!(opaque.value().map(Opaque::parse), Some(opaque));
        }
        assert_eq!(Opaque::No.value(), None);
    }

    proptest! {
        #[test]
        fn types_survive_the_round_trip(mode in any::<u32>(), d_type in any::<u8>()) {
            if let Some(kind) = FileType::from_mode(mode) {
                prop_assert_eq!(FileType::from_d_type(kind.d_type()), Some(kind));
                prop_assert_eq!(kind.mode(), mode & 0o170000);
            }
            if let Some(kind) = FileType::from_d_type(d_type) {
                prop_assert_eq!(kind.d_type(), d_type);
            }
        }
    }
}
