// SPDX-License-Identifier: GPL-2.0-only

//! Changes that a read-only mount refuses.

use rustix::fs::AtFlags;
use rustix::fs::FallocateFlags;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;
use rustix::fs::XattrFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Result;
use crate::check::Table;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("readonly_names", "M18 D1", |fx| names(&lowers(fx)?)).on_disks_too(),
    Test::new("readonly_names_that_exist", "M18 D1", |fx| {
        existing_names(&lowers(fx)?)
    }),
    Test::new("readonly_renames", "M18 D5", |fx| renames(&lowers(fx)?)),
    Test::new("readonly_opens", "M18 F1 C1", |fx| opens(&lowers(fx)?)).on_disks_too(),
    Test::new("readonly_attributes", "M18 F14", |fx| {
        attributes(&lowers(fx)?)
    })
    .on_disks_too(),
    Test::new("readonly_descriptors", "M18 F14 F8", |fx| {
        descriptors(&lowers(fx)?)
    }),
    Test::new("readonly_xattrs", "M18 F16", |fx| xattrs(&lowers(fx)?)),
    Test::new("readonly_layers_stay_untouched", "M18 C1", untouched).on_disks_too(),
    Test::new("readonly_upper_names", "M18 D1", |fx| {
        names(&with_upper(fx)?)
    })
    .on_disks_too(),
    Test::new("readonly_upper_renames", "M18 D5", |fx| {
        renames(&with_upper(fx)?)
    }),
    Test::new("readonly_upper_opens", "M18 F1 C1", |fx| {
        opens(&with_upper(fx)?)
    }),
    Test::new("readonly_upper_attributes", "M18 F14", |fx| {
        attributes(&with_upper(fx)?)
    }),
    Test::new("readonly_upper_descriptors", "M18 F14 F8", |fx| {
        descriptors(&with_upper(fx)?)
    }),
    Test::new("readonly_upper_xattrs", "M18 F16", |fx| {
        xattrs(&with_upper(fx)?)
    }),
];

/// The objects that the changes aim at: `t...` in the upper, `b...` in the lower layer.
fn fill(top: &Layer, bottom: &Layer) -> Result {
    top.dir("td")?
        .file("tf", "data")?
        .dir("m")?
        .file("m/t", "")?;
    bottom
        .dir("bd")?
        .file("bf", "data")?
        .dir("m")?
        .file("m/b", "")?;
    top.symlink("tl", "tf")?.whiteout("gone")?;
    bottom.symlink("bl", "bf")?.file("gone", "")?;
    Ok(())
}

fn lowers(fx: &Fixture) -> Result<Mounted> {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    fill(&top, &bottom)?;
    fx.lowers(&[&top, &bottom])
}

/// With an upper layer, to which nothing shall be written all the same.
fn with_upper(fx: &Fixture) -> Result<Mounted> {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fill(&upper, &lower)?;
    let options = Options::new()
        .lowers(&[&lower])
        .upper(&upper, &fx.work()?)
        .mount_flags(MountFlags::RDONLY);
    Ok(fx.mount(&options)?)
}

const MODE: Mode = Mode::RWXU;

/// Collects calls that must all fail with EROFS.
struct Refused(Table);

impl Refused {
    fn new() -> Self {
        Refused(Table::new())
    }

    #[track_caller]
    fn call<T>(&mut self, what: impl std::fmt::Display, result: rustix::io::Result<T>) -> Result {
        self.0.note(check::errno(what, result, Errno::ROFS))
    }

    fn finish(self) -> Result {
        self.0.finish()
    }
}

/// New names at the root, in a directory of each layer and in a merged one, and over a whiteout.
fn names(ov: &Mounted) -> Result {
    let mut refused = Refused::new();
    for dir in ["", "td/", "bd/", "m/"] {
        let new = ov.join(format!("{dir}new"));
        let flags = OFlags::WRONLY | OFlags::CREATE;
        refused.call("create", rustix::fs::open(&new, flags, MODE))?;
        let flags = flags | OFlags::EXCL;
        refused.call("create O_EXCL", rustix::fs::open(&new, flags, MODE))?;
        let flags = OFlags::RDONLY | OFlags::CREATE;
        refused.call("create to read", rustix::fs::open(&new, flags, MODE))?;
        refused.call("mkdir", rustix::fs::mkdir(&new, MODE))?;
        for kind in [
            FileType::Fifo,
            FileType::Socket,
            FileType::RegularFile,
            FileType::CharacterDevice,
        ] {
            let result = rustix::fs::mknodat(CWD, &new, kind, MODE, 0x103);
            refused.call(format_args!("mknod {kind:?}"), result)?;
        }
        refused.call("symlink", rustix::fs::symlink("target", &new))?;
        for old in ["tf", "bf"] {
            refused.call("link", rustix::fs::link(ov.join(old), &new))?;
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        let result = rustix::fs::open(ov.join(dir), flags, MODE);
        refused.call(format_args!("O_TMPFILE in {dir:?}"), result)?;
    }
    let gone = ov.join("gone");
    refused.call("mkdir over a whiteout", rustix::fs::mkdir(&gone, MODE))?;
    let flags = OFlags::WRONLY | OFlags::CREATE;
    refused.call(
        "create over a whiteout",
        rustix::fs::open(&gone, flags, MODE),
    )?;
    for name in ["tf", "bf", "m/t", "m/b", "tl", "bl"] {
        refused.call(
            format_args!("unlink {name}"),
            rustix::fs::unlink(ov.join(name)),
        )?;
    }
    for name in ["td", "bd", "m"] {
        refused.call(
            format_args!("rmdir {name}"),
            rustix::fs::rmdir(ov.join(name)),
        )?;
    }
    refused.finish()
}

/// What is found out about the names comes before the read-only mount.
fn existing_names(ov: &Mounted) -> Result {
    let mut table = Table::new();
    for name in ["tf", "bf", "td", "bd", "m"] {
        let path = ov.join(name);
        let exist = Errno::EXIST;
        table.note(check::errno("mkdir", rustix::fs::mkdir(&path, MODE), exist))?;
        table.note(check::errno(
            "symlink",
            rustix::fs::symlink("x", &path),
            exist,
        ))?;
        let result = rustix::fs::link(ov.join("tf"), &path);
        table.note(check::errno("link", result, exist))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let result = rustix::fs::open(&path, flags, MODE);
        table.note(check::errno("O_EXCL", result, exist))?;
    }
    let missing = ov.join("no");
    let noent = Errno::NOENT;
    table.note(check::errno(
        "open",
        sys::open(&missing, OFlags::WRONLY),
        noent,
    ))?;
    let result = rustix::fs::chmod(&missing, MODE);
    table.note(check::errno("chmod", result, noent))?;
    let result = rustix::fs::mkdir(missing.join("deeper"), MODE);
    table.note(check::errno("mkdir below nothing", result, noent))?;
    let result = sys::open(ov.join("td"), OFlags::WRONLY);
    table.note(check::errno("open a directory", result, Errno::ISDIR))?;
    table.finish()
}

fn renames(ov: &Mounted) -> Result {
    let mut refused = Refused::new();
    for (from, to) in [
        ("tf", "new"),
        ("bf", "new"),
        ("tf", "bf"),
        ("bf", "tf"),
        ("td", "new"),
        ("bd", "m/new"),
        ("m", "new"),
        ("m/t", "td/t"),
        ("m/b", "m/c"),
        ("bf", "gone"),
    ] {
        let (old, new) = (ov.join(from), ov.join(to));
        let what = format!("rename {from} to {to}");
        refused.call(&what, rustix::fs::rename(&old, &new))?;
    }
    let (old, new) = (ov.join("tf"), ov.join("bf"));
    let result = rustix::fs::renameat_with(CWD, &old, CWD, &new, RenameFlags::EXCHANGE);
    refused.call("exchange", result)?;
    let new = ov.join("new");
    let result = rustix::fs::renameat_with(CWD, &old, CWD, &new, RenameFlags::NOREPLACE);
    refused.call("rename without replacing", result)?;
    refused.finish()
}

fn opens(ov: &Mounted) -> Result {
    let mut refused = Refused::new();
    for name in ["tf", "bf", "m/t", "m/b", "tl", "bl"] {
        let path = ov.join(name);
        for flags in [
            OFlags::WRONLY,
            OFlags::RDWR,
            OFlags::WRONLY | OFlags::APPEND,
            OFlags::RDONLY | OFlags::TRUNC,
            OFlags::WRONLY | OFlags::TRUNC | OFlags::CREATE,
        ] {
            let result = rustix::fs::open(&path, flags | OFlags::CLOEXEC, MODE);
            refused.call(format_args!("open {name} {flags:?}"), result)?;
        }
    }
    refused.finish()
}

fn times() -> Timestamps {
    let time = Timespec {
        tv_sec: 1,
        tv_nsec: 2,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn attributes(ov: &Mounted) -> Result {
    let mut refused = Refused::new();
    let (uid, gid) = (Some(Uid::from_raw(1)), Some(Gid::from_raw(1)));
    for name in ["tf", "bf", "td", "bd", "m", "m/t", "m/b", ""] {
        let path = ov.join(name);
        let what = |call: &str| format!("{call} {name:?}");
        refused.call(what("chmod"), rustix::fs::chmod(&path, MODE))?;
        refused.call(what("chown"), rustix::fs::chown(&path, uid, gid))?;
        let result = rustix::fs::utimensat(CWD, &path, &times(), AtFlags::empty());
        refused.call(what("utimensat"), result)?;
    }
    for name in ["tl", "bl"] {
        let path = ov.join(name);
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let result = rustix::fs::chownat(CWD, &path, uid, gid, nofollow);
        refused.call(format_args!("lchown {name}"), result)?;
        let result = rustix::fs::utimensat(CWD, &path, &times(), nofollow);
        refused.call(format_args!("utimensat {name}"), result)?;
    }
    refused.finish()
}

/// The same by a descriptor that is open for reading.
fn descriptors(ov: &Mounted) -> Result {
    let mut refused = Refused::new();
    let (uid, gid) = (Some(Uid::from_raw(1)), Some(Gid::from_raw(1)));
    for name in ["tf", "bf", "td", "bd", "m"] {
        let fd = sys::open_read(ov.join(name))?;
        refused.call(format_args!("fchmod {name}"), rustix::fs::fchmod(&fd, MODE))?;
        refused.call(
            format_args!("fchown {name}"),
            rustix::fs::fchown(&fd, uid, gid),
        )?;
        let result = rustix::fs::futimens(&fd, &times());
        refused.call(format_args!("futimens {name}"), result)?;
    }
    let fd = sys::open_read(ov.join("bf"))?;
    let result = rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, 4096);
    check::errno("fallocate of a read descriptor", result, Errno::BADF)?;
    refused.finish()
}

fn xattrs(ov: &Mounted) -> Result {
    let mut refused = Refused::new();
    for name in ["tf", "bf", "td", "bd", "m", ""] {
        let path = ov.join(name);
        for key in ["user.test", "trusted.test", "security.test"] {
            let flags = XattrFlags::empty();
            let result = rustix::fs::setxattr(&path, key, b"value", flags);
            refused.call(format_args!("setxattr {key} of {name:?}"), result)?;
            let result = rustix::fs::removexattr(&path, key);
            refused.call(format_args!("removexattr {key} of {name:?}"), result)?;
        }
    }
    refused.finish()
}

/// None of the refused changes reaches a layer.
fn untouched(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    fill(&top, &bottom)?;
    let snapshot = |layer: &Layer| -> Result<Vec<_>> {
        let mut all = Vec::new();
        for path in sys::walk(layer.path())? {
            let st = sys::lstat(layer.join(&path))?;
            all.push((path, st.st_mode, st.st_ctime, st.st_ctime_nsec, st.st_nlink));
        }
        Ok(all)
    };
    let before = [snapshot(&top)?, snapshot(&bottom)?];
    let ov = fx.lowers(&[&top, &bottom])?;
    // Their errors are the subject of other tests.
    let _ = (
        names(&ov),
        renames(&ov),
        opens(&ov),
        attributes(&ov),
        xattrs(&ov),
    );
    check::equal("layers", [snapshot(&top)?, snapshot(&bottom)?], before)
}
