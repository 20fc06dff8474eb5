// SPDX-License-Identifier: GPL-2.0-only

//! Steps that name what they work on by its path.

use super::Generator;
use crate::generate::tree::What;
use crate::generate::DIRS;
use crate::generate::TARGETS;
use crate::step::*;
use crate::text::Octal;

impl Generator {
    pub(super) fn create(&mut self) -> Step {
        Step::Create {
            path: self.target(),
            mode: self.mode(),
        }
    }

    pub(super) fn mkdir(&mut self) -> Step {
        // Names of directories, so that trees grow.
        let path = if self.random.chance(60) {
            let name = DIRS[self.random.below(DIRS.len())];
            super::join(&self.dir(), name)
        } else {
            self.target()
        };
        Step::Mkdir {
            path,
            mode: self.mode(),
        }
    }

    pub(super) fn mknod(&mut self) -> Step {
        let nodes = [
            Node::File,
            Node::Fifo,
            Node::Socket,
            Node::Char(1, 3),
            Node::Char(0, 0),
            Node::Char(240, 5),
            Node::Block(240, 5),
        ];
        let node = *self.random.pick(&nodes);
        Step::Mknod {
            path: self.target(),
            node,
            mode: self.mode(),
        }
    }

    pub(super) fn symlink(&mut self) -> Step {
        let target = (*self.random.pick(&TARGETS)).to_owned();
        Step::Symlink {
            target,
            path: self.target(),
        }
    }

    pub(super) fn link(&mut self) -> Step {
        Step::Link {
            from: self.not_dir(),
            to: self.target(),
            last: self.last(),
        }
    }

    pub(super) fn link_slot(&mut self) -> Step {
        Step::LinkSlot {
            slot: self.file_slot(),
            to: self.target(),
        }
    }

    pub(super) fn unlink(&mut self) -> Step {
        Step::Unlink {
            path: self.not_dir(),
        }
    }

    pub(super) fn rmdir(&mut self) -> Step {
        Step::Rmdir {
            path: self.empty_dir(),
        }
    }

    pub(super) fn rename(&mut self) -> Step {
        let how = match self.random.below(20) {
            0..=10 => How::Plain,
            11..=13 => How::NoReplace,
            14..=18 => How::Exchange,
            _ => How::Whiteout,
        };
        let (from, to) = match (how, self.random.below(10)) {
            (How::Exchange, 0..=6) => (self.path(), self.path()),
            (How::Plain, 0 | 1) => (self.not_dir(), self.not_dir()),
            // Directories go over empty directories.
            (How::Plain, 2) => (self.dir(), self.empty_dir()),
            (_, 3 | 4) => (self.dir(), self.free()),
            _ => (self.path(), self.target()),
        };
        Step::Rename { from, to, how }
    }

    fn empty_dir(&mut self) -> String {
        let mut empty = self.tree.paths(What::is_dir);
        empty.retain(|path| self.tree.is_empty(path));
        if empty.is_empty() || self.random.chance(30) {
            return self.dir();
        }
        (*self.random.pick(&empty)).to_owned()
    }

    pub(super) fn stat(&mut self) -> Step {
        Step::Stat {
            path: self.path(),
            last: self.last(),
        }
    }

    pub(super) fn access(&mut self) -> Step {
        let mode = Octal(*self.random.pick(&[0, 1, 2, 4, 6]));
        Step::Access {
            path: self.path(),
            mode,
        }
    }

    pub(super) fn readlink(&mut self) -> Step {
        Step::Readlink {
            path: self.such(|what| what == What::Link),
        }
    }

    pub(super) fn list(&mut self) -> Step {
        Step::List { path: self.dir() }
    }

    pub(super) fn read_file(&mut self) -> Step {
        Step::ReadFile { path: self.file() }
    }

    pub(super) fn truncate(&mut self) -> Step {
        Step::Truncate {
            path: self.file(),
            len: self.at(),
        }
    }

    pub(super) fn chmod(&mut self) -> Step {
        Step::Chmod {
            path: self.path(),
            mode: self.mode(),
        }
    }

    pub(super) fn chown(&mut self) -> Step {
        Step::Chown {
            path: self.path(),
            uid: self.id(),
            gid: self.id(),
            last: self.last(),
        }
    }

    pub(super) fn utimes(&mut self) -> Step {
        Step::Utimes {
            path: self.path(),
            atime: self.time(),
            mtime: self.time(),
            last: self.last(),
        }
    }

    pub(super) fn get_xattr(&mut self) -> Step {
        let (path, name) = self.mark();
        Step::GetXattr {
            path,
            name,
            last: self.last(),
        }
    }

    pub(super) fn set_xattr(&mut self) -> Step {
        let (name, value) = self.xattr();
        Step::SetXattr {
            path: self.path(),
            name,
            value,
            set: self.set(),
            last: self.last(),
        }
    }

    pub(super) fn remove_xattr(&mut self) -> Step {
        let (path, name) = self.mark();
        Step::RemoveXattr {
            path,
            name,
            last: self.last(),
        }
    }

    pub(super) fn list_xattr(&mut self) -> Step {
        Step::ListXattr {
            path: self.path(),
            last: self.last(),
        }
    }
}
