// SPDX-License-Identifier: GPL-2.0-only

//! Setting and removing extended attributes.

use std::path::Path;

use rustix::fs::lgetxattr;
use rustix::fs::llistxattr;
use rustix::fs::lremovexattr;
use rustix::fs::lsetxattr;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::alike::Alike;
use crate::alike::Place;
use crate::check;
use crate::check::Result;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::layer::CAPABILITY;
use crate::layer::NET_RAW;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("setxattr_all_kinds_of_files", "F16 C1", kinds).on_disks_too(),
    Test::new("setxattr_create_and_replace", "F16", create_and_replace),
    Test::new("setxattr_sizes", "F16", sizes).on_disks_too(),
    Test::new("setxattr_rights", "F16 F22", rights),
    Test::new("setxattr_capability", "F16 F22", capability).on_disks_too(),
    Test::new("setxattr_by_descriptor", "F16 F2", descriptor),
    Test::new("setxattr_sets_ctime", "F16 F18", sets_ctime),
    Test::new("removexattr_of_what_is_not_there", "F16 C1", remove_absent),
    Test::new("setxattr_own_names_escaped", "X11", own_names).on_disks_too(),
    Test::new("setxattr_escaped_name_too_long", "X11", too_long),
    Test::new("setxattr_userxattr_own_names", "X11 M11", userxattr).on_disks_too(),
    Test::new("setxattr_unknown_names", "F16", unknown),
];

const USER: u32 = 1000;
const OTHER: u32 = 2000;
type SysResult<T> = std::result::Result<T, Errno>;

fn fill(dir: &Layer) -> Result {
    dir.kinds()?;
    for name in ["file", "dir", "link", "fifo", "null"] {
        dir.xattr(name, "trusted.old", b"old")?;
    }
    dir.xattr("file", "user.old", b"old").map(drop)
}

fn set(path: impl AsRef<Path>, name: &str, value: impl AsRef<[u8]>) -> SysResult<()> {
    lsetxattr(path.as_ref(), name, value.as_ref(), XattrFlags::empty())
}

fn remove(path: impl AsRef<Path>, name: &str) -> SysResult<()> {
    lremovexattr(path.as_ref(), name)
}

fn get(path: impl AsRef<Path>, name: &str) -> SysResult<Vec<u8>> {
    let mut buffer = vec![0; 65536];
    let length = lgetxattr(path.as_ref(), name, &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// The names, sorted, but for those that overlays keep for themselves.
fn names(path: impl AsRef<Path>) -> SysResult<Vec<String>> {
    let mut buffer = vec![0; 65536];
    let length = llistxattr(path.as_ref(), &mut buffer)?;
    let mut names: Vec<_> = buffer[..length]
        .split(|byte| *byte == 0)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| !name.is_empty() && !name.starts_with("trusted.overlay."))
        .collect();
    names.sort();
    Ok(names)
}

fn kinds(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for (name, key) in [
        ("file", "user.new"),
        ("dir", "user.new"),
        ("file", "trusted.new"),
        ("dir", "trusted.new"),
        ("link", "trusted.new"),
        ("fifo", "trusted.new"),
        ("null", "trusted.new"),
        ("file", "security.new"),
    ] {
        for value in [&b"a value"[..], b"", b"\0\xff another"] {
            alike.gives(format!("{key} of {name}"), Ok(value.to_vec()), |dir| {
                set(dir.join(name), key, value)?;
                get(dir.join(name), key)
            })?;
        }
        alike.stored(name, |dir| names(dir.join(name)))?.map(drop)?;
        alike.gives("removed", Err(Errno::NODATA), |dir| {
            remove(dir.join(name), key)?;
            get(dir.join(name), key)
        })?;
        let stored = alike.stored("old", |dir| get(dir.join(name), "trusted.old"))?;
        check::equal("old", stored, Ok(b"old".to_vec()))?;
        alike.stored(name, |dir| names(dir.join(name)))?.map(drop)?;
    }
    for name in ["link", "fifo", "null"] {
        alike
            .check("user attribute", |dir| set(dir.join(name), "user.new", "x"))?
            .err();
    }
    for place in Place::ALL {
        content(alike.dir(place).join("file"), "data")?;
    }
    alike.lower_untouched()
}

fn create_and_replace(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    let (create, replace) = (XattrFlags::CREATE, XattrFlags::REPLACE);
    for (key, flags, expected) in [
        ("user.old", create, Err(Errno::EXIST)),
        ("user.new", replace, Err(Errno::NODATA)),
        ("user.old", replace, Ok(b"x".to_vec())),
        ("user.new", create, Ok(b"x".to_vec())),
        ("user.both", create | replace, Err(Errno::NODATA)),
    ] {
        alike.gives(format!("{key} {flags:?}"), expected, |dir| {
            lsetxattr(dir.join("file"), key, b"x", flags)?;
            get(dir.join("file"), key)
        })?;
    }
    alike.lower_untouched()
}

fn sizes(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for size in [1000, 3000, 5000, 65536, 65537] {
        let value = sys::pattern(size, 3);
        // Whether there is room for it is for the filesystem to say.
        alike
            .check(size, |dir| {
                set(dir.join("file"), "user.long", &value)?;
                Ok(get(dir.join("file"), "user.long")? == value)
            })?
            .ok();
    }
    let longest = format!("user.{}", "x".repeat(250));
    alike.gives("long name", Ok(b"1".to_vec()), |dir| {
        set(dir.join("file"), &longest, "1")?;
        get(dir.join("file"), &longest)
    })?;
    let longer = format!("user.{}", "x".repeat(251));
    alike.gives("longer name", Err(Errno::RANGE), |dir| {
        set(dir.join("file"), &longer, "1")
    })
}

fn rights(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.chown("file", USER, USER)?;
        dir.file("shared", "")?.chmod("shared", 0o666)?;
        dir.file("sticky", "")?.dir("sticky-dir")?;
        dir.chmod("sticky-dir", 0o1777).map(drop)
    })?;
    for (who, name, key, expected) in [
        (OTHER, "file", "user.x", Err(Errno::ACCESS)),
        (USER, "file", "trusted.x", Err(Errno::PERM)),
        (USER, "file", "security.x", Err(Errno::PERM)),
        (USER, "sticky-dir", "user.x", Err(Errno::PERM)),
    ] {
        alike.gives(format!("{key} of {name}"), expected, |dir| {
            sys::as_user(who, who, &[], || set(dir.join(name), key, "x"))?
        })?;
        for place in [Place::Merged, Place::Lower] {
            check::ok(!alike.in_upper(place, name), "copied up for nothing")?;
        }
    }
    for (who, name) in [(USER, "file"), (OTHER, "shared")] {
        alike.gives(name, Ok(()), |dir| {
            let path = dir.join(name);
            sys::as_user(who, who, &[], || {
                set(&path, "user.x", "x")?;
                get(&path, "user.x")?;
                remove(&path, "user.x")
            })?
        })?;
    }
    alike.gives("removing", Err(Errno::PERM), |dir| {
        sys::as_user(USER, USER, &[], || remove(dir.join("file"), "trusted.old"))?
    })
}

fn capability(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    alike.gives("set", Ok(NET_RAW.to_vec()), |dir| {
        set(dir.join("file"), CAPABILITY, NET_RAW)?;
        get(dir.join("file"), CAPABILITY)
    })?;
    let stored = alike.stored("stored", |dir| get(dir.join("file"), CAPABILITY))?;
    check::equal("stored", stored, Ok(NET_RAW.to_vec()))?;
    alike.gives("nonsense", Err(Errno::INVAL), |dir| {
        set(dir.join("file"), CAPABILITY, "x")
    })?;
    alike.gives("by a user", Err(Errno::PERM), |dir| {
        sys::as_user(USER, USER, &[], || {
            set(dir.join("file"), CAPABILITY, NET_RAW)
        })?
    })?;
    alike.gives("removed", Err(Errno::NODATA), |dir| {
        remove(dir.join("file"), CAPABILITY)?;
        get(dir.join("file"), CAPABILITY)
    })?;
    alike.lower_untouched()
}

fn descriptor(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir"] {
        alike.gives(name, Ok(*b"new"), |dir| {
            let fd = sys::open_read(dir.join(name))?;
            let mut value = [0; 3];
            rustix::fs::fsetxattr(&fd, "user.new", b"new", XattrFlags::empty())?;
            rustix::fs::fgetxattr(&fd, "user.new", &mut value)?;
            rustix::fs::fremovexattr(&fd, "user.new")?;
            let gone = rustix::fs::fgetxattr(&fd, "user.new", &mut [0; 3]);
            if gone != Err(Errno::NODATA) {
                return Err(Errno::EXIST);
            }
            Ok(value)
        })?;
    }
    alike.lower_untouched()
}

fn sets_ctime(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        fill(dir)?;
        dir.times("file", 1_000_000, 0).map(drop)
    })?;
    alike.gives("set", Ok((true, 1_000_000)), |dir| {
        let path = dir.join("file");
        let before = sys::lstat(&path)?;
        std::thread::sleep(std::time::Duration::from_millis(15));
        set(&path, "user.new", "x")?;
        let st = sys::lstat(&path)?;
        let later = (before.st_ctime, before.st_ctime_nsec) < (st.st_ctime, st.st_ctime_nsec);
        Ok((later, st.st_mtime))
    })
}

fn remove_absent(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for name in ["file", "dir", "link", "fifo"] {
        alike.gives(name, Err(Errno::NODATA), |dir| {
            remove(dir.join(name), "trusted.none")
        })?;
        for place in [Place::Merged, Place::Lower] {
            check::ok(!alike.in_upper(place, name), "copied up for nothing")?;
        }
    }
    Ok(())
}

/// What looks like one of the overlay's own names gets another one on disk, where it means nothing.
fn own_names(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("u")?.file("u/f", "")?;
    lower.dir("u")?.file("u/hidden", "")?.file("l", "")?;
    upper.xattr("u", "trusted.overlay.impure", b"y")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for name in ["u", "u/f", "l"] {
        let path = ov.join(name);
        for key in ["opaque", "whiteout", "metacopy", "anything"] {
            let (seen, kept) = (
                format!("trusted.overlay.{key}"),
                format!("trusted.overlay.overlay.{key}"),
            );
            check::errno("before", get(&path, &seen), Errno::NODATA)?;
            set(&path, &seen, "y")?;
            check::equal("seen", get(&path, &seen), Ok(b"y".to_vec()))?;
            check::equal("kept", get(upper.join(name), &kept), Ok(b"y".to_vec()))?;
            let own = get(upper.join(name), &seen);
            check::errno("own", own, Errno::NODATA)?;
            // A level deeper it is escaped once more.
            set(&path, &kept, "z")?;
            let kept = format!("trusted.overlay.overlay.overlay.{key}");
            check::equal("deeper", get(upper.join(name), &kept), Ok(b"z".to_vec()))?;
        }
        remove(&path, "trusted.overlay.anything")?;
        let gone = get(upper.join(name), "trusted.overlay.overlay.anything");
        check::errno("removed", gone, Errno::NODATA)?;
    }
    // The overlay's own attribute cannot be reached.
    let removed = remove(ov.join("u"), "trusted.overlay.impure");
    check::errno("own", removed, Errno::NODATA)?;
    let own = get(upper.join("u"), "trusted.overlay.impure");
    check::equal("own", own, Ok(b"y".to_vec()))?;
    fx.unmount(ov.path())?;
    let ov = fx.upper(&upper, &[&lower])?;
    lists(ov.join("u"), &["f", "hidden"])
}

fn too_long(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("f", "")?;
    lower.file("l", "")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let name = |length: usize| {
        let prefix = "trusted.overlay.";
        format!("{prefix}{}", "x".repeat(length - prefix.len()))
    };
    let fits = 255 - "overlay.".len();
    for file in ["f", "l"] {
        let path = ov.join(file);
        let result = set(&path, &name(fits + 1), "1");
        check::errno("too long to be escaped", result, Errno::OPNOTSUPP)?;
        let result = remove(&path, &name(fits + 1));
        check::errno("to remove", result, Errno::OPNOTSUPP)?;
        let present = upper.join(file).exists();
        check::equal("in upper", present, file == "f")?;
        set(&path, &name(fits), "1")?;
        check::equal("value", get(&path, &name(fits)), Ok(b"1".to_vec()))?;
    }
    Ok(())
}

fn userxattr(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("f", "")?;
    lower.file("l", "")?;
    let work = fx.work()?;
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let ov = fx.mount(&options.flag("userxattr"))?;
    for name in ["f", "l"] {
        let (path, kept) = (ov.join(name), upper.join(name));
        set(&path, "user.overlay.x", "1")?;
        check::equal("seen", get(&path, "user.overlay.x"), Ok(b"1".to_vec()))?;
        let value = get(&kept, "user.overlay.overlay.x");
        check::equal("kept", value, Ok(b"1".to_vec()))?;
        // The names of the other namespace mean nothing here.
        set(&path, "trusted.overlay.opaque", "y")?;
        let value = get(&kept, "trusted.overlay.opaque");
        check::equal("ordinary", value, Ok(b"y".to_vec()))?;
        remove(&path, "user.overlay.x")?;
        let gone = get(&kept, "user.overlay.overlay.x");
        check::errno("removed", gone, Errno::NODATA)?;
    }
    Ok(())
}

fn unknown(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, fill)?;
    for key in ["none.x", "user.", "trusted.", "system.none", "x", ""] {
        alike
            .check(key, |dir| set(dir.join("file"), key, "x"))?
            .err();
        alike.check(key, |dir| remove(dir.join("file"), key))?.err();
    }
    Ok(())
}
