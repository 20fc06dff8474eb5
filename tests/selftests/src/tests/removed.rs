// SPDX-License-Identifier: GPL-2.0-only

//! What is removed, as those see it who have it open, know it by another name, or list where it was.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::check;
use crate::check::Result;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::registry::Test;
use crate::stack::Stack;
use crate::sys;

use super::remove::rmdir;
use super::remove::unlink;

pub const TESTS: &[Test] = &[
    Test::new("remove_hard_links_of_upper", "D4", upper_links).on_disks_too(),
    Test::new("remove_hard_links_of_lower", "D4 C7", lower_links),
    Test::new("remove_open_file", "D4 F2", open_file).on_disks_too(),
    Test::new("remove_open_directory", "D4 R3", open_directory),
    Test::new("remove_changes_times", "D4", times),
    Test::new("remove_is_listed_at_once", "D4 R3", listed_at_once),
];

fn upper_links(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    stack
        .upper
        .file("a", "data")?
        .link("a", "b")?
        .link("a", "c")?;
    let ov = stack.mount()?;
    let fd = sys::open_read(ov.join("b"))?;
    let links = || -> Result<_> { Ok(rustix::fs::fstat(&fd)?.st_nlink) };
    check::equal("at first", links()?, 3)?;
    unlink(ov.join("a"))?;
    check::equal("one less", links()?, 2)?;
    check::equal("by name", sys::lstat(ov.join("c"))?.st_nlink, 2)?;
    unlink(ov.join("b"))?;
    check::equal("two less", links()?, 1)?;
    content(ov.join("c"), "data")?;
    unlink(ov.join("c"))?;
    check::equal("all gone", links()?, 0)?;
    drop(fd);
    stack.stays(ov, |ov| lists::<&str>(ov.path(), &[]))
}

/// The count is that of the lower file, which keeps its names.
fn lower_links(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.file("a", "data")?.link("a", "b")?.link("a", "c")?;
    let ov = stack.mount()?;
    let fd = sys::open_read(ov.join("a"))?;
    unlink(ov.join("a"))?;
    check::equal("of the open one", rustix::fs::fstat(&fd)?.st_nlink, 3)?;
    check::equal("of another", sys::lstat(ov.join("b"))?.st_nlink, 3)?;
    drop(fd);
    stack.stays(ov, |ov| {
        content(ov.join("b"), "data")?;
        lists(ov.path(), &["b", "c"])
    })
}

/// What is open stays as it is, with no name.
fn open_file(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.file("low", "lower")?.file("both", "lower")?;
    stack.upper.file("up", "upper")?.file("both", "upper")?;
    let ov = stack.mount()?;
    for (name, data) in [("low", "lower"), ("up", "upper"), ("both", "upper")] {
        let fd = sys::open_read(ov.join(name))?;
        let before = rustix::fs::fstat(&fd)?;
        unlink(ov.join(name))?;
        let after = rustix::fs::fstat(&fd)?;
        // What a whiteout hides keeps its name below.
        let links = u64::from(name == "low");
        check::equal("links", after.st_nlink, links)?;
        check::equal("number", after.st_ino, before.st_ino)?;
        let mut buffer = [0; 16];
        let count = rustix::io::read(&fd, &mut buffer)?;
        check::bytes(name, &buffer[..count], data.as_bytes())?;
    }
    lists::<&str>(ov.path(), &[])
}

fn open_directory(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.dir("low")?.dir("both")?;
    stack.upper.dir("up")?.dir("both")?;
    let ov = stack.mount()?;
    for name in ["low", "up", "both"] {
        let fd = sys::open_dir(ov.join(name))?;
        rmdir(ov.join(name))?;
        check::errno("list", sys::read_entries(&fd, 1024), Errno::NOENT)?;
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let made = rustix::fs::openat(&fd, "new", flags, Mode::from_raw_mode(0o644));
        check::errno("create in it", made, Errno::NOENT)?;
        let found = rustix::fs::statat(&fd, "new", rustix::fs::AtFlags::empty());
        check::errno("find in it", found, Errno::NOENT)?;
    }
    Ok(())
}

/// Of the directory, and of a file that has another name.
fn times(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.dir("e")?.file("e/low", "")?;
    stack
        .upper
        .dir("d")?
        .file("d/up", "")?
        .link("d/up", "d/twin")?
        .dir("e")?;
    for dir in ["d", "e"] {
        stack.upper.times(dir, 1_000_000_000, 0)?;
    }
    let ov = stack.mount()?;
    let old = |meta: &fs::Metadata| meta.mtime() < 1_100_000_000;
    let before = fs::metadata(ov.join("d/twin"))?;
    check::ok(old(&fs::metadata(ov.join("d"))?), "time at first")?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    unlink(ov.join("d/up"))?;
    let dir = fs::metadata(ov.join("d"))?;
    check::ok(!old(&dir), "the directory's time stays")?;
    let after = fs::metadata(ov.join("d/twin"))?;
    let changed = |meta: &fs::Metadata| (meta.ctime(), meta.ctime_nsec());
    check::ok(changed(&after) > changed(&before), "the file's time stays")?;
    check::equal("mtime of the file", after.mtime(), before.mtime())?;
    let below = fs::metadata(stack.upper.join("d"))?;
    check::equal("as upper", changed(&dir), changed(&below))?;
    unlink(ov.join("e/low"))?;
    check::ok(
        !old(&fs::metadata(ov.join("e"))?),
        "the directory's time stays when a whiteout comes",
    )
}

/// A new listing lacks what was removed; one that is open goes on as it was.
fn listed_at_once(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    let names: Vec<_> = (0..40).map(|n| format!("f{n:02}")).collect();
    stack.upper.dir("d")?;
    lower.dir("d")?;
    for name in &names {
        lower.file(format!("d/{name}"), "")?;
    }
    let ov = stack.mount()?;
    let fd = sys::open_dir(ov.join("d"))?;
    let mut left = names.clone();
    for name in &names[..20] {
        lists(ov.join("d"), &left)?;
        unlink(ov.join("d").join(name))?;
        left.remove(0);
    }
    lists(ov.join("d"), &left)?;
    // A file is removed while its directory is being listed, over and over.
    let mut seen = 0;
    rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0))?;
    for entry in sys::read_entries(&fd, 256)? {
        if !entry.is_dot() {
            seen += 1;
            unlink(ov.join("d").join(&entry.name))?;
        }
    }
    check::equal("seen", seen, left.len())?;
    lists::<&str>(ov.join("d"), &[])?;
    rmdir(ov.join("d"))
}
