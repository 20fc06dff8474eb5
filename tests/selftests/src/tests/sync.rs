// SPDX-License-Identifier: GPL-2.0-only

//! When what was written reaches the disk, and what becomes of errors on the way.

use std::fs;
use std::io::IoSlice;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use rustix::mount::mount;
use rustix::mount::mount_remount;
use rustix::mount::MountFlags;

use super::copy_up::work_is_clean;
use super::copy_up_data::is_delayed;
use super::mount_state::SmallDisk;
use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::expect::absent;
use crate::expect::data;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::rawsys;
use crate::registry::Backing;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new(
        "sync_reaches_upper",
        "F3 F5 F6 F20 A3 M15 W5",
        reaches_upper,
    )
    .on_disks_in_their_way(),
    Test::new("sync_errors_of_a_copy", "C6 M15", errors_of_copy),
    Test::new("sync_errors_stay_when_volatile", "W5 M16 F6", errors_stay),
];

/// Ways to get data to the disk.
const WAYS: [&str; 9] = [
    "fsync",
    "fdatasync",
    "o_dsync",
    "rwf_dsync",
    "aio",
    "msync",
    "syncfs",
    "remount",
    "umount",
];

/// Those that the layer's file sees to, for which it is all the same how the overlay is mounted: it is what is
/// mapped, and it is opened as the overlay's is.
const BY_LAYER: [&str; 2] = ["o_dsync", "msync"];

/// How long the files are that are synced.
const LENGTH: usize = 50_000;

fn reaches_upper(fx: &Fixture) -> Result {
    if fx.backing() != Backing::Ext4 {
        return Err(Failure::skip("only ext4 tells what is not on the disk yet"));
    }
    let lower = fx.layer("lower")?;
    let mut table = Table::new();
    for (mode, stays) in [("auto", false), ("volatile", true)] {
        let (upper, work) = (fx.layer(format!("upper-{mode}"))?, fx.work()?);
        let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
        let ov = fx.mount(&options.set("fsync", mode)).context(mode)?;
        for way in WAYS {
            fs::write(ov.join(way), sys::pattern(LENGTH, 1))?;
            let delayed = is_delayed(upper.join(way))?;
            check::ok(delayed, "the file is on the disk already")?;
            sync(fx, ov.path(), way).context(way)?;
            table.note(check::equal(
                format!("{way} with fsync={mode}"),
                is_delayed(upper.join(way))?,
                stays && !BY_LAYER.contains(&way),
            ))?;
        }
    }
    table.finish()
}

/// Syncs the file that is named like the way, or writes it again so that it is synced. The last way ends
/// the mount.
fn sync(fx: &Fixture, top: &Path, way: &str) -> std::result::Result<(), Errno> {
    let path = top.join(way);
    let data = sys::pattern(LENGTH, 2);
    match way {
        "fsync" => rustix::fs::fsync(sys::open_read(path)?),
        "fdatasync" => rustix::fs::fdatasync(sys::open_read(path)?),
        "o_dsync" => {
            let file = sys::open(path, OFlags::WRONLY | OFlags::DSYNC)?;
            rustix::io::pwrite(file, &data, 0).map(drop)
        }
        "rwf_dsync" => {
            let file = sys::open(path, OFlags::WRONLY)?;
            let parts = [IoSlice::new(&data)];
            rustix::io::pwritev2(file, &parts, 0, ReadWriteFlags::DSYNC).map(drop)
        }
        "aio" => {
            let file = sys::open(path, OFlags::WRONLY | OFlags::SYNC)?;
            rawsys::aio_write(file, &data, 0).map(drop)
        }
        "msync" => {
            let file = sys::open(path, OFlags::RDWR)?;
            let prot = ProtFlags::READ | ProtFlags::WRITE;
            let mapping = sys::Mapping::new(file, LENGTH, MapFlags::SHARED, prot)?;
            mapping.store(0, &data);
            mapping.sync()
        }
        "syncfs" => rustix::fs::syncfs(sys::open_read(path)?),
        "remount" => {
            mount_remount(top, MountFlags::RDONLY, c"")?;
            mount_remount(top, MountFlags::empty(), c"")
        }
        _ => fx.unmount(top),
    }
}

/// Layers on a disk that takes less than is written to it.
struct Setting {
    upper: Layer,
    work: Layer,
    lower: Layer,
}

/// More than the disk takes. The error is that of the tmpfs behind it, which is full.
const SIZE: usize = 8 << 20;

fn on_small_disk(fx: &Fixture, test: fn(&Fixture, &Setting) -> Result) -> Result {
    let disk = SmallDisk::new(fx)?;
    let place = fx.mount_point()?;
    mount(disk.device(), &place, "ext4", MountFlags::empty(), None).context("mount ext4")?;
    fx.adopt(&place);
    let setting = Setting {
        upper: Layer::create(place.join("upper"))?,
        work: Layer::create(place.join("work"))?,
        lower: fx.layer("lower")?,
    };
    rustix::fs::sync();
    setting.lower.file("f", sys::pattern(SIZE, 1))?;
    let result = test(fx, &setting);
    fx.unmount(&place).context("unmount the disk")?;
    result
}

/// A copy that does not get to the disk is none.
fn errors_of_copy(fx: &Fixture) -> Result {
    on_small_disk(fx, |fx, setting| {
        let options = Options::new().lowers(&[&setting.lower]);
        let ov = fx.mount(&options.upper(&setting.upper, &setting.work))?;
        let open = sys::open(ov.join("f"), OFlags::WRONLY);
        check::errno("copy up", open, Errno::NOSPC)?;
        data(ov.join("f"), &sys::pattern(SIZE, 1))?;
        absent(setting.upper.join("f"))?;
        work_is_clean(&setting.work)?;
        fx.unmount(ov.path())?;
        Ok(())
    })
}

/// Without syncing, what was lost is told to all who ask.
fn errors_stay(fx: &Fixture) -> Result {
    on_small_disk(fx, |fx, setting| {
        let options = Options::new().lowers(&[&setting.lower]).flag("volatile");
        let ov = fx.mount(&options.upper(&setting.upper, &setting.work))?;
        let file = sys::open(ov.join("f"), OFlags::WRONLY)?;
        let real = sys::open_read(setting.upper.join("f"))?;
        check::ok(rustix::fs::fsync(&real).is_err(), "nothing was lost")?;
        for _ in 0..2 {
            check::errno("fsync", rustix::fs::fsync(&file), Errno::NOSPC)?;
            check::errno("syncfs", rustix::fs::syncfs(&file), Errno::IO)?;
            let root = sys::open_dir(ov.path())?;
            check::errno("directory", rustix::fs::fsync(&root), Errno::NOSPC)?;
        }
        drop((file, real));
        fx.unmount(ov.path())?;
        Ok(())
    })
}
