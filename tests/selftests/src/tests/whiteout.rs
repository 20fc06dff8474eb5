// SPDX-License-Identifier: GPL-2.0-only

//! Whiteouts and opaque directories.

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::check;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::layer::OPAQUE;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("whiteout_hides_file", "L1 1.9", hides_file).on_disks_too(),
    Test::new("whiteout_hides_dir", "L1 1.9", hides_dir),
    Test::new("whiteout_hides_other_types", "L1 1.9", hides_other_types),
    Test::new("whiteout_in_upper", "L1 1.9 M4", in_upper).on_disks_too(),
    Test::new("whiteout_in_middle_layer", "L1 1.9", in_middle),
    Test::new("whiteout_in_last_layer", "L1 1.9", in_last),
    Test::new("whiteout_between_dirs_ends_merge", "L1 1.9", between_dirs),
    Test::new("whiteout_in_merged_dir", "L1 1.9", in_merged_dir),
    Test::new("whiteout_of_every_name", "L1 1.9", of_every_name),
    Test::new("whiteout_many_layers", "L1 1.9", many_layers),
    Test::new("whiteout_is_char_0_0_only", "1.9", is_char_0_0_only),
    Test::new(
        "whiteout_mode_and_owner_do_not_matter",
        "1.9",
        mode_and_owner,
    ),
    Test::new("opaque_top", "L1 X1", opaque_top).on_disks_too(),
    Test::new("opaque_middle", "L1 X1", opaque_middle),
    Test::new("opaque_in_upper", "L1 X1 M4", opaque_in_upper).on_disks_too(),
    Test::new("opaque_hides_deeper_dirs", "L1 X1", opaque_hides_deeper),
    Test::new("opaque_below_merged", "L1 X1", opaque_below_merged),
    Test::new(
        "opaque_with_whiteout_inside",
        "L1 X1 1.9",
        opaque_with_whiteout,
    ),
    Test::new("opaque_other_values_merge", "X1", opaque_other_values),
    Test::new("opaque_root_of_layer", "L1 X1", opaque_root),
];

fn hides_file(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.whiteout("gone")?.file("kept", "top")?;
    bottom.file("gone", "bottom")?.file("low", "bottom")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    absent(ov.join("gone"))?;
    check::errno("open", sys::open_read(ov.join("gone")), Errno::NOENT)?;
    content(ov.join("low"), "bottom")?;
    lists(ov.path(), &["kept", "low"])
}

fn hides_dir(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.whiteout("gone")?;
    bottom
        .dir("gone/sub")?
        .file("gone/f", "")?
        .file("low", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    absent(ov.join("gone"))?;
    absent(ov.join("gone/f"))?;
    absent(ov.join("gone/sub"))?;
    lists(ov.path(), &["low"])
}

fn hides_other_types(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom
        .symlink("link", "low")?
        .node("fifo", FileType::Fifo, 0o644, (0, 0))?
        .node("socket", FileType::Socket, 0o644, (0, 0))?
        .node("char", FileType::CharacterDevice, 0o644, (1, 3))?
        .node("block", FileType::BlockDevice, 0o644, (7, 0))?
        .file("low", "")?;
    let gone = ["link", "fifo", "socket", "char", "block"];
    for name in gone {
        top.whiteout(name)?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in gone {
        absent(ov.join(name))?;
    }
    lists(ov.path(), &["low"])
}

fn in_upper(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.whiteout("gone")?.dir("d")?.whiteout("d/gone")?;
    lower.file("gone", "")?.file("low", "lower")?;
    lower.dir("d")?.file("d/gone", "")?.file("d/low", "lower")?;
    let ov = fx.upper(&upper, &[&lower])?;
    absent(ov.join("gone"))?;
    absent(ov.join("d/gone"))?;
    content(ov.join("low"), "lower")?;
    content(ov.join("d/low"), "lower")?;
    lists(ov.path(), &["d", "low"])?;
    lists(ov.join("d"), &["low"])
}

/// Hides what is below its layer and nothing above.
fn in_middle(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[0].file("above", "top")?;
    layers[1].whiteout("above")?.whiteout("below")?;
    layers[2].file("above", "bottom")?.file("below", "bottom")?;
    let ov = fx.lowers(&layers)?;
    content(ov.join("above"), "top")?;
    absent(ov.join("below"))?;
    lists(ov.path(), &["above"])
}

fn in_last(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d")?.file("a", "")?;
    bottom.dir("d")?.whiteout("gone")?.whiteout("d/gone")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    absent(ov.join("gone"))?;
    absent(ov.join("d/gone"))?;
    lists(ov.path(), &["a", "d"])?;
    lists::<&str>(ov.join("d"), &[])
}

fn between_dirs(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[0].dir("d")?.file("d/top", "top")?;
    layers[1].whiteout("d")?;
    layers[2].dir("d")?.file("d/bottom", "bottom")?;
    let ov = fx.lowers(&layers)?;
    content(ov.join("d/top"), "top")?;
    absent(ov.join("d/bottom"))?;
    lists(ov.join("d"), &["top"])
}

fn in_merged_dir(fx: &Fixture) -> Result {
    let layers = fx.layers(4)?;
    layers[0].dir("d/e")?.whiteout("d/e/one")?;
    layers[1].dir("d/e")?.file("d/e/one", "")?;
    layers[2].dir("d/e")?.whiteout("d/e/two")?;
    layers[3].dir("d/e")?.file("d/e/two", "")?;
    layers[3].file("d/e/one", "")?.file("d/e/three", "3")?;
    let ov = fx.lowers(&layers)?;
    absent(ov.join("d/e/one"))?;
    absent(ov.join("d/e/two"))?;
    content(ov.join("d/e/three"), "3")?;
    lists(ov.join("d/e"), &["three"])
}

/// A directory that looks empty, and whose names can come back from a higher layer.
fn of_every_name(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[0].dir("d")?.file("back", "top")?;
    layers[1].dir("d")?.whiteout("back")?;
    layers[2].dir("d")?.file("back", "bottom")?;
    for n in 0..20 {
        layers[1].whiteout(format!("d/{n}"))?;
        layers[2].file(format!("d/{n}"), "")?;
    }
    let ov = fx.lowers(&layers)?;
    content(ov.join("back"), "top")?;
    lists::<&str>(ov.join("d"), &[])?;
    check::equal("entries with dots", sys::list(ov.join("d"))?.len(), 2)
}

/// A name that comes and goes from layer to layer.
fn many_layers(fx: &Fixture) -> Result {
    const COUNT: usize = 16;
    let layers = fx.layers(COUNT)?;
    for (index, layer) in layers.iter().enumerate() {
        // `visible` starts with a file at the top, `hidden` with a whiteout.
        let (file, whiteout) = match index % 2 {
            0 => ("visible", "hidden"),
            _ => ("hidden", "visible"),
        };
        layer.file(file, format!("{index}"))?.whiteout(whiteout)?;
    }
    let ov = fx.lowers(&layers)?;
    content(ov.join("visible"), "0")?;
    absent(ov.join("hidden"))?;
    lists(ov.path(), &["visible"])
}

fn is_char_0_0_only(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.node("block", FileType::BlockDevice, 0o600, (0, 0))?
        .node("char", FileType::CharacterDevice, 0o600, (0, 1))?
        .node("fifo", FileType::Fifo, 0o600, (0, 0))?
        .file("empty", "")?
        .file(".wh.aufs", "")?;
    bottom
        .file("block", "")?
        .file("char", "")?
        .file("fifo", "")?;
    bottom.file("empty", "bottom")?.file("aufs", "bottom")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let kind = |name: &str| sys::lstat_kind(ov.join(name));
    check::equal("block", kind("block")?, FileType::BlockDevice)?;
    check::equal("char", kind("char")?, FileType::CharacterDevice)?;
    check::equal("fifo", kind("fifo")?, FileType::Fifo)?;
    content(ov.join("empty"), "")?;
    content(ov.join("aufs"), "bottom")?;
    content(ov.join(".wh.aufs"), "")?;
    lists(
        ov.path(),
        &[".wh.aufs", "aufs", "block", "char", "empty", "fifo"],
    )
}

fn mode_and_owner(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.whiteout("a")?
        .chmod("a", 0o666)?
        .chown("a", 1000, 1000)?;
    top.whiteout("b")?.times("b", 1_000_000_000, 0)?;
    bottom.file("a", "")?.file("b", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    absent(ov.join("a"))?;
    absent(ov.join("b"))?;
    lists::<&str>(ov.path(), &[])
}

fn opaque_top(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.opaque_dir("d")?.file("d/top", "top")?;
    bottom
        .dir("d")?
        .file("d/bottom", "")?
        .file("low", "bottom")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("d/top"), "top")?;
    absent(ov.join("d/bottom"))?;
    content(ov.join("low"), "bottom")?;
    lists(ov.join("d"), &["top"])?;
    lists(ov.path(), &["d", "low"])
}

/// Hides the layers below it, not those above.
fn opaque_middle(fx: &Fixture) -> Result {
    let layers = fx.layers(4)?;
    layers[0].dir("d")?.file("d/0", "0")?;
    layers[1].opaque_dir("d")?.file("d/1", "1")?;
    layers[2].dir("d")?.file("d/2", "2")?.file("d/0", "2")?;
    layers[3].dir("d")?.file("d/3", "3")?;
    let ov = fx.lowers(&layers)?;
    content(ov.join("d/0"), "0")?;
    content(ov.join("d/1"), "1")?;
    absent(ov.join("d/2"))?;
    absent(ov.join("d/3"))?;
    lists(ov.join("d"), &["0", "1"])
}

fn opaque_in_upper(fx: &Fixture) -> Result {
    let upper = fx.layer("upper")?;
    let layers = fx.layers(2)?;
    upper.opaque_dir("d")?.file("d/up", "up")?.dir("m")?;
    for layer in &layers {
        layer.dir("d")?.file("d/low", "")?;
        layer.dir("m")?.file("m/low", "low")?;
    }
    let ov = fx.upper(&upper, &layers)?;
    content(ov.join("d/up"), "up")?;
    absent(ov.join("d/low"))?;
    content(ov.join("m/low"), "low")?;
    lists(ov.join("d"), &["up"])
}

/// Directories inside an opaque one do not merge with what the opaque one hides.
fn opaque_hides_deeper(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.opaque_dir("d")?
        .dir("d/e/f")?
        .file("d/e/f/top", "top")?;
    bottom.dir("d/e/f")?.file("d/e/f/bottom", "")?.dir("d/x")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("d/e/f/top"), "top")?;
    absent(ov.join("d/e/f/bottom"))?;
    absent(ov.join("d/x"))?;
    lists(ov.join("d/e/f"), &["top"])
}

fn opaque_below_merged(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[0].dir("a/b")?.file("a/b/0", "0")?;
    layers[1].dir("a")?.opaque_dir("a/b")?.file("a/b/1", "1")?;
    layers[2]
        .dir("a/b")?
        .file("a/b/2", "2")?
        .file("a/low", "2")?;
    let ov = fx.lowers(&layers)?;
    lists(ov.join("a"), &["b", "low"])?;
    lists(ov.join("a/b"), &["0", "1"])?;
    absent(ov.join("a/b/2"))
}

fn opaque_with_whiteout(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[0].dir("d")?.file("d/0", "0")?;
    layers[1].opaque_dir("d")?.whiteout("d/gone")?;
    layers[1].whiteout("d/0")?.file("d/1", "1")?;
    layers[2].dir("d")?.file("d/gone", "2")?;
    let ov = fx.lowers(&layers)?;
    absent(ov.join("d/gone"))?;
    content(ov.join("d/0"), "0")?;
    lists(ov.join("d"), &["0", "1"])
}

/// Only the single letter y makes a directory opaque.
fn opaque_other_values(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let values: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("n", b"n"),
        ("upper_case", b"Y"),
        ("yy", b"yy"),
        ("nul", b"y\0"),
        ("zero", b"0"),
    ];
    for (name, value) in values {
        top.dir(name)?.xattr(name, OPAQUE, value)?;
        bottom.dir(name)?.file(format!("{name}/low"), "low")?;
    }
    // The other namespace is an ordinary xattr without the option userxattr.
    top.dir("user")?
        .xattr("user", "user.overlay.opaque", b"y")?;
    bottom.dir("user")?.file("user/low", "low")?;
    // On a file it means nothing.
    top.file("file", "top")?.xattr("file", OPAQUE, b"y")?;
    bottom.file("file", "bottom")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for (name, _) in values {
        content(ov.join(name).join("low"), "low")?;
        lists(ov.join(name), &["low"])?;
    }
    content(ov.join("user/low"), "low")?;
    content(ov.join("file"), "top")
}

/// On the root of a layer the mark is not looked at: the roots always merge.
fn opaque_root(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.file("top", "top")?.xattr("", OPAQUE, b"y")?;
    bottom.file("bottom", "bottom")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("bottom"), "bottom")?;
    lists(ov.path(), &["bottom", "top"])
}
