// SPDX-License-Identifier: GPL-2.0-only

//! Changing the size of files.

use std::path::Path;

use rustix::fs::FileType;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::alike::Alike;
use crate::alike::Place;
use crate::check;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::rawsys::truncate;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("truncate_to_any_size", "F14 C1", sizes).on_disks_too(),
    Test::new("truncate_errors", "F14", errors),
    Test::new("truncate_sets_times", "F14 F18", sets_times),
    Test::new("truncate_takes_set_id_bits", "F14 F22", set_id_bits).on_disks_too(),
    Test::new("truncate_of_open_file", "F14 F2", open_file).on_disks_too(),
    Test::new("truncate_needs_no_owner", "F14 F22", by_others),
];

const USER: u32 = 1000;
const SIZE: usize = 10_000;

type SysResult<T> = std::result::Result<T, Errno>;

fn data() -> Vec<u8> {
    sys::pattern(SIZE, 1)
}

fn read(path: impl AsRef<Path>) -> SysResult<Vec<u8>> {
    std::fs::read(path).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}

const SIZES: [u64; 6] = [0, 1, 4096, SIZE as u64, 12_345, 200_000];

fn sizes(fx: &Fixture) -> Result {
    let name = |size: u64| format!("to-{size}");
    let alike = Alike::new(fx, |dir| {
        for size in SIZES {
            dir.file(name(size), data())?;
        }
        Ok(())
    })?;
    for size in SIZES {
        let mut expected = data();
        expected.resize(size as usize, 0);
        alike.gives(size, Ok(true), |dir| {
            truncate(&dir.join(name(size)), size as i64)?;
            Ok(read(dir.join(name(size)))? == expected)
        })?;
        alike
            .stored("data", |dir| {
                read(dir.join(name(size))).map(|d| d == expected)
            })?
            .map(drop)?;
        // Once it is in upper it is as any other file.
        for again in [3, 300, 0, 30] {
            expected.resize(again, 0);
            alike.gives(again, Ok(true), |dir| {
                truncate(&dir.join(name(size)), again as i64)?;
                Ok(read(dir.join(name(size)))? == expected)
            })?;
        }
    }
    alike.lower_untouched()
}

fn errors(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        dir.file("file", data())?.file("large", "")?.dir("dir")?;
        dir.file("closed", data())?.chmod("closed", 0o644)?;
        dir.node("fifo", FileType::Fifo, 0o666, (0, 0))?;
        dir.symlink("dangling", "missing").map(drop)
    })?;
    for (name, size, expected) in [
        ("file", -1, Errno::INVAL),
        ("dir", 0, Errno::ISDIR),
        ("fifo", 0, Errno::INVAL),
        ("dangling", 0, Errno::NOENT),
    ] {
        alike.gives(format!("{name} to {size}"), Err(expected), |dir| {
            truncate(&dir.join(name), size)
        })?;
    }
    // How large files may be is for the filesystem to say.
    for size in [1 << 40, i64::MAX] {
        alike
            .check(size, |dir| truncate(&dir.join("large"), size))?
            .err();
    }
    alike.gives("without the right", Err(Errno::ACCESS), |dir| {
        sys::as_user(USER, USER, &[], || truncate(&dir.join("closed"), 0))?
    })?;
    alike.gives("read-only descriptor", Err(Errno::INVAL), |dir| {
        rustix::fs::ftruncate(sys::open_read(dir.join("file"))?, 0)
    })?;
    for place in [Place::Merged, Place::Lower] {
        check::ok(!alike.in_upper(place, "closed"), "copied up for nothing")?;
    }
    alike.lower_untouched()
}

fn sets_times(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        dir.file("file", data())?.times("file", 1_000_000, 0)?;
        dir.file("same", data())?.times("same", 1_000_000, 0)?;
        Ok(())
    })?;
    for (name, size) in [("file", 10), ("same", SIZE as i64)] {
        alike.gives(name, Ok((true, true)), |dir| {
            let path = dir.join(name);
            truncate(&path, size)?;
            let st = sys::lstat(path)?;
            Ok((st.st_mtime > 1_000_000, st.st_ctime > 1_000_000))
        })?;
    }
    Ok(())
}

/// A user who may write takes the bits by it, root does not.
fn set_id_bits(fx: &Fixture) -> Result {
    let cases = [0o6777, 0o6767, 0o2767, 0o4666];
    let alike = Alike::new(fx, |dir| {
        for mode in cases {
            for who in ["user", "root"] {
                let name = format!("{who}-{mode:o}");
                dir.file(&name, data())?.chmod(&name, mode)?;
            }
        }
        Ok(())
    })?;
    for mode in cases {
        for size in [10, 0] {
            alike
                .check(format!("{mode:o} by a user"), |dir| {
                    let path = dir.join(format!("user-{mode:o}"));
                    sys::as_user(USER, USER, &[], || truncate(&path, size))??;
                    Ok(sys::lstat(path)?.st_mode)
                })?
                .map(drop)?;
            alike
                .check(format!("{mode:o} by root"), |dir| {
                    let path = dir.join(format!("root-{mode:o}"));
                    truncate(&path, size)?;
                    Ok(sys::lstat(path)?.st_mode)
                })?
                .map(drop)?;
        }
    }
    alike.lower_untouched()
}

fn open_file(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        dir.file("file", data())?.file("cut", data()).map(drop)
    })?;
    alike.gives("by descriptor", Ok((5000, 5000, 100)), |dir| {
        let path = dir.join("file");
        let fd = sys::open(&path, OFlags::RDWR)?;
        rustix::fs::ftruncate(&fd, 5000)?;
        let first = (rustix::fs::fstat(&fd)?.st_size, sys::lstat(&path)?.st_size);
        truncate(&path, 100)?;
        Ok((first.0, first.1, rustix::fs::fstat(&fd)?.st_size))
    })?;
    alike.gives("of one that reads", Ok((0, 0)), |dir| {
        let path = dir.join("cut");
        let fd = sys::open_read(&path)?;
        truncate(&path, 0)?;
        let read = rustix::io::pread(&fd, &mut [0; 16], 0)?;
        Ok((rustix::fs::fstat(&fd)?.st_size, read))
    })?;
    alike.lower_untouched()
}

/// Write permission is all that it takes.
fn by_others(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir: &Layer| {
        dir.file("file", data())?.chmod("file", 0o666).map(drop)
    })?;
    alike.gives("by a user", Ok((7, 0)), |dir| {
        let path = dir.join("file");
        sys::as_user(USER, USER, &[], || truncate(&path, 7))??;
        let st = sys::lstat(path)?;
        Ok((st.st_size, st.st_uid))
    })
}
