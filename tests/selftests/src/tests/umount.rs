// SPDX-License-Identifier: GPL-2.0-only

//! Unmounting, and what is released by it.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::unmount;
use rustix::mount::UnmountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Backing;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("umount_busy_by_file", "F1", busy_by_file),
    Test::new("umount_busy_by_directory", "R3", busy_by_directory),
    Test::new("umount_busy_by_o_path", "F1", busy_by_o_path),
    Test::new("umount_busy_by_cwd", "1.3", busy_by_cwd),
    Test::new("umount_busy_by_submount", "1.3", busy_by_submount),
    Test::new(
        "umount_not_busy_by_outer_overlay",
        "A4",
        not_busy_by_outer_overlay,
    ),
    Test::new("umount_lazy_with_open_files", "F1 F3", lazy_with_open_files).on_disks_too(),
    Test::new(
        "umount_lazy_with_open_directory",
        "R3",
        lazy_with_open_directory,
    ),
    Test::new("umount_lazy_beside_walks", "1.3", lazy_beside_walks),
    Test::new("umount_forced_when_busy", "1.3", forced_when_busy),
    Test::new("umount_expire", "1.3", expire),
    Test::new("umount_by_user", "1.3", by_user),
    Test::new("umount_releases_layers", "A4 W4", releases_layers)
        .on_disks_too()
        .with_disk_alone(),
    Test::new(
        "umount_lazy_releases_at_last_close",
        "A4",
        lazy_releases_at_last_close,
    )
    .on_disks_too()
    .with_disk_alone(),
    Test::new("umount_with_cached_tree", "L2 L8", with_cached_tree),
    Test::new("umount_layers_unchanged", "F18 1.16", layers_unchanged).on_disks_too(),
    Test::new("umount_with_namespace", "1.3", with_namespace),
];

fn mounted(fx: &Fixture) -> Result<Mounted> {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.file("t", "top")?.dir("d")?.file("d/t", "")?;
    bottom.file("b", "bottom")?.dir("d")?.file("d/b", "")?;
    fx.lowers(&[&top, &bottom])
}

/// Busy while `holder` lives, then not.
fn busy_until_dropped<T>(fx: &Fixture, ov: &Mounted, holder: T) -> Result {
    check::errno("unmount", fx.unmount(ov.path()), Errno::BUSY)?;
    content(ov.join("b"), "bottom")?;
    drop(holder);
    fx.unmount(ov.path()).context("unmount when idle")?;
    lists::<&str>(ov.path(), &[])
}

fn busy_by_file(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let file = sys::open_read(ov.join("b"))?;
    busy_until_dropped(fx, &ov, file)
}

fn busy_by_directory(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let dir = sys::open_dir(ov.join("d"))?;
    sys::read_some(&dir, 64)?;
    busy_until_dropped(fx, &ov, dir)
}

fn busy_by_o_path(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let o_path = sys::open(ov.join("t"), OFlags::PATH)?;
    busy_until_dropped(fx, &ov, o_path)
}

fn busy_by_cwd(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    std::env::set_current_dir(ov.join("d"))?;
    check::errno("unmount", fx.unmount(ov.path()), Errno::BUSY)?;
    std::env::set_current_dir("/")?;
    fx.unmount(ov.path()).context("unmount when idle")?;
    Ok(())
}

fn busy_by_submount(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let inner = ov.join("d");
    rustix::mount::mount_bind(fx.place("elsewhere")?, &inner)?;
    check::errno("unmount", fx.unmount(ov.path()), Errno::BUSY)?;
    unmount(&inner, UnmountFlags::NOFOLLOW)?;
    fx.unmount(ov.path()).context("unmount when idle")?;
    Ok(())
}

/// An overlay holds the filesystems of its layers, not their mounts.
fn not_busy_by_outer_overlay(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let extra = fx.layer("extra")?;
    let outer = fx.lowers(&[&extra, &Layer::create(ov.path().to_owned())?])?;
    fx.unmount(ov.path())?;
    content(outer.join("b"), "bottom")?;
    lists(outer.join("d"), &["b", "t"])
}

fn lazily(fx: &Fixture, ov: &Mounted) -> Result {
    unmount(ov.path(), UnmountFlags::DETACH).context("lazy unmount")?;
    fx.forget(ov.path());
    lists::<&str>(ov.path(), &[])
}

fn read_all(fd: &OwnedFd) -> Result<String> {
    let mut buffer = [0; 64];
    let length = rustix::io::pread(fd, &mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn lazy_with_open_files(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let files = [sys::open_read(ov.join("b"))?, sys::open_read(ov.join("t"))?];
    lazily(fx, &ov)?;
    for round in 0..2 {
        check::equal("lower file", &*read_all(&files[0])?, "bottom")?;
        check::equal("upper file", &*read_all(&files[1])?, "top")?;
        let st = rustix::fs::fstat(&files[0])?;
        check::equal("size", st.st_size, 6)?;
        if round == 0 {
            sys::drop_caches().context("drop caches")?;
        }
    }
    Ok(())
}

/// From a directory that is still open the whole tree can be used.
fn lazy_with_open_directory(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let root = sys::open_dir(ov.path())?;
    lazily(fx, &ov)?;
    let open = |name: &str| rustix::fs::openat(&root, name, OFlags::CLOEXEC, Mode::empty());
    check::equal("lower file", &*read_all(&open("b")?)?, "bottom")?;
    check::errno("missing", open("no"), Errno::NOENT)?;
    let entries = sys::read_entries(open("d")?, 4096)?;
    check::equal("entries", entries.len(), 4)
}

/// The last one who goes releases the mount, while others are still on paths from there.
fn lazy_beside_walks(fx: &Fixture) -> Result {
    const ROUNDS: usize = 15;

    for _ in 0..ROUNDS {
        let ov = mounted(fx)?;
        let root = sys::open_dir(ov.path())?;
        lazily(fx, &ov)?;
        sys::with_own_root(|| -> Result {
            rustix::process::fchdir(&root)?;
            drop(root);
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    // They have the working directory in common.
                    scope.spawn(|| {
                        let path = "d/../".repeat(100) + "d/b";
                        while !done.load(Ordering::Relaxed) {
                            // When the directory has changed there is no such name.
                            let _ = sys::stat(&path);
                        }
                    });
                }
                std::thread::sleep(Duration::from_millis(5));
                let left = rustix::process::chdir("/");
                std::thread::sleep(Duration::from_millis(5));
                done.store(true, Ordering::Relaxed);
                left
            })
            .context("leave")
        })??;
    }
    Ok(())
}

fn forced_when_busy(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let file = sys::open_read(ov.join("b"))?;
    let result = unmount(ov.path(), UnmountFlags::FORCE);
    check::errno("forced unmount", result, Errno::BUSY)?;
    check::equal("data", &*read_all(&file)?, "bottom")
}

/// The first call marks the mount, the second, if nobody came between, unmounts.
fn expire(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let expire = || unmount(ov.path(), UnmountFlags::EXPIRE);
    check::errno("first", expire(), Errno::AGAIN)?;
    content(ov.join("b"), "bottom")?;
    check::errno("after a use", expire(), Errno::AGAIN)?;
    expire().context("unused")?;
    fx.forget(ov.path());
    Ok(())
}

fn by_user(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let result = sys::as_user(1000, 1000, &[], || {
        unmount(ov.path(), UnmountFlags::empty())
    })?;
    check::errno("unmount by a user", result, Errno::PERM)
}

/// Layers on a filesystem that the test can unmount: upper, work, top and bottom.
struct Private {
    layers: [Layer; 4],
}

fn private_layers(fx: &Fixture) -> Result<Private> {
    let base = match fx.backing() {
        Backing::Tmpfs => fx.tmpfs("private")?,
        _ => fx.root().to_owned(),
    };
    let names = ["upper", "work", "top", "bottom"];
    let mut layers = Vec::new();
    for name in names {
        layers.push(Layer::create(base.join(name))?);
    }
    let layers: [Layer; 4] = layers.try_into().expect("there are four names");
    layers[0].file("up", "upper")?.dir("d")?;
    layers[2].file("t", "top")?.dir("d")?;
    layers[3].file("b", "bottom")?.dir("d")?;
    Ok(Private { layers })
}

impl Private {
    fn options(&self) -> Options {
        let [upper, work, top, bottom] = &self.layers;
        Options::new().lowers(&[top, bottom]).upper(upper, work)
    }
}

/// Whether some mount still keeps the filesystem of the layers: then their disk cannot be opened
/// exclusively. Of a tmpfs it cannot be told.
fn layers_in_use(fx: &Fixture) -> Result<bool> {
    let Some(device) = crate::disk::device_path(fx.backing()) else {
        return Ok(false);
    };
    match sys::open(device, OFlags::RDONLY | OFlags::EXCL) {
        Ok(_) => Ok(false),
        Err(Errno::BUSY) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn releases_layers(fx: &Fixture) -> Result {
    let private = private_layers(fx)?;
    let ov = fx.mount(&private.options())?;
    sys::walk(ov.path())?;
    content(ov.join("b"), "bottom")?;
    fx.unmount(ov.path())?;
    release(fx, &private)?;
    check::ok(
        !layers_in_use(fx)?,
        "the layers' filesystem is still in use",
    )?;
    restore(fx)
}

/// Unmounts what holds the layers.
fn release(fx: &Fixture, private: &Private) -> Result {
    let Some(base) = private.layers[0].path().parent() else {
        return Err(Failure::new("the layers have no parent"));
    };
    match fx.backing() {
        Backing::Tmpfs => fx.unmount(base)?,
        _ => unmount(Fixture::disk_path(), UnmountFlags::NOFOLLOW)?,
    }
    Ok(())
}

/// Mounts the disk again, for the fixture to clear.
fn restore(fx: &Fixture) -> Result {
    match fx.backing() {
        Backing::Tmpfs => Ok(()),
        backing => crate::disk::mount_disk(backing, &Fixture::disk_path()),
    }
}

/// A file kept open after a lazy unmount keeps the layers; its close lets them go.
fn lazy_releases_at_last_close(fx: &Fixture) -> Result {
    let private = private_layers(fx)?;
    let ov = fx.mount(&private.options())?;
    let file = sys::open_read(ov.join("b"))?;
    lazily(fx, &ov)?;
    release(fx, &private)?;
    check::equal("data", &*read_all(&file)?, "bottom")?;
    if fx.backing() != Backing::Tmpfs {
        check::ok(
            layers_in_use(fx)?,
            "the layers' filesystem is released too early",
        )?;
    }
    drop(file);
    check::ok(
        !layers_in_use(fx)?,
        "the layers' filesystem is still in use",
    )?;
    restore(fx)
}

/// With many names and inodes in the caches.
fn with_cached_tree(fx: &Fixture) -> Result {
    let layers = fx.layers(4)?;
    for (index, layer) in layers.iter().enumerate() {
        for n in 0..10 {
            layer.dir(format!("d{n}/e"))?;
            layer.file(format!("d{n}/f{index}"), "")?;
            layer.whiteout(format!("d{n}/g{index}"))?;
        }
    }
    for _ in 0..3 {
        let ov = fx.lowers(&layers)?;
        check::equal("paths", sys::walk(ov.path())?.len(), 10 * 6)?;
        for n in 0..50 {
            let missing = sys::lstat(ov.join(format!("d{}/no{n}", n % 10)));
            check::errno("missing", missing, Errno::NOENT)?;
        }
        fx.unmount(ov.path())?;
    }
    Ok(())
}

/// Reading and unmounting changes nothing on lower layers, and no file of the upper. A directory of upper
/// that is merged gets a mark of where it comes from, and so another ctime.
fn layers_unchanged(fx: &Fixture) -> Result {
    let private = private_layers(fx)?;
    let [upper, _, top, bottom] = &private.layers;
    type Snapshot = Vec<(std::path::PathBuf, i64, i64, u64, i64)>;
    let snapshot = |layer: &Layer| -> Result<Snapshot> {
        let mut all = Vec::new();
        for path in sys::walk(layer.path())? {
            let st = sys::lstat(layer.join(&path))?;
            let is_dir = FileType::from_raw_mode(st.st_mode) == FileType::Directory;
            let is_marked = is_dir && layer.path() == upper.path();
            let changed = if is_marked { 0 } else { st.st_ctime };
            all.push((path, st.st_mtime, changed, st.st_nlink, st.st_size));
        }
        Ok(all)
    };
    let before = [snapshot(upper)?, snapshot(top)?, snapshot(bottom)?];
    let ov = fx.mount(&private.options())?;
    for path in sys::walk(ov.path())? {
        // Directories cannot be read as files.
        let _ = std::fs::read(ov.join(path));
    }
    fx.unmount(ov.path())?;
    let after = [snapshot(upper)?, snapshot(top)?, snapshot(bottom)?];
    check::equal("layers", after, before)
}

/// A mount goes with the last mount namespace that has it.
fn with_namespace(fx: &Fixture) -> Result {
    let private = private_layers(fx)?;
    let point = fx.mount_point()?;
    let data = private.options().data();
    let fs_type = fx.fs_type().to_owned();
    let file = sys::with_own_mounts(|| {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", &point, &fs_type, flags, &*data)?;
        sys::open_read(point.join("b"))
    })??;
    lists::<&str>(&point, &[])?;
    check::equal("data", &*read_all(&file)?, "bottom")?;
    drop(file);
    // The upper is free for another mount.
    let ov = fx.mount(&private.options())?;
    content(ov.join("up"), "upper")
}
