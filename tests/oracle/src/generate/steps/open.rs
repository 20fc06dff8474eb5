// SPDX-License-Identifier: GPL-2.0-only

//! Steps on mappings and on the attributes of open files.

use super::Generator;
use crate::step::*;

impl Generator {
    pub(super) fn map_write(&mut self) -> Step {
        let slot = self.written_slot();
        Step::MapWrite {
            slot,
            at: self.at(),
            len: self.len(),
            fill: self.fill(),
        }
    }

    pub(super) fn map_read(&mut self) -> Step {
        Step::MapRead {
            slot: self.file_slot(),
            at: self.at(),
            len: self.len(),
        }
    }

    pub(super) fn map_keep(&mut self) -> Step {
        let map = self.random.below(MAPS);
        self.map_keep_as(map)
    }

    pub(super) fn map_keep_as(&mut self, map: usize) -> Step {
        let how = *self.random.pick(&[Map::Read, Map::Write, Map::Private]);
        Step::MapKeep {
            slot: self.file_slot(),
            map,
            how,
        }
    }

    pub(super) fn map_peek(&mut self) -> Step {
        let map = self.random.below(MAPS);
        Step::MapPeek {
            map,
            at: self.at() % 4096,
            len: self.len() % 4097,
        }
    }

    pub(super) fn map_poke(&mut self) -> Step {
        let map = self.random.below(MAPS);
        Step::MapPoke {
            map,
            at: self.at() % 4096,
            len: self.len() % 101,
            fill: self.fill(),
        }
    }

    pub(super) fn fstat(&mut self) -> Step {
        Step::FStat { slot: self.slot() }
    }

    pub(super) fn fchmod(&mut self) -> Step {
        Step::FChmod {
            slot: self.slot(),
            mode: self.mode(),
        }
    }

    pub(super) fn fchown(&mut self) -> Step {
        Step::FChown {
            slot: self.slot(),
            uid: self.id(),
            gid: self.id(),
        }
    }

    pub(super) fn futimes(&mut self) -> Step {
        Step::FUtimes {
            slot: self.slot(),
            atime: self.time(),
            mtime: self.time(),
        }
    }

    pub(super) fn fget_xattr(&mut self) -> Step {
        let slot = self.slot();
        Step::FGetXattr {
            slot,
            name: self.mark_of(slot),
        }
    }

    pub(super) fn fset_xattr(&mut self) -> Step {
        let (name, value) = self.xattr();
        Step::FSetXattr {
            slot: self.slot(),
            name,
            value,
            set: self.set(),
        }
    }

    pub(super) fn fremove_xattr(&mut self) -> Step {
        let slot = self.slot();
        Step::FRemoveXattr {
            slot,
            name: self.mark_of(slot),
        }
    }

    pub(super) fn flist_xattr(&mut self) -> Step {
        Step::FListXattr { slot: self.slot() }
    }

    pub(super) fn get_attr(&mut self) -> Step {
        Step::GetAttr { slot: self.slot() }
    }

    pub(super) fn set_fl(&mut self) -> Step {
        let all = [
            vec![],
            vec![Open::Append],
            vec![Open::Direct],
            vec![Open::NoAtime],
        ];
        let flags = self.random.pick(&all).clone();
        Step::SetFl {
            slot: self.file_slot(),
            flags,
        }
    }

    pub(super) fn fsync(&mut self) -> Step {
        Step::FSync { slot: self.slot() }
    }

    pub(super) fn fdatasync(&mut self) -> Step {
        Step::FDataSync { slot: self.slot() }
    }

    pub(super) fn syncfs(&mut self) -> Step {
        Step::SyncFs { slot: self.slot() }
    }

    pub(super) fn flist(&mut self) -> Step {
        Step::FList {
            slot: self.dir_slot(),
        }
    }
}
