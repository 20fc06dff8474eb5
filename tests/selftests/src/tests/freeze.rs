// SPDX-License-Identifier: GPL-2.0-only

//! The filesystem of upper is frozen, and thaws.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::ioctl_getflags;
use rustix::fs::ioctl_setflags;
use rustix::fs::IFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::acl;
use super::acl::Entry;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::rawsys;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("freeze_makes_changes_wait", "F14 F16 F17 D1 C6", wait).only_on_disks(),
    Test::new("freeze_lets_reading_go_on", "F18 F20", reading).only_on_disks(),
    Test::new("freeze_and_thaw_while_all_change", "C6 D1 F14", under_load).only_on_disks(),
];

/// A frozen filesystem, which thaws at the latest when the test ends.
struct Frozen(OwnedFd);

impl Frozen {
    fn new(fx: &Fixture) -> Result<Self> {
        let disk = sys::open_dir(fx.root())?;
        rawsys::freeze(&disk).context("freeze")?;
        Ok(Frozen(disk))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = rawsys::thaw(&self.0);
    }
}

type Work = fn(&Path) -> rustix::io::Result<()>;

/// What is done to an object of that name.
const CHANGES: [(&str, Work); 13] = [
    ("chmod", |path| {
        rustix::fs::chmod(path, Mode::from_raw_mode(0o600))
    }),
    ("chown", |path| {
        rustix::fs::chown(path, Some(rustix::fs::Uid::from_raw(5)), None)
    }),
    ("truncate", |path| rawsys::truncate(path, 2)),
    ("setxattr", |path| {
        rustix::fs::setxattr(path, "user.x", b"x", XattrFlags::empty())
    }),
    ("removexattr", |path| {
        rustix::fs::removexattr(path, "user.old")
    }),
    ("setfacl", |path| {
        let list = [
            Entry::Owner(6),
            Entry::User(5, 4),
            Entry::OwningGroup(4),
            Entry::Mask(4),
            Entry::Others(0),
        ];
        let flags = XattrFlags::empty();
        rustix::fs::setxattr(path, acl::ACCESS, &acl::bytes(&list), flags)
    }),
    ("chattr", |path| {
        let fd = sys::open_read(path)?;
        ioctl_setflags(&fd, ioctl_getflags(&fd)? | IFlags::NODUMP)
    }),
    ("open", |path| {
        sys::open(path, OFlags::WRONLY)
            .and_then(|fd| rustix::io::write(fd, b"x"))
            .map(drop)
    }),
    ("unlink", |path| rustix::fs::unlink(path)),
    ("rename", |path| {
        rustix::fs::rename(path, path.with_extension("new"))
    }),
    ("link", |path| {
        rustix::fs::link(path, path.with_extension("link"))
    }),
    ("mkdir", |path| {
        sys::mkdir(&path.with_extension("dir"), 0o755)
    }),
    ("symlink", |path| {
        rustix::fs::symlink("target", path.with_extension("symlink"))
    }),
];

fn fill(layer: &Layer, place: &str) -> Result {
    for (name, _) in CHANGES {
        let name = format!("{place}-{name}");
        layer
            .file(&name, "data")?
            .xattr(&name, "user.old", b"old")?;
    }
    Ok(())
}

/// None of the changes happens before the thaw, and all of them after.
fn wait(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fill(&upper, "upper")?;
    fill(&lower, "lower")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let done = AtomicUsize::new(0);
    let frozen = Frozen::new(fx)?;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for place in ["upper", "lower"] {
            for (name, work) in CHANGES {
                let name = format!("{place}-{name}");
                let (path, done) = (ov.join(&name), &done);
                let thread = scope.spawn(move || {
                    let result = work(&path);
                    done.fetch_add(1, Ordering::SeqCst);
                    result
                });
                threads.push((name, thread));
            }
        }
        sleep(Duration::from_millis(300));
        let early = done.load(Ordering::SeqCst);
        drop(frozen);
        let mut outcomes = vec![(String::from("early"), early == 0)];
        for (name, thread) in threads {
            let outcome = thread.join().unwrap_or(Err(Errno::FAULT));
            outcomes.push((format!("{name} {outcome:?}"), outcome.is_ok()));
        }
        outcomes
    });
    let wrong: Vec<_> = outcomes.iter().filter(|(_, right)| !right).collect();
    check::ok(wrong.is_empty(), format_args!("{wrong:?}"))?;
    for place in ["upper", "lower"] {
        content(ov.join(format!("{place}-truncate")), "da")?;
        content(ov.join(format!("{place}-rename.new")), "data")?;
        content(ov.join(format!("{place}-open")), "xata")?;
    }
    Ok(())
}

/// Reading does not wait, though it would set the time of the last access.
fn reading(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for (layer, name) in [(&upper, "u"), (&lower, "l")] {
        layer.dir(name)?.file(format!("{name}/f"), "data")?;
        layer.symlink(format!("{name}/s"), "f")?;
        for path in [format!("{name}/f"), format!("{name}/s"), name.to_owned()] {
            layer.times(path, 1_000_000, 0)?;
        }
    }
    let ov = fx.upper(&upper, &[&lower])?;
    let frozen = Frozen::new(fx)?;
    for name in ["u", "l"] {
        content(ov.join(name).join("f"), "data")?;
        content(ov.join(name).join("s"), "data")?;
        lists(ov.join(name), &["f", "s"])?;
        sys::lstatx(ov.join(name))?;
    }
    rustix::fs::syncfs(sys::open_dir(ov.path())?)?;
    drop(frozen);
    for name in ["u", "l"] {
        rustix::fs::chmod(ov.join(name).join("f"), Mode::RWXU)?;
    }
    Ok(())
}

/// Threads that change things all the time get on between one freeze and the next.
fn under_load(fx: &Fixture) -> Result {
    const THREADS: usize = 3;
    const FREEZES: usize = 4;
    const FILES: usize = 60;
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for thread in 0..THREADS {
        lower.dir(format!("{thread}"))?;
        for file in 0..FILES {
            lower.file(format!("{thread}/{file}"), "data")?;
        }
    }
    let ov = fx.upper(&upper, &[&lower])?;
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let work = |thread: usize| -> Result {
        for file in 0..FILES {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let path = ov.join(format!("{thread}/{file}"));
            rustix::fs::chmod(&path, Mode::RWXU)?;
            let new = path.with_extension("new");
            std::fs::write(&new, "new")?;
            rustix::fs::rename(&new, &path)?;
            rustix::fs::setxattr(&path, "user.x", b"x", XattrFlags::empty())?;
            rustix::fs::unlink(&path)?;
            count.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || work(n))).collect();
        let frozen = || -> Result {
            for _ in 0..FREEZES {
                let before = count.load(Ordering::SeqCst);
                let frozen = Frozen::new(fx)?;
                sleep(Duration::from_millis(20));
                drop(frozen);
                let end = Instant::now() + Duration::from_secs(5);
                while count.load(Ordering::SeqCst) == before
                    && before < THREADS * FILES
                    && Instant::now() < end
                {
                    sleep(Duration::from_millis(2));
                }
            }
            Ok(())
        };
        let result = frozen();
        stop.store(true, Ordering::SeqCst);
        for thread in threads {
            thread.join().expect("threads do not panic")?;
        }
        result
    })?;
    check::ok(
        count.load(Ordering::SeqCst) > THREADS,
        "nothing was changed",
    )
}
