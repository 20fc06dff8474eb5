// SPDX-License-Identifier: GPL-2.0-only

//! Whose memory a listing takes, and when it gives it back.

use std::path::Path;
use std::path::PathBuf;

use rustix::mount::mount;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] =
    &[
        Test::new("readdir_memory_is_the_readers", "R2 R3 Q14", readers_memory)
            .rovl_only("overlayfs charges nobody, and drops listings at the last close"),
    ];

/// So many names that what else the reader needs does not matter: 1.2 MB of them alone.
const NAMES: u32 = 5000;

/// What the names alone take, less what counters of the kernel may be behind.
const LISTING: u64 = 900_000;

/// A control group, left and removed in the end.
struct Group {
    top: PathBuf,
    path: PathBuf,
}

impl Group {
    fn new(fx: &Fixture) -> Result<Self> {
        let top = fx.place("cgroup")?;
        let mounted = mount("cgroup2", &top, "cgroup2", MountFlags::empty(), None);
        mounted.map_err(|_| Failure::skip("there is no cgroup2"))?;
        fx.adopt(&top);
        std::fs::write(top.join("cgroup.subtree_control"), "+memory")
            .map_err(|_| Failure::skip("memory is not counted by control groups"))?;
        let path = top.join("rovl-readdir");
        std::fs::create_dir(&path)?;
        let group = Group { top, path };
        std::fs::write(group.path.join("cgroup.procs"), "0").context("enter the group")?;
        Ok(group)
    }

    fn used(&self) -> Result<u64> {
        let text = std::fs::read_to_string(self.path.join("memory.current"))?;
        Ok(text.trim().parse()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(self.top.join("cgroup.procs"), "0");
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Lists without keeping anything.
fn count(path: &Path) -> Result<u32> {
    let dir = sys::open_dir(path)?;
    let mut count = 0;
    loop {
        match sys::read_some(&dir, 8192)?.len() {
            0 => return Ok(count),
            some => count += u32::try_from(some)?,
        }
    }
}

fn readers_memory(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("dir")?.file("dir/own", "")?;
    bottom.dir("dir")?.file("file", "")?;
    for number in 0..NAMES {
        bottom.link("file", format!("dir/{number:0240}"))?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    let dir = ov.join("dir");
    // What is needed once, by whoever comes first.
    count(ov.path())?;
    sys::lstat(&dir)?;
    let group = Group::new(fx)?;
    let before = group.used()?;
    check::equal("names", count(&dir)?, NAMES + 3)?;
    let listed = group.used()?.saturating_sub(before);
    check::ok(
        listed > LISTING,
        format_args!("{listed} bytes charged for the listing"),
    )?;
    check::equal("names", count(&dir)?, NAMES + 3)?;
    let again = group.used()?.saturating_sub(before);
    check::ok(
        again < listed + LISTING,
        format_args!("{listed} bytes after one listing, {again} after another"),
    )?;
    sys::drop_caches()?;
    let left = group.used()?.saturating_sub(before);
    check::ok(
        left + LISTING < listed + LISTING / 4,
        format_args!("{left} of {listed} bytes left once memory is short"),
    )
}
