// SPDX-License-Identifier: GPL-2.0-only

//! Copying up to a filesystem that a server answers for, which has no files without a name.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;

use super::copy_up::copy;
use super::copy_up::look;
use super::copy_up::work_has_only_whiteouts;
use super::copy_up::work_is_clean;
use super::copy_up::xattr;
use super::copy_up::ORIGIN;
use super::remote::upper_and_work;
use super::remove::is_whiteout;
use crate::check;
use crate::check::Result;
use crate::check::Table;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::data;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::fuse;
use crate::fuse::Features;
use crate::layer::Layer;
use crate::layer::OPAQUE;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("remote_upper_gets_copies", "C1 C3 C5 X3", gets_copies),
    Test::new("remote_upper_has_the_name", "C3", has_the_name),
    Test::new("remote_upper_and_names", "D4 D5 D6", names),
];

/// An overlay whose upper layer, and work directory, are on a filesystem of a server.
struct Remote {
    upper: Layer,
    work: Layer,
}

impl Remote {
    fn new(fx: &Fixture) -> Result<Self> {
        let top = fuse::filesystem(fx, "top", Features::ALL)?;
        let [upper, work] = upper_and_work(&top)?;
        Ok(Remote { upper, work })
    }

    fn options(&self, lower: &Layer) -> Options {
        Options::new()
            .lowers(&[lower])
            .upper(&self.upper, &self.work)
    }
}

/// Copies are made in the work directory, and leave nothing there.
fn gets_copies(fx: &Fixture) -> Result {
    let remote = Remote::new(fx)?;
    let lower = fx.layer("lower")?;
    let original = sys::pattern(100_000, 1);
    lower
        .dir("d")?
        .file("d/f", &original)?
        .file("d/empty", "")?;
    lower.symlink("d/link", "some/where")?;
    lower.node("d/fifo", FileType::Fifo, 0o640, (0, 0))?;
    lower.chmod("d/f", 0o4751)?.chmod("d", 0o1750)?;
    let all = ["d/f", "d/empty", "d/link", "d/fifo", "d"];
    for (n, name) in (1..).zip(all) {
        lower.chown(name, n, n + 10)?;
        // That changes the owner, the mode is to stay.
        if name == "d/f" {
            lower.chmod(name, 0o4751)?;
        }
        lower.times(name, 981_173_106 + i64::from(n), 7)?;
    }
    for name in ["d", "d/f"] {
        lower.xattr(name, "user.name", name.as_bytes())?;
    }
    let ov = fx.mount(&remote.options(&lower))?;
    let number = |name: &str| -> Result<u64> { Ok(fs::symlink_metadata(ov.join(name))?.ino()) };
    let before = all.into_iter().map(number).collect::<Result<Vec<_>>>()?;
    copy(ov.join("d/f"))?;
    copy(ov.join("d/empty"))?;
    for name in ["d/link", "d/fifo"] {
        // This changes nothing.
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(CWD, ov.join(name), None, None, flags)?;
    }
    let mut table = Table::new();
    for (name, before) in all.into_iter().zip(before) {
        let (copy, original) = (remote.upper.join(name), lower.join(name));
        table.note(check::equal(name, look(&copy)?, look(&original)?))?;
        table.note(check::equal(name, look(ov.join(name))?, look(&original)?))?;
        table.note(check::equal(name, number(name)?, before))?;
        let origin = xattr(&copy, ORIGIN)?;
        table.note(check::ok(
            origin.is_some(),
            format_args!("{name} has no origin"),
        ))?;
        let (found, wanted) = (xattr(&copy, "user.name")?, xattr(&original, "user.name")?);
        table.note(check::equal(name, found, wanted))?;
    }
    table.finish()?;
    data(ov.join("d/f"), &original)?;
    data(remote.upper.join("d/f"), &original)?;
    let target = sys::readlink(remote.upper.join("d/link"))?;
    check::equal("target", target, "some/where")?;
    work_is_clean(&remote.work)
}

/// What somebody has put there stays.
fn has_the_name(fx: &Fixture) -> Result {
    let remote = Remote::new(fx)?;
    let lower = fx.layer("lower")?;
    lower.file("f", "lower")?.dir("d")?.file("d/f", "lower")?;
    let ov = fx.mount(&remote.options(&lower))?;
    let (f, d) = (sys::open_read(ov.join("f"))?, sys::open_dir(ov.join("d"))?);
    remote.upper.file("f", "upper")?.dir("d")?;
    for name in ["f", "d/f"] {
        let result = sys::open(ov.join(name), OFlags::WRONLY);
        check::errno(name, result, Errno::EXIST)?;
    }
    drop((f, d));
    content(remote.upper.join("f"), "upper")?;
    lists::<&str>(remote.upper.join("d"), &[])?;
    work_is_clean(&remote.work)
}

/// Names are removed and changed as elsewhere, and files without one are refused.
fn names(fx: &Fixture) -> Result {
    let remote = Remote::new(fx)?;
    let lower = fx.layer("lower")?;
    lower.file("f", "f")?.file("g", "g")?;
    lower.dir("d")?.dir("e")?.dir("sub")?.file("sub/low", "")?;
    let ov = fx.mount(&remote.options(&lower))?;
    let unnamed = sys::open(ov.path(), OFlags::RDWR | OFlags::TMPFILE);
    check::errno("O_TMPFILE", unnamed, Errno::OPNOTSUPP)?;
    lists::<&str>(remote.upper.path(), &[])?;

    fs::remove_file(ov.join("f"))?;
    absent(ov.join("f"))?;
    is_whiteout(remote.upper.join("f"))?;
    fs::rename(ov.join("g"), ov.join("h"))?;
    is_whiteout(remote.upper.join("g"))?;
    content(ov.join("h"), "g")?;
    fs::remove_dir(ov.join("d"))?;
    is_whiteout(remote.upper.join("d"))?;
    // One that is in upper changes places with the whiteout.
    rustix::fs::chmod(ov.join("e"), 0o700.into())?;
    fs::remove_dir(ov.join("e"))?;
    is_whiteout(remote.upper.join("e"))?;
    fs::remove_file(ov.join("sub/low"))?;
    is_whiteout(remote.upper.join("sub/low"))?;
    fs::remove_dir(ov.join("sub"))?;
    is_whiteout(remote.upper.join("sub"))?;
    sys::mkdir(&ov.join("sub"), 0o755)?;
    let opaque = xattr(remote.upper.join("sub"), OPAQUE)?;
    check::equal("opaque", opaque, Some(b"y".to_vec()))?;
    lists::<&str>(ov.join("sub"), &[])?;
    fs::write(ov.join("f"), "new")?;
    content(remote.upper.join("f"), "new")?;
    lists(ov.path(), &["f", "h", "sub"])?;
    work_has_only_whiteouts(&remote.work)
}
