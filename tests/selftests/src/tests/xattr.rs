// SPDX-License-Identifier: GPL-2.0-only

//! Extended attributes: whose they are, their sizes, and the overlay's own names.

use std::path::Path;

use rustix::fs::lgetxattr;
use rustix::fs::lgetxattr_query;
use rustix::fs::llistxattr;
use rustix::fs::llistxattr_query;
use rustix::fs::FileType;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::check;
use crate::check::Result;
use crate::check::Table;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::CAPABILITY;
use crate::layer::NET_RAW;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("xattr_values", "F16", values).on_disks_too(),
    Test::new("xattr_sizes", "F16", sizes).on_disks_too(),
    Test::new("xattr_all_kinds_of_files", "F16", kinds).on_disks_too(),
    Test::new("xattr_of_merged_dir_are_topmost", "F16 L1", merged_dir),
    Test::new("xattr_trusted_needs_root", "F16", trusted),
    Test::new("xattr_user_needs_read_right", "F16 F15", user_right),
    Test::new("xattr_capability", "F16", capability).on_disks_too(),
    Test::new("xattr_own_names_hidden", "X11 F16", own_names).on_disks_too(),
    Test::new("xattr_escaped_names", "X11", escaped_names).on_disks_too(),
    Test::new("xattr_escaped_name_too_long", "X11", too_long),
    Test::new("xattr_other_namespace_is_ordinary", "X11", other_namespace),
    Test::new("xattr_userxattr_hides_user_names", "X11 M11", userxattr),
    Test::new("xattr_nested_overlay_strips_each_level", "X11 F25", nested),
    Test::new("xattr_unknown_names", "F16", unknown),
    Test::new("xattr_change_on_read_only", "F16", change),
    Test::new("xattr_in_upper", "F16 M4", in_upper).on_disks_too(),
    Test::new("xattr_after_drop_caches", "F16", after_drop_caches).on_disks_too(),
];

const USER: u32 = 1000;

/// The value, of at most 4096 bytes.
fn get(path: impl AsRef<Path>, name: &str) -> std::result::Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 4096];
    let length = lgetxattr(path.as_ref(), name, &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// The names, sorted.
fn list(path: impl AsRef<Path>) -> std::result::Result<Vec<String>, Errno> {
    let mut buffer = vec![0; 65536];
    let length = llistxattr(path.as_ref(), &mut buffer)?;
    let mut names: Vec<_> = buffer[..length]
        .split_terminator(|byte| *byte == 0)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    names.sort();
    Ok(names)
}

trait SplitTerminator {
    fn split_terminator(&self, end: fn(&u8) -> bool) -> impl Iterator<Item = &[u8]>;
}

impl SplitTerminator for [u8] {
    fn split_terminator(&self, end: fn(&u8) -> bool) -> impl Iterator<Item = &[u8]> {
        self.split_inclusive(end)
            .map(|part| &part[..part.len() - 1])
    }
}

#[track_caller]
fn has(path: impl AsRef<Path>, name: &str, value: impl AsRef<[u8]>) -> Result {
    check::equal(name, get(path, name), Ok(value.as_ref().to_vec()))
}

#[track_caller]
fn lists(path: impl AsRef<Path>, names: &[&str]) -> Result {
    let names = names.iter().map(|name| String::from(*name)).collect();
    check::equal("names", list(path), Ok::<Vec<String>, Errno>(names))
}

#[track_caller]
fn lacks(path: impl AsRef<Path>, name: &str) -> Result {
    check::errno(name, get(path, name), Errno::NODATA)
}

fn values(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let long = sys::pattern(1500, 7);
    bottom.file("f", "data")?.dir("d")?;
    for name in ["f", "d"] {
        bottom.xattr(name, "user.text", b"text")?;
        bottom.xattr(name, "user.empty", b"")?;
        bottom.xattr(name, "user.long", &long)?;
        bottom.xattr(name, "trusted.binary", b"\0\xff\n")?;
    }
    bottom.file("none", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["f", "d"] {
        let path = ov.join(name);
        has(&path, "user.text", "text")?;
        has(&path, "user.empty", "")?;
        has(&path, "user.long", &long)?;
        has(&path, "trusted.binary", b"\0\xff\n")?;
        lacks(&path, "user.missing")?;
        lists(
            &path,
            &["trusted.binary", "user.empty", "user.long", "user.text"],
        )?;
    }
    lists(ov.join("none"), &[])?;
    let missing = get(ov.join("missing"), "user.text");
    check::errno("of a missing file", missing, Errno::NOENT)
}

fn sizes(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?.xattr("f", "user.a", b"12345")?;
    bottom.xattr("f", "user.b", b"")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let path = ov.join("f");
    let mut small = [0u8; 4];
    let mut exact = [0u8; 5];
    let query = lgetxattr_query(&path, "user.a");
    check::equal("length asked for", query, Ok(5))?;
    check::errno(
        "small",
        lgetxattr(&path, "user.a", &mut small),
        Errno::RANGE,
    )?;
    check::equal("exact", lgetxattr(&path, "user.a", &mut exact), Ok(5))?;
    check::equal("value", &exact, b"12345")?;
    let query = lgetxattr_query(&path, "user.b");
    check::equal("length of nothing", query, Ok(0))?;

    let names = "user.a\0user.b\0".len();
    let mut small = [0u8; 10];
    let mut exact = vec![0u8; names];
    let query = llistxattr_query(&path);
    check::equal("length of the list", query, Ok(names))?;
    check::errno("small list", llistxattr(&path, &mut small), Errno::RANGE)?;
    check::equal("exact list", llistxattr(&path, &mut exact), Ok(names))
}

fn kinds(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.symlink("link", "target")?;
    bottom.node("fifo", FileType::Fifo, 0o644, (0, 0))?;
    bottom.node("null", FileType::CharacterDevice, 0o644, (1, 3))?;
    for name in ["link", "fifo", "null"] {
        bottom.xattr(name, "trusted.x", name.as_bytes())?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    let mut table = Table::new();
    for name in ["link", "fifo", "null"] {
        table.note(has(ov.join(name), "trusted.x", name))?;
        table.note(lacks(ov.join(name), "trusted.y"))?;
        table.note(lists(ov.join(name), &["trusted.x"]))?;
        let user = get(ov.join(name), "user.x");
        let on_layer = get(bottom.join(name), "user.x");
        table.note(check::equal(name, user, on_layer))?;
    }
    table.finish()
}

fn merged_dir(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d")?.xattr("d", "user.top", b"1")?;
    bottom.dir("d")?.xattr("d", "user.bottom", b"2")?;
    top.xattr("", "user.root", b"top")?;
    bottom.xattr("", "user.root", b"bottom")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    has(ov.join("d"), "user.top", "1")?;
    lacks(ov.join("d"), "user.bottom")?;
    lists(ov.join("d"), &["user.top"])?;
    has(ov.path(), "user.root", "top")
}

fn trusted(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?.xattr("f", "trusted.x", b"x")?;
    bottom.xattr("f", "trusted.overlay.overlay.x", b"x")?;
    bottom.xattr("f", "user.y", b"y")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    has(ov.join("f"), "trusted.x", "x")?;
    lists(ov.join("f"), &["trusted.overlay.x", "trusted.x", "user.y"])?;
    sys::as_user(USER, USER, &[], || {
        lacks(ov.join("f"), "trusted.x")?;
        lacks(ov.join("f"), "trusted.overlay.x")?;
        has(ov.join("f"), "user.y", "y")?;
        lists(ov.join("f"), &["user.y"])
    })?
}

fn user_right(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom
        .file("f", "")?
        .xattr("f", "user.x", b"x")?
        .chmod("f", 0o600)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    sys::as_user(USER, USER, &[], || {
        check::errno("value", get(ov.join("f"), "user.x"), Errno::ACCESS)?;
        // The names may be seen by all.
        lists(ov.join("f"), &["user.x"])
    })?
}

fn capability(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?.xattr("f", CAPABILITY, &NET_RAW)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    has(ov.join("f"), CAPABILITY, NET_RAW)?;
    lists(ov.join("f"), &["security.capability"])?;
    sys::as_user(USER, USER, &[], || has(ov.join("f"), CAPABILITY, NET_RAW))?
}

fn own_names(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.opaque_dir("d")?
        .xattr("d", "trusted.overlay.impure", b"y")?;
    top.xattr("d", "trusted.overlayx", b"x")?;
    top.file("f", "")?
        .xattr("f", "trusted.overlay.origin", b"")?;
    top.xattr("f", "trusted.overlay.anything", b"x")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["opaque", "impure", "origin", "anything"] {
        lacks(ov.join("d"), &format!("trusted.overlay.{name}"))?;
        lacks(ov.join("f"), &format!("trusted.overlay.{name}"))?;
    }
    lists(ov.join("d"), &["trusted.overlayx"])?;
    lists(ov.join("f"), &[])?;
    has(ov.join("d"), "trusted.overlayx", "x")?;
    let nothing = get(ov.join("d"), "trusted.overlay.");
    check::errno("only the prefix", nothing, Errno::INVAL)
}

fn escaped_names(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d")?
        .xattr("d", "trusted.overlay.overlay.opaque", b"y")?;
    top.xattr("d", "trusted.overlay.overlay.overlay.foo", b"2")?;
    bottom.dir("d")?.file("d/f", "")?;
    top.file("f", "")?
        .xattr("f", "trusted.overlay.overlay.whiteout", b"w")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    has(ov.join("d"), "trusted.overlay.opaque", "y")?;
    has(ov.join("d"), "trusted.overlay.overlay.foo", "2")?;
    lacks(ov.join("d"), "trusted.overlay.overlay.opaque")?;
    lists(
        ov.join("d"),
        &["trusted.overlay.opaque", "trusted.overlay.overlay.foo"],
    )?;
    has(ov.join("f"), "trusted.overlay.whiteout", "w")?;
    // To this overlay they mean nothing.
    sys::stat(ov.join("d/f"))?;
    Ok(())
}

fn too_long(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?;
    let fits = 255 - "trusted.overlay.overlay.".len();
    let name = "x".repeat(fits);
    bottom.xattr("f", &format!("trusted.overlay.overlay.{name}"), b"x")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    has(ov.join("f"), &format!("trusted.overlay.{name}"), "x")?;
    let longer = get(ov.join("f"), &format!("trusted.overlay.{name}x"));
    check::errno("one byte more", longer, Errno::OPNOTSUPP)
}

fn other_namespace(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d")?.xattr("d", "user.overlay.opaque", b"y")?;
    top.xattr("d", "user.overlay.overlay.foo", b"x")?;
    bottom.dir("d")?.file("d/f", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    has(ov.join("d"), "user.overlay.opaque", "y")?;
    has(ov.join("d"), "user.overlay.overlay.foo", "x")?;
    lists(
        ov.join("d"),
        &["user.overlay.opaque", "user.overlay.overlay.foo"],
    )?;
    sys::stat(ov.join("d/f"))?;
    Ok(())
}

fn userxattr(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d")?.xattr("d", "user.overlay.opaque", b"y")?;
    top.xattr("d", "user.overlay.overlay.foo", b"x")?;
    top.xattr("d", "trusted.overlay.impure", b"z")?;
    bottom.dir("d")?.file("d/f", "")?;
    let ov = fx.mount(&Options::new().lowers(&[&top, &bottom]).flag("userxattr"))?;
    lacks(ov.join("d"), "user.overlay.opaque")?;
    has(ov.join("d"), "user.overlay.foo", "x")?;
    has(ov.join("d"), "trusted.overlay.impure", "z")?;
    lists(
        ov.join("d"),
        &["trusted.overlay.impure", "user.overlay.foo"],
    )?;
    check::errno("hidden", sys::stat(ov.join("d/f")), Errno::NOENT)
}

fn nested(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.file("f", "")?;
    top.xattr("f", "trusted.overlay.overlay.overlay.x", b"inner")?;
    top.dir("d")?
        .xattr("d", "trusted.overlay.overlay.opaque", b"y")?;
    bottom.dir("d")?.file("d/hidden", "")?;
    let other = fx.layer("other")?;
    other.dir("d")?.file("d/other", "")?;
    let below = fx.lowers(&[&top, &bottom])?;
    let paths = [below.path(), other.path()].map(|path| path.as_os_str().to_owned());
    let ov = fx.mount(&Options::new().set("lowerdir", paths.join(":".as_ref())))?;
    has(below.join("f"), "trusted.overlay.overlay.x", "inner")?;
    has(ov.join("f"), "trusted.overlay.x", "inner")?;
    lists(ov.join("f"), &["trusted.overlay.x"])?;
    // What is escaped in the layer of the lower overlay is a mark for the upper one.
    sys::stat(below.join("d/hidden"))?;
    sys::stat(ov.join("d/hidden"))?;
    check::errno("other", sys::stat(ov.join("d/other")), Errno::NOENT)?;
    lists(ov.join("d"), &[])
}

fn unknown(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let mut table = Table::new();
    for name in [
        "foo.bar",
        "system.foo",
        "user.",
        "trusted.",
        "security.none",
        "x",
    ] {
        let seen = get(ov.join("f"), name);
        table.note(check::equal(name, seen, get(bottom.join("f"), name)))?;
    }
    table.finish()
}

fn change(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?.xattr("f", "user.x", b"x")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["user.x", "user.new", "trusted.overlay.opaque", "trusted.x"] {
        let set = rustix::fs::lsetxattr(ov.join("f"), name, b"new", XattrFlags::empty());
        check::errno(format_args!("set {name}"), set, Errno::ROFS)?;
        let removed = rustix::fs::lremovexattr(ov.join("f"), name);
        check::errno(format_args!("remove {name}"), removed, Errno::ROFS)?;
    }
    has(ov.join("f"), "user.x", "x")
}

fn in_upper(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("f", "")?.xattr("f", "user.x", b"upper")?;
    lower.file("f", "")?.xattr("f", "user.x", b"lower")?;
    lower.xattr("f", "user.y", b"lower")?;
    upper
        .dir("d")?
        .xattr("d", "trusted.overlay.overlay.x", b"x")?;
    let ov = fx.upper(&upper, &[&lower])?;
    has(ov.join("f"), "user.x", "upper")?;
    lacks(ov.join("f"), "user.y")?;
    lists(ov.join("d"), &["trusted.overlay.x"])
}

fn after_drop_caches(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?.xattr("f", "user.x", b"x")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let file = sys::open_read(ov.join("f"))?;
    for _ in 0..3 {
        has(ov.join("f"), "user.x", "x")?;
        let mut buffer = [0; 8];
        let length = rustix::fs::fgetxattr(&file, "user.x", &mut buffer)?;
        check::equal("by descriptor", length, 1)?;
        sys::drop_caches()?;
    }
    Ok(())
}
