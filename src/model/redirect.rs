// SPDX-License-Identifier: GPL-2.0-only

//! Redirects: where the lower part of a renamed directory or metacopy file is found (X2).
//!
//! Follows `ovl_get_redirect_xattr()` in `fs/overlayfs/util.c`, `ovl_check_redirect()` and
//! `ovl_lookup_layer()` in `fs/overlayfs/namei.c`, and `ovl_get_redirect()` in
//! `fs/overlayfs/dir.c`.

#![forbid(unsafe_code)]

/// The value of a `redirect` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirect<'a> {
    /// Another name in the same directory.
    Name(&'a [u8]),
    /// A path from the root of the overlay, which starts with a slash and has no empty component.
    Path(&'a [u8]),
}

/// A value that is neither (EINVAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Redirect<'a> {
    /// Parses a value as stored. A NUL ends it, since C takes it for a string. One at the start leaves a
    /// name that is empty, which no lookup will find.
    pub(crate) fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let text = value.split(|&byte| byte == 0).next().ok_or(Malformed)?;

        match text {
            [] if value.is_empty() => Err(Malformed),
            [b'/', path @ ..] => {
                if path.split(|&byte| byte == b'/').any(<[u8]>::is_empty) {
                    return Err(Malformed);
                }
                Ok(Self::Path(text))
            }
            _ if text.contains(&b'/') => Err(Malformed),
            _ => Ok(Self::Name(text)),
        }
    }

    /// Returns the value as stored.
    pub(crate) const fn text(self) -> &'a [u8] {
        match self {
            Self::Name(text) | Self::Path(text) => text,
        }
    }

    /// Writes to `out` where to go on in lower layers, or returns `None` if it is too short.
    ///
    /// The redirect was found on the object at `place` in the path that was looked for so far. That
    /// object's name is replaced, and all before it too if the redirect is a path.
    pub(crate) fn apply<'b>(self, place: &Component<'_>, out: &'b mut [u8]) -> Option<&'b [u8]> {
        let before = match self {
            Self::Name(_) => place.before,
            Self::Path(_) => &[],
        };
        let mut len: usize = 0;

        for part in [before, self.text(), place.after] {
            let end = len.checked_add(part.len())?;
            for (to, from) in out.get_mut(len..end)?.iter_mut().zip(part) {
                *to = *from;
            }
            len = end;
        }
        out.get(..len)
    }
}

/// A component of a path, and what is around it. The three joined are the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Component<'a> {
    /// Up to the name, the slash included.
    pub(crate) before: &'a [u8],
    /// The name, without slashes.
    pub(crate) name: &'a [u8],
    /// From the slash on; empty if this is the last component.
    pub(crate) after: &'a [u8],
}

/// A walk over the components of a path that may be replaced by another one on the way, as long as
/// the end of it stays.
///
/// That is what happens when a directory on the way has a redirect: the layers below are searched
/// with a new path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// How much of the path is still to be walked, counted from its end.
    left: usize,
}

impl Walk {
    /// Starts at the first component. A path without slash at its start is one component.
    pub(crate) const fn new(path: &[u8]) -> Self {
        Self { left: path.len() }
    }

    /// Takes a step in a path that ends as the one did with which the walk was started.
    pub(crate) fn step<'a>(&mut self, path: &'a [u8]) -> Option<Component<'a>> {
        let start = path.len().checked_sub(self.left)?;
        let (name_at, name_end) = match path.get(start..)? {
            [] => return None,
            [b'/', rest @ ..] => {
                let len = rest.iter().position(|&byte| byte == b'/');
                let name_at = start.checked_add(1)?;
                (name_at, name_at.checked_add(len.unwrap_or(rest.len()))?)
            }
            rest => (start, start.checked_add(rest.len())?),
        };

        let component = Component {
            before: path.get(..name_at)?,
            name: path.get(name_at..name_end)?,
            after: path.get(name_end..)?,
        };
        self.left = component.after.len();
        Some(component)
    }
}

/// A path being put together from its end, for the redirect of an object that moves to another
/// directory.
pub(crate) struct Builder<'a> {
    buffer: &'a mut [u8],
    start: usize,
}

/// Whether a path is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The parent's name, or its redirect, comes next, unless the parent is the root.
    Parent,
    /// A redirect that is a path has been put in front.
    Complete,
}

/// The path is longer than redirects may be: rename has to fail with EXDEV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl<'a> Builder<'a> {
    /// Starts with an empty path. The buffer is as long as a redirect may be (`redirect_max`).
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        let start = buffer.len();
        Self { buffer, start }
    }

    /// Puts the name of an object, or its redirect if it has one, in front.
    pub(crate) fn prepend(&mut self, name: &[u8]) -> Result<Progress, TooLong> {
        let complete = name.first() == Some(&b'/');

        self.put(name)?;
        if complete {
            return Ok(Progress::Complete);
        }
        self.put(b"/")?;
        Ok(Progress::Parent)
    }

    fn put(&mut self, part: &[u8]) -> Result<(), TooLong> {
        let start = self.start.checked_sub(part.len()).ok_or(TooLong)?;
        let place = self.buffer.get_mut(start..self.start).ok_or(TooLong)?;

        for (to, from) in place.iter_mut().zip(part) {
            *to = *from;
        }
        self.start = start;
        Ok(())
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn component<'a>(before: &'a str, name: &'a str, after: &'a str) -> Component<'a> {
        Component {
            before: before.as_bytes(),
            name: name.as_bytes(),
            after: after.as_bytes(),
        }
    }

    fn names(path: &[u8]) -> Vec<&[u8]> {
        let mut walk = Walk::new(path);
        let mut names = vec![];

        while let Some(step) = walk.step(path) {
            assert_eq!([step.before, step.name, step.after].concat(), path);
            names.push(step.name);
        }
        names
    }

    #[test]
    fn values_are_names_or_paths() {
        assert_eq!(Redirect::parse(b"a"), Ok(Redirect::Name(b"a")));
        assert_eq!(Redirect::parse(b"/a"), Ok(Redirect::Path(b"/a")));
        assert_eq!(Redirect::parse(b"/a/b"), Ok(Redirect::Path(b"/a/b")));
        assert_eq!(Redirect::parse(b"a\0/"), Ok(Redirect::Name(b"a")));
        assert_eq!(Redirect::parse(b"\0a"), Ok(Redirect::Name(b"")));
        for malformed in [
            &b""[..],
            b"/",
            b"//",
            b"/a/",
            b"/a//b",
            b"//a",
            b"a/b",
            b"a/",
            b"/\0a",
        ] {
            assert_eq!(Redirect::parse(malformed), Err(Malformed), "{malformed:?}");
        }
    }

    #[test]
    fn walks_go_over_components() {
        assert_eq!(names(b"/a/bc/d"), [&b"a"[..], b"bc", b"d"]);
        assert_eq!(names(b"/a"), [b"a"]);
        assert_eq!(names(b"a"), [b"a"]);
        assert!(names(b"").is_empty());
    }

    #[test]
    fn redirects_on_the_way_change_the_path() {
        let mut walk = Walk::new(b"/a/b/c");
        let mut first = [0; 32];
        let mut second = [0; 32];

        assert_eq!(walk.step(b"/a/b/c"), Some(component("/", "a", "/b/c")));
        let step = walk.step(b"/a/b/c").unwrap();
        assert_eq!(step, component("/a/", "b", "/c"));
        let path = Redirect::Name(b"longer").apply(&step, &mut first).unwrap();
        assert_eq!(path, b"/a/longer/c");

        let step = walk.step(path).unwrap();
        assert_eq!(step, component("/a/longer/", "c", ""));
        let path = Redirect::Path(b"/x").apply(&step, &mut second).unwrap();
        assert_eq!(path, b"/x");
        assert_eq!(walk.step(path), None);
    }

    #[test]
    fn a_short_buffer_is_no_panic() {
        let place = component("", "a", "");

        assert_eq!(Redirect::Name(b"bc").apply(&place, &mut [0; 1]), None);
        assert!(Redirect::Name(b"bc").apply(&place, &mut [0; 2]).is_some());
    }

    #[test]
    fn paths_are_built_from_the_end() {
        let mut buffer = [0; 16];
        let mut builder = Builder::new(&mut buffer);

        assert_eq!(builder.prepend(b"c"), Ok(Progress::Parent));
        assert_eq!(builder.prepend(b"b"), Ok(Progress::Parent));
        assert_eq!(builder.path(), b"/b/c");
        assert_eq!(builder.prepend(b"/x/y"), Ok(Progress::Complete));
        assert_eq!(builder.path(), b"/x/y/b/c");
    }

    #[test]
    fn paths_may_be_as_long_as_the_buffer() {
        let mut buffer = [0; 5];
        let mut builder = Builder::new(&mut buffer);

        assert_eq!(builder.prepend(b"abcd"), Ok(Progress::Parent));
        assert_eq!(builder.path(), b"/abcd");
        assert_eq!(builder.prepend(b"e"), Err(TooLong));

        let mut buffer = [0; 5];
        assert_eq!(Builder::new(&mut buffer).prepend(b"abcde"), Err(TooLong));
    }

    /// `ovl_get_redirect_xattr()` over a string that ends with a NUL.
    fn reference(value: &[u8]) -> bool {
        if value.is_empty() {
            return false;
        }
        let mut text = value.to_vec();
        text.push(0);
        let end = text.iter().position(|&b| b == 0).unwrap();

        if text[0] != b'/' {
            return !text[..end].contains(&b'/');
        }
        let mut s = 0;
        while text[s] == b'/' {
            s += 1;
            let next = s + text[s..].iter().position(|&b| b == b'/' || b == 0).unwrap();
            if s == next {
                return false;
            }
            s = next;
        }
        true
    }

    proptest! {
        #[test]
        fn accepts_what_the_c_code_accepts(
            value in prop::collection::vec(prop::sample::select(&b"//ab\0."[..]), 0..12),
        ) {
            prop_assert_eq!(Redirect::parse(&value).is_ok(), reference(&value));
        }

        #[test]
        fn walks_and_builders_agree(parts in prop::collection::vec("[a-z]{1,5}", 1..6)) {
            let mut buffer = [0; 64];
            let mut builder = Builder::new(&mut buffer);
            for part in parts.iter().rev() {
                prop_assert_eq!(builder.prepend(part.as_bytes()), Ok(Progress::Parent));
            }

            let path = builder.path();
            prop_assert_eq!(Redirect::parse(path), Ok(Redirect::Path(path)));
            let expected: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            prop_assert_eq!(names(path), expected);
        }

        #[test]
        fn any_path_is_safe(path: Vec<u8>, other: Vec<u8>) {
            let mut walk = Walk::new(&path);
            for _ in 0..=path.len() {
                let _ = walk.step(&other);
            }
        }
    }
}
