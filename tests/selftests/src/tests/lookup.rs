// SPDX-License-Identifier: GPL-2.0-only

//! Which layer's object a name leads to.

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::mount_remount;
use rustix::mount::MountFlags;

use super::remote::upper_and_work;
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
    Test::new("lookup_2_layers", "L1", |fx| precedence(fx, 2)).on_disks_too(),
    Test::new("lookup_3_layers", "L1", |fx| precedence(fx, 3)),
    Test::new("lookup_10_layers", "L1", |fx| precedence(fx, 10)),
    Test::new("lookup_64_layers", "L1", |fx| precedence(fx, 64)),
    Test::new("lookup_upper_first", "L1 M4", upper_first).on_disks_too(),
    Test::new("lookup_file_over_dir", "L1", file_over_dir),
    Test::new("lookup_dir_over_file", "L1", dir_over_file),
    Test::new("lookup_symlink_over_dir", "L1", symlink_over_dir),
    Test::new("lookup_merged_dirs", "L1", merged_dirs),
    Test::new("lookup_merge_skips_layers", "L1", merge_skips_layers),
    Test::new("lookup_below_removed_dir", "L1", below_removed_dir).on_disks_too(),
    Test::new("lookup_deep", "L1", deep),
    Test::new("lookup_dotdot", "L1", dotdot),
    Test::new("lookup_negative", "L1 L2", negative),
    Test::new(
        "lookup_redirect_while_not_followed",
        "L4 X2 M7",
        redirect_while_off,
    ),
    Test::new("lookup_metacopy_while_off", "L4 X8 M13", metacopy_while_off),
    Test::new(
        "lookup_where_upper_is_read_only",
        "L3 X3 X4",
        upper_is_read_only,
    )
    .rovl_only("overlayfs fails with EROFS"),
    Test::new("lookup_not_a_directory", "L1", not_a_directory),
    Test::new("lookup_after_drop_caches", "L1 L8", after_drop_caches).on_disks_too(),
];

/// Each name shows the topmost layer that has it, whichever layers have it too.
fn precedence(fx: &Fixture, count: usize) -> Result {
    let layers = fx.layers(count)?;
    for (index, layer) in layers.iter().enumerate() {
        let data = format!("layer {index}");
        layer.dir("d")?.file("all", &data)?.file("d/all", &data)?;
        layer.file(format!("only{index}"), &data)?;
        // In this layer and in all below it.
        for from in 0..=index {
            layer.file(format!("from{from}"), &data)?;
        }
    }
    let ov = fx.lowers(&layers)?;
    content(ov.join("all"), "layer 0")?;
    content(ov.join("d/all"), "layer 0")?;
    for index in 0..count {
        content(ov.join(format!("only{index}")), &format!("layer {index}"))?;
        content(ov.join(format!("from{index}")), &format!("layer {index}"))?;
    }
    absent(ov.join(format!("only{count}")))
}

fn upper_first(fx: &Fixture) -> Result {
    let upper = fx.layer("upper")?;
    let lower = fx.layer("lower")?;
    upper.file("both", "upper")?.file("up", "upper")?.dir("d")?;
    lower
        .file("both", "lower")?
        .file("low", "lower")?
        .dir("d")?;
    upper.file("d/both", "upper")?.file("d/up", "upper")?;
    lower.file("d/both", "lower")?.file("d/low", "lower")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for prefix in ["", "d/"] {
        content(ov.join(format!("{prefix}both")), "upper")?;
        content(ov.join(format!("{prefix}up")), "upper")?;
        content(ov.join(format!("{prefix}low")), "lower")?;
    }
    Ok(())
}

fn file_over_dir(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.file("x", "file")?;
    bottom.dir("x")?.file("x/inner", "hidden")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("x"), "file")?;
    check::errno(
        "stat below it",
        sys::stat(ov.join("x/inner")),
        Errno::NOTDIR,
    )?;
    check::errno("opendir", sys::open_dir(ov.join("x")), Errno::NOTDIR)
}

/// A file between two directories ends the merge: the lower one is not seen.
fn dir_over_file(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[0].dir("x")?.file("x/a", "top")?;
    layers[1].file("x", "file")?;
    layers[2].dir("x")?.file("x/b", "hidden")?;
    let ov = fx.lowers(&layers)?;
    content(ov.join("x/a"), "top")?;
    absent(ov.join("x/b"))?;
    check::equal("names", sys::names(ov.join("x"))?, vec!["a"])
}

fn symlink_over_dir(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("other")?.file("other/o", "other")?;
    top.symlink("x", "other")?;
    bottom.dir("x")?.file("x/inner", "hidden")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    check::equal("type", sys::lstat_kind(ov.join("x"))?, FileType::Symlink)?;
    content(ov.join("x/o"), "other")?;
    absent(ov.join("x/inner"))
}

fn merged_dirs(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    for (index, layer) in layers.iter().enumerate() {
        layer.dir("a/b/c")?;
        for dir in ["", "a/", "a/b/", "a/b/c/"] {
            layer.file(format!("{dir}f{index}"), format!("{dir}{index}"))?;
        }
    }
    let ov = fx.lowers(&layers)?;
    for index in 0..3 {
        for dir in ["", "a/", "a/b/", "a/b/c/"] {
            content(ov.join(format!("{dir}f{index}")), &format!("{dir}{index}"))?;
        }
    }
    Ok(())
}

/// A directory merges with all of its name below, also if layers between lack it.
fn merge_skips_layers(fx: &Fixture) -> Result {
    let layers = fx.layers(5)?;
    layers[0].dir("d")?.file("d/a", "0")?;
    layers[2].dir("d")?.file("d/b", "2")?;
    layers[4].dir("d/e")?.file("d/e/c", "4")?;
    let ov = fx.lowers(&layers)?;
    content(ov.join("d/a"), "0")?;
    content(ov.join("d/b"), "2")?;
    content(ov.join("d/e/c"), "4")
}

fn deep(fx: &Fixture) -> Result {
    const DEPTH: usize = 200;
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let path = vec!["dir"; DEPTH].join("/");
    top.dir(&path)?.file(format!("{path}/top"), "top")?;
    bottom
        .dir(&path)?
        .file(format!("{path}/bottom"), "bottom")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join(format!("{path}/top")), "top")?;
    content(ov.join(format!("{path}/bottom")), "bottom")?;
    check::equal("names", sys::names(ov.join(&path))?, vec!["bottom", "top"])
}

/// `..` leads back to the merged parent, not into a layer.
fn dotdot(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("a")?.file("top", "top")?;
    bottom.dir("a/b/c")?.file("bottom", "bottom")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("a/b/c/../../../top"), "top")?;
    content(ov.join("a/b/../../bottom"), "bottom")?;
    let above = sys::stat(ov.join(".."))?;
    let base = sys::stat(crate::fixture::BASE)?;
    check::equal("inode above the mount", above.st_ino, base.st_ino)?;
    // From a directory that is held open, with all dentries between perhaps gone.
    let inner = sys::open_dir(ov.join("a/b/c"))?;
    sys::drop_caches().context("drop caches")?;
    let st = rustix::fs::statat(&inner, "../../..", rustix::fs::AtFlags::empty())?;
    check::equal("root by ..", st.st_ino, sys::stat(ov.path())?.st_ino)
}

fn negative(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[1].dir("d")?;
    let ov = fx.lowers(&layers)?;
    // The second look finds the negative dentry of the first.
    for _ in 0..2 {
        absent(ov.join("no"))?;
        absent(ov.join("d/no"))?;
        absent(ov.join("no/no"))?;
    }
    check::errno("open", sys::open_read(ov.join("no")), Errno::NOENT)?;
    check::errno("readlink", sys::readlink(ov.join("d/no")), Errno::NOENT)
}

fn not_a_directory(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.file("t", "")?;
    bottom.file("b", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for path in ["t/x", "b/x", "t/", "b/", "b/.."] {
        check::errno(path, sys::stat(ov.join(path)), Errno::NOTDIR)?;
    }
    Ok(())
}

/// Nothing changes when all cached names and inodes are gone.
fn after_drop_caches(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    for (index, layer) in layers.iter().enumerate() {
        layer.dir("d")?.file(format!("d/f{index}"), "data")?;
    }
    layers[1].whiteout("d/f2")?;
    let ov = fx.lowers(&layers)?;
    let before = sys::walk(ov.path())?;
    let inode = sys::stat(ov.join("d/f1"))?.st_ino;
    sys::drop_caches().context("drop caches")?;
    check::equal("tree", sys::walk(ov.path())?, before)?;
    check::equal("inode", sys::stat(ov.join("d/f1"))?.st_ino, inode)?;
    absent(ov.join("d/f2"))
}

/// What other layers have below a directory stays there when somebody removes it from one.
fn below_removed_dir(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d")?;
    bottom.dir("d")?.file("d/f", "bottom")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    sys::lstat(ov.join("d"))?;
    std::fs::remove_dir(top.join("d")).context("remove from the layer")?;
    content(ov.join("d/f"), "bottom")?;
    absent(ov.join("d/none"))
}

/// Who mounts does not want to be led elsewhere, by whichever layer.
fn redirect_while_off(fx: &Fixture) -> Result {
    let [top, middle, bottom] = [fx.layer("top")?, fx.layer("middle")?, fx.layer("bottom")?];
    for layer in [&top, &middle, &bottom] {
        layer.dir("good")?;
    }
    bottom.dir("old")?.file("old/low", "")?;
    top.dir("moved")?
        .xattr("moved", "trusted.overlay.redirect", b"old")?;
    middle
        .dir("moved-too")?
        .xattr("moved-too", "trusted.overlay.redirect", b"/old")?;
    let bad: [(&str, &[u8]); 4] = [
        ("empty", b""),
        ("relative", b"../old"),
        ("double", b"/old//low"),
        ("long", &[b'/'; 300]),
    ];
    for (name, value) in bad {
        top.dir(name)?
            .xattr(name, "trusted.overlay.redirect", value)?;
    }
    // Where nothing can be below, nothing is looked for.
    bottom
        .dir("last")?
        .xattr("last", "trusted.overlay.redirect", b"/none")?;
    let off = |options: Options| fx.mount(&options.set("redirect_dir", "nofollow"));
    let upper = Options::new()
        .lowers(&[&middle, &bottom])
        .upper(&top, &fx.work()?);
    for options in [Options::new().lowers(&[&top, &middle, &bottom]), upper] {
        let ov = off(options)?;
        for name in ["moved", "moved-too"] {
            check::errno(name, sys::lstat(ov.join(name)), Errno::PERM)?;
            check::errno("below", sys::lstat(ov.join(name).join("low")), Errno::PERM)?;
        }
        for (name, _) in bad {
            check::errno(name, sys::lstat(ov.join(name)), Errno::INVAL)?;
        }
        check::ok(sys::lstat(ov.join("last")).is_ok(), "stat of last")?;
        check::ok(sys::lstat(ov.join("good")).is_ok(), "stat of good")?;
        content(ov.join("old/low"), "")?;
        fx.unmount(ov.path())?;
    }
    Ok(())
}

/// A file whose data are in another layer is none without it.
fn metacopy_while_off(fx: &Fixture) -> Result {
    const METACOPY: &str = "trusted.overlay.metacopy";
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.file("empty", "")?.xattr("empty", METACOPY, b"")?;
    top.file("header", "")?
        .xattr("header", METACOPY, &[0, 4, 0, 0])?;
    top.file("bad", "")?.xattr("bad", METACOPY, &[0, 3, 0])?;
    for name in ["empty", "header", "bad"] {
        bottom.file(name, "data")?;
    }
    let upper = Options::new().lowers(&[&bottom]).upper(&top, &fx.work()?);
    for options in [Options::new().lowers(&[&top, &bottom]), upper] {
        let ov = fx.mount(&options.set("metacopy", "off"))?;
        for (name, errno) in [
            ("empty", Errno::PERM),
            ("header", Errno::PERM),
            ("bad", Errno::IO),
        ] {
            check::errno(name, sys::lstat(ov.join(name)), errno)?;
            check::errno(name, sys::open_read(ov.join(name)), errno)?;
        }
        fx.unmount(ov.path())?;
    }
    Ok(())
}

/// A directory that lies over a lower one by its name alone is found, though it cannot be marked.
fn upper_is_read_only(fx: &Fixture) -> Result {
    let parent = fx.tmpfs("own")?;
    let [upper, work] = upper_and_work(&Layer::create(parent.join("top"))?)?;
    let lower = fx.layer("lower")?;
    upper.dir("d")?.file("d/up", "")?;
    lower.dir("d")?.file("d/low", "")?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    mount_remount(&parent, MountFlags::RDONLY, c"").context("remount")?;
    lists(ov.join("d"), &["low", "up"])?;
    let result = sys::mkdir(&ov.join("d/new"), 0o755);
    check::errno("mkdir", result, Errno::ROFS)
}
