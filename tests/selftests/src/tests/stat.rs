// SPDX-License-Identifier: GPL-2.0-only

//! What stat and statx say, and inode numbers.

use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Statx;
use rustix::fs::StatxAttributes;
use rustix::fs::StatxFlags;
use rustix::fs::CWD;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::check::Table;
use crate::expect::listed_as_shown;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("stat_lower_equals_layer", "F13", lower_equals_layer).on_disks_too(),
    Test::new("stat_upper_equals_layer", "F13 M4", upper_equals_layer).on_disks_too(),
    Test::new(
        "stat_merged_dir_is_topmost",
        "F13 1.10",
        merged_dir_is_topmost,
    )
    .on_disks_too(),
    Test::new("stat_merged_dir_has_one_link", "1.10", merged_dir_one_link).on_disks_too(),
    Test::new("stat_pure_dir_links", "1.10", pure_dir_links).on_disks_too(),
    Test::new("stat_root_is_topmost_layer", "F13 1.10", root_is_topmost),
    Test::new("stat_hard_links", "F13 H5 L8", hard_links).on_disks_too(),
    Test::new("stat_by_path_fd_and_o_path_agree", "F13", ways_agree),
    Test::new("stat_large_ids", "F13", large_ids),
    Test::new("stat_times_of_any_age", "F13", times),
    Test::new("stat_sparse_file_blocks", "F13", sparse_blocks).on_disks_too(),
    Test::new("stat_direct_io_alignment", "F13 F3", direct_io_alignment).on_disks_too(),
    Test::new("stat_reading_leaves_lower_atime", "1.16 F18", lower_atime).on_disks_too(),
    Test::new("statx_mount_root_attribute", "F13", mount_root_attribute),
    Test::new("ino_is_that_of_the_layer", "1.10", ino_of_layer).on_disks_too(),
    Test::new("ino_equals_d_ino_on_one_fs", "1.10 R4", ino_equals_d_ino).on_disks_too(),
    Test::new("ino_one_device_on_one_fs", "1.10", one_device).on_disks_too(),
    Test::new("ino_survives_drop_caches", "1.10 L8", ino_survives).on_disks_too(),
    Test::new("ino_survives_remount", "1.10", ino_survives_remount).on_disks_too(),
    Test::new("ino_on_several_fs", "1.10", several_fs),
    Test::new("ino_unique_in_the_mount", "1.10", unique).on_disks_too(),
];

/// Makes one object of each kind, with metadata that is nobody's default.
fn zoo(layer: &Layer) -> Result<Vec<&'static str>> {
    layer
        .file("file", "some data")?
        .file("empty", "")?
        .file("suid", "x")?
        .file("none", "x")?
        .dir("dir")?
        .file("dir/inner", "")?
        .dir("sticky")?
        .symlink("link", "file")?
        .symlink("dangling", "to/nowhere")?
        .node("fifo", FileType::Fifo, 0o640, (0, 0))?
        .node("socket", FileType::Socket, 0o755, (0, 0))?
        .node("char", FileType::CharacterDevice, 0o666, (1, 3))?
        .node("block", FileType::BlockDevice, 0o660, (259, 0x12345))?;
    let names = vec![
        "file", "empty", "suid", "none", "dir", "sticky", "link", "dangling", "fifo", "socket",
        "char", "block",
    ];
    for (index, name) in names.iter().enumerate() {
        let id = 1000 + index as u32;
        layer.chown(name, id, id + 100)?;
    }
    // After chown, which clears these bits of files.
    layer.chmod("suid", 0o6755)?.chmod("none", 0)?;
    layer.chmod("sticky", 0o3777)?.chmod("dir", 0o2711)?;
    for (index, name) in names.iter().enumerate() {
        layer.times(name, 1_000_000_000 + index as i64, 123_456_789)?;
    }
    Ok(names)
}

/// Compares all that does not depend on the mount.
fn same(table: &mut Table, name: &str, seen: &Statx, real: &Statx) -> Result {
    macro_rules! same_field {
        ($($field:ident)*) => {$(
            table.note(check::equal(
                format_args!("{} of {name}", stringify!($field)),
                seen.$field,
                real.$field,
            ))?;
        )*};
    }
    same_field!(stx_mode stx_uid stx_gid stx_nlink stx_size stx_blocks stx_blksize
                stx_rdev_major stx_rdev_minor stx_mask);
    let times = |st: &Statx| {
        [st.stx_atime, st.stx_mtime, st.stx_ctime, st.stx_btime].map(|t| (t.tv_sec, t.tv_nsec))
    };
    let what = format!("atime, mtime, ctime, btime of {name}");
    table.note(check::equal(what, times(seen), times(real)))
}

fn all_same(overlay: &Path, layer: &Layer, names: &[&str]) -> Result {
    let mut table = Table::new();
    for name in names {
        let seen = sys::lstatx(overlay.join(name)).context(name)?;
        let real = sys::lstatx(layer.join(name)).context(name)?;
        same(&mut table, name, &seen, &real)?;
    }
    table.finish()
}

fn lower_equals_layer(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let names = zoo(&bottom)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    all_same(ov.path(), &bottom, &names)
}

fn upper_equals_layer(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let names = zoo(&upper)?;
    lower.file("file", "hidden")?.file("dir", "hidden")?;
    let ov = fx.upper(&upper, &[&lower])?;
    all_same(ov.path(), &upper, &names)
}

fn merged_dir_is_topmost(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    for (index, layer) in layers.iter().enumerate() {
        let id = 2000 + index as u32;
        layer.dir("d/sub")?.chown("d", id, id + 1)?;
        layer.chmod("d", 0o700 + index as u32)?;
        layer.times("d", 1_100_000_000 + index as i64, 7)?;
    }
    let ov = fx.lowers(&layers)?;
    let seen = sys::lstatx(ov.join("d"))?;
    let real = sys::lstatx(layers[0].join("d"))?;
    let (seen_time, real_time) = (seen.stx_mtime, real.stx_mtime);
    check::equal("mode", seen.stx_mode, real.stx_mode)?;
    check::equal("owner", (seen.stx_uid, seen.stx_gid), (2000, 2001))?;
    check::equal("size", seen.stx_size, real.stx_size)?;
    check::equal("mtime", seen_time.tv_sec, real_time.tv_sec)?;
    check::equal("mtime ns", seen_time.tv_nsec, real_time.tv_nsec)
}

fn merged_dir_one_link(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("d/a")?.dir("d/b")?;
    lower.dir("d/c")?.dir("d/e")?;
    let ov = fx.lowers(&[&upper, &lower])?;
    check::equal(
        "links of a merged dir",
        sys::stat(ov.join("d"))?.st_nlink,
        1,
    )?;
    check::equal("links of the root", sys::stat(ov.path())?.st_nlink, 1)?;
    fx.unmount(ov.path())?;
    let ov = fx.upper(&upper, &[&lower])?;
    check::equal("links with upper", sys::stat(ov.join("d"))?.st_nlink, 1)
}

/// A directory of one layer has the links it has there.
fn pure_dir_links(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.opaque_dir("opaque")?.dir("opaque/sub")?.dir("t/1")?;
    bottom.dir("opaque/hidden")?.dir("b/1")?.dir("b/2")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for (name, layer) in [("t", &top), ("b", &bottom), ("opaque", &top)] {
        let real = sys::stat(layer.join(name))?.st_nlink;
        check::equal(name, sys::stat(ov.join(name))?.st_nlink, real)?;
    }
    Ok(())
}

fn root_is_topmost(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.chown("", 77, 78)?.chmod("", 0o1751)?;
    bottom.chown("", 87, 88)?.chmod("", 0o700)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let st = sys::stat(ov.path())?;
    check::equal("mode", st.st_mode & 0o7777, 0o1751)?;
    check::equal("owner", (st.st_uid, st.st_gid), (77, 78))?;
    fx.unmount(ov.path())?;
    let ov = fx.upper(&bottom, &[&top])?;
    let st = sys::stat(ov.path())?;
    check::equal("mode with upper", st.st_mode & 0o7777, 0o700)
}

fn hard_links(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("one", "data")?.dir("d")?.link("one", "d/two")?;
    bottom.link("one", "three")?;
    top.whiteout("three")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let (one, two) = (sys::stat(ov.join("one"))?, sys::stat(ov.join("d/two"))?);
    check::equal("links", (one.st_nlink, two.st_nlink), (3, 3))?;
    check::equal("inode", one.st_ino, two.st_ino)?;
    check::equal("device", one.st_dev, two.st_dev)
}

fn ways_agree(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("merged")?.file("upper", "u")?;
    bottom.dir("merged")?.dir("pure")?.file("lower", "lower")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["merged", "pure", "upper", "lower"] {
        let path = ov.join(name);
        let by_path = sys::lstatx(&path)?;
        let opened = sys::open_read(&path)?;
        let o_path = sys::open(&path, rustix::fs::OFlags::PATH)?;
        for fd in [&opened, &o_path] {
            let flags = StatxFlags::ALL | StatxFlags::MNT_ID;
            let by_fd = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, flags)?;
            let mut table = Table::new();
            same(&mut table, name, &by_fd, &by_path)?;
            table.finish()?;
            check::equal("inode", by_fd.stx_ino, by_path.stx_ino)?;
            check::equal("mount", by_fd.stx_mnt_id, by_path.stx_mnt_id)?;
            let fstat = rustix::fs::fstat(fd)?;
            check::equal("fstat inode", fstat.st_ino, by_path.stx_ino)?;
        }
    }
    Ok(())
}

fn large_ids(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let large = u32::MAX - 1;
    top.file("t", "")?.chown("t", large, 65_536)?;
    bottom.file("b", "")?.chown("b", 65_535, large)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let (t, b) = (sys::stat(ov.join("t"))?, sys::stat(ov.join("b"))?);
    check::equal("t", (t.st_uid, t.st_gid), (large, 65_536))?;
    check::equal("b", (b.st_uid, b.st_gid), (65_535, large))
}

fn times(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let cases = [
        ("epoch", 0, 0),
        ("before", -1, 999_999_999),
        ("old", -2_000_000_000, 1),
        ("y2038", 2_147_483_648, 5),
        ("y2106", 4_294_967_296, 999_999_999),
    ];
    for (index, (name, seconds, nanoseconds)) in cases.into_iter().enumerate() {
        let layer = [&top, &bottom][index % 2];
        layer.file(name, "")?.times(name, seconds, nanoseconds)?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    for (name, seconds, nanoseconds) in cases {
        let mtime = sys::lstatx(ov.join(name))?.stx_mtime;
        let expected = (seconds, nanoseconds as u32);
        check::equal(name, (mtime.tv_sec, mtime.tv_nsec), expected)?;
    }
    Ok(())
}

fn sparse_blocks(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let file = std::fs::File::create(bottom.join("sparse"))?;
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 1 << 20)?;
    file.set_len(1 << 30)?;
    file.sync_all()?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let (seen, real) = (
        sys::lstatx(ov.join("sparse"))?,
        sys::lstatx(bottom.join("sparse"))?,
    );
    check::equal("size", seen.stx_size, 1 << 30)?;
    check::equal("blocks", seen.stx_blocks, real.stx_blocks)
}

/// Reading through the overlay does not touch the layer's access time.
fn lower_atime(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?.dir("d/sub")?.symlink("l", "f")?;
    for name in ["f", "d", "l"] {
        bottom.times(name, 1_000_000_000, 0)?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    std::fs::read(ov.join("f"))?;
    sys::list(ov.join("d"))?;
    sys::readlink(ov.join("l"))?;
    for name in ["f", "d", "l"] {
        let layer = sys::lstatx(bottom.join(name))?.stx_atime.tv_sec;
        check::equal(
            format_args!("atime of {name} on the layer"),
            layer,
            1_000_000_000,
        )?;
        let seen = sys::lstatx(ov.join(name))?.stx_atime.tv_sec;
        check::equal(format_args!("atime of {name}"), seen, 1_000_000_000)?;
    }
    Ok(())
}

fn mount_root_attribute(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let is_root = |path: &Path| {
        let st = sys::lstatx(path)?;
        Ok::<_, rustix::io::Errno>(st.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    };
    check::equal("root", is_root(ov.path())?, true)?;
    check::equal("inside", is_root(&ov.join("d"))?, false)
}

/// Files, links and directories in all positions; returns each path with its layer.
fn positions<'a>(top: &'a Layer, bottom: &'a Layer) -> Result<Vec<(&'static str, &'a Layer)>> {
    top.file("tf", "")?
        .dir("td/x")?
        .dir("both")?
        .file("hide", "")?;
    top.symlink("tl", "x")?.opaque_dir("opaque")?;
    bottom
        .file("bf", "")?
        .dir("bd/x")?
        .dir("both")?
        .file("hide", "")?;
    bottom.symlink("bl", "x")?.dir("opaque")?;
    bottom.node("fifo", FileType::Fifo, 0o644, (0, 0))?;
    bottom.file("both/inner", "")?;
    Ok(vec![
        ("tf", top),
        ("td", top),
        ("td/x", top),
        ("hide", top),
        ("tl", top),
        ("opaque", top),
        ("bf", bottom),
        ("bd", bottom),
        ("bd/x", bottom),
        ("bl", bottom),
        ("fifo", bottom),
        ("both/inner", bottom),
    ])
}

fn ino_of_layer(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let paths = positions(&top, &bottom)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let mut table = Table::new();
    for (path, layer) in paths {
        let real = sys::lstat(layer.join(path))?.st_ino;
        table.note(check::equal(path, sys::lstat(ov.join(path))?.st_ino, real))?;
    }
    // A merged directory has the number of its topmost part.
    for path in ["both", ""] {
        let real = sys::lstat(top.join(path))?.st_ino;
        let what = format!("merged {path:?}");
        table.note(check::equal(what, sys::lstat(ov.join(path))?.st_ino, real))?;
    }
    table.finish()
}

/// Every listing has the numbers that stat shows.
fn d_ino_differences(table: &mut Table, top: &Path) -> Result {
    let mut dirs = vec![top.to_owned()];
    dirs.extend(sys::walk(top)?.into_iter().map(|path| top.join(path)));
    for dir in dirs {
        if sys::lstat_kind(&dir)? != FileType::Directory {
            continue;
        }
        let mut entries = sys::list(&dir)?;
        entries.retain(|entry| dir != top || entry.name != "..");
        table.note(listed_as_shown(&dir, &entries))?;
    }
    Ok(())
}

fn ino_equals_d_ino(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    positions(&top, &bottom)?;
    let mut table = Table::new();
    let ov = fx.lowers(&[&top, &bottom])?;
    d_ino_differences(&mut table, ov.path())?;
    fx.unmount(ov.path())?;
    let ov = fx.upper(&top, &[&bottom])?;
    d_ino_differences(&mut table, ov.path())?;
    table.finish()
}

fn one_device(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let paths = positions(&top, &bottom)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let device = sys::stat(ov.path())?.st_dev;
    let layer_device = sys::stat(top.path())?.st_dev;
    check::ok(device != layer_device, "the device is that of the layer")?;
    let mut table = Table::new();
    for (path, _) in paths {
        table.note(check::equal(
            path,
            sys::lstat(ov.join(path))?.st_dev,
            device,
        ))?;
    }
    let statx = rustix::fs::statx(CWD, ov.path(), AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    let by_statx = rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor);
    table.note(check::equal("device by statx", by_statx, device))?;
    table.finish()
}

/// The numbers of all paths of a mount.
fn numbers(top: &Path) -> Result<Vec<(std::path::PathBuf, u64)>> {
    let mut numbers = Vec::new();
    for path in sys::walk(top)? {
        let number = sys::lstat(top.join(&path))?.st_ino;
        numbers.push((path, number));
    }
    Ok(numbers)
}

fn ino_survives(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    positions(&top, &bottom)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let before = numbers(ov.path())?;
    sys::drop_caches().context("drop caches")?;
    check::equal("inode numbers", numbers(ov.path())?, before)
}

fn ino_survives_remount(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    positions(&top, &bottom)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let before = numbers(ov.path())?;
    fx.unmount(ov.path())?;
    let ov = fx.lowers(&[&top, &bottom])?;
    check::equal("inode numbers", numbers(ov.path())?, before)
}

/// With layers on several filesystems directories are on the overlay's device, other objects on
/// one of their own per filesystem, with the numbers they have there.
fn several_fs(fx: &Fixture) -> Result {
    let top = Layer::create(fx.tmpfs("t1")?.join("l"))?;
    let bottom = Layer::create(fx.tmpfs("t2")?.join("l"))?;
    let paths = positions(&top, &bottom)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let overlay = sys::stat(ov.path())?.st_dev;
    let device = |layer: &Layer, name: &str| {
        let (seen, real) = (sys::lstat(ov.join(name))?, sys::lstat(layer.join(name))?);
        check::equal(format_args!("inode of {name}"), seen.st_ino, real.st_ino)?;
        check::ok(
            seen.st_dev != real.st_dev,
            format_args!("{name}: device of layer"),
        )?;
        Ok::<_, check::Failure>(seen.st_dev)
    };
    let (top_dev, bottom_dev) = (device(&top, "tf")?, device(&bottom, "bf")?);
    check::ok(top_dev != bottom_dev, "two filesystems share a device")?;
    check::ok(
        top_dev != overlay,
        "files of top are on the overlay's device",
    )?;
    check::ok(
        bottom_dev != overlay,
        "files of bottom are on the overlay's device",
    )?;
    let mut table = Table::new();
    for (path, layer) in paths {
        let st = sys::lstat(ov.join(path))?;
        let expected = match FileType::from_raw_mode(st.st_mode) {
            FileType::Directory => overlay,
            _ if std::ptr::eq(layer, &top) => top_dev,
            _ => bottom_dev,
        };
        table.note(check::equal(
            format!("device of {path}"),
            st.st_dev,
            expected,
        ))?;
    }
    let merged = sys::lstat(ov.join("both"))?.st_dev;
    table.note(check::equal("device of a merged dir", merged, overlay))?;
    table.finish()
}

fn unique(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    for layer in &layers {
        layer.dir("d")?;
    }
    for n in 0..60 {
        layers[n % 3]
            .file(format!("d/f{n}"), "")?
            .dir(format!("d/d{n}"))?;
    }
    let ov = fx.lowers(&layers)?;
    let mut seen: Vec<_> = numbers(ov.path())?
        .into_iter()
        .map(|(_, ino)| ino)
        .collect();
    seen.sort_unstable();
    let count = seen.len();
    seen.dedup();
    check::equal("different numbers", seen.len(), count)?;
    check::equal("paths", count, 121)
}

/// How direct I/O has to be aligned depends on the layer, and programs ask the file.
fn direct_io_alignment(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", vec![1; 8192])?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let aligned = StatxFlags::from_bits_retain(0x2000 | 0x2_0000);
    let ask = |path: std::path::PathBuf| {
        let st = rustix::fs::statx(CWD, path, AtFlags::empty(), aligned)?;
        let given = st.stx_mask & aligned.bits();
        let numbers = [st.stx_dio_mem_align, st.stx_dio_offset_align];
        Ok::<_, rustix::io::Errno>((given, numbers, st.stx_dio_read_offset_align))
    };
    check::equal("alignment", ask(ov.join("f"))?, ask(bottom.join("f"))?)
}
