// SPDX-License-Identifier: GPL-2.0-only

//! Mounts: a namespace of one's own, scratch disks, and overlays.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::io::Errno;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::UnmountFlags;

use crate::sys;

/// Where everything is mounted.
pub const BASE: &str = "/run/rovl-tests";

/// Enters a mount namespace of its own, in which `BASE` is an empty tmpfs.
pub fn enter() -> Result<()> {
    sys::unshare_mounts().context("unshare the mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).context("make all mounts private")?;
    fs::create_dir_all(BASE)?;
    // The log shall not tell of each time that caches are dropped.
    fs::write("/proc/sys/vm/drop_caches", "4")?;
    mount("tmpfs", Path::new(BASE), "tmpfs", "mode=755")
}

/// Takes down whatever is mounted below `BASE`, and makes it an empty tmpfs again.
pub fn begin_anew() -> Result<()> {
    detach(Path::new(BASE))?;
    mount("tmpfs", Path::new(BASE), "tmpfs", "mode=755")
}

/// mount(2), on a directory that is made if it is not there.
pub fn mount(source: &str, target: &Path, fs_type: &str, options: &str) -> Result<()> {
    fs::create_dir_all(target)?;
    let data = CString::new(options)?;
    rustix::mount::mount(source, target, fs_type, MountFlags::empty(), &*data).with_context(|| {
        format!(
            "mount {fs_type} {source} on {}: {options}",
            target.display()
        )
    })
}

/// umount(2), which must find nothing in use.
pub fn unmount(target: &Path) -> Result<()> {
    // What threads that have just ended had open is closed a little later.
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) if Instant::now() < end => sleep(Duration::from_millis(20)),
            other => return other.with_context(|| format!("unmount {}", target.display())),
        }
    }
}

/// Takes a mount out of the tree; what is open in it stays open.
pub fn detach(target: &Path) -> Result<()> {
    rustix::mount::unmount(target, UnmountFlags::DETACH)
        .with_context(|| format!("detach {}", target.display()))
}

/// Mounts that are taken down when this goes away, whatever has happened: until then nobody can free the device
/// under them.
pub struct Held(Vec<PathBuf>);

impl Held {
    /// Of those that are or will be at these places; each comes before what it lies on.
    pub fn at(places: &[&Path]) -> Self {
        Held(places.iter().map(|place| place.to_path_buf()).collect())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for place in &self.0 {
            // Where all went well, nothing is mounted any more.
            let _ = detach(place);
        }
    }
}

/// The guest's disk of this name, if it has one.
pub fn disk(name: &str) -> Option<PathBuf> {
    let path = Path::new("/dev/disk/rovl").join(name);
    path.exists().then_some(path)
}

/// A fresh, empty directory on a filesystem of this type: a tmpfs, or the scratch disk of its
/// name. There is none where the guest has no such disk.
pub fn backing(kind: &str) -> Result<Option<PathBuf>> {
    let target = Path::new(BASE).join(kind);
    if kind == "tmpfs" {
        mount("tmpfs", &target, "tmpfs", "mode=755")?;
        return Ok(Some(target));
    }
    let Some(device) = disk(kind) else {
        return Ok(None);
    };
    mount(&device.to_string_lossy(), &target, kind, "")?;
    let place = target.join("place");
    match fs::remove_dir_all(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
        _ => fs::create_dir(&place)?,
    }
    Ok(Some(place))
}

/// Unmounts what `backing` mounted.
pub fn release(kind: &str) -> Result<()> {
    unmount(&Path::new(BASE).join(kind))
}

/// The layers and options of an overlay.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    fs_type: String,
    lowers: Vec<PathBuf>,
    upper: Option<(PathBuf, PathBuf)>,
    options: Vec<(String, String)>,
}

impl Overlay {
    /// Lower layers, the topmost first.
    pub fn of(fs_type: &str, lowers: &[impl AsRef<Path>]) -> Self {
        Overlay {
            fs_type: fs_type.to_owned(),
            lowers: lowers.iter().map(|path| path.as_ref().to_owned()).collect(),
            upper: None,
            options: Vec::new(),
        }
    }

    /// Adds an upper layer, and `work` beside it; both are made if they are not there.
    pub fn upper(mut self, upper: &Path, work: &Path) -> Result<Self> {
        fs::create_dir_all(upper)?;
        fs::create_dir_all(work)?;
        self.upper = Some((upper.to_owned(), work.to_owned()));
        Ok(self)
    }

    pub fn option(mut self, key: &str, value: &str) -> Self {
        self.options.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Makes a mount that is nowhere in the tree, by the new mount calls.
    pub fn detached(&self) -> std::result::Result<OwnedFd, Errno> {
        let context = rustix::mount::fsopen(&*self.fs_type, FsOpenFlags::FSOPEN_CLOEXEC)?;
        let set = |key: &str, value: &Path| {
            rustix::mount::fsconfig_set_string(context.as_fd(), key, value)
        };
        for lower in &self.lowers {
            set("lowerdir+", lower)?;
        }
        if let Some((upper, work)) = &self.upper {
            set("upperdir", upper)?;
            set("workdir", work)?;
        }
        for (key, value) in &self.options {
            set(key, Path::new(value))?;
        }
        rustix::mount::fsconfig_create(context.as_fd())?;
        rustix::mount::fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
    }

    /// Mounts at a directory, which is made if it is not there.
    pub fn mount(&self, target: &Path) -> Result<()> {
        fs::create_dir_all(target)?;
        let made = self.detached();
        let mount = made.with_context(|| format!("make a mount of {self:?}"))?;
        rustix::mount::move_mount(
            mount.as_fd(),
            "",
            rustix::fs::CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .with_context(|| format!("attach a mount to {}", target.display()))
    }
}

/// Fails unless the work directory of an overlay that was just mounted is empty: mounting clears
/// what earlier mounts left there.
pub fn check_work(work: &Path) -> Result<()> {
    for inner in fs::read_dir(work)? {
        let inner = inner?;
        // The index keeps what it has.
        if inner.file_name().as_bytes() == b"index" || !inner.file_type()?.is_dir() {
            continue;
        }
        for left in fs::read_dir(inner.path())? {
            let left = left?.path();
            // A volatile mount says here that it was one.
            ensure!(
                left.ends_with("incompat"),
                "{} was left in the work directory",
                left.display()
            );
        }
    }
    Ok(())
}
