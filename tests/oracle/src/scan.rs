// SPDX-License-Identifier: GPL-2.0-only

//! The whole state of a tree: of a mount, or of a layer on disk.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::RawDir;
use rustix::fs::Stat;
use rustix::fs::CWD;
use rustix::io::Errno;

use crate::data;
use crate::stat;
use crate::stat::When;
use crate::sys::SysResult;
use crate::text::Bytes;

/// What a tree is, which decides what is compared of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    Merged,
    Layer,
}

/// One object of a tree.
#[derive(Debug, Clone)]
pub struct Entry {
    pub path: String,
    pub kind: char,
    /// What the listing says it is.
    listed_kind: char,
    /// Whether the listing has the same number as stat(2).
    listed_number: bool,
    mode: u32,
    uid: u32,
    gid: u32,
    rdev: u64,
    nlink: u64,
    size: i64,
    mtime: When,
    atime: When,
    /// Where a link leads, or what data there is.
    content: Result<String, Errno>,
    flags: Option<u32>,
    xattrs: Result<Vec<(String, Bytes)>, Errno>,
    /// The first path that is the same object.
    same_as: String,
    inode: u64,
}

/// Something that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    pub path: String,
    /// Kind on the first side, or on the second if it is missing there.
    pub kind: char,
    pub field: &'static str,
    pub a: String,
    pub b: String,
}

impl std::fmt::Display for Deviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({}): {}: {} | {}",
            self.path, self.kind, self.field, self.a, self.b
        )
    }
}

impl Entry {
    fn compare(&self, other: &Entry, to: &mut Vec<Deviation>) {
        macro_rules! fields {
            ($($field:ident),*) => {$(
                if self.$field != other.$field {
                    to.push(Deviation {
                        path: self.path.clone(),
                        kind: self.kind,
                        field: stringify!($field),
                        a: format!("{:?}", self.$field),
                        b: format!("{:?}", other.$field),
                    });
                }
            )*};
        }
        fields!(
            kind,
            listed_kind,
            listed_number,
            mode,
            uid,
            gid,
            rdev,
            nlink,
            size,
            mtime,
            atime,
            content,
            flags
        );
        fields!(xattrs, same_as);
    }
}

/// What differs between two trees.
pub fn compare(a: &[Entry], b: &[Entry]) -> Vec<Deviation> {
    let mut found = Vec::new();
    let mut rest: BTreeMap<&str, &Entry> = b.iter().map(|entry| (&*entry.path, entry)).collect();
    let lone = |entry: &Entry, a: &str, b: &str| Deviation {
        path: entry.path.clone(),
        kind: entry.kind,
        field: "name",
        a: a.to_owned(),
        b: b.to_owned(),
    };
    for entry in a {
        match rest.remove(&*entry.path) {
            Some(other) => entry.compare(other, &mut found),
            None => found.push(lone(entry, "there", "missing")),
        }
    }
    found.extend(
        rest.into_values()
            .map(|entry| lone(entry, "missing", "there")),
    );
    found
}

/// For each path, whether both trees have it under one inode number.
pub fn kept_numbers(before: &[Entry], after: &[Entry]) -> BTreeMap<String, bool> {
    let earlier: BTreeMap<&str, &Entry> = before.iter().map(|e| (&*e.path, e)).collect();
    after
        .iter()
        .filter_map(|entry| {
            let other = earlier.get(&*entry.path)?;
            Some((entry.path.clone(), entry.inode == other.inode))
        })
        .collect()
}

/// What a listing says of an object.
#[derive(Clone)]
pub struct Listed {
    pub name: String,
    pub kind: FileType,
    number: u64,
}

/// Names and kinds in a directory, without the dots.
pub fn entries(dir: &OwnedFd) -> SysResult<Vec<Listed>> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut found = Vec::new();
    let mut raw = RawDir::new(dir, &mut buffer);
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            found.push(Listed {
                name: name.to_string_lossy().into_owned(),
                kind: entry.file_type(),
                number: entry.ino(),
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

struct Scanner<'a> {
    top: &'a str,
    tree: Tree,
    prefix: &'a str,
    found: Vec<Entry>,
    first_of: BTreeMap<(u64, u64), String>,
    buffer: Vec<u8>,
}

/// Reads a whole tree. `prefix` is what overlay's own attributes begin with.
pub fn scan(top: &str, tree: Tree, prefix: &str) -> SysResult<Vec<Entry>> {
    let mut scanner = Scanner {
        top,
        tree,
        prefix,
        found: Vec::new(),
        first_of: BTreeMap::new(),
        buffer: Vec::new(),
    };
    scanner.visit(".", None)?;
    Ok(scanner.found)
}

impl Scanner<'_> {
    fn visit(&mut self, path: &str, listed: Option<&Listed>) -> SysResult<()> {
        let full = format!("{}/{path}", self.top);
        let stat = match rustix::fs::statat(CWD, &*full, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // A listing shows what a lookup does not find: whiteouts of an unmerged directory,
            // and objects that are refused.
            Err(error) => {
                self.found.push(self.refused(path, listed, error));
                return Ok(());
            }
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let fd = match kind {
            FileType::Directory | FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                Some(rustix::fs::open(&*full, flags, Mode::empty()))
            }
            _ => None,
        };
        let content = match (&fd, kind) {
            (Some(Err(error)), _) => Err(*error),
            (Some(Ok(fd)), FileType::RegularFile) => {
                data::content(fd, &mut self.buffer).map(|()| data::digest(&self.buffer))
            }
            (None, FileType::Symlink) => rustix::fs::readlink(&*full, Vec::new())
                .map(|target| target.to_string_lossy().into_owned()),
            _ => Ok(String::new()),
        };
        let fd = fd.and_then(Result::ok);
        let flags = fd
            .as_ref()
            .and_then(|fd| rustix::fs::ioctl_getflags(fd).ok());
        let xattrs = match &fd {
            Some(fd) => self.xattrs_of(fd),
            None => self.xattrs_at(&full),
        };
        let mut entry = self.entry(path, listed, &stat);
        entry.content = content;
        entry.flags = flags.map(|flags| flags.bits());
        entry.xattrs = xattrs;
        self.found.push(entry);
        if let (FileType::Directory, Some(fd)) = (kind, fd) {
            for listed in entries(&fd)? {
                let path = match path {
                    "." => listed.name.clone(),
                    _ => format!("{path}/{}", listed.name),
                };
                self.visit(&path, Some(&listed))?;
            }
        }
        Ok(())
    }

    fn refused(&self, path: &str, listed: Option<&Listed>, error: Errno) -> Entry {
        Entry {
            path: path.to_owned(),
            // What is not found at all is none of the objects that are refused.
            kind: match (error, listed.map(|listed| listed.kind)) {
                (Errno::NOENT, Some(FileType::RegularFile)) => '~',
                (Errno::NOENT, _) => '?',
                _ => '!',
            },
            listed_kind: listed.map_or(' ', |listed| stat::letter(listed.kind)),
            listed_number: true,
            mode: 0,
            uid: 0,
            gid: 0,
            rdev: 0,
            nlink: 0,
            size: 0,
            mtime: When::Recent,
            atime: When::Recent,
            content: Err(error),
            flags: None,
            xattrs: Ok(Vec::new()),
            same_as: String::new(),
            inode: 0,
        }
    }

    fn entry(&mut self, path: &str, listed: Option<&Listed>, stat: &Stat) -> Entry {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
        // How many whiteouts share an inode is nobody's business.
        let is_counted = !(is_whiteout && self.tree == Tree::Layer);
        let same_as = if stat.st_nlink > 1 && is_counted && !kind.is_dir() {
            let key = (stat.st_dev, stat.st_ino);
            let first = self.first_of.entry(key).or_insert_with(|| path.to_owned());
            first.clone()
        } else {
            String::new()
        };
        Entry {
            path: path.to_owned(),
            kind: stat::letter(kind),
            listed_kind: listed.map_or(' ', |listed| stat::letter(listed.kind)),
            listed_number: listed.is_none_or(|listed| listed.number == stat.st_ino),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: stat.st_rdev,
            nlink: if is_counted { stat.st_nlink } else { 0 },
            size: stat::size(stat),
            // A shared whiteout has the times of its making.
            mtime: if is_counted {
                stat::mtime(stat)
            } else {
                When::Recent
            },
            atime: if is_counted {
                stat::atime(stat)
            } else {
                When::Recent
            },
            content: Ok(String::new()),
            flags: None,
            xattrs: Ok(Vec::new()),
            same_as,
            inode: stat.st_ino,
        }
    }

    fn xattrs_of(&self, fd: &OwnedFd) -> SysResult<Vec<(String, Bytes)>> {
        let mut list = [0; 2048];
        let length = rustix::fs::flistxattr(fd, &mut list)?;
        self.values(&list, length, |name, value| {
            rustix::fs::fgetxattr(fd, name, value)
        })
    }

    fn xattrs_at(&self, path: &str) -> SysResult<Vec<(String, Bytes)>> {
        let mut list = [0; 2048];
        let length = rustix::fs::llistxattr(path, &mut list)?;
        self.values(&list, length, |name, value| {
            rustix::fs::lgetxattr(path, name, value)
        })
    }

    fn values(
        &self,
        list: &[u8],
        length: usize,
        get: impl Fn(&str, &mut [u8]) -> SysResult<usize>,
    ) -> SysResult<Vec<(String, Bytes)>> {
        let mut value = [0; 1024];
        let mut found = Vec::new();
        for name in data::names(list.get(..length).unwrap_or_default()) {
            let length = get(&name, &mut value)?;
            let bytes = value.get(..length).unwrap_or_default();
            let is_private = self.tree == Tree::Layer && name.starts_with(self.prefix);
            let shown = match name.get(self.prefix.len()..) {
                // Handles and identifiers are of the one filesystem or mount alone; that there
                // is one counts.
                Some("origin" | "upper" | "uuid") if is_private => Bytes::from(if length == 0 {
                    &b"none"[..]
                } else {
                    &b"some"[..]
                }),
                _ => Bytes::from(bytes),
            };
            found.push((name, shown));
        }
        Ok(found)
    }
}
