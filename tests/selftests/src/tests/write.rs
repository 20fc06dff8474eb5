// SPDX-License-Identifier: GPL-2.0-only

//! Writing to regular files by each of the calls that do, on a file of a lower layer and on one that is
//! in the upper layer already.

use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::IoSlice;
use rustix::io::ReadWriteFlags;
use rustix::pipe::SpliceFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::expect::data;
use crate::fixture::Fixture;
use crate::registry::Test;
use crate::sys;
use crate::victim::each;
use crate::victim::old_data;
use crate::victim::Victim;
use crate::victim::SIZE;

pub const TESTS: &[Test] = &[
    Test::new("write_at_positions", "F3 C1", |fx| each(fx, at_positions)).on_disks_too(),
    Test::new("write_append", "F3 C1", |fx| each(fx, append)),
    Test::new("write_flags_of_pwritev2", "F3", |fx| each(fx, rwf_flags)).on_disks_too(),
    Test::new("write_splice_and_sendfile", "F4", |fx| each(fx, splice)).on_disks_too(),
    Test::new("write_fallocate", "F8", |fx| each(fx, fallocate)).on_disks_too(),
    Test::new("write_holes_and_seek", "F7 F3", |fx| each(fx, holes)).on_disks_too(),
    Test::new("write_syncs", "F6", |fx| each(fx, syncs)).on_disks_too(),
    Test::new("write_open_truncates", "C1 C2 F14", |fx| {
        each(fx, open_truncates)
    })
    .on_disks_too(),
    Test::new("write_open_alone_copies_up", "C1", open_alone),
    Test::new("write_two_descriptors", "F3 F2", |fx| {
        each(fx, two_descriptors)
    }),
    Test::new("write_flags_set_later", "F2", |fx| {
        each(fx, flags_set_later)
    }),
    Test::new("write_needs_a_descriptor_for_it", "F3", needs_descriptor),
];

fn at_positions(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let mut file = v.file()?;
    file.write_all(b"start")?;
    expected[..5].copy_from_slice(b"start");
    v.has(&expected)?;
    check::equal("position", file.stream_position()?, 5)?;
    file.write_all_at(b"middle", 5000)?;
    expected[5000..5006].copy_from_slice(b"middle");
    file.seek(SeekFrom::End(-3))?;
    file.write_all(b"beyond the end")?;
    expected.truncate(SIZE - 3);
    expected.extend_from_slice(b"beyond the end");
    v.has(&expected)?;
    let slices = [IoSlice::new(b"one"), IoSlice::new(b"two")];
    check::equal("pwritev", rustix::io::pwritev(&file, &slices, 4094)?, 6)?;
    expected[4094..4100].copy_from_slice(b"onetwo");
    check::equal("nothing", rustix::io::write(&file, b"")?, 0)?;
    // Far more than fits a page, across the old end.
    let large = sys::pattern(300_000, 22);
    file.write_all_at(&large, 8000)?;
    expected.truncate(8000);
    expected.extend_from_slice(&large);
    v.has(&expected)?;
    let mut read = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut read)?;
    check::bytes("read by the same descriptor", &read, &expected)
}

fn append(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let fd = v.open(OFlags::RDWR | OFlags::APPEND)?;
    check::equal("write", rustix::io::write(&fd, b"one")?, 3)?;
    expected.extend_from_slice(b"one");
    v.has(&expected)?;
    check::equal("position", rustix::fs::tell(&fd)?, expected.len() as u64)?;
    // The position does not count.
    check::equal("pwrite", rustix::io::pwrite(&fd, b"two", 7)?, 3)?;
    expected.extend_from_slice(b"two");
    // Somebody else makes it longer meanwhile.
    let other = v.file()?;
    other.write_all_at(b"three", expected.len() as u64)?;
    expected.extend_from_slice(b"three");
    check::equal("write", rustix::io::write(&fd, b"four")?, 4)?;
    expected.extend_from_slice(b"four");
    v.has(&expected)
}

fn rwf_flags(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let fd = v.open(OFlags::WRONLY)?;
    let write = |flags, text: &[u8], offset| {
        rustix::io::pwritev2(&fd, &[IoSlice::new(text)], offset, flags)
    };
    for (flags, offset) in [
        (ReadWriteFlags::DSYNC, 10),
        (ReadWriteFlags::SYNC, 20),
        (ReadWriteFlags::HIPRI, 30),
    ] {
        let what = format!("{flags:?}");
        check::equal(what, write(flags, b"flagged", offset), Ok(7))?;
        expected[offset as usize..offset as usize + 7].copy_from_slice(b"flagged");
    }
    check::equal("append", write(ReadWriteFlags::APPEND, b"end", 5), Ok(3))?;
    expected.extend_from_slice(b"end");
    v.has(&expected)?;
    for (what, bits) in [("NOWAIT", 0x8), ("ATOMIC", 0x40), ("DONTCACHE", 0x80)] {
        let flags = ReadWriteFlags::from_bits_retain(bits);
        check::errno(what, write(flags, b"x", 0), Errno::OPNOTSUPP)?;
    }
    let unknown = ReadWriteFlags::from_bits_retain(0x8000_0000);
    check::errno("unknown", write(unknown, b"x", 0), Errno::OPNOTSUPP)?;
    v.has(&expected)
}

fn splice(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let fd = v.open(OFlags::WRONLY)?;
    let (reader, writer) = rustix::pipe::pipe()?;
    let chunk = sys::pattern(10_000, 23);
    rustix::io::write(&writer, &chunk)?;
    let mut offset = 2000;
    let flags = SpliceFlags::empty();
    let moved = rustix::pipe::splice(&reader, None, &fd, Some(&mut offset), 10_000, flags)?;
    check::equal("moved to an offset", (moved, offset), (10_000, 12_000))?;
    expected[2000..12_000].copy_from_slice(&chunk);
    v.has(&expected)?;
    rustix::io::write(&writer, &chunk)?;
    let moved = rustix::pipe::splice(&reader, None, &fd, None, 10_000, flags)?;
    check::equal("moved to the position", moved, 10_000)?;
    check::equal("position", rustix::fs::tell(&fd)?, 10_000)?;
    expected[..10_000].copy_from_slice(&chunk);
    v.has(&expected)?;
    let source = v.fx.place("source")?.join(v.name);
    let large = sys::pattern(200_000, 24);
    std::fs::write(&source, &large)?;
    let source = sys::open_read(source)?;
    let mut sent = 0;
    while sent < large.len() {
        match rustix::fs::sendfile(&fd, &source, None, large.len() - sent)? {
            0 => return Err(Failure::new("sendfile stopped")),
            more => sent += more,
        }
    }
    expected.truncate(10_000);
    expected.extend_from_slice(&large);
    v.has(&expected)
}

/// Each mode does what it does on the layer's own filesystem, or fails as it does there.
fn fallocate(v: &Victim<'_>) -> Result {
    use FallocateFlags as Mode;
    let plain = v.fx.root().join(format!("plain-{}", v.name));
    std::fs::write(&plain, old_data())?;
    let (fd, real) = (v.open(OFlags::RDWR)?, sys::open(&plain, OFlags::RDWR)?);
    for (mode, offset, length) in [
        (Mode::empty(), 0, 100_000),
        (Mode::KEEP_SIZE, 100_000, 50_000),
        (Mode::PUNCH_HOLE | Mode::KEEP_SIZE, 4096, 4096),
        (Mode::PUNCH_HOLE, 4096, 4096),
        (Mode::ZERO_RANGE, 100, 50),
        (Mode::ZERO_RANGE | Mode::KEEP_SIZE, 200, 1_000_000),
        (Mode::COLLAPSE_RANGE, 0, 4096),
        (Mode::COLLAPSE_RANGE, 1, 5),
        (Mode::INSERT_RANGE, 4096, 8192),
        (Mode::INSERT_RANGE, 1 << 40, 4096),
        (Mode::UNSHARE_RANGE, 0, 8192),
        (Mode::from_bits_retain(0x4000), 0, 1),
        (Mode::empty(), 0, 0),
        (Mode::empty(), 1 << 62, 1 << 62),
    ] {
        let result = rustix::fs::fallocate(&fd, mode, offset, length);
        let expected = rustix::fs::fallocate(&real, mode, offset, length);
        let what = format!("{mode:?} at {offset} for {length}");
        check::equal(&what, result, expected)?;
        check::within(&what, v.has(&std::fs::read(&plain)?))?;
    }
    Ok(())
}

fn holes(v: &Victim<'_>) -> Result {
    let fd = v.open(OFlags::RDWR)?;
    let far = 1 << 20;
    rustix::io::pwrite(&fd, b"far", far)?;
    let mut expected = old_data();
    expected.resize(far as usize, 0);
    expected.extend_from_slice(b"far");
    v.has(&expected)?;
    let real = sys::open_read(v.upper.join(v.name))?;
    for (what, whence) in [
        ("hole", rustix::fs::SeekFrom::Hole(0)),
        ("data", rustix::fs::SeekFrom::Data(SIZE as u64 + 8192)),
        ("end", rustix::fs::SeekFrom::End(-1)),
        ("behind the end", rustix::fs::SeekFrom::Data(far + 3)),
        ("before the start", rustix::fs::SeekFrom::End(-1 << 30)),
    ] {
        let expected = rustix::fs::seek(&real, whence);
        check::equal(what, rustix::fs::seek(&fd, whence), expected)?;
    }
    Ok(())
}

fn syncs(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    for (round, flags) in [OFlags::empty(), OFlags::DSYNC, OFlags::SYNC]
        .into_iter()
        .enumerate()
    {
        let fd = v.open(OFlags::RDWR | flags)?;
        rustix::io::pwrite(&fd, b"synced", round as u64 * 100)?;
        expected[round * 100..round * 100 + 6].copy_from_slice(b"synced");
        rustix::fs::fsync(&fd).context("fsync")?;
        rustix::fs::fdatasync(&fd).context("fdatasync")?;
        rustix::fs::syncfs(&fd).context("syncfs")?;
    }
    v.has(&expected)?;
    let dir = sys::open_dir(v.ov.path())?;
    rustix::fs::fsync(&dir).context("fsync of the directory")
}

fn open_truncates(v: &Victim<'_>) -> Result {
    let fd = v.open(OFlags::WRONLY | OFlags::TRUNC)?;
    v.has(b"")?;
    rustix::io::write(&fd, b"new")?;
    v.has(b"new")?;
    drop(v.open(OFlags::RDONLY | OFlags::TRUNC)?);
    v.has(b"")?;
    rustix::io::write(&fd, b"behind a hole")?;
    v.has(b"\0\0\0behind a hole")
}

fn open_alone(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.file("read", "data")?.file("write", "data")?;
    lower.dir("a/b")?.file("a/b/append", "data")?;
    let ov = fx.upper(&upper, &[&lower])?;
    drop(sys::open(ov.join("read"), OFlags::RDONLY)?);
    drop(sys::open(ov.join("write"), OFlags::WRONLY)?);
    let flags = OFlags::RDWR | OFlags::APPEND;
    drop(sys::open(ov.join("a/b/append"), flags)?);
    let copied = |name: &str| upper.join(name).exists();
    check::equal("opened to read", copied("read"), false)?;
    check::equal("opened to write", copied("write"), true)?;
    check::equal("opened to append", copied("a/b/append"), true)?;
    data(upper.join("write"), b"data")?;
    data(ov.join("a/b/append"), b"data")
}

fn two_descriptors(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let (one, two) = (v.file()?, v.file()?);
    let reader = std::fs::File::open(v.ov.join(v.name))?;
    for round in 0..20_u64 {
        let writer = if round % 2 == 0 { &one } else { &two };
        let text = format!("round {round}");
        let at = (round * 700) as usize;
        writer.write_all_at(text.as_bytes(), at as u64)?;
        expected.resize(expected.len().max(at + text.len()), 0);
        expected[at..at + text.len()].copy_from_slice(text.as_bytes());
        for file in [&one, &two, &reader] {
            let mut read = vec![0; text.len()];
            file.read_exact_at(&mut read, at as u64)?;
            check::bytes("read back", &read, text.as_bytes())?;
        }
    }
    v.has(&expected)
}

/// The layer's file follows the flags that fcntl sets on the overlay's.
fn flags_set_later(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let fd = v.open(OFlags::RDWR)?;
    let plain = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, plain | OFlags::APPEND)?;
    rustix::io::write(&fd, b"appended")?;
    expected.extend_from_slice(b"appended");
    v.has(&expected)?;
    rustix::fs::fcntl_setfl(&fd, plain)?;
    rustix::io::pwrite(&fd, b"in place", 9)?;
    expected[9..17].copy_from_slice(b"in place");
    rustix::fs::fcntl_setfl(&fd, plain | OFlags::NONBLOCK)?;
    rustix::io::pwrite(&fd, b"at once", 90)?;
    expected[90..97].copy_from_slice(b"at once");
    v.has(&expected)
}

fn needs_descriptor(fx: &Fixture) -> Result {
    each(fx, |v| {
        let fd = v.open(OFlags::RDONLY)?;
        check::errno("write", rustix::io::write(&fd, b"x"), Errno::BADF)?;
        let none = FallocateFlags::empty();
        let result = rustix::fs::fallocate(&fd, none, 0, 1);
        check::errno("fallocate", result, Errno::BADF)?;
        let fd = v.open(OFlags::WRONLY)?;
        let result = rustix::io::read(&fd, &mut [0; 1]);
        check::errno("read", result, Errno::BADF)?;
        data(v.ov.join(v.name), &old_data())
    })
}
