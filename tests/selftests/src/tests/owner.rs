// SPDX-License-Identifier: GPL-2.0-only

//! Changing owners, and the bits and capabilities that a file loses with them.

use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::Gid;
use rustix::fs::Uid;
use rustix::fs::CWD;
use rustix::io::Errno;

use crate::alike::Alike;
use crate::alike::Place;
use crate::check;
use crate::check::Result;
use crate::expect::content;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::layer::CAPABILITY;
use crate::layer::NET_RAW;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("chown_all_kinds_of_files", "F14 C1", kinds).on_disks_too(),
    Test::new("chown_one_of_both", "F14", one_of_both),
    Test::new("chown_needs_privilege", "F14 F22", needs_privilege),
    Test::new("chown_group_by_owner", "F14 F22", group_by_owner),
    Test::new("chown_takes_set_id_bits", "F14", set_id_bits).on_disks_too(),
    Test::new("chown_takes_capabilities", "F14 F16", capabilities).on_disks_too(),
    Test::new("chown_by_descriptor", "F14 F2", descriptor),
];

const USER: u32 = 1000;
const OTHER: u32 = 2000;
type SysResult<T> = std::result::Result<T, Errno>;

fn fill(dir: &Layer) -> Result {
    dir.kinds().map(drop)
}

fn chown(path: impl AsRef<Path>, uid: Option<u32>, gid: Option<u32>) -> SysResult<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    rustix::fs::chownat(CWD, path.as_ref(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
}

fn owner(path: impl AsRef<Path>) -> SysResult<(u32, u32)> {
    let st = sys::lstat(path)?;
    Ok((st.st_uid, st.st_gid))
}

fn mode(path: impl AsRef<Path>) -> SysResult<u32> {
    Ok(sys::lstat(path)?.st_mode & 0o7777)
}

fn kinds(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir", "link", "fifo", "null"] {
        alike.gives(name, Ok((USER, OTHER)), |dir| {
            chown(dir.join(name), Some(USER), Some(OTHER))?;
            owner(dir.join(name))
        })?;
        let stored = alike.stored(name, |dir| owner(dir.join(name)))?;
        check::equal(name, stored, Ok((USER, OTHER)))?;
    }
    for place in Place::ALL {
        content(alike.dir(place).join("link"), "data")?;
    }
    alike.lower_untouched()
}

fn one_of_both(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.chown("file", 5, 6).map(drop)
    })?;
    for (uid, gid, expected) in [
        (Some(7), None, (7, 6)),
        (None, Some(8), (7, 8)),
        (None, None, (7, 8)),
    ] {
        alike.gives("owner", Ok(expected), |dir| {
            chown(dir.join("file"), uid, gid)?;
            owner(dir.join("file"))
        })?;
    }
    Ok(())
}

fn needs_privilege(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.chown("file", USER, USER).map(drop)
    })?;
    for (uid, gid) in [(Some(OTHER), None), (None, Some(OTHER))] {
        alike.gives("by the owner", Err::<(), _>(Errno::PERM), |dir| {
            sys::as_user(USER, USER, &[], || chown(dir.join("file"), uid, gid))?
        })?;
    }
    alike.gives("by another", Err::<(), _>(Errno::PERM), |dir| {
        sys::as_user(OTHER, OTHER, &[], || {
            chown(dir.join("file"), Some(OTHER), None)
        })?
    })?;
    for place in [Place::Merged, Place::Lower] {
        check::ok(!alike.in_upper(place, "file"), "copied up for nothing")?;
    }
    Ok(())
}

fn group_by_owner(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.chown("file", USER, USER).map(drop)
    })?;
    alike.gives("to a group of his", Ok((USER, OTHER)), |dir| {
        sys::as_user(USER, USER, &[OTHER], || {
            chown(dir.join("file"), None, Some(OTHER))
        })??;
        owner(dir.join("file"))
    })
}

/// Also root takes the bits by changing the owner, though not those of directories.
fn set_id_bits(fx: &Fixture) -> Result {
    const MODES: [u32; 5] = [0o6755, 0o6777, 0o6745, 0o4644, 0o2644];
    let name = |kind: &str, mode: u32| format!("{kind}-{mode:o}");
    let alike = Alike::new(fx, |dir| {
        for mode in MODES {
            let (file, sub) = (name("f", mode), name("d", mode));
            dir.file(&file, "")?.dir(&sub)?;
            dir.chmod(&file, mode)?.chmod(&sub, mode)?;
            let mine = name("m", mode);
            dir.file(&mine, "")?.chown(&mine, USER, USER)?;
            dir.chmod(&mine, mode)?;
        }
        Ok(())
    })?;
    for bits in MODES {
        for name in [name("f", bits), name("d", bits)] {
            alike
                .check(&name, |dir| {
                    chown(dir.join(&name), Some(USER), Some(OTHER))?;
                    mode(dir.join(&name))
                })?
                .map(drop)?;
            alike
                .stored(&name, |dir| mode(dir.join(&name)))?
                .map(drop)?;
        }
        let mine = name("m", bits);
        alike
            .check(&mine, |dir| {
                sys::as_user(USER, USER, &[OTHER], || {
                    chown(dir.join(&mine), None, Some(OTHER))
                })??;
                mode(dir.join(&mine))
            })?
            .map(drop)?;
    }
    alike.gives("set-user-ID", Ok(0o755), |dir| mode(dir.join("f-6755")))?;
    alike.lower_untouched()
}

fn capabilities(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        dir.file("file", "")?.xattr("file", CAPABILITY, &NET_RAW)?;
        Ok(())
    })?;
    let get = |path: &Path| {
        let mut value = [0; 64];
        rustix::fs::lgetxattr(path, CAPABILITY, &mut value)
    };
    alike.gives("before", Ok(NET_RAW.len()), |dir| get(&dir.join("file")))?;
    alike.gives("chown", Err(Errno::NODATA), |dir| {
        chown(dir.join("file"), Some(USER), None)?;
        get(&dir.join("file"))
    })?;
    alike
        .stored("capability", |dir| get(&dir.join("file")))?
        .err();
    Ok(())
}

fn descriptor(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir"] {
        alike.gives(name, Ok((3, 4)), |dir| {
            let fd = sys::open_read(dir.join(name))?;
            rustix::fs::fchown(&fd, Some(Uid::from_raw(3)), Some(Gid::from_raw(4)))?;
            let st = rustix::fs::fstat(&fd)?;
            Ok((st.st_uid, st.st_gid))
        })?;
    }
    alike.lower_untouched()
}
