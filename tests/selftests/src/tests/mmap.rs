// SPDX-License-Identifier: GPL-2.0-only

//! Memory mappings of files.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use std::time::Instant;

use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::mm::MprotectFlags;
use rustix::mm::ProtFlags;
use rustix::process::waitpid;
use rustix::process::Signal;
use rustix::process::WaitOptions;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::expect::data;
use crate::fixture::Fixture;
use crate::raw;
use crate::registry::Test;
use crate::sys;
use crate::sys::Mapping;

pub const TESTS: &[Test] = &[
    Test::new("mmap_shared_read", "F5", |fx| {
        equals_data(fx, MapFlags::SHARED)
    })
    .on_disks_too(),
    Test::new("mmap_private_read", "F5", |fx| {
        equals_data(fx, MapFlags::PRIVATE)
    })
    .on_disks_too(),
    Test::new("mmap_private_write_stays_private", "F5", private_write).on_disks_too(),
    Test::new("mmap_at_offset", "F5", at_offset),
    Test::new("mmap_outlives_descriptor", "F5 F1", outlives_descriptor),
    Test::new(
        "mmap_outlives_detached_mount",
        "F5",
        outlives_detached_mount,
    ),
    Test::new("mmap_shared_write_refused", "F5", shared_write_refused),
    Test::new("mmap_of_directory_refused", "F5", of_directory),
    Test::new("mmap_of_o_path_refused", "F5", of_o_path),
    Test::new(
        "mmap_shares_pages_with_layer",
        "F5",
        shares_pages_with_layer,
    ),
    Test::new(
        "mmap_maps_shows_overlay_inode",
        "F5",
        maps_shows_overlay_inode,
    )
    .on_disks_too(),
    Test::new("mmap_map_files_link", "F5", map_files_link),
    Test::new("mmap_through_two_overlays", "F5 F25", through_two_overlays),
    Test::new("mmap_in_upper", "F5 M4", in_upper).on_disks_too(),
    Test::new("mmap_where_opens_are_watched", "F5 Q7", watched).limit(120),
];

const PAGE: usize = 4096;

/// Sizes around page borders, and a large odd one; nothing maps no bytes.
const SIZES: [usize; 5] = [1, PAGE - 1, PAGE, PAGE + 1, (1 << 20) + 3];

fn file_data(size: usize) -> Vec<u8> {
    sys::pattern(size, size as u64 + 1)
}

/// An overlay path to a lower file of this size.
fn lower_file(fx: &Fixture, size: usize) -> Result<std::path::PathBuf> {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", file_data(size))?;
    Ok(fx.lowers(&[&top, &bottom])?.join("f"))
}

fn equals_data(fx: &Fixture, flags: MapFlags) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for size in SIZES {
        bottom.file(format!("{size}"), file_data(size))?;
    }
    bottom.file("empty", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let mut table = Table::new();
    for size in SIZES {
        let fd = sys::open_read(ov.join(format!("{size}")))?;
        // The whole of the last page: behind the end of the file it reads as zero.
        let length = size.next_multiple_of(PAGE);
        let mapping = Mapping::new(&fd, length, flags, ProtFlags::READ)?;
        let mut expected = file_data(size);
        expected.resize(length, 0);
        table.note(check::bytes(
            format!("{size} bytes"),
            mapping.bytes(),
            &expected,
        ))?;
    }
    let fd = sys::open_read(ov.join("empty"))?;
    Mapping::new(&fd, PAGE, flags, ProtFlags::READ).context("empty file")?;
    table.finish()
}

fn private_write(fx: &Fixture) -> Result {
    let path = lower_file(fx, 3 * PAGE)?;
    let fd = sys::open_read(&path)?;
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    let mut mapping = Mapping::new(&fd, 3 * PAGE, MapFlags::PRIVATE, prot)?;
    mapping.bytes_mut()[PAGE + 5] ^= 0xff;
    let mut expected = file_data(3 * PAGE);
    data(&path, &expected)?;
    expected[PAGE + 5] ^= 0xff;
    check::bytes("mapping", mapping.bytes(), &expected)
}

fn at_offset(fx: &Fixture) -> Result {
    let size = 10 * PAGE + 7;
    let path = lower_file(fx, size)?;
    let fd = sys::open_read(&path)?;
    for page in [1, 5, 10] {
        let offset = page * PAGE;
        let length = PAGE.min(size - offset);
        let mapping = Mapping::at(
            &fd,
            offset as u64,
            length,
            MapFlags::SHARED,
            ProtFlags::READ,
        )?;
        let what = format!("page {page}");
        check::bytes(
            what,
            mapping.bytes(),
            &file_data(size)[offset..offset + length],
        )?;
    }
    let result = Mapping::at(&fd, 100, PAGE, MapFlags::SHARED, ProtFlags::READ);
    check::errno("offset within a page", result.map(drop), Errno::INVAL)
}

fn outlives_descriptor(fx: &Fixture) -> Result {
    let path = lower_file(fx, 2 * PAGE)?;
    let fd = sys::open_read(&path)?;
    let mapping = Mapping::new(&fd, 2 * PAGE, MapFlags::SHARED, ProtFlags::READ)?;
    drop(fd);
    sys::drop_caches().context("drop caches")?;
    check::bytes("mapping", mapping.bytes(), &file_data(2 * PAGE))?;
    let Some(point) = path.parent() else {
        return Err(Failure::new("the file has no parent"));
    };
    // The mapping holds the mount.
    check::errno("unmount", fx.unmount(point), Errno::BUSY)?;
    drop(mapping);
    fx.unmount(point)?;
    Ok(())
}

fn outlives_detached_mount(fx: &Fixture) -> Result {
    let path = lower_file(fx, 20 * PAGE)?;
    let fd = sys::open_read(&path)?;
    let mapping = Mapping::new(&fd, 20 * PAGE, MapFlags::SHARED, ProtFlags::READ)?;
    drop(fd);
    let Some(point) = path.parent() else {
        return Err(Failure::new("the file has no parent"));
    };
    rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH)?;
    fx.forget(point);
    check::bytes("mapping", mapping.bytes(), &file_data(20 * PAGE))
}

/// A file open for reading alone cannot be mapped for shared writing, now or later.
fn shared_write_refused(fx: &Fixture) -> Result {
    let path = lower_file(fx, PAGE)?;
    let fd = sys::open_read(&path)?;
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    let result = Mapping::new(&fd, PAGE, MapFlags::SHARED, prot);
    check::errno("mmap", result.map(drop), Errno::ACCESS)?;
    let mapping = Mapping::new(&fd, PAGE, MapFlags::SHARED, ProtFlags::READ)?;
    let result = mapping.protect(MprotectFlags::READ | MprotectFlags::WRITE);
    check::errno("mprotect", result, Errno::ACCESS)?;
    mapping.protect(MprotectFlags::READ | MprotectFlags::EXEC)?;
    Ok(())
}

fn of_directory(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.dir("d")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["", "d"] {
        let fd = sys::open_dir(ov.join(name))?;
        let result = Mapping::new(&fd, PAGE, MapFlags::SHARED, ProtFlags::READ);
        check::errno("mmap", result.map(drop), Errno::NODEV)?;
    }
    Ok(())
}

fn of_o_path(fx: &Fixture) -> Result {
    let path = lower_file(fx, PAGE)?;
    let fd = sys::open(&path, rustix::fs::OFlags::PATH)?;
    let result = Mapping::new(&fd, PAGE, MapFlags::SHARED, ProtFlags::READ);
    check::errno("mmap", result.map(drop), Errno::BADF)
}

/// A page of a lower file is in memory once, however it is mapped: a change that the layer's
/// owner makes through the layer is seen. (Changing a layer is not allowed otherwise.)
fn shares_pages_with_layer(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", vec![b'a'; PAGE])?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_read(ov.join("f"))?;
    let mapping = Mapping::new(&fd, PAGE, MapFlags::SHARED, ProtFlags::READ)?;
    let mut page = vec![0; PAGE];
    page.copy_from_slice(mapping.bytes());
    check::bytes("before", &page, &[b'a'; PAGE])?;
    let writer = std::fs::File::options()
        .write(true)
        .open(bottom.join("f"))?;
    std::os::unix::fs::FileExt::write_all_at(&writer, b"b", 100)?;
    drop(mapping);
    let mapping = Mapping::new(&fd, PAGE, MapFlags::SHARED, ProtFlags::READ)?;
    check::equal("changed byte", mapping.bytes()[100], b'b')
}

/// The line of a mapping in /proc/self/maps.
fn maps_line(mapping: &Mapping) -> Result<String> {
    let start = format!("{:x}-", mapping.address());
    std::fs::read_to_string("/proc/self/maps")?
        .lines()
        .find(|line| line.trim_start_matches('0').starts_with(&start))
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("the mapping is not in maps"))
}

/// Path, device and inode are those that stat shows.
fn maps_shows_overlay_inode(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("up", file_data(PAGE))?;
    lower.file("low", file_data(PAGE))?;
    let ov = fx.upper(&upper, &[&lower])?;
    for name in ["up", "low"] {
        let path = ov.join(name);
        let fd = sys::open_read(&path)?;
        for flags in [MapFlags::SHARED, MapFlags::PRIVATE] {
            let mapping = Mapping::new(&fd, PAGE, flags, ProtFlags::READ)?;
            let line = maps_line(&mapping)?;
            let fields: Vec<_> = line.split_whitespace().collect();
            let st = rustix::fs::fstat(&fd)?;
            let (major, minor) = (rustix::fs::major(st.st_dev), rustix::fs::minor(st.st_dev));
            check::equal("device", fields[3], &*format!("{major:02x}:{minor:02x}"))?;
            check::equal("inode", fields[4], &*st.st_ino.to_string())?;
            check::equal("path", fields[5], &*path.to_string_lossy())?;
        }
    }
    Ok(())
}

fn map_files_link(fx: &Fixture) -> Result {
    let path = lower_file(fx, PAGE)?;
    let fd = sys::open_read(&path)?;
    let mapping = Mapping::new(&fd, PAGE, MapFlags::SHARED, ProtFlags::READ)?;
    let start = mapping.address();
    let link = format!("/proc/self/map_files/{start:x}-{:x}", start + PAGE);
    check::equal("link", sys::readlink(&link)?, path.as_os_str())?;
    check::equal("inode", sys::stat(&link)?.st_ino, sys::stat(&path)?.st_ino)?;
    data(&link, &file_data(PAGE))
}

fn through_two_overlays(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[2].file("f", file_data(2 * PAGE))?;
    let inner = fx.lowers(&layers[1..])?;
    let inner = crate::layer::Layer::create(inner.path().to_owned())?;
    let outer = fx.lowers(&[&layers[0], &inner])?;
    let path = outer.join("f");
    let fd = sys::open_read(&path)?;
    let mapping = Mapping::new(&fd, 2 * PAGE, MapFlags::SHARED, ProtFlags::READ)?;
    check::bytes("mapping", mapping.bytes(), &file_data(2 * PAGE))?;
    let line = maps_line(&mapping)?;
    check::ok(
        line.ends_with(&*path.to_string_lossy()),
        format_args!("maps: {line}"),
    )
}

fn in_upper(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("f", file_data(5 * PAGE))?;
    lower.file("f", "hidden")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let fd = sys::open_read(ov.join("f"))?;
    for flags in [MapFlags::SHARED, MapFlags::PRIVATE] {
        let mapping = Mapping::new(&fd, 5 * PAGE, flags, ProtFlags::READ)?;
        check::bytes("mapping", mapping.bytes(), &file_data(5 * PAGE))?;
    }
    Ok(())
}

/// Who is asked before files are opened may look at the memory of the process that opens them, also when a file
/// is mapped that was copied up since it was opened.
fn watched(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.file("f", file_data(PAGE))?;
    let path = fx.upper(&upper, &[&lower])?.join("f");
    let group = match raw::guard_opens(upper.path()) {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            return Err(Failure::skip("nobody can be asked before files are opened"));
        }
        other => other.context("watch opens")?,
    };
    let Some(child) = sys::fork()? else {
        let mapped = || -> Result {
            let fd = sys::open_read(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            let mapping = Mapping::new(&fd, PAGE, MapFlags::PRIVATE, ProtFlags::READ)?;
            check::bytes("mapped", mapping.bytes(), &file_data(PAGE))
        };
        std::process::exit(mapped().is_err().into());
    };
    let maps = format!("/proc/{}/maps", child.as_raw_nonzero());
    // It goes on asking, for nobody, once the child has gone.
    std::thread::spawn(
        move || {
            while raw::permit_open(&group, || drop(std::fs::read(&maps))).is_ok() {}
        },
    );
    let begin = Instant::now();
    loop {
        if let Some((_, status)) = waitpid(Some(child), WaitOptions::NOHANG)? {
            return check::equal("status of the child", status.exit_status(), Some(0));
        }
        if begin.elapsed() > Duration::from_secs(20) {
            rustix::process::kill_process(child, Signal::KILL)?;
            waitpid(Some(child), WaitOptions::empty())?;
            return Err(Failure::new(
                "the one who is asked waits for the one who asks",
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
