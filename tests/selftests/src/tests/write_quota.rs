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
use crate::layer::Layer;
use crate::quota::Limits;
use crate::quota::Quota;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("write_within_quota", "F3 F22", within).on_ext4(),
    Test::new("write_within_quota_as_root", "F14 F22", as_root).on_ext4(),
    Test::new("copy_up_within_quota", "C3 C6 F22", copy_up).on_ext4(),
];

const USER: u32 = 1000;
const BLOCK: u64 = 1024;
const NONE: &[&str] = &[];

/// Writes as much as may be written, at most 256 KiB. Returns how much that was, and what then went wrong.
fn fill(path: &Path) -> std::result::Result<(usize, Option<Errno>), Errno> {
    let file = sys::open(path, OFlags::WRONLY | OFlags::APPEND)?;
    let part = sys::pattern(4096, 81);
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
