// SPDX-License-Identifier: GPL-2.0-only

//! Changes of every kind while the upper filesystem is frozen.

use std::path::Path;
use std::sync::mpsc;
use std::sync::Barrier;
use std::time::Duration;

use rustix::fs::link;
use rustix::fs::rename;
use rustix::fs::setxattr;
use rustix::fs::unlink;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::remove::is_whiteout;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::check::Table;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::rawsys;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[Test::new(
    "freeze_holds_back_all_changes",
    "C6 D1 D3 D4 D5 F14 F16",
    all_changes,
)
.on_freezable_disks()];

/// What is changed, each in a directory of the lower layer of its own, which has a file "low": who changes
/// names in a directory keeps others from listing it.
const CHANGES: [(&str, Change); 9] = [
    ("create", |dir| {
        open(dir, "new", OFlags::WRONLY | OFlags::CREATE)
    }),
    ("mkdir", |dir| sys::mkdir(&dir.join("new"), 0o755)),
    ("unlink", |dir| unlink(dir.join("low"))),
    ("rename", |dir| rename(dir.join("low"), dir.join("new"))),
    ("link", |dir| link(dir.join("low"), dir.join("new"))),
    ("chmod", |dir| {
        rustix::fs::chmod(dir.join("low"), Mode::from_raw_mode(0o600))
    }),
    ("setxattr", |dir| {
        setxattr(dir.join("low"), "user.new", b"value", XattrFlags::empty())
    }),
    ("open", |dir| open(dir, "low", OFlags::WRONLY)),
    ("truncate", |dir| rawsys::truncate(&dir.join("low"), 2)),
];

type Change = fn(&Path) -> std::result::Result<(), Errno>;

fn open(dir: &Path, name: &str, flags: OFlags) -> std::result::Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o644);
    rustix::fs::open(dir.join(name), flags | OFlags::CLOEXEC, mode).map(drop)
}

/// None is made before the thaw, and all are then. Reading and listing go on meanwhile.
fn all_changes(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for (name, _) in CHANGES {
        lower
            .dir(name)?
            .file(Path::new(name).join("low"), "lower")?;
    }
    lower.dir("still")?.file("still/low", "lower")?;
    upper.dir("still")?.file("still/up", "upper")?;
    let ov = fx.upper(&upper, &[&lower])?;
    // The first look may write down where a directory of upper has come from.
    is_seen(ov.path(), &upper)?;
    let disk = sys::open_dir(fx.root())?;
    let (ended, results) = mpsc::channel();
    let begun = Barrier::new(CHANGES.len() + 1);
    rawsys::freeze(&disk).context("freeze")?;
    let (early, seen, thawed) = std::thread::scope(|scope| {
        for (name, change) in CHANGES {
            let (ended, begun, dir) = (ended.clone(), &begun, ov.join(name));
            scope.spawn(move || {
                begun.wait();
                let _ = ended.send((name, change(&dir)));
            });
        }
        begun.wait();
        let early = results.recv_timeout(Duration::from_millis(300));
        let (sender, receiver) = mpsc::channel();
        let (top, upper) = (ov.path(), &upper);
        scope.spawn(move || {
            let _ = sender.send(is_seen(top, upper));
        });
        let seen = receiver.recv_timeout(Duration::from_secs(10));
        // Whatever was found: the threads wait for it.
        (early, seen, rawsys::thaw(&disk))
    });
    thawed.context("thaw")?;
    check::ok(early.is_err(), format_args!("while frozen: {early:?}"))?;
    seen.context("reading and listing while frozen")??;
    let mut table = Table::new();
    for _ in CHANGES {
        let (name, result) = results.try_recv()?;
        table.note(check::equal(name, result, Ok(())))?;
    }
    table.finish()?;
    are_made(ov.path(), &upper)?;
    std::fs::write(ov.join("still/new"), "new").context("later")
}

fn is_seen(ov: &Path, upper: &Layer) -> Result {
    content(ov.join("still/low"), "lower")?;
    content(ov.join("still/up"), "upper")?;
    lists(ov.join("still"), &["low", "up"])?;
    for dir in ["chmod", "setxattr", "open", "truncate"] {
        content(ov.join(dir).join("low"), "lower")?;
        lists(ov.join(dir), &["low"])?;
    }
    lists(upper.path(), &["still"])
}

fn are_made(ov: &Path, upper: &Layer) -> Result {
    for top in [ov, upper.path()] {
        content(top.join("create/new"), "")?;
        lists::<&str>(top.join("mkdir/new"), &[])?;
        content(top.join("rename/new"), "lower")?;
        content(top.join("link/new"), "lower")?;
        content(top.join("open/low"), "lower")?;
        content(top.join("truncate/low"), "lo")?;
        let mode = sys::lstat(top.join("chmod/low"))?.st_mode & 0o7777;
        check::equal("mode", mode, 0o600)?;
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(top.join("setxattr/low"), "user.new", &mut value)?;
        check::bytes("attribute", &value[..length], b"value")?;
    }
    for dir in ["unlink", "rename"] {
        absent(ov.join(dir).join("low"))?;
        is_whiteout(upper.join(dir).join("low"))?;
    }
    Ok(())
}
