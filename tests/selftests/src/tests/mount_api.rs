// SPDX-License-Identifier: GPL-2.0-only

//! Mounting by fsopen, fsconfig and fsmount, and changing a mount.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::fsconfig_create;
use rustix::mount::fsconfig_reconfigure;
use rustix::mount::fsconfig_set_flag;
use rustix::mount::fsconfig_set_string;
use rustix::mount::fsmount;
use rustix::mount::fsopen;
use rustix::mount::fspick;
use rustix::mount::mount_remount;
use rustix::mount::move_mount;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::FsPickFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountFlags;
use rustix::mount::MoveMountFlags;

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
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("fsconfig_lowers", "A1 M1", lowers).on_disks_too(),
    Test::new("fsconfig_upper", "A1 M1 M4 M5", upper).on_disks_too(),
    Test::new("fsconfig_escapes", "A1 M1 M4 M18", escapes),
    Test::new("fsconfig_lowerdir_replaced", "A1 M1", lowerdir_replaced),
    Test::new("fsconfig_lowerdir_emptied", "A1 M1", lowerdir_emptied),
    Test::new(
        "fsconfig_goes_on_after_bad_option",
        "A1 A6 E2",
        goes_on_after_bad_option,
    ),
    Test::new(
        "fsconfig_failed_lowerdir_clears",
        "A1 M1 E2",
        failed_lowerdir_clears,
    ),
    Test::new("fsconfig_unknown_key", "A6", unknown_key),
    Test::new("fsconfig_wrong_kind_of_value", "A1 A6", wrong_kind_of_value),
    Test::new("fsconfig_log_names_the_layer", "A5 E3", log_names_the_layer),
    Test::new("fsconfig_paths_resolved_at_once", "A1 M1", resolved_at_once),
    Test::new("fsconfig_create_errors", "A1 E7 E16", create_errors),
    Test::new(
        "fsconfig_no_create_after_failure",
        "A1 E16",
        no_create_after_failure,
    ),
    Test::new("fsopen_dropped_unused", "A1", dropped_unused),
    Test::new("fsmount_detached", "A1", detached),
    Test::new("fsmount_attributes", "A1 M18", attributes),
    Test::new("fsmount_read_only_flag", "A1 M18", read_only_flag),
    Test::new("remount_options_ignored", "A3", remount_options_ignored),
    Test::new(
        "remount_upper_options_ignored",
        "A3",
        remount_upper_options_ignored,
    ),
    Test::new("remount_read_only_is_kept", "A3", remount_read_only),
    Test::new("remount_lowers_to_rw", "A3", remount_lowers_to_rw),
    Test::new(
        "reconfigure_refuses_options",
        "A3",
        reconfigure_refuses_options,
    ),
    Test::new(
        "reconfigure_without_changes",
        "A3",
        reconfigure_without_changes,
    ),
    Test::new("remount_bind_flags", "A3 M18", remount_bind_flags),
];

/// Two layers that each have a file of their own.
fn two(fx: &Fixture) -> Result<[Layer; 2]> {
    let layers = [fx.layer("a")?, fx.layer("b")?];
    layers[0].file("fa", "a")?;
    layers[1].file("fb", "b")?;
    Ok(layers)
}

fn shows_two(path: &Path) -> Result {
    content(path.join("fa"), "a")?;
    content(path.join("fb"), "b")?;
    lists(path, &["fa", "fb"])
}

fn open_context(fx: &Fixture) -> Result<OwnedFd> {
    fsopen(fx.fs_type(), FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")
}

fn configure(context: &OwnedFd, options: &Options) -> std::result::Result<(), Errno> {
    for (key, value) in options.pairs() {
        match value {
            Some(value) => fsconfig_set_string(context, key, value)?,
            None => fsconfig_set_flag(context, key)?,
        }
    }
    Ok(())
}

fn detached_mount(context: &OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    fsconfig_create(context)?;
    fsmount(
        context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

fn attach(fx: &Fixture, mount: &OwnedFd) -> Result<std::path::PathBuf> {
    let point = fx.mount_point()?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", CWD, &point, flags).context("move_mount")?;
    fx.adopt(&point);
    Ok(point)
}

/// The whole way from fsopen to a mount point.
fn mount(fx: &Fixture, options: &Options) -> Result<std::path::PathBuf> {
    let context = open_context(fx)?;
    configure(&context, options).context("fsconfig")?;
    attach(fx, &detached_mount(&context).context("create")?)
}

fn lowers(fx: &Fixture) -> Result {
    let point = mount(fx, &Options::new().lowers(&two(fx)?))?;
    shows_two(&point)?;
    check::errno("mkdir", sys::mkdir(&point.join("new"), 0o755), Errno::ROFS)
}

fn upper(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    let work = fx.work()?;
    let point = mount(fx, &Options::new().upper(&upper, &work).lowers(&[lower]))?;
    shows_two(&point)
}

/// Commas are nothing special here; colons and backslashes are.
fn escapes(fx: &Fixture) -> Result {
    let (a, b) = (fx.layer("a,:\\")?, fx.layer("b,")?);
    a.file("fa", "a")?;
    b.file("fb", "b")?;
    let root = fx.root().display();
    let lowerdir = format!("{root}/a,\\:\\\\:{root}/b,");
    shows_two(&mount(fx, &Options::new().set("lowerdir", lowerdir))?)?;
    fx.layer("w,")?;
    let options = Options::new()
        .set("lowerdir", format!("{root}/b,"))
        .set("upperdir", format!("{root}/a,:\\\\"))
        .set("workdir", format!("{root}/w\\,"));
    shows_two(&mount(fx, &options)?)
}

fn lowerdir_replaced(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let other = fx.layer("other")?;
    other.file("other", "")?;
    let options = Options::new().lowers(&[&other, &b, &a]);
    shows_two(&mount(fx, &options.lowers(&[&a, &b]))?)
}

fn lowerdir_emptied(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    let options = Options::new().lowers(&layers).set("lowerdir", "");
    let context = open_context(fx)?;
    configure(&context, &options)?;
    check::errno("create", fsconfig_create(&context), Errno::INVAL)?;
    shows_two(&mount(fx, &options.lowers(&layers))?)
}

/// An option that is refused changes nothing: the right one can still be given.
fn goes_on_after_bad_option(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    let work = fx.work()?;
    let missing = fx.root().join("no");
    let context = open_context(fx)?;
    configure(&context, &Options::new().upper(&upper, &work))?;
    let result = fsconfig_set_string(&context, "upperdir", &missing);
    check::errno("missing upper", result, Errno::NOENT)?;
    let result = fsconfig_set_string(&context, "workdir", upper.join("fa"));
    check::errno("work is a file", result, Errno::INVAL)?;
    let result = fsconfig_set_string(&context, "unsupported", "on");
    check::errno("unknown key", result, Errno::INVAL)?;
    configure(&context, &Options::new().lowers(&[lower]))?;
    shows_two(&attach(fx, &detached_mount(&context)?)?)
}

/// A lowerdir that is refused has thrown away the one before.
fn failed_lowerdir_clears(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    let missing = fx.root().join("no");
    for bad in [missing.as_os_str(), ":".as_ref()] {
        let context = open_context(fx)?;
        configure(&context, &Options::new().lowers(&layers))?;
        let result = fsconfig_set_string(&context, "lowerdir", bad);
        check::ok(result.is_err(), "a bad lowerdir was taken")?;
        check::errno("create", fsconfig_create(&context), Errno::INVAL)?;
    }
    Ok(())
}

fn unknown_key(fx: &Fixture) -> Result {
    let context = open_context(fx)?;
    let result = fsconfig_set_flag(&context, "unsupported");
    check::errno("flag", result, Errno::INVAL)?;
    let result = fsconfig_set_string(&context, "unsupported", "value");
    check::errno("string", result, Errno::INVAL)?;
    let result = fsconfig_set_string(&context, "workdir+", "/");
    check::errno("workdir+", result, Errno::INVAL)
}

fn wrong_kind_of_value(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    let context = open_context(fx)?;
    let mut table = Table::new();
    for key in ["lowerdir", "upperdir", "workdir"] {
        let result = fsconfig_set_flag(&context, key);
        table.note(check::errno(format!("{key} flag"), result, Errno::INVAL))?;
        let result = rustix::mount::fsconfig_set_binary(&context, key, b"/");
        table.note(check::errno(format!("{key} blob"), result, Errno::INVAL))?;
        let result = rustix::mount::fsconfig_set_path(&context, key, "/", CWD);
        table.note(check::errno(format!("{key} path"), result, Errno::INVAL))?;
    }
    let dir = sys::open_dir(layers[0].path())?;
    let result = rustix::mount::fsconfig_set_fd(&context, "lowerdir", &dir);
    table.note(check::errno("lowerdir fd", result, Errno::INVAL))?;
    table.finish()
}

/// Reads one message of the context's log.
fn log_line(context: &OwnedFd) -> std::result::Result<String, Errno> {
    let mut buffer = [0; 4096];
    let length = rustix::io::read(context, &mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn log_names_the_layer(fx: &Fixture) -> Result {
    let [a, _] = two(fx)?;
    let file = a.join("fa");
    let context = open_context(fx)?;
    check::errno("empty log", log_line(&context), Errno::NODATA)?;
    for key in ["upperdir", "workdir"] {
        let result = fsconfig_set_string(&context, key, &file);
        check::errno(key, result, Errno::INVAL)?;
        let line = log_line(&context).context("read the log")?;
        let named = line.starts_with("e ") && line.contains(&*file.to_string_lossy());
        check::ok(named, format_args!("{key}: the log says {line:?}"))?;
    }
    check::errno("log read to its end", log_line(&context), Errno::NODATA)
}

/// The path is looked up when the option is given, not when the superblock is made.
fn resolved_at_once(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let context = open_context(fx)?;
    std::env::set_current_dir(fx.root())?;
    configure(&context, &Options::new().set("lowerdir", "a:b"))?;
    std::env::set_current_dir("/")?;
    std::fs::rename(a.path(), fx.root().join("moved"))?;
    fx.layer("a")?.file("wrong", "")?;
    shows_two(&attach(fx, &detached_mount(&context)?)?)?;
    check::ok(b.path().is_dir(), "the lower layer is gone")
}

fn create_errors(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let mut table = Table::new();
    for (what, options) in [
        ("nothing", Options::new()),
        ("single lower", Options::new().lowers(&[&a])),
        ("upper alone", Options::new().set("upperdir", a.path())),
        (
            "no work",
            Options::new().lowers(&[&b]).set("upperdir", a.path()),
        ),
    ] {
        let context = open_context(fx)?;
        configure(&context, &options)?;
        table.note(check::errno(what, fsconfig_create(&context), Errno::INVAL))?;
    }
    table.finish()
}

/// A context whose creation failed is dead.
fn no_create_after_failure(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    let context = open_context(fx)?;
    configure(&context, &Options::new().lowers(&layers[..1]))?;
    check::errno("single lower", fsconfig_create(&context), Errno::INVAL)?;
    let result = configure(&context, &Options::new().lowers(&layers));
    check::errno("fsconfig after it", result, Errno::BUSY)?;
    check::errno("create after it", fsconfig_create(&context), Errno::BUSY)
}

/// Contexts that never become a mount give back what they hold.
fn dropped_unused(fx: &Fixture) -> Result {
    let tmpfs = fx.tmpfs("t")?;
    let layer = |name: &str| Layer::create(tmpfs.join(name));
    let (a, b, work) = (layer("a")?, layer("b")?, layer("w")?);
    let options = Options::new().lowers(&[&a, &b]).upper(&a, &work);
    for _ in 0..3 {
        drop(open_context(fx)?);
        let context = open_context(fx)?;
        configure(&context, &options)?;
        drop(context);
    }
    let context = open_context(fx)?;
    configure(&context, &Options::new().lowers(&[&a, &b]))?;
    fsconfig_create(&context)?;
    drop(context);
    // Were a reference left, this would be busy.
    fx.unmount(&tmpfs)?;
    Ok(())
}

/// A mount works before it is attached, and goes with its last file descriptor.
fn detached(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    let context = open_context(fx)?;
    configure(&context, &Options::new().lowers(&layers))?;
    let mount = detached_mount(&context)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&mount, "fb", flags, Mode::empty())?;
    let mut buffer = [0; 8];
    check::equal("length read", rustix::io::read(&file, &mut buffer)?, 1)?;
    let names = sys::read_entries(rustix::fs::openat(&mount, ".", flags, Mode::empty())?, 4096)?;
    check::equal("entries", names.len(), 4)?;
    drop(mount);
    drop(context);
    check::equal("pread", rustix::io::pread(&file, &mut buffer, 0)?, 1)
}

fn attributes(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    layers[0].node("null", rustix::fs::FileType::CharacterDevice, 0o666, (1, 3))?;
    let context = open_context(fx)?;
    configure(&context, &Options::new().lowers(&layers))?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let point = attach(fx, &mount)?;
    let result = sys::open_read(point.join("null"));
    check::errno("device on nodev", result, Errno::ACCESS)?;
    content(point.join("fa"), "a")
}

fn read_only_flag(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    let work = fx.work()?;
    let options = Options::new().lowers(&[lower]).upper(&upper, &work);
    let point = mount(fx, &options.flag("ro"))?;
    shows_two(&point)?;
    check::errno("mkdir", sys::mkdir(&point.join("new"), 0o755), Errno::ROFS)
}

/// mount(2) looks at no option of a remount, not even at nonsense.
fn remount_options_ignored(fx: &Fixture) -> Result {
    let ov = fx.lowers(&two(fx)?)?;
    ignores_options(&ov, MountFlags::RDONLY)
}

fn remount_upper_options_ignored(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    let ov = fx.upper(&upper, &[&lower])?;
    ignores_options(&ov, MountFlags::empty())
}

fn ignores_options(ov: &Mounted, flags: MountFlags) -> Result {
    let before = mount_line(ov.path())?;
    for data in ["", "lowerdir=/nowhere", "unsupported", "upperdir=,xyz=1"] {
        mount_remount(ov.path(), flags, data).context(format_args!("remount {data:?}"))?;
    }
    shows_two(ov.path())?;
    check::equal("line in mounts", mount_line(ov.path())?, before)
}

fn mount_line(path: &Path) -> Result<String> {
    let wanted = format!(" {} ", path.display());
    std::fs::read_to_string("/proc/self/mounts")?
        .lines()
        .rfind(|line| line.contains(&wanted))
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("no line for {path:?} in mounts")))
}

fn remount_read_only(fx: &Fixture) -> Result {
    let [upper, lower] = two(fx)?;
    for ov in [fx.upper(&upper, &[&lower])?, fx.lowers(&[&upper, &lower])?] {
        mount_remount(ov.path(), MountFlags::RDONLY, "").context("remount ro")?;
        let result = sys::mkdir(&ov.join("new"), 0o755);
        check::errno("mkdir", result, Errno::ROFS)?;
        shows_two(ov.path())?;
    }
    Ok(())
}

fn remount_lowers_to_rw(fx: &Fixture) -> Result {
    let ov = fx.lowers(&two(fx)?)?;
    let result = mount_remount(ov.path(), MountFlags::empty(), "");
    check::errno("remount rw", result, Errno::ROFS)?;
    shows_two(ov.path())
}

fn reconfigure_refuses_options(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let ov = fx.lowers(&[&a, &b])?;
    let context = fspick(CWD, ov.path(), FsPickFlags::FSPICK_CLOEXEC)?;
    let mut table = Table::new();
    for key in ["lowerdir", "upperdir", "workdir", "unsupported"] {
        let result = fsconfig_set_string(&context, key, a.path());
        table.note(check::errno(key, result, Errno::INVAL))?;
    }
    table.finish()?;
    shows_two(ov.path())
}

/// Nothing asked for means read-write asked for, which a mount of lowers alone cannot be.
fn reconfigure_without_changes(fx: &Fixture) -> Result {
    let ov = fx.lowers(&two(fx)?)?;
    let context = fspick(CWD, ov.path(), FsPickFlags::FSPICK_CLOEXEC)?;
    let result = fsconfig_reconfigure(&context);
    check::errno("no option", result, Errno::ROFS)?;
    let context = fspick(CWD, ov.path(), FsPickFlags::FSPICK_CLOEXEC)?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_reconfigure(&context).context("ro")?;
    shows_two(ov.path())
}

/// Flags of the mount, not of the filesystem, can be changed as anywhere.
fn remount_bind_flags(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    layers[1].node("null", rustix::fs::FileType::CharacterDevice, 0o666, (1, 3))?;
    let ov = fx.lowers(&layers)?;
    sys::open_read(ov.join("null"))?;
    let flags = MountFlags::BIND | MountFlags::NODEV | MountFlags::RDONLY;
    mount_remount(ov.path(), flags, "")?;
    let result = sys::open_read(ov.join("null"));
    check::errno("device on nodev", result, Errno::ACCESS)?;
    mount_remount(ov.path(), MountFlags::BIND | MountFlags::RDONLY, "")?;
    sys::open_read(ov.join("null"))?;
    Ok(())
}
