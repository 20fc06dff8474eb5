// SPDX-License-Identifier: GPL-2.0-only

//! Whiteouts in the form of an attribute on an empty file, as tools make them that may make no device nodes.
//!
//! Lookups take them for what they are in every layer. Listings only do so in directories of lower layers that
//! are marked, for they would have to ask every empty file.

use std::path::Path;

use rustix::io::Errno;

use crate::check;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::layer::OPAQUE;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new(
        "whiteout_attribute_in_marked_dir",
        "X10 X1 R2",
        in_marked_dir,
    )
    .on_disks_too(),
    Test::new(
        "whiteout_attribute_in_marked_root",
        "X10 X1 R2",
        in_marked_root,
    ),
    Test::new("whiteout_attribute_without_mark", "X10 R2", without_mark),
    Test::new("whiteout_attribute_in_last_layer", "X10 X1", in_last_layer),
    Test::new("whiteout_attribute_in_upper", "X10 X1 M4", in_upper),
    Test::new(
        "whiteout_attribute_in_middle_layer",
        "X10 L1",
        in_middle_layer,
    ),
    Test::new(
        "whiteout_attribute_on_empty_files_only",
        "X10",
        on_empty_files_only,
    ),
    Test::new("whiteout_attribute_of_user", "X10 M11", of_user),
];

const WHITEOUT: &str = "trusted.overlay.whiteout";

/// Makes a whiteout of this form; what the value is does not matter.
fn whiteout(layer: &Layer, name: impl AsRef<Path>, value: &[u8]) -> Result {
    let name = name.as_ref();
    layer.file(name, "")?.xattr(name, WHITEOUT, value)?;
    Ok(())
}

/// The names that both layers have in `dir`, those of the upper one hidden or not, and one name of each.
fn fill(top: &Layer, bottom: &Layer, dir: &str) -> Result {
    let at = |name: &str| Path::new(dir).join(name);
    for layer in [top, bottom] {
        layer.dir(dir)?;
    }
    whiteout(top, at("gone"), b"")?;
    whiteout(top, at("gone-dir"), b"y")?;
    whiteout(top, at("nothing"), b"some text")?;
    top.file(at("empty"), "")?.file(at("own"), "top")?;
    bottom.file(at("gone"), "")?.dir(at("gone-dir/sub"))?;
    bottom.file(at("empty"), "hidden")?.file(at("low"), "low")?;
    Ok(())
}

/// What lookups say of it, wherever it is.
fn looked_up(top: impl AsRef<Path>) -> Result {
    let top = top.as_ref();
    for name in ["gone", "gone-dir", "gone-dir/sub", "nothing"] {
        absent(top.join(name))?;
    }
    check::errno("open", sys::open_read(top.join("gone")), Errno::NOENT)?;
    content(top.join("empty"), "")?;
    content(top.join("own"), "top")?;
    content(top.join("low"), "low")
}

const HIDDEN: [&str; 3] = ["empty", "low", "own"];
const SHOWN: [&str; 6] = ["empty", "gone", "gone-dir", "low", "nothing", "own"];

fn in_marked_dir(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    fill(&top, &bottom, "dir/sub")?;
    top.xattr("dir/sub", OPAQUE, b"x")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    looked_up(ov.join("dir/sub"))?;
    lists(ov.join("dir/sub"), &HIDDEN)?;
    sys::drop_caches()?;
    lists(ov.join("dir/sub"), &HIDDEN)?;
    looked_up(ov.join("dir/sub"))
}

fn in_marked_root(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    fill(&top, &bottom, "")?;
    fill(&top, &bottom, "unmarked")?;
    top.xattr("", OPAQUE, b"x")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    looked_up(ov.path())?;
    lists(ov.path(), &["empty", "low", "own", "unmarked"])?;
    // The mark is for one directory.
    lists(ov.join("unmarked"), &SHOWN)
}

/// Such a name is listed, and not there.
fn without_mark(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    fill(&top, &bottom, "dir")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    lists(ov.join("dir"), &SHOWN)?;
    looked_up(ov.join("dir"))
}

/// Below the last layer there is nothing to hide, so its marks are not looked for.
fn in_last_layer(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("dir")?.file("dir/above", "")?;
    bottom.dir("dir")?.xattr("dir", OPAQUE, b"x")?;
    whiteout(&bottom, "dir/gone", b"y")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    absent(ov.join("dir/gone"))?;
    lists(ov.join("dir"), &["above", "gone"])
}

/// Upper layers are none of those that tools make, and marks mean nothing there.
fn in_upper(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fill(&upper, &lower, "dir")?;
    upper.xattr("dir", OPAQUE, b"x")?;
    let ov = fx.upper(&upper, &[&lower])?;
    looked_up(ov.join("dir"))?;
    lists(ov.join("dir"), &SHOWN)
}

/// It ends the search: what is below it stays hidden, what is above it does not.
fn in_middle_layer(fx: &Fixture) -> Result {
    let [top, middle, bottom] = [fx.layer("top")?, fx.layer("middle")?, fx.layer("bottom")?];
    for layer in [&top, &middle, &bottom] {
        layer.dir("dir")?;
    }
    middle.xattr("dir", OPAQUE, b"x")?;
    for name in ["dir/hidden", "dir/again", "dir/merged"] {
        whiteout(&middle, name, b"")?;
    }
    bottom.file("dir/hidden", "")?.file("dir/again", "old")?;
    bottom.dir("dir/merged")?.file("dir/merged/old", "")?;
    top.file("dir/again", "new")?.dir("dir/merged")?;
    top.file("dir/merged/new", "")?;
    let ov = fx.lowers(&[&top, &middle, &bottom])?;
    absent(ov.join("dir/hidden"))?;
    content(ov.join("dir/again"), "new")?;
    lists(ov.join("dir/merged"), &["new"])?;
    lists(ov.join("dir"), &["again", "merged"])
}

fn on_empty_files_only(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for layer in [&top, &bottom] {
        layer.dir("dir/sub")?;
    }
    top.xattr("dir", OPAQUE, b"x")?;
    top.file("dir/data", "d")?
        .xattr("dir/data", WHITEOUT, b"")?;
    top.xattr("dir/sub", WHITEOUT, b"")?;
    top.symlink("dir/link", "data")?
        .xattr("dir/link", WHITEOUT, b"")?;
    bottom.file("dir/data", "hidden")?.file("dir/sub/low", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("dir/data"), "d")?;
    content(ov.join("dir/link"), "d")?;
    lists(ov.join("dir/sub"), &["low"])?;
    lists(ov.join("dir"), &["data", "link", "sub"])
}

/// Each mount knows the names of one namespace.
fn of_user(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for layer in [&top, &bottom] {
        layer
            .dir("dir")?
            .file("dir/user", "")?
            .file("dir/trusted", "")?;
    }
    top.xattr("dir", "user.overlay.opaque", b"x")?;
    top.xattr("dir", OPAQUE, b"x")?;
    top.xattr("dir/user", "user.overlay.whiteout", b"")?;
    top.xattr("dir/trusted", WHITEOUT, b"")?;
    let ov = fx.mount(&Options::new().lowers(&[&top, &bottom]).flag("userxattr"))?;
    absent(ov.join("dir/user"))?;
    lists(ov.join("dir"), &["trusted"])?;
    fx.unmount(ov.path())?;
    let ov = fx.lowers(&[&top, &bottom])?;
    absent(ov.join("dir/trusted"))?;
    lists(ov.join("dir"), &["user"])
}
