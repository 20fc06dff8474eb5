// SPDX-License-Identifier: GPL-2.0-only

//! Layers made from a seed, and what the merged tree must show of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use rovl_kit::random::pattern;
use rovl_kit::random::seed_of;
use rovl_kit::random::Random;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::XattrFlags;
use rustix::fs::CWD;

/// How deep directories are nested, and what each holds.
const DEPTH: usize = 3;
const SUBDIRS: usize = 4;
const FILES: usize = 6;

/// What a merged path shows.
pub enum Kind {
    /// The names in it, sorted.
    Dir(Vec<String>),
    File(Vec<u8>),
    Link(String),
}

impl Kind {
    pub fn file_type(&self) -> FileType {
        match self {
            Kind::Dir(_) => FileType::Directory,
            Kind::File(_) => FileType::RegularFile,
            Kind::Link(_) => FileType::Symlink,
        }
    }
}

/// A path of the merged tree, relative to its root.
pub struct Node {
    pub path: String,
    pub kind: Kind,
}

/// The merged tree. Its first node is the root.
pub struct Tree {
    pub nodes: Vec<Node>,
    /// Paths that some layer has and the merged tree must not show.
    pub absent: Vec<String>,
}

/// Makes a tree out of layers; the topmost comes first.
pub fn create(layers: &[PathBuf], seed: u64) -> Result<Tree> {
    let mut maker = Maker {
        layers,
        random: Random::new(seed),
        nodes: Vec::new(),
        absent: Vec::new(),
    };
    maker.dir(".", 0, layers.len())?;
    let mut nodes = maker.nodes;
    nodes.reverse();
    Ok(Tree {
        nodes,
        absent: maker.absent,
    })
}

struct Maker<'a> {
    layers: &'a [PathBuf],
    random: Random,
    nodes: Vec<Node>,
    absent: Vec<String>,
}

impl Maker<'_> {
    /// Fills a directory whose content comes from the `usable` topmost layers alone.
    fn dir(&mut self, path: &str, depth: usize, usable: usize) -> Result<()> {
        let usable = if depth > 0 && usable > 1 && self.random.one_in(8) {
            self.opaque(path, usable)?
        } else {
            usable
        };
        let mut names = Vec::new();
        for number in 0..FILES {
            let name = format!("file{number}");
            if self.leaf(&format!("{path}/{name}"), usable)? {
                names.push(name);
            }
        }
        if depth < DEPTH {
            for number in 0..SUBDIRS {
                let name = format!("dir{number}");
                let inner = format!("{path}/{name}");
                // Merged of two layers, or only in one.
                for _ in 0..2 {
                    let layer = self.random.below(usable);
                    fs::create_dir_all(self.layers[layer].join(&inner))?;
                }
                self.dir(&inner, depth + 1, usable)?;
                names.push(name);
            }
        }
        names.sort();
        self.nodes.push(Node {
            path: path.to_owned(),
            kind: Kind::Dir(names),
        });
        Ok(())
    }

    /// Makes a directory opaque in one of its layers, with something below that it hides.
    fn opaque(&mut self, path: &str, usable: usize) -> Result<usize> {
        let layer = self.random.below(usable - 1);
        let top = self.layers[layer].join(path);
        fs::create_dir_all(&top)?;
        rustix::fs::setxattr(&top, "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
        let hidden = format!("{path}/hidden");
        let bottom = self.layers[layer + 1].join(path);
        fs::create_dir_all(&bottom)?;
        fs::write(bottom.join("hidden"), "hidden")?;
        self.absent.push(hidden);
        Ok(layer + 1)
    }

    /// Makes what is no directory. Returns whether the merged tree shows it.
    fn leaf(&mut self, path: &str, usable: usize) -> Result<bool> {
        let layer = self.random.below(usable);
        let kind = if self.random.one_in(6) {
            Kind::Link(format!("to/{}", self.random.below(1000)))
        } else {
            let length = match self.random.below(8) {
                0 => 0,
                1 => 300_000 + self.random.below(100_000),
                2 => 4096 * (1 + self.random.below(4)),
                _ => self.random.below(20_000),
            };
            Kind::File(pattern(length, seed_of(path.as_bytes())))
        };
        let real = self.layers[layer].join(path);
        parent(&real)?;
        match &kind {
            Kind::File(data) => fs::write(&real, data)?,
            Kind::Link(target) => symlink(target, &real)?,
            Kind::Dir(_) => {}
        }
        // Another layer below has something else by this name.
        if layer + 1 < usable && self.random.one_in(2) {
            let below = self.layers[layer + 1].join(path);
            parent(&below)?;
            fs::write(below, "below")?;
        }
        if layer > 0 && self.random.one_in(3) {
            let whiteout = self.layers[layer - 1].join(path);
            parent(&whiteout)?;
            rustix::fs::mknodat(CWD, &whiteout, FileType::CharacterDevice, Mode::empty(), 0)?;
            self.absent.push(path.to_owned());
            return Ok(false);
        }
        self.nodes.push(Node {
            path: path.to_owned(),
            kind,
        });
        Ok(true)
    }
}

fn parent(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(())
}
