// SPDX-License-Identifier: GPL-2.0-only

//! What is in the filesystem of a FUSE server: directories, files and nodes in memory.
//!
//! Numbers are never used again, and what was removed is kept, so that no open file loses it.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::reply::Reply;
use super::DIRECTORY;
use super::ROOT;

type Answer = Result<Reply, Errno>;

/// `S_IFCHR`, the mode of a whiteout.
const WHITEOUT: u32 = 0o02_0000;

/// `S_IFLNK`, with all the permissions that links have.
const SYMLINK: u32 = 0o12_0777;

const KIND: u32 = 0o17_0000;

#[derive(Clone, Copy, Default)]
pub struct Times {
    pub seconds: u64,
    pub nanoseconds: u32,
}

#[derive(Default)]
pub struct Node {
    mode: u32,
    device: u32,
    owner: (u32, u32),
    pub modified: Times,
    parent: u64,
    /// How many names it has, unless it is a directory.
    links: u32,
    entries: BTreeMap<Vec<u8>, u64>,
    data: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Node {
    fn is_directory(&self) -> bool {
        self.mode & KIND == DIRECTORY
    }

    /// Changes mode, owner, group and size, each if given.
    pub fn change(
        &mut self,
        mode: Option<u32>,
        owner: Option<u32>,
        group: Option<u32>,
        size: Option<u64>,
    ) {
        self.mode = mode.map_or(self.mode, |mode| self.mode & KIND | mode & !KIND);
        self.owner = (owner.unwrap_or(self.owner.0), group.unwrap_or(self.owner.1));
        if let Some(size) = size.and_then(|size| usize::try_from(size).ok()) {
            self.data.resize(size, 0);
        }
    }

    /// Adds `struct fuse_attr`; `number` is what users see.
    fn attributes(&self, number: u64, reply: Reply) -> Reply {
        let size = self.data.len() as u64;
        let links = if self.is_directory() { 2 } else { self.links };
        let time = self.modified;
        let numbers = reply.u64(number).u64(size).u64(size.div_ceil(512));
        let seconds = [time.seconds; 3].into_iter().fold(numbers, Reply::u64);
        let times = [time.nanoseconds; 3].into_iter().fold(seconds, Reply::u32);
        let owned = times.u32(self.mode).u32(links);
        owned
            .u32(self.owner.0)
            .u32(self.owner.1)
            .u32(self.device)
            .u32(4096)
            .u32(0)
    }
}

pub struct Tree {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// What users see of a number is so much more.
    pub shown_from: u64,
}

impl Tree {
    pub fn new() -> Self {
        let root = Node {
            mode: DIRECTORY | 0o755,
            parent: ROOT,
            ..Node::default()
        };
        Tree {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            shown_from: 0,
        }
    }

    pub fn node(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&number).ok_or(Errno::STALE)
    }

    /// `struct fuse_entry_out`: the name is to be asked for again each time, the attributes are not.
    fn entry(&mut self, number: u64) -> Answer {
        let shown = self.shown_from.wrapping_add(number);
        let node = self.node(number)?;
        let validity = Reply::new().u64(number).u64(0).u64(0).u64(1).u32(0).u32(0);
        Ok(node.attributes(shown, validity))
    }

    /// `struct fuse_attr_out`.
    pub fn attributes(&mut self, number: u64) -> Answer {
        let shown = self.shown_from.wrapping_add(number);
        let node = self.node(number)?;
        Ok(node.attributes(shown, Reply::new().u64(1).u32(0).u32(0)))
    }

    pub fn look_up(&mut self, parent: u64, name: &[u8]) -> Answer {
        let found = self.node(parent)?.entries.get(name).copied();
        self.entry(found.ok_or(Errno::NOENT)?)
    }

    pub fn make(
        &mut self,
        parent: u64,
        name: &[u8],
        mode: u32,
        device: u32,
        owner: (u32, u32),
    ) -> Answer {
        let number = self.next;
        let directory = self.node(parent)?;
        if directory.entries.contains_key(name) {
            return Err(Errno::EXIST);
        }
        directory.entries.insert(name.to_vec(), number);
        let node = Node {
            mode,
            device,
            owner,
            parent,
            links: 1,
            ..Node::default()
        };
        self.nodes.insert(number, node);
        self.next += 1;
        self.entry(number)
    }

    /// Gives an object one name more, unless it has `most` of them.
    pub fn link(&mut self, number: u64, parent: u64, name: &[u8], most: u64) -> Answer {
        if self.node(parent)?.entries.contains_key(name) {
            return Err(Errno::EXIST);
        }
        let node = self.node(number)?;
        if u64::from(node.links) >= most {
            return Err(Errno::MLINK);
        }
        node.links += 1;
        self.node(parent)?.entries.insert(name.to_vec(), number);
        self.entry(number)
    }

    pub fn symlink(
        &mut self,
        parent: u64,
        name: &[u8],
        target: &[u8],
        owner: (u32, u32),
    ) -> Answer {
        let number = self.next;
        self.make(parent, name, SYMLINK, 0, owner)?;
        self.node(number)?.data = target.to_vec();
        self.entry(number)
    }

    /// What a symbolic link says.
    pub fn target(&mut self, number: u64) -> Answer {
        Ok(Reply::new().bytes(&self.node(number)?.data))
    }

    pub fn remove(&mut self, parent: u64, name: &[u8]) -> Answer {
        let found = self.node(parent)?.entries.get(name).copied();
        let node = self.node(found.ok_or(Errno::NOENT)?)?;
        if !node.entries.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        node.links = node.links.saturating_sub(1);
        self.node(parent)?.entries.remove(name);
        Ok(Reply::new())
    }

    pub fn rename(&mut self, from: (u64, &[u8]), to: (u64, &[u8]), whiteout: bool) -> Answer {
        let moved = self.node(from.0)?.entries.remove(from.1);
        let moved = moved.ok_or(Errno::NOENT)?;
        let replaced = self.node(to.0)?.entries.insert(to.1.to_vec(), moved);
        if let Some(replaced) = replaced {
            let node = self.node(replaced)?;
            node.links = node.links.saturating_sub(1);
        }
        self.node(moved)?.parent = to.0;
        if whiteout {
            self.make(from.0, from.1, WHITEOUT, 0, (0, 0))?;
        }
        Ok(Reply::new())
    }

    /// Lets each of two names stand for what the other stood for.
    pub fn exchange(&mut self, first: (u64, &[u8]), second: (u64, &[u8])) -> Answer {
        let found = |tree: &mut Self, (parent, name): (u64, &[u8])| {
            let number = tree.node(parent)?.entries.get(name).copied();
            number.ok_or(Errno::NOENT)
        };
        let numbers = (found(self, first)?, found(self, second)?);
        for ((parent, name), number) in [(first, numbers.1), (second, numbers.0)] {
            self.node(parent)?.entries.insert(name.to_vec(), number);
            self.node(number)?.parent = parent;
        }
        Ok(Reply::new())
    }

    pub fn read(&mut self, number: u64, from: u64, size: u32) -> Answer {
        let data = &self.node(number)?.data;
        let from = usize::try_from(from).map_or(data.len(), |from| from.min(data.len()));
        let end = data.len().min(from + size as usize);
        Ok(Reply::new().bytes(&data[from..end]))
    }

    pub fn write(&mut self, number: u64, from: u64, bytes: &[u8]) -> Answer {
        let data = &mut self.node(number)?.data;
        let from = usize::try_from(from).map_err(|_| Errno::FBIG)?;
        let end = from + bytes.len();
        data.resize(data.len().max(end), 0);
        data[from..end].copy_from_slice(bytes);
        let written = u32::try_from(bytes.len()).map_err(|_| Errno::INVAL)?;
        Ok(Reply::new().u32(written).u32(0))
    }

    /// As many of `struct fuse_dirent` as there is room for. A position is the number of names before it.
    pub fn list(&mut self, number: u64, position: u64, room: u32, types: bool) -> Answer {
        let directory = self.node(number)?;
        let mut names = vec![(b".".to_vec(), number), (b"..".to_vec(), directory.parent)];
        names.extend(
            directory
                .entries
                .iter()
                .map(|(name, to)| (name.clone(), *to)),
        );
        let mut reply = Reply::new();
        for (next, (name, to)) in (1_u64..).zip(names).skip(position as usize) {
            if reply.len() + 24 + name.len().next_multiple_of(8) > room as usize {
                break;
            }
            let kind = self.node(to)?.mode >> 12;
            let length = u32::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
            let shown = self.shown_from.wrapping_add(to);
            reply = reply.u64(shown).u64(next).u32(length);
            reply = reply
                .u32(if types { kind } else { 0 })
                .bytes(&name)
                .align(8);
        }
        Ok(reply)
    }

    pub fn xattr(&mut self, number: u64, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let value = self.node(number)?.xattrs.get(name).cloned();
        value.ok_or(Errno::NODATA)
    }

    /// All names, each with a NUL.
    pub fn xattr_names(&mut self, number: u64) -> Result<Vec<u8>, Errno> {
        let names = self.node(number)?.xattrs.keys();
        Ok(names
            .flat_map(|name| [name.as_slice(), b"\0"].concat())
            .collect())
    }

    pub fn set_xattr(&mut self, number: u64, name: &[u8], value: &[u8]) -> Answer {
        let xattrs = &mut self.node(number)?.xattrs;
        xattrs.insert(name.to_vec(), value.to_vec());
        Ok(Reply::new())
    }

    pub fn remove_xattr(&mut self, number: u64, name: &[u8]) -> Answer {
        let removed = self.node(number)?.xattrs.remove(name);
        removed.map(|_| Reply::new()).ok_or(Errno::NODATA)
    }
}
