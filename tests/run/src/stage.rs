// SPDX-License-Identifier: GPL-2.0-only
//! What every part of the guest's work needs: the module, mounts of the layers, and trees that programs can run in.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use rustix::fs::{AtFlags, Timespec, Timestamps, CWD};
use rustix::mount::{mount, mount_bind, unmount, MountFlags, UnmountFlags};

/// Which module is tried on what.
#[derive(clap::Args)]
pub struct Options {
    /// File system type that the layers are mounted as; the module has its name, too
    #[arg(long = "type", default_value = "rovl")]
    pub fs_type: String,
    /// The module
    #[arg(long)]
    pub module: PathBuf,
    /// Block device with the image
    #[arg(long)]
    pub image: PathBuf,
    /// Block device with an empty ext4 file system, for changes
    #[arg(long)]
    pub changes: PathBuf,
    /// Directory for logs, and for what was found where it is not what was expected
    #[arg(long)]
    pub out: PathBuf,
}

/// Loads the module.
pub fn load(options: &Options) -> Result<String> {
    let module = &options.module;
    let file = File::open(module).with_context(|| format!("open {}", module.display()))?;
    rustix::system::finit_module(&file, c"", 0)
        .with_context(|| format!("load {}", module.display()))?;
    let types = fs::read_to_string("/proc/filesystems")?;
    let registered = types
        .lines()
        .any(|line| line.split_whitespace().last() == Some(&options.fs_type));
    ensure!(
        registered,
        "the module loads, but registers no type {}",
        options.fs_type
    );
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let name = module.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{name} loaded into Linux {}", release.trim()))
}

/// Unloads the module, which shows that nothing holds a reference to it.
pub fn unload(options: &Options) -> Result<()> {
    let module = CString::new(options.fs_type.as_str())?;
    // O_NONBLOCK: a module that something still holds is an error, not a reason to wait.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    rustix::system::delete_module(&module, nonblock)
        .with_context(|| format!("unload {}", options.fs_type))
}

/// Mounts at a directory, which is made if it is not there.
pub fn mount_at(
    source: &str,
    target: &str,
    fs_type: &str,
    flags: MountFlags,
    data: &str,
) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("make {target}"))?;
    let data = CString::new(data)?;
    mount(source, target, fs_type, flags, data.as_c_str())
        .with_context(|| format!("mount {target} as {fs_type}"))
}

/// Unmounts what must be in use by nobody.
pub fn unmount_at(target: &str) -> Result<()> {
    unmount(target, UnmountFlags::empty()).with_context(|| format!("unmount {target}"))
}

/// A directory for changes, and one to work in beside it.
pub struct Store {
    pub upper: String,
    work: String,
}

impl Store {
    /// Makes both. The upper directory gets owner, mode and times of the topmost layer's root, as engines give them, so that
    /// a mount with it shows the same as one without.
    pub fn make(place: &str, top: &Path) -> Result<Self> {
        let store = Store {
            upper: format!("{place}/upper"),
            work: format!("{place}/work"),
        };
        fs::create_dir_all(&store.upper)?;
        fs::create_dir_all(&store.work)?;
        let root = fs::metadata(top)?;
        let upper = Path::new(&store.upper);
        chown(upper, Some(root.uid()), Some(root.gid()))?;
        fs::set_permissions(upper, fs::Permissions::from_mode(root.mode() & 0o7777))?;
        let time = Timespec {
            tv_sec: root.mtime(),
            tv_nsec: root.mtime_nsec(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, upper, &times, AtFlags::empty())?;
        Ok(store)
    }
}

/// Mounts layers, the topmost first, and returns the options that did it.
pub fn overlay(
    options: &Options,
    target: &str,
    layers: &[String],
    store: Option<&Store>,
) -> Result<String> {
    let mut data = format!("lowerdir={}", layers.join(":"));
    if let Some(Store { upper, work }) = store {
        data.push_str(&format!(",upperdir={upper},workdir={work}"));
    }
    let fs_type = &options.fs_type;
    mount_at(fs_type, target, fs_type, MountFlags::empty(), &data)?;
    Ok(data)
}

/// What a container has over its root.
pub fn enter(root: &str) -> Result<()> {
    mount_at(
        "proc",
        &format!("{root}/proc"),
        "proc",
        MountFlags::empty(),
        "",
    )?;
    mount_bind("/dev", format!("{root}/dev").as_str()).context("bind /dev")?;
    for name in ["tmp", "run"] {
        mount_at(
            name,
            &format!("{root}/{name}"),
            "tmpfs",
            MountFlags::empty(),
            "mode=1777",
        )?;
    }
    Ok(())
}

/// Takes it away again.
pub fn leave(root: &str) {
    for name in ["run", "tmp", "dev", "proc"] {
        // A missing one was reported when it could not be mounted; one in use will be when the root is unmounted.
        let _ = unmount(format!("{root}/{name}").as_str(), UnmountFlags::empty());
    }
}
