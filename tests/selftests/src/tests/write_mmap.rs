// SPDX-License-Identifier: GPL-2.0-only

//! Writing through shared mappings.

use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::mm::MprotectFlags;
use rustix::mm::ProtFlags;

use crate::check;
use crate::check::Result;
use crate::registry::Test;
use crate::sys;
use crate::sys::Mapping;
use crate::victim::each;
use crate::victim::old_data;
use crate::victim::Victim;
use crate::victim::SIZE;

pub const TESTS: &[Test] = &[
    Test::new("write_mmap_is_seen_by_read", "F5 F3", |fx| {
        each(fx, seen_by_read)
    })
    .on_disks_in_their_way(),
    Test::new("write_is_seen_by_mmap", "F5 F3", |fx| {
        each(fx, seen_by_mmap)
    }),
    Test::new("write_mmap_two_mappings", "F5", |fx| each(fx, two_mappings)),
    Test::new("write_mmap_outlives_descriptor", "F5 F1", |fx| {
        each(fx, outlives_descriptor)
    }),
    Test::new("write_mmap_needs_a_descriptor_for_it", "F5", |fx| {
        each(fx, needs_descriptor)
    }),
    Test::new("write_mmap_changes_the_time", "F5 F18", |fx| {
        each(fx, changes_time)
    })
    .on_disks_in_their_way(),
    Test::new("write_mmap_of_a_hole", "F5", |fx| each(fx, hole)).on_disks_in_their_way(),
    Test::new("write_mmap_grows_with_the_file", "F5 F14", |fx| {
        each(fx, grows)
    })
    .on_disks_in_their_way(),
];

const PAGE: usize = 4096;

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

fn map(v: &Victim<'_>) -> Result<Mapping> {
    let fd = v.open(OFlags::RDWR)?;
    Ok(Mapping::new(&fd, SIZE, MapFlags::SHARED, READ_WRITE)?)
}

fn seen_by_read(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let mapping = map(v)?;
    mapping.store(5, b"map");
    expected[5..8].copy_from_slice(b"map");
    v.has(&expected)?;
    mapping.store(3 * PAGE + 1, b"!");
    expected[3 * PAGE + 1] = b'!';
    v.has(&expected)?;
    mapping.sync()?;
    drop(mapping);
    sys::drop_caches()?;
    v.has(&expected)
}

fn seen_by_mmap(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let mapping = map(v)?;
    check::bytes("at first", &mapping.load(0, SIZE), &expected)?;
    let file = v.file()?;
    file.write_all_at(b"written", PAGE as u64 - 3)?;
    expected[PAGE - 3..PAGE + 4].copy_from_slice(b"written");
    check::bytes("after writing", &mapping.load(0, SIZE), &expected)?;
    let reader = v.open(OFlags::RDONLY)?;
    let private = Mapping::new(&reader, SIZE, MapFlags::PRIVATE, ProtFlags::READ)?;
    check::bytes("private mapping", &private.load(0, SIZE), &expected)
}

fn two_mappings(v: &Victim<'_>) -> Result {
    let (one, two) = (map(v)?, map(v)?);
    one.store(PAGE, b"one");
    check::bytes("second mapping", &two.load(PAGE, 3), b"one")?;
    two.store(PAGE, b"two");
    check::bytes("first mapping", &one.load(PAGE, 3), b"two")
}

fn outlives_descriptor(v: &Victim<'_>) -> Result {
    let mut expected = old_data();
    let mapping = map(v)?;
    sys::drop_caches()?;
    mapping.store(2 * PAGE, b"late");
    expected[2 * PAGE..2 * PAGE + 4].copy_from_slice(b"late");
    drop(mapping);
    v.has(&expected)
}

fn needs_descriptor(v: &Victim<'_>) -> Result {
    let fd = v.open(OFlags::WRONLY)?;
    let result = Mapping::new(&fd, SIZE, MapFlags::SHARED, ProtFlags::WRITE);
    check::errno("of a write descriptor", result.map(drop), Errno::ACCESS)?;
    let fd = v.open(OFlags::RDONLY)?;
    let result = Mapping::new(&fd, SIZE, MapFlags::SHARED, READ_WRITE);
    check::errno("of a read descriptor", result.map(drop), Errno::ACCESS)?;
    let fd = v.open(OFlags::RDWR)?;
    let mapping = Mapping::new(&fd, SIZE, MapFlags::SHARED, ProtFlags::READ)?;
    Ok(mapping.protect(MprotectFlags::READ | MprotectFlags::WRITE)?)
}

fn changes_time(v: &Victim<'_>) -> Result {
    let mapping = map(v)?;
    let time = || -> Result<_> {
        let stat = sys::stat(v.path())?;
        Ok((stat.st_mtime, stat.st_mtime_nsec))
    };
    let before = time()?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    mapping.store(0, b"new");
    mapping.sync()?;
    check::ok(time()? > before, "the time of the last change stays")
}

fn hole(v: &Victim<'_>) -> Result {
    const LENGTH: usize = 64 * PAGE;
    let fd = v.open(OFlags::RDWR)?;
    rustix::io::pwrite(&fd, b"e", LENGTH as u64 - 1)?;
    let mapping = Mapping::new(&fd, LENGTH, MapFlags::SHARED, READ_WRITE)?;
    mapping.store(20 * PAGE, b"hole");
    let mut expected = old_data();
    expected.resize(LENGTH, 0);
    expected[20 * PAGE..20 * PAGE + 4].copy_from_slice(b"hole");
    expected[LENGTH - 1] = b'e';
    v.has(&expected)
}

/// What comes to the file behind the end is in the mapping at once.
fn grows(v: &Victim<'_>) -> Result {
    let fd = v.open(OFlags::RDWR)?;
    let mapping = Mapping::new(&fd, 8 * PAGE, MapFlags::SHARED, READ_WRITE)?;
    let file = v.file()?;
    let part = sys::pattern(2 * PAGE, 41);
    file.write_all_at(&part, 5 * PAGE as u64)?;
    check::bytes("new part", &mapping.load(5 * PAGE, 2 * PAGE), &part)?;
    mapping.store(6 * PAGE, b"7");
    let mut expected = old_data();
    expected.resize(5 * PAGE, 0);
    expected.extend_from_slice(&part);
    expected[6 * PAGE] = b'7';
    v.has(&expected)
}
