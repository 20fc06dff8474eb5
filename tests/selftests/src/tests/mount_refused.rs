// SPDX-License-Identifier: GPL-2.0-only

//! Who may mount what, by whose rights the layers are then read, and what the log says of a refusal.

use std::os::fd::IntoRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::mount::fsconfig_create;
use rustix::mount::fsconfig_set_fd;
use rustix::mount::fsconfig_set_flag;
use rustix::mount::fsconfig_set_string;
use rustix::mount::fsmount;
use rustix::mount::fsopen;
use rustix::mount::mount_change;
use rustix::mount::mount_remount;
use rustix::mount::move_mount;
use rustix::mount::open_tree;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::expect::content;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::fuse;
use crate::fuse::Features;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

/// What is tried, the row that refuses it, and what the log has to name.
type Refusal<'a> = (&'a str, Options, Errno, &'a str, &'a Path);

pub const TESTS: &[Test] = &[
    Test::new("lowerdir_of_501_layers", "E1", too_many),
    Test::new(
        "layer_that_compares_names_itself",
        "E3",
        compares_names_itself,
    ),
    Test::new(
        "layer_of_another_mount_namespace",
        "A4 E8",
        other_mount_namespace,
    ),
    Test::new("layer_with_locked_mounts", "A4 E8", locked_mounts),
    Test::new("layer_of_a_mount_of_others", "A4 E8", mount_of_others),
    Test::new(
        "context_of_another_user_namespace",
        "E7 A1 M17",
        other_user_namespace,
    ),
    Test::new(
        "credentials_are_of_whoever_gave_the_option",
        "M17 F15",
        credentials,
    ),
    Test::new(
        "files_that_the_mounter_cannot_read",
        "M11 M17 X8 F15",
        unreadable,
    ),
    Test::new(
        "refusals_name_option_and_path",
        "A5 E2 E3 E4 E5 E8 E12 E13 E16 Q23",
        named,
    )
    .rovl_only("overlayfs says most of it to the kernel's log only"),
    Test::new("refusals_name_remote_layers", "A5 E8 E15 Q23", remote_named)
        .rovl_only("overlayfs says most of it to the kernel's log only"),
];

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

fn two(fx: &Fixture) -> Result<[Layer; 2]> {
    Ok([fx.layer("a")?, fx.layer("b")?])
}

/// More than there may be, in a text that mount(2) takes whole.
fn too_many(fx: &Fixture) -> Result {
    two(fx)?;
    std::env::set_current_dir(fx.root())?;
    let lowerdir = vec!["a"; 501].join(":");
    let result = fx.mount(&Options::new().set("lowerdir", lowerdir));
    check::errno("501 layers", result, Errno::INVAL)?;
    // One fewer is refused for being the same each time.
    let lowerdir = vec!["a"; 500].join(":");
    let result = fx.mount(&Options::new().set("lowerdir", lowerdir));
    check::errno("500 times one layer", result, Errno::LOOP)?;
    std::env::set_current_dir("/")?;
    Ok(())
}

/// Such names cannot be merged by their bytes. Those below /proc/sys stand for all of them.
fn compares_names_itself(fx: &Fixture) -> Result {
    let mut table = Table::new();
    for key in ["lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir"] {
        let result = fsconfig_set_string(open_context(fx)?, key, "/proc/sys/kernel");
        table.note(check::errno(key, result, Errno::INVAL))?;
    }
    // Those above are names as others, which the VFS has at hand.
    let context = open_context(fx)?;
    fsconfig_set_string(&context, "lowerdir+", "/proc").context("/proc")?;
    table.finish()
}

/// A descriptor leads to a mount that could not be named here.
fn other_mount_namespace(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let context = open_context(fx)?;
    fsconfig_set_string(&context, "lowerdir+", a.path())?;
    let dir = sys::open_dir(b.path())?;
    fsconfig_set_fd(&context, "lowerdir+", &dir)?;
    let created = sys::with_own_mounts(|| fsconfig_create(&context))?;
    check::errno("create elsewhere", created, Errno::INVAL)
}

/// What is mounted over a directory in a namespace with more rights must not be laid open.
fn locked_mounts(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    b.dir("covered")?.file("covered/secret", "")?;
    rustix::mount::mount(
        "tmpfs",
        b.join("covered"),
        "tmpfs",
        MountFlags::empty(),
        None,
    )?;
    fx.adopt(&b.join("covered"));
    let point = fx.mount_point()?;
    let inside = in_user_namespace(|| {
        let options = Options::new().lowers(&[&a, &b]);
        check::errno("mount", fx.mount_at(&point, &options), Errno::INVAL)?;
        let covered = Layer::create(b.join("covered"))?;
        fx.mount_at(&point, &Options::new().lowers(&[&a, &covered]))
            .context("what covers it")?;
        fx.unmount(&point).context("unmount")?;
        Ok(0)
    })?;
    inside.wait()
}

/// A mount that was made for somebody by one with more rights is not for whoever gets hold of it.
fn mount_of_others(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let trees = layers.map(|layer| open_tree(rustix::fs::CWD, layer.path(), flags));
    let child = in_user_namespace(|| {
        let context = open_context(fx)?;
        for tree in trees {
            fsconfig_set_fd(&context, "lowerdir+", &tree.context("open_tree")?)?;
        }
        check::errno("create", fsconfig_create(&context), Errno::PERM)?;
        Ok(0)
    })?;
    child.wait()
}

/// A child that is root in a user namespace of its own.
struct Child {
    pid: Pid,
    /// What its work returned.
    said: u8,
    go: OwnedFd,
}

impl Child {
    /// Lets it end, and fails if its work did.
    fn wait(self) -> Result {
        drop(self.go);
        let flags = rustix::process::WaitOptions::empty();
        let ended = rustix::process::waitpid(Some(self.pid), flags)?;
        let status = ended.and_then(|(_, status)| status.exit_status());
        check::equal("status in the namespace", status, Some(0))
    }
}

/// Runs `work` in a child with its own user and mount namespaces, which then stays until it is waited for.
fn in_user_namespace(work: impl FnOnce() -> Result<u8>) -> Result<Child> {
    let (ready, go) = (rustix::pipe::pipe()?, rustix::pipe::pipe()?);
    let Some(pid) = sys::fork()? else {
        drop(go.1);
        let result = enter(&ready.1, &go.0).and_then(|()| work());
        if let Err(failure) = &result {
            eprintln!("in the namespace: {failure:?}");
        }
        let said = result.as_ref().map_or(0, |said| *said);
        let _ = rustix::io::write(&ready.1, &[said]);
        let _ = rustix::io::read(&go.0, &mut [0]);
        std::process::exit(i32::from(result.is_err()));
    };
    drop(ready.1);
    let mut said = [0];
    if rustix::io::read(&ready.0, &mut said)? == 0 {
        return Err(Failure::skip("there are no user namespaces"));
    }
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
        std::fs::write(path, "0 0 65536").context(file)?;
    }
    rustix::io::write(&go.1, b"x")?;
    rustix::io::read(&ready.0, &mut said)?;
    let [said] = said;
    Ok(Child {
        pid,
        said,
        go: go.1,
    })
}

fn enter(ready: &OwnedFd, go: &OwnedFd) -> Result {
    sys::unshare_user()?;
    rustix::io::write(ready, b"x")?;
    rustix::io::read(go, &mut [0])?;
    Ok(())
}

/// Whoever is given a context must not make a mount with it whose layers are none of its namespace's.
fn other_user_namespace(fx: &Fixture) -> Result {
    let layers = two(fx)?;
    let child = in_user_namespace(|| {
        // It stays open until the child ends.
        let number = open_context(fx)?.into_raw_fd();
        u8::try_from(number).map_err(|_| Failure::new("too many descriptors"))
    })?;
    let process = rustix::process::pidfd_open(child.pid, PidfdFlags::empty())?;
    let flags = PidfdGetfdFlags::empty();
    let context = rustix::process::pidfd_getfd(&process, child.said.into(), flags);
    let context = context.context("take the child's context")?;
    let result = fsconfig_set_flag(&context, "override_creds");
    check::errno("override_creds", result, Errno::INVAL)?;
    configure(&context, &Options::new().lowers(&layers)).context("lowerdir")?;
    check::errno("create", fsconfig_create(&context), Errno::INVAL)?;
    child.wait()
}

fn attach(fx: &Fixture, context: &OwnedFd) -> Result<PathBuf> {
    fsconfig_create(context).context("create")?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mount = fsmount(context, flags, MountAttrFlags::empty())?;
    let point = fx.mount_point()?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mount, "", rustix::fs::CWD, &point, flags).context("move_mount")?;
    fx.adopt(&point);
    Ok(point)
}

/// A user who gives the option lends the mount no more than a user's rights, until it is taken back.
fn credentials(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    b.file("secret", "secret")?.chmod("secret", 0o600)?;
    b.file("open", "open")?;
    for (last, readable) in [("override_creds", false), ("nooverride_creds", true)] {
        let context = open_context(fx)?;
        configure(&context, &Options::new().lowers(&[&a, &b]))?;
        let flag = |key| fsconfig_set_flag(&context, key);
        sys::as_user(1000, 1000, &[], || flag("override_creds"))?.context("override_creds")?;
        if last != "override_creds" {
            flag(last).context(last)?;
        }
        let point = attach(fx, &context)?;
        content(point.join("open"), "open")?;
        let secret = std::fs::read(point.join("secret"));
        match readable {
            true => check::bytes("the mounter's rights", &secret?, b"secret")?,
            false => check::errno("a user's rights", secret, Errno::ACCESS)?,
        }
        fx.unmount(&point)?;
    }
    Ok(())
}

/// Tries to mount, and returns what the context's log says, a line for each message.
pub(super) fn log_of(fx: &Fixture, options: &Options, errno: Errno) -> Result<String> {
    let context = open_context(fx)?;
    let result = configure(&context, options).and_then(|()| fsconfig_create(&context));
    check::errno(format_args!("{options:?}"), result, errno)?;
    let mut log = String::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = rustix::io::read(&context, &mut buffer) {
        log.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    Ok(log)
}

/// Fails unless one message says all of this.
pub(super) fn says(what: &str, log: &str, parts: &[&str]) -> Result {
    let said = |line: &str| parts.iter().all(|part| line.contains(part));
    let found = log.lines().any(|line| line.starts_with("e ") && said(line));
    check::ok(found, format_args!("{what}: {parts:?} is not in {log:?}"))
}

fn named(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    a.file("file", "")?;
    let upper = fx.layer("u")?;
    let inner = fx.lowers(&[&a, &b])?;
    let inner = Layer::create(inner.path().to_owned())?;
    let outer = fx.lowers(&[&inner, &b])?;
    let outer = Layer::create(outer.path().to_owned())?;
    let other = Layer::create(fx.tmpfs("other")?.join("w"))?;
    let unbindable = fx.tmpfs("unbindable")?;
    mount_change(&unbindable, MountPropagationFlags::UNBINDABLE)?;
    let unbindable = Layer::create(unbindable)?;
    let marked = fx.layer("marked")?;
    marked.dir("work/incompat/feature")?;
    let fixed = Layer::create(fx.tmpfs("fixed")?.join("u"))?;
    mount_remount(fx.place("fixed")?, MountFlags::RDONLY, "")?;

    let lowers = || Options::new().lowers(&[&a, &b]);
    let missing = fx.root().join("no");
    let cases: [Refusal<'_>; 13] = [
        (
            "E2",
            Options::new().set("lowerdir", &missing),
            Errno::NOENT,
            "lowerdir:",
            &missing,
        ),
        (
            "E2",
            lowers().set("upperdir", &missing),
            Errno::NOENT,
            "upperdir:",
            &missing,
        ),
        (
            "E3",
            Options::new().set("lowerdir", a.join("file")),
            Errno::INVAL,
            "lowerdir:",
            &a.join("file"),
        ),
        (
            "E3",
            Options::new().set("lowerdir+", "/proc/sys/kernel"),
            Errno::INVAL,
            "lowerdir+:",
            "/proc/sys/kernel".as_ref(),
        ),
        (
            "E4",
            lowers().set("upperdir", inner.path()),
            Errno::INVAL,
            "upperdir:",
            inner.path(),
        ),
        (
            "E4",
            lowers().set("upperdir", fixed.path()),
            Errno::INVAL,
            "upperdir:",
            fixed.path(),
        ),
        (
            "E5",
            lowers().set("lowerdir+", a.path()),
            Errno::INVAL,
            "lowerdir+:",
            "".as_ref(),
        ),
        (
            "E8",
            Options::new().lowers(&[&a, &unbindable]),
            Errno::INVAL,
            "lowerdir:",
            unbindable.path(),
        ),
        (
            "E9",
            Options::new().lowers(&[&a, &b, &a]),
            Errno::LOOP,
            "lowerdir:",
            a.path(),
        ),
        (
            "E12",
            lowers().upper(&upper, &other),
            Errno::INVAL,
            "workdir:",
            other.path(),
        ),
        (
            "E13",
            lowers().upper(&upper, &marked),
            Errno::INVAL,
            "workdir:",
            marked.path(),
        ),
        (
            "E16",
            Options::new().lowers(&[&a, &outer]),
            Errno::INVAL,
            "lowerdir:",
            outer.path(),
        ),
        (
            "E7",
            Options::new().lowers(&[&a]).set("upperdir", upper.path()),
            Errno::INVAL,
            "workdir:",
            "".as_ref(),
        ),
    ];
    let mut table = Table::new();
    for (row, options, errno, option, path) in cases {
        let log = log_of(fx, &options, errno);
        let path = path.to_string_lossy();
        table.note(log.and_then(|log| says(row, &log, &[option, &path])))?;
    }
    table.finish()
}

fn remote_named(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let lacking = Features {
        xattrs: false,
        ..Features::ALL
    };
    let mut table = Table::new();
    let top = fuse::filesystem(fx, "lacking", lacking)?;
    let (upper, work) = (Layer::create(top.join("u"))?, Layer::create(top.join("w"))?);
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let log = log_of(fx, &options, Errno::INVAL)?;
    table.note(says(
        "E15",
        &log,
        &["workdir:", &work.path().to_string_lossy()],
    ))?;

    let top = fuse::filesystem(fx, "failing", Features::ALL)?;
    let layer = Layer::create(top.join("layer"))?;
    fuse::set(&top, fuse::STATFS_ERROR, Some(Errno::IO))?;
    let log = log_of(fx, &Options::new().lowers(&[&lower, &layer]), Errno::IO)?;
    table.note(says(
        "E8",
        &log,
        &["lowerdir:", &layer.path().to_string_lossy()],
    ))?;
    table.finish()
}

/// Attributes in the namespace of users cannot be read where the file cannot, which may be looked up all the same.
fn unreadable(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    b.file("secret", "secret")?.chmod("secret", 0o600)?;
    b.file("open", "open")?.dir("dir")?.file("dir/file", "")?;
    let context = open_context(fx)?;
    let options = Options::new().lowers(&[&a, &b]).flag("userxattr");
    configure(&context, &options)?;
    let flag = || fsconfig_set_flag(&context, "override_creds");
    sys::as_user(1000, 1000, &[], flag)?.context("override_creds")?;
    let point = attach(fx, &context)?;
    check::equal("size", sys::lstat(point.join("secret"))?.st_size, 6)?;
    let opened = sys::open_read(point.join("secret"));
    check::errno("open", opened, Errno::ACCESS)?;
    content(point.join("open"), "open")?;
    crate::expect::lists(point.join("dir"), &["file"])
}
