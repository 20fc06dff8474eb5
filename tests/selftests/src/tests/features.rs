// SPDX-License-Identifier: GPL-2.0-only

//! Upper layers on a filesystem that knows less than most, or keeps what an overlay has no use for.

use rustix::fs::FileType;

use crate::check;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::image;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("upper_without_file_types", "W2 1.9 R2", without_types),
    Test::new("names_missing_in_upper_are_not_kept", "L2", not_kept),
];

/// Mounts a filesystem with these directories.
fn layers<const N: usize>(
    fx: &Fixture,
    format: fn(&std::path::Path) -> Result,
    names: [&str; N],
) -> Result<[Layer; N]> {
    let image = fx.root().join("image");
    format(&image)?;
    let top = fx.place("ext")?;
    image::mount(fx, &image, image::Mode::Writable, &top)?;
    let mut layers = Vec::new();
    for name in names {
        layers.push(Layer::create(top.join(name))?);
    }
    Ok(layers.try_into().expect("there are as many as names"))
}

/// It is warned of, and does: whiteouts, which cannot be told then, are listed, but lead nowhere.
fn without_types(fx: &Fixture) -> Result {
    let [upper, work] = layers(fx, image::format_without_types, ["upper", "work"])?;
    let lower = fx.layer("lower")?;
    lower.dir("dir")?.file("dir/low", "low")?;
    lower.file("dir/gone", "")?.file("dir/both", "lower")?;
    upper
        .dir("dir")?
        .file("dir/both", "upper")?
        .dir("dir/own")?;
    for entry in sys::list(upper.join("dir"))? {
        let expected = match entry.is_dot() {
            true => continue,
            false => FileType::Unknown,
        };
        check::equal("type on the layer", entry.kind, expected)?;
    }
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    let dir = ov.join("dir");
    lists(&dir, &["both", "gone", "low", "own"])?;
    content(dir.join("both"), "upper")?;
    std::fs::remove_file(dir.join("gone"))?;
    absent(dir.join("gone"))?;
    let whiteout = sys::lstat_kind(upper.join("dir/gone"))?;
    check::equal("in upper", whiteout, FileType::CharacterDevice)?;
    std::fs::write(dir.join("low"), "new")?;
    std::fs::write(dir.join("new"), "new")?;
    sys::drop_caches()?;
    lists(&dir, &["both", "gone", "low", "new", "own"])?;
    absent(dir.join("gone"))?;
    content(dir.join("low"), "new")?;
    content(lower.join("dir/low"), "low")?;
    lists(ov.join("dir/own"), &[] as &[&str])
}

/// How many names are known to be missing, anywhere.
fn missing_names() -> Result<usize> {
    let state = std::fs::read_to_string("/proc/sys/fs/dentry-state")?;
    let number = state.split_whitespace().nth(4);
    let number = number.ok_or_else(|| check::Failure::new(format!("dentry-state: {state}")))?;
    Ok(number.parse()?)
}

/// That a name is not in upper is known by the overlay, or of no use; that it is not in lower may serve others.
fn not_kept(fx: &Fixture) -> Result {
    const NAMES: usize = 300;

    let [upper, work, lower] = layers(fx, image::format, ["upper", "work", "lower"])?;
    lower.dir("dir")?.file("dir/file", "")?;
    upper.dir("dir")?;
    for number in 0..NAMES {
        lower.link("dir/file", format!("dir/low{number}"))?;
    }
    sys::drop_caches()?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    let before = missing_names()?;
    for number in 0..NAMES {
        sys::lstat(ov.join(format!("dir/low{number}")))?;
    }
    let grown = missing_names()?.saturating_sub(before);
    check::ok(
        grown < NAMES / 4,
        format_args!("{grown} missing names kept after finding {NAMES} in lower"),
    )?;
    let before = missing_names()?;
    for number in 0..NAMES {
        absent(ov.join(format!("dir/none{number}")))?;
    }
    // The overlay's own, and those of lower.
    let grown = missing_names()?.saturating_sub(before);
    check::ok(
        (NAMES * 7 / 4..NAMES * 9 / 4).contains(&grown),
        format_args!("{grown} missing names kept after missing {NAMES}"),
    )
}
