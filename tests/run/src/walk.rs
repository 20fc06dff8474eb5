// SPDX-License-Identifier: GPL-2.0-only
//! Walks a tree through the file system that holds it, reads every file, and checks on the way that the listings of
//! directories agree with what stat says of their entries.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{bail, Context, Result};
use rustix::fs::{openat, readlinkat, statat, AtFlags, Dir, FileType, Mode, OFlags, Stat, CWD};
use xxhash_rust::xxh64::Xxh64;

use crate::attributes::{self, Marks};
use crate::listing::{escaped, join, Attributes, Identity, Kind, Listing, Object, TreePath};

/// For which entries the inode number in a directory's listing has to be the one that stat gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryNumbers {
    All,
    /// For a host's own file system, which is not what is tried; and where files were copied up from one file system to another:
    /// they keep their numbers, but listings may have those of the copies.
    Unchecked,
    /// Where an overlay has layers on several file systems, its directories have numbers of their own that listings lack.
    NonDirectories,
}

/// What to make of whiteouts and opaque directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// They are the marks of a layer.
    Layer,
    /// A tree as its users see it: a character device 0:0 is nothing but that.
    Tree,
}

pub struct Walked {
    pub listing: Listing,
    /// What the file system said in two places that do not agree.
    pub problems: Vec<String>,
}

pub fn walk(root: &Path, view: View, numbers: EntryNumbers) -> Result<Walked> {
    let mut walker = Walker {
        view,
        numbers,
        walked: Walked {
            listing: Listing::default(),
            problems: Vec::new(),
        },
        buffer: vec![0; 256 * 1024],
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, root, flags, Mode::empty())
        .with_context(|| format!("open {}", root.display()))?;
    walker
        .directory(&directory, TreePath::new())
        .with_context(|| format!("walk {}", root.display()))?;
    Ok(walker.walked)
}

struct Walker {
    view: View,
    numbers: EntryNumbers,
    walked: Walked,
    buffer: Vec<u8>,
}

impl Walker {
    fn directory(&mut self, directory: &OwnedFd, path: TreePath) -> Result<()> {
        let stat = rustix::fs::fstat(directory)?;
        let (attributes, Marks { opaque, .. }) = self.attributes(directory, b".", &path)?;
        self.insert(path.clone(), &stat, Kind::Directory { opaque }, attributes);

        let mut dots = 0;
        for entry in Dir::read_from(directory).context(escaped(&path))? {
            let entry = entry.with_context(|| format!("list {}", escaped(&path)))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                dots += 1;
                continue;
            }
            let path = join(&path, name.to_bytes());
            let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .with_context(|| format!("stat {}", escaped(&path)))?;
            self.check_entry(&path, &stat, entry.file_type(), entry.ino());
            self.entry(directory, name, path, &stat)?;
        }
        if dots != 2 {
            let path = escaped(&path);
            self.problem(format!("{path}: {dots} of the entries . and .."));
        }
        Ok(())
    }

    fn check_entry(&mut self, path: &[u8], stat: &Stat, listed_type: FileType, listed_number: u64) {
        let path_type = FileType::from_raw_mode(stat.st_mode);
        let path = escaped(path);
        if listed_type != path_type {
            self.problem(format!(
                "{path}: listed as {listed_type:?}, but stat says {path_type:?}"
            ));
        }
        let compared = match self.numbers {
            EntryNumbers::All => true,
            EntryNumbers::Unchecked => false,
            EntryNumbers::NonDirectories => path_type != FileType::Directory,
        };
        if compared && listed_number != stat.st_ino {
            let number = stat.st_ino;
            self.problem(format!(
                "{path}: listed with inode {listed_number}, but stat says {number}"
            ));
        }
    }

    fn entry(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: TreePath,
        stat: &Stat,
    ) -> Result<()> {
        let device = || {
            (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            )
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = openat(directory, name, flags, Mode::empty())
                .with_context(|| format!("open {}", escaped(&path)))?;
            return self.directory(&inner, path);
        }
        let (attributes, marks) = self.attributes(directory, name.to_bytes(), &path)?;
        let kind = match file_type {
            FileType::RegularFile if marks.whiteout && stat.st_size == 0 => Kind::Whiteout,
            FileType::RegularFile => {
                let (size, hash) = self
                    .read(directory, name)
                    .with_context(|| format!("read {}", escaped(&path)))?;
                if i64::try_from(size) != Ok(stat.st_size) {
                    let path = escaped(&path);
                    self.problem(format!(
                        "{path}: {size} bytes read, but stat says {}",
                        stat.st_size
                    ));
                }
                Kind::File { size, hash }
            }
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new())
                    .with_context(|| format!("read link {}", escaped(&path)))?
                    .into_bytes();
                if i64::try_from(target.len()) != Ok(stat.st_size) {
                    let path = escaped(&path);
                    self.problem(format!(
                        "{path}: target and size {} do not agree",
                        stat.st_size
                    ));
                }
                Kind::Symlink { target }
            }
            FileType::CharacterDevice if self.view == View::Layer && device() == (0, 0) => {
                Kind::Whiteout
            }
            FileType::CharacterDevice => {
                let (major, minor) = device();
                Kind::Character { major, minor }
            }
            FileType::BlockDevice => {
                let (major, minor) = device();
                Kind::Block { major, minor }
            }
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::Directory | FileType::Unknown => {
                bail!("{}: a type unknown to stat", escaped(&path))
            }
        };
        self.insert(path, stat, kind, attributes);
        Ok(())
    }

    fn attributes(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<(Attributes, Marks)> {
        attributes::read(&attributes::place(directory, name), self.view)
            .with_context(|| escaped(path))
    }

    fn read(&mut self, directory: &OwnedFd, name: &CStr) -> Result<(u64, u64)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(directory, name, flags, Mode::empty())?;
        let mut hash = Xxh64::new(0);
        let mut size = 0;
        loop {
            match rustix::io::read(&file, &mut self.buffer[..])? {
                0 => return Ok((size, hash.digest())),
                count => {
                    hash.update(&self.buffer[..count]);
                    size += count as u64;
                }
            }
        }
    }

    fn insert(&mut self, path: TreePath, stat: &Stat, kind: Kind, attributes: Attributes) {
        let object = Object {
            kind,
            mode: stat.st_mode & 0o7777,
            owner: stat.st_uid,
            group: stat.st_gid,
            modified: (stat.st_mtime, stat.st_mtime_nsec as u32),
            links: stat.st_nlink,
            attributes,
            identity: Identity {
                layer: 0,
                device: stat.st_dev,
                number: stat.st_ino,
            },
        };
        if self
            .walked
            .listing
            .objects
            .insert(path.clone(), object)
            .is_some()
        {
            self.problem(format!("{}: listed twice", escaped(&path)));
        }
    }

    fn problem(&mut self, text: String) {
        self.walked.problems.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_tree_is_listed_with_all_it_holds() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("directory")).unwrap();
        fs::write(at("directory/file"), b"abc").unwrap();
        fs::hard_link(at("directory/file"), at("again")).unwrap();
        symlink("directory/file", at("link")).unwrap();

        let Walked { listing, problems } =
            walk(root.path(), View::Tree, EntryNumbers::All).unwrap();
        assert_eq!(problems, Vec::<String>::new());
        let paths: Vec<_> = listing.objects.keys().map(|path| escaped(path)).collect();
        assert_eq!(paths, [".", "again", "directory", "directory/file", "link"]);
        let file = &listing.objects[b"directory/file".as_slice()];
        assert_eq!(
            file.kind,
            Kind::File {
                size: 3,
                hash: xxhash_rust::xxh64::xxh64(b"abc", 0)
            }
        );
        assert_eq!(file.links, 2);
        assert_eq!(
            listing.objects[b"link".as_slice()].kind,
            Kind::Symlink {
                target: b"directory/file".to_vec()
            }
        );
        assert!(listing.lines().contains("\tlink to again\n"));
    }
}
