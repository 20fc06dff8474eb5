// SPDX-License-Identifier: GPL-2.0-only

//! Making objects where owners are mapped, in a user namespace, and where there is no room.

use std::path::Path;

use rustix::fs::lgetxattr;
use rustix::fs::statvfs;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::mount_remount;
use rustix::mount::MountFlags;
use rustix::process::umask;

use super::create::make;
use super::idmap::mapped;
use super::idmap::BASE;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;
use crate::userns;

pub const TESTS: &[Test] = &[
    Test::new(
        "create_through_mapped_overlay",
        "A1 D1 D2",
        through_mapped_overlay,
    ),
    Test::new("create_in_user_namespace", "D1 D2 M11", in_user_namespace),
    Test::new("create_without_room", "D1 D2", without_room),
];

/// What is made in each place.
const STEMS: [&str; 4] = ["file", "dir", "symlink", "fifo"];

/// Makes a layer with a directory in which everybody may make objects, and hides names in it.
fn hide(upper: &Layer, lower: &Layer) -> Result {
    upper.dir("new")?.dir("over")?;
    for stem in STEMS {
        upper.whiteout(format!("over/{stem}"))?;
    }
    lower.dir("over")?;
    for stem in STEMS {
        lower.file(format!("over/{stem}"), "")?;
    }
    upper.chmod("new", 0o777)?.chmod("over", 0o777)?;
    Ok(())
}

#[track_caller]
fn owned(path: impl AsRef<Path>, uid: u32, gid: u32) -> Result {
    let path = path.as_ref();
    let stat = sys::lstat(path).context(format_args!("{path:?}"))?;
    let owner = (stat.st_uid, stat.st_gid);
    check::equal(format_args!("owner of {path:?}"), owner, (uid, gid))
}

/// Makes all of them as the user, in both directories below `top`.
fn make_as(uid: u32, gid: u32, top: &Path) -> Result {
    sys::as_user(uid, gid, &[], || -> Result {
        umask(Mode::empty());
        for dir in ["new", "over"] {
            for stem in STEMS {
                let path = top.join(dir).join(stem);
                make(stem, &path, 0o640).context(format_args!("make {path:?}"))?;
                if stem != "symlink" {
                    let mode = sys::lstat(&path)?.st_mode & 0o7777;
                    check::equal(format_args!("mode of {path:?}"), mode, 0o640)?;
                }
            }
        }
        Ok(())
    })?
}

fn through_mapped_overlay(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    hide(&upper, &lower)?;
    let ov = fx.upper(&upper, &[&lower])?;
    let seen = mapped(fx, ov.path(), BASE)?;
    make_as(BASE + 5, BASE + 6, seen.path())?;
    for dir in ["new", "over"] {
        for stem in STEMS {
            let name = format!("{dir}/{stem}");
            owned(seen.join(&name), BASE + 5, BASE + 6)?;
            owned(ov.join(&name), 5, 6)?;
            owned(upper.join(&name), 5, 6)?;
        }
    }
    // Who has no number there owns nothing there.
    sys::as_user(5, 5, &[], || {
        let result = make("file", seen.join("new/other"), 0o600);
        check::errno("as a user who is not mapped", result, Errno::OVERFLOW)
    })?
}

fn in_user_namespace(fx: &Fixture) -> Result {
    userns::run(fx, |fx, place| {
        let layer = |name: &str| Layer::create(place.join(name));
        let (upper, work, lower) = (layer("upper")?, layer("work")?, layer("lower")?);
        let point = layer("mnt")?;
        hide(&upper, &lower)?;
        let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
        let options = options.flag("userxattr");
        fx.mount_at(point.path(), &options).context("mount")?;
        make_as(5, 6, point.path())?;
        for dir in ["new", "over"] {
            for stem in STEMS {
                owned(upper.join(dir).join(stem), 5, 6)?;
            }
            for stem in ["char", "block"] {
                let result = make(stem, point.join(dir).join(stem), 0o600);
                check::errno(format_args!("{stem} in {dir}"), result, Errno::PERM)?;
            }
        }
        let mut value = [0; 2];
        let length = lgetxattr(upper.join("over/dir"), "user.overlay.opaque", &mut value)?;
        check::equal("value of opaque", &value[..length], &b"y"[..])?;
        rustix::fs::link(point.join("new/file"), point.join("link")).context("link")?;
        fx.unmount(point.path())?;
        fx.mount_at(point.path(), &options).context("mount again")?;
        lists(point.join("over"), &["dir", "fifo", "file", "symlink"])?;
        lists::<&str>(point.join("over/dir"), &[])?;
        lists::<&str>(work.join("work"), &[])?;
        fx.unmount(point.path())?;
        Ok(())
    })
}

/// What cannot be made leaves nothing behind, and what was hidden stays so.
fn without_room(fx: &Fixture) -> Result {
    let place = fx.tmpfs("small")?;
    let layer = |name: &str| Layer::create(place.join(name));
    let (upper, work, lower) = (layer("upper")?, layer("work")?, fx.layer("lower")?);
    hide(&upper, &lower)?;
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let ov = fx.mount(&options).context("mount")?;
    let limit = |more: u64| -> Result {
        let figures = statvfs(&place)?;
        let inodes = figures.f_files - figures.f_ffree + more;
        let options = std::ffi::CString::new(format!("nr_inodes={inodes}"))?;
        mount_remount(&place, MountFlags::empty(), &*options).context("remount")
    };
    limit(0)?;
    for dir in ["new", "over"] {
        for stem in STEMS {
            let path = ov.join(dir).join(stem);
            let result = make(stem, &path, 0o600);
            check::errno(format_args!("{path:?}"), result, Errno::NOSPC)?;
            absent(&path)?;
        }
        lists::<&str>(ov.join(dir), &[])?;
    }
    lists::<&str>(upper.join("new"), &[])?;
    lists::<&str>(work.join("work"), &[])?;
    limit(2)?;
    for dir in ["new", "over"] {
        make("dir", ov.join(dir).join("dir"), 0o700).context(dir)?;
        lists(ov.join(dir), &["dir"])?;
    }
    lists::<&str>(work.join("work"), &[])
}
