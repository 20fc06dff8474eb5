// SPDX-License-Identifier: GPL-2.0-only

//! Mounts that find their upper layer in another state than they left it, or that come from a user namespace.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use rustix::io::Errno;
use rustix::mount::fsconfig_create;
use rustix::mount::fsconfig_set_string;
use rustix::mount::fsopen;
use rustix::mount::mount;
use rustix::mount::mount_remount;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;
use crate::userns;

pub const TESTS: &[Test] = &[
    Test::new("mount_upper_turned_read_only", "E8", turned_read_only),
    Test::new(
        "mount_volatile_after_write_error",
        "E11 M15",
        after_write_error,
    ),
    Test::new("mount_in_user_namespace", "M11 A1 X11", in_user_namespace),
];

/// The upper layer could be written to when it was named, and not any more when the mount is made.
fn turned_read_only(fx: &Fixture) -> Result {
    let parent = fx.tmpfs("upper-fs")?;
    let (upper, work) = (
        Layer::create(parent.join("u"))?,
        Layer::create(parent.join("w"))?,
    );
    let lower = fx.layer("lower")?;
    let context = configured(fx, &Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    mount_remount(&parent, MountFlags::RDONLY, "")?;
    check::errno("create", fsconfig_create(&context), Errno::INVAL)
}

fn configured(fx: &Fixture, options: &Options) -> Result<OwnedFd> {
    let context = fsopen(fx.fs_type(), FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")?;
    for (key, value) in options.pairs() {
        let value = value.unwrap_or_default();
        fsconfig_set_string(&context, key, value).context(format_args!("{key:?}"))?;
    }
    Ok(context)
}

/// Runs a program of busybox.
fn busybox(arguments: &[&str]) -> Result<()> {
    let output = Command::new("busybox")
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Failure::skip(format!(
            "busybox {}: {}",
            arguments[0],
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
        Err(error) => Err(Failure::skip(format!("cannot run busybox: {error}"))),
    }
}

/// A block device that takes no more data than is left in a small tmpfs.
pub(super) struct SmallDisk {
    device: String,
    image: PathBuf,
}

impl SmallDisk {
    pub(super) fn new(fx: &Fixture) -> Result<Self> {
        let place = fx.place("small")?;
        mount("tmpfs", &place, "tmpfs", MountFlags::empty(), c"size=4m").context("mount tmpfs")?;
        fx.adopt(&place);
        let image = place.join("image");
        File::create(&image)?.set_len(16 << 20)?;
        let image_text = image.display().to_string();
        busybox(&["mke2fs", "-F", "-b", "4096", "-I", "256", &image_text])?;
        let device = "/dev/loop7".to_owned();
        busybox(&["losetup", &device, &image_text])?;
        Ok(SmallDisk { device, image })
    }

    pub(super) fn device(&self) -> &str {
        &self.device
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = busybox(&["losetup", "-d", &self.device]);
        let _ = std::fs::remove_file(&self.image);
    }
}

/// A write error that nobody has been told of may have been to what a volatile mount left.
fn after_write_error(fx: &Fixture) -> Result {
    let disk = SmallDisk::new(fx)?;
    let place = fx.mount_point()?;
    mount(&*disk.device, &place, "ext4", MountFlags::empty(), None).context("mount ext4")?;
    fx.adopt(&place);
    let result = volatile_mounts(fx, &place);
    fx.unmount(&place).context("unmount the disk")?;
    result
}

fn volatile_mounts(fx: &Fixture, place: &Path) -> Result {
    let (upper, work) = (
        Layer::create(place.join("u"))?,
        Layer::create(place.join("w"))?,
    );
    let lower = fx.layer("lower")?;
    rustix::fs::sync();
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let file = File::create(place.join("large"))?;
    for _ in 0..8 {
        rustix::io::write(&file, &vec![1; 1 << 20])?;
    }
    check::ok(
        rustix::fs::fsync(&file).is_err(),
        "there was no write error",
    )?;
    let volatile = options.clone().flag("volatile");
    check::errno("volatile mount", fx.mount(&volatile).map(|_| ()), Errno::IO)?;
    // Others do not care.
    let ov = fx.mount(&options)?;
    fx.unmount(ov.path())?;
    // Once somebody has been told, it is that one's affair.
    check::ok(rustix::fs::syncfs(&file).is_err(), "syncfs told nothing")?;
    let ov = fx.mount(&volatile)?;
    fx.unmount(ov.path())?;
    Ok(())
}

/// Root in a namespace of its own mounts what it has made itself, by the attributes that it may set.
fn in_user_namespace(fx: &Fixture) -> Result {
    userns::run(fx, as_other_root)
}

fn as_other_root(fx: &Fixture, place: &Path) -> Result {
    let layer = |name: &str| Layer::create(place.join(name));
    let (upper, work, lower, point) = (
        layer("upper")?,
        layer("work")?,
        layer("lower")?,
        layer("mnt")?,
    );
    lower
        .dir("opaque")?
        .file("opaque/below", "")?
        .dir("merged")?;
    lower.file("merged/below", "lower")?.file("gone", "")?;
    upper
        .dir("opaque")?
        .xattr("opaque", "user.overlay.opaque", b"y")?;
    upper.dir("merged")?.file("merged/above", "upper")?;
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let userxattr = options.clone().flag("userxattr");
    let conflict = userxattr.clone().set("redirect_dir", "on");
    check::errno(
        "redirect_dir",
        fx.mount_at(point.path(), &conflict),
        Errno::INVAL,
    )?;
    fx.mount_at(point.path(), &userxattr).context("mount")?;
    lists::<&str>(point.join("opaque"), &[])?;
    lists(point.join("merged"), &["above", "below"])?;
    content(point.join("merged/below"), "lower")?;
    let names = rustix::fs::llistxattr(point.join("opaque"), &mut [0u8; 256][..])?;
    check::equal("bytes of names of attributes", names, 0)?;
    check::equal("owner", sys::lstat(point.join("gone"))?.st_uid, 0)?;
    fx.unmount(point.path())?;
    // Without it the names are those that only the first namespace's root may use.
    fx.mount_at(point.path(), &options)
        .context("mount without userxattr")?;
    lists(point.join("opaque"), &["below"])?;
    fx.unmount(point.path())?;
    Ok(())
}
