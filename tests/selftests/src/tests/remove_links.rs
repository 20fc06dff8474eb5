// SPDX-License-Identifier: GPL-2.0-only

//! Whiteouts of removed names where the filesystem of upper sets limits to links.

use rustix::fs::unlink;
use rustix::io::Errno;

use super::remove::is_whiteout;
use crate::check;
use crate::check::Result;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::fuse;
use crate::fuse::Features;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("remove_beyond_the_most_links", "W3", most_links),
    Test::new("remove_without_links", "W3", without_links),
];

/// Upper on a filesystem that does to links what a test wants, and a lower layer with these names.
fn on_server(fx: &Fixture, names: &[String]) -> Result<(Layer, [Layer; 2], Mounted)> {
    let top = fuse::filesystem(fx, "server", Features::ALL)?;
    let (upper, work) = (
        Layer::create(top.join("upper"))?,
        Layer::create(top.join("work"))?,
    );
    let lower = fx.layer("lower")?;
    for name in names {
        lower.file(name, "")?;
    }
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    Ok((top, [upper, work], ov))
}

/// A whiteout that can have no further name is used itself, and the next one is new and shared again.
fn most_links(fx: &Fixture) -> Result {
    let names: Vec<_> = (0..8).map(|n| format!("f{n}")).collect();
    let (top, [upper, work], ov) = on_server(fx, &names)?;
    fuse::set_number(&top, fuse::MOST_LINKS, 3)?;
    for name in &names {
        unlink(ov.join(name))?;
    }
    let mut inodes = Vec::new();
    for name in &names {
        is_whiteout(upper.join(name))?;
        let stat = sys::lstat(upper.join(name))?;
        check::equal(format_args!("links of {name}"), stat.st_nlink, 3)?;
        inodes.push(stat.st_ino);
    }
    let shared: Vec<_> = inodes.chunk_by(|one, other| one == other).collect();
    let lengths: Vec<_> = shared.iter().map(|names| names.len()).collect();
    check::equal("names of each", lengths, [3, 3, 2])?;
    // The last is that of the two names that were made last.
    let kept = sys::list(work.join("work"))?;
    let kept: Vec<_> = kept.iter().filter(|entry| !entry.is_dot()).collect();
    check::equal("kept", kept.len(), 1)?;
    let kept = sys::lstat(work.join("work").join(&kept[0].name))?;
    check::equal("kept for the next", Some(&kept.st_ino), inodes.last())?;
    lists::<&str>(ov.path(), &[])
}

/// Where objects cannot have several names each name has a whiteout of its own.
fn without_links(fx: &Fixture) -> Result {
    let names: Vec<_> = (0..4).map(|n| format!("f{n}")).collect();
    let (top, [upper, work], ov) = on_server(fx, &names)?;
    fuse::set(&top, fuse::LINK_ERROR, Some(Errno::PERM))?;
    for name in &names[..2] {
        unlink(ov.join(name))?;
    }
    // It is not tried again.
    fuse::set(&top, fuse::LINK_ERROR, None)?;
    for name in &names[2..] {
        unlink(ov.join(name))?;
    }
    let mut inodes = Vec::new();
    for name in &names {
        is_whiteout(upper.join(name))?;
        inodes.push(sys::lstat(upper.join(name))?.st_ino);
    }
    inodes.sort();
    inodes.dedup();
    check::equal("number of inodes", inodes.len(), names.len())?;
    lists::<&str>(work.join("work"), &[])?;
    lists::<&str>(ov.path(), &[])
}
