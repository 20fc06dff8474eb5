// SPDX-License-Identifier: GPL-2.0-only

//! Options of security modules, and the labels of what is copied up and made.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::XattrFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::fsconfig_create;
use rustix::mount::fsconfig_set_flag;
use rustix::mount::fsconfig_set_string;
use rustix::mount::fsmount;
use rustix::mount::fsopen;
use rustix::mount::mount_remount;
use rustix::mount::move_mount;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountFlags;
use rustix::mount::MoveMountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Backing;
use crate::registry::Test;
use crate::selinux;
use crate::selinux::creating_as;
use crate::selinux::label;
use crate::selinux::label_of;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("security_options_without_module", "M18 A6", without_module),
    Test::new("selinux_unready_options", "M18", unready_options).with_selinux(),
    Test::new("selinux_unready_labels", "C5 D1 F16 F23", unready_labels)
        .on_disks_too()
        .with_selinux(),
    Test::new("selinux_labels_by_context_option", "M18 P1", context).with_selinux(),
    Test::new("selinux_labels_by_other_options", "M18 P1", other_options).with_selinux(),
    Test::new("selinux_labels_bad_options", "M18", bad_options).with_selinux(),
    Test::new("selinux_labels_stay_at_remount", "M18 A3", remount).with_selinux(),
    Test::new("selinux_labels_of_layers", "F16 F23", of_layers).with_selinux(),
    Test::new("selinux_labels_kept_by_copy_up", "C5 F23", copy_up).with_selinux(),
    Test::new(
        "selinux_labels_of_new_objects_as_told",
        "D1 D2 D6 F23",
        as_told,
    )
    .with_selinux(),
    Test::new(
        "selinux_labels_of_new_objects_as_parent",
        "D1 D2 F23",
        as_parent,
    )
    .with_selinux(),
    Test::new("selinux_labels_changed", "F16 C1 F23", relabelled).with_selinux(),
    Test::new(
        "selinux_labels_in_upper_by_context",
        "M18 C5 D1 F23",
        context_in_upper,
    )
    .with_selinux(),
];

/// The names of all options of SELinux that have a value.
const KEYS: [&str; 4] = ["context", "fscontext", "rootcontext", "defcontext"];

/// Both ways to mount.
#[derive(Clone, Copy, Debug)]
enum Way {
    Old,
    New,
}

const WAYS: [Way; 2] = [Way::Old, Way::New];

fn mount(fx: &Fixture, way: Way, options: &Options) -> Result<std::result::Result<Mounted, Errno>> {
    match way {
        Way::Old => Ok(fx.mount(options)),
        Way::New => mount_anew(fx, options),
    }
}

fn mount_anew(fx: &Fixture, options: &Options) -> Result<std::result::Result<Mounted, Errno>> {
    let context = fsopen(fx.fs_type(), FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")?;
    let detached = || {
        for (key, value) in options.pairs() {
            match value {
                Some(value) => fsconfig_set_string(&context, key, value)?,
                None => fsconfig_set_flag(&context, key)?,
            }
        }
        fsconfig_create(&context)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        fsmount(&context, flags, MountAttrFlags::empty())
    };
    let detached = match detached() {
        Ok(detached) => detached,
        Err(error) => return Ok(Err(error)),
    };
    let point = fx.mount_point()?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&detached, "", CWD, &point, flags).context("move_mount")?;
    fx.adopt(&point);
    Ok(Ok(Mounted::at(point)))
}

fn layers(fx: &Fixture) -> Result<[Layer; 2]> {
    Ok([fx.layer("upper")?, fx.layer("lower")?])
}

fn lowers(fx: &Fixture) -> Result<Options> {
    let layers = layers(fx)?;
    layers[1].file("file", "")?;
    Ok(Options::new().lowers(&layers))
}

/// They are no options of the filesystem's own.
fn without_module(fx: &Fixture) -> Result {
    if selinux::is_on() {
        return Err(Failure::skip("SELinux is on"));
    }
    let options = lowers(fx)?;
    let mut table = Table::new();
    for way in WAYS {
        for key in KEYS {
            let result = mount(fx, way, &options.clone().set(key, label("a_t")))?;
            table.note(check::errno(
                format_args!("{key} {way:?}"),
                result,
                Errno::INVAL,
            ))?;
        }
        let result = mount(fx, way, &options.clone().flag("seclabel"))?;
        table.note(check::errno(
            format_args!("seclabel {way:?}"),
            result,
            Errno::INVAL,
        ))?;
        let result = mount(fx, way, &options.clone().set("smackfsdef", "a"))?;
        table.note(check::errno(
            format_args!("smackfsdef {way:?}"),
            result,
            Errno::INVAL,
        ))?;
    }
    table.finish()
}

/// Skips what is about the time before the policy is loaded, which comes once only.
fn before_policy() -> Result {
    match selinux::has_policy()? {
        true => Err(Failure::skip("there is a policy")),
        false => Ok(()),
    }
}

fn unready_options(fx: &Fixture) -> Result {
    before_policy()?;
    let options = lowers(fx)?;
    let mut table = Table::new();
    for way in WAYS {
        for key in KEYS {
            let result = mount(fx, way, &options.clone().set(key, label("a_t")))?;
            table.note(check::errno(
                format_args!("{key} {way:?}"),
                result,
                Errno::INVAL,
            ))?;
        }
        let result = mount(fx, way, &options.clone().flag("seclabel"))?;
        table.note(result.context(format_args!("seclabel {way:?}")).map(drop))?;
    }
    table.finish()
}

/// Labels are attributes like others, which nobody makes.
fn unready_labels(fx: &Fixture) -> Result {
    before_policy()?;
    let [upper, lower] = layers(fx)?;
    lower
        .file("file", "")?
        .xattr("file", selinux::LABEL, b"text\0")?;
    let ov = fx.upper(&upper, &[&lower])?;
    check::equal("label", label_of(ov.join("file"))?, "text")?;
    fs::write(ov.join("file"), "data")?;
    let copied = match fx.backing() {
        // It does not list labels, which a module is supposed to do.
        Backing::Tmpfs => Err(Errno::NODATA),
        Backing::Ext4 | Backing::Xfs => Ok("text".to_owned()),
    };
    check::equal("copied", label_of(upper.join("file")), copied)?;
    fs::write(ov.join("new"), "")?;
    check::errno("new", label_of(ov.join("new")), Errno::NODATA)?;
    check::errno("in upper", label_of(upper.join("new")), Errno::NODATA)
}

/// The options of the mount, as the kernel lists them.
fn listed(path: &Path) -> Result<String> {
    let wanted = format!(" {} ", path.display());
    fs::read_to_string("/proc/self/mounts")?
        .lines()
        .rfind(|line| line.contains(&wanted))
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("no line for {path:?} in mounts")))
}

fn lists(path: &Path, option: &str) -> Result {
    let line = listed(path)?;
    let found = line.split([',', ' ']).any(|listed| listed == option);
    check::ok(found, format_args!("{option} is not in {line:?}"))
}

#[track_caller]
fn labelled(path: impl AsRef<Path>, of_type: &str) -> Result {
    let path = path.as_ref();
    let found = label_of(path).context(format_args!("label of {path:?}"))?;
    check::equal(format_args!("label of {path:?}"), found, label(of_type))
}

/// All that is seen has the one label. Quotes are taken away where options come as a text.
fn context(fx: &Fixture) -> Result {
    selinux::ensure_policy()?;
    let [upper, lower] = layers(fx)?;
    upper.dir("dir")?.file("dir/up", "")?;
    lower.dir("dir")?.file("dir/low", "")?;
    for path in [upper.join("dir/up"), lower.join("dir/low")] {
        set_label(&path, "a_t")?;
    }
    let options = Options::new().lowers(&[&upper, &lower]);
    for (way, value) in [
        (Way::Old, label("mount_t")),
        (Way::Old, format!("\"{}\"", label("mount_t"))),
        (Way::New, label("mount_t")),
    ] {
        let ov = mount(fx, way, &options.clone().set("context", &value))?;
        let ov = ov.context(format_args!("context={value} {way:?}"))?;
        for name in ["", "dir", "dir/up", "dir/low"] {
            labelled(ov.join(name), "mount_t")?;
        }
        lists(ov.path(), &format!("context={}", label("mount_t")))?;
        let result = set_label(&ov.join("dir/low"), "b_t");
        check::ok(result.is_err(), "a single label cannot be changed")?;
        fx.unmount(ov.path())?;
    }
    labelled(lower.join("dir/low"), "a_t")
}

fn set_label(path: &Path, of_type: &str) -> Result {
    let value = format!("{}\0", label(of_type));
    rustix::fs::lsetxattr(path, selinux::LABEL, value.as_bytes(), XattrFlags::empty())
        .context(format_args!("label {path:?}"))
}

fn other_options(fx: &Fixture) -> Result {
    selinux::ensure_policy()?;
    let [upper, lower] = layers(fx)?;
    lower.file("a", "")?;
    set_label(&lower.join("a"), "a_t")?;
    let options = Options::new().lowers(&[&upper, &lower]);
    for way in WAYS {
        for key in ["fscontext", "rootcontext", "defcontext"] {
            let ov = mount(fx, way, &options.clone().set(key, label("mount_t")))?;
            let ov = ov.context(format_args!("{key} {way:?}"))?;
            lists(ov.path(), &format!("{key}={}", label("mount_t")))?;
            lists(ov.path(), "seclabel")?;
            labelled(ov.join("a"), "a_t")?;
            if key == "rootcontext" {
                labelled(ov.path(), "mount_t")?;
            }
            fx.unmount(ov.path())?;
        }
    }
    Ok(())
}

fn bad_options(fx: &Fixture) -> Result {
    selinux::ensure_policy()?;
    let options = lowers(fx)?;
    let mut table = Table::new();
    for way in WAYS {
        for key in KEYS {
            let unknown = options.clone().set(key, label("no_t"));
            let result = mount(fx, way, &unknown)?;
            table.note(check::errno(
                format_args!("{key} {way:?}"),
                result,
                Errno::INVAL,
            ))?;
        }
        for (first, second) in [("context", "defcontext"), ("fscontext", "fscontext")] {
            let both = options.clone().set(first, label("a_t"));
            let result = mount(fx, way, &both.set(second, label("b_t")))?;
            let what = format!("{first}, {second} {way:?}");
            table.note(check::errno(what, result, Errno::INVAL))?;
        }
    }
    table.finish()
}

/// Labels stay what they were; the filesystem's own options are not looked at.
fn remount(fx: &Fixture) -> Result {
    selinux::ensure_policy()?;
    let ov = fx.mount(&lowers(fx)?.set("context", label("mount_t")))?;
    let remount = |data: &str| {
        let data = std::ffi::CString::new(data).unwrap_or_default();
        mount_remount(ov.path(), MountFlags::RDONLY, &*data)
    };
    remount(&format!("context={},lowerdir=/nowhere", label("mount_t"))).context("the same")?;
    let result = remount(&format!("context={}", label("a_t")));
    check::errno("another", result, Errno::INVAL)?;
    labelled(ov.join("file"), "mount_t")
}

fn of_layers(fx: &Fixture) -> Result {
    selinux::ensure_policy()?;
    let [upper, lower] = layers(fx)?;
    upper.dir("dir")?.file("dir/up", "")?;
    lower.dir("dir")?.file("dir/low", "")?.dir("dir/sub")?;
    for (path, of_type) in [
        (upper.join("dir"), "a_t"),
        (lower.join("dir"), "b_t"),
        (upper.join("dir/up"), "b_t"),
        (lower.join("dir/low"), "c_t"),
    ] {
        set_label(&path, of_type)?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    labelled(ov.join("dir"), "a_t")?;
    labelled(ov.join("dir/up"), "b_t")?;
    labelled(ov.join("dir/low"), "c_t")?;
    labelled(ov.join("dir/sub"), "first_t")?;
    lists(ov.path(), "seclabel")
}

/// The copy is what the original was, whatever its maker makes else.
fn copy_up(fx: &Fixture) -> Result {
    selinux::ensure_policy()?;
    let [upper, lower] = layers(fx)?;
    lower.dir("dir")?.file("dir/file", "data")?.dir("dir/sub")?;
    lower.symlink("dir/link", "file")?;
    lower.node("dir/fifo", FileType::Fifo, 0o644, (0, 0))?;
    let names = ["dir", "dir/file", "dir/sub", "dir/link", "dir/fifo"];
    let types = ["a_t", "b_t", "c_t", "a_t", "b_t"];
    for (name, of_type) in names.iter().zip(types) {
        set_label(&lower.join(name), of_type)?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    creating_as("task_t", || -> Result {
        for name in names {
            let times = rustix::fs::Timestamps {
                last_access: rustix::fs::Timespec::default(),
                last_modification: rustix::fs::Timespec::default(),
            };
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::utimensat(CWD, ov.join(name), &times, flags).context(name)?;
        }
        Ok(())
    })??;
    for (name, of_type) in names.iter().zip(types) {
        labelled(upper.join(name), of_type)?;
        labelled(ov.join(name), of_type)?;
    }
    sys::drop_caches()?;
    labelled(ov.join("dir/file"), "b_t")
}

/// Makes an object of each kind in the directory, some where a name was removed.
fn make_all(dir: &Path) -> Result {
    for (name, gone) in [("file", "gone-file"), ("dir", "gone-dir")] {
        let remade = dir.join(gone);
        match name {
            "file" => fs::remove_file(&remade)?,
            _ => fs::remove_dir(&remade)?,
        }
        for path in [dir.join(name), remade] {
            match name {
                "file" => fs::write(path, "")?,
                _ => fs::create_dir(path)?,
            }
        }
    }
    rustix::fs::symlink("file", dir.join("link"))?;
    let mode = Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(CWD, dir.join("fifo"), FileType::Fifo, mode, 0)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    let unnamed = rustix::fs::open(dir, flags, mode).context("O_TMPFILE")?;
    let path = format!("/proc/self/fd/{}", unnamed.as_raw_fd());
    let flags = AtFlags::SYMLINK_FOLLOW;
    rustix::fs::linkat(CWD, path, CWD, dir.join("linked"), flags).context("link")
}

const MADE: [&str; 7] = [
    "file",
    "gone-file",
    "dir",
    "gone-dir",
    "link",
    "fifo",
    "linked",
];

/// An overlay with a directory of type `c_t`, in which `make_all` finds what it removes.
fn to_make_in(fx: &Fixture, layers: &[Layer; 2], options: Options) -> Result<Mounted> {
    let [upper, lower] = layers;
    lower
        .dir("dir")?
        .file("dir/gone-file", "")?
        .dir("dir/gone-dir")?;
    set_label(&lower.join("dir"), "c_t")?;
    let work = fx.work()?;
    let options = options.lowers(&[lower]).upper(upper, &work);
    fx.mount(&options).context("mount")
}

/// Who makes an object says what it is, though the mounter makes it in upper.
fn as_told(fx: &Fixture) -> Result {
    selinux::ensure_policy()?;
    let layers = layers(fx)?;
    let ov = to_make_in(fx, &layers, Options::new())?;
    creating_as("b_t", || make_all(&ov.join("dir")))??;
    for name in MADE {
        labelled(ov.join("dir").join(name), "b_t")?;
        labelled(layers[0].join("dir").join(name), "b_t")?;
    }
    labelled(layers[0].join("dir"), "c_t")
}

/// Otherwise it is what its directory is, in the overlay; not what the work directory is.
fn as_parent(fx: &Fixture) -> Result {
    selinux::ensure_policy()?;
    let layers = layers(fx)?;
    let ov = to_make_in(fx, &layers, Options::new())?;
    make_all(&ov.join("dir"))?;
    for name in MADE {
        labelled(ov.join("dir").join(name), "c_t")?;
        labelled(layers[0].join("dir").join(name), "c_t")?;
    }
    Ok(())
}

fn relabelled(fx: &Fixture) -> Result {
    selinux::ensure_policy()?;
    let [upper, lower] = layers(fx)?;
    lower.file("file", "data")?;
    set_label(&lower.join("file"), "a_t")?;
    let ov = fx.upper(&upper, &[&lower])?;
    set_label(&ov.join("file"), "b_t")?;
    labelled(ov.join("file"), "b_t")?;
    labelled(upper.join("file"), "b_t")?;
    labelled(lower.join("file"), "a_t")?;
    crate::expect::content(upper.join("file"), "data")?;
    sys::drop_caches()?;
    labelled(ov.join("file"), "b_t")
}

/// The one label of a mount is what its objects have in upper.
fn context_in_upper(fx: &Fixture) -> Result {
    selinux::ensure_policy()?;
    let layers = layers(fx)?;
    layers[1].file("copied", "")?;
    set_label(&layers[1].join("copied"), "a_t")?;
    let ov = to_make_in(fx, &layers, Options::new().set("context", label("mount_t")))?;
    fs::write(ov.join("copied"), "data")?;
    creating_as("b_t", || make_all(&ov.join("dir")))??;
    labelled(layers[0].join("copied"), "mount_t")?;
    for name in MADE {
        labelled(ov.join("dir").join(name), "mount_t")?;
        labelled(layers[0].join("dir").join(name), "mount_t")?;
    }
    labelled(layers[1].join("copied"), "a_t")
}
