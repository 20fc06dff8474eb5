// SPDX-License-Identifier: GPL-2.0-only

//! Steps that move data in less common ways: in parts, by queues, through pipes.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::splice;
use rustix::pipe::SpliceFlags;

use super::Session;
use crate::data;
use crate::step::Ask;
use crate::step::Queue;
use crate::step::Rwf;
use crate::step::Step;
use crate::sys::control;
use crate::sys::queue::Request;
use crate::sys::SysResult;

impl Session<'_> {
    pub(super) fn step_data_paths(&mut self, step: &Step) -> Option<SysResult<String>> {
        let nothing = |()| String::new();
        Some(match step {
            Step::WriteParts {
                slot,
                at,
                lens,
                fill,
            } => self.slot(*slot).and_then(|fd| {
                let parts: Vec<_> = lens
                    .iter()
                    .zip(0..)
                    .map(|(len, index)| data::pattern(*len, fill.wrapping_add(index)))
                    .collect();
                let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part.get())).collect();
                rustix::io::pwritev(fd, &slices, *at).map(|count| count.to_string())
            }),
            Step::ReadParts { slot, at, lens } => self
                .slot(*slot)
                .and_then(|fd| data::read_parts(fd, *at, lens, Rwf::None.flags())),
            Step::Queued {
                slot,
                by,
                ask,
                at,
                len,
                rwf,
            } => self
                .slot(*slot)
                .and_then(|fd| self.queued(fd, *by, *ask, (*at, *len), *rwf)),
            Step::Splice {
                slot,
                at,
                to,
                to_at,
                len,
            } => self
                .two(*slot, *to)
                .and_then(|(from, to)| through_pipe(from, *at, to, *to_at, *len)),
            Step::SyncRange { slot, at, len } => self
                .slot(*slot)
                .and_then(|fd| control::sync_range(fd, *at, *len))
                .map(nothing),
            Step::Advise {
                slot,
                at,
                len,
                advice,
            } => self
                .slot(*slot)
                .and_then(|fd| {
                    let len = std::num::NonZeroU64::new(*len);
                    rustix::fs::fadvise(fd, *at, len, advice.raw())
                })
                .map(nothing),
            _ => return None,
        })
    }

    fn queued(
        &self,
        fd: &OwnedFd,
        by: Queue,
        ask: Ask,
        (at, len): (u64, usize),
        rwf: Rwf,
    ) -> SysResult<String> {
        // A ring waits for the other end, whatever the flags of the descriptor say.
        let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
        if by == Queue::Uring && kind == FileType::Fifo {
            return Err(Errno::AGAIN);
        }
        let pattern;
        let mut room = data::aligned(if ask == Ask::Read { len } else { 0 });
        let request = match ask {
            Ask::Read => Request::Read(room.get_mut()),
            Ask::Write(fill) => {
                pattern = data::pattern(len, fill);
                Request::Write(pattern.get())
            }
            Ask::Sync => Request::Sync,
            Ask::DataSync => Request::DataSync,
            Ask::Allocate(how) => {
                let mode = how.flags().bits();
                let done = self.queues.allocate(fd, mode, at, len as u64);
                return done.map(|_| String::new());
            }
        };
        let flags = rwf.flags().bits();
        let count = match by {
            Queue::Aio => self.queues.aio(fd, at, flags, request),
            Queue::Uring => {
                self.asked_ring.set(true);
                self.queues.uring(fd, at, flags, request)
            }
        }?;
        Ok(match ask {
            Ask::Read => data::digest(room.get().get(..count).unwrap_or_default()),
            _ => count.to_string(),
        })
    }
}

/// Fills a pipe from one file, and empties it into another.
fn through_pipe(
    from: &OwnedFd,
    at: Option<u64>,
    to: &OwnedFd,
    to_at: Option<u64>,
    len: usize,
) -> SysResult<String> {
    let (mut at, mut to_at) = (at, to_at);
    let (output, input) = rustix::pipe::pipe()?;
    // Whatever the files are, nothing waits.
    let flags = SpliceFlags::NONBLOCK;
    let taken = splice(from, at.as_mut(), &input, None, len, flags)?;
    let mut given = 0;
    while given < taken {
        match splice(&output, None, to, to_at.as_mut(), taken - given, flags) {
            Ok(0) => break,
            Ok(count) => given += count,
            Err(error) => {
                return data::moved(
                    from,
                    to,
                    &format!("{taken} taken, {given} given, {error:?}"),
                );
            }
        }
    }
    data::moved(from, to, &format!("{taken} taken, {given} given"))
}
