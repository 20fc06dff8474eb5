// SPDX-License-Identifier: GPL-2.0-only

//! Setting and removing access control lists.

use std::path::Path;

use rustix::fs::lremovexattr;
use rustix::fs::lsetxattr;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::MountFlags;

use super::acl::bytes;
use super::acl::get;
use super::acl::Entry;
use super::acl::Entry::*;
use super::acl::ACCESS;
use super::acl::DEFAULT;
use crate::alike::Alike;
use crate::alike::Place;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("acl_set_all_kinds_of_files", "F17 C1", kinds).on_disks_too(),
    Test::new("acl_set_and_removed", "F17", removed).on_disks_too(),
    Test::new("acl_set_says_who_may", "F17 F15", who_may),
    Test::new("acl_set_default", "F17", default),
    Test::new("acl_set_that_is_only_a_mode", "F17", only_mode),
    Test::new("acl_set_needs_owner", "F17 F22", needs_owner),
    Test::new("acl_set_takes_set_group_id", "F17 F22", set_group_id).on_disks_too(),
    Test::new("acl_follows_chmod", "F17 F14", follows_chmod),
    Test::new("acl_removed_where_there_is_none", "F17 C1", remove_absent),
    Test::new("acl_set_to_nonsense", "F17", nonsense),
    Test::new("acl_set_where_upper_has_none", "F17", upper_without),
];

const USER: u32 = 1000;
const OTHER: u32 = 2000;
const GROUP: u32 = 3000;

type SysResult<T> = std::result::Result<T, Errno>;

const LIST: [Entry; 6] = [
    Owner(7),
    User(USER, 6),
    OwningGroup(5),
    Group(GROUP, 4),
    Mask(6),
    Others(1),
];

fn fill(dir: &Layer) -> Result {
    dir.file("file", "data")?.dir("dir")?;
    dir.node("fifo", FileType::Fifo, 0o644, (0, 0)).map(drop)
}

fn set(path: impl AsRef<Path>, name: &str, list: &[Entry]) -> SysResult<()> {
    lsetxattr(path.as_ref(), name, &bytes(list), XattrFlags::empty())
}

fn mode(path: impl AsRef<Path>) -> SysResult<u32> {
    Ok(sys::lstat(path)?.st_mode & 0o7777)
}

/// What of a list there is to be seen.
fn seen(path: impl AsRef<Path>, name: &str) -> SysResult<(SysResult<Vec<u8>>, u32)> {
    Ok((get(path.as_ref(), name), mode(path)?))
}

fn kinds(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir", "fifo"] {
        alike.gives(name, Ok(()), |dir| set(dir.join(name), ACCESS, &LIST))?;
        let stored = alike.stored(name, |dir| seen(dir.join(name), ACCESS))?;
        check::equal("list", stored, Ok((Ok(bytes(&LIST)), 0o761)))?;
    }
    alike.lower_untouched()
}

fn removed(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        for name in ["file", "dir"] {
            dir.xattr(name, ACCESS, &bytes(&LIST))?;
        }
        dir.xattr("dir", DEFAULT, &bytes(&LIST)).map(drop)
    })?;
    for (name, key) in [("file", ACCESS), ("dir", ACCESS), ("dir", DEFAULT)] {
        alike.gives(name, Ok(()), |dir| lremovexattr(dir.join(name), key))?;
        let (list, _) = alike.stored(name, |dir| seen(dir.join(name), key))??;
        check::equal("list", list, Err(Errno::NODATA))?;
    }
    alike.lower_untouched()
}

fn who_may(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.chmod("file", 0o600).map(drop)
    })?;
    let read = |uid: u32, groups: &[u32], dir: &Path| {
        sys::as_user(uid, uid, groups, || {
            sys::open_read(dir.join("file")).map(drop)
        })?
    };
    alike.gives("before", Err(Errno::ACCESS), |dir| read(USER, &[], dir))?;
    alike.gives("set", Ok(()), |dir| {
        set(
            dir.join("file"),
            ACCESS,
            &[
                Owner(6),
                User(USER, 4),
                OwningGroup(0),
                Group(GROUP, 4),
                Mask(4),
                Others(0),
            ],
        )
    })?;
    alike.gives("user", Ok(()), |dir| read(USER, &[], dir))?;
    alike.gives("group", Ok(()), |dir| read(OTHER, &[GROUP], dir))?;
    alike.gives("other", Err(Errno::ACCESS), |dir| read(OTHER, &[], dir))?;
    alike.gives("removed", Err(Errno::ACCESS), |dir| {
        lremovexattr(dir.join("file"), ACCESS)?;
        read(USER, &[], dir)
    })
}

fn default(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    alike.gives("directory", Ok(()), |dir| {
        set(dir.join("dir"), DEFAULT, &LIST)
    })?;
    let stored = alike.stored("list", |dir| get(dir.join("dir"), DEFAULT))?;
    check::equal("list", stored, Ok(bytes(&LIST)))?;
    alike.gives("file", Err(Errno::ACCESS), |dir| {
        set(dir.join("file"), DEFAULT, &LIST)
    })?;
    for place in [Place::Merged, Place::Lower] {
        check::ok(!alike.in_upper(place, "file"), "copied up for nothing")?;
    }
    alike.gives("removed from a file", Ok(()), |dir| {
        lremovexattr(dir.join("file"), DEFAULT)
    })
}

fn only_mode(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    let list = [Owner(6), OwningGroup(2), Others(4)];
    alike.gives("set", Ok((Err(Errno::NODATA), 0o624)), |dir| {
        set(dir.join("file"), ACCESS, &list)?;
        seen(dir.join("file"), ACCESS)
    })?;
    alike
        .stored("list", |dir| seen(dir.join("file"), ACCESS))?
        .map(drop)?;
    Ok(())
}

fn needs_owner(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.xattr("file", ACCESS, &bytes(&LIST))?;
        dir.chown("file", USER, USER).map(drop)
    })?;
    alike.gives("set by another", Err(Errno::PERM), |dir| {
        sys::as_user(OTHER, OTHER, &[], || set(dir.join("file"), ACCESS, &LIST))?
    })?;
    alike.gives("removed by another", Err(Errno::PERM), |dir| {
        sys::as_user(OTHER, OTHER, &[], || lremovexattr(dir.join("file"), ACCESS))?
    })?;
    for place in [Place::Merged, Place::Lower] {
        check::ok(!alike.in_upper(place, "file"), "copied up for nothing")?;
    }
    alike.gives("set by the owner", Ok(()), |dir| {
        sys::as_user(USER, USER, &[], || set(dir.join("file"), ACCESS, &LIST))?
    })
}

/// Who is not in the group of the file cannot make it run with that group.
fn set_group_id(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        for name in ["file", "dir"] {
            dir.chown(name, USER, GROUP)?.chmod(name, 0o2755)?;
        }
        Ok(())
    })?;
    for name in ["file", "dir"] {
        for (groups, expected) in [(&[GROUP][..], 0o2761), (&[][..], 0o761)] {
            alike.gives(format!("{name} {groups:?}"), Ok(expected), |dir| {
                let path = dir.join(name);
                sys::as_user(USER, USER, groups, || set(&path, ACCESS, &LIST))??;
                mode(path)
            })?;
        }
        alike.stored(name, |dir| mode(dir.join(name)))?.map(drop)?;
    }
    alike.lower_untouched()
}

fn follows_chmod(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.xattr("file", ACCESS, &bytes(&LIST)).map(drop)
    })?;
    for bits in [0o604, 0o770] {
        alike
            .check(bits, |dir| {
                rustix::fs::chmod(dir.join("file"), Mode::from_raw_mode(bits))?;
                seen(dir.join("file"), ACCESS)
            })?
            .map(drop)?;
    }
    alike
        .stored("list", |dir| seen(dir.join("file"), ACCESS))?
        .map(drop)?;
    Ok(())
}

fn remove_absent(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir"] {
        let remove = |place| lremovexattr(alike.dir(place).join(name), ACCESS);
        check::equal("in upper", remove(Place::Upper), Ok(()))?;
        for place in [Place::Merged, Place::Lower] {
            check::errno("in lower", remove(place), Errno::NODATA)?;
            check::ok(!alike.in_upper(place, name), "copied up for nothing")?;
        }
    }
    Ok(())
}

fn nonsense(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    let bad: [&[Entry]; 3] = [
        &[Owner(7), User(USER, 6), OwningGroup(5), Others(1)],
        &[Owner(7), OwningGroup(5)],
        &[Others(7), OwningGroup(5), Owner(5)],
    ];
    for list in bad {
        alike.gives("list", Err(Errno::INVAL), |dir| {
            set(dir.join("file"), ACCESS, list)
        })?;
    }
    alike.gives("bytes", Err(Errno::INVAL), |dir| {
        lsetxattr(dir.join("file"), ACCESS, b"x", XattrFlags::empty())
    })?;
    for place in [Place::Merged, Place::Lower] {
        check::ok(!alike.in_upper(place, "file"), "copied up for nothing")?;
    }
    Ok(())
}

fn upper_without(fx: &Fixture) -> Result {
    let point = fx.mount_point()?;
    mount("ramfs", &point, "ramfs", MountFlags::empty(), None).context("mount ramfs")?;
    fx.adopt(&point);
    let writable = Layer::create(point)?;
    writable.dir("upper")?.dir("work")?;
    let (upper, lower) = (Layer::create(writable.join("upper"))?, fx.layer("lower")?);
    let work = Layer::create(writable.join("work"))?;
    upper.file("u", "")?;
    lower.file("l", "")?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    for name in ["u", "l"] {
        let result = set(ov.join(name), ACCESS, &LIST);
        check::errno(name, result, Errno::OPNOTSUPP)?;
    }
    check::ok(!upper.join("l").exists(), "copied up for nothing")
}
