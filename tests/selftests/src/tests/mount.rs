// SPDX-License-Identifier: GPL-2.0-only

//! Mounting: how the options are read, and the two system call interfaces.

use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new(
        "mount_lowers_is_read_only",
        "M1 M18 E16",
        lowers_is_read_only,
    ),
    Test::new("mount_upper_and_lower", "M1 M4 M5", upper_and_lower).on_disks_too(),
    Test::new(
        "mount_upper_and_many_lowers",
        "M1 M4 M5",
        upper_and_many_lowers,
    ),
    Test::new("mount_read_only_with_upper", "M18", read_only_with_upper),
    Test::new("mount_work_without_upper", "1.2 M5", work_without_upper),
    Test::new("mount_escaped_colon", "M1", escaped_colon),
    Test::new("mount_escaped_backslash", "M1", escaped_backslash),
    Test::new(
        "mount_escape_before_plain_letter",
        "M1",
        escape_before_plain_letter,
    ),
    Test::new("mount_escaped_comma", "M1 M18", escaped_comma),
    Test::new("mount_upper_unescaped", "M4 M5 M18", upper_unescaped),
    Test::new("mount_upper_with_colon", "M4 M5", upper_with_colon),
    Test::new("mount_odd_layer_names", "M1", odd_layer_names),
    Test::new("mount_relative_paths", "M1 M4 M5", relative_paths),
    Test::new("mount_layer_by_symlink", "M1 M4", layer_by_symlink),
    Test::new("mount_lowerdir_given_twice", "M1", lowerdir_given_twice),
    Test::new("mount_lowerdir_emptied", "M1", lowerdir_emptied),
    Test::new("mount_upperdir_given_twice", "M4 M5", upperdir_given_twice),
    Test::new("mount_option_order", "M1 M4 M5", option_order),
    Test::new("mount_500_layers", "M1 F25", five_hundred_layers).limit(120),
    Test::new("mount_shared_lowers", "M1 L8", shared_lowers).on_disks_too(),
    Test::new("mount_same_lower_in_other_order", "M1 L8", other_order),
    Test::new("mount_sees_no_submounts", "A4", sees_no_submounts),
    Test::new("mount_layer_is_mount_root", "M1 A4", layer_is_mount_root),
    Test::new("mount_layer_unmounted_later", "A4", layer_unmounted_later),
    Test::new("mount_layer_renamed_later", "A4 M1", layer_renamed_later),
    Test::new(
        "mount_layers_on_several_filesystems",
        "M1 1.10",
        several_filesystems,
    ),
    Test::new("mount_overlay_as_lower", "E16 F25", overlay_as_lower),
    Test::new("mount_over_own_layer", "M1", over_own_layer),
    Test::new("mount_again_and_again", "M1", again_and_again),
];

/// Two layers that each have a file of their own.
fn two(fx: &Fixture) -> Result<[Layer; 2]> {
    let layers = [fx.layer("a")?, fx.layer("b")?];
    layers[0].file("fa", "a")?;
    layers[1].file("fb", "b")?;
    Ok(layers)
}

fn shows_two(path: &Path) -> Result {
    content(path.join("fa"), "a")?;
    content(path.join("fb"), "b")?;
    lists(path, &["fa", "fb"])
}

fn is_read_only(path: &Path) -> Result<bool> {
    let flags = rustix::fs::statvfs(path)?.f_flag;
    Ok(flags.contains(StatVfsMountFlags::RDONLY))
}

fn lowers_is_read_only(fx: &Fixture) -> Result {
    let ov = fx.lowers(&two(fx)?)?;
    shows_two(ov.path())?;
    check::ok(is_read_only(ov.path())?, "the mount is not read-only")
}

fn upper_and_lower(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    let ov = fx.upper(&upper, &[lower])?;
    shows_two(ov.path())
}

fn upper_and_many_lowers(fx: &Fixture) -> Result {
    let upper = fx.layer("upper")?;
    upper.file("up", "upper")?;
    let lowers = fx.layers(20)?;
    for (index, lower) in lowers.iter().enumerate() {
        lower.file(format!("f{index}"), format!("{index}"))?;
        lower.file("all", format!("{index}"))?;
    }
    let ov = fx.upper(&upper, &lowers)?;
    content(ov.join("up"), "upper")?;
    content(ov.join("all"), "0")?;
    for index in 0..lowers.len() {
        content(ov.join(format!("f{index}")), &format!("{index}"))?;
    }
    Ok(())
}

fn read_only_with_upper(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    let work = fx.work()?;
    let options = Options::new().lowers(&[lower]).upper(&upper, &work);
    let ov = fx.mount(&options.mount_flags(MountFlags::RDONLY))?;
    shows_two(ov.path())?;
    check::ok(is_read_only(ov.path())?, "the mount is not read-only")?;
    check::errno("mkdir", sys::mkdir(&ov.join("new"), 0o755), Errno::ROFS)
}

/// Without upperdir the workdir is dropped, but it has to resolve.
fn work_without_upper(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    let work = fx.work()?;
    let ov = fx.mount(&Options::new().lowers(&layers).set("workdir", work.path()))?;
    shows_two(ov.path())?;
    check::ok(is_read_only(ov.path())?, "the mount is not read-only")?;
    lists::<&str>(work.path(), &[])?;
    let missing = Options::new()
        .lowers(&layers)
        .set("workdir", fx.root().join("no"));
    check::errno("missing workdir", fx.mount(&missing), Errno::NOENT)
}

/// Mounts two layers of which the first has this name, written so in lowerdir.
fn mount_named(fx: &Fixture, real: &str, written: &str) -> Result {
    let (odd, plain) = (fx.layer(real)?, fx.layer("plain")?);
    odd.file("fa", "a")?;
    plain.file("fb", "b")?;
    let root = fx.root().display();
    let ov = fx
        .mount(&Options::new().set("lowerdir", format!("{root}/{written}:{root}/plain")))
        .context(format_args!("mount lowerdir=...{written}"))?;
    shows_two(ov.path())?;
    fx.unmount(ov.path())?;
    let ov = fx
        .mount(&Options::new().set("lowerdir", format!("{root}/plain:{root}/{written}")))
        .context(format_args!("mount lowerdir=...:{written}"))?;
    shows_two(ov.path())?;
    fx.unmount(ov.path())?;
    Ok(())
}

fn escaped_colon(fx: &Fixture) -> Result {
    mount_named(fx, "co:lon", "co\\:lon")?;
    mount_named(fx, ":lead", "\\:lead")?;
    mount_named(fx, "trail:", "trail\\:")?;
    mount_named(fx, "two::colons", "two\\:\\:colons")
}

fn escaped_backslash(fx: &Fixture) -> Result {
    mount_named(fx, "back\\slash", "back\\\\slash")?;
    mount_named(fx, "trail\\", "trail\\\\")?;
    mount_named(fx, "both\\:", "both\\\\\\:")
}

/// A backslash goes before any byte, also before one that needs none.
fn escape_before_plain_letter(fx: &Fixture) -> Result {
    mount_named(fx, "abc", "a\\b\\c")?;
    let (a, b) = (fx.layer("a")?, fx.layer("b")?);
    a.file("fa", "a")?;
    b.file("fb", "b")?;
    let root = fx.root().display();
    let ov = fx.mount(&Options::new().set("lowerdir", format!("\\{root}/\\a:{root}\\/b")))?;
    shows_two(ov.path())
}

/// In mount(2) an unescaped comma ends the option.
fn escaped_comma(fx: &Fixture) -> Result {
    mount_named(fx, "com,ma", "com\\,ma")?;
    mount_named(fx, ",", "\\,")?;
    let root = fx.root().display();
    let bare = Options::new().set("lowerdir", format!("{root}/com,ma:{root}/plain"));
    check::errno("bare comma", fx.mount(&bare), Errno::NOENT)
}

fn upper_unescaped(fx: &Fixture) -> Result {
    let upper = fx.layer("up,pe\\r")?;
    let work = fx.layer("wo,r\\k")?;
    let lower = fx.layer("lower")?;
    upper.file("fa", "a")?;
    lower.file("fb", "b")?;
    let root = fx.root().display();
    let ov = fx.mount(
        &Options::new()
            .lowers(&[lower])
            .set("upperdir", format!("{root}/up\\,pe\\\\r"))
            .set("workdir", format!("{root}/wo\\,r\\\\k")),
    )?;
    shows_two(ov.path())?;
    check::ok(work.path().exists(), "the work directory is gone")
}

/// A colon means nothing in upperdir and workdir, escaped or not.
fn upper_with_colon(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("up:per")?, fx.layer("lower")?);
    upper.file("fa", "a")?;
    lower.file("fb", "b")?;
    fx.layer("wo:rk")?;
    let root = fx.root().display();
    for (up, work) in [("up:per", "wo:rk"), ("up\\:per", "wo\\:rk")] {
        let options = Options::new()
            .lowers(&[&lower])
            .set("upperdir", format!("{root}/{up}"))
            .set("workdir", format!("{root}/{work}"));
        let ov = fx.mount(&options).context(up)?;
        shows_two(ov.path())?;
        fx.unmount(ov.path())?;
    }
    Ok(())
}

fn odd_layer_names(fx: &Fixture) -> Result {
    for odd in [
        "sp ace",
        "tab\t",
        "new\nline",
        "equal=s",
        "#",
        "upperdir=x",
        "...",
    ] {
        mount_named(fx, odd, odd)?;
    }
    // Parts that mean something to the path walk itself.
    let root = fx.root().file_name().unwrap_or_default();
    let dotted = format!("./../{}/./dotted/", root.to_string_lossy());
    mount_named(fx, "dotted", &dotted)?;
    mount_named(fx, "slashes", "//slashes//")
}

fn relative_paths(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    fx.layer("work")?;
    fx.layer("in/here")?;
    std::env::set_current_dir(fx.root().join("in"))?;
    let ov = fx.mount(&Options::new().set("lowerdir", "../a:../b"))?;
    shows_two(ov.path())?;
    let options = Options::new()
        .set("lowerdir", "../b:here")
        .set("upperdir", "../a")
        .set("workdir", "../work");
    let ov = fx.mount(&options)?;
    shows_two(ov.path())?;
    std::env::set_current_dir(upper.path())?;
    let ov = fx.mount(&Options::new().set("lowerdir", ".:../b"))?;
    shows_two(ov.path())?;
    std::env::set_current_dir("/")?;
    check::ok(lower.path().is_dir(), "the lower layer is gone")
}

fn layer_by_symlink(fx: &Fixture) -> Result {
    two(fx)?;
    fx.layer("work")?;
    symlink("a", fx.root().join("to-a"))?;
    symlink(fx.root().join("b"), fx.root().join("to-b"))?;
    symlink("work", fx.root().join("to-work"))?;
    let root = fx.root().display();
    let ov = fx.mount(&Options::new().set("lowerdir", format!("{root}/to-a:{root}/to-b")))?;
    shows_two(ov.path())?;
    let options = Options::new()
        .set("lowerdir", format!("{root}/to-b"))
        .set("upperdir", format!("{root}/to-a"))
        .set("workdir", format!("{root}/to-work"));
    let ov = fx.mount(&options)?;
    shows_two(ov.path())
}

/// Each use of lowerdir throws away the layers given before.
fn lowerdir_given_twice(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let other = fx.layer("other")?;
    other.file("other", "")?;
    let ov = fx.mount(&Options::new().lowers(&[&other, &b]).lowers(&[&a, &b]))?;
    shows_two(ov.path())?;
    // The layers thrown away were resolved all the same.
    let missing = Options::new().set("lowerdir", fx.root().join("no"));
    let missing = missing.lowers(&[&a, &b]);
    check::errno("missing layer", fx.mount(&missing), Errno::NOENT)
}

fn lowerdir_emptied(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    let options = Options::new().lowers(&layers).set("lowerdir", "");
    check::errno("no layer left", fx.mount(&options), Errno::INVAL)?;
    let ov = fx.mount(&options.lowers(&layers))?;
    shows_two(ov.path())
}

fn upperdir_given_twice(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    let (other, work) = (fx.layer("other")?, fx.work()?);
    other.file("other", "")?;
    let other_work = fx.work()?;
    let options = Options::new()
        .lowers(&[lower])
        .upper(&other, &other_work)
        .upper(&upper, &work);
    let ov = fx.mount(&options)?;
    shows_two(ov.path())
}

fn option_order(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    let work = fx.work()?;
    let options = Options::new()
        .set("workdir", work.path())
        .set("upperdir", upper.path())
        .lowers(&[lower]);
    let ov = fx.mount(&options)?;
    shows_two(ov.path())
}

fn five_hundred_layers(fx: &Fixture) -> Result {
    // Names short enough for the page that mount(2) takes.
    std::env::set_current_dir(fx.root())?;
    let names: Vec<_> = (1..=501).map(|n| format!("{n}")).collect();
    for name in &names {
        fx.layer(name)?.file(name, name)?.file("all", name)?;
    }
    let ov = fx.mount(&Options::new().set("lowerdir", names[..500].join(":")))?;
    content(ov.join("1"), "1")?;
    content(ov.join("500"), "500")?;
    content(ov.join("all"), "1")?;
    absent(ov.join("501"))?;
    check::equal("names", sys::names(ov.path())?.len(), 501)?;
    fx.unmount(ov.path())?;
    let options = Options::new().set("lowerdir", names.join(":"));
    std::env::set_current_dir(fx.root())?;
    check::errno("501 layers", fx.mount(&options), Errno::INVAL)?;
    std::env::set_current_dir("/")?;
    Ok(())
}

fn shared_lowers(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let (upper1, upper2) = (fx.layer("upper1")?, fx.layer("upper2")?);
    upper1.file("mine", "1")?.whiteout("fa")?;
    upper2.file("mine", "2")?;
    let first = fx.upper(&upper1, &[&a, &b])?;
    let second = fx.upper(&upper2, &[&a, &b])?;
    let third = fx.lowers(&[&a, &b])?;
    content(first.join("mine"), "1")?;
    content(second.join("mine"), "2")?;
    absent(third.join("mine"))?;
    absent(first.join("fa"))?;
    content(second.join("fa"), "a")?;
    content(third.join("fa"), "a")?;
    let device = |path: &Path| sys::stat(path).map(|st| st.st_dev);
    let devices = [device(first.path())?, device(second.path())?];
    check::ok(devices[0] != devices[1], "two mounts have one device")?;
    fx.unmount(first.path())?;
    content(second.join("fb"), "b")?;
    shows_two(third.path())
}

fn other_order(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    a.file("both", "a")?;
    b.file("both", "b")?;
    let ab = fx.lowers(&[&a, &b])?;
    let ba = fx.lowers(&[&b, &a])?;
    content(ab.join("both"), "a")?;
    content(ba.join("both"), "b")?;
    content(ab.join("both"), "a")
}

/// What is mounted inside a layer is not part of the layer.
fn sees_no_submounts(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    a.dir("m")?.file("m/below", "below")?;
    let inner = a.join("m");
    rustix::mount::mount("tmpfs", &inner, "tmpfs", MountFlags::empty(), None)?;
    fx.adopt(&inner);
    a.file("m/above", "above")?;
    let ov = fx.lowers(&[&a, &b])?;
    content(ov.join("m/below"), "below")?;
    absent(ov.join("m/above"))
}

fn layer_is_mount_root(fx: &Fixture) -> Result {
    let lower = Layer::create(fx.tmpfs("t1")?)?;
    let top = Layer::create(fx.tmpfs("t2")?)?;
    top.file("fa", "a")?;
    lower.file("fb", "b")?;
    let ov = fx.lowers(&[&top, &lower])?;
    shows_two(ov.path())
}

/// The overlay keeps what it needs: a layer's own mount may go.
fn layer_unmounted_later(fx: &Fixture) -> Result {
    let tmpfs = fx.tmpfs("t")?;
    let lower = Layer::create(tmpfs.join("lower"))?;
    let top = fx.layer("top")?;
    top.file("fa", "a")?;
    lower.file("fb", "b")?;
    let ov = fx.lowers(&[&top, &lower])?;
    fx.unmount(&tmpfs)?;
    absent(lower.path())?;
    shows_two(ov.path())
}

fn layer_renamed_later(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let ov = fx.lowers(&[&a, &b])?;
    std::fs::rename(a.path(), fx.root().join("moved"))?;
    shows_two(ov.path())
}

fn several_filesystems(fx: &Fixture) -> Result {
    let lowers = [
        Layer::create(fx.tmpfs("t1")?.join("l"))?,
        Layer::create(fx.tmpfs("t2")?.join("l"))?,
    ];
    let upper = fx.layer("upper")?;
    for (index, lower) in lowers.iter().enumerate() {
        lower
            .dir("d")?
            .file(format!("d/{index}"), format!("{index}"))?;
        lower.file("d/all", format!("{index}"))?;
    }
    upper.dir("d")?.file("d/up", "upper")?;
    let ov = fx.upper(&upper, &lowers)?;
    content(ov.join("d/0"), "0")?;
    content(ov.join("d/1"), "1")?;
    content(ov.join("d/all"), "0")?;
    content(ov.join("d/up"), "upper")?;
    lists(ov.join("d"), &["0", "1", "all", "up"])
}

/// An overlay may have an overlay as a lower layer, but not one level more.
fn overlay_as_lower(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let extra = fx.layer("extra")?;
    let inner = fx.lowers(&[&a, &b])?;
    let inner = Layer::create(inner.path().to_owned())?;
    let outer = fx.lowers(&[&extra, &inner])?;
    shows_two(outer.path())?;
    let outer = Layer::create(outer.path().to_owned())?;
    let options = Options::new().lowers(&[&extra, &outer]);
    check::errno("third level", fx.mount(&options), Errno::INVAL)
}

/// The mount point may be one of the layers.
fn over_own_layer(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    fx.mount_at(a.path(), &Options::new().lowers(&[&a, &b]))?;
    shows_two(a.path())?;
    fx.unmount(a.path())?;
    lists(a.path(), &["fa"])
}

fn again_and_again(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    let work = fx.work()?;
    let point = fx.mount_point()?;
    let with_upper = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let without = Options::new().lowers(&[&upper, &lower]);
    for round in 0..10 {
        let options = if round % 2 == 0 {
            &with_upper
        } else {
            &without
        };
        fx.mount_at(&point, options)?;
        shows_two(&point)?;
        fx.unmount(&point)?;
        lists::<&str>(&point, &[])?;
    }
    // One over the other on the same mount point.
    fx.mount_at(&point, &with_upper)?;
    fx.mount_at(&point, &Options::new().lowers(&[&lower, &upper]))?;
    shows_two(&point)
}
