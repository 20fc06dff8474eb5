// SPDX-License-Identifier: GPL-2.0-only

//! Layers that are damaged, odd, or changed while they are mounted: each gives a clean errno or is ignored.
//!
//! Where the rows leave open what is seen, type overlay says it: it mounts the same layers.

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::kmod::Module;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("bad_xattrs", "X1 X3 X6 L4", plain_xattrs),
    Test::new("bad_xattrs_of_user", "X1 X3 M11", plain_xattrs_of_user),
    Test::new("bad_redirects_and_metacopies", "X2 X8 L4", leading_xattrs),
    Test::new(
        "bad_redirects_are_harmless",
        "X2 X8 L4",
        leading_xattrs_are_harmless,
    ),
    Test::new("bad_object_beside_good_ones", "R2 R4 L4", good_beside_bad),
    Test::new("bad_object_is_listed", "R2 R4 L4", bad_is_listed)
        .rovl_only("overlayfs fails one call, and leaves the name out from then on"),
    Test::new("bad_opaque_is_not_opaque", "X1", bad_opaque),
    Test::new("lowerdir_fills_the_page", "M1 E1", fills_the_page),
    Test::new(
        "lowerdir_longer_than_the_page",
        "M1 E2",
        longer_than_the_page,
    ),
    Test::new("layers_emptied_while_mounted", "L2 L6", emptied).on_disks_too(),
    Test::new("layers_swapped_while_mounted", "L2 L6", swapped),
    Test::new("overlay_over_itself", "A4 E16", over_itself),
    Test::new("overlay_over_its_own_layers", "A4 E13", over_its_layers),
    Test::new("lower_on_9p", "L6 H8", on_9p),
];

/// What is seen of a path: its type and size, and what opening it gives.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    found: std::result::Result<(u32, i64), Errno>,
    data: std::result::Result<Vec<u8>, Option<i32>>,
    names: Option<std::result::Result<usize, Errno>>,
}

fn see(top: &Path, path: &Path) -> Seen {
    let full = top.join(path);
    let found = sys::lstat(&full);
    let kind = found.map(|st| FileType::from_raw_mode(st.st_mode));
    let is_file = kind == Ok(FileType::RegularFile);
    Seen {
        path: path.to_owned(),
        found: found.map(|st| (st.st_mode, if is_file { st.st_size } else { 0 })),
        data: if is_file {
            std::fs::read(&full).map_err(|error| error.raw_os_error())
        } else {
            Ok(Vec::new())
        },
        names: (kind == Ok(FileType::Directory))
            .then(|| sys::names(&full).map(|names| names.len())),
    }
}

/// Fails unless these paths are seen on both types alike.
fn same_as_overlay(fx: &Fixture, options: &Options, paths: &[PathBuf]) -> Result {
    let directory = fx.module().file().parent().unwrap_or(Path::new("/"));
    let overlay = Module::new("overlay", directory);
    if !overlay.is_registered() && overlay.load().is_err() {
        return Err(Failure::skip("type overlay is not there to compare with"));
    }
    let point = fx.mount_point()?;
    let data = options.data();
    mount("overlay", &point, "overlay", MountFlags::RDONLY, &*data)
        .context("mount type overlay")?;
    fx.adopt(&point);
    let expected: Vec<_> = paths.iter().map(|path| see(&point, path)).collect();
    fx.unmount(&point)?;
    let options = options.clone().mount_flags(MountFlags::RDONLY);
    let ov = fx.mount(&options).context("mount the type under test")?;
    let mut table = Table::new();
    for (path, expected) in paths.iter().zip(expected) {
        table.note(check::equal(
            "as on type overlay",
            see(ov.path(), path),
            expected,
        ))?;
    }
    fx.unmount(ov.path())?;
    table.finish()
}

/// Those that change nothing but what this one object is.
const PLAIN: &[&str] = &[
    "opaque", "origin", "impure", "nlink", "whiteout", "protattr",
];

/// Those that lead elsewhere.
const LEADING: &[&str] = &["redirect", "metacopy"];

/// Files and directories of both layers, each with one bad attribute: the layers, and all paths.
fn damaged(fx: &Fixture, namespace: &str, attributes: &[&str]) -> Result<(Options, Vec<PathBuf>)> {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let values: [(&str, Vec<u8>); 7] = [
        ("empty", Vec::new()),
        ("nul", vec![0]),
        ("short", vec![b'y'; 2]),
        ("slash", b"/".to_vec()),
        ("up", b"../lower/../..".to_vec()),
        ("long", vec![b'y'; 300]),
        ("random", sys::pattern(100, 7)),
    ];
    let mut paths = Vec::new();
    for attribute in attributes {
        for (name, value) in &values {
            let key = format!("{namespace}.overlay.{attribute}");
            for (layer, other, stem) in [(&upper, &lower, "up"), (&lower, &upper, "low")] {
                let path = format!("{stem}-{attribute}-{name}");
                let (dir, file) = (format!("{path}-d"), format!("{path}-f"));
                layer.dir(&dir)?.file(&file, "data")?;
                layer.file(format!("{dir}/own"), "")?;
                layer.xattr(&dir, &key, value)?.xattr(&file, &key, value)?;
                other.dir(&dir)?.file(format!("{dir}/other"), "")?;
                other.file(&file, "other")?;
                for path in [&dir, &file, &format!("{dir}/own"), &format!("{dir}/other")] {
                    paths.push(PathBuf::from(path));
                }
            }
        }
    }
    let options = Options::new().lowers(&[&lower]).upper(&upper, &fx.work()?);
    Ok((options, paths))
}

fn plain_xattrs(fx: &Fixture) -> Result {
    let (options, paths) = damaged(fx, "trusted", PLAIN)?;
    same_as_overlay(fx, &options, &paths)
}

fn plain_xattrs_of_user(fx: &Fixture) -> Result {
    let (options, paths) = damaged(fx, "user", PLAIN)?;
    same_as_overlay(fx, &options.flag("userxattr"), &paths)
}

fn leading_xattrs(fx: &Fixture) -> Result {
    let (options, paths) = damaged(fx, "trusted", LEADING)?;
    same_as_overlay(fx, &options, &paths)
}

/// Whatever they hold, what is seen is the object or an errno, and the directory above can be listed.
fn leading_xattrs_are_harmless(fx: &Fixture) -> Result {
    let (options, paths) = damaged(fx, "trusted", LEADING)?;
    let ov = fx.mount(&options.mount_flags(MountFlags::RDONLY))?;
    let clean = [
        Errno::PERM,
        Errno::INVAL,
        Errno::ACCESS,
        Errno::NOENT,
        Errno::IO,
    ];
    for _ in 0..2 {
        for path in &paths {
            let found = see(ov.path(), path).found;
            check::ok(
                found.map_or_else(|errno| clean.contains(&errno), |_| true),
                format_args!("{path:?}: {found:?}"),
            )?;
        }
        sys::drop_caches().context("drop caches")?;
    }
    Ok(())
}

/// An object that cannot be looked at does not hide those beside it.
fn good_beside_bad(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for name in ["d/a", "d/bad", "d/z"] {
        upper.dir(name)?;
        lower.dir(name)?;
    }
    upper.xattr("d/bad", "trusted.overlay.redirect", b"../up")?;
    let ov = fx.upper(&upper, &[&lower])?;
    for _ in 0..2 {
        let mut names = sys::names(ov.join("d"))?;
        names.retain(|name| name != "bad");
        check::equal("names", names, ["a", "z"].map(OsString::from).to_vec())?;
    }
    let bad = sys::lstat(ov.join("d/bad")).map(|_| ());
    check::ok(
        matches!(bad, Err(Errno::INVAL | Errno::PERM)),
        format_args!("the bad one: {bad:?}"),
    )
}

/// Whoever lists what is there, to remove it or to copy it, is told of everything.
fn bad_is_listed(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let names = ["bad", "bad-too", "z"];
    for name in names {
        upper.dir(Path::new("d").join(name))?;
        lower.dir(Path::new("d").join(name))?;
    }
    for name in ["d/bad", "d/bad-too"] {
        upper.xattr(name, "trusted.overlay.redirect", b"../up")?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    for _ in 0..2 {
        // One name in each call.
        let dir = sys::open_dir(ov.join("d"))?;
        let mut found: Vec<_> = sys::read_entries(&dir, 40)?
            .into_iter()
            .filter(|entry| !entry.is_dot())
            .map(|entry| entry.name)
            .collect();
        found.sort();
        check::equal("names", found, names.map(OsString::from).to_vec())?;
    }
    Ok(())
}

/// Only `y` makes a directory opaque.
fn bad_opaque(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let values: [&[u8]; 5] = [b"", b"n", b"Y", b"yy", b"\0y"];
    for (index, value) in values.iter().enumerate() {
        let dir = format!("d{index}");
        top.dir(&dir)?.xattr(&dir, crate::layer::OPAQUE, value)?;
        bottom.dir(&dir)?.file(format!("{dir}/below"), "")?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    for index in 0..values.len() {
        lists(ov.join(format!("d{index}")), &["below"])?;
    }
    Ok(())
}

/// All that mount(2) takes: options of 4095 bytes.
fn fills_the_page(fx: &Fixture) -> Result {
    let root = fx.root().display().to_string();
    let mut text = String::from("lowerdir=");
    let mut count = 0;
    loop {
        let left = 4095 - text.len();
        let colon = usize::from(count > 0);
        // The last path takes what is left, as one name of at most 255 bytes.
        let length = left.saturating_sub(root.len() + 1 + colon).min(200);
        let length = if left - length - root.len() - 1 - colon < root.len() + 10 {
            left - root.len() - 1 - colon
        } else {
            length
        };
        let name = format!("{count:03}{}", "x".repeat(length - 3));
        fx.layer(&name)?.file(format!("f{count}"), "data")?;
        text.push_str(if colon == 1 { ":" } else { "" });
        text.push_str(&format!("{root}/{name}"));
        count += 1;
        if text.len() == 4095 {
            break;
        }
    }
    let value = text.trim_start_matches("lowerdir=");
    let ov = fx.mount(&Options::new().set("lowerdir", value))?;
    check::equal("names", sys::names(ov.path())?.len(), count)?;
    content(ov.join(format!("f{}", count - 1)), "data")
}

/// What mount(2) cuts off is not there, so the last path is another one.
fn longer_than_the_page(fx: &Fixture) -> Result {
    let layer = fx.layer("a")?;
    let path = layer.path().display().to_string();
    let mut table = Table::new();
    for text in [
        format!("{path}:").repeat(300),
        ":".repeat(4095),
        "\\".repeat(4095),
        "a".repeat(4095),
        format!("{path}:{}", "b/".repeat(3000)),
    ] {
        let what = format!("{}...", &text[..4]);
        let result = fx.mount(&Options::new().set("lowerdir", text));
        let errno = result.err();
        let clean = [Errno::INVAL, Errno::NOENT, Errno::NAMETOOLONG, Errno::LOOP];
        table.note(check::ok(
            errno.is_some_and(|errno| clean.contains(&errno)),
            format!("{what}: {errno:?}"),
        ))?;
    }
    table.finish()
}

/// What a name may give once its layer has changed: there is no right answer, but there are clean ones.
const CLEAN: [Errno; 5] = [
    Errno::NOENT,
    Errno::STALE,
    Errno::NOTDIR,
    Errno::ISDIR,
    Errno::IO,
];

/// Looks at everything that was there once.
fn use_all(ov: &Mounted, paths: &[PathBuf]) -> Result {
    for path in paths {
        let seen = see(ov.path(), path);
        let errors = [
            seen.found.err().map(|errno| errno.raw_os_error()),
            seen.data.err().flatten(),
            seen.names
                .and_then(std::result::Result::err)
                .map(|errno| errno.raw_os_error()),
        ];
        for error in errors.into_iter().flatten() {
            let clean = CLEAN.iter().any(|errno| errno.raw_os_error() == error);
            check::ok(clean, format_args!("{path:?}: errno {error}"))?;
        }
    }
    Ok(())
}

/// Two layers with what can be found in them.
fn tree(fx: &Fixture) -> Result<([Layer; 2], Vec<PathBuf>)> {
    let layers = [fx.layer("top")?, fx.layer("bottom")?];
    for (index, layer) in layers.iter().enumerate() {
        layer.dir("d/sub")?.file("d/sub/both", "data")?;
        layer
            .file(format!("d/f{index}"), "data")?
            .dir(format!("pure{index}/x"))?;
        layer
            .symlink(format!("l{index}"), "d/sub/both")?
            .file(format!("file{index}"), "data")?;
    }
    let ov = fx.lowers(&layers)?;
    let mut paths = sys::walk(ov.path())?;
    fx.unmount(ov.path())?;
    paths.push(PathBuf::new());
    Ok((layers, paths))
}

fn emptied(fx: &Fixture) -> Result {
    let (layers, paths) = tree(fx)?;
    let ov = fx.lowers(&layers)?;
    use_all(&ov, &paths)?;
    let (file, dir) = (
        sys::open_read(ov.join("d/f1"))?,
        sys::open_dir(ov.join("d"))?,
    );
    for layer in &layers {
        for name in sys::names(layer.path())? {
            let path = layer.join(&name);
            std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path))?;
        }
    }
    use_all(&ov, &paths)?;
    // An open file lives as on any filesystem.
    let mut data = [0; 8];
    check::equal("length", rustix::io::read(&file, &mut data)?, 4)?;
    let _ = sys::read_entries(&dir, 1024);
    drop((file, dir));
    sys::drop_caches().context("drop caches")?;
    use_all(&ov, &paths)?;
    lists::<&str>(ov.path(), &[])
}

/// Directories become files, files directories, and names of one layer appear in the other.
fn swapped(fx: &Fixture) -> Result {
    let (layers, paths) = tree(fx)?;
    let ov = fx.lowers(&layers)?;
    use_all(&ov, &paths)?;
    let [top, bottom] = &layers;
    std::fs::rename(top.join("d"), top.join("moved"))?;
    top.file("d", "a file now")?;
    std::fs::remove_file(bottom.join("file1"))?;
    bottom.dir("file1/inside")?;
    std::fs::rename(bottom.join("pure1"), top.join("pure1"))?;
    std::fs::remove_file(bottom.join("l1"))?;
    bottom.whiteout("l1")?;
    bottom.opaque_dir("d/sub")?;
    use_all(&ov, &paths)?;
    sys::drop_caches().context("drop caches")?;
    use_all(&ov, &paths)?;
    fx.unmount(ov.path())?;
    let ov = fx.lowers(&layers)?;
    content(ov.join("d"), "a file now")?;
    lists(ov.join("file1"), &["inside"])
}

/// On top of one of its own layers, and with itself as a layer.
fn over_itself(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.file("t", "top")?;
    bottom.file("b", "bottom")?;
    let options = Options::new().lowers(&[&top, &bottom]);
    fx.mount_at(top.path(), &options)?;
    lists(top.path(), &["b", "t"])?;
    // The path now leads to the overlay.
    fx.mount_at(top.path(), &options)?;
    lists(top.path(), &["b", "t"])?;
    content(top.join("b"), "bottom")?;
    // A third one would be too deep.
    check::errno("third", fx.mount_at(top.path(), &options), Errno::INVAL)
}

/// A layer and an overlay that has it may be layers of one overlay.
fn over_its_layers(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.file("t", "top")?.dir("d/e")?;
    bottom.file("b", "bottom")?.dir("d/f")?;
    let inner = fx.lowers(&[&top, &bottom])?;
    let inner = Layer::create(inner.path().to_owned())?;
    let ov = fx.lowers(&[&top, &inner, &bottom])?;
    lists(ov.path(), &["b", "d", "t"])?;
    lists(ov.join("d"), &["e", "f"])
}

fn on_9p(fx: &Fixture) -> Result {
    let share = Path::new("/out");
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    if !mounts.lines().any(|line| line.contains(" /out 9p ")) {
        return Err(Failure::skip("no 9p is mounted at /out"));
    }
    let lower = Layer::create(share.join(format!("lower-{}", fx.fs_type())))?;
    let result = with_9p(fx, &lower);
    std::fs::remove_dir_all(lower.path())?;
    result
}

fn with_9p(fx: &Fixture, lower: &Layer) -> Result {
    let (upper, top) = (fx.layer("upper")?, fx.layer("top")?);
    lower
        .dir("d/sub")?
        .file("d/sub/f", "on 9p")?
        .file("gone", "")?
        .file("g", "g")?;
    upper.dir("d")?.file("d/up", "upper")?.whiteout("gone")?;
    top.dir("d/sub")?.file("d/sub/t", "top")?;
    let ov = fx.upper(&upper, &[&top, lower])?;
    lists(ov.path(), &["d", "g"])?;
    lists(ov.join("d"), &["sub", "up"])?;
    lists(ov.join("d/sub"), &["f", "t"])?;
    content(ov.join("d/sub/f"), "on 9p")?;
    // Names of a remote filesystem are looked at each time.
    lower.file("new", "new")?;
    std::fs::remove_file(lower.join("g"))?;
    let gone = sys::lstat(ov.join("g")).map(|_| ());
    check::ok(
        matches!(gone, Err(Errno::NOENT | Errno::STALE)),
        format_args!("a removed file: {gone:?}"),
    )?;
    content(ov.join("new"), "new")?;
    fx.unmount(ov.path())?;
    Ok(())
}
