// SPDX-License-Identifier: GPL-2.0-only

//! Setting the flags that chattr sets.

use std::path::Path;

use rustix::fs::ioctl_getflags;
use rustix::fs::ioctl_setflags;
use rustix::fs::lgetxattr;
use rustix::fs::IFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatxAttributes;
use rustix::io::Errno;

use crate::alike::Alike;
use crate::alike::Place;
use crate::check;
use crate::check::Result;
use crate::expect::content;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::rawsys::fsgetxattr;
use crate::rawsys::fssetxattr;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("fileattr_set", "F12 C1", set_some).on_disks_in_their_way(),
    Test::new("fileattr_set_by_fssetxattr", "F12 C1", by_fssetxattr).on_disks_in_their_way(),
    Test::new("fileattr_immutable", "F12 X9", immutable).on_disks_in_their_way(),
    Test::new("fileattr_append_only", "F12 X9", append_only).on_disks_in_their_way(),
    Test::new("fileattr_immutable_directory", "F12 X9", directory),
    Test::new("fileattr_stays_after_remount", "F12 X9", remounted).on_disks_in_their_way(),
    Test::new("fileattr_set_rights", "F12 F22", rights),
    Test::new("fileattr_taken_from_lower", "F12 X9 C4", from_lower).on_disks_in_their_way(),
];

const USER: u32 = 1000;
const OTHER: u32 = 2000;
const PROTECTION: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);
const PROTATTR: &str = "trusted.overlay.protattr";

type SysResult<T> = std::result::Result<T, Errno>;

fn fill(dir: &Layer) -> Result {
    dir.file("file", "data")?.dir("dir")?.file("dir/in", "in")?;
    Ok(())
}

fn get(path: impl AsRef<Path>) -> SysResult<IFlags> {
    ioctl_getflags(sys::open_read(path)?)
}

/// Sets these flags of those that can be set here, and takes the others away.
fn set(path: impl AsRef<Path>, flags: IFlags) -> SysResult<()> {
    const ALL: IFlags = PROTECTION.union(IFlags::NODUMP).union(IFlags::NOATIME);
    let fd = sys::open_read(path)?;
    ioctl_setflags(&fd, ioctl_getflags(&fd)?.difference(ALL) | flags)
}

/// What the object in upper says about its protection: its flags, and the attribute.
fn protection(path: &Path) -> Result<(IFlags, String)> {
    let mut value = [0; 32];
    let letters = match lgetxattr(path, PROTATTR, &mut value) {
        Ok(length) => String::from_utf8_lossy(&value[..length]).into_owned(),
        Err(Errno::NODATA) => String::from("none"),
        Err(error) => return Err(error.into()),
    };
    Ok((get(path)? & PROTECTION, letters))
}

fn set_some(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir"] {
        for flags in [IFlags::NODUMP, IFlags::NODUMP | IFlags::NOATIME] {
            alike.gives(name, Ok(flags), |dir| {
                set(dir.join(name), flags)?;
                Ok(get(dir.join(name))? & flags)
            })?;
            alike.stored(name, |dir| get(dir.join(name)))?.map(drop)?;
        }
        alike.gives("none", Ok(()), |dir| set(dir.join(name), IFlags::empty()))?;
        alike.stored(name, |dir| get(dir.join(name)))?.map(drop)?;
    }
    // Which others there are is for the filesystem to say.
    for flags in [IFlags::SYNC, IFlags::COMPRESSED, IFlags::NOCOW] {
        alike
            .check(format!("{flags:?}"), |dir| {
                set(dir.join("file"), flags)?;
                get(dir.join("file"))
            })?
            .ok();
    }
    alike.lower_untouched()
}

fn by_fssetxattr(fx: &Fixture) -> Result {
    const NODUMP: u32 = 0x80;
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir"] {
        alike.gives(name, Ok(NODUMP), |dir| {
            let fd = sys::open_read(dir.join(name))?;
            let mut attr = fsgetxattr(&fd)?;
            attr.xflags |= NODUMP;
            fssetxattr(&fd, &attr)?;
            Ok(fsgetxattr(&fd)?.xflags & NODUMP)
        })?;
        alike.stored(name, |dir| get(dir.join(name)))?.map(drop)?;
    }
    alike.lower_untouched()
}

fn immutable(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    alike.gives("set", Ok(()), |dir| {
        set(dir.join("file"), IFlags::IMMUTABLE)
    })?;
    alike.gives("flags", Ok(IFlags::IMMUTABLE), |dir| {
        Ok(get(dir.join("file"))? & PROTECTION)
    })?;
    alike.gives("statx", Ok(true), |dir| {
        let attributes = sys::lstatx(dir.join("file"))?.stx_attributes;
        Ok(attributes.contains(StatxAttributes::IMMUTABLE))
    })?;
    alike.gives("open", Err(Errno::PERM), |dir| {
        sys::open(dir.join("file"), OFlags::WRONLY).map(drop)
    })?;
    alike.gives("chmod", Err(Errno::PERM), |dir| {
        rustix::fs::chmod(dir.join("file"), Mode::RWXU)
    })?;
    alike.gives("unlink", Err(Errno::PERM), |dir| {
        rustix::fs::unlink(dir.join("file"))
    })?;
    for place in Place::ALL {
        let path = alike.upper().join(place.name()).join("file");
        let expected = (IFlags::empty(), String::from("i"));
        check::equal("upper", protection(&path)?, expected)?;
    }
    alike.gives("taken away", Ok(()), |dir| {
        set(dir.join("file"), IFlags::empty())?;
        rustix::fs::chmod(dir.join("file"), Mode::RWXU)
    })?;
    for place in Place::ALL {
        let path = alike.upper().join(place.name()).join("file");
        let expected = (IFlags::empty(), String::from("none"));
        check::equal("upper", protection(&path)?, expected)?;
        content(alike.dir(place).join("file"), "data")?;
    }
    alike.lower_untouched()
}

fn append_only(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    alike.gives("set", Ok(()), |dir| set(dir.join("file"), IFlags::APPEND))?;
    for (flags, expected) in [
        (OFlags::WRONLY, Err(Errno::PERM)),
        (OFlags::RDONLY | OFlags::TRUNC, Err(Errno::PERM)),
        (OFlags::WRONLY | OFlags::APPEND, Ok(())),
    ] {
        alike.gives(format!("{flags:?}"), expected, |dir| {
            let fd = sys::open(dir.join("file"), flags)?;
            rustix::io::write(fd, b"+").map(drop)
        })?;
    }
    for place in Place::ALL {
        let path = alike.upper().join(place.name()).join("file");
        let expected = (IFlags::empty(), String::from("a"));
        check::equal("upper", protection(&path)?, expected)?;
        content(alike.dir(place).join("file"), "data+")?;
    }
    alike.gives("both", Ok(PROTECTION), |dir| {
        set(dir.join("file"), PROTECTION)?;
        Ok(get(dir.join("file"))? & PROTECTION)
    })?;
    for place in Place::ALL {
        let path = alike.upper().join(place.name()).join("file");
        let expected = (IFlags::empty(), String::from("ai"));
        check::equal("upper", protection(&path)?, expected)?;
    }
    // The directory without overlay could not be removed else.
    alike.gives("taken away", Ok(()), |dir| {
        set(dir.join("file"), IFlags::empty())
    })
}

/// What is in an immutable directory can be changed, though not its names.
fn directory(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    alike.gives("set", Ok(()), |dir| set(dir.join("dir"), IFlags::IMMUTABLE))?;
    alike.gives("create", Err(Errno::PERM), |dir| {
        sys::mkdir(&dir.join("dir/new"), 0o755)
    })?;
    alike.gives("unlink", Err(Errno::PERM), |dir| {
        rustix::fs::unlink(dir.join("dir/in"))
    })?;
    alike.gives("change", Ok(()), |dir| {
        rustix::fs::chmod(dir.join("dir/in"), Mode::RWXU)
    })?;
    alike.gives("taken away", Ok(()), |dir| {
        set(dir.join("dir"), IFlags::empty())?;
        rustix::fs::unlink(dir.join("dir/in"))
    })?;
    alike.lower_untouched()
}

fn remounted(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fill(&lower)?;
    let ov = fx.upper(&upper, &[&lower])?;
    set(ov.join("file"), PROTECTION)?;
    set(ov.join("dir"), IFlags::APPEND)?;
    fx.unmount(ov.path())?;
    let ov = fx.upper(&upper, &[&lower])?;
    check::equal("file", get(ov.join("file"))? & PROTECTION, PROTECTION)?;
    check::equal("dir", get(ov.join("dir"))? & PROTECTION, IFlags::APPEND)?;
    let result = sys::open(ov.join("file"), OFlags::WRONLY);
    check::errno("open", result, Errno::PERM)?;
    set(ov.join("file"), IFlags::empty())?;
    sys::open(ov.join("file"), OFlags::WRONLY)?;
    Ok(())
}

fn rights(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.chown("file", USER, USER).map(drop)
    })?;
    for (who, flags, expected) in [
        (OTHER, IFlags::NODUMP, Err(Errno::PERM)),
        (USER, IFlags::IMMUTABLE, Err(Errno::PERM)),
        (USER, IFlags::APPEND, Err(Errno::PERM)),
        (USER, IFlags::NODUMP, Ok(())),
    ] {
        if expected.is_err() {
            for place in [Place::Merged, Place::Lower] {
                check::ok(!alike.in_upper(place, "file"), "copied up for nothing")?;
            }
        }
        alike.gives(format!("{flags:?} by {who}"), expected, |dir| {
            sys::as_user(who, who, &[], || set(dir.join("file"), flags))?
        })?;
    }
    Ok(())
}

/// Flags of a lower file hold in the overlay, and can be taken away there.
fn from_lower(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fill(&lower)?;
    let path = lower.join("file");
    set(&path, IFlags::IMMUTABLE | IFlags::NODUMP)?;
    let result = (|| {
        let ov = fx.upper(&upper, &[&lower])?;
        let seen = ov.join("file");
        let refused = rustix::fs::chmod(&seen, Mode::RWXU);
        check::errno("chmod", refused, Errno::PERM)?;
        set(&seen, IFlags::APPEND | IFlags::NODUMP)?;
        check::equal("seen", get(&seen)? & PROTECTION, IFlags::APPEND)?;
        let stored = protection(&upper.join("file"))?;
        check::equal("upper", stored, (IFlags::empty(), String::from("a")))?;
        set(&seen, IFlags::NODUMP)?;
        rustix::fs::chmod(&seen, Mode::RWXU)?;
        content(&seen, "data")?;
        check::equal("lower", get(&path)? & PROTECTION, IFlags::IMMUTABLE)
    })();
    set(&path, IFlags::empty())?;
    result
}
