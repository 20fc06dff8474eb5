// SPDX-License-Identifier: GPL-2.0-only

//! Ways to use an open file beside reading it: asynchronous reads, leases, flags, a place in memory.

use std::path::Path;

use rustix::fs::fcntl_getfl;
use rustix::fs::fcntl_setfl;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::IoSliceMut;
use rustix::io::ReadWriteFlags;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use crate::check;
use crate::check::Failure;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::layer::Layer;
use crate::rawsys;
use crate::rawsys::Aligned;
use crate::rawsys::Lease;
use crate::registry::Backing;
use crate::registry::Test;
use crate::sys;
use crate::sys::Mapping;

pub const TESTS: &[Test] = &[
    Test::new("io_aio", "F3", aio).on_disks_in_their_way(),
    Test::new("io_aio_direct", "F3", aio_direct).on_disks_in_their_way(),
    Test::new("io_uring", "F3", uring).on_disks_in_their_way(),
    Test::new("io_uring_direct", "F3", uring_direct).on_disks_in_their_way(),
    Test::new("io_rwf_flags", "F3", rwf_flags).on_disks_in_their_way(),
    Test::new("io_direct_switched_on_later", "F2 F3", direct_later).on_disks_in_their_way(),
    Test::new("io_leases", "F10", leases),
    Test::new("io_fsync_of_lower_and_upper", "F6 R6", fsync).on_disks_in_their_way(),
    Test::new("io_mapping_aligned_as_on_the_layer", "F5", alignment)
        .on_disks_in_their_way()
        .rovl_only("overlayfs does not align mappings for huge pages"),
];

const SIZE: usize = 64 * 1024;

fn one_file(fx: &Fixture) -> Result<(Mounted, Layer, Vec<u8>)> {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let data = sys::pattern(SIZE + 100, 11);
    bottom.file("f", &data)?;
    rustix::fs::sync();
    Ok((fx.lowers(&[&top, &bottom])?, bottom, data))
}

/// Opens for direct I/O, if that is possible on the layer.
fn open_direct(layer: &Layer, path: &Path) -> Result<rustix::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECT;
    match sys::open(layer.join("f"), flags) {
        Ok(_) => Ok(sys::open(path, flags)?),
        Err(error) => {
            check::errno("open", sys::open(path, flags), error)?;
            Err(Failure::skip("no direct I/O on this layer"))
        }
    }
}

fn aio(fx: &Fixture) -> Result {
    let (ov, _, data) = one_file(fx)?;
    let fd = sys::open_read(ov.join("f"))?;
    let mut buffer = vec![0; 5000];
    let read = rawsys::aio_read(&fd, &mut buffer, 1000)?;
    check::equal("length", read, 5000)?;
    check::bytes("data", &buffer, &data[1000..6000])?;
    let read = rawsys::aio_read(&fd, &mut buffer, SIZE as i64)?;
    check::equal("at the end", read, 100)?;
    check::bytes("data", &buffer[..100], &data[SIZE..])?;
    check::equal("position", rustix::fs::tell(&fd)?, 0)
}

fn aio_direct(fx: &Fixture) -> Result {
    let (ov, layer, data) = one_file(fx)?;
    let fd = open_direct(&layer, &ov.join("f"))?;
    let mut buffer = Aligned::<8192>::boxed();
    let read = rawsys::aio_read(&fd, &mut buffer.0, 4096)?;
    check::equal("length", read, 8192)?;
    check::bytes("data", &buffer.0, &data[4096..12288])
}

fn uring(fx: &Fixture) -> Result {
    let (ov, _, data) = one_file(fx)?;
    let fd = sys::open_read(ov.join("f"))?;
    let mut buffer = vec![0; 5000];
    // Once with nothing cached, once from the cache.
    for _ in 0..2 {
        let read = match rawsys::uring_read(&fd, &mut buffer, 1000) {
            Err(Errno::NOSYS | Errno::PERM) => return Err(Failure::skip("no io_uring")),
            other => other?,
        };
        check::equal("length", read, 5000)?;
        check::bytes("data", &buffer, &data[1000..6000])?;
    }
    let read = rawsys::uring_read(&fd, &mut buffer, SIZE as u64)?;
    check::equal("at the end", read, 100)
}

fn uring_direct(fx: &Fixture) -> Result {
    let (ov, layer, data) = one_file(fx)?;
    let fd = open_direct(&layer, &ov.join("f"))?;
    let mut buffer = Aligned::<8192>::boxed();
    let read = match rawsys::uring_read(&fd, &mut buffer.0, 4096) {
        Err(Errno::NOSYS | Errno::PERM) => return Err(Failure::skip("no io_uring")),
        other => other?,
    };
    check::equal("length", read, 8192)?;
    check::bytes("data", &buffer.0, &data[4096..12288])
}

fn rwf_flags(fx: &Fixture) -> Result {
    let (ov, _, data) = one_file(fx)?;
    let fd = sys::open_read(ov.join("f"))?;
    let mut buffer = vec![0; 4096];
    let mut read = |flags| {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        rustix::io::preadv2(&fd, &mut slices, 0, flags)
    };
    let nowait = read(ReadWriteFlags::NOWAIT);
    check::errno("nowait", nowait, Errno::OPNOTSUPP)?;
    check::equal("high priority", read(ReadWriteFlags::HIPRI), Ok(4096))?;
    check::equal("none", read(ReadWriteFlags::empty()), Ok(4096))?;
    check::bytes("data", &buffer, &data[..4096])
}

/// The layer's file follows the flags that fcntl sets on the overlay's.
fn direct_later(fx: &Fixture) -> Result {
    let (ov, layer, data) = one_file(fx)?;
    drop(open_direct(&layer, &ov.join("f"))?);
    let fd = sys::open_read(ov.join("f"))?;
    let mut buffer = Aligned::<8192>::boxed();
    let mut read = |offset: usize, length: usize| -> Result {
        let read = rustix::io::pread(&fd, &mut buffer.0[..length], offset as u64)?;
        check::equal("length", read, length)?;
        check::bytes("data", &buffer.0[..length], &data[offset..offset + length])
    };
    read(1, 100)?;
    let plain = fcntl_getfl(&fd)?;
    fcntl_setfl(&fd, plain | OFlags::DIRECT)?;
    read(4096, 8192)?;
    if fx.backing() != Backing::Tmpfs {
        let mut odd = Aligned::<8192>::boxed();
        let result = rustix::io::pread(&fd, &mut odd.0[1..100], 3);
        check::errno("unaligned direct read", result, Errno::INVAL)?;
    }
    fcntl_setfl(&fd, plain)?;
    read(3, 99)?;
    fcntl_setfl(&fd, plain | OFlags::NONBLOCK | OFlags::APPEND)?;
    read(5, 50)
}

fn leases(fx: &Fixture) -> Result {
    let (ov, layer, _) = one_file(fx)?;
    let fd = sys::open_read(ov.join("f"))?;
    check::equal("at first", rawsys::lease(&fd), Ok(Lease::None))?;
    rawsys::set_lease(&fd, Lease::Read)?;
    check::equal("taken", rawsys::lease(&fd), Ok(Lease::Read))?;
    // Readers do not break it.
    let other = sys::open_read(ov.join("f"))?;
    check::equal("kept", rawsys::lease(&fd), Ok(Lease::Read))?;
    let write = rawsys::set_lease(&other, Lease::Write);
    check::errno("write lease beside another reader", write, Errno::AGAIN)?;
    rawsys::set_lease(&fd, Lease::None)?;
    check::equal("given back", rawsys::lease(&fd), Ok(Lease::None))?;
    // It is one of the overlay's file, and not of the layer's.
    rawsys::set_lease(&fd, Lease::Read)?;
    let below = sys::open_read(layer.join("f"))?;
    check::equal("layer", rawsys::lease(&below), Ok(Lease::None))?;
    let dir = sys::open_dir(ov.path())?;
    let real = sys::open_dir(layer.path())?;
    let expected = rawsys::set_lease(&real, Lease::Read);
    check::equal("directory", rawsys::set_lease(&dir, Lease::Read), expected)
}

fn fsync(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("u", "")?.dir("d")?.dir("du")?;
    lower.file("l", "")?.dir("d")?.dir("dl")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for name in ["u", "l", "d", "du", "dl", ""] {
        let fd = sys::open_read(ov.join(name))?;
        rustix::fs::fsync(&fd)?;
        rustix::fs::fdatasync(&fd)?;
    }
    Ok(())
}

/// Mappings of big files begin where huge pages do, if the layer's filesystem wants that.
fn alignment(fx: &Fixture) -> Result {
    const HUGE: usize = 2 << 20;
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let file = std::fs::File::create(bottom.join("f"))?;
    file.set_len(4 * HUGE as u64)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let aligned = |path: &Path| -> Result<usize> {
        let fd = sys::open_read(path)?;
        let map = |length| Mapping::new(&fd, length, MapFlags::SHARED, ProtFlags::READ);
        let mut kept = Vec::new();
        let mut aligned = 0;
        for round in 1..=8 {
            // Moves the next free address away from a border.
            kept.push(map(4096 * round)?);
            let mapping = map(HUGE)?;
            aligned += usize::from(mapping.address() % HUGE == 0);
            kept.push(mapping);
        }
        Ok(aligned)
    };
    let real = aligned(&bottom.join("f"))?;
    check::equal("aligned mappings", aligned(&ov.join("f"))?, real)?;
    if fx.backing() == Backing::Ext4 && real == 0 {
        return Err(Failure::skip("the layer does not align either"));
    }
    // What is mapped is the file all the same.
    let fd = sys::open_read(ov.join("f"))?;
    let mapping = Mapping::new(&fd, 2 * HUGE, MapFlags::PRIVATE, ProtFlags::READ)?;
    check::ok(
        mapping.bytes().iter().step_by(4096).all(|b| *b == 0),
        "zeros",
    )
}
