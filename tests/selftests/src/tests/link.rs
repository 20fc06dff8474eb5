// SPDX-License-Identifier: GPL-2.0-only

//! Hard links, and files that never had a name.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::lgetxattr;
use rustix::fs::linkat;
use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("link_shares_file", "D3", shares_file).on_disks_too(),
    Test::new("link_of_other_types", "D3", other_types),
    Test::new("link_over_whiteout", "D3 D2", over_whiteout).on_disks_too(),
    Test::new("link_refused", "D3", refused),
    Test::new("link_survives_remount", "D3", survives_remount),
    Test::new("tmpfile_in_place", "D6", tmpfile).on_disks_too(),
    Test::new("tmpfile_gets_a_name", "D6 D3", tmpfile_named).on_disks_too(),
    Test::new("tmpfile_exclusive_gets_none", "D6", tmpfile_exclusive),
    Test::new("tmpfile_as_user", "D6 F22", tmpfile_as_user),
    Test::new("tmpfile_over_whiteout", "D6 D2", tmpfile_over_whiteout),
    Test::new("link_copies_up", "D3 C1 X4 1.10", copies_up).on_disks_too(),
    Test::new("link_to_lower_link_breaks_it", "C7 D3", breaks_lower_link),
    Test::new("tmpfile_in_lower_directory", "D6 C1", tmpfile_in_lower),
];

const IMPURE: &str = "trusted.overlay.impure";

/// Both names stand for one file.
#[track_caller]
fn same(one: impl AsRef<Path>, other: impl AsRef<Path>, links: u64) -> Result {
    let (one, other) = (sys::lstat(one)?, sys::lstat(other)?);
    check::equal(
        "device and number",
        (one.st_dev, one.st_ino),
        (other.st_dev, other.st_ino),
    )?;
    check::equal("links", one.st_nlink, links)?;
    check::equal("links of the other", other.st_nlink, links)
}

fn shares_file(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("f", "data")?.dir("d")?.dir("m")?;
    lower.dir("m")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let opened = sys::open_read(ov.join("f"))?;
    for (n, new) in ["g", "d/g", "m/g"].into_iter().enumerate() {
        rustix::fs::link(ov.join("f"), ov.join(new)).context(format_args!("link {new}"))?;
        let links = n as u64 + 2;
        same(ov.join("f"), ov.join(new), links)?;
        same(upper.join("f"), upper.join(new), links)?;
        check::equal(
            "links of an open file",
            rustix::fs::fstat(&opened)?.st_nlink,
            links,
        )?;
        content(ov.join(new), "data")?;
    }
    lists(ov.join("m"), &["g"])?;
    lists(ov.path(), &["d", "f", "g", "m"])?;
    // One inode stands for all names, so that locks taken by one name are seen by the other.
    let other = sys::open_read(ov.join("m/g"))?;
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&opened, exclusive)?;
    check::errno(
        "second lock",
        rustix::fs::flock(&other, exclusive),
        Errno::WOULDBLOCK,
    )
}

fn other_types(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper
        .symlink("s", "to")?
        .node("p", rustix::fs::FileType::Fifo, 0o600, (0, 0))?;
    let ov = fx.upper(&upper, &[&lower])?;
    for name in ["s", "p"] {
        let new = ov.join(format!("{name}2"));
        rustix::fs::link(ov.join(name), &new).context(format_args!("link {name}"))?;
        same(ov.join(name), &new, 2)?;
    }
    check::equal("target", sys::readlink(ov.join("s2"))?, "to")
}

fn over_whiteout(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("f", "data")?;
    lower.dir("d")?.file("d/f", "")?.file("l", "lower")?;
    upper.whiteout("d")?.whiteout("l")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for (n, name) in ["d", "l"].into_iter().enumerate() {
        rustix::fs::link(ov.join("f"), ov.join(name)).context(format_args!("link {name}"))?;
        same(ov.join("f"), ov.join(name), n as u64 + 2)?;
        same(upper.join("f"), upper.join(name), n as u64 + 2)?;
        content(ov.join(name), "data")?;
    }
    lists(ov.path(), &["d", "f", "l"])
}

fn refused(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("f", "")?.dir("d")?;
    lower.file("l", "")?.dir("low")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for dir in ["d", "low"] {
        let result = rustix::fs::link(ov.join(dir), ov.join("new"));
        check::errno(format_args!("link to {dir}"), result, Errno::PERM)?;
    }
    let result = rustix::fs::link(ov.join("f"), fx.place("out")?.join("f"));
    check::errno("link out of the overlay", result, Errno::XDEV)?;
    let result = rustix::fs::link(upper.join("f"), ov.join("new"));
    check::errno("link into the overlay", result, Errno::XDEV)?;
    absent(ov.join("new"))?;
    lists(upper.path(), &["d", "f"])
}

fn survives_remount(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("f", "data")?.whiteout("w")?;
    lower.file("w", "")?;
    let ov = fx.upper(&upper, &[&lower])?;
    rustix::fs::link(ov.join("f"), ov.join("g")).context("link")?;
    rustix::fs::link(ov.join("f"), ov.join("w")).context("link over a whiteout")?;
    fx.unmount(ov.path()).context("unmount")?;
    let ov = fx.upper(&upper, &[&lower])?;
    same(ov.join("f"), ov.join("g"), 3)?;
    same(ov.join("f"), ov.join("w"), 3)?;
    lists(ov.path(), &["f", "g", "w"])
}

fn open_unnamed(dir: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | flags;
    rustix::fs::open(dir, flags, Mode::from_raw_mode(0o640))
}

/// Gives the open file a name, by the way that needs no privilege.
fn give_name(file: &OwnedFd, name: &Path) -> rustix::io::Result<()> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, path, CWD, name, AtFlags::SYMLINK_FOLLOW)
}

fn tmpfile(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("pure")?.dir("merged")?;
    lower.dir("merged")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for dir in ["", "pure", "merged"] {
        let file = open_unnamed(&ov.join(dir), OFlags::empty()).context("open")?;
        let stat = rustix::fs::fstat(&file)?;
        check::equal("links", stat.st_nlink, 0)?;
        check::equal("mode", stat.st_mode, 0o100640)?;
        check::equal("size", stat.st_size, 0)?;
        check::equal("device", stat.st_dev, sys::stat(ov.path())?.st_dev)?;
        let name = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        check::ok(
            name.to_string_lossy().ends_with(" (deleted)"),
            format_args!("path of the open file: {name:?}"),
        )?;
        // Several may be open at once.
        let other = open_unnamed(&ov.join(dir), OFlags::empty()).context("open another")?;
        check::ok(
            rustix::fs::fstat(&other)?.st_ino != stat.st_ino,
            "two files are two files",
        )?;
    }
    lists(ov.path(), &["merged", "pure"])?;
    lists(ov.join("pure"), &[] as &[&str])?;
    lists(upper.join("pure"), &[] as &[&str])
}

fn tmpfile_named(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("d")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let file = open_unnamed(&ov.join("d"), OFlags::empty()).context("open")?;
    let number = rustix::fs::fstat(&file)?.st_ino;
    give_name(&file, &ov.join("d/f")).context("give it a name")?;
    same(ov.join("d/f"), ov.join("d/f"), 1)?;
    check::equal("number", sys::lstat(ov.join("d/f"))?.st_ino, number)?;
    check::equal("links", rustix::fs::fstat(&file)?.st_nlink, 1)?;
    give_name(&file, &ov.join("g")).context("give it another name")?;
    same(ov.join("d/f"), ov.join("g"), 2)?;
    same(upper.join("d/f"), upper.join("g"), 2)?;
    let result = give_name(&file, &ov.join("g"));
    check::errno("a name that is taken", result, Errno::EXIST)?;
    lists(ov.join("d"), &["f"])
}

fn tmpfile_exclusive(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let ov = fx.upper(&upper, &[&lower])?;
    let file = open_unnamed(ov.path(), OFlags::EXCL).context("open")?;
    let result = give_name(&file, &ov.join("f"));
    check::errno("give it a name", result, Errno::NOENT)?;
    lists(upper.path(), &[] as &[&str])
}

fn tmpfile_as_user(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("open")?.chmod("open", 0o777)?.dir("closed")?;
    let ov = fx.upper(&upper, &[&lower])?;
    sys::as_user(1000, 2000, &[], || {
        let file = open_unnamed(&ov.join("open"), OFlags::empty()).context("open")?;
        let stat = rustix::fs::fstat(&file)?;
        check::equal("owner", (stat.st_uid, stat.st_gid), (1000, 2000))?;
        let result = open_unnamed(&ov.join("closed"), OFlags::empty());
        check::errno("without the right", result, Errno::ACCESS)?;
        give_name(&file, &ov.join("open/f")).context("give it a name")
    })??;
    let stat = sys::lstat(upper.join("open/f"))?;
    check::equal("owner in upper", (stat.st_uid, stat.st_gid), (1000, 2000))
}

fn tmpfile_over_whiteout(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.whiteout("gone")?;
    lower.file("gone", "lower")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let file = open_unnamed(ov.path(), OFlags::empty()).context("open")?;
    give_name(&file, &ov.join("gone")).context("give it a name")?;
    content(ov.join("gone"), "")?;
    same(ov.join("gone"), ov.join("gone"), 1)?;
    lists(ov.path(), &["gone"])
}

fn copies_up(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("pure")?;
    lower.file("f", "lower data")?.dir("d")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let before = sys::lstat(ov.join("f"))?.st_ino;
    for (n, new) in ["g", "pure/g", "d/g"].into_iter().enumerate() {
        rustix::fs::link(ov.join("f"), ov.join(new)).context(format_args!("link {new}"))?;
        same(ov.join("f"), ov.join(new), n as u64 + 2)?;
        same(upper.join("f"), upper.join(new), n as u64 + 2)?;
        content(ov.join(new), "lower data")?;
        check::equal("number", sys::lstat(ov.join(new))?.st_ino, before)?;
    }
    for dir in ["pure", "d"] {
        let mut value = [0; 2];
        let length = lgetxattr(upper.join(dir), IMPURE, &mut value)
            .context(format_args!("impure of {dir}"))?;
        check::equal("value of impure", &value[..length], &b"y"[..])?;
        for entry in sys::list(ov.join(dir))? {
            if entry.name == "g" {
                check::equal("number as listed", entry.ino, before)?;
            }
        }
    }
    check::equal("links in lower", sys::lstat(lower.join("f"))?.st_nlink, 1)
}

/// Without an index the other lower names stay what they were.
fn breaks_lower_link(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.file("a", "lower data")?.link("a", "b")?;
    let ov = fx.upper(&upper, &[&lower])?;
    check::equal("links before", sys::lstat(ov.join("a"))?.st_nlink, 2)?;
    rustix::fs::link(ov.join("a"), ov.join("c")).context("link")?;
    same(ov.join("a"), ov.join("c"), 2)?;
    content(ov.join("c"), "lower data")?;
    let (a, b) = (sys::lstat(ov.join("a"))?, sys::lstat(ov.join("b"))?);
    check::ok(a.st_ino != b.st_ino, "the link is broken")?;
    check::equal("links of the other", b.st_nlink, 2)?;
    lists(upper.path(), &["a", "c"])
}

fn tmpfile_in_lower(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.dir("a/b")?.file("a/b/old", "")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let file = open_unnamed(&ov.join("a/b"), OFlags::empty()).context("open")?;
    lists(upper.join("a"), &["b"])?;
    lists(upper.join("a/b"), &[] as &[&str])?;
    give_name(&file, &ov.join("a/b/new")).context("give it a name")?;
    lists(ov.join("a/b"), &["new", "old"])
}
