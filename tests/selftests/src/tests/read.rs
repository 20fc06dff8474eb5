// SPDX-License-Identifier: GPL-2.0-only

//! Reading files.

use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use rustix::pipe::SpliceFlags;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::check::Table;
use crate::expect::data;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("read_whole_file", "F3", whole).on_disks_too(),
    Test::new("read_in_small_pieces", "F3 F7", small_pieces).on_disks_too(),
    Test::new("read_pread", "F3", pread).on_disks_too(),
    Test::new("read_preadv2", "F3", preadv2).on_disks_too(),
    Test::new("read_sendfile", "F4", sendfile).on_disks_too(),
    Test::new("read_splice", "F4", splice).on_disks_too(),
    Test::new("read_copy_file_range_to_other_fs", "F9", copy_file_range).on_disks_too(),
    Test::new("read_direct_as_on_the_layer", "F3", direct).on_disks_too(),
    Test::new("read_sparse_file", "F3 F7", sparse).on_disks_too(),
    Test::new("read_seek", "F7", seek),
    Test::new("read_seek_data_and_hole", "F7", seek_data_and_hole).on_disks_too(),
    Test::new("read_large_offsets", "F3 F7", large_offsets).on_disks_too(),
    Test::new("read_into_bad_memory", "F3", bad_memory),
    Test::new("read_two_descriptors", "F2 F7", two_descriptors),
    Test::new("read_shared_position", "F7", shared_position),
    Test::new("read_in_parallel", "F3", parallel),
    Test::new("read_after_drop_caches", "F3", after_drop_caches).on_disks_too(),
    Test::new("read_two_mounts_one_lower", "F3 L8", two_mounts).on_disks_too(),
    Test::new("read_through_two_overlays", "F3 F25", two_overlays),
];

const PAGE: usize = 4096;

/// Sizes around page borders, and a large odd one.
const SIZES: [usize; 6] = [0, 1, PAGE - 1, PAGE, PAGE + 1, (1 << 20) + 3];

fn file_data(size: usize) -> Vec<u8> {
    sys::pattern(size, size as u64 + 1)
}

/// An overlay with one file of each size, from two layers.
fn files(fx: &Fixture) -> Result<Mounted> {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for (index, size) in SIZES.iter().enumerate() {
        let layer = [&upper, &lower][index % 2];
        layer.file(format!("{size}"), file_data(*size))?;
        let layer = [&lower, &upper][index % 2];
        layer.file(format!("other-{size}"), file_data(*size))?;
    }
    fx.upper(&upper, &[&lower])
}

/// Runs a check on every file of `files`.
fn for_each(fx: &Fixture, work: impl Fn(&Path, &[u8]) -> Result) -> Result {
    let ov = files(fx)?;
    let mut table = Table::new();
    for size in SIZES {
        for prefix in ["", "other-"] {
            let path = ov.join(format!("{prefix}{size}"));
            table.note(work(&path, &file_data(size)))?;
        }
    }
    table.finish()
}

fn whole(fx: &Fixture) -> Result {
    for_each(fx, |path, expected| data(path, expected))
}

fn small_pieces(fx: &Fixture) -> Result {
    for_each(fx, |path, expected| {
        let fd = sys::open_read(path)?;
        let mut read = Vec::new();
        let mut piece = vec![0; 4000 + expected.len() / 50];
        loop {
            let length = rustix::io::read(&fd, &mut piece)?;
            if length == 0 {
                break;
            }
            read.extend_from_slice(&piece[..length]);
            check::equal("position", rustix::fs::tell(&fd)?, read.len() as u64)?;
        }
        check::bytes(path.display(), &read, expected)?;
        check::equal("read at the end", rustix::io::read(&fd, &mut piece)?, 0)
    })
}

fn pread(fx: &Fixture) -> Result {
    for_each(fx, |path, expected| {
        let fd = sys::open_read(path)?;
        let mut buffer = vec![0; 5000];
        for offset in [0, 1, 4095, 4096, 4097, 1 << 20, 1 << 21] {
            let length = rustix::io::pread(&fd, &mut buffer, offset as u64)?;
            let from = expected.len().min(offset);
            let to = expected.len().min(offset + buffer.len());
            let what = format!("{} at {offset}", path.display());
            check::bytes(what, &buffer[..length], &expected[from..to])?;
        }
        check::equal("position", rustix::fs::tell(&fd)?, 0)
    })
}

fn preadv2(fx: &Fixture) -> Result {
    for_each(fx, |path, expected| {
        let fd = sys::open_read(path)?;
        for flags in [ReadWriteFlags::empty(), ReadWriteFlags::HIPRI] {
            let (mut one, mut two) = ([0; 100], [0; 6000]);
            let mut parts = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
            let length = rustix::io::preadv2(&fd, &mut parts, 3, flags)
                .context(format_args!("{flags:?}"))?;
            let read = [&one[..], &two[..]].concat();
            let from = expected.len().min(3);
            let to = expected.len().min(from + read.len());
            check::bytes(path.display(), &read[..length], &expected[from..to])?;
        }
        // overlayfs does not say that its files can be read without waiting.
        let mut buffer = [0; 10];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let result = rustix::io::preadv2(&fd, &mut parts, 0, ReadWriteFlags::NOWAIT);
        check::errno("RWF_NOWAIT", result, Errno::OPNOTSUPP)
    })
}

fn sendfile(fx: &Fixture) -> Result {
    let copy = fx.place("copies")?.join("copy");
    for_each(fx, |path, expected| {
        let fd = sys::open_read(path)?;
        let target = std::fs::File::create(&copy)?;
        let mut sent = 0;
        loop {
            let length = rustix::fs::sendfile(&target, &fd, None, 300_000)?;
            if length == 0 {
                break;
            }
            sent += length;
        }
        check::equal("length", sent, expected.len())?;
        data(&copy, expected)
    })
}

fn splice(fx: &Fixture) -> Result {
    for_each(fx, |path, expected| {
        let fd = sys::open_read(path)?;
        let (reader, writer) = rustix::pipe::pipe()?;
        let mut read = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        // A given offset leaves the position alone.
        let mut offset = 0;
        loop {
            let flags = SpliceFlags::empty();
            let length =
                rustix::pipe::splice(&fd, Some(&mut offset), &writer, None, 1 << 16, flags)?;
            if length == 0 {
                break;
            }
            let mut left = length;
            while left > 0 {
                let got = rustix::io::read(&reader, &mut buffer)?;
                read.extend_from_slice(&buffer[..got]);
                left -= got;
            }
        }
        check::bytes(path.display(), &read, expected)?;
        check::equal("offset", offset, expected.len() as u64)?;
        check::equal("position", rustix::fs::tell(&fd)?, 0)
    })
}

/// From an overlay to another filesystem the caller has to copy by itself.
fn copy_file_range(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", file_data(10_000))?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_read(ov.join("f"))?;
    let target = std::fs::File::create(fx.root().join("copy"))?;
    let result = rustix::fs::copy_file_range(&fd, None, &target, None, 10_000);
    check::errno("to the layer's filesystem", result, Errno::XDEV)
}

/// O_DIRECT does what it does on the layer: the same data or the same errno.
fn direct(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for size in SIZES {
        bottom.file(format!("{size}"), file_data(size))?;
    }
    rustix::fs::syncfs(sys::open_dir(bottom.path())?)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let read = |path: &Path, offset: u64| -> std::result::Result<Vec<u8>, Errno> {
        let fd = sys::open(path, OFlags::RDONLY | OFlags::DIRECT)?;
        let mut space = vec![0; 3 * PAGE];
        let skip = space.as_ptr().align_offset(PAGE);
        let buffer = &mut space[skip..skip + 2 * PAGE];
        let length = rustix::io::pread(&fd, &mut *buffer, offset)?;
        Ok(buffer[..length].to_vec())
    };
    let mut table = Table::new();
    for size in SIZES {
        let name = format!("{size}");
        for offset in [0, PAGE as u64, 512, 7] {
            let what = format!("file of {size} bytes at {offset}");
            let on_layer = read(&bottom.join(&name), offset);
            table.note(check::equal(what, read(&ov.join(&name), offset), on_layer))?;
        }
    }
    table.finish()
}

/// A file with data in the middle of a large hole, and its overlay.
fn sparse_file(fx: &Fixture) -> Result<(Mounted, Layer)> {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let file = std::fs::File::create(bottom.join("sparse"))?;
    file.write_all_at(b"island", 4 << 20)?;
    file.set_len(8 << 20)?;
    file.sync_all()?;
    Ok((fx.lowers(&[&top, &bottom])?, bottom))
}

fn sparse(fx: &Fixture) -> Result {
    let (ov, _) = sparse_file(fx)?;
    let mut expected = vec![0; 8 << 20];
    expected[4 << 20..][..6].copy_from_slice(b"island");
    data(ov.join("sparse"), &expected)
}

fn seek(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "0123456789")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_read(ov.join("f"))?;
    let next = || -> Result<Option<u8>> {
        let mut byte = [0];
        let length = rustix::io::read(&fd, &mut byte)?;
        Ok((length == 1).then_some(byte[0]))
    };
    let go = |to: SeekFrom| rustix::fs::seek(&fd, to);
    check::equal("start", go(SeekFrom::Start(3))?, 3)?;
    check::equal("byte", next()?, Some(b'3'))?;
    check::equal("current", go(SeekFrom::Current(2))?, 6)?;
    check::equal("byte", next()?, Some(b'6'))?;
    check::equal("end", go(SeekFrom::End(-1))?, 9)?;
    check::equal("byte", next()?, Some(b'9'))?;
    check::equal("at the end", next()?, None)?;
    check::equal("beyond the end", go(SeekFrom::End(100))?, 110)?;
    check::equal("nothing there", next()?, None)?;
    check::equal("start", go(SeekFrom::Start(0))?, 0)?;
    check::equal("byte", next()?, Some(b'0'))?;
    check::equal("position", go(SeekFrom::Current(0))?, 1)?;
    check::errno("before the start", go(SeekFrom::Current(-2)), Errno::INVAL)?;
    check::errno("before the start", go(SeekFrom::End(-11)), Errno::INVAL)?;
    check::equal("position kept", go(SeekFrom::Current(0))?, 1)
}

/// Data and holes are where the layer's filesystem says.
fn seek_data_and_hole(fx: &Fixture) -> Result {
    let (ov, layer) = sparse_file(fx)?;
    layer.file("full", file_data(10_000))?.file("empty", "")?;
    let mut table = Table::new();
    for name in ["sparse", "full", "empty"] {
        let (seen, real) = (
            sys::open_read(ov.join(name))?,
            sys::open_read(layer.join(name))?,
        );
        for offset in [
            0,
            1,
            5000,
            10_000,
            4 << 20,
            (4 << 20) + 4096,
            8 << 20,
            9 << 20,
        ] {
            for to in [SeekFrom::Data(offset), SeekFrom::Hole(offset)] {
                let on_layer = rustix::fs::seek(&real, to);
                let what = format!("{name} {to:?}");
                table.note(check::equal(what, rustix::fs::seek(&seen, to), on_layer))?;
            }
        }
    }
    table.finish()
}

fn large_offsets(fx: &Fixture) -> Result {
    const SIZE: u64 = 5 << 30;
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let file = std::fs::File::create(bottom.join("large"))?;
    file.set_len(SIZE)?;
    file.write_all_at(b"end", SIZE - 3)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_read(ov.join("large"))?;
    let mut buffer = [0; 16];
    let length = rustix::io::pread(&fd, &mut buffer, SIZE - 3)?;
    check::bytes("end", &buffer[..length], b"end")?;
    check::equal("end", rustix::fs::seek(&fd, SeekFrom::End(0))?, SIZE)?;
    let far = i64::MAX as u64 - 4096;
    check::equal("far beyond", rustix::io::pread(&fd, &mut buffer, far)?, 0)?;
    let result = rustix::io::pread(&fd, &mut buffer, u64::MAX);
    check::errno("negative offset", result, Errno::INVAL)
}

fn bad_memory(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", file_data(PAGE))?.file("short", "x")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_read(ov.join("f"))?;
    // The second page of a mapping of a one-byte file is memory that cannot be written.
    let short = sys::open_read(bottom.join("short"))?;
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    let mut mapping = sys::Mapping::new(&short, 2 * PAGE, MapFlags::PRIVATE, prot)?;
    let result = rustix::io::read(&fd, &mut mapping.bytes_mut()[PAGE..]);
    check::errno("read", result, Errno::FAULT)?;
    let mut buffer = vec![0; PAGE];
    check::equal("read after it", rustix::io::read(&fd, &mut buffer)?, PAGE)?;
    check::bytes("data", &buffer, &file_data(PAGE))
}

fn two_descriptors(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "0123456789")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let (one, two) = (sys::open_read(ov.join("f"))?, sys::open_read(ov.join("f"))?);
    let mut buffer = [0; 4];
    rustix::io::read(&one, &mut buffer)?;
    rustix::io::read(&two, &mut buffer[..2])?;
    check::equal("position", rustix::fs::tell(&one)?, 4)?;
    check::equal("position", rustix::fs::tell(&two)?, 2)?;
    drop(one);
    rustix::io::read(&two, &mut buffer)?;
    check::bytes("data", &buffer, b"2345")
}

fn shared_position(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "0123456789")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let one = sys::open_read(ov.join("f"))?;
    let two = one.try_clone()?;
    let mut buffer = [0; 4];
    rustix::io::read(&one, &mut buffer)?;
    rustix::io::read(&two, &mut buffer)?;
    check::bytes("data", &buffer, b"4567")?;
    // Through /proc it is another open file.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&two));
    let again = sys::open_read(path)?;
    check::equal("position", rustix::fs::tell(&again)?, 0)
}

fn parallel(fx: &Fixture) -> Result {
    let ov = files(fx)?;
    let size = SIZES[5];
    let expected = file_data(size);
    let fd = sys::open_read(ov.join(format!("{size}")))?;
    let read = |thread: usize| -> Result {
        let mut buffer = vec![0; 10_000];
        for round in 0..100 {
            let offset = (thread * 7919 + round * 104_729) % size;
            let length = rustix::io::pread(fd.as_fd(), &mut buffer, offset as u64)?;
            let end = size.min(offset + buffer.len());
            check::bytes("data", &buffer[..length], &expected[offset..end])?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || read(n))).collect();
        let joined = threads
            .into_iter()
            .map(|t| t.join().expect("threads do not panic"));
        joined.collect()
    })
}

fn after_drop_caches(fx: &Fixture) -> Result {
    for_each(fx, |path, expected| {
        let fd = sys::open_read(path)?;
        sys::drop_caches().context("drop caches")?;
        let mut buffer = vec![0; expected.len() + 1];
        let mut read = 0;
        while let length @ 1.. = rustix::io::read(&fd, &mut buffer[read..])? {
            read += length;
        }
        check::bytes(path.display(), &buffer[..read], expected)
    })
}

fn two_mounts(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let top = fx.layer("top")?;
    lower.file("f", file_data(100_000))?;
    let (one, two) = (fx.upper(&upper, &[&lower])?, fx.lowers(&[&top, &lower])?);
    let fd = sys::open_read(one.join("f"))?;
    data(one.join("f"), &file_data(100_000))?;
    data(two.join("f"), &file_data(100_000))?;
    let other = sys::open_read(two.join("f"))?;
    drop(fd);
    fx.unmount(one.path())?;
    let mut buffer = vec![0; 100_000];
    check::equal(
        "length",
        rustix::io::pread(&other, &mut buffer, 0)?,
        100_000,
    )?;
    check::bytes("data", &buffer, &file_data(100_000))
}

fn two_overlays(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[2].file("f", file_data(50_000))?;
    let inner = fx.lowers(&layers[1..])?;
    let outer = fx.lowers(&[&layers[0], &Layer::create(inner.path().to_owned())?])?;
    data(outer.join("f"), &file_data(50_000))?;
    let fd = sys::open_read(outer.join("f"))?;
    let (reader, writer) = rustix::pipe::pipe()?;
    let flags = SpliceFlags::empty();
    let length = rustix::pipe::splice(&fd, None, &writer, None, 1000, flags)?;
    let mut buffer = vec![0; 1000];
    let read = rustix::io::read(&reader, &mut buffer)?;
    check::equal("length", read, length)?;
    check::bytes("data", &buffer[..read], &file_data(50_000)[..read])
}
