// SPDX-License-Identifier: GPL-2.0-only

//! Steps that move data in less common ways, and steps on the mount.

use super::Generator;
use super::Mount;
use super::Opened;
use crate::step::*;

impl Generator {
    pub(super) fn write_parts(&mut self) -> Step {
        Step::WriteParts {
            slot: self.written_slot(),
            at: self.at(),
            lens: self.lens(),
            fill: self.fill(),
        }
    }

    pub(super) fn read_parts(&mut self) -> Step {
        Step::ReadParts {
            slot: self.file_slot(),
            at: self.at(),
            lens: self.lens(),
        }
    }

    pub(super) fn queued(&mut self) -> Step {
        let by = *self.random.pick(&[Queue::Aio, Queue::Uring]);
        let ask = match self.random.below(12) {
            0..=2 => Ask::Read,
            3..=8 => Ask::Write(self.fill()),
            9 => Ask::Sync,
            10 => Ask::DataSync,
            _ => Ask::Allocate(self.alloc()),
        };
        let slot = match ask {
            Ask::Write(_) | Ask::Allocate(_) => self.written_slot(),
            _ => self.file_slot(),
        };
        Step::Queued {
            slot,
            by,
            ask,
            at: self.at(),
            len: self.len(),
            rwf: self.rwf(),
        }
    }

    pub(super) fn splice(&mut self) -> Step {
        let (slot, to) = (self.file_slot(), self.written_slot());
        Step::Splice {
            slot,
            at: self.place(),
            to,
            to_at: self.place(),
            len: self.len(),
        }
    }

    pub(super) fn map_sync(&mut self) -> Step {
        Step::MapSync {
            map: self.random.below(MAPS),
        }
    }

    pub(super) fn sync_range(&mut self) -> Step {
        Step::SyncRange {
            slot: self.file_slot(),
            at: self.at(),
            len: self.len() as u64,
        }
    }

    pub(super) fn advise(&mut self) -> Step {
        let advice = [Advice::Random, Advice::WillNeed, Advice::DontNeed];
        Step::Advise {
            slot: self.file_slot(),
            at: self.at(),
            len: self.len() as u64,
            advice: *self.random.pick(&advice),
        }
    }

    /// As long as something is open for writing the mount stays writable, which is worth a try as well.
    pub(super) fn change_mount(&mut self) -> Step {
        if self.random.chance(20) {
            return Step::MakeReadOnly;
        }
        self.mount = Mount::Closing;
        self.close_or_make_read_only()
    }

    pub(super) fn close_or_make_read_only(&mut self) -> Step {
        let is_written =
            |opened: &Option<Opened>| opened.as_ref().is_some_and(|opened| opened.can_write);
        match self.slots.iter().position(is_written) {
            Some(slot) => {
                self.slots[slot] = None;
                Step::Close { slot }
            }
            None => Step::MakeReadOnly,
        }
    }
}
