// SPDX-License-Identifier: GPL-2.0-only
//! What a tree holds: one object for each path, written so that two trees can be compared as text.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// A path below the root of a tree, without a leading slash; the root itself is empty.
pub type TreePath = Vec<u8>;

/// Extended attributes by name. A mark of an overlay on its layer is none of them.
pub type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// The inode behind a path, told apart from all others of the same tree: layer (0 in a mounted tree), device, number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub layer: usize,
    pub device: u64,
    pub number: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `opaque` is only ever set in a single layer; a merged tree has no opaque directories.
    Directory {
        opaque: bool,
    },
    File {
        size: u64,
        hash: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    Character {
        major: u32,
        minor: u32,
    },
    Block {
        major: u32,
        minor: u32,
    },
    Fifo,
    Socket,
    /// As with opaque directories: only in a single layer.
    Whiteout,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub kind: Kind,
    /// Permission bits, with set-uid, set-gid and sticky.
    pub mode: u32,
    pub owner: u32,
    pub group: u32,
    /// Seconds and nanoseconds.
    pub modified: (i64, u32),
    pub links: u64,
    pub attributes: Attributes,
    pub identity: Identity,
}

impl Object {
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory { .. })
    }

    /// Equal in all that the names of other files have no part in: link counts and inodes are left out.
    pub fn is_same(&self, other: &Self) -> bool {
        let mut other = other.clone();
        other.links = self.links;
        other.identity = self.identity;
        *self == other
    }
}

/// The objects of a tree. A directory comes before all that is in it.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub objects: BTreeMap<TreePath, Object>,
}

/// The directory that holds `path`; `None` for the root.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    let slash = path.iter().rposition(|&byte| byte == b'/');
    Some(&path[..slash.unwrap_or(0)])
}

pub fn join(directory: &[u8], name: &[u8]) -> TreePath {
    if directory.is_empty() {
        return name.to_vec();
    }
    [directory, b"/", name].concat()
}

/// A path on one line: everything outside printable ASCII is escaped.
pub fn escaped(path: &[u8]) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    path.escape_ascii().to_string()
}

impl Listing {
    /// The paths of the objects inside the directory, at any depth.
    pub fn below<'a>(
        &'a self,
        directory: &'a [u8],
    ) -> impl Iterator<Item = (&'a TreePath, &'a Object)> {
        let first = if directory.is_empty() {
            // The first path after the empty one of the root.
            vec![0]
        } else {
            [directory, b"/"].concat()
        };
        let prefix = first.len();
        self.objects
            .range(first.clone()..)
            .take_while(move |(path, _)| {
                directory.is_empty() || path.get(..prefix) == Some(first.as_slice())
            })
    }

    /// Removes what is inside the directory, at any depth.
    pub fn clear_below(&mut self, directory: &[u8]) {
        let paths: Vec<_> = self
            .below(directory)
            .map(|(path, _)| path.clone())
            .collect();
        for path in paths {
            self.objects.remove(&path);
        }
    }

    /// The number of directories directly in each directory.
    pub fn subdirectories(&self) -> BTreeMap<&[u8], u64> {
        let mut count = BTreeMap::new();
        for (path, object) in &self.objects {
            if let (true, Some(parent)) = (object.is_directory(), parent(path)) {
                *count.entry(parent).or_insert(0) += 1;
            }
        }
        count
    }

    /// Sets all link counts to what an ext4 that held this tree and nothing else would say.
    pub fn count_links(&mut self) {
        let mut names = BTreeMap::new();
        for object in self.objects.values() {
            *names.entry(object.identity).or_insert(0) += 1;
        }
        let directories: BTreeMap<TreePath, u64> = self
            .subdirectories()
            .into_iter()
            .map(|(path, count)| (path.to_vec(), count))
            .collect();
        for (path, object) in &mut self.objects {
            object.links = if object.is_directory() {
                2 + directories.get(path).copied().unwrap_or(0)
            } else {
                names[&object.identity]
            };
        }
    }

    pub fn file_bytes(&self) -> u64 {
        self.objects
            .values()
            .map(|object| match object.kind {
                Kind::File { size, .. } => size,
                _ => 0,
            })
            .sum()
    }

    /// One line per object.
    pub fn lines(&self) -> String {
        let mut first_names = BTreeMap::new();
        for (path, object) in &self.objects {
            first_names.entry(object.identity).or_insert(path);
        }
        let mut text = String::new();
        for (path, object) in &self.objects {
            let _ = write!(text, "{}\t{object}", escaped(path));
            // A name of an inode that has other names in this tree, too. Whiteouts may well be one inode, as engines make them.
            let first = first_names[&object.identity];
            if first != path && object.kind != Kind::Whiteout {
                let _ = write!(text, "\tlink to {}", escaped(first));
            }
            text.push('\n');
        }
        text
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            // What else a whiteout has, such as its times, differs with the tool that made it, and nobody sees it.
            Kind::Whiteout => return write!(f, "whiteout"),
            Kind::Directory { opaque: false } => write!(f, "directory")?,
            Kind::Directory { opaque: true } => write!(f, "directory opaque")?,
            Kind::File { size, hash } => write!(f, "file {size} {hash:016x}")?,
            Kind::Symlink { target } => write!(f, "symlink {}", target.escape_ascii())?,
            Kind::Character { major, minor } => write!(f, "character {major}:{minor}")?,
            Kind::Block { major, minor } => write!(f, "block {major}:{minor}")?,
            Kind::Fifo => write!(f, "fifo")?,
            Kind::Socket => write!(f, "socket")?,
        }
        let (seconds, nanoseconds) = self.modified;
        write!(
            f,
            "\t{:04o}\t{}:{}\t{seconds}.{nanoseconds:09}\t{} links",
            self.mode, self.owner, self.group, self.links
        )?;
        for (name, value) in &self.attributes {
            write!(f, "\t{}={}", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod samples {
    //! Short notation for trees in tests: a path that ends in a slash is a directory, any other a file.

    use super::*;

    pub fn directory() -> Object {
        Object {
            kind: Kind::Directory { opaque: false },
            mode: 0o755,
            owner: 0,
            group: 0,
            modified: (0, 0),
            links: 0,
            attributes: Attributes::new(),
            identity: Identity {
                layer: 0,
                device: 0,
                number: 0,
            },
        }
    }

    /// The layer with an object of this kind at `path`.
    pub fn with(mut layer: Listing, path: &str, kind: Kind) -> Listing {
        let object = Object {
            kind,
            ..directory()
        };
        layer.objects.insert(path.as_bytes().to_vec(), object);
        layer
    }

    /// Each of `(path, content)`; equal contents are equal files.
    pub fn tree(objects: &[(&str, u64)]) -> Listing {
        let mut listing = Listing::default();
        let all = [("/", 0)].iter().chain(objects);
        for (number, (path, content)) in all.enumerate() {
            let mut object = directory();
            object.identity.number = number as u64;
            if !path.ends_with('/') {
                object.kind = Kind::File {
                    size: 1,
                    hash: *content,
                };
            } else {
                // A directory's content stands for its metadata.
                object.modified.0 = *content as i64;
            }
            let path = path.strip_suffix('/').unwrap_or(path);
            listing.objects.insert(path.as_bytes().to_vec(), object);
        }
        listing.count_links();
        listing
    }
}

#[cfg(test)]
mod tests {
    use super::samples::tree;
    use super::*;

    #[test]
    fn below_skips_names_that_only_begin_alike() {
        let listing = tree(&[("a/", 0), ("a-b", 1), ("a/x", 2), ("a0", 3)]);
        let below: Vec<_> = listing.below(b"a").map(|(path, _)| path.clone()).collect();
        assert_eq!(below, [b"a/x".to_vec()]);
        assert_eq!(listing.below(b"").count(), 4);
    }

    #[test]
    fn link_counts_are_those_of_ext4() {
        let mut listing = tree(&[("a/", 0), ("a/b/", 0), ("a/c/", 0), ("x", 1), ("y", 1)]);
        listing
            .objects
            .get_mut(b"y".as_slice())
            .unwrap()
            .identity
            .number = listing.objects[&b"x".to_vec()].identity.number;
        listing.count_links();
        let links = |path: &str| listing.objects[path.as_bytes()].links;
        assert_eq!((links(""), links("a"), links("a/b")), (3, 4, 2));
        assert_eq!((links("x"), links("y")), (2, 2));
        assert!(listing
            .lines()
            .contains("y\tfile 1 0000000000000001\t0755\t0:0\t0.000000000\t2 links\tlink to x\n"));
    }

    #[test]
    fn odd_names_stay_on_one_line() {
        assert_eq!(escaped(b"a\nb\t\xff"), "a\\nb\\t\\xff");
        assert_eq!(escaped(b""), ".");
        assert_eq!(parent(b"a/b"), Some(&b"a"[..]));
        assert_eq!(parent(b"a"), Some(&b""[..]));
        assert_eq!(parent(b""), None);
    }
}
