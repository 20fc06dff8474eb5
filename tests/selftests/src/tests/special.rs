// SPDX-License-Identifier: GPL-2.0-only

//! Fifos, sockets and device nodes.

use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;

use rustix::fs::FileType;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("special_kinds_and_devices", "F13", kinds_and_devices).on_disks_too(),
    Test::new("special_fifo_carries_data", "C1 F1", fifo_carries_data),
    Test::new(
        "special_fifo_is_not_that_of_the_layer",
        "L8",
        fifo_of_its_own,
    ),
    Test::new("special_device_opens", "F1 C1", device_opens),
    Test::new("special_nodev", "M18", nodev),
    Test::new("special_socket_is_not_opened", "F1", socket_not_opened),
    Test::new("special_socket_of_layer_refuses", "L8", socket_refuses),
];

fn kinds_and_devices(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let nodes = [
        ("fifo", FileType::Fifo, (0, 0)),
        ("socket", FileType::Socket, (0, 0)),
        ("char", FileType::CharacterDevice, (4, 64)),
        ("char-0-1", FileType::CharacterDevice, (0, 1)),
        ("char-1-0", FileType::CharacterDevice, (1, 0)),
        ("block", FileType::BlockDevice, (8, 17)),
        ("block-big", FileType::BlockDevice, (511, 0x3_ffff)),
    ];
    for (name, kind, device) in nodes {
        lower.node(name, kind, 0o600, device)?;
        upper.node(format!("up-{name}"), kind, 0o600, device)?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    for (name, kind, (major, minor)) in nodes {
        for path in [ov.join(name), ov.join(format!("up-{name}"))] {
            let st = sys::lstat(&path)?;
            let device = rustix::fs::makedev(major, minor);
            check::equal("type", FileType::from_raw_mode(st.st_mode), kind)?;
            check::equal(format_args!("device of {name}"), st.st_rdev, device)?;
        }
    }
    Ok(())
}

/// A fifo can be opened for writing although the mount is read-only, and copies nothing up.
fn fifo_carries_data(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.node("fifo", FileType::Fifo, 0o644, (0, 0))?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fifo = ov.join("fifo");
    let reader = sys::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let writer = sys::open(&fifo, OFlags::WRONLY | OFlags::NONBLOCK)?;
    rustix::io::write(&writer, b"through the fifo")?;
    let mut buffer = [0; 64];
    let length = rustix::io::read(&reader, &mut buffer)?;
    check::bytes("data", &buffer[..length], b"through the fifo")
}

/// The overlay's fifo and the layer's are two pipes.
fn fifo_of_its_own(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.node("fifo", FileType::Fifo, 0o644, (0, 0))?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let _reader = sys::open(ov.join("fifo"), OFlags::RDONLY | OFlags::NONBLOCK)?;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    check::errno("layer", sys::open(bottom.join("fifo"), flags), Errno::NXIO)?;
    sys::open(ov.join("fifo"), flags)?;
    Ok(())
}

fn device_opens(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.node("null", FileType::CharacterDevice, 0o666, (1, 3))?;
    bottom.node("zero", FileType::CharacterDevice, 0o666, (1, 5))?;
    bottom.node("nothing", FileType::CharacterDevice, 0o666, (510, 9))?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let null = sys::open(ov.join("null"), OFlags::RDWR)?;
    check::equal("write to null", rustix::io::write(&null, b"gone")?, 4)?;
    let mut buffer = [1; 16];
    check::equal("read of null", rustix::io::read(&null, &mut buffer)?, 0)?;
    let zero = sys::open_read(ov.join("zero"))?;
    check::equal("read of zero", rustix::io::read(&zero, &mut buffer)?, 16)?;
    check::bytes("zeroes", &buffer, &[0; 16])?;
    let result = sys::open_read(ov.join("nothing"));
    check::errno("no such device", result, Errno::NXIO)
}

fn nodev(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.node("null", FileType::CharacterDevice, 0o666, (1, 3))?;
    bottom.node("fifo", FileType::Fifo, 0o666, (0, 0))?;
    let options = Options::new().lowers(&[&top, &bottom]);
    let ov = fx.mount(&options.mount_flags(MountFlags::NODEV))?;
    check::errno("null", sys::open_read(ov.join("null")), Errno::ACCESS)?;
    sys::open(ov.join("fifo"), OFlags::RDONLY | OFlags::NONBLOCK)?;
    Ok(())
}

fn socket_not_opened(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.node("socket", FileType::Socket, 0o666, (0, 0))?;
    let ov = fx.lowers(&[&top, &bottom])?;
    check::errno("open", sys::open_read(ov.join("socket")), Errno::NXIO)?;
    sys::open(ov.join("socket"), OFlags::PATH)?;
    Ok(())
}

/// A server that listens on the layer's socket is not reached through the overlay.
fn socket_refuses(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let _server = UnixListener::bind(bottom.join("socket"))?;
    UnixStream::connect(bottom.join("socket"))?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let result = UnixStream::connect(ov.join("socket"));
    check::errno("connect", result, Errno::CONNREFUSED)
}
