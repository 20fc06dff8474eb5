// SPDX-License-Identifier: GPL-2.0-only

//! Layers in whose directories case does not count.

use std::ffi::CStr;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::ioctl_setflags;
use rustix::fs::IFlags;
use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::expect;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;
use crate::tests::copy_up::xattr;
use crate::tests::mount_refused::log_of;
use crate::tests::mount_refused::says;

pub const TESTS: &[Test] = &[
    Test::new("casefold_finds_any_case", "L9", any_case),
    Test::new("casefold_merges_directories", "L9", merges),
    Test::new("casefold_flag_is_shown", "L9", flag),
    Test::new("casefold_directory_that_differs", "L9", differing_child),
    Test::new("casefold_layers_must_agree", "E3 L9", mixed_layers),
    Test::new("casefold_capable_but_off", "L9", capable_but_off),
    Test::new("casefold_encodings_must_agree", "E17 L9", encodings),
    Test::new("casefold_strict_encoding", "E17 L9", strict_encoding),
    Test::new("casefold_refusals_name_the_layer", "A5 E17 Q23", refusals)
        .rovl_only("overlayfs says it to the kernel's log only"),
    Test::new("casefold_name_of_nothing", "L9 R2", name_of_nothing),
];

/// `FS_CASEFOLD_FL`.
const CASEFOLD: IFlags = IFlags::from_bits_retain(0x4000_0000);

/// Mounts a tmpfs that can fold case.
pub(super) fn tmpfs(fx: &Fixture, name: &str) -> Result<PathBuf> {
    tmpfs_with(fx, name, c"mode=755,casefold=utf8-12.1.0")
}

fn tmpfs_with(fx: &Fixture, name: &str, options: &CStr) -> Result<PathBuf> {
    let path = fx.place(name)?;
    match mount("tmpfs", &path, "tmpfs", MountFlags::empty(), options) {
        Err(Errno::INVAL) => return Err(Failure::skip("tmpfs cannot fold case here")),
        other => other.context("mount tmpfs")?,
    }
    fx.adopt(&path);
    Ok(path)
}

/// Makes an empty layer in which case does not count.
pub(super) fn layer(parent: &Path, name: &str) -> Result<Layer> {
    let layer = Layer::create(parent.join(name))?;
    fold(layer.path())?;
    Ok(layer)
}

/// Lets case not count in a directory, which has to be empty.
pub(super) fn fold(directory: &Path) -> Result {
    ioctl_setflags(sys::open_dir(directory)?, CASEFOLD).context("fold case")
}

fn pair(fx: &Fixture) -> Result<(Layer, Layer)> {
    let parent = tmpfs(fx, "folding")?;
    Ok((layer(&parent, "top")?, layer(&parent, "bottom")?))
}

fn any_case(fx: &Fixture) -> Result {
    let (top, bottom) = pair(fx)?;
    top.file("Upper", "top")?;
    bottom.file("Lower", "bottom")?.file("uPPer", "hidden")?;
    bottom.file("Stra\u{df}e", "street")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for (name, content) in [
        ("Upper", "top"),
        ("upper", "top"),
        ("UPPER", "top"),
        ("lower", "bottom"),
        ("LOWER", "bottom"),
        ("STRASSE", "street"),
    ] {
        expect::content(ov.join(name), content)?;
    }
    let ino = |name: &str| sys::lstat(ov.join(name)).map(|st| st.st_ino);
    check::equal("one inode", ino("LOWER")?, ino("lower")?)?;
    expect::absent(ov.join("nothing"))?;
    expect::absent(ov.join("NOTHING"))
}

fn merges(fx: &Fixture) -> Result {
    let (top, bottom) = pair(fx)?;
    top.dir("Dir")?.file("Dir/one", "top")?.whiteout("GONE")?;
    bottom.dir("dIR/Sub")?.file("dIR/ONE", "hidden")?;
    bottom.file("dIR/two", "bottom")?.file("gone", "hidden")?;
    let work = layer(&fx.place("folding")?, "work")?;
    let options = Options::new().lowers(&[&bottom]).upper(&top, &work);
    let ov = fx.mount(&options).context("mount")?;
    expect::content(ov.join("DIR/One"), "top")?;
    expect::content(ov.join("dir/TWO"), "bottom")?;
    expect::absent(ov.join("Gone"))?;
    expect::lists(ov.join("dir/sub"), &[""; 0])
}

fn flag(fx: &Fixture) -> Result {
    let (top, bottom) = pair(fx)?;
    top.dir("d")?;
    bottom.dir("d")?.dir("e")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["", "d", "e"] {
        let flags = rustix::fs::ioctl_getflags(sys::open_dir(bottom.join(name))?)?;
        check::ok(flags.contains(CASEFOLD), "the flag is not inherited")?;
        expect::lists(
            ov.join(name),
            if name.is_empty() { &["d", "e"] } else { &[] },
        )?;
    }
    Ok(())
}

/// A directory that differs from those around it is refused.
fn differing_child(fx: &Fixture) -> Result {
    let (top, bottom) = pair(fx)?;
    for layer in [&top, &bottom] {
        layer.dir("d")?.dir("e")?;
    }
    bottom.dir("plain")?.file("f", "")?;
    let plain = sys::open_dir(bottom.join("plain"))?;
    ioctl_setflags(plain, IFlags::empty()).context("clear the flag")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    check::errno("child", sys::lstat(ov.join("plain")), Errno::REMOTE)?;
    expect::content(ov.join("F"), "")?;
    // Changed behind the overlay's back.
    check::ok(sys::lstat(ov.join("d")).is_ok(), "stat of d")?;
    ioctl_setflags(sys::open_dir(bottom.join("d"))?, IFlags::empty()).context("clear")?;
    check::errno("below", sys::lstat(ov.join("d/x")), Errno::STALE)
}

fn mixed_layers(fx: &Fixture) -> Result {
    let parent = tmpfs(fx, "folding")?;
    let folding = layer(&parent, "folding")?;
    let plain = Layer::create(parent.join("plain"))?;
    for lowers in [[&folding, &plain], [&plain, &folding]] {
        let options = Options::new().lowers(&lowers);
        check::errno("mount", fx.mount(&options), Errno::INVAL)?;
    }
    Ok(())
}

/// A filesystem that could fold case, but does not do so in the layers, is like any other.
fn capable_but_off(fx: &Fixture) -> Result {
    let parent = tmpfs(fx, "folding")?;
    let top = Layer::create(parent.join("top"))?;
    let bottom = Layer::create(parent.join("bottom"))?;
    top.file("Name", "top")?;
    bottom.file("name", "bottom")?.dir("d")?;
    let folding = layer(&bottom.join(""), "folding")?;
    folding.file("f", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    expect::content(ov.join("Name"), "top")?;
    expect::content(ov.join("name"), "bottom")?;
    expect::absent(ov.join("NAME"))?;
    check::errno("child", sys::lstat(ov.join("folding")), Errno::REMOTE)
}

/// Layers that fold case by different versions of Unicode.
fn by_two_versions(fx: &Fixture) -> Result<[Layer; 2]> {
    let new = tmpfs(fx, "new")?;
    let old = tmpfs_with(fx, "old", c"mode=755,casefold=utf8-11.0.0")?;
    Ok([layer(&new, "top")?, layer(&old, "bottom")?])
}

/// They cannot be merged.
fn encodings(fx: &Fixture) -> Result {
    let [top, bottom] = by_two_versions(fx)?;
    let options = Options::new().lowers(&[&top, &bottom]);
    check::errno("mount", fx.mount(&options), Errno::INVAL)
}

/// Options of a filesystem that refuses names that are no UTF-8.
const STRICT: &CStr = c"mode=755,casefold=utf8-12.1.0,strict_encoding";

/// Layers that refuse names that are no UTF-8.
fn strict(fx: &Fixture) -> Result<[Layer; 2]> {
    let parent = tmpfs_with(fx, "strict", STRICT)?;
    Ok([layer(&parent, "top")?, layer(&parent, "bottom")?])
}

/// Overlays would have to refuse such names as well.
fn strict_encoding(fx: &Fixture) -> Result {
    let [top, bottom] = strict(fx)?;
    let options = Options::new().lowers(&[&top, &bottom]);
    check::errno("mount", fx.mount(&options), Errno::INVAL)?;
    // Nothing is left in such an upper layer.
    let parent = tmpfs_with(fx, "upper", STRICT)?;
    let (upper, work) = (layer(&parent, "upper")?, layer(&parent, "work")?);
    let options = Options::new().lowers(&[&bottom]).upper(&upper, &work);
    check::errno("upper", fx.mount(&options), Errno::INVAL)?;
    let uuid = xattr(upper.path(), "trusted.overlay.uuid")?;
    check::equal("uuid", uuid, None)
}

fn refusals(fx: &Fixture) -> Result {
    let [top, bottom] = by_two_versions(fx)?;
    let log = log_of(fx, &Options::new().lowers(&[&top, &bottom]), Errno::INVAL)?;
    let path = bottom.path().to_string_lossy();
    says("encodings", &log, &["lowerdir:", &path])?;
    let [top, bottom] = strict(fx)?;
    let log = log_of(fx, &Options::new().lowers(&[&top, &bottom]), Errno::INVAL)?;
    let path = top.path().to_string_lossy();
    says("strict encoding", &log, &["lowerdir:", &path])
}

/// Some names fold to nothing. Lookups take them all for the same name, and listings take each as it is.
fn name_of_nothing(fx: &Fixture) -> Result {
    let (top, bottom) = pair(fx)?;
    let (hyphen, joiner) = ("\u{ad}", "\u{200d}");
    top.file(hyphen, "top")?.file("a", "")?;
    bottom.file(joiner, "bottom")?.file("b", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    check::equal("names", sys::names(ov.path())?.len(), 4)?;
    expect::content(ov.join(hyphen), "top")?;
    expect::content(ov.join(joiner), "top")
}
