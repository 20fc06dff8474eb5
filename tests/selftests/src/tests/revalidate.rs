// SPDX-License-Identifier: GPL-2.0-only

//! Layers that want to be asked whether names are still current: cgroup2 stands for all of them.

use std::path::PathBuf;

use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("revalidate_removed_directory", "L6", removed),
    Test::new("revalidate_open_directory", "L6", working_directory),
    Test::new("revalidate_unchanged_names", "L6", unchanged),
];

/// Mounts a filesystem whose dentries are revalidated, and makes a directory of ours in it.
fn cgroups(fx: &Fixture) -> Result<Layer> {
    let path: PathBuf = fx.place("cgroup")?;
    match mount("cgroup2", &path, "cgroup2", MountFlags::empty(), None) {
        Err(Errno::NODEV) => return Err(Failure::skip("there is no cgroup2")),
        other => other.context("mount cgroup2")?,
    }
    fx.adopt(&path);
    let layer = Layer::create(path.join("rovl-selftests"))?;
    Ok(layer)
}

/// Runs `test` on an overlay with the layer, and removes the groups however it ends.
fn with_overlay(fx: &Fixture, test: fn(&Layer, &Layer) -> Result) -> Result {
    let (top, groups) = (fx.layer("top")?, cgroups(fx)?);
    top.file("file", "top")?;
    groups.dir("group/sub")?;
    let result = fx.lowers(&[&top, &groups]).and_then(|ov| {
        let result = test(&groups, &Layer::create(ov.path().to_owned())?);
        fx.unmount(ov.path())?;
        result
    });
    for name in ["group/sub", "group", ""] {
        // Some of them are gone by then.
        let _ = std::fs::remove_dir(groups.join(name));
    }
    result
}

/// The overlay keeps the name, which stands for something that is gone.
fn removed(fx: &Fixture) -> Result {
    with_overlay(fx, |groups, ov| {
        check::ok(
            sys::lstat(ov.join("group/sub")).is_ok(),
            "not found at first",
        )?;
        std::fs::remove_dir(groups.join("group/sub"))?;
        for _ in 0..2 {
            let result = sys::lstat(ov.join("group/sub"));
            check::errno("once removed", result, Errno::STALE)?;
        }
        check::ok(
            sys::lstat(ov.join("group")).is_ok(),
            "what is above is gone too",
        )
    })
}

/// A directory that is reached by a descriptor is looked at as well.
fn working_directory(fx: &Fixture) -> Result {
    with_overlay(fx, |groups, ov| {
        let sub = sys::open_dir(ov.join("group/sub"))?;
        std::fs::remove_dir(groups.join("group/sub"))?;
        let flags = rustix::fs::AtFlags::empty();
        let above = rustix::fs::statat(&sub, "..", flags).context("stat ..")?;
        let direct = sys::lstat(ov.join("group"))?;
        check::equal("what is above", above.st_ino, direct.st_ino)
    })
}

fn unchanged(fx: &Fixture) -> Result {
    with_overlay(fx, |_, ov| {
        let first = sys::lstat(ov.join("group/sub"))?;
        for _ in 0..100 {
            let again = sys::lstat(ov.join("group/sub"))?;
            check::equal("inode", again.st_ino, first.st_ino)?;
        }
        crate::expect::content(ov.join("file"), "top")?;
        crate::expect::absent(ov.join("none"))
    })
}
