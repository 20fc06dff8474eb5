// SPDX-License-Identifier: GPL-2.0-only

//! Copying, cloning and deduplicating parts of files by the kernel.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::copy_file_range;
use rustix::fs::ioctl_ficlone;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::check;
use crate::check::Failure;
use crate::check::Result;
use crate::expect::data;
use crate::fixture::Fixture;
use crate::rawsys;
use crate::rawsys::Deduped;
use crate::registry::Test;
use crate::sys;
use crate::victim::each;
use crate::victim::old_data;
use crate::victim::Victim;
use crate::victim::SIZE;

pub const TESTS: &[Test] = &[
    Test::new("write_copy_file_range", "F9", |fx| each(fx, copy)).on_disks_in_their_way(),
    Test::new("write_copy_file_range_across_overlays", "F9", across).on_disks_in_their_way(),
    Test::new("write_clone", "F9", |fx| each(fx, clone)).on_disks_in_their_way(),
    Test::new("write_clone_within_and_beyond", "F9", clone_range).on_disks_in_their_way(),
    Test::new("write_dedupe", "F9", dedupe).on_disks_in_their_way(),
    Test::new(
        "write_dedupe_needs_upper_files",
        "F9 C1",
        dedupe_needs_upper,
    )
    .on_disks_in_their_way(),
];

const PAGE: usize = 4096;

/// A new file beside the layers, to compare with.
fn plain(fx: &Fixture, name: &str, data: &[u8]) -> Result<File> {
    let path = fx.root().join(name);
    std::fs::write(&path, data)?;
    Ok(sys::open(path, OFlags::RDWR)?.into())
}

fn copy(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let fd = v.open(OFlags::RDWR)?;
    // Within one file, and across its end.
    let (mut from, mut to) = (0, 20_000);
    let copied = copy_file_range(&fd, Some(&mut from), &fd, Some(&mut to), 5000)?;
    check::equal("copied", (copied, from, to), (5000, 5000, 25_000))?;
    expected.resize(20_000, 0);
    expected.extend_from_slice(&old_data()[..5000]);
    v.has(&expected)?;
    let overlapping = copy_file_range(&fd, Some(&mut 0), &fd, Some(&mut 100), 200);
    check::errno("overlapping", overlapping, Errno::INVAL)?;
    let nothing = copy_file_range(&fd, Some(&mut (1 << 30)), &fd, Some(&mut 0), 10)?;
    check::equal("from behind the end", nothing, 0)?;
    // From a file of the lower layer, which stays there.
    let source = sys::open_read(v.ov.join("source"))?;
    let mut copied = 0;
    // A filesystem that shares blocks does the rest, which is no whole one, by itself.
    while copied < SIZE {
        match copy_file_range(&source, None, &fd, None, 1 << 30)? {
            0 => return Err(Failure::new("copying stopped")),
            more => copied += more,
        }
    }
    check::equal("copied from the lower layer", copied, SIZE)?;
    check::equal("position", rustix::fs::tell(&fd)?, SIZE as u64)?;
    expected[..SIZE].copy_from_slice(&sys::pattern(SIZE, 51));
    v.has(&expected)?;
    check::ok(!v.upper.join("source").exists(), "the source is copied up")?;
    // Files of other filesystems are too far away.
    let elsewhere = v.fx.place("elsewhere")?.join("f");
    std::fs::write(&elsewhere, "data")?;
    let elsewhere = sys::open_read(elsewhere)?;
    let result = copy_file_range(&elsewhere, None, &fd, None, 4);
    check::errno("from another filesystem", result, Errno::XDEV)?;
    v.has(&expected)
}

/// What is on one filesystem below can be copied from one overlay to another, if that filesystem copies.
fn across(fx: &Fixture) -> Result {
    let (one, two) = (fx.layer("one")?, fx.layer("two")?);
    let lower = fx.layer("lower")?;
    lower.file("f", old_data())?;
    let (first, second) = (fx.upper(&one, &[&lower])?, fx.upper(&two, &[&lower])?);
    two.file("new", "")?;
    let (from, to) = (plain(fx, "a", &old_data())?, plain(fx, "b", b"")?);
    let expected = copy_file_range(&from, None, &to, None, SIZE);
    let from = sys::open_read(first.join("f"))?;
    let to = sys::open(second.join("new"), OFlags::RDWR)?;
    let copied = copy_file_range(&from, None, &to, None, SIZE);
    check::equal("copied", copied, expected)?;
    data(second.join("new"), &old_data())?;
    data(two.join("new"), &old_data())
}

fn clone(v: &Victim<'_>) -> Result {
    let fd = v.open(OFlags::RDWR)?;
    let source = sys::open_read(v.ov.join("source"))?;
    let (from, to) = (plain(v.fx, "a", b"x")?, plain(v.fx, "b", b"")?);
    let expected = ioctl_ficlone(&to, &from);
    check::equal("clone", ioctl_ficlone(&fd, &source), expected)?;
    if expected.is_err() {
        return v.has(&old_data());
    }
    let mut expected = sys::pattern(SIZE, 51);
    v.has(&expected)?;
    v.file()?.write_all_at(b"only here", 50)?;
    expected[50..59].copy_from_slice(b"only here");
    v.has(&expected)?;
    data(v.ov.join("source"), &sys::pattern(SIZE, 51))
}

/// Parts, and what is refused, as on the layer's own filesystem.
fn clone_range(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("f", old_data())?;
    let ov = fx.upper(&upper, &[&lower])?;
    let fd = sys::open(ov.join("f"), OFlags::RDWR)?;
    let real = plain(fx, "plain", &old_data())?;
    for (at, length, to_at) in [
        (0, PAGE, 8 * PAGE),
        (PAGE, PAGE, 2 * PAGE),
        (0, 2 * PAGE, PAGE),
        (1, PAGE, 8 * PAGE),
        (0, 0, 16 * PAGE),
        (64 * PAGE, PAGE, 0),
    ] {
        let (at, length, to_at) = (at as u64, length as u64, to_at as u64);
        let expected = rovl_kit::sys::clone_range(&real, at, length, &real, to_at);
        let result = rovl_kit::sys::clone_range(&fd, at, length, &fd, to_at);
        check::equal(format_args!("{at}+{length} to {to_at}"), result, expected)?;
        data(ov.join("f"), &std::fs::read(fx.root().join("plain"))?)?;
    }
    let elsewhere = fx.place("elsewhere")?.join("f");
    std::fs::write(&elsewhere, "data")?;
    let result = ioctl_ficlone(&fd, &sys::open_read(elsewhere)?);
    check::errno("from another filesystem", result, Errno::XDEV)?;
    let read = sys::open_read(ov.join("f"))?;
    let result = rovl_kit::sys::clone_range(&fd, 0, PAGE as u64, &read, 0);
    check::errno("to a read descriptor", result, Errno::BADF)
}

fn dedupe(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let same = sys::pattern(4 * PAGE, 52);
    let mut other = same.clone();
    other[PAGE + 1] ^= 0xff;
    for (name, data) in [("one", &same), ("two", &same), ("other", &other)] {
        upper.file(name, data)?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    let (from, to) = (plain(fx, "a", &same)?, plain(fx, "b", &same)?);
    let length = same.len() as u64;
    let real = rawsys::dedupe(&from, length, &to);
    let open = |name: &str| sys::open(ov.join(name), OFlags::RDWR);
    let (one, two, other_fd) = (open("one")?, open("two")?, open("other")?);
    let result = rawsys::dedupe(&one, length, &two);
    data(ov.join("two"), &same)?;
    if real.is_err() {
        // The VFS's own answer, if the overlay knows of deduplication and the layer's filesystem does not.
        return check::errno("same data", result, Errno::INVAL);
    }
    check::equal("same data", result, real)?;
    let result = rawsys::dedupe(&one, length, &other_fd);
    check::equal("other data", result, Ok(Deduped::Differs))?;
    data(ov.join("other"), &other)?;
    let result = rawsys::dedupe(&one, length + 1, &two);
    check::errno("behind the end", result, Errno::INVAL)
}

fn dedupe_needs_upper(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("up", old_data())?;
    lower.file("low", old_data())?;
    let ov = fx.upper(&upper, &[&lower])?;
    let (up, low) = (
        sys::open(ov.join("up"), OFlags::RDWR)?,
        sys::open_read(ov.join("low"))?,
    );
    for (what, from, to) in [("from", &low, &up), ("to", &up, &low)] {
        let result = rawsys::dedupe(from, PAGE as u64, to);
        check::errno(format_args!("{what} a lower file"), result, Errno::PERM)?;
    }
    check::ok(!upper.join("low").exists(), "the lower file is copied up")
}
