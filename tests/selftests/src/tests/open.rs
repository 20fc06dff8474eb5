// SPDX-License-Identifier: GPL-2.0-only

//! Opening files, and what can be done with a descriptor besides reading.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;
use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::rawsys;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("open_flags", "F1 F2", open_flags),
    Test::new("open_access_modes", "F1", access_modes),
    Test::new("open_wrong_kind", "F1", wrong_kind),
    Test::new("open_set_flags", "F2", set_flags),
    Test::new("open_set_flags_and_close", "F2 F6 F8", set_flags_and_close)
        .rovl_only("overlayfs fails with EINVAL"),
    Test::new("open_closed_unused", "F2 F8", closed_unused)
        .rovl_only("overlayfs opens the file in upper"),
    Test::new("open_locks", "F10", locks),
    Test::new("open_ioctl", "F10", ioctl),
    Test::new("open_fadvise_and_readahead", "F8", fadvise),
    Test::new("open_fsync", "F6 F20", fsync),
    Test::new("open_many_files", "F1", many_files),
    Test::new("open_is_noticed_by_path", "F1 Q26", noticed),
];

const SIZE: usize = 100_000;

fn file_data() -> Vec<u8> {
    sys::pattern(SIZE, 1)
}

fn open_flags(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?.dir("d")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for flags in [
        OFlags::NONBLOCK,
        OFlags::NOATIME,
        OFlags::NOCTTY,
        OFlags::NOFOLLOW,
        OFlags::SYNC,
        OFlags::APPEND,
        // Nothing is created where something is.
        OFlags::CREATE,
    ] {
        let fd = sys::open(ov.join("f"), flags).context(format_args!("{flags:?}"))?;
        let mut buffer = [0; 8];
        check::equal("length", rustix::io::read(&fd, &mut buffer)?, 4)?;
        let shown = rustix::fs::fcntl_getfl(&fd)?;
        let kept = flags - OFlags::CREATE - OFlags::NOCTTY;
        check::ok(
            shown.contains(kept),
            format_args!("opened with {flags:?}, F_GETFL shows {shown:?}"),
        )?;
    }
    sys::open(ov.join("d"), OFlags::DIRECTORY | OFlags::NOATIME)?;
    let result = sys::open(ov.join("f"), OFlags::CREATE | OFlags::EXCL);
    check::errno("O_EXCL", result, Errno::EXIST)
}

fn access_modes(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_read(ov.join("f"))?;
    check::errno("write", rustix::io::write(&fd, b"x"), Errno::BADF)?;
    check::errno("ftruncate", rustix::fs::ftruncate(&fd, 0), Errno::INVAL)?;
    let o_path = sys::open(ov.join("f"), OFlags::PATH)?;
    check::errno("read", rustix::io::read(&o_path, &mut [0; 1]), Errno::BADF)
}

fn wrong_kind(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?.dir("d")?;
    top.dir("m")?;
    bottom.dir("m")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let result = sys::open(ov.join("f"), OFlags::DIRECTORY);
    check::errno("O_DIRECTORY", result, Errno::NOTDIR)?;
    for dir in ["d", "m"] {
        let result = sys::open(ov.join(dir), OFlags::RDWR);
        check::errno("directory for writing", result, Errno::ISDIR)?;
        let result = sys::open(ov.join(dir), OFlags::CREATE);
        check::errno("directory to create", result, Errno::ISDIR)?;
    }
    Ok(())
}

/// F_SETFL reaches the layer's file: O_DIRECT is taken where the layer takes it.
fn set_flags(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", file_data())?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_read(ov.join("f"))?;
    let layer = sys::open_read(bottom.join("f"))?;
    for flags in [
        OFlags::NONBLOCK,
        OFlags::APPEND,
        OFlags::DIRECT,
        OFlags::empty(),
    ] {
        let on_layer = rustix::fs::fcntl_setfl(&layer, flags);
        let what = format!("F_SETFL {flags:?}");
        check::equal(what, rustix::fs::fcntl_setfl(&fd, flags), on_layer)?;
        if on_layer.is_ok() {
            let shown = rustix::fs::fcntl_getfl(&fd)?;
            check::ok(
                shown.contains(flags),
                format_args!("F_GETFL shows {shown:?}"),
            )?;
        }
    }
    let mut buffer = vec![0; SIZE];
    check::equal("length", rustix::io::read(&fd, &mut buffer)?, SIZE)?;
    check::bytes("data", &buffer, &file_data())
}

/// Flags that the layer refuses keep nobody from syncing and closing.
fn set_flags_and_close(fx: &Fixture) -> Result {
    let path = fx.place("ramfs")?;
    mount("ramfs", &path, "ramfs", MountFlags::empty(), None).context("mount ramfs")?;
    fx.adopt(&path);
    let (top, bottom) = (fx.layer("top")?, Layer::create(path.join("bottom"))?);
    bottom.file("f", file_data())?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_read(ov.join("f"))?;
    rustix::fs::fcntl_setfl(&fd, OFlags::DIRECT)?;
    let result = rustix::io::read(&fd, &mut [0; 8]);
    check::errno("read", result, Errno::INVAL)?;
    rustix::fs::fsync(&fd)?;
    Ok(rawsys::close(fd)?)
}

/// A descriptor that was not used since its file was copied up opens nothing when it is closed.
fn closed_unused(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.file("f", "data")?;
    let path = fx.upper(&upper, &[&lower])?.join("f");
    let (unused, used) = (sys::open_read(&path)?, sys::open_read(&path)?);
    rustix::fs::chmod(&path, Mode::RUSR)?;
    let copy = watch(upper.join("f"))?;
    rawsys::close(unused)?;
    let none = inotify::ReadFlags::empty();
    check::equal("of the copy", events(&copy)?, none)?;
    rustix::io::read(&used, &mut [0; 1])?;
    rawsys::close(used)?;
    let all =
        inotify::ReadFlags::OPEN | inotify::ReadFlags::ACCESS | inotify::ReadFlags::CLOSE_NOWRITE;
    check::equal("of the copy, once it was read", events(&copy)?, all)
}

fn locks(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let (one, two) = (sys::open_read(ov.join("f"))?, sys::open_read(ov.join("f"))?);
    rustix::fs::flock(&one, FlockOperation::NonBlockingLockExclusive)?;
    let result = rustix::fs::flock(&two, FlockOperation::NonBlockingLockShared);
    check::errno("second lock", result, Errno::AGAIN)?;
    // The layer's file is another file, as far as locks go.
    let layer = sys::open_read(bottom.join("f"))?;
    rustix::fs::flock(&layer, FlockOperation::NonBlockingLockExclusive)?;
    drop(one);
    rustix::fs::flock(&two, FlockOperation::NonBlockingLockShared)?;
    let posix = FlockOperation::NonBlockingLockShared;
    rustix::fs::fcntl_lock(&two, posix)?;
    let result = rustix::fs::fcntl_lock(&two, FlockOperation::NonBlockingLockExclusive);
    check::errno("write lock on a read descriptor", result, Errno::BADF)
}

fn ioctl(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?.dir("d")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["f", "d"] {
        let fd = sys::open_read(ov.join(name))?;
        let result = rustix::fs::ioctl_blksszget(&fd);
        check::errno("BLKSSZGET", result, Errno::NOTTY)?;
    }
    Ok(())
}

fn fadvise(fx: &Fixture) -> Result {
    use rustix::fs::Advice;
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", file_data())?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_read(ov.join("f"))?;
    for advice in [
        Advice::Normal,
        Advice::Sequential,
        Advice::Random,
        Advice::WillNeed,
        Advice::NoReuse,
        Advice::DontNeed,
    ] {
        rustix::fs::fadvise(&fd, 0, None, advice).context(format_args!("{advice:?}"))?;
    }
    let mut buffer = vec![0; SIZE];
    check::equal("length", rustix::io::pread(&fd, &mut buffer, 0)?, SIZE)?;
    check::bytes("data", &buffer, &file_data())
}

/// Syncing what was only read succeeds.
fn fsync(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("up", "data")?;
    lower.file("low", "data")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for name in ["up", "low"] {
        let fd = sys::open_read(ov.join(name))?;
        rustix::fs::fsync(&fd).context("fsync")?;
        rustix::fs::fdatasync(&fd).context("fdatasync")?;
        rustix::fs::syncfs(&fd).context("syncfs")?;
    }
    Ok(())
}

fn many_files(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    for n in 0..300 {
        layers[n % 3].file(format!("f{n}"), format!("{n}"))?;
    }
    let ov = fx.lowers(&layers)?;
    let mut open = Vec::new();
    for n in 0..300 {
        open.push(sys::open_read(ov.join(format!("f{n}")))?);
    }
    for (n, fd) in open.iter().enumerate().rev() {
        let mut buffer = [0; 8];
        let length = rustix::io::read(fd, &mut buffer)?;
        check::bytes("data", &buffer[..length], format!("{n}").as_bytes())?;
    }
    Ok(())
}

/// Watches what is done to one file.
fn watch(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
    let group = inotify::init(flags).context("inotify")?;
    let all = inotify::WatchFlags::ALL_EVENTS;
    inotify::add_watch(&group, path.as_ref(), all).context("watch")?;
    Ok(group)
}

/// What was done since; nothing if nothing was.
fn events(group: &OwnedFd) -> Result<inotify::ReadFlags> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(group, &mut buffer);
    let mut seen = inotify::ReadFlags::empty();
    loop {
        match reader.next() {
            Ok(event) => seen |= event.events(),
            Err(Errno::AGAIN) => return Ok(seen),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whoever watches the file is told, and so is who watches the layer's, whichever way the file is opened.
fn noticed(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?.dir("d")?.file("d/low", "")?;
    top.dir("d")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let (file, real) = (watch(ov.join("f"))?, watch(bottom.join("f"))?);
    let dir = watch(ov.join("d"))?;
    crate::expect::content(ov.join("f"), "data")?;
    crate::expect::lists(ov.join("d"), &["low"])?;
    let all =
        inotify::ReadFlags::OPEN | inotify::ReadFlags::ACCESS | inotify::ReadFlags::CLOSE_NOWRITE;
    check::equal("of the file", events(&file)?, all)?;
    check::equal("of the layer's file", events(&real)?, all)?;
    let seen = events(&dir)?;
    check::ok(
        seen.contains(all),
        format_args!("of the directory: {seen:?}"),
    )?;
    // What is done to the layer itself is seen there alone.
    crate::expect::content(bottom.join("f"), "data")?;
    check::equal("of the layer's file, read there", events(&real)?, all)?;
    let none = inotify::ReadFlags::empty();
    check::equal("of the file, read on the layer", events(&file)?, none)
}
