// SPDX-License-Identifier: GPL-2.0-only

//! Names of unusual length and content.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use rustix::io::Errno;

use crate::check;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::registry::Test;
use crate::sys;
use crate::sys::name;

pub const TESTS: &[Test] = &[
    Test::new("name_of_255_bytes", "L1", of_255_bytes),
    Test::new("name_of_256_bytes", "L1 1.5", of_256_bytes),
    Test::new("name_with_odd_bytes", "L1 R2", odd_bytes),
    Test::new("name_every_byte", "L1 R2", every_byte),
    Test::new("name_case_matters", "L1", case_matters),
    Test::new("name_prefixes", "L1 R2", prefixes),
    Test::new("path_of_4095_bytes", "L1", path_of_4095_bytes),
];

fn of_255_bytes(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|letter| letter.repeat(255));
    top.file(&a, "top")?.whiteout(&b)?.dir(&d)?;
    bottom.file(&b, "")?.file(&c, "bottom")?.dir(&d)?;
    bottom.file(format!("{d}/{a}"), "deep")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join(&a), "top")?;
    absent(ov.join(&b))?;
    content(ov.join(&c), "bottom")?;
    content(ov.join(format!("{d}/{a}")), "deep")?;
    absent(ov.join("e".repeat(255)))?;
    lists(ov.path(), &[a, c, d])
}

fn of_256_bytes(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("merged")?.dir("single")?;
    bottom.dir("merged")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let long = "x".repeat(256);
    for dir in ["", "merged/", "single/"] {
        let path = ov.join(format!("{dir}{long}"));
        check::errno("lstat", sys::lstat(&path), Errno::NAMETOOLONG)?;
        check::errno("open", sys::open_read(&path), Errno::NAMETOOLONG)?;
        check::errno("inside", sys::lstat(path.join("x")), Errno::NAMETOOLONG)?;
    }
    Ok(())
}

fn odd_bytes(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let odd: [&[u8]; 12] = [
        b"new\nline",
        b"back\\slash",
        b"\\",
        b"tab\t",
        b" space ",
        b"comma,colon:",
        b"\xff\xfe",
        b"\xc3(",
        b"...",
        b"-rf",
        b"caf\xc3\xa9",
        b"\x01\x7f",
    ];
    for (index, odd_name) in odd.iter().enumerate() {
        let layer = [&top, &bottom][index % 2];
        layer.file(name(odd_name), format!("{index}"))?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    for (index, odd_name) in odd.iter().enumerate() {
        content(ov.join(name(odd_name)), &format!("{index}"))?;
    }
    let mut sorted: Vec<_> = odd.iter().map(|bytes| name(bytes)).collect();
    sorted.sort();
    lists(ov.path(), &sorted)
}

/// Each byte that a name may hold, as a name of its own and within one.
fn every_byte(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let legal = || (1..=255u8).filter(|byte| *byte != b'/');
    let single = || legal().filter(|byte| *byte != b'.');
    for byte in single() {
        let layer = if byte % 2 == 0 { &top } else { &bottom };
        layer.file(name(&[byte]), [byte])?;
    }
    let all = OsString::from_vec(legal().collect());
    top.file(&all, "top")?;
    bottom.file(&all, "bottom")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for byte in single() {
        crate::expect::data(ov.join(name(&[byte])), &[byte])?;
    }
    content(ov.join(&all), "top")?;
    let mut sorted: Vec<_> = single().map(|byte| name(&[byte]).to_owned()).collect();
    sorted.push(all);
    sorted.sort();
    lists(ov.path(), &sorted)
}

fn case_matters(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.file("name", "lower case")?.whiteout("GONE")?;
    bottom.file("NAME", "upper case")?.file("gone", "here")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("name"), "lower case")?;
    content(ov.join("NAME"), "upper case")?;
    content(ov.join("gone"), "here")?;
    absent(ov.join("Name"))?;
    lists(ov.path(), &["NAME", "gone", "name"])
}

/// Names that begin alike are told apart, in lookups and in listings.
fn prefixes(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let mut expected = Vec::new();
    for length in 1..=64 {
        let prefix = "p".repeat(length);
        match length % 3 {
            0 => top.file(&prefix, "top")?,
            1 => bottom.file(&prefix, "bottom")?,
            _ => {
                bottom.file(&prefix, "hidden")?;
                top.whiteout(&prefix)?
            }
        };
        if length % 3 != 2 {
            expected.push(prefix);
        }
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("ppp"), "top")?;
    content(ov.join("pppp"), "bottom")?;
    absent(ov.join("ppppp"))?;
    lists(ov.path(), &expected)
}

/// The longest path that a system call takes.
fn path_of_4095_bytes(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    // Twenty components of 199 bytes and a slash each are 4000 bytes.
    let component = "c".repeat(199);
    for layer in [&top, &bottom] {
        let mut dir = sys::open_dir(layer.path())?;
        for _ in 0..20 {
            rustix::fs::mkdirat(&dir, &*component, 0o755.into())?;
            let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
            dir = rustix::fs::openat(&dir, &*component, flags, rustix::fs::Mode::empty())?;
        }
        rustix::fs::mkdirat(&dir, "d".repeat(94), 0o755.into())?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    let path = format!("{}{}", format!("{component}/").repeat(20), "d".repeat(94));
    check::equal("length", path.len(), 4094)?;
    let root = sys::open_dir(ov.path())?;
    let flags = rustix::fs::AtFlags::empty();
    rustix::fs::statat(&root, &*path, flags)?;
    rustix::fs::statat(&root, format!("{path}/"), flags)?;
    let result = rustix::fs::statat(&root, format!("{path}//"), flags);
    check::errno("4096 bytes", result, Errno::NAMETOOLONG)
}
