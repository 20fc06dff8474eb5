// SPDX-License-Identifier: GPL-2.0-only

//! Mounts that are refused, and with which errno.

use std::path::Path;

use rustix::io::Errno;
use rustix::mount::mount_change;
use rustix::mount::mount_remount;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;

use crate::check;
use crate::check::Result;
use crate::check::Table;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("mount_error_lowerdir_syntax", "E1", lowerdir_syntax),
    Test::new(
        "mount_error_lowerdir_empty_names",
        "E1 E2",
        lowerdir_empty_names,
    ),
    Test::new("mount_error_path_does_not_resolve", "E2", does_not_resolve),
    Test::new("mount_error_upper_empty", "E2 M4 M5", upper_empty),
    Test::new("mount_error_layer_not_a_directory", "E3", not_a_directory),
    Test::new("mount_error_upper_on_overlay", "E4", upper_on_overlay),
    Test::new("mount_error_upper_read_only", "E4", upper_read_only),
    Test::new("mount_error_no_lower", "E7", no_lower),
    Test::new("mount_error_upper_without_work", "E7", upper_without_work),
    Test::new("mount_error_work_inside_upper", "E12", work_inside_upper),
    Test::new(
        "mount_error_work_on_other_mount",
        "E12 M5",
        work_on_other_mount,
    ),
    Test::new("mount_error_single_lower", "E16", single_lower),
    Test::new("mount_error_stack_too_deep", "E16 F25", stack_too_deep),
    Test::new("mount_error_unbindable_layer", "A4", unbindable_layer),
    Test::new("mount_error_unknown_option", "A6", unknown_option),
    Test::new("mount_error_value_missing", "M1 M4 M5 A6", value_missing),
    Test::new(
        "mount_error_first_bad_option_wins",
        "E1 E2 E3 A6",
        first_bad_option,
    ),
    Test::new(
        "mount_error_order_after_parsing",
        "E7 E12 E16",
        order_after_parsing,
    ),
    Test::new("mount_error_leaves_nothing", "E7 E12", leaves_nothing),
    Test::new("mount_error_unprivileged", "A1", unprivileged),
];

/// Layers that a correct mount of the same test would use.
struct Good {
    upper: Layer,
    work: Layer,
    a: Layer,
    b: Layer,
}

fn good(fx: &Fixture) -> Result<Good> {
    let good = Good {
        upper: fx.layer("upper")?,
        work: fx.layer("work")?,
        a: fx.layer("a")?,
        b: fx.layer("b")?,
    };
    good.a.file("file", "")?;
    good.upper.file("file", "")?;
    Ok(good)
}

fn refused(fx: &Fixture, what: &str, options: &Options, errno: Errno) -> Result {
    check::errno(what, fx.mount(options), errno)
}

/// Tries `lowerdir=` texts in which A and B stand for two good layers.
fn lowerdirs(fx: &Fixture, cases: &[(&str, Errno)]) -> Result {
    good(fx)?;
    let root = fx.root().display();
    let mut table = Table::new();
    for (text, errno) in cases {
        let value = text
            .replace('A', &format!("{root}/a"))
            .replace('B', &format!("{root}/b"));
        let options = Options::new().set("lowerdir", value);
        table.note(refused(fx, text, &options, *errno))?;
    }
    table.finish()
}

fn lowerdir_syntax(fx: &Fixture) -> Result {
    let inval = Errno::INVAL;
    lowerdirs(
        fx,
        &[
            (":A:B", inval),
            ("::A:B", inval),
            (":", inval),
            ("A:::B", inval),
            ("A::::B", inval),
            ("A:B:", inval),
            ("A:B::", inval),
            ("A:B\\", inval),
            ("\\", inval),
            ("A::B:B", inval),
        ],
    )
}

fn lowerdir_empty_names(fx: &Fixture) -> Result {
    // A name of nothing but an escape cannot be written; a blank is a name.
    lowerdirs(fx, &[("A: :B", Errno::NOENT), (" A:B", Errno::NOENT)])
}

fn does_not_resolve(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let root = fx.root();
    let long = "x".repeat(256);
    std::os::unix::fs::symlink("loop", root.join("loop"))?;
    std::os::unix::fs::symlink("nowhere", root.join("dangling"))?;
    let mut table = Table::new();
    let cases = [
        (root.join("no"), Errno::NOENT),
        (root.join("no/deeper"), Errno::NOENT),
        (root.join("dangling"), Errno::NOENT),
        (root.join("a/file/x"), Errno::NOTDIR),
        (root.join("loop"), Errno::LOOP),
        (root.join(long), Errno::NAMETOOLONG),
    ];
    for (bad, errno) in &cases {
        let bad_layer = |key: &str, upper: &Path, work: &Path| {
            let options = Options::new().lowers(&[&good.a, &good.b]);
            let options = options.set("upperdir", upper).set("workdir", work);
            refused(fx, &format!("{key} {bad:?}"), &options, *errno)
        };
        table.note(bad_layer("upperdir", bad, good.work.path()))?;
        table.note(bad_layer("workdir", good.upper.path(), bad))?;
        for value in [
            format!("{}:{}", bad.display(), good.a.path().display()),
            format!("{}:{}", good.a.path().display(), bad.display()),
        ] {
            let options = Options::new().set("lowerdir", &value);
            table.note(refused(fx, &format!("lowerdir {bad:?}"), &options, *errno))?;
        }
    }
    table.finish()
}

fn upper_empty(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let lowers = Options::new().lowers(&[&good.a, &good.b]);
    let options = lowers.clone().set("upperdir", "");
    refused(fx, "upperdir=", &options, Errno::INVAL)?;
    let options = lowers.clone().set("workdir", "");
    refused(fx, "workdir=", &options, Errno::INVAL)?;
    // Escapes alone unescape to nothing at all.
    let options = lowers.set("upperdir", "\\");
    refused(fx, "upperdir=\\", &options, Errno::INVAL)
}

fn not_a_directory(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let root = fx.root();
    good.a
        .node("fifo", rustix::fs::FileType::Fifo, 0o644, (0, 0))?;
    good.a.symlink("link", "file")?;
    let mut table = Table::new();
    for name in ["file", "fifo", "link"] {
        let bad = root.join("a").join(name);
        let lowers = Options::new().lowers(&[&good.a, &good.b]);
        let cases = [
            lowers
                .clone()
                .set("upperdir", &bad)
                .set("workdir", good.work.path()),
            lowers
                .set("upperdir", good.upper.path())
                .set("workdir", &bad),
            Options::new().set(
                "lowerdir",
                format!("{}:{}/b", bad.display(), root.display()),
            ),
            Options::new().set(
                "lowerdir",
                format!("{}/b:{}", root.display(), bad.display()),
            ),
        ];
        for (index, options) in cases.iter().enumerate() {
            table.note(refused(
                fx,
                &format!("{name} {index}"),
                options,
                Errno::INVAL,
            ))?;
        }
    }
    table.finish()
}

fn upper_on_overlay(fx: &Fixture) -> Result {
    let good = good(fx)?;
    good.a.dir("up")?.dir("wk")?;
    let inner = fx.lowers(&[&good.a, &good.b])?;
    let lowers = Options::new().lowers(&[&good.b]);
    let options = lowers
        .clone()
        .set("upperdir", inner.join("up"))
        .set("workdir", good.work.path());
    refused(fx, "upperdir on an overlay", &options, Errno::INVAL)?;
    let options = lowers
        .set("upperdir", good.upper.path())
        .set("workdir", inner.join("wk"));
    refused(fx, "workdir on an overlay", &options, Errno::INVAL)
}

fn upper_read_only(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let tmpfs = fx.tmpfs("ro")?;
    let (upper, work) = (
        Layer::create(tmpfs.join("u"))?,
        Layer::create(tmpfs.join("w"))?,
    );
    mount_remount(&tmpfs, MountFlags::RDONLY, "")?;
    let options = Options::new().lowers(&[&good.a]).upper(&upper, &work);
    refused(fx, "read-only superblock", &options, Errno::INVAL)?;
    mount_remount(&tmpfs, MountFlags::empty(), "")?;
    mount_remount(&tmpfs, MountFlags::RDONLY | MountFlags::BIND, "")?;
    refused(fx, "read-only mount", &options, Errno::INVAL)?;
    // As a lower layer it is welcome.
    let ov = fx.lowers(&[&good.a, &upper])?;
    fx.unmount(ov.path())?;
    Ok(())
}

fn no_lower(fx: &Fixture) -> Result {
    let good = good(fx)?;
    refused(fx, "no option", &Options::new(), Errno::INVAL)?;
    let options = Options::new().upper(&good.upper, &good.work);
    refused(fx, "upper only", &options, Errno::INVAL)?;
    let options = Options::new().set("lowerdir", "");
    refused(fx, "empty lowerdir", &options, Errno::INVAL)
}

fn upper_without_work(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let options = Options::new().lowers(&[&good.a, &good.b]);
    let options = options.set("upperdir", good.upper.path());
    refused(fx, "upper without work", &options, Errno::INVAL)
}

fn work_inside_upper(fx: &Fixture) -> Result {
    let good = good(fx)?;
    good.upper.dir("deep/work")?;
    good.work.dir("deep/upper")?;
    let lowers = Options::new().lowers(&[&good.a]);
    let cases = [
        (
            "work inside upper",
            good.upper.path().to_owned(),
            good.upper.join("deep/work"),
        ),
        (
            "upper inside work",
            good.work.join("deep/upper"),
            good.work.path().to_owned(),
        ),
        (
            "same directory",
            good.upper.path().to_owned(),
            good.upper.path().to_owned(),
        ),
    ];
    let mut table = Table::new();
    for (what, upper, work) in cases {
        let options = lowers.clone().set("upperdir", upper).set("workdir", work);
        table.note(refused(fx, what, &options, Errno::INVAL))?;
    }
    table.finish()
}

fn work_on_other_mount(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let lowers = Options::new().lowers(&[&good.a]);
    let other = Layer::create(fx.tmpfs("other")?.join("work"))?;
    let options = lowers.clone().upper(&good.upper, &other);
    refused(fx, "other filesystem", &options, Errno::INVAL)?;
    // The same filesystem by another mount is another mount.
    let bind = fx.place("bind")?;
    rustix::mount::mount_bind(fx.root(), &bind)?;
    fx.adopt(&bind);
    let options = lowers.clone().set("upperdir", good.upper.path());
    let options = options.set("workdir", bind.join("work"));
    refused(fx, "other mount", &options, Errno::INVAL)?;
    let options = lowers
        .set("upperdir", bind.join("upper"))
        .set("workdir", bind.join("work"));
    let ov = fx.mount(&options)?;
    fx.unmount(ov.path())?;
    Ok(())
}

fn single_lower(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let options = Options::new().lowers(&[&good.a]);
    refused(fx, "single lower", &options, Errno::INVAL)?;
    let options = options.set("workdir", good.work.path());
    refused(fx, "single lower with work", &options, Errno::INVAL)
}

fn stack_too_deep(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let first = fx.lowers(&[&good.a, &good.b])?;
    let first = Layer::create(first.path().to_owned())?;
    let second = fx.lowers(&[&good.b, &first])?;
    let second = Layer::create(second.path().to_owned())?;
    for lowers in [[&good.a, &second], [&second, &good.a]] {
        let options = Options::new().lowers(&lowers);
        refused(fx, "third level", &options, Errno::INVAL)?;
        let options = options.upper(&good.upper, &good.work);
        refused(fx, "third level with upper", &options, Errno::INVAL)?;
    }
    Ok(())
}

fn unbindable_layer(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let tmpfs = fx.tmpfs("unbindable")?;
    let lower = Layer::create(tmpfs.join("l"))?;
    mount_change(&tmpfs, MountPropagationFlags::UNBINDABLE)?;
    let options = Options::new().lowers(&[&good.a, &lower]);
    refused(fx, "unbindable layer", &options, Errno::INVAL)
}

fn unknown_option(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let lowers = Options::new().lowers(&[&good.a, &good.b]);
    let mut table = Table::new();
    for options in [
        lowers.clone().flag("unsupported"),
        lowers.clone().set("unsupported", "on"),
        lowers.clone().set("lowerdirs", "x"),
        lowers.clone().set("Lowerdir", "x"),
        lowers.clone().set("lowerdir ", "x"),
        lowers.clone().set("workdir+", "x"),
        Options::new()
            .flag("unsupported")
            .lowers(&[&good.a, &good.b]),
    ] {
        table.note(refused(fx, &format!("{options:?}"), &options, Errno::INVAL))?;
    }
    table.finish()
}

fn value_missing(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let lowers = Options::new().lowers(&[&good.a, &good.b]);
    let mut table = Table::new();
    for key in ["lowerdir", "upperdir", "workdir"] {
        let options = lowers.clone().flag(key);
        table.note(refused(fx, key, &options, Errno::INVAL))?;
    }
    table.finish()
}

/// Options are looked at one by one, paths resolved at once.
fn first_bad_option(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let missing = fx.root().join("no");
    let file = good.a.join("file");
    let lowers = Options::new().lowers(&[&good.a, &good.b]);
    let mut table = Table::new();
    let cases = [
        (
            "missing before unknown",
            lowers.clone().set("upperdir", &missing).flag("unsupported"),
            Errno::NOENT,
        ),
        (
            "unknown before missing",
            lowers.clone().flag("unsupported").set("upperdir", &missing),
            Errno::INVAL,
        ),
        (
            "file before missing",
            lowers
                .clone()
                .set("upperdir", &file)
                .set("workdir", &missing),
            Errno::INVAL,
        ),
        (
            "missing before file",
            lowers
                .clone()
                .set("workdir", &missing)
                .set("upperdir", &file),
            Errno::NOENT,
        ),
        (
            "missing upper, no lower, no work",
            Options::new().set("upperdir", &missing),
            Errno::NOENT,
        ),
        (
            "syntax before resolution",
            Options::new().set("lowerdir", format!("{}:", missing.display())),
            Errno::INVAL,
        ),
        (
            "first layer before second",
            Options::new().set(
                "lowerdir",
                format!("{}:{}/x", missing.display(), file.display()),
            ),
            Errno::NOENT,
        ),
        (
            "second layer after first",
            Options::new().set(
                "lowerdir",
                format!("{}/x:{}", file.display(), missing.display()),
            ),
            Errno::NOTDIR,
        ),
    ];
    for (what, options, errno) in cases {
        table.note(refused(fx, what, &options, errno))?;
    }
    table.finish()
}

/// What is looked at when all options have been read: all of it is EINVAL, and nothing of the
/// upper or work directory is touched before.
fn order_after_parsing(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let missing_work = Options::new().set("upperdir", good.upper.path());
    refused(fx, "no lower, no work", &missing_work, Errno::INVAL)?;
    let inside = good.upper.dir("w")?.join("w");
    let options = missing_work.set("workdir", &inside);
    refused(fx, "no lower, work inside upper", &options, Errno::INVAL)?;
    let options = options.lowers(&[&good.a]);
    refused(fx, "work inside upper", &options, Errno::INVAL)?;
    check::equal("names in work", sys::names(&inside)?.len(), 0)
}

/// A refused mount leaves no mount, no busy layer and no work directory.
fn leaves_nothing(fx: &Fixture) -> Result {
    let tmpfs = fx.tmpfs("t")?;
    let layer = |name: &str| Layer::create(tmpfs.join(name));
    let (upper, work, lower) = (layer("upper")?, layer("work")?, layer("lower")?);
    upper.dir("inside")?;
    let before = std::fs::read_to_string("/proc/self/mounts")?;
    let point = fx.mount_point()?;
    let lowers = Options::new().lowers(&[&lower]);
    for options in [
        lowers.clone(),
        lowers.clone().set("upperdir", upper.path()),
        lowers
            .clone()
            .set("upperdir", upper.path())
            .set("workdir", upper.join("inside")),
        lowers.clone().upper(&upper, &work).flag("unsupported"),
    ] {
        check::errno(
            format!("{options:?}"),
            fx.mount_at(&point, &options),
            Errno::INVAL,
        )?;
    }
    let after = std::fs::read_to_string("/proc/self/mounts")?;
    check::equal("mounts", after, before)?;
    check::equal("names in work", sys::names(work.path())?.len(), 0)?;
    check::equal(
        "names in inside",
        sys::names(upper.join("inside"))?.len(),
        0,
    )?;
    fx.unmount(&tmpfs)?;
    Ok(())
}

fn unprivileged(fx: &Fixture) -> Result {
    let good = good(fx)?;
    let options = Options::new().lowers(&[&good.a, &good.b]);
    let point = fx.mount_point()?;
    let fs_type = fx.fs_type().to_owned();
    let data = options.data();
    let result = sys::as_user(1000, 1000, &[], || {
        rustix::mount::mount("none", &point, &fs_type, MountFlags::empty(), &*data)
    })?;
    check::errno("mount as a user", result, Errno::PERM)
}
