// SPDX-License-Identifier: GPL-2.0-only

//! Names of extended attributes and lists of them (X1 to X11).

extern crate std;

use crate::source::model::names::Broken;
use crate::source::model::names::Namespace;
use crate::source::model::names::View;
use crate::source::model::names::Xattr;
use crate::source::model::names::NAME_MAX;
use arbitrary::Result;
use arbitrary::Unstructured;
use std::ffi::CString;
use std::vec;
use std::vec::Vec;

/// What names with a meaning are made of.
const PARTS: [&[u8]; 10] = [
    b"trusted.",
    b"user.",
    b"overlay.",
    b"trusted.overlay.",
    b"user.overlay.",
    b"trusted.overlay.overlay.",
    b"user.overlay.overlay.",
    b"security.",
    b"opaque",
    b"a",
];

const XATTRS: [Xattr; 10] = [
    Xattr::Opaque,
    Xattr::Redirect,
    Xattr::Origin,
    Xattr::Impure,
    Xattr::Nlink,
    Xattr::Upper,
    Xattr::Uuid,
    Xattr::Metacopy,
    Xattr::Protattr,
    Xattr::Whiteout,
];

pub(super) fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let namespace = *input.choose(&[Namespace::Trusted, Namespace::User])?;
    let trusted = input.arbitrary()?;
    let mut names = vec![];

    for _ in 0..input.int_in_range(0..=12)? {
        names.push(name(input)?);
    }
    for name in &names {
        check_name(namespace, name);
    }
    check_list(namespace, trusted, &names);
    check_bytes(namespace, trusted, input.arbitrary()?);
    Ok(())
}

/// A name without a NUL, with or without a meaning.
fn name(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut name = vec![];

    for _ in 0..input.int_in_range(0..=3)? {
        name.extend(*input.choose(&PARTS)?);
    }
    if input.arbitrary()? {
        name.extend(input.arbitrary::<&[u8]>()?.iter().filter(|&&byte| byte > 0));
    }
    // Long names are rare otherwise.
    let padding = usize::from(input.arbitrary::<u8>()?);
    name.resize(name.len() + padding.saturating_sub(8), b'x');
    Ok(name)
}

/// How a name looks through the overlay, if at all.
fn seen(namespace: Namespace, name: &[u8]) -> Option<Vec<u8>> {
    let prefix = namespace.prefix().to_bytes();
    let escaped = [prefix, b"overlay."].concat();

    if name.starts_with(&escaped) {
        Some([prefix, &name[escaped.len()..]].concat())
    } else if name.starts_with(prefix) {
        None
    } else {
        Some(name.to_vec())
    }
}

fn check_name(namespace: Namespace, name: &[u8]) {
    let prefix = namespace.prefix().to_bytes();
    let seen = seen(namespace, name);

    assert_eq!(namespace.is_private(name), seen.is_none());
    match namespace.view(name) {
        View::Private => assert_eq!(seen, None),
        View::Plain => assert_eq!(seen.as_deref(), Some(name)),
        View::Escaped(a, b) => {
            assert_eq!(a, prefix);
            assert_eq!(seen, Some([a, b].concat()));
        }
    }
    for xattr in XATTRS {
        assert!(namespace.is_private(xattr.name(namespace).to_bytes()));
    }

    let rest = CString::new(name).expect("no NUL in names");
    let mut out = [0xff; NAME_MAX + 1];
    match namespace.escape(&rest, &mut out) {
        Ok(escaped) => {
            let escaped = escaped.to_bytes();
            assert!(escaped.len() <= NAME_MAX);
            assert_eq!(namespace.view(escaped), View::Escaped(prefix, name));
            // What is seen of it is the name that was asked for.
            let full = [prefix, name].concat();
            assert_eq!(self::seen(namespace, escaped), Some(full));
        }
        Err(_) => assert!(prefix.len() + "overlay.".len() + name.len() > NAME_MAX),
    }
}

fn check_list(namespace: Namespace, trusted: bool, names: &[Vec<u8>]) {
    let mut list: Vec<u8> = names
        .iter()
        .flat_map(|name| name.iter().copied().chain([0]))
        .collect();
    let expected: Vec<u8> = names
        .iter()
        .filter(|name| trusted || !name.starts_with(b"trusted."))
        .filter_map(|name| seen(namespace, name))
        .flat_map(|name| name.into_iter().chain([0]))
        .collect();

    let len = namespace.filter(&mut list, || trusted);
    assert_eq!(len.map(|len| &list[..len]), Ok(&expected[..]));
}

/// A list as a broken filesystem might return it.
fn check_bytes(namespace: Namespace, trusted: bool, bytes: &[u8]) {
    if bytes.last().is_none_or(|&byte| byte == 0) {
        let mut names: Vec<_> = bytes.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
        names.pop();
        check_list(namespace, trusted, &names);
    } else {
        let mut list = bytes.to_vec();
        assert_eq!(namespace.filter(&mut list, || trusted), Err(Broken));
    }
}
