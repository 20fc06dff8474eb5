// SPDX-License-Identifier: GPL-2.0-only

//! A script: layers, and what is done to them. Everything that a run depends on is in here.
//!
//! A script is also a text, one thing per line, which is what a failure prints and a regression
//! keeps. Lines that begin with `#` say what a reader should know.
//!
//! ```text
//! setup (upper_on: Tmpfs, lowers_on: [Ext4], lowers: 2, options: "redirect_dir=on")
//! upper (path: "d", kind: Dir, mode: "755")
//! lower 1 (path: "d/f", kind: File(size: 100, fill: 7), mode: "644")
//! step Alice Rename(from: "d/f", to: "g", how: Exchange)
//! ```

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::Deserialize;
use serde::Serialize;

use crate::step::Step;
use crate::step::User;
use crate::text::Bytes;
use crate::text::Octal;

/// Where layers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backing {
    Tmpfs,
    /// A second tmpfs, so that layers are on several filesystems of one kind.
    Tmpfs2,
    Ext4,
    Xfs,
    /// A tmpfs that is soon full, one for each side. Only uppers are on it.
    ///
    /// There is none with quotas: those of the disks count what both sides have, and blocks as they are
    /// given out in advance or taken back later.
    Small,
}

impl Backing {
    pub const ALL: [Backing; 5] = [
        Backing::Tmpfs,
        Backing::Tmpfs2,
        Backing::Ext4,
        Backing::Xfs,
        Backing::Small,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Backing::Tmpfs => "tmpfs",
            Backing::Tmpfs2 => "tmpfs2",
            Backing::Ext4 => "ext4",
            Backing::Xfs => "xfs",
            Backing::Small => "small",
        }
    }

    /// Whether the filesystem is made anew for each script.
    pub fn is_fresh(self) -> bool {
        !self.is_disk()
    }

    /// Whether it is on a disk that all scripts share, which can be frozen.
    pub fn is_disk(self) -> bool {
        matches!(self, Backing::Ext4 | Backing::Xfs)
    }
}

/// Which mounts show other owners than there are on disk: two users change places, and some are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mapped {
    /// The overlay's own.
    Overlay,
    /// Those that the layers are reached by.
    Layers,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What holds for the whole script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    pub upper_on: Backing,
    /// The lowers are on these in turn.
    pub lowers_on: Vec<Backing>,
    pub lowers: usize,
    /// Mount options besides the layers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: String,
    /// Whether what a step names is looked at before and after it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub watch: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub mapped: Option<Mapped>,
    /// Whether users other than root have processes of their own, in which their steps are done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub processes: bool,
}

impl Setup {
    /// Where the lower of this index is.
    pub fn lower_on(&self, index: usize) -> Backing {
        let turn = index % self.lowers_on.len().max(1);
        self.lowers_on.get(turn).copied().unwrap_or(self.upper_on)
    }

    /// All filesystems in use, each once.
    pub fn backings(&self) -> Vec<Backing> {
        let mut all = vec![self.upper_on];
        for index in 0..self.lowers {
            let backing = self.lower_on(index);
            if !all.contains(&backing) {
                all.push(backing);
            }
        }
        all
    }

    pub fn has_option(&self, wanted: &str) -> bool {
        self.options.split(',').any(|option| option == wanted)
    }

    /// Whether an object's inode number is the same in listings, over copy-up and over mounts.
    pub fn has_stable_numbers(&self) -> bool {
        self.backings().len() == 1 || self.has_option("xino=on")
    }

    /// What overlay's own attributes begin with.
    pub fn private_prefix(&self) -> &'static str {
        if self.has_option("userxattr") {
            "user.overlay."
        } else {
            "trusted.overlay."
        }
    }
}

/// What an object of a layer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Dir,
    /// A regular file; `fill` chooses its bytes.
    File {
        size: u64,
        fill: u8,
    },
    /// A regular file of this size with one block of data in it.
    Sparse {
        size: u64,
        data_at: u64,
    },
    Symlink(String),
    /// Another name for an object that comes before.
    HardLink(String),
    Fifo,
    Socket,
    Char(u32, u32),
    Block(u32, u32),
    /// The character device 0:0, which hides what is below.
    Whiteout,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xattr {
    pub name: String,
    pub value: Bytes,
}

/// An object of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// `.` is the layer's root.
    pub path: String,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Octal,
    #[serde(default, skip_serializing_if = "is_default")]
    pub uid: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub gid: u32,
    /// Seconds after the first of the times that layers have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub age: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub xattrs: Vec<Xattr>,
    /// Whether nothing but appending is allowed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub append_only: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub immutable: bool,
}

impl Object {
    pub fn new(path: &str, kind: Kind, mode: u32) -> Self {
        Object {
            path: path.to_owned(),
            kind,
            mode: Octal(mode),
            uid: 0,
            gid: 0,
            age: 0,
            xattrs: Vec::new(),
            append_only: false,
            immutable: false,
        }
    }
}

/// Which layer an object is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    Upper,
    /// The topmost lower is 1.
    Lower(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub setup: Setup,
    pub objects: Vec<(Layer, Object)>,
    pub steps: Vec<(User, Step)>,
}

impl Script {
    pub fn has_step(&self, wanted: impl Fn(&Step) -> bool) -> bool {
        self.steps.iter().any(|(_, step)| wanted(step))
    }
}

fn write_ron(f: &mut fmt::Formatter<'_>, head: &str, thing: &impl Serialize) -> fmt::Result {
    let text = ron::to_string(thing).map_err(|_| fmt::Error)?;
    writeln!(f, "{head} {text}")
}

fn read_ron<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    Ok(ron::from_str(text)?)
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ron(f, "setup", &self.setup)?;
        for (layer, object) in &self.objects {
            match layer {
                Layer::Upper => write_ron(f, "upper", object)?,
                Layer::Lower(number) => write_ron(f, &format!("lower {number}"), object)?,
            }
        }
        for (user, step) in &self.steps {
            write_ron(f, &format!("step {user:?}"), step)?;
        }
        Ok(())
    }
}

impl FromStr for Script {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut setup = None;
        let mut objects = Vec::new();
        let mut steps = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = || format!("line {}: {line}", number + 1);
            let (head, rest) = line.split_once(' ').with_context(place)?;
            match head {
                "setup" => setup = Some(read_ron::<Setup>(rest).with_context(place)?),
                "upper" => objects.push((Layer::Upper, read_ron(rest).with_context(place)?)),
                "lower" => {
                    let (number, rest) = rest.split_once(' ').with_context(place)?;
                    let layer = Layer::Lower(number.parse().with_context(place)?);
                    objects.push((layer, read_ron(rest).with_context(place)?));
                }
                "step" => {
                    let (user, rest) = rest.split_once(' ').with_context(place)?;
                    let user = read_ron(user).with_context(place)?;
                    steps.push((user, read_ron(rest).with_context(place)?));
                }
                _ => bail!("{}", place()),
            }
        }
        Ok(Script {
            setup: setup.context("there is no line `setup`")?,
            objects,
            steps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;
    use crate::generate::Choices;

    #[test]
    fn every_script_survives_being_printed() {
        let choices = Choices {
            steps: 100,
            backings: Backing::ALL.to_vec(),
            options: crate::plan::OPTIONS.map(str::to_owned).to_vec(),
        };
        for seed in 0..500 {
            let script = generate::script(seed, &choices);
            let text = script.to_string();
            let read: Script = text.parse().unwrap_or_else(|error| {
                panic!("seed {seed} cannot be read back: {error:#}\n{text}");
            });
            assert_eq!(read, script, "seed {seed}");
            assert_eq!(generate::script(seed, &choices), script, "seed {seed}");
        }
    }
}
