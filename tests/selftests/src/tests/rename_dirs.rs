// SPDX-License-Identifier: GPL-2.0-only

//! Renaming directories, and renaming over them, without redirects.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use rustix::fs::Mode;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::remove::is_whiteout;
use super::rename::is_opaque;
use super::rename::rename;
use super::rename::with_flags;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::layer::OPAQUE;
use crate::registry::Test;
use crate::stack::Stack;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("rename_directories", "D5 X1", directories).on_disks_too(),
    Test::new("rename_over_directories", "D5 D4", over_directories).on_disks_too(),
    Test::new("rename_over_failed", "D5 D4", over_failed),
    Test::new("rename_over_beside_copy_up", "D5 D4 C3", over_beside_copies),
    Test::new("rename_merged_directory_refused", "D5 M7", merged_refused),
    Test::new("rename_exchange_hides_lower", "D5 X1", exchange_hides_lower),
    Test::new("rename_moves_open_directories", "D5", open_directories),
    Test::new("rename_beside_lookups", "D5 L2", beside_lookups),
];

/// Of upper alone: they do not merge with what is below their new name.
fn directories(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.dir("merged/taken")?.file("merged/taken/hidden", "")?;
    lower.dir("a")?.file("a/hidden", "")?;
    stack.upper.dir("merged")?.whiteout("merged/taken")?;
    stack.upper.dir("pure/sub")?.file("pure/sub/own", "own")?;
    stack.upper.dir("other")?.file("other/own", "other")?;
    stack.upper.opaque_dir("a")?.file("a/own", "a")?;
    let ov = stack.mount()?;
    rename(&ov, "pure/sub", "merged/free")?;
    rename(&ov, "merged/free", "merged/taken")?;
    rename(&ov, "other", "pure/other")?;
    rename(&ov, "a", "pure/a")?;
    check::ok(is_opaque(stack.upper.join("merged/taken"))?, "not opaque")?;
    check::ok(!is_opaque(stack.upper.join("pure/other"))?, "opaque")?;
    absent(stack.upper.join("merged/free"))?;
    is_whiteout(stack.upper.join("a"))?;
    stack.stays(ov, |ov| {
        lists(ov.path(), &["merged", "pure"])?;
        lists(ov.join("merged"), &["taken"])?;
        lists(ov.join("merged/taken"), &["own"])?;
        lists(ov.join("pure"), &["a", "other"])?;
        lists(ov.join("pure/a"), &["own"])?;
        content(ov.join("pure/other/own"), "other")
    })
}

/// Over empty ones: of upper, of lower, merged, and with whiteouts in them.
fn over_directories(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    let kinds = ["up", "low", "merged", "emptied", "hidden"];
    for kind in kinds {
        stack.upper.dir(format!("from-{kind}/sub"))?;
        if kind != "up" {
            lower.dir(kind)?;
        }
        if kind != "low" {
            stack.upper.dir(kind)?;
        }
    }
    lower.file("emptied/a", "")?.dir("emptied/b/c")?;
    lower.file("emptied/shown", "")?.file("hidden/a", "")?;
    stack.upper.whiteout("emptied/b")?.whiteout("emptied/a")?;
    stack.upper.xattr("hidden", OPAQUE, b"y")?;
    let ov = stack.mount()?;
    let result = rustix::fs::rename(ov.join("from-emptied"), ov.join("emptied"));
    check::errno("not yet empty", result, Errno::NOTEMPTY)?;
    rustix::fs::unlink(ov.join("emptied/shown"))?;
    for kind in kinds {
        rename(&ov, &format!("from-{kind}"), kind)?;
        lists(ov.join(kind), &["sub"])?;
    }
    let left = sys::names(stack.work())?.len();
    check::ok(left <= 1, format_args!("{left} names in work"))?;
    for kind in ["low", "merged", "emptied", "hidden"] {
        check::ok(is_opaque(stack.upper.join(kind))?, format_args!("{kind}"))?;
    }
    stack.stays(ov, |ov| {
        let mut names = kinds;
        names.sort_unstable();
        lists(ov.path(), &names)?;
        for kind in kinds {
            lists(ov.join(kind), &["sub"])?;
        }
        Ok(())
    })
}

/// Files that were removed, and are still open, do not come back by being changed while their directory is
/// being replaced.
fn over_beside_copies(fx: &Fixture) -> Result {
    const FILES: usize = 60;
    let name = |n: usize| format!("f{n:03}");

    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.dir("d")?;
    for n in 0..FILES {
        lower.file(format!("d/{}", name(n)), "data")?;
    }
    stack.upper.dir("new")?.file("new/own", "")?;
    let ov = stack.mount()?;
    let mut open = Vec::new();
    for n in 0..FILES {
        let path = ov.join("d").join(name(n));
        open.push(sys::open_read(&path)?);
        fs::remove_file(&path).context("remove")?;
    }
    let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for fd in &open {
                    // Whether it can be changed is up to the filesystem.
                    let _ = rustix::fs::fchmod(fd, Mode::from_raw_mode(0o600));
                }
                begun.store(true, Ordering::Relaxed);
            }
        });
        while !begun.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let result = rename(&ov, "new", "d");
        done.store(true, Ordering::Relaxed);
        result
    })?;
    drop(open);
    stack.stays(ov, |ov| {
        lists(ov.path(), &["d"])?;
        lists(ov.join("d"), &["own"])
    })
}

/// What was to be replaced is still there, and still empty.
fn over_failed(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower
        .dir("emptied")?
        .file("emptied/a", "")?
        .file("emptied/b", "")?;
    stack
        .upper
        .dir("emptied")?
        .chmod("emptied", 0o2710)?
        .chown("emptied", 5, 6)?;
    stack.upper.whiteout("emptied/a")?.whiteout("emptied/b")?;
    stack
        .upper
        .xattr("emptied", "user.kept", b"1")?
        .dir("from")?;
    let ov = stack.mount()?;
    sys::lstat(ov.join("from"))?;
    lists::<&str>(ov.join("emptied"), &[])?;
    fs::rename(stack.upper.join("from"), stack.upper.join("moved"))?;
    stack.upper.dir("from")?;
    let result = rustix::fs::rename(ov.join("from"), ov.join("emptied"));
    check::errno("rename of another one", result, Errno::STALE)?;
    stack.stays(ov, |ov| {
        lists::<&str>(ov.join("emptied"), &[])?;
        absent(ov.join("emptied/a"))?;
        let stat = sys::lstat(ov.join("emptied"))?;
        let found = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        check::equal("attributes", found, (0o2710, 5, 6))?;
        let length = rustix::fs::lgetxattr(ov.join("emptied"), "user.kept", &mut [0u8; 8][..])?;
        check::equal("bytes of the attribute", length, 1)
    })
}

/// Since the lower part would stay where it is.
fn merged_refused(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    lower.dir("low")?.dir("merged")?.file("file", "")?;
    stack.upper.dir("merged")?.dir("up")?.file("upfile", "")?;
    let ov = stack.mount()?;
    let xdev = Errno::XDEV;
    for (old, new) in [
        ("low", "new"),
        ("merged", "new"),
        ("low", "up"),
        ("merged", "up/new"),
        ("low", "merged"),
    ] {
        let result = rustix::fs::rename(ov.join(old), ov.join(new));
        check::errno(format_args!("{old} to {new}"), result, xdev)?;
    }
    for (old, new) in [
        ("low", "up"),
        ("up", "low"),
        ("upfile", "merged"),
        ("merged", "file"),
    ] {
        let result = with_flags(&ov, old, new, RenameFlags::EXCHANGE);
        check::errno(format_args!("{old} with {new}"), result, xdev)?;
    }
    stack.stays(ov, |ov| {
        lists(ov.path(), &["file", "low", "merged", "up", "upfile"])
    })
}

fn exchange_hides_lower(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    for dir in ["a", "b"] {
        lower
            .dir(format!("{dir}/x"))?
            .file(format!("{dir}/x/low"), "")?;
        stack
            .upper
            .opaque_dir(format!("{dir}/x"))?
            .file(format!("{dir}/x/{dir}"), "")?;
    }
    lower
        .file("a/file", "low")?
        .dir("a/dir")?
        .file("a/dir/low", "")?;
    stack
        .upper
        .whiteout("a/dir")?
        .dir("pure")?
        .dir("pure/dir")?;
    let ov = stack.mount()?;
    let flags = RenameFlags::EXCHANGE;
    with_flags(&ov, "a/x", "b/x", flags).context("opaque directories")?;
    with_flags(&ov, "a/file", "pure/dir", flags).context("file and directory")?;
    check::errno(
        "with a whiteout",
        with_flags(&ov, "pure/dir", "a/dir", flags),
        Errno::NOENT,
    )?;
    check::ok(is_opaque(stack.upper.join("a/file"))?, "not opaque")?;
    stack.stays(ov, |ov| {
        lists(ov.join("a/x"), &["b"])?;
        lists(ov.join("b/x"), &["a"])?;
        lists::<&str>(ov.join("a/file"), &[])?;
        content(ov.join("pure/dir"), "low")?;
        absent(ov.join("a/dir"))
    })
}

/// What stands in a directory goes along with it.
fn open_directories(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    stack
        .upper
        .dir("a/b/c")?
        .dir("other")?
        .file("a/b/c/file", "data")?;
    let ov = stack.mount()?;
    let fd = sys::open_dir(ov.join("a/b"))?;
    rename(&ov, "a/b", "other/moved")?;
    let flags = rustix::fs::AtFlags::empty();
    let found = rustix::fs::statat(&fd, "c/file", flags)?;
    check::equal(
        "below",
        found.st_ino,
        sys::lstat(ov.join("other/moved/c/file"))?.st_ino,
    )?;
    let above = rustix::fs::statat(&fd, "..", flags)?;
    check::equal("above", above.st_ino, sys::lstat(ov.join("other"))?.st_ino)?;
    let link = fs::read_link(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&fd)
    ))?;
    check::equal("path", link, ov.join("other/moved"))?;
    rustix::fs::renameat(&fd, "c/file", &fd, "file")?;
    content(ov.join("other/moved/file"), "data")?;
    drop(fd);
    stack.stays(ov, |ov| {
        lists(ov.join("other/moved"), &["c", "file"])?;
        lists::<&str>(ov.join("a"), &[])
    })
}

/// A file that goes back and forth is always to be found by one of its names, and a directory that is
/// looked into meanwhile has its content.
fn beside_lookups(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::new(fx, &[&lower])?;
    stack
        .upper
        .dir("a/dir")?
        .file("a/dir/file", "data")?
        .dir("b")?;
    lower.dir("a")?.dir("b")?;
    let ov = stack.mount()?;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| -> Result {
        let looker = scope.spawn(|| -> Result<u32> {
            let mut seen = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for dir in ["a", "b"] {
                    match sys::lstat(ov.join(dir).join("dir/file")) {
                        Ok(_) => seen += 1,
                        Err(Errno::NOENT) => {}
                        Err(error) => return Err(error.into()),
                    }
                    let names = sys::names(ov.join(dir))?.len();
                    check::ok(names <= 1, format_args!("{names} names"))?;
                }
            }
            Ok(seen)
        });
        let result = (0..100).try_for_each(|_| {
            rename(&ov, "a/dir", "b/dir")?;
            rename(&ov, "b/dir", "b/dir2")?;
            rename(&ov, "b/dir2", "a/dir")
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let seen = looker.join().expect("threads do not panic")?;
        result?;
        check::ok(seen > 0, "it was never seen")
    })?;
    stack.stays(ov, |ov| content(ov.join("a/dir/file"), "data"))
}
