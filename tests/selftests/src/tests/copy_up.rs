// SPDX-License-Identifier: GPL-2.0-only

//! Copying up: what a copy has in common with its original, and what it does not.
//!
//! Files are copied by opening them for writing, everything else by giving it another name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::FileType;
use rustix::fs::IFlags;
use rustix::fs::OFlags;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::check::Table;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::expect::names_listed_as_shown;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::layer::CAPABILITY;
use crate::layer::NET_RAW;
use crate::registry::Test;
use crate::sys;
use crate::tests::acl::bytes;
use crate::tests::acl::mount_shifted;
use crate::tests::acl::Entry;
use crate::tests::acl::ACCESS;
use crate::tests::acl::DEFAULT;
use crate::tests::fileattr::Flagged;
use crate::tests::remove::is_whiteout;

pub const TESTS: &[Test] = &[
    Test::new("copy_up_of_file", "C1 C3 C5 X3 X4", of_file).on_disks_too(),
    Test::new("copy_up_parents_first", "C1 C3 C5 X3 X4", parents).on_disks_too(),
    Test::new("copy_up_of_other_types", "C1 C3 C5", other_types).on_disks_too(),
    Test::new("copy_up_only_to_write", "C1", only_to_write),
    Test::new("copy_up_attributes", "C5 X11", attributes).on_disks_too(),
    Test::new("copy_up_acls", "C5", acls).on_disks_too(),
    Test::new("copy_up_capability", "C5", capability).on_disks_too(),
    Test::new("copy_up_append_only", "C5 X9", append_only).on_disks_too(),
    Test::new("copy_up_breaks_hard_links", "C7 1.10", hard_links).on_disks_too(),
    Test::new("copy_up_lists_new_numbers", "C7 R4", listed_numbers)
        .rovl_only("overlayfs goes on listing the number of the original"),
    Test::new("copy_up_for_a_user", "C1 C5 F22", for_user),
    Test::new("copy_up_when_upper_has_the_name", "C3", name_taken),
    Test::new("copy_up_between_idmaps", "C5 F21", idmapped),
    Test::new("copy_up_from_an_overlay", "C4 C5", from_overlay),
    Test::new("copy_up_and_mount_again", "C5 X3 L3", mount_again).on_disks_too(),
];

pub(super) const ORIGIN: &str = "trusted.overlay.origin";
const IMPURE: &str = "trusted.overlay.impure";

/// The value of an attribute, if there is one.
#[track_caller]
pub(super) fn xattr(path: impl AsRef<Path>, name: &str) -> Result<Option<Vec<u8>>> {
    let mut value = vec![0; 4096];
    match rustix::fs::lgetxattr(path.as_ref(), name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Copies a file up, and changes nothing.
#[track_caller]
pub(super) fn copy(path: impl AsRef<Path>) -> Result {
    sys::open(path, OFlags::WRONLY).map(drop).context("copy up")
}

/// All that a copy has in common with its original.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Looks {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    size: u64,
    mtime: (i64, i64),
}

pub(super) fn look(path: impl AsRef<Path>) -> Result<Looks> {
    let st = fs::symlink_metadata(path.as_ref())?;
    Ok(Looks {
        mode: st.mode(),
        owner: (st.uid(), st.gid()),
        device: st.rdev(),
        size: if st.is_dir() { 0 } else { st.size() },
        mtime: (st.mtime(), st.mtime_nsec()),
    })
}

/// Fails unless nothing is left in the work directory.
#[track_caller]
pub(super) fn work_is_clean(work: &Layer) -> Result {
    lists::<&str>(work.join("work"), &[])
}

/// Fails if something is left in the work directory that is not kept to be used again.
pub(super) fn work_has_only_whiteouts(work: &Layer) -> Result {
    let place = work.join("work");
    for name in sys::names(&place)? {
        is_whiteout(place.join(name))?;
    }
    Ok(())
}

fn of_file(fx: &Fixture) -> Result {
    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    lower
        .file("f", "data")?
        .chown("f", 5, 6)?
        .chmod("f", 0o4751)?
        .times("f", 981_173_106, 123_456_789)?;
    upper.times("", 981_173_106, 0)?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    let before = fs::metadata(ov.join("f"))?;
    copy(ov.join("f"))?;
    let after = fs::metadata(ov.join("f"))?;
    check::equal("number", after.ino(), before.ino())?;
    check::equal("device", after.dev(), before.dev())?;
    check::equal("attributes", look(ov.join("f"))?, look(lower.join("f"))?)?;
    check::equal("in upper", look(upper.join("f"))?, look(lower.join("f"))?)?;
    content(ov.join("f"), "data")?;
    content(upper.join("f"), "data")?;
    let origin = xattr(upper.join("f"), ORIGIN)?;
    check::ok(origin.is_some(), "no origin")?;
    check::equal("impure", xattr(upper.path(), IMPURE)?, Some(b"y".to_vec()))?;
    let parent = fs::metadata(upper.path())?;
    check::equal("mtime of the directory", parent.mtime(), 981_173_106)?;
    work_is_clean(&work)
}

fn parents(fx: &Fixture) -> Result {
    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    lower
        .dir("a/b/c")?
        .file("a/b/c/f", "data")?
        .dir("a/other")?;
    let dirs = ["a/b/c", "a/b", "a"];
    for (n, dir) in (1..).zip(dirs) {
        lower
            .chown(dir, n, n + 10)?
            .chmod(dir, 0o1700 + n)?
            .xattr(dir, "user.n", &[n as u8])?
            .times(dir, 981_173_106 + i64::from(n), 5)?;
    }
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    let numbers = |top: &Path| -> Result<Vec<u64>> {
        let number = |dir: &&str| Ok(fs::metadata(top.join(dir))?.ino());
        dirs.iter().map(number).collect()
    };
    let before = numbers(ov.path())?;
    copy(ov.join("a/b/c/f"))?;
    check::equal("numbers", numbers(ov.path())?, before)?;
    let mut table = Table::new();
    for dir in dirs {
        let (copy, original) = (upper.join(dir), lower.join(dir));
        table.note(check::equal(dir, look(&copy)?, look(&original)?))?;
        table.note(check::equal(dir, look(ov.join(dir))?, look(&original)?))?;
        let (copied, wanted) = (xattr(&copy, "user.n")?, xattr(&original, "user.n")?);
        table.note(check::equal("user.n", copied, wanted))?;
        table.note(check::ok(xattr(&copy, ORIGIN)?.is_some(), "no origin"))?;
        table.note(check::equal(
            "impure",
            xattr(&copy, IMPURE)?,
            Some(b"y".to_vec()),
        ))?;
    }
    table.finish()?;
    lists(upper.join("a"), &["b"])?;
    lists(ov.join("a"), &["b", "other"])?;
    work_is_clean(&work)
}

fn other_types(fx: &Fixture) -> Result {
    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    let long = "x/".repeat(500);
    lower.dir("d")?;
    lower
        .symlink("d/link", "some/where")?
        .symlink("d/long", &long)?;
    lower.node("d/fifo", FileType::Fifo, 0o640, (0, 0))?;
    lower.node("d/socket", FileType::Socket, 0o600, (0, 0))?;
    lower.node("d/char", FileType::CharacterDevice, 0o666, (1, 3))?;
    lower.node("d/block", FileType::BlockDevice, 0o660, (7, 200))?;
    let names = ["link", "long", "fifo", "socket", "char", "block"];
    for name in names {
        lower.chown(Path::new("d").join(name), 7, 8)?;
        lower.times(Path::new("d").join(name), 981_173_106, 7)?;
    }
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    let mut table = Table::new();
    for name in names {
        let path = Path::new("d").join(name);
        let before = fs::symlink_metadata(ov.join(&path))?;
        rustix::fs::link(ov.join(&path), ov.join(format!("d/{name}2"))).context(name)?;
        let after = fs::symlink_metadata(ov.join(&path))?;
        table.note(check::equal(name, after.ino(), before.ino()))?;
        table.note(check::equal(
            name,
            look(upper.join(&path))?,
            look(lower.join(&path))?,
        ))?;
        table.note(check::equal(
            name,
            look(ov.join(&path))?,
            look(lower.join(&path))?,
        ))?;
    }
    let target = sys::readlink(upper.join("d/long"))?;
    table.note(check::equal("target", target, long.as_str()))?;
    table.finish()?;
    work_is_clean(&work)
}

/// What is only looked at stays where it is.
fn only_to_write(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.dir("d")?.file("d/f", "data")?;
    lower.node("d/fifo", FileType::Fifo, 0o666, (0, 0))?;
    lower.node("d/null", FileType::CharacterDevice, 0o666, (1, 3))?;
    let ov = fx.upper(&upper, &[&lower])?;
    content(ov.join("d/f"), "data")?;
    sys::walk(ov.path())?;
    let fd = sys::open(ov.join("d/null"), OFlags::RDWR)?;
    rustix::io::write(&fd, b"x")?;
    drop(sys::open(ov.join("d/fifo"), OFlags::RDWR)?);
    drop(sys::open(ov.join("d/f"), OFlags::PATH)?);
    check::errno(
        "make a file that is there",
        sys::open(
            ov.join("d/f"),
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        ),
        Errno::EXIST,
    )?;
    lists::<&str>(upper.path(), &[])
}

fn attributes(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.dir("d")?.file("d/f", "data")?;
    let long = sys::pattern(2000, 4);
    for name in ["d", "d/f"] {
        lower
            .xattr(name, "user.small", b"v")?
            .xattr(name, "user.empty", b"")?
            .xattr(name, "user.long", &long)?
            .xattr(name, "trusted.other", b"t")?
            .xattr(name, "security.other", b"s")?
            .xattr(name, "trusted.overlay.unknown", b"private")?
            .xattr(name, "trusted.overlay.overlay.opaque", b"y")?;
    }
    lower.xattr("d", "trusted.overlay.opaque", b"y")?;
    let ov = fx.upper(&upper, &[&lower])?;
    copy(ov.join("d/f"))?;
    let mut table = Table::new();
    for name in ["d", "d/f"] {
        for (key, wanted) in [
            ("user.small", Some(&b"v"[..])),
            ("user.empty", Some(b"")),
            ("user.long", Some(&long)),
            ("trusted.other", Some(b"t")),
            ("security.other", Some(b"s")),
            ("trusted.overlay.unknown", None),
            ("trusted.overlay.opaque", None),
            ("trusted.overlay.overlay.opaque", Some(b"y")),
        ] {
            let found = xattr(upper.join(name), key)?;
            table.note(check::equal(
                format!("{key} of {name}"),
                found.as_deref(),
                wanted,
            ))?;
        }
    }
    table.finish()
}

fn acls(fx: &Fixture) -> Result {
    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    lower.dir("d")?.file("d/f", "data")?;
    let list = bytes(&[
        Entry::Owner(7),
        Entry::User(1234, 4),
        Entry::OwningGroup(5),
        Entry::Mask(5),
        Entry::Others(0),
    ]);
    lower
        .xattr("d/f", ACCESS, &list)?
        .xattr("d", ACCESS, &list)?
        .xattr("d", DEFAULT, &list)?;
    // What is made in the work directory must inherit nothing from it.
    work.xattr("", DEFAULT, &list)?;
    upper.xattr("", DEFAULT, &list)?;
    lower.file("plain", "")?.chmod("plain", 0o604)?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    copy(ov.join("d/f"))?;
    copy(ov.join("plain"))?;
    for (name, key) in [("d/f", ACCESS), ("d", ACCESS), ("d", DEFAULT)] {
        let found = xattr(upper.join(name), key)?;
        check::equal(format!("{key} of {name}"), found.as_ref(), Some(&list))?;
    }
    check::equal(
        "default of a file",
        xattr(upper.join("d/f"), DEFAULT)?,
        None,
    )?;
    check::equal("none", xattr(upper.join("plain"), ACCESS)?, None)?;
    let mode = fs::metadata(upper.join("plain"))?.mode();
    check::equal("mode", mode & 0o777, 0o604)
}

fn capability(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for (name, size) in [("empty", 0), ("full", 5000)] {
        lower.file(name, sys::pattern(size, 1))?.chown(name, 7, 7)?;
        lower.xattr(name, CAPABILITY, &NET_RAW)?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    for name in ["empty", "full"] {
        copy(ov.join(name))?;
        let found = xattr(upper.join(name), CAPABILITY)?;
        check::equal(name, found.as_deref(), Some(&NET_RAW[..]))?;
    }
    Ok(())
}

/// The flag stands beside the copy, which has to stay changeable.
fn append_only(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.file("f", "data")?;
    let _flagged = Flagged::new(lower.join("f"), IFlags::APPEND)?;
    let ov = fx.upper(&upper, &[&lower])?;
    check::errno(
        "write",
        sys::open(ov.join("f"), OFlags::WRONLY),
        Errno::PERM,
    )?;
    drop(sys::open(ov.join("f"), OFlags::WRONLY | OFlags::APPEND)?);
    let found = xattr(upper.join("f"), "trusted.overlay.protattr")?;
    check::equal("attribute", found.as_deref(), Some(&b"a"[..]))?;
    let flags = rustix::fs::ioctl_getflags(sys::open_read(upper.join("f"))?)?;
    check::ok(!flags.contains(IFlags::APPEND), "the copy has the flag")?;
    let flags = rustix::fs::ioctl_getflags(sys::open_read(ov.join("f"))?)?;
    check::ok(flags.contains(IFlags::APPEND), "the flag is not shown")?;
    check::errno(
        "write",
        sys::open(ov.join("f"), OFlags::WRONLY),
        Errno::PERM,
    )?;
    sys::drop_caches().context("drop caches")?;
    check::errno(
        "write",
        sys::open(ov.join("f"), OFlags::WRONLY),
        Errno::PERM,
    )
}

fn hard_links(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.dir("d")?.file("d/one", "data")?;
    lower.link("d/one", "d/two")?.link("d/one", "three")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let before = fs::metadata(ov.join("d/one"))?;
    copy(ov.join("d/one"))?;
    let (one, two) = (
        fs::metadata(ov.join("d/one"))?,
        fs::metadata(ov.join("d/two"))?,
    );
    check::ok(one.ino() != before.ino(), "the number is the same")?;
    let copied = fs::metadata(upper.join("d/one"))?;
    check::equal("number of the copy", one.ino(), copied.ino())?;
    check::equal("links of the copy", one.nlink(), 1)?;
    check::equal("number of another name", two.ino(), before.ino())?;
    check::equal("links of another name", two.nlink(), 3)?;
    check::equal("origin", xattr(upper.join("d/one"), ORIGIN)?, None)?;
    fs::write(ov.join("d/one"), "new data").context("write")?;
    content(ov.join("d/two"), "data")?;
    content(ov.join("three"), "data")?;
    copy(ov.join("three"))?;
    lists(upper.path(), &["d", "three"])
}

/// A listing that was made before shows no numbers that are gone.
fn listed_numbers(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.file("one", "data")?.link("one", "two")?;
    lower.file("plain", "data")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let open = sys::open_dir(ov.path())?;
    sys::list(ov.path())?;
    sys::read_entries(&open, 32 * 1024)?;
    copy(ov.join("one"))?;
    copy(ov.join("plain"))?;
    names_listed_as_shown(ov.path(), &sys::list(ov.path())?)?;
    rustix::fs::seek(&open, SeekFrom::Start(0))?;
    names_listed_as_shown(ov.path(), &sys::read_entries(&open, 32 * 1024)?)
}

/// The copy belongs to the owner of the original, whoever wants it.
fn for_user(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.dir("d")?.file("d/f", "data")?;
    lower
        .chmod("d/f", 0o666)?
        .chown("d/f", 7, 8)?
        .chown("d", 7, 8)?;
    lower.file("own", "data")?.chmod("own", 0o644)?;
    let ov = fx.upper(&upper, &[&lower])?;
    let opened = sys::as_user(1234, 1234, &[], || {
        check::errno(
            "open",
            sys::open(ov.join("own"), OFlags::WRONLY),
            Errno::ACCESS,
        )?;
        copy(ov.join("d/f"))
    });
    opened??;
    for name in ["d", "d/f"] {
        check::equal(name, look(upper.join(name))?, look(lower.join(name))?)?;
    }
    absent(upper.join("own"))
}

/// Nothing that somebody else has put into upper is replaced.
fn name_taken(fx: &Fixture) -> Result {
    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    lower.file("f", "lower")?.dir("d")?.file("d/f", "lower")?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    let (f, d) = (sys::open_read(ov.join("f"))?, sys::open_dir(ov.join("d"))?);
    upper.file("f", "upper")?.dir("d")?;
    for name in ["f", "d/f"] {
        check::errno(name, sys::open(ov.join(name), OFlags::WRONLY), Errno::EXIST)?;
    }
    drop((f, d));
    content(upper.join("f"), "upper")?;
    lists::<&str>(upper.join("d"), &[])?;
    work_is_clean(&work)
}

fn mount_again(fx: &Fixture) -> Result {
    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    lower
        .dir("d/sub")?
        .file("d/f", "data")?
        .file("d/sub/g", "")?;
    lower.symlink("d/link", "f")?;
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let ov = fx.mount(&options)?;
    let numbers = |top: &Path| -> Result<Vec<_>> {
        let number = |path| Ok(fs::symlink_metadata(top.join(&path))?.ino());
        sys::walk(top)?.into_iter().map(number).collect()
    };
    let before = numbers(ov.path())?;
    copy(ov.join("d/f"))?;
    copy(ov.join("d/sub/g"))?;
    check::equal("numbers", &numbers(ov.path())?, &before)?;
    sys::drop_caches().context("drop caches")?;
    check::equal("with cold caches", &numbers(ov.path())?, &before)?;
    fx.unmount(ov.path())?;
    let ov = fx.mount(&options)?;
    check::equal("mounted again", &numbers(ov.path())?, &before)
}

/// Owners are those that the layers' mounts show.
fn idmapped(fx: &Fixture) -> Result {
    const SHIFT: u32 = 10_000;

    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.dir("d")?.file("d/f", "data")?;
    lower.chown("d/f", 5, 6)?.chown("d", 7, 8)?;
    let list = |shift| {
        bytes(&[
            Entry::Owner(6),
            Entry::User(1234 + shift, 4),
            Entry::OwningGroup(0),
            Entry::Mask(4),
            Entry::Others(0),
        ])
    };
    lower.xattr("d/f", ACCESS, &list(0))?;
    let ov = fx.upper(&upper, &[&mount_shifted(fx, &lower, SHIFT)?])?;
    copy(ov.join("d/f"))?;
    for (name, owner) in [("d/f", (5, 6)), ("d", (7, 8))] {
        let owner = (owner.0 + SHIFT, owner.1 + SHIFT);
        let (copied, shown) = (
            fs::metadata(upper.join(name))?,
            fs::metadata(ov.join(name))?,
        );
        check::equal("owner of the copy", (copied.uid(), copied.gid()), owner)?;
        check::equal("owner", (shown.uid(), shown.gid()), owner)?;
    }
    let found = xattr(upper.join("d/f"), ACCESS)?;
    check::equal("list of the copy", found, Some(list(SHIFT)))?;
    let found = xattr(lower.join("d/f"), ACCESS)?;
    check::equal("list of the original", found, Some(list(0)))
}

/// The lower layer is an overlay itself, in which files are copied up meanwhile.
fn from_overlay(fx: &Fixture) -> Result {
    let (inner_upper, bottom) = (fx.layer("inner-upper")?, fx.layer("bottom")?);
    bottom.dir("d")?.file("d/f", "data")?.file("d/g", "data")?;
    let inner = fx.upper(&inner_upper, &[&bottom])?;
    let middle = Layer::create(inner.path().to_owned())?;
    let upper = fx.layer("upper")?;
    let ov = fx.upper(&upper, &[&middle])?;
    copy(ov.join("d/f"))?;
    content(ov.join("d/f"), "data")?;
    lists::<&str>(inner_upper.path(), &[])?;
    copy(inner.join("d/g"))?;
    copy(ov.join("d/g"))?;
    content(ov.join("d/g"), "data")?;
    lists(upper.join("d"), &["f", "g"])?;
    lists(inner_upper.join("d"), &["g"])
}
