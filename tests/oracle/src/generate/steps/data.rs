// SPDX-License-Identifier: GPL-2.0-only

//! Steps on the data of open files.

use super::Generator;
use crate::step::*;
use crate::text::Octal;

impl Generator {
    pub(super) fn open(&mut self) -> Step {
        let slot = self.random.below(SLOTS);
        if self.random.chance(20) {
            let flags = vec![Open::Directory];
            return Step::Open {
                slot,
                path: self.dir(),
                flags,
                mode: Octal(0),
            };
        }
        let mut flags = match self.random.below(10) {
            0..=2 => vec![],
            3 | 4 => vec![Open::Write],
            _ => vec![Open::ReadWrite],
        };
        let rest = [
            (30, Open::Create),
            (8, Open::Excl),
            (12, Open::Trunc),
            (15, Open::Append),
            (3, Open::NoFollow),
            (4, Open::Direct),
            (3, Open::Sync),
            (2, Open::DSync),
            (4, Open::NoAtime),
            (2, Open::Path),
            (1, Open::Directory),
        ];
        for (percent, flag) in rest {
            if self.random.chance(percent) {
                flags.push(flag);
            }
        }
        let path = match self.random.below(10) {
            _ if flags.contains(&Open::Excl) => self.target(),
            0 if flags.contains(&Open::Create) => self.free(),
            0 | 1 => self.path(),
            _ => self.file(),
        };
        Step::Open {
            slot,
            path,
            flags,
            mode: self.mode(),
        }
    }

    /// Opens what the step needs in the slot.
    pub(super) fn open_for(&mut self, slot: Slot, step: &Step) -> Step {
        let (path, flags) = match step {
            Step::FList { .. } => (self.dir(), vec![Open::Directory]),
            _ if self.random.chance(20) => (self.file(), vec![]),
            _ => (self.file(), vec![Open::ReadWrite, Open::Create]),
        };
        Step::Open {
            slot,
            path,
            flags,
            mode: self.mode(),
        }
    }

    pub(super) fn open_tmpfile(&mut self) -> Step {
        let slot = self.random.below(SLOTS);
        let mut flags = vec![Open::ReadWrite, Open::Tmpfile];
        if self.random.chance(15) {
            flags.push(Open::Excl);
        }
        Step::Open {
            slot,
            path: self.dir(),
            flags,
            mode: self.mode(),
        }
    }

    pub(super) fn reopen(&mut self) -> Step {
        let flags = self
            .random
            .pick(&[vec![], vec![Open::Write], vec![Open::ReadWrite]])
            .clone();
        let to = self.random.below(SLOTS);
        Step::Reopen {
            slot: self.file_slot(),
            to,
            flags,
        }
    }

    pub(super) fn close(&mut self) -> Step {
        Step::Close { slot: self.slot() }
    }

    pub(super) fn write(&mut self) -> Step {
        Step::Write {
            slot: self.written_slot(),
            len: self.len(),
            fill: self.fill(),
        }
    }

    pub(super) fn write_at(&mut self) -> Step {
        let rwf = self.rwf();
        let slot = self.written_slot();
        Step::WriteAt {
            slot,
            at: self.at(),
            len: self.len(),
            fill: self.fill(),
            rwf,
        }
    }

    pub(super) fn read(&mut self) -> Step {
        Step::Read {
            slot: self.file_slot(),
            len: self.len(),
        }
    }

    pub(super) fn read_at(&mut self) -> Step {
        Step::ReadAt {
            slot: self.file_slot(),
            at: self.at(),
            len: self.len(),
            rwf: self.rwf(),
        }
    }

    pub(super) fn seek(&mut self) -> Step {
        let from = *self.random.pick(&[
            From::Start,
            From::Current,
            From::End,
            From::Data,
            From::Hole,
        ]);
        // A directory is only ever read from its start.
        let by = if from == From::Current {
            0
        } else {
            self.at() as i64
        };
        Step::Seek {
            slot: self.slot(),
            from,
            by,
        }
    }

    pub(super) fn ftruncate(&mut self) -> Step {
        Step::FTruncate {
            slot: self.written_slot(),
            len: self.at(),
        }
    }

    pub(super) fn allocate(&mut self) -> Step {
        // Some ways want whole blocks.
        let (at, len) = if self.random.chance(50) {
            let blocks = 1 + self.random.below(3) as u64;
            (4096 * self.random.below(3) as u64, 4096 * blocks)
        } else {
            (self.at(), self.len() as u64)
        };
        Step::Allocate {
            slot: self.written_slot(),
            how: self.alloc(),
            at,
            len,
        }
    }

    pub(super) fn alloc(&mut self) -> Alloc {
        let hows = [
            Alloc::Plain,
            Alloc::Keep,
            Alloc::Punch,
            Alloc::Zero,
            Alloc::ZeroKeep,
            Alloc::Collapse,
            Alloc::Insert,
            Alloc::Unshare,
            Alloc::WriteZeroes,
        ];
        *self.random.pick(&hows)
    }

    pub(super) fn copy_range(&mut self) -> Step {
        let (slot, to) = (self.file_slot(), self.written_slot());
        Step::CopyRange {
            slot,
            at: self.at(),
            to,
            to_at: self.at(),
            len: self.len(),
        }
    }

    pub(super) fn send_file(&mut self) -> Step {
        Step::SendFile {
            slot: self.file_slot(),
            to: self.written_slot(),
            len: self.len(),
        }
    }

    pub(super) fn clone(&mut self) -> Step {
        Step::Clone {
            slot: self.file_slot(),
            to: self.written_slot(),
        }
    }

    pub(super) fn clone_range(&mut self) -> Step {
        let (slot, to) = (self.file_slot(), self.written_slot());
        let len = *self.random.pick(&[0, 4096, 8192]);
        let places = [0, 0, 4096, 8192, 100];
        Step::CloneRange {
            slot,
            at: *self.random.pick(&places),
            to,
            to_at: *self.random.pick(&places),
            len,
        }
    }

    pub(super) fn dedupe(&mut self) -> Step {
        let (slot, to) = (self.file_slot(), self.written_slot());
        Step::Dedupe {
            slot,
            at: 0,
            to,
            to_at: 0,
            len: 4096,
        }
    }
}
