// SPDX-License-Identifier: GPL-2.0-only

//! The `redirect` attribute, and the walk that follows it (X2).

extern crate std;

use super::rest;
use crate::source::model::redirect::Builder;
use crate::source::model::redirect::Progress;
use crate::source::model::redirect::Redirect;
use crate::source::model::redirect::Walk;
use arbitrary::Result;
use arbitrary::Unstructured;
use std::vec;
use std::vec::Vec;

pub(super) fn check(input: &mut Unstructured<'_>) -> Result<()> {
    check_walk(input)?;
    check_builder(input)?;

    let value = rest(input)?;
    check_parse(value);
    check_any_path(value);
    Ok(())
}

/// A name as directories have them.
fn name(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let bytes: [u8; 4] = input.arbitrary()?;
    let len = input.int_in_range(1..=4)?;

    Ok(bytes[..len]
        .iter()
        .map(|byte| match byte {
            0 | b'/' => b'x',
            other => *other,
        })
        .collect())
}

fn path(names: &[Vec<u8>]) -> Vec<u8> {
    names
        .iter()
        .flat_map(|name| [b"/", &name[..]].concat())
        .collect()
}

fn names(input: &mut Unstructured<'_>, least: usize) -> Result<Vec<Vec<u8>>> {
    let mut names = vec![];

    for _ in 0..input.int_in_range(least..=6)? {
        names.push(name(input)?);
    }
    Ok(names)
}

/// Looks a path up, with redirects on the way, in a reference that has names instead of a path.
fn check_walk(input: &mut Unstructured<'_>) -> Result<()> {
    let names = names(input, 0)?;
    let mut path_now = path(&names);
    let mut before: Vec<Vec<u8>> = vec![];
    let mut walk = Walk::new(&path_now);

    for (at, name) in names.iter().enumerate() {
        let after = path(&names[at + 1..]);
        let step = walk.step(&path_now).expect("one step for each name");
        assert_eq!(step.name, name);
        assert_eq!(step.before, [&path(&before)[..], b"/"].concat());
        assert_eq!(step.after, after);

        before.push(name.clone());
        let value = match input.int_in_range(0..=2)? {
            0 => continue,
            1 => {
                let other = self::name(input)?;
                before.pop();
                before.push(other.clone());
                other
            }
            _ => {
                before = self::names(input, 1)?;
                path(&before)
            }
        };
        let redirect = Redirect::parse(&value).expect("a name or a path");
        let expected = [path(&before), after].concat();
        let mut out = vec![0xff; expected.len()];
        assert_eq!(redirect.apply(&step, &mut out), Some(&expected[..]));
        out.pop();
        assert_eq!(redirect.apply(&step, &mut out), None);
        path_now = expected;
    }
    assert_eq!(walk.step(&path_now), None);
    Ok(())
}

fn check_builder(input: &mut Unstructured<'_>) -> Result<()> {
    let mut buffer = vec![0xff; input.int_in_range(0..=40)?];
    let max = buffer.len();
    let mut builder = Builder::new(&mut buffer);
    let mut expected: Vec<u8> = vec![];

    for _ in 0..input.int_in_range(0..=6)? {
        let redirected = input.ratio(1, 4)?;
        let part = if redirected {
            path(&names(input, 1)?)
        } else {
            name(input)?
        };
        let front = if redirected {
            part.clone()
        } else {
            [b"/", &part[..]].concat()
        };
        expected = [front, expected].concat();

        match builder.prepend(&part) {
            Err(_) => {
                assert!(expected.len() > max);
                return Ok(());
            }
            Ok(progress) => {
                assert_eq!(builder.path(), expected);
                assert_eq!(Redirect::parse(&expected), Ok(Redirect::Path(&expected)));
                assert_eq!(progress == Progress::Complete, redirected);
                if redirected {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// `ovl_get_redirect_xattr()`, told by what is in the string.
fn check_parse(value: &[u8]) {
    let end = value.iter().position(|&byte| byte == 0);
    let text = &value[..end.unwrap_or(value.len())];
    let twice = text.windows(2).any(|pair| pair == b"//");

    let path = text.starts_with(b"/") && !text.ends_with(b"/") && !twice;
    // A NUL at the start leaves a name, though an empty one.
    let name = !value.is_empty() && !text.contains(&b'/');
    match Redirect::parse(value) {
        Ok(redirect) => {
            assert!(path || name);
            if !text.is_empty() {
                assert_eq!(redirect, Redirect::parse(text).expect("the same again"));
            }
            assert_eq!(redirect.text(), text);
            assert_eq!(matches!(redirect, Redirect::Path(_)), path);
        }
        Err(_) => assert!(!path && !name),
    }
}

/// A walk comes to an end in any path, and goes over all of it.
fn check_any_path(path: &[u8]) {
    let mut walk = Walk::new(path);
    let mut seen = 0;

    for _ in 0..=path.len() {
        let Some(step) = walk.step(path) else {
            assert_eq!(seen, path.len());
            return;
        };
        assert_eq!([step.before, step.name, step.after].concat(), path);
        seen = path.len() - step.after.len();
    }
    panic!("more steps than bytes");
}
