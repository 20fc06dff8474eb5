// SPDX-License-Identifier: GPL-2.0-only

//! File handles by which nothing has to be found, and fanotify, which reports them.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::copy_up::xattr;
use super::copy_up::ORIGIN;
use super::numbers::reference;
use crate::check;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::raw;
use crate::raw::Handle;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("handle_fid_is_that_of_layer", "H1 H6 H8", fid_of_layer).on_disks_in_their_way(),
    Test::new("handle_fid_needs_room", "H8", too_little_room),
    Test::new("handle_to_find_by_is_refused", "H8", decodable_refused),
    Test::new("handle_fanotify_reports_fid", "H8", fanotify).on_disks_in_their_way(),
    Test::new(
        "handle_of_overlay_that_exports",
        "X3 C3 H2",
        exporting_lower,
    )
    .on_disks_too(),
];

const ROOM: u32 = 128;

fn fid(path: &Path) -> Result<Handle> {
    let handle = raw::handle_of(path, raw::HANDLE_FID, ROOM);
    handle.map_err(|(error, _)| Failure::new(format!("handle of {path:?}: {error}")))
}

/// One of each, in upper and lower.
fn fill(upper: &Layer, lower: &Layer) -> Result<[(&'static str, bool); 7]> {
    upper
        .file("uf", "")?
        .dir("ud")?
        .dir("merged")?
        .symlink("ul", "x")?;
    lower.file("lf", "")?.dir("ld")?.dir("merged")?;
    Ok([
        ("uf", true),
        ("ud", true),
        ("ul", true),
        ("lf", false),
        ("ld", false),
        ("merged", false),
        ("", true),
    ])
}

/// The handle is that of the layer's object, in an envelope: three bytes of padding, version, magic,
/// length, flags, type, uuid.
fn fid_of_layer(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let paths = fill(&upper, &lower)?;
    let ov = fx.upper(&upper, &[&lower])?;
    let mut table = Table::new();
    for (path, is_upper) in paths {
        let real = fid(&if is_upper {
            upper.join(path)
        } else {
            lower.join(path)
        })?;
        let handle = fid(&ov.join(path))?;
        let what = |text: &str| format!("{text} of {path:?}");
        table.note(check::equal(what("type"), handle.kind, 0xf8))?;
        let length = 21 + real.bytes.len();
        table.note(check::equal(what("length"), handle.bytes.len(), 3 + length))?;
        let head = [
            0,
            0,
            0,
            0,
            0xfb,
            length as u8,
            if is_upper { 4 } else { 0 },
            real.kind as u8,
        ];
        table.note(check::bytes(what("head"), &handle.bytes[..8], &head))?;
        table.note(check::bytes(
            what("inner handle"),
            &handle.bytes[24..],
            &real.bytes,
        ))?;
    }
    table.finish()
}

fn too_little_room(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fill(&upper, &lower)?;
    let ov = fx.upper(&upper, &[&lower])?;
    let needed = fid(&ov.join("lf"))?.bytes.len() as u32;
    for room in [0, 4, needed - 4] {
        let (error, told) = match raw::handle_of(&ov.join("lf"), raw::HANDLE_FID, room) {
            Ok(_) => return Err(Failure::new(format!("{room} bytes are enough"))),
            Err(error) => error,
        };
        check::equal(
            "errno",
            error.raw_os_error(),
            Some(Errno::OVERFLOW.raw_os_error()),
        )?;
        check::equal("length told", told, needed)?;
    }
    Ok(())
}

fn decodable_refused(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let paths = fill(&upper, &lower)?;
    let ov = fx.upper(&upper, &[&lower])?;
    for (path, _) in paths {
        let result = raw::handle_of(&ov.join(path), 0, ROOM).map_err(|(error, _)| error);
        check::errno(format_args!("handle of {path:?}"), result, Errno::OPNOTSUPP)?;
    }
    Ok(())
}

fn fanotify(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fill(&upper, &lower)?;
    let ov = fx.upper(&upper, &[&lower])?;
    for path in ["uf", "lf", "merged", "ud"] {
        let expected = fid(&ov.join(path))?;
        let group = raw::watch_opens(&ov.join(path))?;
        drop(sys::open_read(ov.join(path))?);
        let handles = raw::reported_handles(&group)?;
        check::equal(format_args!("reported for {path}"), handles, vec![expected])?;
    }
    Ok(())
}

/// A lower layer that has to copy an object up itself before it gives out its handle: nothing of upper may be held
/// meanwhile, since it may be the same filesystem.
fn exporting_lower(fx: &Fixture) -> Result {
    // TODO: The drop-in as well, once it has `nfs_export`.
    if fx.fs_type() == "overlay" && fx.module().is_rovl() {
        return Err(Failure::skip("type overlay exports nothing here"));
    }
    let (first, second) = (fx.layer("first")?, fx.layer("second")?);
    let below = [fx.layer("upper-below")?, fx.layer("work-below")?];
    first.dir("a")?;
    second
        .dir("a")?
        .dir("a/b")?
        .dir("a/c")?
        .file("a/b/f", "data")?;
    let options = Options::new()
        .lowers(&[&first, &second])
        .upper(&below[0], &below[1])
        .set("index", "on")
        .set("nfs_export", "on");
    let lower = Layer::create(reference(fx, &options, MountFlags::empty())?)?;
    let (upper, work) = (fx.layer("upper")?, fx.work()?);
    // That one is merged by its name, and gets an origin when it is looked up.
    upper.dir("a")?.dir("a/c")?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    sys::lstat(ov.join("a/c"))?;
    rustix::fs::chmod(ov.join("a/b"), 0o700.into())?;
    lists(below[0].join("a"), &["b", "c"])?;
    for name in ["a/b", "a/c"] {
        let origin = xattr(upper.join(name), ORIGIN)?;
        check::ok(
            origin.is_some_and(|origin| !origin.is_empty()),
            format_args!("{name} has no origin"),
        )?;
    }
    content(ov.join("a/b/f"), "data")
}
