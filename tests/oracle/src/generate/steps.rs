// SPDX-License-Identifier: GPL-2.0-only

//! Steps. They name what is likely to be there, for else most of them would only fail.

mod data;
mod open;
mod paths;

use super::DIRS;
use crate::random::Random;
use crate::script::Setup;
use crate::step::*;
use crate::text::Bytes;
use crate::text::Octal;

const LENGTHS: [usize; 9] = [0, 1, 10, 100, 4095, 4096, 5000, 8192, 20_000];
const PLACES: [u64; 9] = [0, 0, 0, 1, 100, 4096, 4097, 8192, 60_000];
const MODES: [u32; 10] = [
    0o644, 0o666, 0o600, 0o755, 0o777, 0o4755, 0o2775, 0o1777, 0o000, 0o6711,
];

struct Generator {
    random: Random,
    /// What overlay's own attributes begin with.
    private: &'static str,
    /// Paths that layers have or steps have made.
    known: Vec<String>,
    /// What was opened last in each slot: whether it was meant to be a directory.
    slots: [Option<bool>; SLOTS],
    root_only: bool,
}

type Make = fn(&mut Generator) -> Step;

pub fn steps(
    random: &mut Random,
    setup: &Setup,
    known: Vec<String>,
    count: usize,
) -> Vec<(User, Step)> {
    let root_only = random.chance(50);
    let mut generator = Generator {
        random: Random::new(random.next()),
        private: setup.private_prefix(),
        known,
        slots: [None; SLOTS],
        root_only,
    };
    (0..count).map(|_| generator.one()).collect()
}

/// How often each kind of step is made.
const WEIGHTS: &[(usize, Make)] = &[
    (30, Generator::create),
    (28, Generator::mkdir),
    (10, Generator::mknod),
    (10, Generator::symlink),
    (22, Generator::link),
    (6, Generator::link_slot),
    (40, Generator::unlink),
    (24, Generator::rmdir),
    (60, Generator::rename),
    (22, Generator::stat),
    (4, Generator::access),
    (4, Generator::readlink),
    (14, Generator::list),
    (10, Generator::read_file),
    (14, Generator::truncate),
    (18, Generator::chmod),
    (14, Generator::chown),
    (10, Generator::utimes),
    (6, Generator::get_xattr),
    (18, Generator::set_xattr),
    (10, Generator::remove_xattr),
    (6, Generator::list_xattr),
    (75, Generator::open),
    (6, Generator::open_tmpfile),
    (6, Generator::reopen),
    (6, Generator::close),
    (24, Generator::write),
    (16, Generator::write_at),
    (10, Generator::read),
    (8, Generator::read_at),
    (8, Generator::seek),
    (8, Generator::ftruncate),
    (10, Generator::allocate),
    (8, Generator::copy_range),
    (4, Generator::send_file),
    (4, Generator::clone),
    (3, Generator::clone_range),
    (2, Generator::dedupe),
    (8, Generator::map_write),
    (6, Generator::map_read),
    (5, Generator::map_keep),
    (5, Generator::map_peek),
    (5, Generator::map_poke),
    (12, Generator::fstat),
    (5, Generator::fchmod),
    (4, Generator::fchown),
    (4, Generator::futimes),
    (3, Generator::fget_xattr),
    (5, Generator::fset_xattr),
    (3, Generator::fremove_xattr),
    (3, Generator::flist_xattr),
    (4, Generator::get_attr),
    (8, Generator::set_attr),
    (4, Generator::set_fl),
    (4, Generator::fsync),
    (2, Generator::fdatasync),
    (1, Generator::syncfs),
    (8, Generator::flist),
    (5, |_| Step::Remount),
];

impl Generator {
    fn one(&mut self) -> (User, Step) {
        let index = self
            .random
            .weighted(WEIGHTS.iter().map(|(weight, _)| *weight));
        let step = WEIGHTS[index].1(self);
        self.learn(&step);
        let user = match self.random.below(10) {
            _ if self.root_only => User::Root,
            0..=4 => User::Root,
            5..=7 => User::Alice,
            _ => User::Bob,
        };
        (user, step)
    }

    /// Takes note of what the step makes, as if it were sure to succeed.
    fn learn(&mut self, step: &Step) {
        match step {
            Step::Create { path, .. }
            | Step::Mkdir { path, .. }
            | Step::Mknod { path, .. }
            | Step::Symlink { path, .. }
            | Step::Link { to: path, .. }
            | Step::LinkSlot { to: path, .. } => self.known.push(path.clone()),
            Step::Rename { from, to, .. } => {
                let inside = format!("{from}/");
                let moved: Vec<_> = self
                    .known
                    .iter()
                    .filter_map(|path| path.strip_prefix(&inside))
                    .map(|rest| format!("{to}/{rest}"))
                    .filter(|path| path.len() < 40)
                    .collect();
                self.known.extend(moved);
                self.known.push(to.clone());
            }
            Step::Open {
                slot, path, flags, ..
            } => {
                if flags.contains(&Open::Create) {
                    self.known.push(path.clone());
                }
                self.slots[*slot] = Some(flags.contains(&Open::Directory));
            }
            Step::Remount => self.slots = [None; SLOTS],
            _ => {}
        }
    }

    /// A path that may be there.
    fn path(&mut self) -> String {
        if self.random.chance(80) && !self.known.is_empty() {
            return self.random.pick(&self.known).clone();
        }
        self.fresh()
    }

    /// A path that may be free.
    fn fresh(&mut self) -> String {
        let slot = self.random.below(SLOTS);
        if self.slots[slot] == Some(true) && self.random.chance(70) {
            return format!("@{slot}/{}", super::leaf(&mut self.random));
        }
        super::path(&mut self.random)
    }

    /// A path to make something at: free, or taken in any way.
    fn target(&mut self) -> String {
        if self.random.chance(35) {
            self.path()
        } else {
            self.fresh()
        }
    }

    /// A path that may be a directory.
    fn dir(&mut self) -> String {
        let dirs: Vec<_> = self
            .known
            .iter()
            .filter(|path| DIRS.iter().any(|dir| path.ends_with(dir)))
            .collect();
        if dirs.is_empty() || self.random.chance(10) {
            return if self.random.chance(50) {
                ".".to_owned()
            } else {
                self.path()
            };
        }
        (*self.random.pick(&dirs)).clone()
    }

    /// A slot that something is open in, if there is one.
    fn slot(&mut self) -> Slot {
        let used: Vec<_> = (0..SLOTS)
            .filter(|slot| self.slots[*slot].is_some())
            .collect();
        if used.is_empty() || self.random.chance(2) {
            return self.random.below(SLOTS);
        }
        *self.random.pick(&used)
    }

    /// A slot that a file is open in, if there is one.
    fn file_slot(&mut self) -> Slot {
        let used: Vec<_> = (0..SLOTS)
            .filter(|slot| self.slots[*slot] == Some(false))
            .collect();
        if used.is_empty() || self.random.chance(2) {
            return self.slot();
        }
        *self.random.pick(&used)
    }

    fn mode(&mut self) -> Octal {
        Octal(*self.random.pick(&MODES))
    }

    fn last(&mut self) -> Last {
        if self.random.chance(75) {
            Last::Follow
        } else {
            Last::NoFollow
        }
    }

    fn at(&mut self) -> u64 {
        *self.random.pick(&PLACES)
    }

    fn len(&mut self) -> usize {
        *self.random.pick(&LENGTHS)
    }

    fn fill(&mut self) -> u8 {
        self.random.below(250) as u8
    }

    fn id(&mut self) -> Option<u32> {
        *self.random.pick(&[None, Some(0), Some(1000), Some(1001)])
    }

    fn time(&mut self) -> Time {
        match self.random.below(4) {
            0 => Time::Now,
            1 => Time::Omit,
            _ => Time::Age(self.random.below(200_000) as u32),
        }
    }

    fn set(&mut self) -> Set {
        *self
            .random
            .pick(&[Set::Any, Set::Any, Set::Any, Set::Create, Set::Replace])
    }

    fn xattr(&mut self) -> (String, Bytes) {
        let private = self.private;
        let plain = |name: &str, value: &[u8]| (name.to_owned(), Bytes::from(value));
        match self.random.below(14) {
            0 | 1 => plain("user.a", b"2"),
            2 => plain("user.b", &[b'w'; 300]),
            3 => plain("user.empty", b""),
            4 => plain("trusted.t", b"u"),
            5 => plain("security.capability", &super::capability()),
            6 | 7 => plain("system.posix_acl_access", &super::acl(&mut self.random)),
            8 => plain("system.posix_acl_default", &super::acl(&mut self.random)),
            9 => (format!("{private}opaque"), Bytes::from(&b"y"[..])),
            10 => (format!("{private}overlay.kept"), Bytes::from(&b"n"[..])),
            11 => plain("user.overlay.other", b"p"),
            12 => plain("security.other", b"s"),
            _ => plain("nonsense", b"n"),
        }
    }
}
