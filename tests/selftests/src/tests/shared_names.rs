// SPDX-License-Identifier: GPL-2.0-only

//! Files that lower layers have by several names, though they count one link: here two directories of a layer
//! stand for the same one below.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::io::Errno;

use super::remove::is_whiteout;
use super::rename::rename;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::stack::Stack;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("shared_names_both_written", "C1 L4 X2", both_written).on_disks_too(),
    Test::new("shared_names_second_is_renamed", "C1 D5 L4", second_renamed),
    Test::new("shared_names_second_is_linked", "C1 D3 L4", second_linked),
    Test::new("shared_names_attributes_of_second", "C1 F14 L4", attributes),
    Test::new("shared_names_taken_in_upper", "C1 L4", taken),
    Test::new("shared_names_second_is_removed", "D4 L4", second_removed)
        .rovl_only("overlayfs fails with ESTALE"),
    Test::new("shared_names_second_is_replaced", "D5 L4", second_replaced)
        .rovl_only("overlayfs fails with ESTALE"),
];

/// Layers in which `one/f` and `two/f` are one file, mounted.
fn mount(fx: &Fixture) -> Result<(Stack<'_>, Mounted)> {
    let (middle, bottom) = (fx.layer("middle")?, fx.layer("bottom")?);
    bottom.dir("d")?.file("d/f", "old")?;
    for name in ["one", "two"] {
        middle.dir(name)?;
        middle.xattr(name, "trusted.overlay.redirect", b"/d")?;
    }
    let options = Options::new().set("redirect_dir", "follow");
    let stack = Stack::with(fx, &[&middle, &bottom], options)?;
    let ov = stack.mount()?;
    content(ov.join("one/f"), "old")?;
    content(ov.join("two/f"), "old")?;
    Ok((stack, ov))
}

/// The names stand for one file of upper.
fn are_one(upper: &Layer, names: [&str; 2]) -> Result {
    let [one, two] = names.map(|name| sys::lstat(upper.join(name)));
    let (one, two) = (one?, two?);
    check::equal("inode in upper", one.st_ino, two.st_ino)?;
    check::equal("links in upper", one.st_nlink, 2)
}

fn write(path: impl AsRef<Path>, data: &str) -> Result {
    let path = path.as_ref();
    fs::write(path, data).context(format_args!("write {path:?}"))
}

fn both_written(fx: &Fixture) -> Result {
    let (stack, ov) = mount(fx)?;
    write(ov.join("one/f"), "first")?;
    content(ov.join("two/f"), "first")?;
    write(ov.join("two/f"), "second")?;
    are_one(&stack.upper, ["one/f", "two/f"])?;
    let (path, name) = (stack.upper.join("one/f"), "trusted.overlay.nlink");
    let mut value = [0; 16];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).context(name)?;
    check::bytes(name, &value[..length], b"U-1")?;
    stack.stays(ov, |ov| {
        content(ov.join("one/f"), "second")?;
        content(ov.join("two/f"), "second")?;
        lists(ov.join("two"), &["f"])
    })
}

fn second_renamed(fx: &Fixture) -> Result {
    let (stack, ov) = mount(fx)?;
    write(ov.join("one/f"), "new")?;
    rename(&ov, "two/f", "two/g")?;
    stack.stays(ov, |ov| {
        absent(ov.join("two/f"))?;
        content(ov.join("two/g"), "new")?;
        content(ov.join("one/f"), "new")?;
        lists(ov.join("two"), &["g"])
    })
}

fn second_linked(fx: &Fixture) -> Result {
    let (stack, ov) = mount(fx)?;
    write(ov.join("one/f"), "new")?;
    rustix::fs::link(ov.join("two/f"), ov.join("g")).context("link")?;
    let links = sys::lstat(stack.upper.join("g"))?.st_nlink;
    check::equal("links in upper", links, 3)?;
    stack.stays(ov, |ov| {
        for name in ["one/f", "two/f", "g"] {
            content(ov.join(name), "new")?;
        }
        Ok(())
    })
}

fn attributes(fx: &Fixture) -> Result {
    let (stack, ov) = mount(fx)?;
    write(ov.join("one/f"), "new")?;
    let path = ov.join("two/f");
    fs::set_permissions(path, fs::Permissions::from_mode(0o604)).context("chmod")?;
    are_one(&stack.upper, ["one/f", "two/f"])?;
    stack.stays(ov, |ov| {
        let mode = sys::lstat(ov.join("two/f"))?.st_mode & 0o777;
        check::equal("mode", mode, 0o604)
    })
}

/// What somebody has put into upper meanwhile stays.
fn taken(fx: &Fixture) -> Result {
    let (stack, ov) = mount(fx)?;
    write(ov.join("one/f"), "new")?;
    fs::set_permissions(ov.join("two"), fs::Permissions::from_mode(0o755)).context("chmod")?;
    write(stack.upper.join("two/f"), "other")?;
    let result = fs::write(ov.join("two/f"), "lost");
    check::errno("write", result, Errno::EXIST)?;
    content(stack.upper.join("two/f"), "other")?;
    content(ov.join("one/f"), "new")
}

fn second_removed(fx: &Fixture) -> Result {
    let (stack, ov) = mount(fx)?;
    write(ov.join("one/f"), "new")?;
    let open = sys::open_read(ov.join("two/f"))?;
    fs::remove_file(ov.join("two/f")).context("remove")?;
    // Nothing that is done to the file gives the name back.
    rustix::fs::fchmod(&open, 0o604.into()).context("chmod of the open file")?;
    absent(ov.join("two/f"))?;
    is_whiteout(stack.upper.join("two/f"))?;
    content(ov.join("one/f"), "new")?;
    write(ov.join("two/f"), "another")?;
    content(ov.join("one/f"), "new")?;
    drop(open);
    stack.stays(ov, |ov| {
        content(ov.join("one/f"), "new")?;
        content(ov.join("two/f"), "another")
    })
}

/// A name is renamed over, which upper has not.
fn second_replaced(fx: &Fixture) -> Result {
    let (stack, ov) = mount(fx)?;
    write(ov.join("one/f"), "new")?;
    write(ov.join("g"), "other")?;
    rename(&ov, "g", "two/f")?;
    stack.stays(ov, |ov| {
        content(ov.join("one/f"), "new")?;
        content(ov.join("two/f"), "other")
    })
}
