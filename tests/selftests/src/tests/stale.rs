// SPDX-License-Identifier: GPL-2.0-only

//! Descriptors and mappings of a file of a lower layer that is copied up while they are there.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fd::OwnedFd;
use rustix::fs::FlockOperation;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use crate::check;
use crate::check::Result;
use crate::expect::data;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::layer::Layer;
use crate::rawsys;
use crate::rawsys::Aligned;
use crate::registry::Test;
use crate::sys;
use crate::sys::Mapping;
use crate::victim::old_data;
use crate::victim::SIZE;

pub const TESTS: &[Test] = &[
    Test::new("stale_descriptor_reads_new_data", "F2 F7", reads_new).on_disks_too(),
    Test::new("stale_descriptor_moves_new_data", "F2 F4 F9", moves_new),
    Test::new("stale_descriptor_syncs", "F2 F6 F8", syncs).on_disks_too(),
    Test::new("stale_descriptor_follows_flags", "F2", follows_flags).on_disks_too(),
    Test::new("stale_descriptor_outlives_name", "F2 D3", outlives_name),
    Test::new("stale_descriptor_keeps_locks", "F10 F2", keeps_locks),
    Test::new("stale_descriptor_async_reads", "F2 F3", async_reads),
    Test::new("stale_mapping_keeps_old_data", "F5", old_mapping).on_disks_too(),
    Test::new("stale_descriptor_new_mapping", "F5 Q7", new_mapping),
    Test::new("stale_descriptor_new_mapping_first", "F5 Q7", mapping_first).on_disks_too(),
    Test::new("stale_descriptor_of_a_stacked_overlay", "F2 F25", stacked),
    Test::new("stale_readers_while_copied_up", "F2 C6", many_readers)
        .on_disks_too()
        .limit(120),
];

struct Scene {
    ov: Mounted,
    lower: Layer,
    /// Open to read since before the file is copied up.
    old: OwnedFd,
}

impl Scene {
    fn new(fx: &Fixture) -> Result<Self> {
        let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
        lower.file("f", old_data())?;
        rustix::fs::sync();
        let ov = fx.upper(&upper, &[&lower])?;
        let old = sys::open_read(ov.join("f"))?;
        Ok(Scene { ov, lower, old })
    }

    /// Copies the file up and changes it; returns the new data.
    fn change(&self) -> Result<Vec<u8>> {
        let file = File::from(sys::open(self.ov.join("f"), OFlags::RDWR)?);
        file.write_all_at(b"changed", 4090)?;
        file.write_all_at(b"longer", SIZE as u64)?;
        let mut new = old_data();
        new[4090..4097].copy_from_slice(b"changed");
        new.extend_from_slice(b"longer");
        data(self.ov.join("f"), &new)?;
        data(self.lower.join("f"), &old_data())?;
        Ok(new)
    }
}

fn read(fd: &OwnedFd, offset: u64) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 2 * SIZE];
    let length = rustix::io::pread(fd, &mut buffer, offset)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn reads_new(fx: &Fixture) -> Result {
    let s = Scene::new(fx)?;
    check::bytes("before", &read(&s.old, 0)?, &old_data())?;
    let unread = sys::open_read(s.ov.join("f"))?;
    let new = s.change()?;
    check::bytes("after", &read(&s.old, 0)?, &new)?;
    check::bytes("never read before", &read(&unread, 0)?, &new)?;
    let end = rustix::fs::seek(&s.old, rustix::fs::SeekFrom::End(0))?;
    check::equal("end", end, new.len() as u64)?;
    check::equal("size", rustix::fs::fstat(&s.old)?.st_size, new.len() as i64)
}

fn moves_new(fx: &Fixture) -> Result {
    let s = Scene::new(fx)?;
    let new = s.change()?;
    let (reader, writer) = rustix::pipe::pipe()?;
    let flags = rustix::pipe::SpliceFlags::empty();
    let mut offset = 4000;
    let moved = rustix::pipe::splice(&s.old, Some(&mut offset), &writer, None, 200, flags)?;
    let mut buffer = vec![0; moved];
    rustix::io::read(&reader, &mut buffer)?;
    check::bytes("spliced", &buffer, &new[4000..4000 + moved])?;
    let copy = fx.place("copy")?.join("f");
    let target = File::create(&copy)?;
    let mut sent = 0;
    while sent < new.len() {
        sent += rustix::fs::sendfile(&target, &s.old, None, new.len() - sent)?.max(1);
    }
    data(&copy, &new)
}

fn syncs(fx: &Fixture) -> Result {
    let s = Scene::new(fx)?;
    let new = s.change()?;
    rustix::fs::fsync(&s.old)?;
    rustix::fs::fdatasync(&s.old)?;
    rustix::fs::fadvise(&s.old, 0, None, rustix::fs::Advice::DontNeed)?;
    check::bytes("after", &read(&s.old, 0)?, &new)
}

fn follows_flags(fx: &Fixture) -> Result {
    let s = Scene::new(fx)?;
    let plain = rustix::fs::fcntl_getfl(&s.old)?;
    rustix::fs::fcntl_setfl(&s.old, plain | OFlags::NONBLOCK)?;
    let new = s.change()?;
    check::bytes("set before", &read(&s.old, 0)?, &new)?;
    rustix::fs::fcntl_setfl(&s.old, plain | OFlags::APPEND)?;
    check::bytes("set after", &read(&s.old, 0)?, &new)?;
    let real = sys::open(s.lower.join("f"), OFlags::RDONLY | OFlags::DIRECT);
    if real.is_ok() {
        rustix::fs::fcntl_setfl(&s.old, plain | OFlags::DIRECT)?;
        let mut buffer = Aligned::<8192>::boxed();
        let length = rustix::io::pread(&s.old, &mut buffer.0, 4096)?;
        check::bytes("direct", &buffer.0[..length], &new[4096..4096 + length])?;
    }
    Ok(())
}

fn outlives_name(fx: &Fixture) -> Result {
    let s = Scene::new(fx)?;
    let new = s.change()?;
    rustix::fs::unlink(s.ov.join("f"))?;
    check::bytes("after", &read(&s.old, 0)?, &new)
}

/// Locks belong to the overlay's file, which is the same after it was copied up.
fn keeps_locks(fx: &Fixture) -> Result {
    let s = Scene::new(fx)?;
    rustix::fs::flock(&s.old, FlockOperation::NonBlockingLockExclusive)?;
    s.change()?;
    let other = sys::open_read(s.ov.join("f"))?;
    let result = rustix::fs::flock(&other, FlockOperation::NonBlockingLockShared);
    check::errno("second lock", result, Errno::AGAIN)?;
    drop(s.old);
    Ok(rustix::fs::flock(
        &other,
        FlockOperation::NonBlockingLockShared,
    )?)
}

fn async_reads(fx: &Fixture) -> Result {
    let s = Scene::new(fx)?;
    let new = s.change()?;
    let mut buffer = vec![0; 100];
    rawsys::aio_read(&s.old, &mut buffer, 4050)?;
    check::bytes("aio", &buffer, &new[4050..4150])?;
    match rawsys::uring_read(&s.old, &mut buffer, 4060) {
        Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        result => {
            check::equal("length", result?, 100)?;
            check::bytes("uring", &buffer, &new[4060..4160])
        }
    }
}

fn map(fd: &OwnedFd) -> Result<Mapping> {
    Ok(Mapping::new(fd, SIZE, MapFlags::SHARED, ProtFlags::READ)?)
}

fn old_mapping(fx: &Fixture) -> Result {
    let s = Scene::new(fx)?;
    let mapping = map(&s.old)?;
    let new = s.change()?;
    check::bytes("old mapping", &mapping.load(0, SIZE), &old_data())?;
    check::bytes("descriptor", &read(&s.old, 0)?, &new)?;
    check::bytes("still", &mapping.load(0, SIZE), &old_data())
}

/// What a mapping shows that is made by the old descriptor after the file was copied up.
fn expected_in_new_mapping(fx: &Fixture, new: &[u8]) -> Vec<u8> {
    // Overlayfs maps what was opened first, and so the two differ from each other.
    if fx.module().is_rovl() {
        new[..SIZE].to_vec()
    } else {
        old_data()
    }
}

fn new_mapping(fx: &Fixture) -> Result {
    let s = Scene::new(fx)?;
    let new = s.change()?;
    check::bytes("descriptor", &read(&s.old, 0)?, &new)?;
    let mapping = map(&s.old)?;
    let expected = expected_in_new_mapping(fx, &new);
    check::bytes("new mapping", &mapping.load(0, SIZE), &expected)?;
    let fresh = sys::open_read(s.ov.join("f"))?;
    check::bytes("new descriptor", &map(&fresh)?.load(0, SIZE), &new[..SIZE])
}

/// As above, with the mapping being the first use of the descriptor since.
fn mapping_first(fx: &Fixture) -> Result {
    let s = Scene::new(fx)?;
    let before = map(&s.old)?;
    let new = s.change()?;
    let mapping = map(&s.old)?;
    let expected = expected_in_new_mapping(fx, &new);
    check::bytes("new mapping", &mapping.load(0, SIZE), &expected)?;
    check::bytes("old mapping", &before.load(0, SIZE), &old_data())?;
    // It can be used like any other.
    let private = Mapping::new(
        &s.old,
        SIZE,
        MapFlags::PRIVATE,
        ProtFlags::READ | ProtFlags::WRITE,
    )?;
    private.store(0, b"private");
    check::bytes("descriptor", &read(&s.old, 0)?, &new)?;
    drop(s.old);
    sys::drop_caches()?;
    check::bytes("after closing", &mapping.load(0, SIZE), &expected)
}

/// As the others, with a lower layer that is an overlay, in which the file was copied up before.
fn stacked(fx: &Fixture) -> Result {
    let (below, bottom) = (fx.layer("below")?, fx.layer("bottom")?);
    bottom.file("f", "bottom")?;
    let inner = fx.upper(&below, &[&bottom])?;
    std::fs::write(inner.join("f"), old_data())?;
    let lower = Layer::create(inner.path().to_owned())?;
    let upper = fx.layer("upper")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let old = sys::open_read(ov.join("f"))?;
    let s = Scene { ov, lower, old };
    let before = map(&s.old)?;
    let new = s.change()?;
    let mapping = map(&s.old)?;
    let expected = expected_in_new_mapping(fx, &new);
    check::bytes("new mapping", &mapping.load(0, SIZE), &expected)?;
    check::bytes("descriptor", &read(&s.old, 0)?, &new)?;
    check::bytes("old mapping", &before.load(0, SIZE), &old_data())?;
    data(bottom.join("f"), b"bottom")
}

/// Many threads use old descriptors at the moment when their file is copied up.
fn many_readers(fx: &Fixture) -> Result {
    const FILES: usize = 3;
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for n in 0..FILES {
        lower.file(format!("f{n}"), vec![b'o'; SIZE])?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    for n in 0..FILES {
        let path = ov.join(format!("f{n}"));
        let old = sys::open_read(&path)?;
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| reads_until_new(&old)))
                .collect();
            let written = sys::open(&path, OFlags::WRONLY)
                .and_then(|fd| rustix::io::pwrite(fd, &[b'n'; SIZE], 0));
            let results: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
            check::equal("written", written, Ok(SIZE))?;
            for result in results {
                match result {
                    Ok(result) => result?,
                    Err(_) => return Err(check::Failure::new("a reader panicked")),
                }
            }
            Ok(())
        })?;
        data(&path, &[b'n'; SIZE])?;
    }
    Ok(())
}

/// Reads the first byte until it is the new one; before that it is the old one.
fn reads_until_new(fd: &OwnedFd) -> Result {
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let mut byte = [0];
        check::equal("length", rustix::io::pread(fd, &mut byte, 0)?, 1)?;
        match byte {
            [b'n'] => return Ok(()),
            [b'o'] if std::time::Instant::now() < limit => {}
            other => return Err(check::Failure::new(format!("read {other:?}"))),
        }
    }
}
