// SPDX-License-Identifier: GPL-2.0-only

//! Names of the extended attributes that overlays keep on their layers, and the escapes that let
//! one overlay's attributes live on another overlay (X1 to X11).
//!
//! Follows `ovl_xattr_table` in `fs/overlayfs/util.c` and `fs/overlayfs/xattrs.c`.

#![forbid(unsafe_code)]

use core::ffi::CStr;

/// `XATTR_NAME_MAX`.
pub(crate) const NAME_MAX: usize = 255;

/// What stands before the rest of a name to escape it.
const ESCAPE: &[u8] = b"overlay.";

/// Where an overlay keeps its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// In `trusted.overlay.`, for root alone.
    Trusted,
    /// In `user.overlay.`, with the option `userxattr`.
    User,
}

/// An attribute with a meaning to overlays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Xattr {
    /// Lower directories of the same name are hidden (X1).
    Opaque,
    /// The lower part is found elsewhere (X2).
    Redirect,
    /// What the object was copied up from (X3).
    Origin,
    /// The directory has children that were copied up (X4).
    Impure,
    /// The link count over all layers (X5).
    Nlink,
    /// The upper directory of an index entry (X6).
    Upper,
    /// The identity of the overlay (X7).
    Uuid,
    /// The data is in a lower layer (X8).
    Metacopy,
    /// Flags that the file itself must not have (X9).
    Protattr,
    /// The empty file is a whiteout (X10).
    Whiteout,
}

/// How a name on a layer looks through an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View<'a> {
    /// Not at all: it is the overlay's own.
    Private,
    /// As the two parts joined: an escape has been taken out between them.
    Escaped(&'a [u8], &'a [u8]),
    /// As it is.
    Plain,
}

/// A name with its escape would be longer than names may be (EOPNOTSUPP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// A list of names does not end with a NUL (EIO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Xattr {
    /// Returns the full name.
    pub(crate) const fn name(self, namespace: Namespace) -> &'static CStr {
        let (trusted, user) = match self {
            Self::Opaque => (c"trusted.overlay.opaque", c"user.overlay.opaque"),
            Self::Redirect => (c"trusted.overlay.redirect", c"user.overlay.redirect"),
            Self::Origin => (c"trusted.overlay.origin", c"user.overlay.origin"),
            Self::Impure => (c"trusted.overlay.impure", c"user.overlay.impure"),
            Self::Nlink => (c"trusted.overlay.nlink", c"user.overlay.nlink"),
            Self::Upper => (c"trusted.overlay.upper", c"user.overlay.upper"),
            Self::Uuid => (c"trusted.overlay.uuid", c"user.overlay.uuid"),
            Self::Metacopy => (c"trusted.overlay.metacopy", c"user.overlay.metacopy"),
            Self::Protattr => (c"trusted.overlay.protattr", c"user.overlay.protattr"),
            Self::Whiteout => (c"trusted.overlay.whiteout", c"user.overlay.whiteout"),
        };

        match namespace {
            Namespace::Trusted => trusted,
            Namespace::User => user,
        }
    }
}

impl Namespace {
    /// Returns what the overlay's own names start with.
    pub(crate) const fn prefix(self) -> &'static CStr {
        match self {
            Self::Trusted => c"trusted.overlay.",
            Self::User => c"user.overlay.",
        }
    }

    /// Tells how a name on a layer looks through the overlay.
    pub(crate) fn view(self, name: &[u8]) -> View<'_> {
        let prefix = self.prefix().to_bytes();

        match name.strip_prefix(prefix) {
            None => View::Plain,
            Some(rest) => match rest.strip_prefix(ESCAPE) {
                None => View::Private,
                Some(rest) => View::Escaped(name.get(..prefix.len()).unwrap_or(&[]), rest),
            },
        }
    }

    /// Whether a name on a layer is the overlay's own: not to be seen, and not to be copied up.
    pub(crate) fn is_private(self, name: &[u8]) -> bool {
        self.view(name) == View::Private
    }

    /// Returns the name on the layer of an attribute that is named `prefix` + `rest` through the
    /// overlay.
    pub(crate) fn escape<'a>(
        self,
        rest: &CStr,
        out: &'a mut [u8; NAME_MAX + 1],
    ) -> Result<&'a CStr, TooLong> {
        let mut len: usize = 0;

        for part in [self.prefix().to_bytes(), ESCAPE, rest.to_bytes_with_nul()] {
            let end = len.checked_add(part.len()).ok_or(TooLong)?;
            let place = out.get_mut(len..end).ok_or(TooLong)?;
            for (to, from) in place.iter_mut().zip(part) {
                *to = *from;
            }
            len = end;
        }
        CStr::from_bytes_until_nul(out).map_err(|_| TooLong)
    }

    /// Turns a layer's list of names, each with its NUL, into that of the overlay, in place.
    /// Returns the new length.
    ///
    /// `trusted` is asked whether the caller may see `trusted.*` at all; it is asked for each such
    /// name.
    pub(crate) fn filter(
        self,
        list: &mut [u8],
        mut trusted: impl FnMut() -> bool,
    ) -> Result<usize, Broken> {
        let mut read: usize = 0;
        let mut write: usize = 0;

        while read < list.len() {
            let tail = list.get(read..).ok_or(Broken)?;
            let len = tail.iter().position(|&byte| byte == 0).ok_or(Broken)?;
            let name = tail.get(..len).ok_or(Broken)?;
            let end = read.checked_add(len).ok_or(Broken)?;

            let mut hidden = || name.starts_with(b"trusted.") && !trusted();
            let kept = match self.view(name) {
                View::Private => None,
                _ if hidden() => None,
                View::Plain => Some((0, len)),
                View::Escaped(prefix, rest) => Some((prefix.len(), rest.len())),
            };
            if let Some((prefix, rest)) = kept {
                // The prefix is where it was in relation to the name, the rest is at its end.
                let rest = end.checked_sub(rest).ok_or(Broken)?;
                write = shift(list, read, prefix, write).ok_or(Broken)?;
                write =
                    shift(list, rest, end.checked_sub(rest).ok_or(Broken)?, write).ok_or(Broken)?;
                *list.get_mut(write).ok_or(Broken)? = 0;
                write = write.checked_add(1).ok_or(Broken)?;
            }
            read = end.checked_add(1).ok_or(Broken)?;
        }
        Ok(write)
    }
}

/// Moves `len` bytes towards the start of the list, and returns the end of where they are now.
fn shift(list: &mut [u8], from: usize, len: usize, to: usize) -> Option<usize> {
    let from_end = from.checked_add(len)?;
    let to_end = to.checked_add(len)?;

    for (from, to) in (from..from_end).zip(to..to_end) {
        let byte = *list.get(from)?;
        *list.get_mut(to)? = byte;
    }
    Some(to_end)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::ffi::CString;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    const ALL: [(Xattr, &str); 10] = [
        (Xattr::Opaque, "opaque"),
        (Xattr::Redirect, "redirect"),
        (Xattr::Origin, "origin"),
        (Xattr::Impure, "impure"),
        (Xattr::Nlink, "nlink"),
        (Xattr::Upper, "upper"),
        (Xattr::Uuid, "uuid"),
        (Xattr::Metacopy, "metacopy"),
        (Xattr::Protattr, "protattr"),
        (Xattr::Whiteout, "whiteout"),
    ];

    const BOTH: [Namespace; 2] = [Namespace::Trusted, Namespace::User];

    fn escaped(namespace: Namespace, rest: &str) -> Result<String, TooLong> {
        let mut out = [0xff; NAME_MAX + 1];
        let rest = CString::new(rest).unwrap();

        namespace
            .escape(&rest, &mut out)
            .map(|name| name.to_str().unwrap().into())
    }

    fn filtered(namespace: Namespace, trusted: bool, names: &[&str]) -> Vec<String> {
        let mut list: Vec<u8> = names
            .iter()
            .flat_map(|name| name.bytes().chain([0]))
            .collect();
        let len = namespace.filter(&mut list, || trusted).unwrap();

        let text = String::from_utf8(list[..len].to_vec()).unwrap();
        text.split_terminator('\0').map(String::from).collect()
    }

    #[test]
    fn names_are_those_of_overlayfs() {
        for (xattr, name) in ALL {
            for namespace in BOTH {
                let full = xattr.name(namespace).to_bytes();
                let prefix = namespace.prefix().to_bytes();

                assert_eq!(full, [prefix, name.as_bytes()].concat());
                assert!(namespace.is_private(full));
            }
        }
    }

    #[test]
    fn the_other_namespace_is_ordinary() {
        assert_eq!(Namespace::Trusted.view(b"user.overlay.opaque"), View::Plain);
        assert_eq!(Namespace::User.view(b"trusted.overlay.opaque"), View::Plain);
        assert_eq!(Namespace::User.view(b"user.overlay"), View::Plain);
        assert!(Namespace::User.is_private(b"user.overlay."));
    }

    #[test]
    fn each_level_adds_and_strips_one_escape() {
        let once = escaped(Namespace::Trusted, "opaque").unwrap();

        assert_eq!(once, "trusted.overlay.overlay.opaque");
        assert_eq!(
            Namespace::Trusted.view(once.as_bytes()),
            View::Escaped(b"trusted.overlay.", b"opaque")
        );
        assert_eq!(
            escaped(Namespace::User, "overlay.x").unwrap(),
            "user.overlay.overlay.overlay.x"
        );
    }

    #[test]
    fn names_that_grow_too_long_are_refused() {
        let fits = NAME_MAX - "trusted.overlay.overlay.".len();

        assert_eq!(
            escaped(Namespace::Trusted, &"x".repeat(fits))
                .unwrap()
                .len(),
            NAME_MAX
        );
        assert_eq!(
            escaped(Namespace::Trusted, &"x".repeat(fits + 1)),
            Err(TooLong)
        );
    }

    #[test]
    fn lists_are_filtered() {
        let names = [
            "user.a",
            "trusted.overlay.opaque",
            "trusted.overlay.overlay.opaque",
            "trusted.b",
            "user.overlay.redirect",
            "user.overlay.overlay.redirect",
            "security.c",
        ];

        assert_eq!(
            filtered(Namespace::Trusted, true, &names),
            [
                "user.a",
                "trusted.overlay.opaque",
                "trusted.b",
                "user.overlay.redirect",
                "user.overlay.overlay.redirect",
                "security.c"
            ]
        );
        assert_eq!(
            filtered(Namespace::User, false, &names),
            ["user.a", "user.overlay.redirect", "security.c"]
        );
    }

    #[test]
    fn broken_lists_are_refused() {
        let mut list = *b"user.a\0user.b";

        assert_eq!(Namespace::User.filter(&mut list, || true), Err(Broken));
        assert_eq!(Namespace::User.filter(&mut [], || true), Ok(0));
    }

    fn name() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec!["trusted.", "user.", "overlay.", "a", ""]);
        prop::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn lists_hold_what_each_name_looks_like(
            names in prop::collection::vec(name(), 0..12),
            trusted: bool,
            user: bool,
        ) {
            let namespace = BOTH[usize::from(user)];
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let expected: Vec<String> = names
                .iter()
                .filter(|name| trusted || !name.starts_with("trusted."))
                .filter_map(|name| match namespace.view(name.as_bytes()) {
                    View::Private => None,
                    View::Plain => Some((*name).into()),
                    View::Escaped(a, b) => Some(String::from_utf8([a, b].concat()).unwrap()),
                })
                .collect();

            prop_assert_eq!(filtered(namespace, trusted, &names), expected);
        }

        #[test]
        fn escapes_come_back(rest in "[a-z.]{0,40}", user: bool) {
            let namespace = BOTH[usize::from(user)];
            let name = escaped(namespace, &rest).unwrap();
            let prefix = namespace.prefix().to_bytes();

            prop_assert_eq!(
                namespace.view(name.as_bytes()),
                View::Escaped(prefix, rest.as_bytes())
            );
        }

        #[test]
        fn any_list_is_safe(mut list in prop::collection::vec(any::<u8>(), 0..64)) {
            let len = list.len();
            if let Ok(left) = Namespace::User.filter(&mut list, || true) {
                prop_assert!(left <= len);
            }
        }
    }
}
