// SPDX-License-Identifier: GPL-2.0-only

//! Writing where what users may take up of upper's disk is limited.

use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::data;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::image;
use crate::image::Mode;
use crate::layer::Layer;
use crate::quota::Limits;
use crate::quota::Quota;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("write_within_quota", "F3 F22", within).on_ext4(),
    Test::new("write_within_quota_as_root", "F14 F22", as_root).on_ext4(),
    Test::new("copy_up_within_quota", "C3 C6 F22", copy_up).on_ext4(),
    Test::new("write_leaves_reserved_blocks", "F3 D1 C4 F22", reserved),
];

const USER: u32 = 1000;
const BLOCK: u64 = 1024;
const NONE: &[&str] = &[];

/// Writes as much as may be written, at most 256 KiB. Returns how much that was, and what then went wrong.
fn fill(path: &Path) -> std::result::Result<(usize, Option<Errno>), Errno> {
    fill_by(path, 4096)
}

/// The same in parts of this length.
fn fill_by(path: &Path, length: usize) -> std::result::Result<(usize, Option<Errno>), Errno> {
    let file = sys::open(path, OFlags::WRONLY | OFlags::APPEND)?;
    let part = sys::pattern(length, 81);
    let mut written = 0;
    while written < 256 << 10 {
        match rustix::io::write(&file, &part) {
            Ok(length) => written += length,
            Err(error) => return Ok((written, Some(error))),
        }
    }
    Ok((written, None))
}

/// Who has used up what is his gets no more, neither bytes nor objects, and keeps what there is.
fn within(fx: &Fixture) -> Result {
    let quota = Quota::start()?;
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.file("f", "old")?.chown("f", USER, USER)?;
    lower.chmod("", 0o777)?;
    upper.chmod("", 0o777)?;
    let ov = fx.upper(&upper, &[&lower])?;
    quota.limit(
        USER,
        &Limits {
            bytes: 64 * BLOCK,
            objects: 3,
        },
    )?;
    let (written, error) = sys::as_user(USER, USER, &[], || fill(&ov.join("f")))??;
    check::equal("error", error, Some(Errno::DQUOT))?;
    check::ok(
        written > 0 && written <= 64 << 10,
        format_args!("{written} bytes"),
    )?;
    let size = sys::stat(ov.join("f"))?.st_size;
    check::equal("size", size, written as i64 + 3)?;
    let made = sys::as_user(USER, USER, &[], || {
        ["a", "b", "c"].map(|name| sys::mkdir(&ov.join(name), 0o700))
    })?;
    // Directories take bytes as well, of which there are none left.
    check::equal("directory", made[0], Err(Errno::DQUOT))?;
    // The file and its copy are two.
    quota.limit(
        USER,
        &Limits {
            bytes: 1 << 20,
            objects: 4,
        },
    )?;
    let made = sys::as_user(USER, USER, &[], || {
        ["a", "b", "c"].map(|name| sys::mkdir(&ov.join(name), 0o700))
    })?;
    check::equal("directories", made, [Ok(()), Ok(()), Err(Errno::DQUOT)])?;
    lists(ov.path(), &["a", "b", "f"])
}

/// Root may exceed what a user has, but not through an overlay: quotas of upper hold for containers.
fn as_root(fx: &Fixture) -> Result {
    let quota = Quota::start()?;
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for name in ["bare", "seen"] {
        upper.file(name, "")?.chown(name, USER, USER)?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    quota.limit(
        USER,
        &Limits {
            bytes: 64 * BLOCK,
            objects: 100,
        },
    )?;
    let (written, error) = fill(&ov.join("seen")).context("through the overlay")?;
    check::equal("error", error, Some(Errno::DQUOT))?;
    check::ok(
        written > 0 && written <= 64 << 10,
        format_args!("{written} bytes"),
    )?;
    let bare = fill(&upper.join("bare")).context("on the bare filesystem")?;
    check::equal("on the bare filesystem", bare, (256 << 10, None))
}

/// A file whose owner has no room for a copy stays as it is, and nothing of it is left.
fn copy_up(fx: &Fixture) -> Result {
    let quota = Quota::start()?;
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let content = sys::pattern(200 << 10, 82);
    lower.file("f", &content)?.chown("f", USER, USER)?;
    let work = Layer::create(fx.root().join("the work"))?;
    let options = Options::new().lowers(&[&lower]);
    let ov = fx.mount(&options.upper(&upper, &work)).context("mount")?;
    // What lower has counts too, as it is on the same disk.
    quota.limit(
        USER,
        &Limits {
            bytes: 264 * BLOCK,
            objects: 100,
        },
    )?;
    let open = sys::open(ov.join("f"), OFlags::WRONLY).map(drop);
    check::errno("open", open, Errno::DQUOT)?;
    data(ov.join("f"), &content)?;
    lists(upper.path(), NONE)?;
    lists(work.join("work"), NONE)?;
    quota.limit(
        USER,
        &Limits {
            bytes: 1 << 20,
            objects: 100,
        },
    )?;
    sys::open(ov.join("f"), OFlags::WRONLY).context("open with room")?;
    data(upper.join("f"), &content)
}

/// What the filesystem keeps for the privileged stays free: root may use it, but not through an overlay.
fn reserved(fx: &Fixture) -> Result {
    let image = fx.root().join("image");
    image::format(&image)?;
    let disk = fx.place("disk")?;
    // Without this root needs no privilege.
    image::mount_with(fx, &image, Mode::Writable, c"resuid=65534", &disk)?;
    let upper = Layer::create(disk.join("upper"))?;
    let work = Layer::create(disk.join("work"))?;
    let lower = fx.layer("lower")?;
    let content = sys::pattern(64 << 10, 83);
    lower.file("f", &content)?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    std::fs::write(ov.join("filler"), "")?;
    let space = || rustix::fs::statfs(&disk);
    let kept = space()?.f_bfree - space()?.f_bavail;
    check::ok(kept > 100, format_args!("only {kept} blocks are reserved"))?;
    // What is yet to be given a place may turn out to take less than was reckoned.
    let error = loop {
        let (written, error) = fill_by(&ov.join("filler"), BLOCK as usize)?;
        rustix::fs::sync();
        if written == 0 {
            break error;
        }
    };
    check::equal("error", error, Some(Errno::NOSPC))?;
    // Blocks that say where the data is are the filesystem's own affair.
    let free = space()?.f_bfree;
    check::ok(
        free >= kept - kept / 8,
        format_args!("{free} blocks are free, of {kept} reserved"),
    )?;
    let made = sys::mkdir(&ov.join("dir"), 0o755);
    check::errno("directory", made, Errno::NOSPC)?;
    let open = sys::open(ov.join("f"), OFlags::WRONLY).map(drop);
    check::errno("copy up", open, Errno::NOSPC)?;
    data(ov.join("f"), &content)?;
    lists(upper.path(), &["filler"])?;
    lists(work.join("work"), NONE)?;
    std::fs::write(disk.join("bare"), &content).context("on the bare filesystem")?;
    sys::mkdir(&disk.join("dir"), 0o755).context("directory on the bare filesystem")?;
    rustix::fs::sync();
    data(disk.join("bare"), &content)?;
    check::ok(
        space()?.f_bfree < kept,
        "nothing of what is reserved was used",
    )
}
