// SPDX-License-Identifier: GPL-2.0-only

//! Renaming, without redirects.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::FileType;
use rustix::fs::RenameFlags;
use rustix::fs::CWD;
use rustix::io::Errno;

use super::remove::is_whiteout;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::layer::Layer;
use crate::layer::OPAQUE;
use crate::registry::Test;
use crate::stack::Stack;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("rename_files", "D5 1.9", files).on_disks_too(),
    Test::new("rename_over_files", "D5 1.9", over_files).on_disks_too(),
    Test::new("rename_over_whiteouts", "D5 1.9", over_whiteouts).on_disks_too(),
    Test::new("rename_other_types", "D5", other_types),
    Test::new("rename_exchange", "D5", exchange).on_disks_too(),
    Test::new("rename_without_replacing", "D5", no_replace),
    Test::new("rename_errors", "D5 F15", errors),
    Test::new("rename_as_user", "D5 F22", as_user),
    Test::new("rename_hard_links", "D5 C7", hard_links),
    Test::new("rename_over_open_files", "D5 F2", over_open_files),
    Test::new("rename_changes_times", "D5", times),
    Test::new("rename_keeps_numbers", "D5 X4 1.10", keeps_numbers).on_disks_too(),
    Test::new("rename_is_listed_at_once", "D5 R3", listed_at_once),
    Test::new("rename_changed_upper_is_stale", "D5 F26", changed_upper),
];

pub fn rename(ov: &Mounted, old: &str, new: &str) -> Result {
    rustix::fs::rename(ov.join(old), ov.join(new))
        .context(format_args!("rename {old:?} to {new:?}"))
}

pub fn with_flags(
    ov: &Mounted,
    old: &str,
    new: &str,
    flags: RenameFlags,
) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(CWD, ov.join(old), CWD, ov.join(new), flags)
}

pub fn is_opaque(path: impl AsRef<Path>) -> Result<bool> {
    let mut value = [0; 2];
    match rustix::fs::lgetxattr(path.as_ref(), OPAQUE, &mut value[..]) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// One file of upper alone, of lower alone, and of both, in the directory and below it.
fn fill(upper: &Layer, lower: &Layer) -> Result {
    for layer in [upper, lower] {
        layer.dir("d")?;
    }
    for dir in ["", "d/"] {
        lower
            .file(format!("{dir}low"), "low")?
            .file(format!("{dir}both"), "hidden")?;
        upper
            .file(format!("{dir}up"), "up")?
            .file(format!("{dir}both"), "both")?;
    }
    Ok(())
}

fn files(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    fill(&stack.upper, &lower)?;
    let ov = stack.mount()?;
    for name in ["up", "low", "both"] {
        // In one directory, and to another one.
        rename(&ov, name, &format!("{name}2"))?;
        rename(&ov, &format!("d/{name}"), &format!("{name}3"))?;
        absent(ov.join(name))?;
    }
    for name in ["low", "both", "d/low", "d/both"] {
        is_whiteout(stack.upper.join(name))?;
    }
    absent(stack.upper.join("up"))?;
    absent(stack.upper.join("d/up"))?;
    check::equal("work", sys::names(stack.work())?.len(), 0)?;
    stack.stays(ov, |ov| {
        for name in ["up", "low", "both"] {
            content(ov.join(format!("{name}2")), name)?;
            content(ov.join(format!("{name}3")), name)?;
        }
        lists(
            ov.path(),
            &["both2", "both3", "d", "low2", "low3", "up2", "up3"],
        )?;
        lists::<&str>(ov.join("d"), &[])
    })
}

/// Each kind over each kind.
fn over_files(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    let kinds = ["up", "low", "both"];
    for from in kinds {
        for to in kinds {
            for (stem, kind) in [("from", from), ("to", to)] {
                let name = format!("{stem}-{from}-{to}");
                if kind != "up" {
                    lower.file(&name, if kind == "low" { stem } else { "hidden" })?;
                }
                if kind != "low" {
                    stack.upper.file(&name, stem)?;
                }
            }
        }
    }
    let ov = stack.mount()?;
    let mut names = Vec::new();
    for from in kinds {
        for to in kinds {
            let (old, new) = (format!("from-{from}-{to}"), format!("to-{from}-{to}"));
            rename(&ov, &old, &new)?;
            match from {
                "up" => absent(stack.upper.join(&old))?,
                _ => is_whiteout(stack.upper.join(&old))?,
            }
            content(stack.upper.join(&new), "from")?;
            names.push(new);
        }
    }
    names.sort();
    stack.stays(ov, |ov| {
        for name in &names {
            content(ov.join(name), "from")?;
        }
        lists(ov.path(), &names)
    })
}

fn over_whiteouts(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    fill(&stack.upper, &lower)?;
    for name in ["gone1", "gone2", "gone3", "gone4", "gone5"] {
        lower.dir(name)?.file(format!("{name}/hidden"), "")?;
        stack.upper.whiteout(name)?;
    }
    stack
        .upper
        .dir("dir")?
        .file("dir/own", "own")?
        .dir("dir2")?;
    lower.file("dir2", "")?;
    let ov = stack.mount()?;
    rename(&ov, "up", "gone1")?;
    rename(&ov, "low", "gone2")?;
    rename(&ov, "both", "gone3")?;
    rename(&ov, "dir", "gone4")?;
    rename(&ov, "dir2", "gone5")?;
    absent(stack.upper.join("up"))?;
    absent(stack.upper.join("dir"))?;
    for name in ["low", "both", "dir2"] {
        is_whiteout(stack.upper.join(name))?;
    }
    check::ok(is_opaque(stack.upper.join("gone4"))?, "not opaque")?;
    check::equal("work", sys::names(stack.work())?.len(), 0)?;
    stack.stays(ov, |ov| {
        content(ov.join("gone1"), "up")?;
        content(ov.join("gone2"), "low")?;
        content(ov.join("gone3"), "both")?;
        lists(ov.join("gone4"), &["own"])?;
        lists::<&str>(ov.join("gone5"), &[])?;
        lists(
            ov.path(),
            &["d", "gone1", "gone2", "gone3", "gone4", "gone5"],
        )
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
    lower
        .symlink("low", "to")?
        .node("lowfifo", FileType::Fifo, 0o644, (0, 0))?;
    let ov = stack.mount()?;
    let names = ["link", "fifo", "socket", "char", "block", "low", "lowfifo"];
    for name in names {
        rename(&ov, name, &format!("new-{name}"))?;
        is_whiteout(stack.upper.join(name))?;
    }
    stack.stays(ov, |ov| {
        let kind = |name: &str| sys::lstat_kind(ov.join(name));
        check::equal("fifo", kind("new-fifo")?, FileType::Fifo)?;
        check::equal("fifo", kind("new-lowfifo")?, FileType::Fifo)?;
        check::equal("socket", kind("new-socket")?, FileType::Socket)?;
        check::equal("char", kind("new-char")?, FileType::CharacterDevice)?;
        check::equal("block", kind("new-block")?, FileType::BlockDevice)?;
        check::equal("link", sys::readlink(ov.join("new-link"))?, "low")?;
        check::equal("link", sys::readlink(ov.join("new-low"))?, "to")?;
        check::equal("names", sys::names(ov.path())?.len(), names.len())
    })
}

fn exchange(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    fill(&stack.upper, &lower)?;
    stack
        .upper
        .dir("dir")?
        .file("dir/own", "own")?
        .dir("dir2")?;
    let ov = stack.mount()?;
    let swap = |old: &str, new: &str| {
        with_flags(&ov, old, new, RenameFlags::EXCHANGE).context(format_args!("{old} {new}"))
    };
    swap("up", "d/up")?;
    swap("low", "both")?;
    swap("d/low", "dir")?;
    swap("dir2", "d/both")?;
    check::equal("work", sys::names(stack.work())?.len(), 0)?;
    stack.stays(ov, |ov| {
        lists(ov.path(), &["both", "d", "dir", "dir2", "low", "up"])?;
        lists(ov.join("d"), &["both", "low", "up"])?;
        content(ov.join("up"), "up")?;
        content(ov.join("low"), "both")?;
        content(ov.join("both"), "low")?;
        content(ov.join("dir"), "low")?;
        content(ov.join("dir2"), "both")?;
        content(ov.join("d/low/own"), "own")?;
        lists::<&str>(ov.join("d/both"), &[])
    })
}

fn no_replace(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    fill(&stack.upper, &lower)?;
    lower.file("gone", "")?;
    stack.upper.whiteout("gone")?;
    let ov = stack.mount()?;
    let flags = RenameFlags::NOREPLACE;
    for (old, new) in [("up", "low"), ("low", "both"), ("both", "d")] {
        let result = with_flags(&ov, old, new, flags);
        check::errno(format_args!("{old} to {new}"), result, Errno::EXIST)?;
    }
    with_flags(&ov, "up", "gone", flags).context("to a whiteout")?;
    with_flags(&ov, "low", "new", flags).context("to nothing")?;
    stack.stays(ov, |ov| {
        content(ov.join("gone"), "up")?;
        content(ov.join("new"), "low")?;
        lists(ov.path(), &["both", "d", "gone", "new"])
    })
}

fn errors(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.file("file", "")?.dir("low/sub")?.file("gone", "")?;
    stack.upper.dir("dir/sub")?.whiteout("gone")?;
    let ov = stack.mount()?;
    let rename = |old: &str, new: &str| rustix::fs::rename(ov.join(old), ov.join(new));
    check::errno("into itself", rename("dir", "dir/sub/x"), Errno::INVAL)?;
    check::errno("over its parent", rename("dir/sub", "dir"), Errno::NOTEMPTY)?;
    check::errno("file over dir", rename("file", "dir"), Errno::ISDIR)?;
    check::errno("dir over file", rename("dir", "file"), Errno::NOTDIR)?;
    check::errno("nothing", rename("none", "new"), Errno::NOENT)?;
    check::errno("whiteout", rename("gone", "new"), Errno::NOENT)?;
    check::errno("to nowhere", rename("file", "none/new"), Errno::NOENT)?;
    check::errno("dot", rename("dir/.", "new"), Errno::BUSY)?;
    let long = "x".repeat(256);
    check::errno("too long", rename("file", &long), Errno::NAMETOOLONG)?;
    let whiteout = with_flags(&ov, "file", "new", RenameFlags::WHITEOUT);
    check::errno("whiteout wanted", whiteout, Errno::INVAL)?;
    let nothing = with_flags(&ov, "file", "new", RenameFlags::EXCHANGE);
    check::errno("exchange with nothing", nothing, Errno::NOENT)?;
    let other = fx.layer("other")?;
    let away = rustix::fs::rename(ov.join("file"), other.join("file"));
    check::errno("to another filesystem", away, Errno::XDEV)?;
    stack.stays(ov, |ov| lists(ov.path(), &["dir", "file", "low"]))
}

fn as_user(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    for layer in [&lower, &stack.upper] {
        layer.dir("own")?.chown("own", 1000, 1000)?;
        layer.dir("shared")?.chmod("shared", 0o1777)?;
        layer.dir("foreign")?;
    }
    for dir in ["own", "shared", "foreign"] {
        lower
            .file(format!("{dir}/low"), "low")?
            .file(format!("{dir}/low2"), "")?;
        stack
            .upper
            .file(format!("{dir}/up"), "")?
            .dir(format!("{dir}/dir"))?;
    }
    lower.chmod("own/low", 0)?;
    let ov = stack.mount()?;
    sys::as_user(1000, 1000, &[], || -> Result {
        // It takes no right to the file itself, which is copied up for it.
        rename(&ov, "own/low", "own/new")?;
        rename(&ov, "own/low2", "shared/new")?;
        let rename = |old: &str, new: &str| rustix::fs::rename(ov.join(old), ov.join(new));
        check::errno("sticky", rename("shared/low", "own/x"), Errno::PERM)?;
        check::errno("over sticky", rename("own/up", "shared/up"), Errno::PERM)?;
        check::errno("foreign", rename("foreign/low", "own/x"), Errno::ACCESS)?;
        check::errno("to foreign", rename("own/up", "foreign/x"), Errno::ACCESS)?;
        // To move a directory changes it.
        check::errno("directory", rename("own/dir", "shared/dir2"), Errno::ACCESS)?;
        rename("own/dir", "own/dir2").context("directory in its place")
    })??;
    is_whiteout(stack.upper.join("own/low"))?;
    stack.stays(ov, |ov| {
        content(ov.join("own/new"), "low")?;
        check::equal("owner", sys::lstat(ov.join("own/new"))?.st_uid, 0)?;
        lists(ov.join("own"), &["dir2", "new", "up"])?;
        lists(ov.join("shared"), &["dir", "low", "low2", "new", "up"])
    })
}

fn hard_links(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    stack
        .upper
        .file("a", "up")?
        .link("a", "b")?
        .link("a", "c")?;
    stack.upper.file("other", "other")?;
    lower.file("la", "low")?.link("la", "lb")?;
    let ov = stack.mount()?;
    let links = |name: &str| -> Result<u64> { Ok(sys::lstat(ov.join(name))?.st_nlink) };
    // Two names of one file: nothing happens.
    rename(&ov, "a", "b")?;
    check::equal("links", (links("a")?, links("b")?), (3, 3))?;
    rename(&ov, "other", "a")?;
    check::equal("links", (links("a")?, links("b")?), (1, 2))?;
    rename(&ov, "c", "d")?;
    check::equal("links", (links("d")?, links("b")?), (2, 2))?;
    // The other name goes on standing for the lower file.
    rename(&ov, "la", "new")?;
    check::equal("links", links("new")?, 1)?;
    is_whiteout(stack.upper.join("la"))?;
    stack.stays(ov, |ov| {
        content(ov.join("a"), "other")?;
        content(ov.join("b"), "up")?;
        content(ov.join("d"), "up")?;
        content(ov.join("new"), "low")?;
        content(ov.join("lb"), "low")?;
        lists(ov.path(), &["a", "b", "d", "lb", "new"])
    })
}

fn over_open_files(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    fill(&stack.upper, &lower)?;
    for name in ["1", "2", "3"] {
        stack.upper.file(name, "new")?;
    }
    let ov = stack.mount()?;
    for (new, old) in [("1", "up"), ("2", "both"), ("3", "low")] {
        let (fd, from) = (sys::open_read(ov.join(old))?, sys::open_read(ov.join(new))?);
        let number = rustix::fs::fstat(&from)?.st_ino;
        rename(&ov, new, old)?;
        let links = u64::from(old == "low");
        check::equal("links", rustix::fs::fstat(&fd)?.st_nlink, links)?;
        let mut buffer = [0; 16];
        let count = rustix::io::read(&fd, &mut buffer)?;
        check::bytes("the old one", &buffer[..count], old.as_bytes())?;
        content(ov.join(old), "new")?;
        check::equal("number", sys::lstat(ov.join(old))?.st_ino, number)?;
    }
    Ok(())
}

/// Of both directories, and of what is moved.
fn times(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    stack.upper.dir("a")?.dir("b")?.file("a/file", "")?;
    for name in ["a/file", "a", "b"] {
        stack.upper.times(name, 1_000_000_000, 0)?;
    }
    let ov = stack.mount()?;
    let old = |meta: &fs::Metadata| meta.mtime() < 1_100_000_000;
    let before = fs::metadata(ov.join("a/file"))?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    rename(&ov, "a/file", "b/file")?;
    let after = fs::metadata(ov.join("b/file"))?;
    let changed = |meta: &fs::Metadata| (meta.ctime(), meta.ctime_nsec());
    check::ok(changed(&after) > changed(&before), "ctime stays")?;
    check::ok(old(&after), "mtime changes")?;
    for dir in ["a", "b"] {
        let meta = fs::metadata(ov.join(dir))?;
        check::ok(!old(&meta), format_args!("the time of {dir} stays"))?;
        let below = fs::metadata(stack.upper.join(dir))?;
        check::equal(dir, changed(&meta), changed(&below))?;
    }
    Ok(())
}

/// Numbers of files from lower layers are the same in any directory of upper, in stat and in listings.
fn keeps_numbers(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.file("file", "")?.file("other", "")?;
    stack.upper.dir("pure/sub")?.file("pure/own", "")?;
    let ov = stack.mount()?;
    let number = |name: &str| -> Result<u64> { Ok(sys::lstat(ov.join(name))?.st_ino) };
    let (file, other, own) = (number("file")?, number("other")?, number("pure/own")?);
    sys::names(ov.join("pure/sub"))?;
    rename(&ov, "file", "pure/sub/file")?;
    with_flags(&ov, "pure/own", "other", RenameFlags::EXCHANGE).context("exchange")?;
    check::equal("after the move", number("pure/sub/file")?, file)?;
    check::equal("after the exchange", number("pure/own")?, other)?;
    check::equal("of the other", number("other")?, own)?;
    for (dir, name, expected) in [
        ("pure/sub", "file", file),
        ("pure", "own", other),
        ("", "other", own),
    ] {
        let entries = sys::list(ov.join(dir))?;
        let entry = entries.iter().find(|entry| entry.name == name);
        check::equal("listed", entry.map(|entry| entry.ino), Some(expected))?;
    }
    let mut value = [0; 2];
    for dir in ["pure/sub", "pure"] {
        let path = stack.upper.join(dir);
        let length = rustix::fs::lgetxattr(&path, "trusted.overlay.impure", &mut value[..])?;
        check::bytes("impure", &value[..length], b"y")?;
    }
    stack.stays(ov, |ov| {
        let entries = sys::list(ov.join("pure/sub"))?;
        let entry = entries.iter().find(|entry| entry.name == "file");
        check::equal("listed", entry.map(|entry| entry.ino), Some(file))
    })
}

fn listed_at_once(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.dir("d")?.dir("e")?.file("d/a", "")?.file("d/b", "")?;
    stack.upper.dir("d")?.dir("e")?;
    let ov = stack.mount()?;
    let fd = sys::open_dir(ov.join("d"))?;
    lists(ov.join("d"), &["a", "b"])?;
    lists::<&str>(ov.join("e"), &[])?;
    rename(&ov, "d/a", "d/c")?;
    lists(ov.join("d"), &["b", "c"])?;
    rename(&ov, "d/b", "e/b")?;
    lists(ov.join("d"), &["c"])?;
    lists(ov.join("e"), &["b"])?;
    with_flags(&ov, "d/c", "e/b", RenameFlags::EXCHANGE)?;
    lists(ov.join("d"), &["c"])?;
    lists(ov.join("e"), &["b"])?;
    rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0))?;
    let names: Vec<_> = sys::read_entries(&fd, 1024)?
        .into_iter()
        .filter(|entry| !entry.is_dot())
        .map(|entry| entry.name)
        .collect();
    check::equal("rewound", names, ["c"])
}

/// Somebody has changed upper behind the overlay's back: nothing is overwritten that was not meant.
fn changed_upper(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    stack
        .upper
        .file("file", "")?
        .file("target", "")?
        .file("fine", "")?;
    stack.upper.file("gone", "")?;
    let ov = stack.mount()?;
    for name in ["file", "target", "fine", "gone"] {
        sys::lstat(ov.join(name))?;
    }
    absent(ov.join("new"))?;
    for name in ["file", "target"] {
        fs::rename(
            stack.upper.join(name),
            stack.upper.join(format!("old{name}")),
        )?;
        stack.upper.file(name, "other")?;
    }
    fs::remove_file(stack.upper.join("gone"))?;
    stack.upper.file("new", "other")?;
    let rename = |old: &str, new: &str| rustix::fs::rename(ov.join(old), ov.join(new));
    check::errno("another source", rename("file", "x"), Errno::STALE)?;
    check::errno("another target", rename("fine", "target"), Errno::STALE)?;
    check::errno("no source", rename("gone", "x"), Errno::NOENT)?;
    check::errno("a new target", rename("fine", "new"), Errno::STALE)?;
    content(stack.upper.join("file"), "other")?;
    content(stack.upper.join("target"), "other")?;
    content(stack.upper.join("new"), "other")
}
