// SPDX-License-Identifier: GPL-2.0-only

//! Makes the layers of a script on disk, and takes them away again.

use std::collections::BTreeMap;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::IFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Timestamps;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::thread::Gid;
use rustix::thread::Uid;

use crate::data::pattern;
use crate::script::Kind;
use crate::script::Layer;
use crate::script::Object;
use crate::script::Script;
use crate::stat::age;
use crate::sys::SysResult;

/// Where the layers of one side are.
#[derive(Debug, Clone)]
pub struct Places {
    pub upper: String,
    pub work: String,
    /// The topmost first.
    pub lowers: Vec<String>,
}

impl Places {
    /// The layer's directory, if the script has as many layers.
    pub fn of(&self, layer: Layer) -> Option<&str> {
        match layer {
            Layer::Upper => Some(&self.upper),
            Layer::Lower(number) => self.lowers.get(number.checked_sub(1)?).map(String::as_str),
        }
    }
}

/// Makes all layers.
///
/// An object whose directory is missing is left out, so that a script stays one whatever is taken
/// from it; so is what the filesystem does not have, such as attributes on pipes.
pub fn build(script: &Script, places: &Places) -> SysResult<()> {
    for dir in [&places.upper, &places.work]
        .into_iter()
        .chain(&places.lowers)
    {
        rustix::fs::mkdir(dir.as_str(), Mode::from_raw_mode(0o755))?;
    }
    let mut made: Vec<(String, &Object)> = Vec::new();
    for (layer, object) in &script.objects {
        let Some(top) = places.of(*layer) else {
            continue;
        };
        let path = format!("{top}/{}", object.path);
        match make(top, &path, object) {
            Ok(()) => made.push((path, object)),
            Err(Errno::NOENT | Errno::EXIST | Errno::NOTDIR) => {}
            Err(error) => return Err(error),
        }
    }
    let mut times = BTreeMap::new();
    for (path, object) in &made {
        attributes(path, object)?;
        times.insert(path, object.age);
    }
    for (path, seconds) in times {
        let both = Timestamps {
            last_access: age(seconds),
            last_modification: age(seconds),
        };
        rustix::fs::utimensat(CWD, path.as_str(), &both, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    // Last, because nothing can be done to such a file afterwards.
    for (path, object) in &made {
        flags(path, object)?;
    }
    Ok(())
}

fn make(top: &str, path: &str, object: &Object) -> SysResult<()> {
    let node =
        |kind, device| rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device);
    match &object.kind {
        Kind::Dir if object.path == "." => Ok(()),
        Kind::Dir => rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)),
        Kind::File { size, fill } => {
            let length = usize::try_from(*size).map_err(|_| Errno::INVAL)?;
            file(path, *size, 0, pattern(length, *fill).get())
        }
        Kind::Sparse { size, data_at } => file(path, *size, *data_at, pattern(4096, 9).get()),
        Kind::Symlink(target) => rustix::fs::symlink(target.as_str(), path),
        Kind::HardLink(other) => {
            let other = format!("{top}/{other}");
            rustix::fs::linkat(CWD, other, CWD, path, AtFlags::empty())
        }
        Kind::Fifo => node(FileType::Fifo, 0),
        Kind::Socket => node(FileType::Socket, 0),
        Kind::Char(a, b) => node(FileType::CharacterDevice, rustix::fs::makedev(*a, *b)),
        Kind::Block(a, b) => node(FileType::BlockDevice, rustix::fs::makedev(*a, *b)),
        Kind::Whiteout => node(FileType::CharacterDevice, 0),
    }
}

fn file(path: &str, size: u64, at: u64, data: &[u8]) -> SysResult<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?;
    if !data.is_empty() {
        rustix::io::pwrite(&fd, data, at)?;
    }
    rustix::fs::ftruncate(&fd, size)
}

fn attributes(path: &str, object: &Object) -> SysResult<()> {
    if matches!(object.kind, Kind::HardLink(_)) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(object.uid), Gid::from_raw(object.gid));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !matches!(object.kind, Kind::Symlink(_)) {
        rustix::fs::chmod(path, Mode::from_raw_mode(object.mode.0))?;
    }
    for xattr in &object.xattrs {
        let value = &xattr.value.0;
        match rustix::fs::lsetxattr(
            path,
            xattr.name.as_str(),
            value,
            rustix::fs::XattrFlags::empty(),
        ) {
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn flags(path: &str, object: &Object) -> SysResult<()> {
    let mut wanted = IFlags::empty();
    if object.append_only {
        wanted |= IFlags::APPEND;
    }
    if object.immutable {
        wanted |= IFlags::IMMUTABLE;
    }
    let fits = matches!(
        object.kind,
        Kind::Dir | Kind::File { .. } | Kind::Sparse { .. }
    );
    if wanted.is_empty() || !fits {
        return Ok(());
    }
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::fs::ioctl_getflags(&fd) {
        Ok(present) => rustix::fs::ioctl_setflags(&fd, present | wanted),
        Err(_) => Ok(()),
    }
}

/// Removes a tree, whatever flags are on its files.
pub fn remove_tree(path: &str) -> SysResult<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return remove(path, AtFlags::empty()),
        Err(error) => return Err(error),
    };
    for listed in crate::scan::entries(&dir)? {
        let path = format!("{path}/{}", listed.name);
        if listed.kind == FileType::Directory {
            remove_tree(&path)?;
        } else {
            remove(&path, AtFlags::empty())?;
        }
    }
    drop(dir);
    remove(path, AtFlags::REMOVEDIR)
}

fn remove(path: &str, flags: AtFlags) -> SysResult<()> {
    match rustix::fs::unlinkat(CWD, path, flags) {
        Err(Errno::PERM) => {}
        other => return other,
    }
    let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
    for locked in [parent, path] {
        let open = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::fs::open(locked, open, Mode::empty()) {
            if let Ok(present) = rustix::fs::ioctl_getflags(&fd) {
                let _ =
                    rustix::fs::ioctl_setflags(&fd, present - (IFlags::APPEND | IFlags::IMMUTABLE));
            }
        }
    }
    rustix::fs::unlinkat(CWD, path, flags)
}
