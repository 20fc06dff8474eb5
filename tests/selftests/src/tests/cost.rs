// SPDX-License-Identifier: GPL-2.0-only

//! What reading costs: no memory beside what the layer takes, and no lock that overlayfs does not take.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Access;
use rustix::fs::AtFlags;
use rustix::fs::OFlags;
use rustix::fs::SeekFrom;
use rustix::fs::CWD;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use crate::check;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;
use crate::trace::Cost;
use crate::trace::Trace;
use crate::trace::Work;

pub const TESTS: &[Test] = &[
    Test::new(
        "cost_of_reading_no_allocations",
        "F3 F5 F13 F16 L1 R2 D7",
        allocates_nothing,
    )
    .with_one_processor(),
    Test::new(
        "cost_of_reading_no_more_locks",
        "F1 F3 F5 F13 F16 L1 R2 D7",
        locks_no_more,
    )
    .rovl_only("it is compared with overlayfs")
    .with_one_processor(),
];

/// What reads the file `file`, the link `link` and the listing of a directory. Opening is the last.
fn calls(dir: &Path) -> Result<Vec<(&'static str, Work)>> {
    let path = dir.join("file");
    let link = dir.join("link");
    let list = sys::open_dir(dir)?;
    let fds = [
        sys::open_read(&path)?,
        sys::open_read(&path)?,
        sys::open_read(&path)?,
    ];
    let [read, stat, map] = fds;
    let (by_path, checked, attribute, opened) = (path.clone(), path.clone(), path.clone(), path);
    let pread = move || rustix::io::pread(&read, &mut [0; 4096], 0).map(drop);
    let fstat = move || rustix::fs::fstat(&stat).map(drop);
    let lstat = move || sys::lstat(&by_path).map(drop);
    let access = move || rustix::fs::accessat(CWD, &checked, Access::READ_OK, AtFlags::empty());
    let readlink = move || sys::readlink(&link).map(drop);
    let getxattr = move || rustix::fs::getxattr(&attribute, "user.name", &mut [0_u8; 16]).map(drop);
    let fault = move || {
        let mapping = sys::Mapping::new(&map, 4096, MapFlags::SHARED, ProtFlags::READ)?;
        mapping.load(0, 1);
        Ok(())
    };
    let getdents = |dir: OwnedFd| {
        move || {
            rustix::fs::seek(&dir, SeekFrom::Start(0))?;
            sys::read_entries(&dir, 4096).map(drop)
        }
    };
    let below = sys::open_dir(dir.join("below"))?;
    let deep = sys::open_dir(dir.join("below/deep"))?;
    let open = move || sys::open(&opened, OFlags::RDONLY).map(drop);
    Ok(vec![
        ("pread", Box::new(pread)),
        ("fstat", Box::new(fstat)),
        ("lstat", Box::new(lstat)),
        ("access", Box::new(access)),
        ("readlink", Box::new(readlink)),
        ("getxattr", Box::new(getxattr)),
        ("fault", Box::new(fault)),
        ("getdents", Box::new(getdents(list))),
        // Directories of one layer, below a merged one and below another such.
        ("getdents below", Box::new(getdents(below))),
        ("getdents deep", Box::new(getdents(deep))),
        ("open", Box::new(open)),
    ])
}

/// Two layers with the same directory.
fn layers(fx: &Fixture) -> Result<[Layer; 2]> {
    let layers = [fx.layer("top")?, fx.layer("bottom")?];
    for layer in &layers {
        layer
            .dir("dir")?
            .file("dir/file", [1; 4096])?
            .symlink("dir/link", "file")?
            .xattr("dir/file", "user.name", b"value")?;
    }
    layers[0].dir("dir/below")?.dir("dir/below/deep")?;
    Ok(layers)
}

fn costs(trace: &Trace, dir: &Path) -> Result<Vec<(&'static str, Cost)>> {
    trace.costs(calls(dir)?)
}

/// What the VFS takes for its own ends is taken once, as on the layer. To open a file takes another file.
fn allocates_nothing(fx: &Fixture) -> Result {
    let layers = layers(fx)?;
    let trace = Trace::new(fx)?;
    let ov = fx.lowers(&layers)?;
    let bare = costs(&trace, &layers[0].join("dir"))?;
    let own = costs(&trace, &ov.join("dir"))?;
    // A path is copied to memory, so that there is something to be seen.
    let seen = bare.iter().any(|(_, cost)| cost.allocations() > 0);
    check::ok(seen, "no allocation is traced")?;
    let mut table = Table::new();
    for ((what, bare), (_, own)) in bare
        .iter()
        .zip(&own)
        .filter(|((what, _), _)| *what != "open")
    {
        let (bare, own) = (&bare.allocations, &own.allocations);
        table.note(check::equal(format_args!("{what} allocates"), own, bare))?;
    }
    table.finish()
}

/// What the classes of an inode's lock are called: by rovl, and by overlayfs.
const INODE_LOCKS: [&str; 3] = [
    "key",
    "&ovl_i_mutex_key[depth]",
    "&ovl_i_mutex_dir_key[depth]",
];

/// How often each class of locks is taken, with one name for what is called differently.
fn by_class(cost: &Cost) -> BTreeMap<&str, usize> {
    let mut locks = BTreeMap::new();
    for (class, count) in &cost.locks {
        let is_inode = INODE_LOCKS.contains(&class.as_str());
        let name = if is_inode { "inode" } else { class };
        *locks.entry(name).or_default() += count;
    }
    locks
}

/// The classes of locks of which one takes more than the other.
fn more_locks<'a>(one: &'a Cost, other: &Cost) -> Vec<&'a str> {
    let other = by_class(other);
    let taken = |class| other.get(class).copied().unwrap_or_default();
    let locks = by_class(one).into_iter();
    let more = locks.filter(|(class, count)| *count > taken(*class));
    more.map(|(class, _)| class).collect()
}

fn locks_no_more(fx: &Fixture) -> Result {
    let layers = layers(fx)?;
    let types = fx.module().both_types();
    let [_, other] = &types[..] else {
        return Err(Failure::skip("overlayfs is not here"));
    };
    let trace = Trace::new(fx)?;
    let ov = fx.lowers(&layers)?;
    let compared = fx.mount_type(other, &Options::new().lowers(&layers))?;
    // What a busy machine does beside does not come thrice.
    let compare = || -> Result {
        let own = costs(&trace, &ov.join("dir"))?;
        let theirs = costs(&trace, &compared.join("dir"))?;
        let mut table = Table::new();
        for (fs_type, costs) in [(fx.fs_type(), &own), (other, &theirs)] {
            let seen = costs.iter().any(|(_, cost)| cost.locks() > 0);
            table.note(check::ok(seen, format!("no lock of {fs_type} is traced")))?;
        }
        for ((what, own), (_, theirs)) in own.iter().zip(&theirs) {
            let more = more_locks(own, theirs);
            let few = more.is_empty() && own.allocations() <= theirs.allocations();
            let message = format!("{what}, more of {more:?}: {own:?}, and of {other}: {theirs:?}");
            table.note(check::ok(few, message))?;
        }
        table.finish()
    };
    compare().or_else(|_| compare()).or_else(|_| compare())
}
