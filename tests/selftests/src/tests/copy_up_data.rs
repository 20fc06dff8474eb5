// SPDX-License-Identifier: GPL-2.0-only

//! Copying up: the data of regular files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::copy_up::copy;
use super::copy_up::work_is_clean;
use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::expect::data;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::rawsys;
use crate::registry::Backing;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("copy_up_data_of_all_sizes", "C4", sizes).on_disks_in_their_way(),
    Test::new("copy_up_keeps_holes", "C4", holes).on_disks_in_their_way(),
    Test::new("copy_up_from_other_fs", "C4 1.10", from_other_fs),
    Test::new("copy_up_to_truncate", "C2", truncated).on_disks_in_their_way(),
    Test::new("copy_up_of_running_program", "C1 C2", running)
        .rovl_only("overlayfs empties the copy before it finds out that it must not"),
    Test::new("copy_up_and_sync", "C4 M15", synced).on_disks_in_their_way(),
];

fn sizes(fx: &Fixture) -> Result {
    const MIB: usize = 1 << 20;

    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    let sizes = [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 3 * MIB + 5];
    let original = sys::pattern(3 * MIB + 5, 9);
    for size in sizes {
        lower.file(size.to_string(), &original[..size])?;
    }
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    for size in sizes {
        let before = sys::open_read(ov.join(size.to_string()))?;
        copy(ov.join(size.to_string()))?;
        data(ov.join(size.to_string()), &original[..size])?;
        data(upper.join(size.to_string()), &original[..size])?;
        let mut buffer = vec![0; size + 1];
        let read = rustix::io::pread(&before, &mut buffer, 0)?;
        check::bytes("old descriptor", &buffer[..read], &original[..size])?;
    }
    work_is_clean(&work)
}

/// Where data begins and ends.
fn ranges(path: impl AsRef<Path>) -> Result<Vec<(u64, u64)>> {
    let fd = sys::open_read(path)?;
    let mut found = Vec::new();
    let mut position = 0;
    loop {
        let start = match rustix::fs::seek(&fd, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(found),
            Err(error) => return Err(error.into()),
        };
        position = rustix::fs::seek(&fd, SeekFrom::Hole(start))?;
        found.push((start, position));
    }
}

fn holes(fx: &Fixture) -> Result {
    const STEP: u64 = 2 << 20;

    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    lower.file("sparse", "")?.file("empty", "")?;
    let file = fs::File::options().write(true).open(lower.join("sparse"))?;
    for place in [1, 3, 4] {
        rustix::io::pwrite(&file, &sys::pattern(1 << 20, place), place * STEP)?;
    }
    file.set_len(6 * STEP)?;
    fs::File::options()
        .write(true)
        .open(lower.join("empty"))?
        .set_len(64 << 20)?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    for name in ["sparse", "empty"] {
        copy(ov.join(name))?;
        check::equal(name, ranges(upper.join(name))?, ranges(lower.join(name))?)?;
        let (copy, original) = (
            fs::metadata(upper.join(name))?,
            fs::metadata(lower.join(name))?,
        );
        check::equal("size", copy.size(), original.size())?;
        check::ok(
            copy.blocks() <= original.blocks() + 64,
            format!("{} blocks of {}", copy.blocks(), original.blocks()),
        )?;
    }
    data(ov.join("sparse"), &fs::read(lower.join("sparse"))?)
}

/// Upper on another filesystem, where nothing can be shared.
fn from_other_fs(fx: &Fixture) -> Result {
    let other = fx.tmpfs("other")?;
    let lower = Layer::create(other.join("lower"))?;
    let upper = fx.layer("upper")?;
    let original = sys::pattern((1 << 20) + 7, 3);
    lower.dir("d")?.file("d/f", &original)?.file("d/g", "g")?;
    let work = fx.work()?;
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let ov = fx.mount(&options)?;
    let before = (fs::metadata(ov.join("d"))?, fs::metadata(ov.join("d/f"))?);
    copy(ov.join("d/f"))?;
    let after = (fs::metadata(ov.join("d"))?, fs::metadata(ov.join("d/f"))?);
    check::equal("number of the file", after.1.ino(), before.1.ino())?;
    check::equal("device of the file", after.1.dev(), before.1.dev())?;
    check::equal("number of the directory", after.0.ino(), before.0.ino())?;
    data(upper.join("d/f"), &original)?;
    fx.unmount(ov.path())?;
    let ov = fx.mount(&options)?;
    let again = fs::metadata(ov.join("d/f"))?;
    check::equal("number when mounted again", again.ino(), before.1.ino())?;
    data(ov.join("d/f"), &original)
}

fn truncated(fx: &Fixture) -> Result {
    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    for name in ["write", "both", "read"] {
        lower.file(name, sys::pattern(100_000, 1))?;
        lower.chown(name, 3, 4)?.chmod(name, 0o640)?;
    }
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    let ways = [
        ("write", OFlags::WRONLY),
        ("both", OFlags::RDWR),
        ("read", OFlags::RDONLY),
    ];
    for (name, way) in ways {
        let old = sys::open_read(ov.join(name))?;
        let fd = sys::open(ov.join(name), way | OFlags::TRUNC).context(name)?;
        check::equal(name, rustix::fs::fstat(&fd)?.st_size, 0)?;
        check::equal("old", rustix::io::pread(&old, &mut [0; 9], 0)?, 0)?;
        check::equal("in upper", fs::metadata(upper.join(name))?.len(), 0)?;
        let st = fs::metadata(upper.join(name))?;
        check::equal("owner", (st.uid(), st.gid()), (3, 4))?;
        check::equal("mode", st.mode() & 0o7777, 0o640)?;
        check::equal("original", fs::metadata(lower.join(name))?.len(), 100_000)?;
    }
    work_is_clean(&work)
}

/// A program that runs cannot be emptied, and is not.
fn running(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fs::copy("/proc/self/exe", lower.join("program"))?;
    let size = fs::metadata(lower.join("program"))?.len();
    let ov = fx.upper(&upper, &[&lower])?;
    let child = std::process::Command::new(ov.join("program"))
        .arg("--help")
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut child = child.context("run the program")?;
    // It is stopped, so that it is still there.
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP)?;
    let result = check::errno(
        "truncate",
        sys::open(ov.join("program"), OFlags::RDONLY | OFlags::TRUNC),
        Errno::TXTBSY,
    )
    .and_then(|()| check::equal("size", fs::metadata(ov.join("program"))?.len(), size));
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    child.wait()?;
    result
}

/// Whether data of the file is still to be given a place on the disk.
pub(super) fn is_delayed(path: impl AsRef<Path>) -> Result<bool> {
    const DELAYED: u32 = 0x4;

    let extents = rawsys::fiemap(sys::open_read(path)?, false)?;
    Ok(extents.iter().any(|extent| extent.flags & DELAYED != 0))
}

fn synced(fx: &Fixture) -> Result {
    if fx.backing() == Backing::Tmpfs {
        return Err(Failure::skip("there is no disk"));
    }
    // A filesystem of its own, so that no data can be shared.
    let lower = Layer::create(fx.tmpfs("lower-fs")?.join("lower"))?;
    lower.file("f", sys::pattern(100_000, 1))?;
    for (mode, delayed) in [("auto", false), ("strict", false), ("volatile", true)] {
        let (upper, work) = (fx.layer(format!("upper-{mode}"))?, fx.work()?);
        let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
        let ov = fx.mount(&options.set("fsync", mode)).context(mode)?;
        copy(ov.join("f"))?;
        // XFS writes a file that grows by setting its size.
        if !delayed || fx.backing() == Backing::Ext4 {
            check::equal(mode, is_delayed(upper.join("f"))?, delayed)?;
        }
        fx.unmount(ov.path())?;
    }
    Ok(())
}
