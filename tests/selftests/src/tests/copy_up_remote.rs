// SPDX-License-Identifier: GPL-2.0-only

//! Copying up to a filesystem that a server answers for, which has no files without a name, and from one.
//!
//! The server counts what it is asked for, and fails what it is told to.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::OFlags;
use rustix::fs::Uid;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use super::copy_up::copy;
use super::copy_up::look;
use super::copy_up::work_has_only_whiteouts;
use super::copy_up::work_is_clean;
use super::copy_up::xattr;
use super::copy_up::ORIGIN;
use super::remote::upper_and_work;
use super::remove::is_whiteout;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::check::Table;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::data;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::fuse;
use crate::fuse::Features;
use crate::layer::Layer;
use crate::layer::OPAQUE;
use crate::registry::Test;
use crate::sys;
use crate::sys::Mapping;

pub const TESTS: &[Test] = &[
    Test::new("remote_upper_gets_copies", "C1 C3 C5 X3", gets_copies),
    Test::new("remote_upper_has_the_name", "C3", has_the_name),
    Test::new("remote_upper_and_names", "D4 D5 D6", names),
    Test::new("remote_upper_is_synced", "M15 C4 F6", is_synced),
    Test::new("remote_upper_dir_is_synced", "F6 R6", dir_is_synced),
    Test::new("remote_upper_is_mapped", "F5 Q7", is_mapped),
    Test::new("copy_up_by_the_server", "C4", by_the_server)
        .rovl_only("overlayfs reads the data and writes it"),
    Test::new("copy_up_by_the_server_fails", "C4 C6", by_the_server_fails)
        .rovl_only("overlayfs reads the data and writes it"),
    Test::new("copy_up_reading_fails", "C4 C6", reading_fails),
    Test::new("copy_up_writing_fails", "C4 C6 M15", writing_fails),
];

/// An overlay whose upper layer, and work directory, are on a filesystem of a server.
struct Remote {
    top: Layer,
    upper: Layer,
    work: Layer,
}

impl Remote {
    fn new(fx: &Fixture) -> Result<Self> {
        let top = fuse::filesystem(fx, "top", Features::ALL)?;
        let [upper, work] = upper_and_work(&top)?;
        Ok(Remote { top, upper, work })
    }

    fn options(&self, lower: &Layer) -> Options {
        Options::new()
            .lowers(&[lower])
            .upper(&self.upper, &self.work)
    }

    /// How often it was asked for this since it was last asked here.
    fn count(&self, name: &str) -> Result<u64> {
        let count = fuse::ask(self.top.path(), name)?;
        fuse::set_number(&self.top, name, 0)?;
        Ok(count)
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

/// How often files and directories are synced, for each mode. (C: `ovl_should_sync`, `metadata_fsync`.)
fn is_synced(fx: &Fixture) -> Result {
    const NONE: (u64, u64) = (0, 0);
    const FILE: (u64, u64) = (1, 0);
    const DIRECTORY: (u64, u64) = (0, 1);

    let lower = fx.layer("lower")?;
    for name in ["file", "changed", "truncated"] {
        lower.file(name, "data")?;
    }
    lower.file("empty", "")?.dir("dir")?.symlink("link", "to")?;
    let top = fuse::filesystem(fx, "top", Features::ALL)?;
    let mut table = Table::new();
    // A file with data, one whose mode is changed, an empty one, one that is emptied, a directory, a link,
    // and what the user wants to be synced.
    for (mode, expected) in [
        (None, [FILE, FILE, NONE, NONE, NONE, NONE, FILE]),
        (Some("auto"), [FILE, FILE, NONE, NONE, NONE, NONE, FILE]),
        (
            Some("strict"),
            [FILE, FILE, FILE, FILE, DIRECTORY, NONE, FILE],
        ),
        (Some("volatile"), [NONE; 7]),
    ] {
        let place = Layer::create(top.join(mode.unwrap_or("default")))?;
        let [upper, work] = upper_and_work(&place)?;
        let remote = Remote {
            top: top.clone(),
            upper,
            work,
        };
        let options = remote.options(&lower);
        let ov = fx.mount(&match mode {
            Some(mode) => options.set("fsync", mode),
            None => options,
        })?;
        let counts = || -> Result<(u64, u64)> {
            Ok((remote.count(fuse::SYNCS)?, remote.count(fuse::DIR_SYNCS)?))
        };
        counts()?;
        let mut found = Vec::new();
        for change in CHANGES {
            change(&ov)?;
            found.push(counts()?);
        }
        let mode = mode.unwrap_or("default");
        table.note(check::equal(mode, found, expected.to_vec()))?;
        for name in ["file", "changed"] {
            content(remote.upper.join(name), "data")?;
        }
        fx.unmount(ov.path())?;
    }
    table.finish()
}

/// What is counted there.
const CHANGES: [fn(&Mounted) -> Result; 7] = [
    |ov| copy(ov.join("file")),
    |ov| Ok(rustix::fs::chmod(ov.join("changed"), 0o600.into())?),
    |ov| copy(ov.join("empty")),
    |ov| {
        let flags = OFlags::WRONLY | OFlags::TRUNC;
        sys::open(ov.join("truncated"), flags)?;
        Ok(())
    },
    |ov| Ok(rustix::fs::chmod(ov.join("dir"), 0o700.into())?),
    |ov| {
        let (owner, flags) = (Some(Uid::from_raw(5)), AtFlags::SYMLINK_NOFOLLOW);
        Ok(rustix::fs::chownat(
            CWD,
            ov.join("link"),
            owner,
            None,
            flags,
        )?)
    },
    |ov| {
        let file = sys::open(ov.join("file"), OFlags::WRONLY)?;
        Ok(rustix::fs::fsync(file)?)
    },
];

/// A directory that was copied up since it was opened is opened once more, and stays so: each open file knows
/// which errors it has told of.
fn dir_is_synced(fx: &Fixture) -> Result {
    let remote = Remote::new(fx)?;
    let lower = fx.layer("lower")?;
    lower.dir("d")?;
    let ov = fx.mount(&remote.options(&lower))?;
    let dir = sys::open_dir(ov.join("d"))?;
    rustix::fs::fsync(&dir)?;
    rustix::fs::chmod(ov.join("d"), 0o700.into())?;
    remote.count(fuse::DIR_SYNCS)?;
    remote.count(fuse::DIR_OPENS)?;
    for _ in 0..3 {
        rustix::fs::fsync(&dir)?;
    }
    check::equal("opened", remote.count(fuse::DIR_OPENS)?, 1)?;
    check::equal("synced", remote.count(fuse::DIR_SYNCS)?, 3)
}

/// While the process has its memory locked nothing is opened: a server that looks at that would wait for it.
/// What was emptied when it was opened has been upper's file since then.
fn is_mapped(fx: &Fixture) -> Result {
    const SIZE: usize = 4096;
    let remote = Remote::new(fx)?;
    let lower = fx.layer("lower")?;
    let original = sys::pattern(SIZE, 1);
    lower.file("f", &original)?.file("emptied", &original)?;
    let ov = fx.mount(&remote.options(&lower))?;
    let map = |fd: &OwnedFd| Mapping::new(fd, SIZE, MapFlags::PRIVATE, ProtFlags::READ);
    let old = sys::open_read(ov.join("f"))?;
    copy(ov.join("f"))?;
    remote.count(fuse::OPENS)?;
    let mapping = map(&old)?;
    check::equal("opened", remote.count(fuse::OPENS)?, 0)?;
    check::bytes("mapped", mapping.bytes(), &original)?;

    let emptied = sys::open(ov.join("emptied"), OFlags::RDONLY | OFlags::TRUNC)?;
    fs::write(ov.join("emptied"), "new")?;
    remote.count(fuse::OPENS)?;
    let mapping = map(&emptied)?;
    check::equal("opened", remote.count(fuse::OPENS)?, 0)?;
    check::bytes("emptied", &mapping.bytes()[..4], b"new\0")
}

/// How long a file is that a server copies: some steps, and a part of one.
const LARGE: usize = (3 << 20) + 5;

/// A lower layer on the same server, which can copy by itself.
fn beside(remote: &Remote) -> Result<Layer> {
    Layer::create(remote.top.join("lower"))
}

/// No data goes through the overlay.
fn by_the_server(fx: &Fixture) -> Result {
    let remote = Remote::new(fx)?;
    let lower = beside(&remote)?;
    let original = sys::pattern(LARGE, 1);
    lower.file("f", &original)?;
    let ov = fx.mount(&remote.options(&lower))?;
    remote.count(fuse::READS)?;
    copy(ov.join("f"))?;
    check::ok(remote.count(fuse::COPIES)? > 0, "it was not asked to copy")?;
    check::equal("requests for data", remote.count(fuse::READS)?, 0)?;
    data(remote.upper.join("f"), &original)?;
    data(ov.join("f"), &original)?;
    work_is_clean(&remote.work)
}

/// It copies a part only, or not at all, or says that it cannot.
fn by_the_server_fails(fx: &Fixture) -> Result {
    // The server is asked for each page of what it does not copy.
    const SIZE: usize = 200_005;

    let remote = Remote::new(fx)?;
    let lower = beside(&remote)?;
    let original = sys::pattern(SIZE, 1);
    for name in ["parts", "full", "refused", "unknown"] {
        lower.file(name, &original)?;
    }
    let ov = fx.mount(&remote.options(&lower))?;
    // Returns whether data was asked for.
    let is_read = |name: &str| -> Result<bool> {
        remote.count(fuse::READS)?;
        copy(ov.join(name))?;
        let reads = remote.count(fuse::READS)?;
        data(remote.upper.join(name), &original)?;
        data(ov.join(name), &original)?;
        Ok(reads > 0)
    };
    fuse::set_number(&remote.top, fuse::COPY_MOST, 15_001)?;
    remote.count(fuse::COPIES)?;
    check::equal("parts are read", is_read("parts")?, false)?;
    let asked = remote.count(fuse::COPIES)?;
    check::ok(asked > 10, format_args!("it was asked {asked} times"))?;

    for error in [Errno::IO, Errno::NOSPC] {
        fuse::set(&remote.top, fuse::COPY_ERROR, Some(error))?;
        let result = sys::open(ov.join("full"), OFlags::WRONLY);
        check::errno("open", result, error)?;
        lists(remote.upper.path(), &["parts"])?;
        work_is_clean(&remote.work)?;
        data(ov.join("full"), &original)?;
    }
    // The last is not asked for again.
    for (name, error) in [("refused", Errno::INVAL), ("unknown", Errno::NOSYS)] {
        fuse::set(&remote.top, fuse::COPY_ERROR, Some(error))?;
        check::equal(name, is_read(name)?, true)?;
    }
    fuse::set(&remote.top, fuse::COPY_ERROR, None)?;
    is_read("full")?;
    work_is_clean(&remote.work)
}

/// The lower file stays in view, and is copied once it can be read.
fn reading_fails(fx: &Fixture) -> Result {
    let lower = fuse::filesystem(fx, "bottom", Features::ALL)?;
    let (upper, work) = (fx.layer("upper")?, fx.work()?);
    let original = sys::pattern(100_000, 1);
    lower.file("f", &original)?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    let number = fs::metadata(ov.join("f"))?.ino();
    fuse::set(&lower, fuse::READ_ERROR, Some(Errno::IO))?;
    for _ in 0..2 {
        let result = sys::open(ov.join("f"), OFlags::WRONLY);
        check::errno("open", result, Errno::IO)?;
        lists::<&str>(upper.path(), &[])?;
        work_is_clean(&work)?;
    }
    // What reads nothing does not fail.
    check::equal("number", fs::metadata(ov.join("f"))?.ino(), number)?;
    fuse::set(&lower, fuse::READ_ERROR, None)?;
    data(ov.join("f"), &original)?;
    copy(ov.join("f"))?;
    data(upper.join("f"), &original)?;
    data(ov.join("f"), &original)?;
    work_is_clean(&work)
}

/// The same for errors of upper, in all that a copy does there.
fn writing_fails(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let original = sys::pattern(100_000, 1);
    lower.file("f", &original)?.file("empty", "")?.dir("dir")?;
    let remote = Remote::new(fx)?;
    let ov = fx.mount(&remote.options(&lower).set("fsync", "strict"))?;
    let change = |name: &str| rustix::fs::chmod(ov.join(name), 0o700.into());
    for (what, error, names) in [
        (fuse::WRITE_ERROR, Errno::IO, &["f"][..]),
        (fuse::WRITE_ERROR, Errno::NOSPC, &["f"]),
        (fuse::SYNC_ERROR, Errno::IO, &["f", "empty", "dir"]),
    ] {
        fuse::set(&remote.top, what, Some(error))?;
        for name in names {
            let result = change(name);
            check::errno(format_args!("{name} with {what}"), result, error)?;
            lists::<&str>(remote.upper.path(), &[])?;
            work_is_clean(&remote.work)?;
            check::equal(*name, look(ov.join(name))?, look(lower.join(name))?)?;
        }
        fuse::set(&remote.top, what, None)?;
        data(ov.join("f"), &original)?;
    }
    for name in ["f", "empty", "dir"] {
        change(name).context(name)?;
    }
    lists(remote.upper.path(), &["dir", "empty", "f"])?;
    data(remote.upper.join("f"), &original)?;
    work_is_clean(&remote.work)
}
