// SPDX-License-Identifier: GPL-2.0-only

//! What a mount does with what it was not told: the module's parameters, filesystems that can less than others,
//! and directories that other overlays use.

use std::path::Path;
use std::path::PathBuf;

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
use crate::fixture::Options;
use crate::kmod::Module;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("parameters_can_be_seen", "P4", parameters_seen),
    Test::new(
        "parameters_are_defaults",
        "P2 P4 M7 M12",
        parameters_are_defaults,
    ),
    Test::new(
        "upper_without_xattrs_or_whiteouts",
        "W2 M9 1.2",
        lacking_upper,
    ),
    Test::new("lower_without_handles", "M12 1.2", lower_without_handles),
    Test::new("upper_in_use_by_the_other_type", "E10 W4", in_use_by_other),
];

fn parameter(fx: &Fixture, name: &str) -> Result<PathBuf> {
    let module = Path::new("/sys/module").join(fx.fs_type());
    if !module.exists() {
        return Err(Failure::skip("the type comes from no module"));
    }
    Ok(module.join("parameters").join(name))
}

/// A parameter of the module, which gets its value back.
struct Parameter {
    path: PathBuf,
    before: String,
}

impl Parameter {
    fn of(fx: &Fixture, name: &str) -> Result<Self> {
        let path = parameter(fx, name)?;
        let before = std::fs::read_to_string(&path).context(name)?;
        Ok(Parameter { path, before })
    }

    fn set(&self, value: &str) -> Result {
        std::fs::write(&self.path, value).context(format_args!("{:?}", self.path))
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.path, &self.before);
    }
}

/// Engines look for them to know what they may pass.
fn parameters_seen(fx: &Fixture) -> Result {
    let mut table = Table::new();
    for name in [
        "redirect_dir",
        "redirect_always_follow",
        "xino_auto",
        "index",
        "nfs_export",
        "metacopy",
        "check_copy_up",
    ] {
        let value = std::fs::read_to_string(parameter(fx, name)?).context(name)?;
        let known = matches!(value.as_str(), "Y\n" | "N\n");
        table.note(check::ok(known, format_args!("{name} is {value:?}")))?;
    }
    let longest = std::fs::read_to_string(parameter(fx, "redirect_max")?)?;
    table.note(check::equal("redirect_max", &*longest, "256\n"))?;
    table.finish()
}

/// The options of a mount, but for the directories.
fn shown(path: &Path) -> Result<String> {
    let wanted = format!(" {} ", path.display());
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let line = mounts.lines().rfind(|line| line.contains(&wanted));
    let line = line.ok_or_else(|| Failure::new("the mount is not listed"))?;
    let options = line.split(' ').nth(3).unwrap_or_default().split(',');
    let hidden = ["lowerdir", "upperdir", "workdir", "ro", "rw", "relatime"];
    let rest = options.filter(|text| !hidden.contains(&text.split('=').next().unwrap_or("")));
    Ok(rest.collect::<Vec<_>>().join(","))
}

/// A default counts when the mount is made, and what differs from it when it is looked at is shown.
fn parameters_are_defaults(fx: &Fixture) -> Result {
    let a = fx.layer("a")?;
    let b = Layer::create(fx.tmpfs("other")?.join("b"))?;
    let (xino, follow) = (
        Parameter::of(fx, "xino_auto")?,
        Parameter::of(fx, "redirect_always_follow")?,
    );
    follow.set("Y")?;
    let mut table = Table::new();
    for (at_mount, later, expected) in [
        ("N", "N", "redirect_dir=on"),
        ("Y", "Y", "redirect_dir=on"),
        ("Y", "N", "redirect_dir=on,xino=auto"),
        ("N", "Y", "redirect_dir=on,xino=off"),
    ] {
        xino.set(at_mount)?;
        let ov = fx.lowers(&[&a, &b])?;
        xino.set(later)?;
        let what = format_args!("xino_auto {at_mount} then {later}").to_string();
        table.note(check::equal(what, &*shown(ov.path())?, expected))?;
        fx.unmount(ov.path())?;
    }
    for (at_mount, later, expected) in [
        ("N", "N", ""),
        ("N", "Y", "redirect_dir=nofollow"),
        ("Y", "N", "redirect_dir=on"),
    ] {
        follow.set(at_mount)?;
        let ov = fx.lowers(&[&a, &b])?;
        follow.set(later)?;
        let what = format_args!("follow {at_mount} then {later}").to_string();
        table.note(check::equal(what, &*shown(ov.path())?, expected))?;
        fx.unmount(ov.path())?;
    }
    table.finish()
}

/// A filesystem that has neither attributes, nor handles, nor renames that leave a whiteout.
fn ramfs(fx: &Fixture) -> Result<PathBuf> {
    let path = fx.place("ramfs")?;
    mount("ramfs", &path, "ramfs", MountFlags::empty(), None).context("mount ramfs")?;
    fx.adopt(&path);
    Ok(path)
}

/// What needs them is switched off, and the rest works.
fn lacking_upper(fx: &Fixture) -> Result {
    let place = ramfs(fx)?;
    let (upper, work) = (
        Layer::create(place.join("upper"))?,
        Layer::create(place.join("work"))?,
    );
    let lower = fx.layer("lower")?;
    lower.dir("dir")?.file("dir/low", "low")?.file("gone", "")?;
    upper.dir("dir")?.file("dir/up", "up")?.whiteout("gone")?;
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    for (text, expected) in [
        ("uuid=on", "redirect_dir=nofollow,uuid=null"),
        ("xino=auto", "redirect_dir=nofollow,uuid=null"),
        ("xino=on", "redirect_dir=nofollow,uuid=null,xino=on"),
    ] {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let ov = fx.mount(&options.clone().set(key, value)).context(text)?;
        check::equal(text, &*shown(ov.path())?, expected)?;
        lists(ov.path(), &["dir"])?;
        lists(ov.join("dir"), &["low", "up"])?;
        content(ov.join("dir/low"), "low")?;
        content(ov.join("dir/up"), "up")?;
        lists::<&str>(work.join("work"), &[])?;
        fx.unmount(ov.path())?;
    }
    Ok(())
}

/// Numbers have a device in common by their bits, whether or not handles could lead back to them.
fn lower_without_handles(fx: &Fixture) -> Result {
    let bottom = Layer::create(ramfs(fx)?.join("lower"))?;
    let top = fx.layer("top")?;
    bottom.dir("dir")?.file("dir/low", "low")?;
    top.dir("dir")?.file("dir/top", "top")?;
    let layers = Options::new().lowers(&[&top, &bottom]);
    for (text, expected) in [
        ("off", "redirect_dir=on"),
        ("auto", "redirect_dir=on,xino=auto"),
        ("on", "redirect_dir=on,xino=on"),
    ] {
        let ov = fx.mount(&layers.clone().set("xino", text)).context(text)?;
        check::equal(text, &*shown(ov.path())?, expected)?;
        let own = sys::lstat(ov.path())?.st_dev;
        let file = sys::lstat(ov.join("dir/low"))?.st_dev;
        check::equal(
            format_args!("one device, {text}"),
            file == own,
            text != "off",
        )?;
        lists(ov.join("dir"), &["low", "top"])?;
        fx.unmount(ov.path())?;
    }
    Ok(())
}

/// Both types mark what they use alike, so that neither takes it away from the other.
fn in_use_by_other(fx: &Fixture) -> Result {
    let directory = fx.module().file().parent().unwrap_or(Path::new("/"));
    let overlay = Module::new("overlay", directory);
    if !overlay.is_registered() && overlay.load().is_err() {
        return Err(Failure::skip("type overlay is not there"));
    }
    if overlay.is_rovl() {
        return Err(Failure::skip("the drop-in has no option index yet"));
    }
    let (upper, work, other) = (fx.layer("upper")?, fx.work()?, fx.work()?);
    let (lower, fresh) = (fx.layer("lower")?, fx.layer("fresh")?);
    let inside = fx.layer("upper/inside")?;
    let with = |lower: &Layer, upper: &Layer, work: &Layer| -> Result<Option<Errno>> {
        let options = Options::new().lowers(&[lower]).upper(upper, work);
        let data = options.set("index", "on").data();
        let point = fx.mount_point()?;
        match mount("overlay", &point, "overlay", MountFlags::empty(), &*data) {
            Err(errno) => Ok(Some(errno)),
            Ok(()) => {
                fx.adopt(&point);
                fx.unmount(&point).context("unmount")?;
                Ok(None)
            }
        }
    };
    let ov = fx.upper(&upper, &[&lower])?;
    let mut table = Table::new();
    for (what, found) in [
        ("upper", with(&lower, &upper, &other)?),
        ("as a lower layer", with(&upper, &fresh, &other)?),
        ("below it", with(&inside, &fresh, &other)?),
    ] {
        table.note(check::equal(what, found, Some(Errno::BUSY)))?;
    }
    fx.unmount(ov.path())?;
    table.finish()?;
    check::equal("once it is free", with(&lower, &upper, &work)?, None)
}
