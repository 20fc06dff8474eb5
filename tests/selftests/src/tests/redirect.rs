// SPDX-License-Identifier: GPL-2.0-only

//! Directories that lower layers have a part in, renamed and found again.

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::remove::is_whiteout;
use super::rename::is_opaque;
use super::rename::rename;
use super::rename::with_flags;
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
use crate::stack::Stack;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("redirect_in_place", "D5 X2 L4", in_place).on_disks_too(),
    Test::new("redirect_to_another_directory", "D5 X2 L4", to_another).on_disks_too(),
    Test::new("redirect_below_renamed", "D5 X2", below_renamed),
    Test::new("redirect_exchange", "D5 X2", exchange),
    Test::new("redirect_leaves_room", "D5 D4 X2", leaves_room),
    Test::new("redirect_longer_than_allowed", "D5 X2", too_long),
    Test::new("redirect_through_layers", "X2 L4", through_layers),
    Test::new("redirect_upper_becomes_lower", "X2 L4", becomes_lower),
    Test::new("redirect_past_opaque", "X2 X1", past_opaque),
    Test::new("redirect_followed_or_not", "M7 L4", followed_or_not),
    Test::new("redirect_keeps_numbers", "X2 X4 1.10", keeps_numbers),
];

const REDIRECT: &str = "trusted.overlay.redirect";

fn on() -> Options {
    Options::new().set("redirect_dir", "on")
}

/// The directory of upper says this.
fn says(layer: &Layer, name: &str, expected: &str) -> Result {
    let mut value = [0; 512];
    let length = rustix::fs::lgetxattr(layer.join(name), REDIRECT, &mut value[..])
        .context(format_args!("redirect of {name}"))?;
    let found = String::from_utf8_lossy(&value[..length]);
    check::equal(format_args!("redirect of {name}"), &*found, expected)
}

fn in_place(fx: &Fixture) -> Result {
    let layers = fx.layers(2)?;
    let stack = Stack::with(fx, &[&layers[0], &layers[1]], on())?;
    for (index, layer) in layers.iter().enumerate() {
        layer.dir("low/sub")?.file(format!("low/{index}"), "low")?;
        layer
            .dir("merged")?
            .file(format!("merged/{index}"), "merged")?;
    }
    stack.upper.dir("merged")?.file("merged/up", "up")?;
    let ov = stack.mount()?;
    rename(&ov, "low", "first")?;
    rename(&ov, "first", "second")?;
    rename(&ov, "merged", "new")?;
    says(&stack.upper, "second", "low")?;
    says(&stack.upper, "new", "merged")?;
    is_whiteout(stack.upper.join("low"))?;
    is_whiteout(stack.upper.join("merged"))?;
    absent(stack.upper.join("first"))?;
    std::fs::write(ov.join("second/made"), "made")?;
    stack.stays(ov, |ov| {
        lists(ov.path(), &["new", "second"])?;
        lists(ov.join("second"), &["0", "1", "made", "sub"])?;
        lists(ov.join("new"), &["0", "1", "up"])?;
        content(ov.join("second/1"), "low")?;
        content(ov.join("second/made"), "made")?;
        content(ov.join("new/1"), "merged")
    })
}

fn to_another(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::with(fx, &[&lower], on())?;
    lower.dir("a/b/c")?.file("a/b/c/file", "c")?.dir("other")?;
    lower.dir("top/sub")?.file("top/sub/file", "sub")?;
    stack.upper.dir("pure")?;
    let ov = stack.mount()?;
    rename(&ov, "a/b/c", "other/c")?;
    rename(&ov, "top", "pure/top")?;
    rename(&ov, "pure/top", "pure/again")?;
    says(&stack.upper, "other/c", "/a/b/c")?;
    says(&stack.upper, "pure/again", "/top")?;
    is_whiteout(stack.upper.join("a/b/c"))?;
    stack.stays(ov, |ov| {
        content(ov.join("other/c/file"), "c")?;
        content(ov.join("pure/again/sub/file"), "sub")?;
        lists::<&str>(ov.join("a/b"), &[])?;
        lists(ov.path(), &["a", "other", "pure"])
    })
}

/// A path is made of the names that lower layers know.
fn below_renamed(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::with(fx, &[&lower], on())?;
    lower
        .dir("a/b/c/d")?
        .file("a/b/c/d/file", "d")?
        .dir("x/y/z")?;
    lower.file("x/y/z/file", "z")?;
    let ov = stack.mount()?;
    rename(&ov, "a", "a2")?;
    rename(&ov, "a2/b", "a2/b2")?;
    rename(&ov, "a2/b2/c", "c")?;
    says(&stack.upper, "c", "/a/b/c")?;
    rename(&ov, "c/d", "d")?;
    says(&stack.upper, "d", "/a/b/c/d")?;
    rename(&ov, "x/y", "x/y2")?;
    says(&stack.upper, "x/y2", "y")?;
    rename(&ov, "x/y2", "y3")?;
    says(&stack.upper, "y3", "/x/y")?;
    stack.stays(ov, |ov| {
        content(ov.join("d/file"), "d")?;
        content(ov.join("y3/z/file"), "z")?;
        lists::<&str>(ov.join("c"), &[])?;
        lists::<&str>(ov.join("a2/b2"), &[])?;
        lists(ov.path(), &["a2", "c", "d", "x", "y3"])
    })
}

fn exchange(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::with(fx, &[&lower], on())?;
    for name in ["a/one", "a/two", "b/three"] {
        lower
            .dir(name)?
            .file(format!("{name}/{}", &name[2..]), "")?;
    }
    stack
        .upper
        .dir("pure")?
        .file("pure/own", "")?
        .file("file", "file")?;
    let ov = stack.mount()?;
    let flags = RenameFlags::EXCHANGE;
    with_flags(&ov, "a/one", "a/two", flags).context("in place")?;
    says(&stack.upper, "a/one", "two")?;
    says(&stack.upper, "a/two", "one")?;
    with_flags(&ov, "a/one", "b/three", flags).context("of two directories")?;
    says(&stack.upper, "a/one", "/b/three")?;
    says(&stack.upper, "b/three", "/a/two")?;
    with_flags(&ov, "a/two", "pure", flags).context("with one of upper")?;
    with_flags(&ov, "b/three", "file", flags).context("with a file")?;
    check::ok(is_opaque(stack.upper.join("a/two"))?, "not opaque")?;
    stack.stays(ov, |ov| {
        lists(ov.join("a/one"), &["three"])?;
        lists(ov.join("a/two"), &["own"])?;
        lists(ov.join("pure"), &["one"])?;
        lists(ov.join("file"), &["two"])?;
        content(ov.join("b/three"), "file")
    })
}

/// What comes to the old name has nothing of it.
fn leaves_room(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::with(fx, &[&lower], on())?;
    lower
        .dir("d")?
        .file("d/a", "a")?
        .file("d/b", "b")?
        .dir("e")?
        .dir("f")?;
    lower.file("f/hidden", "")?;
    let ov = stack.mount()?;
    rename(&ov, "d", "moved")?;
    std::fs::create_dir(ov.join("d"))?;
    lists::<&str>(ov.join("d"), &[])?;
    rustix::fs::unlink(ov.join("moved/a"))?;
    is_whiteout(stack.upper.join("moved/a"))?;
    let result = rustix::fs::rmdir(ov.join("moved"));
    check::errno("not empty", result, Errno::NOTEMPTY)?;
    rename(&ov, "moved", "e")?;
    lists(ov.join("e"), &["b"])?;
    rustix::fs::unlink(ov.join("e/b"))?;
    rustix::fs::unlink(ov.join("f/hidden"))?;
    rename(&ov, "e", "f")?;
    lists::<&str>(ov.join("f"), &[])?;
    stack.stays(ov, |ov| {
        lists(ov.path(), &["d", "f"])?;
        lists::<&str>(ov.join("d"), &[])?;
        lists::<&str>(ov.join("f"), &[])
    })
}

/// Only paths are bounded, by 256 bytes unless the module is told otherwise.
fn too_long(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::with(fx, &[&lower], on())?;
    // A path of 256 bytes, and one of 257.
    let (fits, long) = ("f".repeat(251), "g".repeat(252));
    lower
        .dir(format!("{fits}/dir"))?
        .dir(format!("{long}/dir"))?
        .dir("to")?;
    lower.dir("h".repeat(255))?;
    let ov = stack.mount()?;
    rename(&ov, &format!("{fits}/dir"), "to/fits")?;
    let result = rustix::fs::rename(ov.join(&long).join("dir"), ov.join("to/long"));
    check::errno("too long", result, Errno::XDEV)?;
    rename(&ov, &"h".repeat(255), "name")?;
    stack.stays(ov, |ov| {
        lists(ov.join("to"), &["fits"])?;
        lists(ov.join(&long), &["dir"])?;
        lists::<&str>(ov.join("name"), &[])
    })
}

/// Each layer can lead elsewhere in those below it.
fn through_layers(fx: &Fixture) -> Result {
    let layers = fx.layers(5)?;
    for (index, name) in ["a", "a", "b", "x/c", "x/d"].into_iter().enumerate() {
        layers[index]
            .dir(name)?
            .file(format!("{name}/{index}"), "")?;
        layers[index]
            .dir(format!("{name}/sub"))?
            .file(format!("{name}/sub/s{index}"), "")?;
    }
    layers[1].xattr("a", REDIRECT, b"b")?;
    layers[2].xattr("b", REDIRECT, b"/x/c")?;
    // On the way of a path.
    layers[3]
        .xattr("x", REDIRECT, b"y")?
        .xattr("x/c", REDIRECT, b"d")?;
    layers[4]
        .dir("y/d/sub")?
        .file("y/d/4y", "")?
        .file("y/d/sub/s4y", "")?;
    let ov = fx.mount(&on().lowers(&layers)).context("mount")?;
    lists(ov.join("a"), &["0", "1", "2", "3", "4y", "sub"])?;
    lists(ov.join("a/sub"), &["s0", "s1", "s2", "s3", "s4y"])?;
    fx.unmount(ov.path())?;
    Ok(())
}

fn becomes_lower(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::with(fx, &[&lower], on())?;
    lower
        .dir("a/b")?
        .file("a/b/file", "data")?
        .dir("c")?
        .file("c/c", "")?;
    let ov = stack.mount()?;
    rename(&ov, "a/b", "c/b")?;
    rename(&ov, "c", "d")?;
    fx.unmount(ov.path())?;
    let top = fx.layer("top")?;
    let options = on()
        .lowers(&[&stack.upper, &lower])
        .upper(&top, &fx.work()?);
    let ov = fx.mount(&options).context("mount")?;
    content(ov.join("d/b/file"), "data")?;
    rename(&ov, "d/b", "e")?;
    says(&top, "e", "/d/b")?;
    lists(ov.join("d"), &["c"])?;
    for _ in 0..2 {
        content(ov.join("e/file"), "data")?;
        lists(ov.path(), &["a", "d", "e"])?;
        sys::drop_caches()?;
    }
    fx.unmount(ov.path())?;
    Ok(())
}

/// An opaque directory hides what is merged with it, and not what something in it leads to.
fn past_opaque(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::with(fx, &[&lower], on())?;
    lower
        .dir("p/d")?
        .file("p/d/hidden", "")?
        .file("p/hidden", "")?;
    lower.dir("q/r")?.file("q/r/shown", "")?;
    stack.upper.opaque_dir("p")?.dir("p/d")?.dir("p/moved")?;
    stack.upper.xattr("p/moved", REDIRECT, b"/q/r")?;
    let ov = stack.mount()?;
    stack.stays(ov, |ov| {
        lists(ov.join("p"), &["d", "moved"])?;
        lists::<&str>(ov.join("p/d"), &[])?;
        lists(ov.join("p/moved"), &["shown"])
    })
}

fn followed_or_not(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let (upper, work) = (fx.layer("upper")?, fx.layer("work")?);
    lower.dir("a")?.file("a/low", "")?.dir("plain")?;
    upper
        .dir("b")?
        .file("b/up", "")?
        .xattr("b", REDIRECT, b"a")?;
    let mount = |mode: &str| {
        let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
        fx.mount(&options.set("redirect_dir", mode))
            .context(mode.to_owned())
    };
    for mode in ["follow", "on", "off"] {
        let ov = mount(mode)?;
        lists(ov.join("b"), &["low", "up"])?;
        if mode == "follow" {
            let result = rustix::fs::rename(ov.join("b"), ov.join("c"));
            check::errno("redirected", result, Errno::XDEV)?;
            let result = rustix::fs::rename(ov.join("plain"), ov.join("c"));
            check::errno("plain", result, Errno::XDEV)?;
        }
        fx.unmount(ov.path())?;
    }
    let ov = mount("nofollow")?;
    check::errno("stat", sys::lstat(ov.join("b")), Errno::PERM)?;
    lists(ov.join("a"), &["low"])?;
    fx.unmount(ov.path())?;
    Ok(())
}

fn keeps_numbers(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let stack = Stack::with(fx, &[&lower], on())?;
    lower.dir("a/d")?.file("a/d/file", "")?;
    stack.upper.dir("pure")?;
    let ov = stack.mount()?;
    let number = |path: &str| -> Result<u64> { Ok(sys::lstat(ov.join(path))?.st_ino) };
    let (dir, file) = (number("a/d")?, number("a/d/file")?);
    rename(&ov, "a/d", "pure/d")?;
    check::equal("directory", number("pure/d")?, dir)?;
    check::equal("file", number("pure/d/file")?, file)?;
    let entries = sys::list(ov.join("pure"))?;
    let entry = entries.iter().find(|entry| entry.name == "d");
    check::equal("listed", entry.map(|entry| entry.ino), Some(dir))?;
    stack.stays(ov, |ov| {
        check::equal("again", sys::lstat(ov.join("pure/d"))?.st_ino, dir)
    })
}
