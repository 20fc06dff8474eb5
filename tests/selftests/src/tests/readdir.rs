// SPDX-License-Identifier: GPL-2.0-only

//! Directory listings: what they hold.

use std::collections::BTreeMap;
use std::ffi::OsString;

use rovl_kit::random::Random;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::check::Table;
use crate::expect::absent;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::registry::Backing;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("readdir_no_duplicates", "R2 L1", no_duplicates).on_disks_too(),
    Test::new("readdir_dots", "R2", dots).on_disks_too(),
    Test::new("readdir_dot_inodes", "R2 R4", dot_inodes).on_disks_too(),
    Test::new("readdir_types", "R2 1.9", types).on_disks_too(),
    Test::new("readdir_type_is_topmost", "R2 L1", type_is_topmost),
    Test::new("readdir_empty", "R2", empty).on_disks_too(),
    Test::new("readdir_pure_dirs", "R1", pure_dirs),
    Test::new("readdir_random_trees", "R2 L1 X1 1.9", random_trees),
    Test::new(
        "readdir_random_trees_with_upper",
        "R2 L1 X1 1.9 M4",
        random_trees_with_upper,
    )
    .on_disks_too(),
    Test::new("readdir_10000_names", "R2", |fx| many_names(fx, 10_000)).limit(180),
    Test::new("readdir_1000_names", "R2", |fx| many_names(fx, 1000)).on_disks_too(),
    Test::new("readdir_many_layers", "R2", many_layers),
    Test::new(
        "readdir_whiteouts_in_pure_dir",
        "R1 1.9",
        whiteouts_in_pure_dir,
    ),
    Test::new("readdir_char_devices", "R2 1.9", char_devices),
    Test::new("readdir_names_of_overlay_itself", "R2 W1", own_names),
    Test::new("readdir_same_twice", "R2 R3", same_twice),
    Test::new("readdir_lowest_first", "R2", lowest_first),
    Test::new("readdir_agrees_with_lookup", "R2 L1", agrees_with_lookup),
    Test::new("readdir_of_a_file", "F1", of_a_file),
];

fn no_duplicates(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    for (index, layer) in layers.iter().enumerate() {
        layer
            .dir("d")?
            .file("d/all", "")?
            .file(format!("d/{index}"), "")?;
        layer.dir("d/sub")?.symlink("d/link", "x")?;
    }
    layers[0].file("d/mixed", "")?;
    layers[1].dir("d/mixed")?;
    layers[2].symlink("d/mixed", "x")?;
    let ov = fx.lowers(&layers)?;
    let expected = ["0", "1", "2", "all", "link", "mixed", "sub"];
    lists(ov.join("d"), &expected)?;
    lists(ov.path(), &["d"])
}

fn dots(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for layer in [&top, &bottom] {
        layer.dir("merged")?.file("merged/x", "")?;
    }
    top.dir("t")?;
    bottom.dir("b")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for dir in ["", "merged", "t", "b"] {
        let entries = sys::list(ov.join(dir))?;
        for dot in [".", ".."] {
            let found: Vec<_> = entries.iter().filter(|e| e.name == dot).collect();
            check::equal(format_args!("{dot} in {dir:?}"), found.len(), 1)?;
            check::equal("type of a dot", found[0].kind, FileType::Directory)?;
        }
    }
    Ok(())
}

fn dot_inodes(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for layer in [&top, &bottom] {
        layer.dir("m/m")?;
    }
    top.dir("m/t/t")?;
    bottom.dir("m/b/b")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let mut table = Table::new();
    for dir in ["m", "m/m", "m/t", "m/b", "m/t/t", "m/b/b"] {
        let path = ov.join(dir);
        for entry in sys::list(&path)?.iter().filter(|entry| entry.is_dot()) {
            let real = sys::stat(path.join(&entry.name))?.st_ino;
            let what = format!("d_ino of {dir}/{:?}", entry.name);
            table.note(check::equal(what, entry.ino, real))?;
        }
    }
    table.finish()
}

/// One object of each kind.
fn kinds(layer: &Layer, prefix: &str) -> Result<Vec<(String, FileType)>> {
    let nodes = [
        ("fifo", FileType::Fifo),
        ("socket", FileType::Socket),
        ("char", FileType::CharacterDevice),
        ("block", FileType::BlockDevice),
    ];
    layer.dir(prefix)?;
    let mut kinds = Vec::new();
    for (name, kind) in nodes {
        layer.node(format!("{prefix}/{name}"), kind, 0o600, (1, 3))?;
        kinds.push((name.to_owned(), kind));
    }
    layer.file(format!("{prefix}/file"), "")?;
    layer.dir(format!("{prefix}/dir"))?;
    layer.symlink(format!("{prefix}/link"), "x")?;
    kinds.push(("file".to_owned(), FileType::RegularFile));
    kinds.push(("dir".to_owned(), FileType::Directory));
    kinds.push(("link".to_owned(), FileType::Symlink));
    Ok(kinds)
}

fn types(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    kinds(&top, "t")?;
    kinds(&bottom, "b")?;
    bottom.dir("m")?;
    let expected = kinds(&top, "m")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let mut table = Table::new();
    for dir in ["t", "b", "m"] {
        let entries = sys::list(ov.join(dir))?;
        for (name, kind) in &expected {
            let entry = entries.iter().find(|entry| entry.name == **name);
            let found = entry.map(|entry| entry.kind);
            table.note(check::equal(format!("{dir}/{name}"), found, Some(*kind)))?;
        }
    }
    table.finish()
}

fn type_is_topmost(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.file("a", "")?.dir("b")?.symlink("c", "x")?;
    bottom.dir("a")?.symlink("b", "x")?.file("c", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let kind = |name: &str| {
        let entries = sys::list(ov.path())?;
        let entry = entries.into_iter().find(|entry| entry.name == name);
        Ok::<_, Errno>(entry.map(|entry| entry.kind))
    };
    check::equal("a", kind("a")?, Some(FileType::RegularFile))?;
    check::equal("b", kind("b")?, Some(FileType::Directory))?;
    check::equal("c", kind("c")?, Some(FileType::Symlink))
}

fn empty(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for layer in [&top, &bottom] {
        layer.dir("m")?;
    }
    top.dir("t")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    lists::<&str>(ov.join("m"), &[])?;
    lists::<&str>(ov.join("t"), &[])
}

fn pure_dirs(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    for (index, layer) in layers.iter().enumerate() {
        layer.dir(format!("d{index}/sub"))?;
        layer.file(format!("d{index}/f"), "")?;
    }
    let ov = fx.lowers(&layers)?;
    lists(ov.path(), &["d0", "d1", "d2"])?;
    for index in 0..3 {
        lists(ov.join(format!("d{index}")), &["f", "sub"])?;
    }
    Ok(())
}

/// What a name is in one layer, for the model of the merge.
#[derive(Clone, Copy, PartialEq)]
enum Object {
    File,
    Dir,
    Opaque,
    Whiteout,
}

/// Fills a directory of a layer at random, three levels deep; notes what it made.
fn grow(
    layer: &Layer,
    random: &mut Random,
    dir: &str,
    depth: u32,
    made: &mut BTreeMap<String, Object>,
) -> Result {
    for n in 0..8 {
        let path = format!("{dir}n{n}");
        let object = match random.below(10) {
            0..=2 => continue,
            3..=4 => Object::File,
            5 => Object::Whiteout,
            6 if depth < 3 => Object::Opaque,
            _ if depth < 3 => Object::Dir,
            _ => Object::File,
        };
        match object {
            Object::File => layer.file(&path, "")?,
            Object::Whiteout => layer.whiteout(&path)?,
            Object::Dir => layer.dir(&path)?,
            Object::Opaque => layer.opaque_dir(&path)?,
        };
        made.insert(path.clone(), object);
        if matches!(object, Object::Dir | Object::Opaque) {
            grow(layer, random, &format!("{path}/"), depth + 1, made)?;
        }
    }
    Ok(())
}

/// What a merged directory must list, by the rules of overlays: `parts` are the layers that
/// take part in it, the topmost first.
fn merged(
    layers: &[BTreeMap<String, Object>],
    parts: &[usize],
    dir: &str,
    result: &mut Vec<String>,
) {
    for n in 0..8 {
        let path = format!("{dir}n{n}");
        let mut below = Vec::new();
        let mut first = None;
        for part in parts {
            let Some(object) = layers[*part].get(&path).copied() else {
                continue;
            };
            let is_dir = matches!(object, Object::Dir | Object::Opaque);
            first.get_or_insert(object);
            if !is_dir {
                break;
            }
            below.push(*part);
            if object == Object::Opaque {
                break;
            }
        }
        match first {
            None | Some(Object::Whiteout) => {}
            Some(_) => result.push(path.clone()),
        }
        if !below.is_empty() {
            merged(layers, &below, &format!("{path}/"), result);
        }
    }
}

/// Makes layers at random and computes their merge.
fn random_layers(fx: &Fixture, seed: u64, count: usize) -> Result<(Vec<Layer>, Vec<String>)> {
    let mut random = Random::new(seed);
    let mut layers = Vec::new();
    let mut made = Vec::new();
    for n in 0..count {
        let layer = fx.layer(format!("seed{seed}-{n}"))?;
        let mut objects = BTreeMap::new();
        grow(&layer, &mut random, "", 1, &mut objects)?;
        layers.push(layer);
        made.push(objects);
    }
    let parts: Vec<_> = (0..count).collect();
    let mut expected = Vec::new();
    merged(&made, &parts, "", &mut expected);
    expected.sort();
    Ok((layers, expected))
}

fn walk_matches(top: &std::path::Path, seed: u64, expected: &[String]) -> Result {
    let mut walked: Vec<_> = sys::walk(top)?
        .into_iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    walked.sort();
    check::equal(
        format_args!("tree of seed {seed}"),
        walked,
        expected.to_vec(),
    )
}

fn random_trees(fx: &Fixture) -> Result {
    for seed in 1..=4 {
        let (layers, expected) = random_layers(fx, seed, 1 + seed as usize)?;
        let ov = fx.lowers(&layers)?;
        walk_matches(ov.path(), seed, &expected)?;
        fx.unmount(ov.path())?;
    }
    Ok(())
}

fn random_trees_with_upper(fx: &Fixture) -> Result {
    // Trees are dear on a disk, where each object is a transaction.
    let last = match fx.backing() {
        Backing::Tmpfs => 13,
        _ => 11,
    };
    for seed in 11..=last {
        let (layers, expected) = random_layers(fx, seed, 3)?;
        let ov = fx.upper(&layers[0], &layers[1..])?;
        walk_matches(ov.path(), seed, &expected)?;
        fx.unmount(ov.path())?;
    }
    Ok(())
}

/// Lists so many names that their directories have several blocks on a disk.
fn many_names(fx: &Fixture, count: usize) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for layer in [&top, &bottom] {
        layer.dir("d")?.file("file", "")?;
    }
    // Half of the names in each layer, every tenth in both, every hundredth whited out. Links are
    // made faster than files, and filesystems limit how many one file may have.
    let mut expected = Vec::new();
    for n in 0..count {
        let path = format!("d/a-name-of-usual-length-{n:05}");
        let both = n % 10 == 0;
        if n % 100 == 50 {
            top.whiteout(&path)?;
        } else if n % 2 == 0 {
            top.link("file", &path)?;
        }
        if n % 2 == 1 || both {
            bottom.link("file", &path)?;
        }
        if n % 100 != 50 {
            expected.push(OsString::from(&path[2..]));
        }
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    let names = sys::names(ov.join("d"))?;
    check::equal("number of names", names.len(), expected.len())?;
    check::ok(names == expected, "the names differ")?;
    absent(ov.join("d/a-name-of-usual-length-00050"))
}

fn many_layers(fx: &Fixture) -> Result {
    let layers = fx.layers(40)?;
    let mut expected = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        layer.dir("d")?;
        for n in [index, index + 1] {
            layer.file(format!("d/{n:02}"), "")?;
        }
        expected.push(format!("{index:02}"));
    }
    expected.push("40".to_owned());
    let ov = fx.lowers(&layers)?;
    lists(ov.join("d"), &expected)
}

/// A directory of one layer is listed as it is there, with its whiteouts; a lookup of their
/// names fails.
fn whiteouts_in_pure_dir(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.dir("d")?.whiteout("d/gone")?.file("d/f", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    lists(ov.join("d"), &["f", "gone"])?;
    absent(ov.join("d/gone"))
}

/// Only 0:0 is a whiteout; a listing tells it from other character devices.
fn char_devices(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for layer in [&top, &bottom] {
        layer.dir("d")?;
    }
    for n in 0..20 {
        let device = if n % 2 == 0 { (0, 0) } else { (1, n) };
        let name = format!("d/c{n:02}");
        top.node(&name, FileType::CharacterDevice, 0o600, device)?;
        bottom.file(&name, "")?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    let expected: Vec<_> = (0..20)
        .filter(|n| n % 2 == 1)
        .map(|n| format!("c{n:02}"))
        .collect();
    lists(ov.join("d"), &expected)
}

/// Names that mean something elsewhere are ordinary names in a layer.
fn own_names(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let names = ["#1", "#ff", ".wh..wh..opq", ".wh.x", "index", "work"];
    for layer in [&upper, &lower] {
        layer.dir("d")?;
    }
    for (index, name) in names.iter().enumerate() {
        [&upper, &lower][index % 2].file(format!("d/{name}"), "")?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    lists(ov.join("d"), &names)
}

fn same_twice(fx: &Fixture) -> Result {
    let layers = fx.layers(2)?;
    for n in 0..100 {
        layers[n % 2].dir("d")?.file(format!("d/{n}"), "")?;
    }
    let ov = fx.lowers(&layers)?;
    let first = sys::list(ov.join("d"))?;
    check::equal("second listing", sys::list(ov.join("d"))?, first.clone())?;
    sys::drop_caches().context("drop caches")?;
    check::equal("listing without caches", sys::list(ov.join("d"))?, first)
}

/// The entries of the lowest layer come first, so that a higher layer moves few positions.
fn lowest_first(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    for (index, layer) in layers.iter().enumerate() {
        layer.dir("d")?.file("d/shared", "")?;
        for n in 0..5 {
            layer.file(format!("d/l{index}-{n}"), "")?;
        }
    }
    let ov = fx.lowers(&layers)?;
    let names: Vec<_> = sys::list(ov.join("d"))?
        .into_iter()
        .filter(|entry| !entry.is_dot())
        .map(|entry| entry.name.to_string_lossy().into_owned())
        .collect();
    let of_lowest = |name: &String| name.starts_with("l2") || name == "shared";
    check::equal("number of names", names.len(), 16)?;
    check::ok(
        names[..6].iter().all(of_lowest),
        format_args!("the order is {names:?}"),
    )
}

/// Every listed name can be looked up, with the type it was listed with.
fn agrees_with_lookup(fx: &Fixture) -> Result {
    let (layers, _) = random_layers(fx, 99, 4)?;
    for layer in &layers {
        layer.dir("m")?;
    }
    for n in 0..40 {
        layers[n % 3].file(format!("m/{n}"), "")?;
        layers[3].symlink(format!("m/{n}"), "x")?;
    }
    let ov = fx.lowers(&layers)?;
    for dir in ["", "m"] {
        for entry in sys::list(ov.join(dir))? {
            let kind = sys::lstat_kind(ov.join(dir).join(&entry.name))
                .context(format_args!("{dir}/{:?}", entry.name))?;
            check::equal("type", entry.kind, kind)?;
        }
    }
    Ok(())
}

fn of_a_file(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?.dir("d")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let file = sys::open_read(ov.join("f"))?;
    check::errno("getdents", sys::read_entries(&file, 4096), Errno::NOTDIR)?;
    for dir in ["", "d"] {
        let dir = sys::open_dir(ov.join(dir))?;
        let result = rustix::io::read(&dir, &mut [0; 16]);
        check::errno("read", result, Errno::ISDIR)?;
    }
    Ok(())
}
