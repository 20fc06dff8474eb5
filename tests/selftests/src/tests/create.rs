// SPDX-License-Identifier: GPL-2.0-only

//! Making files, directories, nodes and symlinks, in new places and where something was hidden.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::lgetxattr;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::umask;

use super::acl;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::layer::OPAQUE;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("create_every_type", "D1", every_type).on_disks_too(),
    Test::new("create_over_whiteouts", "D2 1.9 X1", over_whiteouts).on_disks_too(),
    Test::new("create_over_whiteout_of_file", "D2", directory_over_file),
    Test::new("create_survives_remount", "D1 D2", survives_remount),
    Test::new("create_whiteout_refused", "1.9", whiteout_refused),
    Test::new("create_applies_umask", "D1 D2", applies_umask),
    Test::new("create_inherits_acls", "D1 D2 F17", inherits_acls).on_disks_too(),
    Test::new("create_inherits_group", "D1 D2", inherits_group),
    Test::new("create_as_user", "D1 D2 F22", as_user).on_disks_too(),
    Test::new("create_as_user_needs_rights", "F15", needs_rights),
    Test::new("create_taken_name", "D1 D3", taken_name),
    Test::new("create_changed_upper_is_stale", "D1 D2 F26", changed_upper),
    Test::new(
        "create_changes_times_of_directory",
        "D1",
        times_of_directory,
    ),
    Test::new("create_keeps_numbers", "1.10 D1", keeps_numbers),
    Test::new("create_long_names", "D1", long_names),
    Test::new("create_opaque_directories", "X1 D1", opaque_directories),
    Test::new("create_leaves_work_empty", "D2 W1", leaves_work_empty),
    Test::new("create_in_lower_directories", "D1 C1", in_lower_directories).on_disks_too(),
];

/// An object of each type, made by this name.
const TYPES: [&str; 7] = ["file", "dir", "symlink", "fifo", "socket", "char", "block"];

/// Makes the object of the type that the name `stem` is of.
pub(super) fn make(stem: &str, path: impl AsRef<Path>, mode: u32) -> rustix::io::Result<()> {
    let path = path.as_ref();
    let bits = Mode::from_raw_mode(mode);
    let node = |kind, major, minor| {
        rustix::fs::mknodat(CWD, path, kind, bits, rustix::fs::makedev(major, minor))
    };
    match stem {
        "file" => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            rustix::fs::open(path, flags, bits).map(drop)
        }
        "dir" => rustix::fs::mkdir(path, bits),
        "symlink" => rustix::fs::symlink("where/to", path),
        "fifo" => node(FileType::Fifo, 0, 0),
        "socket" => node(FileType::Socket, 0, 0),
        "char" => node(FileType::CharacterDevice, 1, 3),
        _ => node(FileType::BlockDevice, 7, 1),
    }
}

/// Makes one object of each type in the directory.
fn make_all(dir: &Path) -> Result {
    for stem in TYPES {
        make(stem, dir.join(stem), 0o640).context(format_args!("make {stem} in {dir:?}"))?;
    }
    Ok(())
}

/// There is one object of each type, as `make_all` made it.
fn are_all_there(dir: &Path) -> Result {
    for stem in TYPES {
        let path = dir.join(stem);
        let meta = fs::symlink_metadata(&path).context(format_args!("stat {path:?}"))?;
        let kind = meta.file_type();
        let right = match stem {
            "file" => kind.is_file() && meta.len() == 0,
            "dir" => kind.is_dir(),
            "symlink" => kind.is_symlink() && sys::readlink(&path)? == "where/to",
            "fifo" => kind.is_fifo(),
            "socket" => kind.is_socket(),
            "char" => kind.is_char_device(),
            _ => kind.is_block_device(),
        };
        check::ok(right, format_args!("{path:?} is a {stem}"))?;
        let stat = sys::lstat(&path)?;
        if stem != "symlink" {
            check::equal(
                format_args!("mode of {path:?}"),
                stat.st_mode & 0o7777,
                0o640,
            )?;
        }
        let device = match stem {
            "char" => rustix::fs::makedev(1, 3),
            "block" => rustix::fs::makedev(7, 1),
            _ => 0,
        };
        check::equal(format_args!("device of {path:?}"), stat.st_rdev, device)?;
    }
    let mut names = TYPES.to_vec();
    names.sort_unstable();
    lists(dir, &names)?;
    lists::<&str>(dir.join("dir"), &[])
}

fn every_type(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("pure")?.dir("merged")?;
    lower.dir("merged")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for dir in ["pure", "merged"] {
        make_all(&ov.join(dir))?;
        are_all_there(&ov.join(dir))?;
        are_all_there(&upper.join(dir))?;
    }
    make("file", ov.join("in root"), 0o600)?;
    fs::write(upper.join("pure/file"), "written").context("write to upper")?;
    lists(lower.join("merged"), &[] as &[&str])
}

/// Layers in which whiteouts hide a directory and a file of the lower layer under each name.
fn hidden(fx: &Fixture) -> Result<(Layer, Layer)> {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("dirs")?.dir("files")?;
    lower.dir("dirs")?.dir("files")?;
    for stem in TYPES {
        upper.whiteout(format!("dirs/{stem}"))?;
        upper.whiteout(format!("files/{stem}"))?;
        lower.dir(format!("dirs/{stem}/sub"))?;
        lower.file(format!("dirs/{stem}/f"), "lower")?;
        lower.file(format!("files/{stem}"), "lower")?;
    }
    Ok((upper, lower))
}

fn over_whiteouts(fx: &Fixture) -> Result {
    let (upper, lower) = hidden(fx)?;
    let ov = fx.upper(&upper, &[&lower])?;
    for dir in ["dirs", "files"] {
        make_all(&ov.join(dir))?;
        are_all_there(&ov.join(dir))?;
        are_all_there(&upper.join(dir))?;
        let made = upper.join(dir).join("dir");
        let mut value = [0; 2];
        let length = lgetxattr(&made, OPAQUE, &mut value).context("opaque")?;
        check::equal("value of opaque", &value[..length], &b"y"[..])?;
    }
    Ok(())
}

fn directory_over_file(fx: &Fixture) -> Result {
    let (upper, lower) = hidden(fx)?;
    let ov = fx.upper(&upper, &[&lower])?;
    let new = ov.join("files/dir");
    make("dir", &new, 0o755)?;
    make("file", new.join("f"), 0o644)?;
    lists(&new, &["f"])?;
    let new = ov.join("dirs/dir");
    make("dir", &new, 0o755)?;
    absent(new.join("f"))?;
    absent(new.join("sub"))?;
    make("dir", new.join("sub"), 0o755)?;
    lists(new.join("sub"), &[] as &[&str])?;
    lists(&new, &["sub"])
}

fn survives_remount(fx: &Fixture) -> Result {
    let (upper, lower) = hidden(fx)?;
    upper.dir("new")?;
    let (first, work) = (fx.mount_point()?, fx.work()?);
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    fx.mount_at(&first, &options).context("mount")?;
    for dir in ["new", "dirs", "files"] {
        make_all(&first.join(dir))?;
    }
    fx.unmount(&first).context("unmount")?;
    fx.mount_at(&first, &options).context("mount again")?;
    for dir in ["new", "dirs", "files"] {
        are_all_there(&first.join(dir))?;
    }
    Ok(())
}

fn whiteout_refused(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let ov = fx.upper(&upper, &[&lower])?;
    let result = rustix::fs::mknodat(
        CWD,
        ov.join("w"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o600),
        0,
    );
    check::errno("mknod of a whiteout", result, Errno::PERM)?;
    let block = FileType::BlockDevice;
    rustix::fs::mknodat(CWD, ov.join("b"), block, Mode::RUSR, 0).context("block device 0:0")?;
    lists(upper.path(), &["b"])
}

fn mode(path: impl AsRef<Path>) -> Result<u32> {
    Ok(sys::lstat(path)?.st_mode & 0o7777)
}

fn applies_umask(fx: &Fixture) -> Result {
    let (upper, lower) = hidden(fx)?;
    let ov = fx.upper(&upper, &[&lower])?;
    umask(Mode::from_raw_mode(0o027));
    for dir in ["", "dirs/", "files/"] {
        for (stem, asked, given) in [
            ("file", 0o666, 0o640),
            ("dir", 0o777, 0o750),
            ("fifo", 0o622, 0o600),
        ] {
            let name = format!("{dir}{stem}");
            make(stem, ov.join(&name), asked).context(format_args!("make {name}"))?;
            check::equal(format_args!("mode of {name}"), mode(ov.join(&name))?, given)?;
            check::equal(
                format_args!("{name} on disk"),
                mode(upper.join(&name))?,
                given,
            )?;
        }
    }
    Ok(())
}

fn inherits_acls(fx: &Fixture) -> Result {
    use acl::Entry::*;

    let (upper, lower) = hidden(fx)?;
    let default = [
        Owner(7),
        acl::Entry::User(1000, 6),
        OwningGroup(5),
        Mask(6),
        Others(0),
    ];
    upper.dir("new")?;
    for dir in ["new", "dirs", "files"] {
        upper.xattr(dir, acl::DEFAULT, &acl::bytes(&default))?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    umask(Mode::from_raw_mode(0o077));
    /// The permission bits, the list for access, and the one for what is made in it.
    type Inherited = (u32, Vec<u8>, Option<Vec<u8>>);
    let made = |dir: &str| -> Result<Vec<Inherited>> {
        let mut all = Vec::new();
        for (stem, asked) in [("file", 0o666), ("dir", 0o777), ("fifo", 0o640)] {
            let path = ov.join(dir).join(stem);
            make(stem, &path, asked).context(format_args!("make {path:?}"))?;
            all.push((
                mode(&path)?,
                acl::get(&path, acl::ACCESS)?,
                acl::get(&path, acl::DEFAULT).ok(),
            ));
        }
        Ok(all)
    };
    let new = made("new")?;
    // The umask does not count where there is a list.
    let access = |owner, mask, others| {
        acl::bytes(&[
            Owner(owner),
            User(1000, 6),
            OwningGroup(5),
            Mask(mask),
            Others(others),
        ])
    };
    check::equal(
        "what is inherited",
        new.clone(),
        vec![
            (0o660, access(6, 6, 0), None),
            (0o760, access(7, 6, 0), Some(acl::bytes(&default))),
            (0o640, access(6, 4, 0), None),
        ],
    )?;
    check::equal("over whiteouts of directories", made("dirs")?, new.clone())?;
    check::equal("over whiteouts of files", made("files")?, new)
}

fn inherits_group(fx: &Fixture) -> Result {
    let (upper, lower) = hidden(fx)?;
    upper.dir("new")?;
    for dir in ["new", "dirs", "files"] {
        upper.chown(dir, 0, 3000)?.chmod(dir, 0o2777)?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    sys::as_user(1000, 1000, &[], || -> Result {
        umask(Mode::empty());
        for dir in ["new", "dirs", "files"] {
            // Who is not in the group cannot have a file that runs as it.
            for (stem, asked, given) in [("dir", 0o755, 0o2755), ("file", 0o2775, 0o775)] {
                let path = ov.join(dir).join(stem);
                make(stem, &path, asked).context(format_args!("make {path:?}"))?;
                let stat = sys::lstat(&path)?;
                check::equal(format_args!("group of {path:?}"), stat.st_gid, 3000)?;
                check::equal(format_args!("owner of {path:?}"), stat.st_uid, 1000)?;
                check::equal(format_args!("mode of {path:?}"), mode(&path)?, given)?;
            }
        }
        Ok(())
    })?
}

fn as_user(fx: &Fixture) -> Result {
    let (upper, lower) = hidden(fx)?;
    upper.dir("new")?;
    for dir in ["new", "dirs", "files"] {
        upper.chmod(dir, 0o777)?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    let stems = ["file", "dir", "symlink", "fifo", "socket"];
    sys::as_user(1000, 2000, &[], || -> Result {
        for dir in ["new", "dirs", "files"] {
            for stem in stems {
                let path = ov.join(dir).join(stem);
                make(stem, &path, 0o600).context(format_args!("make {path:?}"))?;
            }
            let char = make("char", ov.join(dir).join("char"), 0o600);
            check::errno("mknod of a device", char, Errno::PERM)?;
        }
        Ok(())
    })??;
    for dir in ["new", "dirs", "files"] {
        for stem in stems {
            for top in [ov.path(), upper.path()] {
                let path = top.join(dir).join(stem);
                let stat = sys::lstat(&path)?;
                check::equal(
                    format_args!("owner of {path:?}"),
                    (stat.st_uid, stat.st_gid),
                    (1000, 2000),
                )?;
            }
        }
    }
    Ok(())
}

fn needs_rights(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("closed")?;
    lower.dir("low")?;
    let ov = fx.upper(&upper, &[&lower])?;
    sys::as_user(1000, 1000, &[], || -> Result {
        for dir in ["closed", "low"] {
            for stem in TYPES {
                let result = make(stem, ov.join(dir).join(stem), 0o600);
                check::errno(format_args!("make {stem}"), result, Errno::ACCESS)?;
            }
        }
        Ok(())
    })??;
    // Nothing has been copied up for it, either.
    lists(upper.path(), &["closed"])
}

fn taken_name(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("upper-file", "")?.dir("upper-dir")?;
    lower.file("lower-file", "")?.dir("lower-dir")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for name in ["upper-file", "upper-dir", "lower-file", "lower-dir"] {
        for stem in TYPES {
            let result = make(stem, ov.join(name), 0o600);
            check::errno(format_args!("{stem} over {name}"), result, Errno::EXIST)?;
        }
        let result = rustix::fs::link(ov.join("upper-file"), ov.join(name));
        check::errno(format_args!("link over {name}"), result, Errno::EXIST)?;
    }
    lists(upper.path(), &["upper-dir", "upper-file"])
}

/// The overlay has seen that there is nothing; then somebody puts something there behind its back, or takes away
/// the whiteout that was there.
fn changed_upper(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("other", "")?;
    for n in 0..TYPES.len() {
        lower
            .dir(format!("gone{n}"))?
            .file(format!("gone{n}/in"), "lower")?;
        upper.whiteout(format!("gone{n}"))?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    for (n, stem) in TYPES.into_iter().enumerate() {
        let stale = |name: &str| {
            let result = make(stem, ov.join(name), 0o600);
            check::errno(format_args!("{stem} as {name}"), result, Errno::STALE)
        };
        let name = format!("new{n}");
        absent(ov.join(&name))?;
        upper.file(&name, "upper")?;
        stale(&name)?;
        content(upper.join(&name), "upper")?;

        let name = format!("covered{n}");
        absent(ov.join(&name))?;
        upper.whiteout(&name)?;
        stale(&name)?;

        let name = format!("gone{n}");
        absent(ov.join(&name))?;
        std::fs::remove_file(upper.join(&name))?;
        stale(&name)?;
        absent(upper.join(&name))?;
    }
    for name in ["link", "link-covered"] {
        absent(ov.join(name))?;
    }
    upper.file("link", "upper")?.whiteout("link-covered")?;
    for name in ["link", "link-covered"] {
        let result = rustix::fs::link(ov.join("other"), ov.join(name));
        check::errno(name, result, Errno::STALE)?;
    }
    Ok(())
}

fn times_of_directory(fx: &Fixture) -> Result {
    let (upper, lower) = hidden(fx)?;
    upper.dir("new")?;
    for dir in ["new", "dirs", "files"] {
        upper.times(dir, 1_000_000, 0)?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    for dir in ["new", "dirs", "files"] {
        for stem in ["file", "dir"] {
            upper.times(dir, 1_000_000, 0)?;
            make(stem, ov.join(dir).join(stem), 0o700)?;
            let stat = sys::stat(ov.join(dir))?;
            let now = sys::stat(ov.join(dir).join(stem))?;
            check::ok(
                stat.st_mtime + 5 >= now.st_ctime,
                format_args!("{dir} was modified"),
            )?;
            check::equal("ctime", stat.st_ctime, stat.st_mtime)?;
        }
    }
    Ok(())
}

fn keeps_numbers(fx: &Fixture) -> Result {
    let (upper, lower) = hidden(fx)?;
    upper.dir("new")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for dir in ["new", "dirs", "files"] {
        make_all(&ov.join(dir))?;
    }
    let numbers = || -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for dir in ["new", "dirs", "files"] {
            for stem in TYPES {
                numbers.push(sys::lstat(ov.join(dir).join(stem))?.st_ino);
            }
        }
        Ok(numbers)
    };
    let before = numbers()?;
    for dir in ["new", "dirs", "files"] {
        for entry in sys::list(ov.join(dir))? {
            let stat = sys::lstat(ov.join(dir).join(&entry.name))?;
            check::equal(format_args!("{entry:?}"), entry.ino, stat.st_ino)?;
        }
    }
    sys::drop_caches()?;
    check::equal("numbers after the caches were dropped", numbers()?, before)
}

fn long_names(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let ov = fx.upper(&upper, &[&lower])?;
    let longest = "n".repeat(255);
    make("file", ov.join(&longest), 0o600)?;
    lists(ov.path(), &[&longest])?;
    for stem in TYPES {
        let result = make(stem, ov.join("n".repeat(256)), 0o600);
        check::errno(format_args!("make {stem}"), result, Errno::NAMETOOLONG)?;
    }
    Ok(())
}

fn is_opaque(path: impl AsRef<Path>) -> Result<bool> {
    match lgetxattr(path.as_ref(), OPAQUE, &mut [0; 2]) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Only where lower layers may not change, and something could be below.
fn opaque_directories(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    lower.dir("merged")?;
    for (n, xino) in ["off", "on"].into_iter().enumerate() {
        let upper = fx.layer(format!("upper{n}"))?;
        upper.dir("pure")?.dir("merged")?;
        let options = Options::new().lowers(&[&lower]).upper(&upper, &fx.work()?);
        let path = fx.mount_point()?;
        fx.mount_at(&path, &options.set("xino", xino))
            .context("mount")?;
        for dir in ["pure", "merged"] {
            make("dir", path.join(dir).join("new"), 0o755)?;
        }
        make("dir", path.join("new"), 0o755)?;
        check::equal("in pure", is_opaque(upper.join("pure/new"))?, false)?;
        for name in ["new", "merged/new"] {
            check::equal(
                format_args!("{name} with xino={xino}"),
                is_opaque(upper.join(name))?,
                xino == "on",
            )?;
        }
    }
    Ok(())
}

fn leaves_work_empty(fx: &Fixture) -> Result {
    let (upper, lower) = hidden(fx)?;
    let work = fx.work()?;
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let path = fx.mount_point()?;
    fx.mount_at(&path, &options).context("mount")?;
    for dir in ["dirs", "files"] {
        make_all(&path.join(dir))?;
    }
    lists(work.join("work"), &[] as &[&str])
}

fn in_lower_directories(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower
        .dir("a/b/c")?
        .file("a/b/c/old", "lower")?
        .chmod("a/b", 0o751)?;
    let ov = fx.upper(&upper, &[&lower])?;
    let dir = ov.join("a/b/c");
    lists(&dir, &["old"])?;
    let before = sys::stat(&dir)?.st_ino;
    make("file", dir.join("new"), 0o600)?;
    lists(&dir, &["new", "old"])?;
    content(dir.join("old"), "lower")?;
    check::equal("number", sys::stat(&dir)?.st_ino, before)?;
    check::equal("mode", mode(upper.join("a/b"))?, 0o751)?;
    lists(upper.join("a/b/c"), &["new"])?;
    make("dir", ov.join("a/new"), 0o755)?;
    lists(ov.join("a"), &["b", "new"])?;
    lists(lower.join("a"), &["b"])
}
