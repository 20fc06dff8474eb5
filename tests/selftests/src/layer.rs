// SPDX-License-Identifier: GPL-2.0-only

//! Directories filled by a test, to be used as layers of an overlay.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;
use rustix::fs::XattrFlags;
use rustix::fs::CWD;

use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;

/// The xattr that ends the merging of a directory with those below.
pub const OPAQUE: &str = "trusted.overlay.opaque";

/// The xattr that holds the capabilities of a program.
pub const CAPABILITY: &str = "security.capability";

/// `cap_net_raw=ep` as `setcap(8)` stores it, in version 2.
pub const NET_RAW: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A directory that becomes a layer. The methods can be chained with `?`.
#[derive(Debug, Clone)]
pub struct Layer {
    path: PathBuf,
}

impl Layer {
    /// Makes the directory, with its parents, as an empty layer.
    #[track_caller]
    pub fn create(path: PathBuf) -> Result<Self> {
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(Layer { path }),
            Err(error) => Err(Failure::new(format!("create {path:?}: {error}"))),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a directory of mode 0755, with its parents.
    #[track_caller]
    pub fn dir(&self, name: impl AsRef<Path>) -> Result<&Self> {
        match fs::create_dir_all(self.join(&name)) {
            Ok(()) => Ok(self),
            Err(error) => Err(Failure::new(format!("mkdir {:?}: {error}", name.as_ref()))),
        }
    }

    /// Makes a regular file of mode 0644; its parent must be there.
    #[track_caller]
    pub fn file(&self, name: impl AsRef<Path>, data: impl AsRef<[u8]>) -> Result<&Self> {
        match fs::write(self.join(&name), data) {
            Ok(()) => Ok(self),
            Err(error) => Err(Failure::new(format!("write {:?}: {error}", name.as_ref()))),
        }
    }

    #[track_caller]
    pub fn symlink(&self, name: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<&Self> {
        rustix::fs::symlink(target.as_ref(), self.join(&name))
            .context(format_args!("symlink {:?}", name.as_ref()))?;
        Ok(self)
    }

    #[track_caller]
    pub fn link(&self, old: impl AsRef<Path>, new: impl AsRef<Path>) -> Result<&Self> {
        rustix::fs::link(self.join(old), self.join(&new))
            .context(format_args!("link {:?}", new.as_ref()))?;
        Ok(self)
    }

    /// Makes a fifo, a socket or a device node.
    #[track_caller]
    pub fn node(
        &self,
        name: impl AsRef<Path>,
        kind: FileType,
        mode: u32,
        (major, minor): (u32, u32),
    ) -> Result<&Self> {
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::mknodat(CWD, self.join(&name), kind, mode, device)
            .context(format_args!("mknod {:?}", name.as_ref()))?;
        Ok(self)
    }

    /// Makes a whiteout: a character device 0:0.
    #[track_caller]
    pub fn whiteout(&self, name: impl AsRef<Path>) -> Result<&Self> {
        self.node(name, FileType::CharacterDevice, 0, (0, 0))
    }

    /// Makes one object of each of five kinds, whose names are `file`, `dir`, `link`, `fifo` and `null`.
    #[track_caller]
    pub fn kinds(&self) -> Result<&Self> {
        self.file("file", "data")?
            .dir("dir")?
            .symlink("link", "file")?
            .node("fifo", FileType::Fifo, 0o644, (0, 0))?
            .node("null", FileType::CharacterDevice, 0o644, (1, 3))
    }

    /// Makes a directory that hides those of the same name below it.
    #[track_caller]
    pub fn opaque_dir(&self, name: impl AsRef<Path>) -> Result<&Self> {
        self.dir(&name)?.xattr(name, OPAQUE, b"y")
    }

    #[track_caller]
    pub fn xattr(&self, name: impl AsRef<Path>, key: &str, value: &[u8]) -> Result<&Self> {
        rustix::fs::lsetxattr(self.join(&name), key, value, XattrFlags::empty())
            .context(format_args!("setxattr {key} on {:?}", name.as_ref()))?;
        Ok(self)
    }

    #[track_caller]
    pub fn chmod(&self, name: impl AsRef<Path>, mode: u32) -> Result<&Self> {
        rustix::fs::chmod(self.join(&name), Mode::from_raw_mode(mode))
            .context(format_args!("chmod {:?}", name.as_ref()))?;
        Ok(self)
    }

    #[track_caller]
    pub fn chown(&self, name: impl AsRef<Path>, uid: u32, gid: u32) -> Result<&Self> {
        rustix::fs::chownat(
            CWD,
            self.join(&name),
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .context(format_args!("chown {:?}", name.as_ref()))?;
        Ok(self)
    }

    /// Sets both the access and the modification time.
    #[track_caller]
    pub fn times(&self, name: impl AsRef<Path>, seconds: i64, nanoseconds: i64) -> Result<&Self> {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, self.join(&name), &times, AtFlags::SYMLINK_NOFOLLOW)
            .context(format_args!("utimensat {:?}", name.as_ref()))?;
        Ok(self)
    }
}

/// A path as an entry of `lowerdir=`: colon and backslash are escaped.
pub fn escape_lower(path: &Path) -> OsString {
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    OsString::from_vec(escaped)
}
