// SPDX-License-Identifier: GPL-2.0-only

//! Setting times, and the time of the last access, which reading sets.

use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::OFlags;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::CWD;
use rustix::fs::UTIME_NOW;
use rustix::fs::UTIME_OMIT;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::alike::Alike;
use crate::alike::Place;
use crate::check;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("utimensat_all_kinds_of_files", "F14 C1", kinds).on_disks_too(),
    Test::new("utimensat_now_and_omit", "F14", now_and_omit),
    Test::new("utimensat_rights", "F14 F22", rights),
    Test::new("futimens_of_open_file", "F14 F2", open_file),
    Test::new("times_of_change_follow_upper", "F18 F14", follow_upper),
    Test::new("access_time_is_kept_in_upper", "F18", access_time).on_disks_too(),
    Test::new("access_time_of_lower_stays", "F18", access_time_of_lower),
    Test::new("access_time_not_wanted", "F18", access_not_wanted),
];

const USER: u32 = 1000;
const OTHER: u32 = 2000;

/// The times that objects begin with. The access comes first, so that the next one is noted.
const ACCESSED: i64 = 1_000_000;
const CHANGED: i64 = 2_000_000;

type SysResult<T> = std::result::Result<T, Errno>;

fn stamps(access: (i64, i64), modification: (i64, i64)) -> Timestamps {
    let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    Timestamps {
        last_access: time(access),
        last_modification: time(modification),
    }
}

fn set(path: &Path, times: &Timestamps) -> SysResult<()> {
    rustix::fs::utimensat(CWD, path, times, AtFlags::SYMLINK_NOFOLLOW)
}

/// The times of the last access and modification.
fn times(path: impl AsRef<Path>) -> SysResult<[i64; 4]> {
    let st = sys::lstat(path)?;
    Ok([
        st.st_atime,
        st.st_atime_nsec as i64,
        st.st_mtime,
        st.st_mtime_nsec as i64,
    ])
}

const KINDS: [&str; 5] = ["file", "dir", "link", "fifo", "null"];

fn fill(dir: &Layer) -> Result {
    dir.kinds()?.file("dir/in", "")?;
    for name in KINDS {
        set(&dir.join(name), &stamps((ACCESSED, 1), (CHANGED, 2)))?;
    }
    Ok(())
}

fn kinds(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in KINDS {
        alike.gives(name, Ok([3_000_000, 3, 4_000_000, 4]), |dir| {
            let path = dir.join(name);
            set(&path, &stamps((3_000_000, 3), (4_000_000, 4)))?;
            times(path)
        })?;
        alike.stored(name, |dir| times(dir.join(name)))?.map(drop)?;
    }
    alike.lower_untouched()
}

fn now_and_omit(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    let (now, omit) = ((0, UTIME_NOW), (0, UTIME_OMIT));
    for name in ["file", "dir"] {
        // What is set to now is later than anything set before.
        let seen = |dir: &Path, times: &Timestamps| {
            let path = dir.join(name);
            set(&path, times)?;
            let st = sys::lstat(&path)?;
            Ok((st.st_atime.min(9_000_000), st.st_mtime.min(9_000_000)))
        };
        alike.gives("only access", Ok((5, CHANGED)), |dir| {
            seen(dir, &stamps((5, 0), omit))
        })?;
        alike.gives("neither", Ok((5, CHANGED)), |dir| {
            seen(dir, &stamps(omit, omit))
        })?;
        alike.gives("access now", Ok((9_000_000, CHANGED)), |dir| {
            seen(dir, &stamps(now, omit))
        })?;
        alike.gives("both now", Ok((9_000_000, 9_000_000)), |dir| {
            seen(dir, &stamps(now, now))
        })?;
    }
    Ok(())
}

fn rights(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.file("shared", "")?.chown("shared", USER, USER)?;
        dir.chmod("shared", 0o666)?;
        dir.chown("file", USER, USER).map(drop)
    })?;
    let now = stamps((0, UTIME_NOW), (0, UTIME_NOW));
    let given = stamps((1, 1), (1, 1));
    for (who, name, times, expected) in [
        (OTHER, "file", &now, Err(Errno::ACCESS)),
        (OTHER, "file", &given, Err(Errno::PERM)),
        (OTHER, "shared", &given, Err(Errno::PERM)),
        (OTHER, "shared", &now, Ok(())),
        (USER, "file", &given, Ok(())),
    ] {
        if expected.is_err() {
            for place in [Place::Merged, Place::Lower] {
                check::ok(!alike.in_upper(place, name), "copied up for nothing")?;
            }
        }
        alike.gives(format!("{name} by {who}"), expected, |dir| {
            sys::as_user(who, who, &[], || set(&dir.join(name), times))?
        })?;
    }
    Ok(())
}

fn open_file(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir"] {
        alike.gives(name, Ok((7, 8)), |dir| {
            let fd = sys::open_read(dir.join(name))?;
            rustix::fs::futimens(&fd, &stamps((7, 0), (8, 0)))?;
            let st = rustix::fs::fstat(&fd)?;
            Ok((st.st_atime, st.st_mtime))
        })?;
    }
    alike.lower_untouched()
}

/// What was changed shows the times that upper's filesystem has noted.
fn follow_upper(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir", "fifo"] {
        alike.gives(name, Ok(true), |dir| {
            let path = dir.join(name);
            let before = sys::lstat(&path)?;
            std::thread::sleep(std::time::Duration::from_millis(15));
            rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o700))?;
            let st = sys::lstat(&path)?;
            let ctime = |st: &rustix::fs::Stat| (st.st_ctime, st.st_ctime_nsec);
            Ok(ctime(&st) > ctime(&before) && st.st_mtime == before.st_mtime)
        })?;
        for place in Place::ALL {
            let of = |path: &Path| sys::lstat(path).map(|st| (st.st_ctime, st.st_ctime_nsec));
            let upper = of(&alike.upper().join(place.name()).join(name))?;
            check::equal("ctime", of(&alike.dir(place).join(name))?, upper)?;
        }
    }
    Ok(())
}

/// Reads the data of a file, the names in a directory, or the target of a symlink.
fn access(path: &Path) -> Result {
    match sys::lstat_kind(path)? {
        FileType::Directory => drop(sys::list(path)?),
        FileType::Symlink => drop(sys::readlink(path)?),
        _ => drop(std::fs::read(path)?),
    }
    Ok(())
}

const READABLE: [&str; 3] = ["file", "dir", "link"];

fn access_time(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    let (ov, upper) = (
        alike.dir(Place::Upper),
        alike.upper().join(Place::Upper.name()),
    );
    for name in READABLE {
        // `walk` of the fixture may have read it already.
        set(&ov.join(name), &stamps((ACCESSED, 1), (CHANGED, 2)))?;
        access(&ov.join(name))?;
        let seen = times(ov.join(name))?;
        check::ok(seen[0] > CHANGED, format_args!("{name}: {seen:?}"))?;
        check::equal("modification", seen[2..].to_vec(), vec![CHANGED, 2])?;
        check::equal("upper", times(upper.join(name))?, seen)?;
    }
    Ok(())
}

fn access_time_of_lower(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    fill(&lower)?;
    lower.dir("merged")?;
    set(&lower.join("merged"), &stamps((ACCESSED, 1), (CHANGED, 2)))?;
    let upper = fx.layer("upper")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for name in READABLE {
        access(&ov.join(name))?;
        let expected = [ACCESSED, 1, CHANGED, 2];
        check::equal(name, times(ov.join(name))?, expected)?;
        check::equal("lower", times(lower.join(name))?, expected)?;
    }
    Ok(())
}

fn access_not_wanted(fx: &Fixture) -> Result {
    let old = stamps((ACCESSED, 1), (CHANGED, 2));
    let alike = Alike::new(fx, fill)?;
    let path = alike.dir(Place::Upper).join("file");
    let fd = sys::open(&path, OFlags::RDONLY | OFlags::NOATIME)?;
    set(&path, &old)?;
    rustix::io::read(&fd, &mut [0; 4])?;
    check::equal("O_NOATIME", times(&path)?[0], ACCESSED)?;
    let fd = sys::open_read(&path)?;
    rustix::fs::fcntl_setfl(&fd, OFlags::NOATIME)?;
    rustix::io::read(&fd, &mut [0; 4])?;
    check::equal("O_NOATIME set later", times(&path)?[0], ACCESSED)?;

    let (upper, lower) = (fx.layer("quiet-upper")?, fx.layer("quiet-lower")?);
    fill(&upper)?;
    let work = fx.work()?;
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let ov = fx.mount(&options.mount_flags(MountFlags::NOATIME))?;
    for name in READABLE {
        set(&ov.join(name), &old)?;
        access(&ov.join(name))?;
        check::equal(name, times(ov.join(name))?[0], ACCESSED)?;
    }
    Ok(())
}
