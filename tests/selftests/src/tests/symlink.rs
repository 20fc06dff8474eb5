// SPDX-License-Identifier: GPL-2.0-only

//! Symbolic links: reading and following them.

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::check::Table;
use crate::expect::content;
use crate::fixture::Fixture;
use crate::registry::Test;
use crate::sys;
use crate::sys::name;

pub const TESTS: &[Test] = &[
    Test::new("symlink_readlink", "D7", readlink).on_disks_too(),
    Test::new("symlink_target_of_any_length", "D7", any_length).on_disks_too(),
    Test::new("symlink_readlink_truncates", "D7", truncates),
    Test::new("symlink_readlink_of_others", "D7", readlink_of_others),
    Test::new("symlink_followed_across_layers", "D7 L1", across_layers),
    Test::new("symlink_followed_out_of_the_mount", "D7", out_of_the_mount),
    Test::new("symlink_chain_and_loop", "D7", chain_and_loop),
    Test::new("symlink_dangling", "D7", dangling),
    Test::new("symlink_precedence", "D7 L1", precedence),
    Test::new("symlink_in_upper", "D7 M4", in_upper),
    Test::new("symlink_not_followed_if_asked", "D7", not_followed),
    Test::new("symlink_after_drop_caches", "D7 L8", after_drop_caches).on_disks_too(),
];

fn readlink(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let targets: [&[u8]; 6] = [
        b"plain",
        b"/absolute/path",
        b"../../up",
        b"trailing/",
        b"odd\nbytes\xff\\",
        b".",
    ];
    for (index, target) in targets.iter().enumerate() {
        let layer = [&top, &bottom][index % 2];
        layer.symlink(format!("l{index}"), name(target))?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    let mut table = Table::new();
    for (index, target) in targets.iter().enumerate() {
        let read = sys::readlink(ov.join(format!("l{index}")))?;
        table.note(check::equal("target", read.as_os_str(), name(target)))?;
    }
    table.finish()
}

/// Lengths around those at which filesystems store the target in another way.
fn any_length(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let longest = match fx.backing() {
        // XFS stores less than others.
        crate::registry::Backing::Xfs => 1023,
        _ => 4095,
    };
    let lengths = [1, 59, 60, 61, 127, 128, 255, 1022, longest];
    for length in lengths {
        bottom.symlink(format!("l{length}"), "x".repeat(length))?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    for length in lengths {
        let path = ov.join(format!("l{length}"));
        check::equal("target length", sys::readlink(&path)?.len(), length)?;
        check::equal("size", sys::lstat(&path)?.st_size, length as i64)?;
    }
    Ok(())
}

fn truncates(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.symlink("l", "0123456789")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let mut buffer = [0; 4];
    let length = rustix::fs::readlinkat_raw(rustix::fs::CWD, ov.join("l"), &mut buffer)?;
    check::bytes("part read", &buffer[..length], b"0123")
}

fn readlink_of_others(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?.dir("d")?;
    bottom.symlink("link", "f")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for other in ["f", "d", ""] {
        check::errno(other, sys::readlink(ov.join(other)), Errno::INVAL)?;
    }
    check::errno("link/", sys::readlink(ov.join("link/")), Errno::NOTDIR)
}

/// A link in one layer leads to names of the overlay, whichever layer has them.
fn across_layers(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d")?.file("d/t", "top")?.symlink("to-b", "d/b")?;
    bottom
        .dir("d")?
        .file("d/b", "bottom")?
        .symlink("to-t", "d/t")?;
    bottom.symlink("d/up", "../top-only")?.symlink("dir", "d")?;
    top.file("top-only", "top only")?
        .symlink("hidden", "d/gone")?;
    bottom.file("d/gone", "")?;
    top.whiteout("d/gone")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("to-b"), "bottom")?;
    content(ov.join("to-t"), "top")?;
    content(ov.join("d/up"), "top only")?;
    content(ov.join("dir/t"), "top")?;
    content(ov.join("dir/up"), "top only")?;
    check::errno("to a whiteout", sys::stat(ov.join("hidden")), Errno::NOENT)
}

fn out_of_the_mount(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let outside = fx.place("outside")?;
    std::fs::write(outside.join("f"), "outside")?;
    bottom.symlink("absolute", outside.join("f"))?;
    bottom.symlink("relative", "../outside/f")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("absolute"), "outside")?;
    content(ov.join("relative"), "outside")
}

fn chain_and_loop(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("l0", "end")?;
    for n in 1..=41 {
        // Even and odd links are in different layers.
        let layer = [&top, &bottom][n % 2];
        layer.symlink(format!("l{n}"), format!("l{}", n - 1))?;
    }
    top.symlink("a", "b")?;
    bottom.symlink("b", "a")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("l40"), "end")?;
    check::errno("41 links", sys::stat(ov.join("l41")), Errno::LOOP)?;
    check::errno("loop", sys::stat(ov.join("a")), Errno::LOOP)?;
    check::errno("loop", sys::open_read(ov.join("b/x")), Errno::LOOP)
}

fn dangling(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.symlink("l", "nowhere")?.symlink("m", "no/where")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    sys::lstat(ov.join("l"))?;
    check::errno("stat", sys::stat(ov.join("l")), Errno::NOENT)?;
    check::errno("open", sys::open_read(ov.join("m")), Errno::NOENT)
}

fn precedence(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[0].symlink("all", "zero")?;
    layers[1].symlink("all", "one")?.symlink("two", "one")?;
    layers[2].symlink("all", "two")?.file("two", "hidden")?;
    layers[2].whiteout("gone")?;
    let ov = fx.lowers(&layers)?;
    check::equal("all", sys::readlink(ov.join("all"))?, "zero")?;
    check::equal("two", sys::readlink(ov.join("two"))?, "one")
}

fn in_upper(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.symlink("l", "low")?.symlink("m", "d/low")?;
    lower
        .file("low", "lower")?
        .dir("d")?
        .file("d/low", "deep")?;
    lower.symlink("l", "wrong")?;
    let ov = fx.upper(&upper, &[&lower])?;
    check::equal("target", sys::readlink(ov.join("l"))?, "low")?;
    content(ov.join("l"), "lower")?;
    content(ov.join("m"), "deep")
}

fn not_followed(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?.symlink("l", "f")?;
    bottom.dir("d")?.symlink("ld", "d")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let open = |path: &str, flags| sys::open(ov.join(path), flags | OFlags::NOFOLLOW);
    check::errno("open l", open("l", OFlags::RDONLY), Errno::LOOP)?;
    let result = open("ld", OFlags::RDONLY | OFlags::DIRECTORY);
    check::errno("open ld", result, Errno::NOTDIR)?;
    let link = open("l", OFlags::PATH)?;
    let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
    check::bytes("target by fd", target.as_bytes(), b"f")
}

fn after_drop_caches(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let long = format!("{}/f", "./".repeat(400));
    bottom.file("f", "data")?.symlink("l", "f")?;
    bottom.symlink("long", &long)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for _ in 0..2 {
        content(ov.join("l"), "data")?;
        content(ov.join("long"), "data")?;
        check::equal("target", sys::readlink(ov.join("long"))?, long.as_str())?;
        sys::drop_caches().context("drop caches")?;
    }
    Ok(())
}
