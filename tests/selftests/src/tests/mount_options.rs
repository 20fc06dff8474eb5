// SPDX-License-Identifier: GPL-2.0-only

//! Mount options: which values they take, which go together, and how a mount shows them.

use rustix::io::Errno;
use rustix::mount::fsconfig_create;
use rustix::mount::fsconfig_set_flag;
use rustix::mount::fsconfig_set_string;
use rustix::mount::fsopen;
use rustix::mount::FsOpenFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::registry::Test;

pub const TESTS: &[Test] = &[
    Test::new(
        "options_shown_with_upper",
        "M6 M7 M8 M9 M10 M11 M12 M13 M14 M15 M16 P1 P2",
        shown_with_upper,
    ),
    Test::new(
        "options_shown_of_lowers",
        "M7 M8 M9 M16 P1 P2 1.2",
        shown_of_lowers,
    ),
    Test::new("options_shown_on_two_filesystems", "M12 P2", shown_on_two),
    Test::new("options_last_one_wins", "1.1 M15 M16", last_wins),
    Test::new("options_bad_values", "1.1 A6", bad_values),
    Test::new("options_conflicts", "E6 1.2", conflicts),
    Test::new("options_log_says_why", "E6 A5", log_says_why)
        .rovl_only("overlayfs says most of it to the kernel's log only"),
    Test::new(
        "options_not_supported_yet",
        "M3 M7 M8 M10 M13 M14",
        not_supported_yet,
    )
    .rovl_only("overlayfs has these features"),
    Test::new("options_credentials", "M17", credentials),
];

/// Options from text as for mount(2).
fn with(mut options: Options, text: &str) -> Options {
    for option in text.split(',').filter(|option| !option.is_empty()) {
        options = match option.split_once('=') {
            Some((key, value)) => options.set(key, value),
            None => options.flag(option),
        };
    }
    options
}

/// What the list of mounts shows behind the directories.
fn shown(fx: &Fixture, options: &Options) -> Result<String> {
    let ov = fx.mount(options).context("mount")?;
    let wanted = format!(" {} ", ov.path().display());
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let line = mounts.lines().rfind(|line| line.contains(&wanted));
    let line = line.ok_or_else(|| Failure::new("the mount is not listed"))?;
    let list = line.split(' ').nth(3).unwrap_or("");
    let dirs = ["lowerdir", "upperdir", "workdir", "ro", "rw", "relatime"];
    let rest: Vec<_> = list
        .split(',')
        .filter(|option| !dirs.contains(&option.split('=').next().unwrap_or("")))
        .collect();
    let rest = rest.join(",");
    fx.unmount(ov.path())?;
    Ok(rest)
}

fn shown_with_upper(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let mut table = Table::new();
    for (index, (text, expected)) in [
        ("", "uuid=on"),
        ("default_permissions", "default_permissions,uuid=on"),
        ("redirect_dir=off", "uuid=on"),
        ("redirect_dir=follow", "uuid=on"),
        ("redirect_dir=nofollow", "redirect_dir=nofollow,uuid=on"),
        (
            "index=off,nfs_export=off,metacopy=off,verity=off",
            "uuid=on",
        ),
        ("uuid=off", "uuid=off"),
        ("uuid=null", "uuid=null"),
        ("uuid=on", "uuid=on"),
        ("uuid=auto", "uuid=on"),
        ("xino=on", "uuid=on"),
        ("xino=auto", "uuid=on"),
        ("fsync=auto", "uuid=on"),
        ("fsync=strict", "uuid=on,fsync=strict"),
        ("fsync=volatile", "uuid=on,fsync=volatile"),
        ("volatile", "uuid=on,fsync=volatile"),
        ("userxattr", "redirect_dir=nofollow,uuid=on,userxattr"),
        (
            "userxattr,uuid=null,default_permissions,fsync=strict,redirect_dir=nofollow",
            "default_permissions,redirect_dir=nofollow,uuid=null,fsync=strict,userxattr",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (upper, work) = (
            fx.layer(format!("u{index}"))?,
            fx.layer(format!("w{index}"))?,
        );
        let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
        let result = shown(fx, &with(options, text));
        table.note(result.and_then(|found| check::equal(text, &*found, expected)))?;
    }
    table.finish()
}

fn shown_of_lowers(fx: &Fixture) -> Result {
    let (a, b) = (fx.layer("a")?, fx.layer("b")?);
    let work = fx.work()?;
    let workdir = format!("workdir={}", work.path().display());
    let mut table = Table::new();
    for (text, expected) in [
        ("", "redirect_dir=on"),
        ("redirect_dir=on", "redirect_dir=on"),
        ("redirect_dir=follow", "redirect_dir=on"),
        ("redirect_dir=nofollow", "redirect_dir=nofollow"),
        ("index=on", "redirect_dir=on"),
        ("uuid=on", "redirect_dir=on,uuid=null"),
        ("uuid=auto", "redirect_dir=on"),
        ("volatile", "redirect_dir=on"),
        ("fsync=strict", "redirect_dir=on,fsync=strict"),
        ("nfs_export=off", "redirect_dir=on"),
        ("userxattr", "redirect_dir=nofollow,userxattr"),
        (&*workdir, "redirect_dir=on"),
    ] {
        let result = shown(fx, &with(Options::new().lowers(&[&a, &b]), text));
        table.note(result.and_then(|found| check::equal(text, &*found, expected)))?;
    }
    table.finish()
}

/// Only where layers are on several filesystems the option means anything.
fn shown_on_two(fx: &Fixture) -> Result {
    let a = fx.layer("a")?;
    let b = crate::layer::Layer::create(fx.tmpfs("other")?.join("b"))?;
    let mut table = Table::new();
    for (text, expected) in [
        ("", "redirect_dir=on"),
        ("xino=off", "redirect_dir=on"),
        ("xino=on", "redirect_dir=on,xino=on"),
        ("xino=auto", "redirect_dir=on,xino=auto"),
    ] {
        let result = shown(fx, &with(Options::new().lowers(&[&a, &b]), text));
        table.note(result.and_then(|found| check::equal(text, &*found, expected)))?;
    }
    table.finish()
}

fn last_wins(fx: &Fixture) -> Result {
    let (a, b) = (fx.layer("a")?, fx.layer("b")?);
    let mut table = Table::new();
    for (text, expected) in [
        ("fsync=strict,fsync=auto", "redirect_dir=on"),
        ("redirect_dir=nofollow,redirect_dir=on", "redirect_dir=on"),
        ("volatile,fsync=strict", "redirect_dir=on,fsync=strict"),
        ("uuid=off,uuid=null,uuid=off", "redirect_dir=on,uuid=off"),
        ("metacopy=on,metacopy=off", "redirect_dir=on"),
    ] {
        let result = shown(fx, &with(Options::new().lowers(&[&a, &b]), text));
        table.note(result.and_then(|found| check::equal(text, &*found, expected)))?;
    }
    table.finish()
}

fn bad_values(fx: &Fixture) -> Result {
    let (a, b) = (fx.layer("a")?, fx.layer("b")?);
    let mut table = Table::new();
    for text in [
        "redirect_dir",
        "redirect_dir=",
        "redirect_dir=yes",
        "index=1",
        "index=ON",
        "uuid=none",
        "nfs_export",
        "xino=16",
        "metacopy=auto",
        "verity=yes",
        "fsync=off",
        "volatile=on",
        "userxattr=on",
        "default_permissions=1",
        "override_creds=on",
        "nooverride_creds=on",
        "novolatile",
        "nouserxattr",
        "check_copy_up=on",
    ] {
        let result = fx.mount(&with(Options::new().lowers(&[&a, &b]), text));
        table.note(check::errno(text, result, Errno::INVAL))?;
    }
    table.finish()
}

const CONFLICTS: [(&str, &str); 7] = [
    (
        "metacopy=on,redirect_dir=nofollow",
        "metacopy=on,redirect_dir=nofollow",
    ),
    (
        "nfs_export=on,redirect_dir=nofollow,index=off",
        "nfs_export=on,index=off",
    ),
    (
        "nfs_export=on,metacopy=on,index=on,redirect_dir=on",
        "nfs_export=on,metacopy=on",
    ),
    ("userxattr,redirect_dir=on", "userxattr,redirect_dir=on"),
    ("userxattr,redirect_dir=follow", "userxattr,redirect_dir="),
    ("userxattr,metacopy=on", "userxattr,metacopy=on"),
    (
        "userxattr,metacopy=on,redirect_dir=nofollow",
        "metacopy=on,redirect_dir=nofollow",
    ),
];

fn conflicts(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let mut table = Table::new();
    for (index, (text, _)) in CONFLICTS.into_iter().enumerate() {
        let (upper, work) = (
            fx.layer(format!("u{index}"))?,
            fx.layer(format!("w{index}"))?,
        );
        let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
        let result = fx.mount(&with(options, text));
        table.note(check::errno(text, result, Errno::INVAL))?;
        let made = work.join("work").exists();
        table.note(check::ok(
            !made,
            format_args!("{text}: the work directory was touched"),
        ))?;
    }
    table.finish()
}

/// What the context's log holds after the attempt to make a superblock, which has to fail.
fn log_of(fx: &Fixture, options: &Options, errno: Errno) -> Result<String> {
    let context = fsopen(fx.fs_type(), FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")?;
    for (key, value) in options.pairs() {
        match value {
            Some(value) => fsconfig_set_string(&context, key, value).context("fsconfig")?,
            None => fsconfig_set_flag(&context, key).context("fsconfig")?,
        }
    }
    check::errno("create", fsconfig_create(&context), errno)?;
    let mut log = String::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = rustix::io::read(&context, &mut buffer) {
        log.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    Ok(log)
}

fn says(what: &str, log: &str, text: &str) -> Result {
    let said = log
        .lines()
        .any(|line| line.starts_with("e ") && line.contains(text));
    check::ok(
        said,
        format_args!("{what}: {text:?} is not in the log: {log:?}"),
    )
}

fn log_says_why(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let (upper, work) = (fx.layer("upper")?, fx.layer("work")?);
    let inside = fx.layer("upper/inside")?;
    let both = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let mut table = Table::new();
    for (text, reason) in CONFLICTS {
        let log = log_of(fx, &with(both.clone(), text), Errno::INVAL);
        table.note(log.and_then(|log| says(text, &log, reason)))?;
    }
    for (what, options, errno, reason) in [
        ("nothing", Options::new(), Errno::INVAL, "lowerdir: missing"),
        (
            "single lower",
            Options::new().lowers(&[&lower]),
            Errno::INVAL,
            "at least two",
        ),
        (
            "no work",
            Options::new()
                .lowers(&[&lower])
                .set("upperdir", upper.path()),
            Errno::INVAL,
            "workdir: missing",
        ),
        (
            "work in upper",
            Options::new().lowers(&[&lower]).upper(&upper, &inside),
            Errno::INVAL,
            "workdir: /run/rovl-selftests/upper/inside",
        ),
        (
            "upper is lower",
            Options::new().lowers(&[&upper]).upper(&upper, &work),
            Errno::LOOP,
            "lowerdir: conflicting path /run/rovl-selftests/upper",
        ),
        (
            "lower in upper",
            Options::new().lowers(&[&inside]).upper(&upper, &work),
            Errno::LOOP,
            "lowerdir: overlapping path /run/rovl-selftests/upper/inside",
        ),
    ] {
        let log = log_of(fx, &options, errno);
        table.note(log.and_then(|log| says(what, &log, reason)))?;
    }
    table.finish()
}

fn not_supported_yet(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let data = fx.layer("data")?;
    let (upper, work) = (fx.layer("upper")?, fx.layer("work")?);
    let both = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let mut table = Table::new();
    for text in [
        "metacopy=on",
        "index=on",
        "nfs_export=on",
        "verity=on",
        "verity=require",
    ] {
        let log = log_of(fx, &with(both.clone(), text), Errno::INVAL);
        table.note(log.and_then(|log| says(text, &log, "not supported yet")))?;
    }
    let lowerdir = format!("{}::{}", lower.path().display(), data.path().display());
    let options = Options::new()
        .set("lowerdir", lowerdir)
        .upper(&upper, &work);
    let log = log_of(fx, &options, Errno::INVAL);
    table.note(log.and_then(|log| says("data", &log, "not supported yet")))?;
    let made = work.join("work").exists();
    table.note(check::ok(!made, "the work directory was touched"))?;
    table.finish()
}

fn credentials(fx: &Fixture) -> Result {
    let (a, b) = (fx.layer("a")?, fx.layer("b")?);
    a.file("file", "data")?;
    for text in [
        "override_creds",
        "nooverride_creds",
        "override_creds,nooverride_creds",
        "nooverride_creds,override_creds",
    ] {
        let ov = fx
            .mount(&with(Options::new().lowers(&[&a, &b]), text))
            .context(text)?;
        crate::expect::content(ov.join("file"), "data")?;
        fx.unmount(ov.path())?;
    }
    Ok(())
}
