// SPDX-License-Identifier: GPL-2.0-only

//! All that is to be seen of a tree, to be compared at different times.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use crate::random::seed_of;
use crate::sys;
use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::blocks;

/// What one path shows. Directories have no size and no number of links that could be compared.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    size: i64,
    content: u64,
    attributes: BTreeMap<OsString, Vec<u8>>,
}

/// More than a list of names or a value takes in these tests.
const ROOM: usize = 4096;

/// A tree by its paths.
#[derive(PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, Seen>);

impl Snapshot {
    /// Looks at everything below `top`. What is listed must be there, and of the kind that the
    /// listing says; with `blocks`, each file must be made of whole ones.
    pub fn take(top: &Path, blocks: bool) -> Result<Self> {
        let mut seen = BTreeMap::new();
        let mut pending = vec![PathBuf::new()];
        while let Some(path) = pending.pop() {
            let dir = open(&top.join(&path), OFlags::DIRECTORY)?;
            for entry in sys::read_dir(&dir, 4096).with_context(|| format!("list {path:?}"))? {
                let inner = path.join(&entry.name);
                let full = top.join(&inner);
                let stat = rustix::fs::lstat(&full)
                    .with_context(|| format!("{inner:?} is listed as {:?}", entry.kind))?;
                let kind = FileType::from_raw_mode(stat.st_mode);
                ensure!(kind == entry.kind, "{inner:?} is no {:?}", entry.kind);
                let mut one = Seen {
                    mode: stat.st_mode,
                    owner: (stat.st_uid, stat.st_gid),
                    links: stat.st_nlink,
                    size: stat.st_size,
                    content: 0,
                    attributes: attributes(&full)
                        .with_context(|| format!("attributes of {inner:?}"))?,
                };
                match kind {
                    FileType::Directory => {
                        (one.size, one.links) = (0, 0);
                        pending.push(inner.clone());
                    }
                    FileType::RegularFile => {
                        let data = std::fs::read(&full).with_context(|| format!("{inner:?}"))?;
                        ensure!(
                            data.len() as i64 == stat.st_size,
                            "{inner:?} has another size"
                        );
                        if blocks {
                            blocks::check(&data).with_context(|| format!("{inner:?}"))?;
                        }
                        one.content = seed_of(&data);
                    }
                    FileType::Symlink => {
                        let target = rustix::fs::readlink(&full, Vec::new())?;
                        one.content = seed_of(target.to_bytes());
                    }
                    _ => {}
                }
                ensure!(
                    seen.insert(inner.clone(), one).is_none(),
                    "{inner:?} is listed twice"
                );
            }
        }
        Ok(Snapshot(seen))
    }

    /// How many paths there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Each path, from the top.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Fails, naming the first difference, unless the trees are equal.
    pub fn compare(&self, later: &Snapshot, when: &str) -> Result<()> {
        for (path, old) in &self.0 {
            match later.0.get(path) {
                None => bail!("{path:?} is gone {when}"),
                Some(new) => ensure!(old == new, "{path:?} was {old:?}, and is {new:?} {when}"),
            }
        }
        for path in later.0.keys() {
            ensure!(self.0.contains_key(path), "{path:?} appears {when}");
        }
        Ok(())
    }
}

/// The extended attributes of what the path itself names, by name.
fn attributes(path: &Path) -> sys::SysResult<BTreeMap<OsString, Vec<u8>>> {
    let mut names = vec![0; ROOM];
    let length = rustix::fs::llistxattr(path, &mut names)?;
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0) {
        if !name.is_empty() {
            let mut value = vec![0; ROOM];
            let length = rustix::fs::lgetxattr(path, name, &mut value)?;
            value.truncate(length);
            found.insert(OsStr::from_bytes(name).to_owned(), value);
        }
    }
    Ok(found)
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("open {}", path.display()))
}
