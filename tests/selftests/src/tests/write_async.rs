// SPDX-License-Identifier: GPL-2.0-only

//! Writing that goes on while the writer does something else, and writing past the page cache.

use std::os::unix::fs::FileExt;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::check;
use crate::check::Failure;
use crate::check::Result;
use crate::rawsys;
use crate::rawsys::Aligned;
use crate::registry::Backing;
use crate::registry::Test;
use crate::sys;
use crate::victim::each;
use crate::victim::old_data;
use crate::victim::Victim;

pub const TESTS: &[Test] = &[
    Test::new("write_aio", "F3", |fx| each(fx, aio)).on_disks_in_their_way(),
    Test::new("write_aio_direct", "F3", |fx| each(fx, aio_direct)).on_disks_in_their_way(),
    Test::new("write_uring", "F3", |fx| each(fx, uring)).on_disks_in_their_way(),
    Test::new("write_uring_direct", "F3", |fx| each(fx, uring_direct)).on_disks_in_their_way(),
    Test::new("write_uring_allocate_and_sync", "F6 F8", |fx| {
        each(fx, uring_allocate_and_sync)
    }),
    Test::new("write_direct", "F3", |fx| each(fx, direct)).on_disks_in_their_way(),
    Test::new("write_size_after_async_write_is_known", "F3 F9", |fx| {
        each(fx, size_known)
    }),
];

/// Opens for direct I/O, if that is possible on the layer.
fn open_direct(v: &Victim<'_>, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::DIRECT;
    let plain = v.fx.root().join("plain");
    std::fs::write(&plain, "")?;
    match sys::open(&plain, flags) {
        Ok(_) => v.open(flags),
        Err(error) => {
            check::errno("open", sys::open(v.path(), flags), error)?;
            Err(Failure::skip("no direct I/O on this layer"))
        }
    }
}

fn aligned(seed: u64) -> Box<Aligned<8192>> {
    let mut buffer = Aligned::<8192>::boxed();
    buffer.0.copy_from_slice(&sys::pattern(8192, seed));
    buffer
}

/// Puts `part` at this place, which may be at or behind the end.
fn put(data: &mut Vec<u8>, at: usize, part: &[u8]) {
    data.resize(data.len().max(at + part.len()), 0);
    data[at..at + part.len()].copy_from_slice(part);
}

fn unless_missing<T>(result: std::result::Result<T, Errno>) -> Result<T> {
    match result {
        Err(Errno::NOSYS | Errno::PERM) => Err(Failure::skip("no io_uring")),
        other => Ok(other?),
    }
}

fn aio(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let fd = v.open(OFlags::RDWR)?;
    let part = sys::pattern(9000, 31);
    check::equal("length", rawsys::aio_write(&fd, &part, 1000)?, 9000)?;
    put(&mut expected, 1000, &part);
    v.has(&expected)?;
    check::equal("longer", rawsys::aio_write(&fd, &part, 12_000)?, 9000)?;
    put(&mut expected, 12_000, &part);
    v.has(&expected)?;
    check::equal("position", rustix::fs::tell(&fd)?, 0)?;
    let fd = v.open(OFlags::WRONLY | OFlags::APPEND | OFlags::SYNC)?;
    check::equal("appended", rawsys::aio_write(&fd, b"end", 0)?, 3)?;
    expected.extend_from_slice(b"end");
    v.has(&expected)?;
    let fd = v.open(OFlags::RDONLY)?;
    let result = rawsys::aio_write(&fd, b"x", 0);
    check::errno("read descriptor", result, Errno::BADF)
}

fn aio_direct(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let fd = open_direct(v, OFlags::RDWR)?;
    for (seed, at) in [(32, 4096), (33, 16_384), (34, 65_536)] {
        let part = aligned(seed);
        let written = rawsys::aio_write(&fd, &part.0, at as i64)?;
        check::equal(format_args!("written at {at}"), written, 8192)?;
        put(&mut expected, at, &part.0);
        v.has(&expected)?;
    }
    if v.fx.backing() != Backing::Tmpfs {
        let odd = aligned(35);
        let result = rawsys::aio_write(&fd, &odd.0[1..100], 3);
        check::errno("unaligned", result, Errno::INVAL)?;
    }
    v.has(&expected)
}

fn uring(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let fd = v.open(OFlags::RDWR)?;
    let part = sys::pattern(5000, 36);
    let mut parts = Vec::new();
    for at in [100, 20_000, 30_000, 50_000, 12_000] {
        parts.push((&part[..], at as u64));
        put(&mut expected, at, &part);
    }
    let results = unless_missing(rawsys::uring_write(&fd, &parts))?;
    check::equal("lengths", results, vec![Ok(5000); 5])?;
    v.has(&expected)?;
    let fd = v.open(OFlags::WRONLY | OFlags::APPEND)?;
    let results = rawsys::uring_write(&fd, &[(b"end", 0)])?;
    check::equal("appended", results, vec![Ok(3)])?;
    expected.extend_from_slice(b"end");
    v.has(&expected)?;
    let fd = v.open(OFlags::RDONLY)?;
    let results = rawsys::uring_write(&fd, &[(b"x", 0)])?;
    check::equal("read descriptor", results, vec![Err(Errno::BADF)])
}

fn uring_direct(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let fd = open_direct(v, OFlags::WRONLY)?;
    let part = aligned(37);
    let mut parts = Vec::new();
    for at in [0, 16_384, 40_960] {
        parts.push((&part.0[..], at as u64));
        put(&mut expected, at, &part.0);
    }
    let results = unless_missing(rawsys::uring_write(&fd, &parts))?;
    check::equal("lengths", results, vec![Ok(8192); 3])?;
    v.has(&expected)
}

fn uring_allocate_and_sync(v: &Victim<'_>) -> Result {
    let fd = v.open(OFlags::RDWR)?;
    let results = unless_missing(rawsys::uring_allocate_and_sync(&fd, 40_000))?;
    check::equal("results", results, vec![Ok(0), Ok(0)])?;
    let mut expected = old_data();
    expected.resize(40_000, 0);
    v.has(&expected)
}

fn direct(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let file = std::fs::File::from(open_direct(v, OFlags::RDWR)?);
    let part = aligned(38);
    file.write_all_at(&part.0, 4096)?;
    put(&mut expected, 4096, &part.0);
    v.has(&expected)?;
    file.write_all_at(&part.0, 32_768)?;
    put(&mut expected, 32_768, &part.0);
    v.has(&expected)?;
    let mut read = Aligned::<8192>::boxed();
    file.read_exact_at(&mut read.0, 4096)?;
    check::bytes("read back", &read.0, &part.0)?;
    // What another descriptor has put into the page cache is not overtaken.
    let cached = v.file()?;
    cached.write_all_at(b"cached", 4100)?;
    put(&mut expected, 4100, b"cached");
    file.read_exact_at(&mut read.0, 4096)?;
    check::bytes("after a write by another", &read.0, &expected[4096..12_288])?;
    v.has(&expected)
}

/// The VFS cuts what is to be copied to the size that it knows.
fn size_known(v: &Victim<'_>) -> Result {
    let fd = v.open(OFlags::RDWR)?;
    let part = sys::pattern(5000, 39);
    check::equal("length", rawsys::aio_write(&fd, &part, 100_000)?, 5000)?;
    let (mut from, mut to) = (100_000, 0);
    let moved = rustix::fs::copy_file_range(&fd, Some(&mut from), &fd, Some(&mut to), 9000)?;
    check::equal("copied", moved, 5000)?;
    let mut expected = old_data();
    put(&mut expected, 100_000, &part);
    put(&mut expected, 0, &part);
    v.has(&expected)
}
