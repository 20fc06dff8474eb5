// SPDX-License-Identifier: GPL-2.0-only

//! Removing names, and what stays of them in upper.

use std::fs;
use std::path::Path;

use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::stack::Stack;
use crate::sys;
use crate::userns;

pub const TESTS: &[Test] = &[
    Test::new("remove_files", "D4 1.9", files).on_disks_too(),
    Test::new("remove_other_types", "D4 1.9", other_types),
    Test::new("remove_directories", "D4 1.9", directories).on_disks_too(),
    Test::new("remove_directory_not_empty", "D4", not_empty),
    Test::new("remove_directory_of_whiteouts", "D4 X1", of_whiteouts).on_disks_too(),
    Test::new(
        "remove_directory_of_xattr_whiteouts",
        "D4 X10",
        xattr_whiteouts,
    ),
    Test::new("remove_hides_all_layers", "D4 L1", many_layers),
    Test::new("remove_shares_whiteouts", "W3", shared_whiteouts).on_disks_too(),
    Test::new("remove_leaves_work_empty", "D4 W3", leaves_work_empty),
    Test::new("remove_when_upper_is_full", "D4 W3", when_full),
    Test::new(
        "remove_parent_of_removed_directory",
        "D4 C1 F14",
        parent_too,
    ),
    Test::new("remove_in_user_namespace", "D4 M11", in_user_namespace),
    Test::new("remove_errors", "D4 F15", errors),
    Test::new("remove_as_user", "D4 F22", as_user),
    Test::new("remove_changed_upper_is_stale", "D4 F26", changed_upper),
    Test::new("remove_whole_tree", "D4", whole_tree).on_disks_too(),
];

/// What stands for something that was removed.
pub fn is_whiteout(path: impl AsRef<Path>) -> Result {
    let path = path.as_ref();
    let stat = sys::lstat(path).context(format_args!("stat {path:?}"))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let found = (kind, stat.st_rdev, stat.st_mode & 0o7777);
    let whiteout = (FileType::CharacterDevice, 0, 0);
    check::equal(format_args!("whiteout {path:?}"), found, whiteout)
}

pub fn unlink(path: impl AsRef<Path>) -> Result {
    let path = path.as_ref();
    rustix::fs::unlink(path).context(format_args!("unlink {path:?}"))
}

pub fn rmdir(path: impl AsRef<Path>) -> Result {
    let path = path.as_ref();
    rustix::fs::rmdir(path).context(format_args!("rmdir {path:?}"))
}

/// Of upper alone, of lower alone, and of both.
fn files(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    for dir in ["", "d/"] {
        for layer in [&lower, &stack.upper] {
            layer.dir("d")?.file(format!("{dir}both"), "")?;
            layer.file(format!("{dir}kept"), "kept")?;
        }
        lower.file(format!("{dir}low"), "")?;
        stack.upper.file(format!("{dir}up"), "")?;
    }
    let ov = stack.mount()?;
    for dir in ["", "d"] {
        for name in ["both", "low", "up"] {
            unlink(ov.join(dir).join(name))?;
        }
        is_whiteout(stack.upper.join(dir).join("both"))?;
        is_whiteout(stack.upper.join(dir).join("low"))?;
        absent(stack.upper.join(dir).join("up"))?;
    }
    stack.stays(ov, |ov| {
        for dir in ["", "d"] {
            for name in ["both", "low", "up"] {
                absent(ov.join(dir).join(name))?;
            }
            content(ov.join(dir).join("kept"), "kept")?;
        }
        lists(ov.path(), &["d", "kept"])?;
        lists(ov.join("d"), &["kept"])
    })
}

fn other_types(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    for layer in [&lower, &stack.upper] {
        layer
            .symlink("link", "low")?
            .node("fifo", FileType::Fifo, 0o644, (0, 0))?
            .node("socket", FileType::Socket, 0o644, (0, 0))?
            .node("char", FileType::CharacterDevice, 0o644, (1, 3))?
            .node("block", FileType::BlockDevice, 0o644, (7, 0))?;
    }
    lower.symlink("low", "nowhere")?;
    stack.upper.symlink("up", "nowhere")?;
    let ov = stack.mount()?;
    let covered = ["link", "fifo", "socket", "char", "block", "low"];
    for name in covered.iter().chain(&["up"]) {
        unlink(ov.join(name))?;
    }
    for name in covered {
        is_whiteout(stack.upper.join(name))?;
    }
    absent(stack.upper.join("up"))?;
    stack.stays(ov, |ov| lists::<&str>(ov.path(), &[]))
}

/// Of upper alone, of lower alone, merged, and opaque.
fn directories(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.dir("low")?.dir("both")?.dir("opaque")?;
    lower.file("opaque/hidden", "")?.file("file", "")?;
    stack.upper.dir("up")?.dir("both")?.opaque_dir("opaque")?;
    stack.upper.dir("file")?;
    let ov = stack.mount()?;
    for name in ["up", "low", "both", "opaque", "file"] {
        rmdir(ov.join(name))?;
        absent(ov.join(name))?;
    }
    absent(stack.upper.join("up"))?;
    for name in ["low", "both", "opaque", "file"] {
        is_whiteout(stack.upper.join(name))?;
    }
    stack.stays(ov, |ov| lists::<&str>(ov.path(), &[]))
}

fn not_empty(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.dir("low")?.file("low/a", "")?;
    lower.dir("merged")?.file("merged/a", "")?;
    lower.dir("above")?.dir("covered")?.file("covered/a", "")?;
    stack.upper.dir("up")?.file("up/a", "")?;
    stack.upper.dir("merged")?.dir("above/a")?;
    stack
        .upper
        .opaque_dir("covered")?
        .symlink("covered/b", "x")?;
    stack.upper.whiteout("merged/gone")?;
    let ov = stack.mount()?;
    for name in ["low", "merged", "above", "up", "covered"] {
        for _ in 0..2 {
            let result = rustix::fs::rmdir(ov.join(name));
            check::errno(name, result, Errno::NOTEMPTY)?;
        }
    }
    stack.stays(ov, |ov| {
        lists(ov.path(), &["above", "covered", "low", "merged", "up"])?;
        lists(ov.join("merged"), &["a"])?;
        lists(ov.join("covered"), &["b"])
    })
}

/// What was in them has been removed before, in the overlay or by a whiteout that is already there.
fn of_whiteouts(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.dir("merged")?.file("merged/a", "")?.dir("merged/b")?;
    lower.file("merged/before", "")?;
    stack.upper.dir("merged")?.whiteout("merged/before")?;
    // One that was merged with a directory which is gone now.
    let origin = "trusted.overlay.origin";
    stack.upper.dir("alone")?.xattr("alone", origin, b"")?;
    stack.upper.whiteout("alone/a")?;
    let ov = stack.mount()?;
    unlink(ov.join("merged/a"))?;
    rmdir(ov.join("merged/b"))?;
    lists(stack.upper.join("merged"), &["a", "b", "before"])?;
    lists::<&str>(ov.join("merged"), &[])?;
    rmdir(ov.join("merged"))?;
    rmdir(ov.join("alone"))?;
    is_whiteout(stack.upper.join("merged"))?;
    absent(stack.upper.join("alone"))?;
    check::ok(
        sys::names(stack.work())?.len() <= 1,
        "more than the shared whiteout stays in the work directory",
    )?;
    stack.stays(ov, |ov| lists::<&str>(ov.path(), &[]))
}

/// Whiteouts of the attribute form keep a directory from being removed, unless a lower layer says that
/// it has some.
fn xattr_whiteouts(fx: &Fixture) -> Result {
    let (middle, lower) = (fx.layer("middle")?, fx.layer("lower")?);
    let stack = Stack::new(fx, &[&middle, &lower])?;
    let whiteout = "trusted.overlay.whiteout";
    for dir in ["marked", "plain"] {
        lower.dir(dir)?.file(format!("{dir}/a"), "")?;
        middle.dir(dir)?.file(format!("{dir}/a"), "")?;
        middle.xattr(format!("{dir}/a"), whiteout, b"")?;
    }
    middle.xattr("marked", crate::layer::OPAQUE, b"x")?;
    let ov = stack.mount()?;
    absent(ov.join("marked/a"))?;
    absent(ov.join("plain/a"))?;
    for dir in ["marked", "plain"] {
        let result = rustix::fs::rmdir(ov.join(dir));
        check::errno(dir, result, Errno::NOTEMPTY)?;
    }
    Ok(())
}

fn many_layers(fx: &Fixture) -> Result {
    let layers = fx.layers(4)?;
    let stack = Stack::new(fx, &layers.iter().collect::<Vec<_>>())?;
    for (index, layer) in layers.iter().enumerate() {
        layer.file("file", "")?.dir("dir")?.dir("parent")?;
        layer.file(format!("parent/{index}"), "")?;
    }
    // In the first layer that has the name it is hidden already.
    layers[0].whiteout("hidden")?;
    layers[1].file("hidden", "")?;
    stack.upper.file("hidden", "")?.dir("parent")?;
    let ov = stack.mount()?;
    unlink(ov.join("file"))?;
    rmdir(ov.join("dir"))?;
    unlink(ov.join("hidden"))?;
    for index in 0..layers.len() {
        unlink(ov.join(format!("parent/{index}")))?;
    }
    rmdir(ov.join("parent"))?;
    is_whiteout(stack.upper.join("file"))?;
    is_whiteout(stack.upper.join("dir"))?;
    is_whiteout(stack.upper.join("parent"))?;
    absent(stack.upper.join("hidden"))?;
    stack.stays(ov, |ov| lists::<&str>(ov.path(), &[]))
}

/// All are names of one inode, of which one more is kept for the next.
fn shared_whiteouts(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    let names: Vec<_> = (0..8).map(|n| format!("f{n}")).collect();
    for name in &names {
        lower.file(name, "")?;
    }
    lower.dir("d")?;
    let ov = stack.mount()?;
    for name in &names {
        unlink(ov.join(name))?;
    }
    rmdir(ov.join("d"))?;
    let mut inodes = Vec::new();
    for name in names.iter().map(String::as_str).chain(["d"]) {
        is_whiteout(stack.upper.join(name))?;
        let stat = sys::lstat(stack.upper.join(name))?;
        check::equal("links", stat.st_nlink, 10)?;
        inodes.push(stat.st_ino);
    }
    inodes.dedup();
    check::equal("number of inodes", inodes.len(), 1)?;
    check::equal("kept", sys::names(stack.work())?.len(), 1)?;
    stack.stays(ov, |ov| lists::<&str>(ov.path(), &[]))?;
    check::equal("after a new mount", sys::names(stack.work())?.len(), 0)
}

/// Who wants to make room has to be able to: the whiteout that is kept for others is used itself.
fn when_full(fx: &Fixture) -> Result {
    let disk = fx.place("small")?;
    let options = c"nr_inodes=16,mode=755";
    mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), options).context("mount tmpfs")?;
    fx.adopt(&disk);
    let upper = Layer::create(disk.join("upper"))?;
    let work = Layer::create(disk.join("work"))?;
    let lower = fx.layer("lower")?;
    lower
        .file("first", "")?
        .file("second", "")?
        .file("third", "")?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    unlink(ov.join("first"))?;
    let full = (0..16).find_map(|n| fs::write(ov.join(format!("new{n}")), "").err());
    let error = full.and_then(|error| Errno::from_io_error(&error));
    check::equal("error", error, Some(Errno::NOSPC))?;
    unlink(ov.join("second"))?;
    is_whiteout(upper.join("second"))?;
    absent(ov.join("second"))?;
    check::errno("remove", rustix::fs::unlink(ov.join("third")), Errno::NOSPC)?;
    content(ov.join("third"), "")?;
    unlink(ov.join("new0"))?;
    unlink(ov.join("third"))?;
    is_whiteout(upper.join("third"))
}

/// There is no place left to which the directory could be copied up.
fn parent_too(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    lower.dir("d")?.dir("d/e")?.dir("d/e/f")?;
    let stack = Stack::new(fx, &[&lower])?;
    let ov = stack.mount()?;
    let gone = sys::open_dir(ov.join("d/e/f"))?;
    rmdir(ov.join("d/e/f"))?;
    rmdir(ov.join("d/e"))?;
    let mode = Mode::from_raw_mode(0o700);
    check::errno("chmod", rustix::fs::fchmod(&gone, mode), Errno::IO)?;
    is_whiteout(stack.upper.join("d/e"))
}

fn leaves_work_empty(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    stack.upper.dir("d")?.file("f", "")?;
    lower.dir("m")?.file("m/f", "")?;
    stack.upper.dir("m")?.whiteout("m/f")?;
    let ov = stack.mount()?;
    rmdir(ov.join("d"))?;
    unlink(ov.join("f"))?;
    check::equal("nothing covered", sys::names(stack.work())?.len(), 0)?;
    rmdir(ov.join("m"))?;
    check::equal("whiteouts kept", sys::names(stack.work())?.len(), 1)?;
    fx.unmount(ov.path())?;
    Ok(())
}

fn in_user_namespace(fx: &Fixture) -> Result {
    userns::run(fx, |fx, place| {
        let layer = |name: &str| Layer::create(place.join(name));
        let (upper, work, lower) = (layer("upper")?, layer("work")?, layer("lower")?);
        let point = layer("mnt")?;
        for name in ["file", "other", "merged/file"] {
            lower.dir("merged")?.file(name, "")?;
        }
        lower.dir("dir")?;
        upper.dir("merged")?.file("up", "")?;
        let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
        let options = options.flag("userxattr");
        fx.mount_at(point.path(), &options).context("mount")?;
        for name in ["file", "other", "merged/file", "up"] {
            unlink(point.join(name))?;
        }
        rmdir(point.join("dir"))?;
        rmdir(point.join("merged"))?;
        for name in ["file", "other", "dir", "merged"] {
            is_whiteout(upper.join(name))?;
        }
        fx.unmount(point.path())?;
        fx.mount_at(point.path(), &options).context("mount again")?;
        lists::<&str>(point.path(), &[])?;
        fx.unmount(point.path())?;
        Ok(())
    })
}

fn errors(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.dir("dir")?.file("file", "")?.file("gone", "")?;
    stack.upper.whiteout("gone")?;
    let ov = stack.mount()?;
    let unlink = |name: &str| rustix::fs::unlink(ov.join(name));
    let rmdir = |name: &str| rustix::fs::rmdir(ov.join(name));
    check::errno("unlink dir", unlink("dir"), Errno::ISDIR)?;
    check::errno("rmdir file", rmdir("file"), Errno::NOTDIR)?;
    check::errno("unlink whiteout", unlink("gone"), Errno::NOENT)?;
    check::errno("rmdir whiteout", rmdir("gone"), Errno::NOENT)?;
    check::errno("unlink nothing", unlink("none"), Errno::NOENT)?;
    check::errno("rmdir .", rmdir("dir/."), Errno::INVAL)?;
    check::errno("rmdir ..", rmdir("dir/.."), Errno::NOTEMPTY)?;
    check::errno("rmdir root", rmdir(""), Errno::BUSY)?;
    let long = "x".repeat(256);
    check::errno("too long", unlink(&long), Errno::NAMETOOLONG)?;
    lists(ov.path(), &["dir", "file"])
}

/// Permission is asked of the overlay; what is done below, the mounter does.
fn as_user(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    for layer in [&lower, &stack.upper] {
        layer.dir("own")?.chown("own", 1000, 1000)?;
        layer.dir("shared")?.chmod("shared", 0o1777)?;
        layer.dir("foreign")?;
    }
    for dir in ["own", "shared", "foreign"] {
        lower.file(format!("{dir}/low"), "")?;
        lower.dir(format!("{dir}/dir"))?;
        stack.upper.file(format!("{dir}/up"), "")?;
    }
    lower
        .file("shared/mine", "")?
        .chown("shared/mine", 1000, 1000)?;
    let ov = stack.mount()?;
    sys::as_user(1000, 1000, &[], || -> Result {
        for name in ["low", "up"] {
            unlink(ov.join("own").join(name))?;
            let result = rustix::fs::unlink(ov.join("foreign").join(name));
            check::errno("foreign", result, Errno::ACCESS)?;
            let result = rustix::fs::unlink(ov.join("shared").join(name));
            check::errno("sticky", result, Errno::PERM)?;
        }
        rmdir(ov.join("own/dir"))?;
        unlink(ov.join("shared/mine"))?;
        let result = rustix::fs::rmdir(ov.join("shared/dir"));
        check::errno("sticky", result, Errno::PERM)
    })??;
    is_whiteout(stack.upper.join("own/low"))?;
    stack.stays(ov, |ov| {
        lists::<&str>(ov.join("own"), &[])?;
        lists(ov.join("shared"), &["dir", "low", "up"])
    })
}

/// Somebody has changed upper behind the overlay's back: nothing is removed that was not meant.
fn changed_upper(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.file("covered", "")?;
    stack
        .upper
        .file("file", "")?
        .file("covered", "")?
        .dir("dir")?;
    stack.upper.file("removed", "")?;
    let ov = stack.mount()?;
    for name in ["file", "covered", "dir", "removed"] {
        sys::lstat(ov.join(name))?;
    }
    fs::rename(stack.upper.join("file"), stack.upper.join("old"))?;
    fs::rename(stack.upper.join("covered"), stack.upper.join("old2"))?;
    fs::rename(stack.upper.join("dir"), stack.upper.join("olddir"))?;
    fs::remove_file(stack.upper.join("removed"))?;
    stack
        .upper
        .file("file", "new")?
        .file("covered", "new")?
        .dir("dir")?;
    let unlink = |name: &str| rustix::fs::unlink(ov.join(name));
    check::errno("file", unlink("file"), Errno::STALE)?;
    check::errno("covered", unlink("covered"), Errno::STALE)?;
    check::errno("dir", rustix::fs::rmdir(ov.join("dir")), Errno::STALE)?;
    check::errno("removed", unlink("removed"), Errno::NOENT)?;
    content(stack.upper.join("file"), "new")?;
    content(stack.upper.join("covered"), "new")
}

fn whole_tree(fx: &Fixture) -> Result {
    let (middle, lower) = (fx.layer("middle")?, fx.layer("lower")?);
    let stack = Stack::new(fx, &[&middle, &lower])?;
    for (index, layer) in [&lower, &middle, &stack.upper].into_iter().enumerate() {
        for dir in ["tree", "tree/a", "tree/a/b", "tree/c"] {
            layer.dir(dir)?.file(format!("{dir}/common"), "")?;
            layer.file(format!("{dir}/own{index}"), "")?;
        }
    }
    middle.whiteout("tree/c/own0")?;
    let ov = stack.mount()?;
    fs::remove_dir_all(ov.join("tree")).context("remove the tree")?;
    is_whiteout(stack.upper.join("tree"))?;
    check::equal("kept", sys::names(stack.work())?.len(), 1)?;
    stack.stays(ov, |ov| lists::<&str>(ov.path(), &[]))
}
