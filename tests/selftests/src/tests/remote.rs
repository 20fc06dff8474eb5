// SPDX-License-Identifier: GPL-2.0-only

//! Layers on a filesystem that a server answers for: what it must be able to do, and what it is told.

use rustix::io::Errno;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::check::Table;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::fuse;
use crate::fuse::Features;
use crate::layer::Layer;
use crate::rawsys;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("remote_upper_lacks_features", "E15 W2", lacks_features),
    Test::new("remote_layers_are_read", "E15 L1 L6 R1", are_read),
    Test::new("remote_layer_without_statfs", "E8", without_statfs),
    Test::new("remote_lower_is_flushed", "F8", is_flushed),
    Test::new("remote_flush_fails", "F8", flush_fails),
    Test::new(
        "name_longer_than_other_layers_allow",
        "L1 F19 R2 1.5",
        long_name,
    ),
    Test::new("ino_too_big_for_xino", "1.10 M12 R4", too_big_for_xino),
];

pub(super) fn upper_and_work(top: &Layer) -> Result<[Layer; 2]> {
    Ok([
        Layer::create(top.join("upper"))?,
        Layer::create(top.join("work"))?,
    ])
}

/// Without file types, whiteouts made by rename or attributes it cannot be an upper layer.
fn lacks_features(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    lower.file("file", "lower")?;
    let all = Features::ALL;
    let mut table = Table::new();
    for (what, features) in [
        (
            "types",
            Features {
                types: false,
                ..all
            },
        ),
        (
            "whiteouts",
            Features {
                whiteouts: false,
                ..all
            },
        ),
        (
            "xattrs",
            Features {
                xattrs: false,
                ..all
            },
        ),
    ] {
        let top = fuse::filesystem(fx, what, features)?;
        let [upper, work] = upper_and_work(&top)?;
        let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
        table.note(check::errno(what, fx.mount(&options), Errno::INVAL))?;
        // As a lower layer it needs none of them.
        upper.file("other", "")?;
        let ov = fx.lowers(&[&upper, &lower])?;
        content(ov.join("file"), "lower")?;
    }
    table.finish()
}

fn are_read(fx: &Fixture) -> Result {
    let top = fuse::filesystem(fx, "top", Features::ALL)?;
    let bottom = fuse::filesystem(fx, "bottom", Features::ALL)?;
    let [upper, work] = upper_and_work(&top)?;
    upper
        .file("both", "upper")?
        .dir("dir")?
        .file("dir/up", "")?;
    upper.whiteout("gone")?;
    bottom.file("both", "lower")?.file("low", "low")?;
    bottom
        .file("gone", "")?
        .dir("dir")?
        .file("dir/low", "down")?;
    let ov = fx.mount(&Options::new().lowers(&[&bottom]).upper(&upper, &work))?;
    lists(ov.path(), &["both", "dir", "low"])?;
    lists(ov.join("dir"), &["low", "up"])?;
    content(ov.join("both"), "upper")?;
    content(ov.join("dir/low"), "down")?;
    crate::expect::absent(ov.join("gone"))
}

/// What the filesystem says is what the mount says.
fn without_statfs(fx: &Fixture) -> Result {
    let top = fuse::filesystem(fx, "top", Features::ALL)?;
    let [upper, work] = upper_and_work(&top)?;
    let lower = fx.layer("lower")?;
    lower.file("file", "")?;
    let as_upper = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let mut table = Table::new();
    for errno in [Errno::IO, Errno::NOTCONN] {
        fuse::set(&top, fuse::STATFS_ERROR, Some(errno))?;
        table.note(check::errno("upper", fx.mount(&as_upper), errno))?;
        for lowers in [[&upper, &lower], [&lower, &upper]] {
            let result = fx.mount(&Options::new().lowers(&lowers));
            table.note(check::errno("lower", result, errno))?;
        }
    }
    table.finish()?;
    lists::<&str>(work.path(), &[])?;
    fuse::set(&top, fuse::STATFS_ERROR, None)?;
    fx.mount(&as_upper).context("once it can")?;
    Ok(())
}

/// Each descriptor that is closed is heard of, with the same owner as without an overlay.
fn is_flushed(fx: &Fixture) -> Result {
    let bottom = fuse::filesystem(fx, "bottom", Features::ALL)?;
    let top = fx.layer("top")?;
    bottom.file("file", "data")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let flushes = || fuse::ask(bottom.path(), fuse::FLUSHES);
    let owner = || fuse::ask(bottom.path(), fuse::FLUSH_OWNER);

    rawsys::close(sys::open_read(bottom.join("file"))?)?;
    let (before, expected) = (flushes()?, owner()?);
    let first = sys::open_read(ov.join("file"))?;
    let second = rustix::io::fcntl_dupfd_cloexec(&first, 0)?;
    check::equal("flushes while open", flushes()?, before)?;
    rawsys::close(first)?;
    check::equal("flushes after one close", flushes()?, before + 1)?;
    rawsys::close(second)?;
    check::equal("flushes after both", flushes()?, before + 2)?;
    check::equal("owner", owner()?, expected)
}

/// An error of the layer is what `close` returns, and the descriptor is closed all the same.
fn flush_fails(fx: &Fixture) -> Result {
    let bottom = fuse::filesystem(fx, "bottom", Features::ALL)?;
    let top = fx.layer("top")?;
    bottom.file("file", "data")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let file = sys::open_read(ov.join("file"))?;
    fuse::set(&bottom, fuse::FLUSH_ERROR, Some(Errno::NOSPC))?;
    check::errno("close", rawsys::close(file), Errno::NOSPC)?;
    fuse::set(&bottom, fuse::FLUSH_ERROR, None)?;
    let file = sys::open_read(ov.join("file"))?;
    rawsys::close(file).context("close once it can")?;
    fx.unmount(ov.path()).context("nothing is left open")
}

/// A number that needs the bits in which xino says whose it is stays what it is, on a device of its own.
fn too_big_for_xino(fx: &Fixture) -> Result {
    let bottom = fuse::filesystem(fx, "bottom", Features::ALL)?;
    let top = fx.layer("top")?;
    fuse::set_number(&bottom, fuse::NUMBERS_FROM, 3 << 62)?;
    bottom.dir("dir")?.file("dir/big", "")?.dir("dir/sub")?;
    top.dir("dir")?.file("dir/small", "")?;
    let options = Options::new().lowers(&[&top, &bottom]).set("xino", "on");
    let ov = fx.mount(&options)?;
    let own = sys::lstat(ov.path())?.st_dev;
    let (real, big) = (
        sys::lstat(bottom.join("dir/big"))?,
        sys::lstat(ov.join("dir/big"))?,
    );
    check::ok(
        real.st_ino > 3 << 62,
        format_args!("{} on the layer", real.st_ino),
    )?;
    check::equal("number", big.st_ino, real.st_ino)?;
    check::ok(big.st_dev != own, "it is on the overlay's device")?;
    check::ok(big.st_dev != real.st_dev, "it is on the layer's device")?;
    let small = sys::lstat(ov.join("dir/small"))?;
    check::equal("device of what fits", small.st_dev, own)?;
    check::equal(
        "device of a directory",
        sys::lstat(ov.join("dir/sub"))?.st_dev,
        own,
    )?;
    for entry in sys::list(ov.join("dir"))? {
        let expected = match entry.name.to_str() {
            Some("big") => big.st_ino,
            Some("small") => small.st_ino,
            _ => continue,
        };
        check::equal(
            format_args!("d_ino of {:?}", entry.name),
            entry.ino,
            expected,
        )?;
    }
    Ok(())
}

/// The layer that allows the longest names says how long they may be.
fn long_name(fx: &Fixture) -> Result {
    let bottom = fuse::filesystem(fx, "bottom", Features::ALL)?;
    let top = fx.layer("top")?;
    top.dir("dir")?.file("dir/short", "")?;
    let long = "x".repeat(300);
    bottom.dir("dir")?.file(format!("dir/{long}"), "long")?;
    let length = |path: &std::path::Path| rustix::fs::statfs(path).map(|st| st.f_namelen);
    let few = fx.lowers(&[&top, &bottom])?;
    check::equal("as many as on each", length(few.path())?, 255)?;
    fx.unmount(few.path())?;

    fuse::set_number(&bottom, fuse::NAME_LENGTH, 500)?;
    for layers in [[&top, &bottom], [&bottom, &top]] {
        let ov = fx.lowers(&layers)?;
        check::equal("as many as on one", length(ov.path())?, 500)?;
        content(ov.join("dir").join(&long), "long")?;
        lists(ov.join("dir"), &["short", &long])?;
        crate::expect::absent(ov.join("dir").join("y".repeat(400)))?;
        let result = sys::lstat(ov.join("dir").join("y".repeat(501)));
        check::errno("one longer", result, Errno::NAMETOOLONG)?;
        fx.unmount(ov.path())?;
    }
    Ok(())
}
