// SPDX-License-Identifier: GPL-2.0-only

//! A file tree in memory and its form as a newc cpio archive, which the kernel unpacks into its
//! root.
//!
//! The archive is not compressed: it is read once, by the kernel, from memory, where emulated
//! decompression would cost more than the copying saves.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};

const S_IFDIR: u32 = 0o040000;
const S_IFREG: u32 = 0o100000;
const S_IFLNK: u32 = 0o120000;

/// The numbers in a newc header have eight hexadecimal digits.
const FILE_SIZE_MAX: u64 = u32::MAX as u64;

/// One object of the tree.
#[derive(Debug)]
enum Node {
    Directory {
        mode: u32,
    },
    /// A file whose content the runner made.
    Text {
        mode: u32,
        content: Vec<u8>,
    },
    /// A file that is copied from the host when the archive is written.
    Copy {
        mode: u32,
        host: PathBuf,
    },
    Symlink {
        target: PathBuf,
    },
}

/// The tree that becomes the guest's root. What is added later replaces what was there under the
/// same path.
#[derive(Debug, Default)]
pub struct Tree {
    /// Keyed by the path without its leading slash. A parent sorts before its children.
    nodes: BTreeMap<PathBuf, Node>,
}

impl Tree {
    /// Adds a directory and those above it.
    pub fn directory(&mut self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.insert(path.as_ref(), Node::Directory { mode })
    }

    /// Adds a file with the given content.
    pub fn text(
        &mut self,
        path: impl AsRef<Path>,
        mode: u32,
        content: impl Into<Vec<u8>>,
    ) -> Result<()> {
        self.insert(
            path.as_ref(),
            Node::Text {
                mode,
                content: content.into(),
            },
        )
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: impl AsRef<Path>, target: impl Into<PathBuf>) -> Result<()> {
        self.insert(
            path.as_ref(),
            Node::Symlink {
                target: target.into(),
            },
        )
    }

    /// Adds a file of the host, or a directory with all that is in it. `mode` replaces the file's
    /// own; of a directory it replaces only the topmost one's.
    pub fn copy(&mut self, path: impl AsRef<Path>, host: &Path, mode: Option<u32>) -> Result<()> {
        let path = path.as_ref();
        let found =
            fs::metadata(host).with_context(|| format!("cannot read {}", host.display()))?;
        let mode = mode.unwrap_or(found.permissions().mode() & 0o7777);
        if found.is_dir() {
            self.insert(path, Node::Directory { mode })?;
            return self.copy_children(path, host);
        }
        ensure!(
            found.is_file(),
            "{} is neither a file nor a directory",
            host.display()
        );
        self.insert(
            path,
            Node::Copy {
                mode,
                host: host.to_owned(),
            },
        )
    }

    fn copy_children(&mut self, path: &Path, host: &Path) -> Result<()> {
        let listing =
            fs::read_dir(host).with_context(|| format!("cannot list {}", host.display()))?;
        for entry in listing {
            let entry = entry.with_context(|| format!("cannot list {}", host.display()))?;
            let (path, host) = (path.join(entry.file_name()), entry.path());
            if entry.file_type()?.is_symlink() {
                self.symlink(path, fs::read_link(host)?)?;
            } else {
                self.copy(path, &host, None)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &Path, node: Node) -> Result<()> {
        let path = relative(path)?;
        for parent in path
            .ancestors()
            .skip(1)
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            let found = self
                .nodes
                .entry(parent.to_owned())
                .or_insert(Node::Directory { mode: 0o755 });
            let is_directory = matches!(found, Node::Directory { .. });
            ensure!(
                is_directory,
                "/{} is not a directory in the guest",
                parent.display()
            );
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Writes the tree as a newc archive.
    pub fn write(&self, mut to: impl Write) -> Result<()> {
        for (number, (path, node)) in self.nodes.iter().enumerate() {
            let number = u32::try_from(number + 1).context("too many files")?;
            write_node(&mut to, number, path, node)
                .with_context(|| format!("cannot add /{}", path.display()))?;
        }
        cpio::newc::trailer(&mut to)?;
        to.flush()?;
        Ok(())
    }
}

/// The path without its leading slash, which must not climb.
fn relative(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                bail!("{} is no path for the guest", path.display())
            }
        }
    }
    ensure!(
        !clean.as_os_str().is_empty(),
        "{} is no path for the guest",
        path.display()
    );
    Ok(clean)
}

fn write_node(to: &mut impl Write, number: u32, path: &Path, node: &Node) -> Result<()> {
    let name = path.to_str().context("the name is not UTF-8")?;
    let builder = cpio::newc::Builder::new(name).ino(number).uid(0).gid(0);
    match node {
        Node::Directory { mode } => {
            builder
                .nlink(2)
                .mode(S_IFDIR | mode)
                .write(to, 0)
                .finish()?;
        }
        Node::Text { mode, content } => {
            write_data(builder.nlink(1).mode(S_IFREG | mode), to, content)?;
        }
        Node::Symlink { target } => {
            write_data(
                builder.nlink(1).mode(S_IFLNK | 0o777),
                to,
                target.as_os_str().as_bytes(),
            )?;
        }
        Node::Copy { mode, host } => {
            // Read at once, so that a file that grows meanwhile cannot differ from the size in its
            // header.
            let content =
                fs::read(host).with_context(|| format!("cannot read {}", host.display()))?;
            write_data(builder.nlink(1).mode(S_IFREG | mode), to, &content)?;
        }
    }
    Ok(())
}

fn write_data(builder: cpio::newc::Builder, to: &mut impl Write, data: &[u8]) -> Result<()> {
    ensure!(
        data.len() as u64 <= FILE_SIZE_MAX,
        "the file is bigger than 4 GiB"
    );
    let mut writer = builder.write(to, data.len() as u32);
    writer.write_all(data)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read};
    use std::os::unix::fs::symlink;

    /// Path, mode and content of each entry, read back by an independent reader.
    fn entries(tree: &Tree) -> Vec<(String, u32, Vec<u8>)> {
        let mut archive = Vec::new();
        tree.write(&mut archive).unwrap();
        assert_eq!(archive.len() % 4, 0);
        let mut entries = Vec::new();
        let mut rest = Cursor::new(archive);
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            entries.push((
                reader.entry().name().to_owned(),
                reader.entry().mode(),
                content,
            ));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn kinds_and_implied_parents() {
        let mut tree = Tree::default();
        tree.text("/a/b/c", 0o640, "text").unwrap();
        tree.symlink("/a/s", "b/c").unwrap();
        tree.directory("/z", 0o1777).unwrap();
        assert_eq!(
            entries(&tree),
            [
                ("a".into(), 0o040755, vec![]),
                ("a/b".into(), 0o040755, vec![]),
                ("a/b/c".into(), 0o100640, b"text".to_vec()),
                ("a/s".into(), 0o120777, b"b/c".to_vec()),
                ("z".into(), 0o041777, vec![]),
            ]
        );
    }

    #[test]
    fn later_replaces_earlier() {
        let mut tree = Tree::default();
        tree.symlink("/bin/tar", "busybox").unwrap();
        tree.text("/bin/tar", 0o755, "mine").unwrap();
        assert_eq!(
            entries(&tree)[1],
            ("bin/tar".into(), 0o100755, b"mine".to_vec())
        );
    }

    #[test]
    fn a_directory_keeps_its_mode_when_filled() {
        let mut tree = Tree::default();
        tree.directory("/tmp", 0o1777).unwrap();
        tree.text("/tmp/x", 0o600, "").unwrap();
        assert_eq!(entries(&tree)[0].1, 0o041777);
    }

    #[test]
    fn wrong_paths() {
        let mut tree = Tree::default();
        tree.text("/file", 0o644, "").unwrap();
        assert!(tree.text("/file/below", 0o644, "").is_err());
        assert!(tree.text("/../x", 0o644, "").is_err());
        assert!(tree.text("/", 0o644, "").is_err());
    }

    #[test]
    fn host_directories_are_copied_whole() {
        let host = tempfile::tempdir().unwrap();
        fs::create_dir(host.path().join("sub")).unwrap();
        fs::write(host.path().join("sub/file"), "data").unwrap();
        fs::set_permissions(
            host.path().join("sub/file"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        symlink("file", host.path().join("sub/link")).unwrap();
        let mut tree = Tree::default();
        tree.copy("/top", host.path(), Some(0o700)).unwrap();
        let found = entries(&tree);
        assert_eq!(found[0].1, 0o040700);
        assert_eq!(
            found[2],
            ("top/sub/file".into(), 0o100755, b"data".to_vec())
        );
        assert_eq!(
            found[3],
            ("top/sub/link".into(), 0o120777, b"file".to_vec())
        );
        assert!(tree.copy("/x", Path::new("/no/such/file"), None).is_err());
    }
}
