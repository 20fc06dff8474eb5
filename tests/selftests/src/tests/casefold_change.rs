// SPDX-License-Identifier: GPL-2.0-only

//! Changes of directories in which case does not count, in tmpfs and on ext4. What is made in one is not in
//! the cache until it is looked up.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;

use super::casefold::fold;
use super::casefold::layer;
use super::casefold::tmpfs;
use super::remote::upper_and_work;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::image;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("casefold_changes", "L9 C1 D1 D5", |fx| {
        changes(fx, &tmpfs(fx, "folding")?)
    }),
    Test::new("casefold_changes_on_ext4", "L9 W2 C1 D1 D5", |fx| {
        changes(fx, &ext4(fx)?)
    }),
    Test::new("casefold_removes", "L9 D2 D4", |fx| {
        removes(fx, &tmpfs(fx, "folding")?)
    })
    .rovl_only(CANNOT_MOVE),
    Test::new("casefold_removes_on_ext4", "L9 D2 D4 W3", |fx| {
        removes(fx, &ext4(fx)?)
    })
    .rovl_only(CANNOT_MOVE),
    Test::new("casefold_work_directory_differs", "L9 C3", work_differs),
    Test::new("casefold_lists_the_case_of_upper", "L9 R3", |fx| {
        lists_case(fx, &tmpfs(fx, "folding")?)
    }),
];

const CANNOT_MOVE: &str =
    "overlayfs fails with EINVAL, as it cannot move the whiteouts that it makes";

/// Mounts an ext4 that can fold case.
fn ext4(fx: &Fixture) -> Result<PathBuf> {
    let image = fx.root().join("image");
    image::format_folding(&image)?;
    let path = fx.place("folding")?;
    image::mount(fx, &image, image::Mode::Writable, &path)?;
    Ok(path)
}

struct Layers {
    upper: Layer,
    work: Layer,
    lower: Layer,
}

impl Layers {
    fn new(parent: &Path) -> Result<Self> {
        Ok(Layers {
            upper: layer(parent, "upper")?,
            work: layer(parent, "work")?,
            lower: layer(parent, "lower")?,
        })
    }

    fn mount(&self, fx: &Fixture) -> Result<Mounted> {
        let options = Options::new().lowers(&[&self.lower]);
        let mounted = fx.mount(&options.upper(&self.upper, &self.work));
        mounted.context("mount")
    }
}

fn changes(fx: &Fixture, parent: &Path) -> Result {
    let layers = Layers::new(parent)?;
    let lower = &layers.lower;
    lower
        .file("Low", "old")?
        .dir("Dir")?
        .file("Dir/One", "one")?;
    let ov = layers.mount(fx)?;
    fs::write(ov.join("low"), "new").context("write to a lower file")?;
    fs::write(ov.join("Made"), "made").context("make a file")?;
    fs::rename(ov.join("MADE"), ov.join("Moved")).context("rename a file")?;
    fs::create_dir(ov.join("Sub")).context("make a directory")?;
    fs::rename(ov.join("sub"), ov.join("Other")).context("rename a directory")?;
    fs::write(ov.join("DIR/two"), "two").context("make a file below")?;
    fs::hard_link(ov.join("dir/ONE"), ov.join("dir/Three")).context("link")?;
    std::os::unix::fs::symlink("to", ov.join("Link")).context("make a symlink")?;
    let shows = |ov: &Mounted| -> Result {
        content(ov.join("LOW"), "new")?;
        content(ov.join("moved"), "made")?;
        absent(ov.join("made"))?;
        absent(ov.join("sub"))?;
        content(ov.join("dir/TWO"), "two")?;
        content(ov.join("dir/three"), "one")?;
        lists(ov.join("other"), &[""; 0])
    };
    shows(&ov)?;
    fx.unmount(ov.path())?;
    shows(&layers.mount(fx)?)
}

fn removes(fx: &Fixture, parent: &Path) -> Result {
    let layers = Layers::new(parent)?;
    let (upper, lower) = (&layers.upper, &layers.lower);
    lower.file("Copied", "old")?.file("Low", "")?;
    lower
        .dir("Dir")?
        .file("Dir/One", "one")?
        .dir("Gone")?
        .file("Gone/x", "")?;
    upper.dir("dir")?.file("Top", "")?;
    let ov = layers.mount(fx)?;
    fs::write(ov.join("copied"), "new").context("copy up")?;
    for name in ["COPIED", "low", "top", "dir/one"] {
        fs::remove_file(ov.join(name)).context(format_args!("remove {name}"))?;
    }
    fs::remove_dir(ov.join("DIR")).context("remove a directory")?;
    fs::create_dir(ov.join("Low")).context("make a directory where a file was")?;
    fs::remove_dir_all(ov.join("gone")).context("remove a tree")?;
    fs::create_dir(ov.join("GONE")).context("make it again")?;
    let shows = |ov: &Mounted| -> Result {
        for name in ["copied", "top", "dir", "gone/x"] {
            absent(ov.join(name))?;
        }
        lists(ov.join("low"), &[""; 0])?;
        lists(ov.join("gone"), &[""; 0])
    };
    shows(&ov)?;
    // Nothing is left but the whiteout that all others are names of.
    let left = sys::names(layers.work.join("work"))?;
    check::ok(left.len() <= 1, format_args!("left in work: {left:?}"))?;
    fx.unmount(ov.path())?;
    shows(&layers.mount(fx)?)
}

/// A listing that is kept shows names as upper has them, whatever case they are asked for in.
fn lists_case(fx: &Fixture, parent: &Path) -> Result {
    let layers = Layers::new(parent)?;
    layers.lower.file("gone", "")?.file("Readme", "")?;
    layers.upper.whiteout("GONE")?;
    let ov = layers.mount(fx)?;
    lists(ov.path(), &["Readme"])?;
    fs::write(ov.join("Gone"), "").context("make a file")?;
    fs::write(ov.join("README"), "new").context("write")?;
    let kept = sys::names(ov.path())?;
    fx.unmount(ov.path())?;
    let ov = layers.mount(fx)?;
    let anew = sys::names(ov.path())?;
    check::equal("names", kept, anew)
}

/// A directory would be copied that nobody could look into, since case does not count there.
fn work_differs(fx: &Fixture) -> Result {
    let parent = tmpfs(fx, "folding")?;
    let [upper, work] = upper_and_work(&Layer::create(parent.join("top"))?)?;
    let lower = fx.layer("lower")?;
    lower.dir("d")?.file("d/f", "")?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    fold(&work.join("work"))?;
    for _ in 0..2 {
        let result = rustix::fs::chmod(ov.join("d"), 0o700.into());
        check::errno("chmod", result, Errno::INVAL)?;
        let result = sys::mkdir(&ov.join("new"), 0o755);
        check::equal("mkdir", result, Ok(()))?;
        fs::remove_dir(ov.join("new"))?;
    }
    lists::<&str>(upper.path(), &[])?;
    lists(ov.join("d"), &["f"])
}
