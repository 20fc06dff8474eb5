// SPDX-License-Identifier: GPL-2.0-only

//! Changing permission bits.

use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;

use crate::alike::Alike;
use crate::alike::Place;
use crate::check;
use crate::check::Result;
use crate::expect::content;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("chmod_all_kinds_of_files", "F14 C1", kinds).on_disks_too(),
    Test::new("chmod_keeps_data_and_times", "F14 C1 C4", keeps).on_disks_too(),
    Test::new("chmod_needs_owner", "F14 F22", needs_owner),
    Test::new("chmod_by_owner_loses_set_group_id", "F14 F22", set_group_id),
    Test::new("chmod_of_open_file", "F14 F2", open_file),
    Test::new("chmod_of_root_directory", "F14", root),
    Test::new("chmod_of_symlink", "F14", symlink),
];

const USER: u32 = 1000;
const OTHER: u32 = 2000;

type SysResult<T> = std::result::Result<T, Errno>;

fn fill(dir: &Layer) -> Result {
    dir.file("file", "data")?.dir("dir")?.file("dir/in", "in")?;
    dir.symlink("link", "file")?;
    dir.node("fifo", FileType::Fifo, 0o644, (0, 0))?;
    dir.node("null", FileType::CharacterDevice, 0o644, (1, 3))?;
    dir.node("socket", FileType::Socket, 0o644, (0, 0))?;
    for name in ["file", "dir", "fifo", "null", "socket", "dir/in"] {
        dir.times(name, 1_000_000, 5)?;
    }
    Ok(())
}

fn chmod(path: impl AsRef<Path>, mode: u32) -> SysResult<()> {
    rustix::fs::chmod(path.as_ref(), Mode::from_raw_mode(mode))
}

fn mode(path: impl AsRef<Path>) -> SysResult<u32> {
    Ok(sys::lstat(path)?.st_mode)
}

fn kinds(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir", "fifo", "null", "socket"] {
        for bits in [0o640, 0o7777, 0, 0o751] {
            alike.gives(name, Ok(bits), |dir| {
                chmod(dir.join(name), bits)?;
                Ok(mode(dir.join(name))? & 0o7777)
            })?;
        }
        alike.stored(name, |dir| mode(dir.join(name)))?.map(drop)?;
    }
    alike.lower_untouched()
}

fn keeps(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    let parents = |place: Place| sys::lstat(alike.dir(place)).map(|st| (st.st_mtime, st.st_mode));
    let before = [parents(Place::Merged)?, parents(Place::Lower)?];
    for name in ["file", "dir/in", "dir"] {
        alike.gives(name, Ok((1_000_000, 5, true)), |dir| {
            let path = dir.join(name);
            let old = sys::lstat(&path)?;
            chmod(&path, 0o700)?;
            let st = sys::lstat(&path)?;
            let later = (old.st_ctime, old.st_ctime_nsec) <= (st.st_ctime, st.st_ctime_nsec);
            Ok((
                st.st_mtime,
                st.st_mtime_nsec,
                later && st.st_ctime > 1_000_000,
            ))
        })?;
    }
    for place in Place::ALL {
        content(alike.dir(place).join("file"), "data")?;
        content(alike.dir(place).join("dir/in"), "in")?;
    }
    let after = [parents(Place::Merged)?, parents(Place::Lower)?];
    check::equal("parents", after, before)?;
    alike.lower_untouched()
}

fn needs_owner(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.chown("file", USER, USER)?.chown("dir", USER, USER)?;
        Ok(())
    })?;
    for name in ["file", "dir"] {
        alike.gives("by another", Err::<(), _>(Errno::PERM), |dir| {
            sys::as_user(OTHER, OTHER, &[], || chmod(dir.join(name), 0o777))?
        })?;
    }
    for place in [Place::Merged, Place::Lower] {
        check::ok(!alike.in_upper(place, "file"), "copied up for nothing")?;
    }
    for name in ["file", "dir"] {
        alike.gives("by the owner", Ok(()), |dir| {
            sys::as_user(USER, USER, &[], || chmod(dir.join(name), 0o600))?
        })?;
        let stored = alike.stored("mode and owner", |dir| {
            let st = sys::lstat(dir.join(name))?;
            Ok((st.st_mode & 0o7777, st.st_uid, st.st_gid))
        })?;
        check::equal("mode and owner", stored, Ok((0o600, USER, USER)))?;
    }
    alike.lower_untouched()
}

/// One who is not in the group of the file cannot make it run with that group.
fn set_group_id(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.chown("file", USER, OTHER)?.chown("dir", USER, OTHER)?;
        Ok(())
    })?;
    for name in ["file", "dir"] {
        for (groups, expected) in [(&[][..], 0o755), (&[OTHER][..], 0o2755)] {
            alike.gives(name, Ok(expected), |dir| {
                let path = dir.join(name);
                sys::as_user(USER, USER, groups, || chmod(&path, 0o2755))??;
                Ok(mode(path)? & 0o7777)
            })?;
        }
    }
    Ok(())
}

/// A descriptor shows the new mode, and changes it.
fn open_file(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir"] {
        alike.gives(name, Ok([0o640, 0o604, 0o400]), |dir| {
            let path = dir.join(name);
            let fd = sys::open_read(&path)?;
            let shown = || rustix::fs::fstat(&fd).map(|st| st.st_mode & 0o7777);
            chmod(&path, 0o640)?;
            let first = shown()?;
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o604))?;
            let second = shown()?;
            let place = sys::open(&path, OFlags::PATH)?;
            let proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place));
            chmod(proc, 0o400)?;
            Ok([first, second, shown()?])
        })?;
    }
    alike.lower_untouched()
}

fn root(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let ov = fx.upper(&upper, &[&lower])?;
    chmod(ov.path(), 0o1777)?;
    check::equal("overlay", mode(ov.path())? & 0o7777, 0o1777)?;
    check::equal("upper", mode(upper.path())? & 0o7777, 0o1777)?;
    check::equal("lower", mode(lower.path())? & 0o7777, 0o755)
}

fn symlink(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    alike
        .check("link itself", |dir| {
            let (path, bits) = (dir.join("link"), Mode::from_raw_mode(0o600));
            rustix::fs::chmodat(CWD, &path, bits, AtFlags::SYMLINK_NOFOLLOW)
        })?
        .ok();
    alike.gives("through the link", Ok(0o600), |dir| {
        chmod(dir.join("link"), 0o600)?;
        Ok(mode(dir.join("file"))? & 0o7777)
    })
}
