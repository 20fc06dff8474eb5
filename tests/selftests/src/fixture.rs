// SPDX-License-Identifier: GPL-2.0-only

//! The place a test works in: directories for layers, overlay mounts, and their removal.
//!
//! A fixture lives in a process with a mount namespace of its own, so that whatever a failing
//! test leaves mounted goes away with the process. A passing test must be able to unmount all.

use std::borrow::Borrow;
use std::cell::Cell;
use std::cell::RefCell;
use std::ffi::CString;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::mount_change;
use rustix::mount::unmount;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::UnmountFlags;

use crate::check::Context;
use crate::check::Result;
use crate::disk;
use crate::kmod::Module;
use crate::layer::escape_lower;
use crate::layer::Layer;
use crate::registry::Backing;
use crate::sys;

/// Where every fixture is mounted, each in its own namespace.
pub const BASE: &str = "/run/rovl-selftests";

/// The longest that a worker of the kernel takes to let go of a file that is closed.
const LET_GO: Duration = Duration::from_secs(5);

pub struct Fixture {
    module: Module,
    backing: Backing,
    /// Holds the layers: `BASE` itself, or a fresh directory on a disk.
    root: PathBuf,
    /// What `finish` unmounts, oldest first.
    mounts: RefCell<Vec<PathBuf>>,
    count: Cell<u32>,
}

impl Fixture {
    /// Enters a private mount namespace and makes an empty place for layers.
    pub fn new(module: Module, backing: Backing) -> Result<Self> {
        sys::unshare_mounts().context("unshare the mount namespace")?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).context("make all mounts private")?;
        fs::create_dir_all(BASE).context("create the base directory")?;
        mount("tmpfs", BASE, "tmpfs", MountFlags::empty(), c"mode=755").context("mount tmpfs")?;
        let mut fixture = Fixture {
            module,
            backing,
            root: PathBuf::from(BASE),
            mounts: RefCell::new(Vec::new()),
            count: Cell::new(0),
        };
        if backing != Backing::Tmpfs {
            let disk = Self::disk_path();
            fs::create_dir(&disk).context("create the mount point of the disk")?;
            disk::mount_disk(backing, &disk)?;
            fixture.mounts.borrow_mut().push(disk.clone());
            fixture.root = disk.join("layers");
            // An earlier test that was killed may have left its layers.
            remove_tree(&fixture.root).context("clear the disk")?;
            fs::create_dir(&fixture.root).context("create a directory on the disk")?;
        }
        Ok(fixture)
    }

    /// Where a disk is mounted that holds the layers.
    pub fn disk_path() -> PathBuf {
        Path::new(BASE).join("disk")
    }

    pub fn fs_type(&self) -> &str {
        self.module.fs_type()
    }

    /// The module under test.
    pub fn module(&self) -> &Module {
        &self.module
    }

    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// The directory that holds the layers.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes an empty directory to be used as a layer.
    #[track_caller]
    pub fn layer(&self, name: impl AsRef<Path>) -> Result<Layer> {
        Layer::create(self.root.join(name))
    }

    /// Makes `count` empty layers, the topmost first.
    pub fn layers(&self, count: usize) -> Result<Vec<Layer>> {
        (1..=count).map(|n| self.layer(format!("l{n}"))).collect()
    }

    /// Makes an empty directory outside of all layers, in tmpfs.
    #[track_caller]
    pub fn place(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = Path::new(BASE).join(name);
        fs::create_dir_all(&path).context(format_args!("create {path:?}"))?;
        Ok(path)
    }

    /// Mounts a further tmpfs and returns its path.
    pub fn tmpfs(&self, name: &str) -> Result<PathBuf> {
        let path = self.place(name)?;
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), c"mode=755").context("mount tmpfs")?;
        self.adopt(&path);
        Ok(path)
    }

    /// Mounts an overlay of lower layers alone, the topmost first.
    #[track_caller]
    pub fn lowers(&self, lowers: &[impl Borrow<Layer>]) -> Result<Mounted> {
        self.mount(&Options::new().lowers(lowers))
            .context("mount the lower layers")
    }

    /// Mounts an overlay with an upper layer, and makes its work directory.
    #[track_caller]
    pub fn upper(&self, upper: &Layer, lowers: &[impl Borrow<Layer>]) -> Result<Mounted> {
        let work = self.work()?;
        self.mount(&Options::new().lowers(lowers).upper(upper, &work))
            .context("mount upper and lower layers")
    }

    /// Makes a work directory.
    #[track_caller]
    pub fn work(&self) -> Result<Layer> {
        self.layer(self.fresh("work"))
    }

    /// Makes a mount point.
    #[track_caller]
    pub fn mount_point(&self) -> Result<PathBuf> {
        self.place(self.fresh("mnt"))
    }

    /// Mounts an overlay with mount(2) on a fresh mount point.
    pub fn mount(&self, options: &Options) -> std::result::Result<Mounted, Errno> {
        self.mount_type(self.fs_type(), options)
    }

    /// The same with another type than the one under test.
    pub fn mount_type(
        &self,
        fs_type: &str,
        options: &Options,
    ) -> std::result::Result<Mounted, Errno> {
        let path = Path::new(BASE).join(self.fresh("mnt"));
        sys::mkdir(&path, 0o755)?;
        let data = options.data();
        mount(&options.source, &path, fs_type, options.flags, &*data)?;
        self.adopt(&path);
        Ok(Mounted { path })
    }

    /// Mounts an overlay with mount(2) on this mount point.
    pub fn mount_at(&self, path: &Path, options: &Options) -> std::result::Result<(), Errno> {
        let data = options.data();
        mount(&options.source, path, self.fs_type(), options.flags, &*data)?;
        self.adopt(path);
        Ok(())
    }

    /// Takes over a mount that the test made itself, to be unmounted at the end.
    pub fn adopt(&self, path: &Path) {
        self.mounts.borrow_mut().push(path.to_owned());
    }

    /// Forgets a mount that the test has unmounted itself.
    pub fn forget(&self, path: &Path) {
        self.mounts.borrow_mut().retain(|other| other != path);
    }

    /// Unmounts before the end of the test.
    pub fn unmount(&self, path: &Path) -> std::result::Result<(), Errno> {
        unmount(path, UnmountFlags::NOFOLLOW)?;
        self.forget(path);
        Ok(())
    }

    /// Unmounts everything, newest first. Fails if something is still busy.
    pub fn finish(self) -> Result {
        loop {
            let last = self.mounts.borrow_mut().pop();
            let Some(path) = last else { break };
            if self.is_disk(&path) {
                remove_tree(&self.root).context("remove the layers")?;
            }
            unmount_soon(&path).context(format_args!("unmount {path:?} after the test"))?;
        }
        unmount(BASE, UnmountFlags::NOFOLLOW).context("unmount the fixture")
    }

    /// Takes down what a failed test left, as far as possible.
    pub fn abandon(self) {
        while let Some(path) = self.mounts.borrow_mut().pop() {
            // Errors are expected here: the failure that led here is what counts.
            if self.is_disk(&path) {
                let _ = remove_tree(&self.root);
            }
            let _ = unmount(&path, UnmountFlags::DETACH);
        }
    }

    fn is_disk(&self, path: &Path) -> bool {
        self.backing != Backing::Tmpfs && path == Self::disk_path()
    }

    fn fresh(&self, stem: &str) -> String {
        self.count.set(self.count.get() + 1);
        format!("{stem}{}", self.count.get())
    }
}

/// Unmounts what a worker of the kernel may be about to let go of, which nobody can wait for:
/// a ring of io_uring is taken down by one after it was closed, and holds its files until then.
fn unmount_soon(path: &Path) -> std::result::Result<(), Errno> {
    let end = Instant::now() + LET_GO;
    loop {
        match unmount(path, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) if Instant::now() < end => sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
}

/// A mounted overlay.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
}

impl Mounted {
    /// An overlay that the test mounted itself.
    pub fn at(path: PathBuf) -> Self {
        Mounted { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

/// Options of an overlay mount.
#[derive(Clone, Debug)]
pub struct Options {
    source: OsString,
    flags: MountFlags,
    pairs: Vec<(OsString, Option<OsString>)>,
}

impl Options {
    pub fn new() -> Self {
        Options {
            source: OsString::from("overlay-source"),
            flags: MountFlags::empty(),
            pairs: Vec::new(),
        }
    }

    pub fn source(mut self, source: &str) -> Self {
        self.source = OsString::from(source);
        self
    }

    pub fn mount_flags(mut self, flags: MountFlags) -> Self {
        self.flags |= flags;
        self
    }

    /// Adds `lowerdir=` with the paths escaped.
    pub fn lowers(self, lowers: &[impl Borrow<Layer>]) -> Self {
        let escaped: Vec<_> = lowers
            .iter()
            .map(|layer| escape_lower(layer.borrow().path()))
            .collect();
        self.set("lowerdir", escaped.join(OsStr::new(":")))
    }

    /// Adds `upperdir=` and `workdir=`.
    pub fn upper(self, upper: &Layer, work: &Layer) -> Self {
        self.set("upperdir", upper.path())
            .set("workdir", work.path())
    }

    /// Adds `key=value`, the value exactly as it is.
    pub fn set(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.pairs
            .push((OsString::from(key), Some(value.as_ref().to_owned())));
        self
    }

    /// Adds `key` alone.
    pub fn flag(mut self, key: &str) -> Self {
        self.pairs.push((OsString::from(key), None));
        self
    }

    /// The options in the order of their addition, as for fsconfig.
    pub fn pairs(&self) -> impl Iterator<Item = (&OsStr, Option<&OsStr>)> {
        self.pairs
            .iter()
            .map(|(key, value)| (key.as_os_str(), value.as_deref()))
    }

    /// The text for mount(2).
    pub fn data(&self) -> CString {
        let mut data = OsString::new();
        for (key, value) in &self.pairs {
            if !data.is_empty() {
                data.push(",");
            }
            data.push(key);
            if let Some(value) = value {
                data.push("=");
                data.push(value);
            }
        }
        CString::new(data.as_bytes()).expect("tests use no NUL in mount options")
    }
}

fn remove_tree(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
