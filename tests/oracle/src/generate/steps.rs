// SPDX-License-Identifier: GPL-2.0-only

//! Steps. They name what is likely to be there, for else most of them would only fail.

mod data;
mod fields;
mod open;
mod paths;
mod queued;

use super::tree::Tree;
use super::tree::What;
use crate::random::Random;
use crate::script::Layer;
use crate::script::Object;
use crate::script::Setup;
use crate::script::Xattr;
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
    tree: Tree,
    /// Which attributes there may be: paths and names.
    marks: Vec<(String, String)>,
    slots: [Option<Opened>; SLOTS],
    /// Whether there is such a mapping.
    maps: [bool; MAPS],
    /// What the other users have open, if they have processes of their own.
    apart: Option<[Held; 2]>,
    root_only: bool,
    mount: Mount,
}

/// What one process has open.
type Held = ([Option<Opened>; SLOTS], [bool; MAPS]);

/// What becomes of the mount next.
enum Mount {
    Writable,
    /// It is to be read-only as soon as nothing is open for writing.
    Closing,
    /// It is made writable after so many steps.
    ReadOnly(usize),
}

/// What was opened in a slot.
struct Opened {
    path: String,
    is_dir: bool,
    can_write: bool,
}

type Make = fn(&mut Generator) -> Step;

pub fn steps(
    random: &mut Random,
    setup: &Setup,
    objects: &[(Layer, Object)],
    count: usize,
) -> Vec<(User, Step)> {
    let root_only = random.chance(50);
    let mut generator = Generator {
        random: Random::new(random.next()),
        private: setup.private_prefix(),
        tree: Tree::new(setup, objects),
        marks: objects
            .iter()
            .flat_map(|(_, object)| {
                let mark = |xattr: &Xattr| (object.path.clone(), xattr.name.clone());
                object.xattrs.iter().map(mark)
            })
            .collect(),
        slots: Default::default(),
        maps: Default::default(),
        apart: (setup.processes && !root_only).then(Default::default),
        root_only,
        mount: Mount::Writable,
    };
    (0..count).map(|_| generator.next()).collect()
}

fn join(parent: &str, name: &str) -> String {
    match parent {
        "." => name.to_owned(),
        _ => format!("{parent}/{name}"),
    }
}

/// How often each kind of step is made.
const WEIGHTS: &[(usize, Make)] = &[
    (30, Generator::create),
    (28, Generator::mkdir),
    (8, Generator::mknod),
    (10, Generator::symlink),
    (22, Generator::link),
    (6, Generator::link_slot),
    (34, Generator::unlink),
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
    (5, Generator::write_parts),
    (10, Generator::read),
    (8, Generator::read_at),
    (3, Generator::read_parts),
    (16, Generator::queued),
    (8, Generator::seek),
    (8, Generator::ftruncate),
    (10, Generator::allocate),
    (8, Generator::copy_range),
    (4, Generator::send_file),
    (6, Generator::splice),
    (5, Generator::clone),
    (5, Generator::clone_range),
    (4, Generator::dedupe),
    (8, Generator::map_write),
    (8, Generator::map_read),
    (6, Generator::map_keep),
    (10, Generator::map_peek),
    (8, Generator::map_poke),
    (2, Generator::map_sync),
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
    (3, Generator::get_fields),
    (3, Generator::set_fields),
    (3, Generator::get_fields_at),
    (4, Generator::set_fields_at),
    (4, Generator::statx),
    (4, Generator::set_fl),
    (4, Generator::fsync),
    (2, Generator::fdatasync),
    (1, Generator::syncfs),
    (2, Generator::sync_range),
    (2, Generator::advise),
    (8, Generator::flist),
    (5, |_| Step::Remount),
    (5, Generator::change_mount),
    (2, |_| Step::Freeze),
];

impl Generator {
    fn next(&mut self) -> (User, Step) {
        let Some(mut apart) = self.apart.take() else {
            return self.one();
        };
        // Who has a process of its own works on what is open there.
        let user = match self.random.below(10) {
            0..=4 => User::Root,
            5..=7 => User::Alice,
            _ => User::Bob,
        };
        let mut exchange = |generator: &mut Self| {
            let held = match user {
                User::Root => return,
                User::Alice => &mut apart[0],
                User::Bob => &mut apart[1],
            };
            std::mem::swap(&mut generator.slots, &mut held.0);
            std::mem::swap(&mut generator.maps, &mut held.1);
        };
        exchange(self);
        let (by_root, step) = self.one();
        exchange(self);
        if step == Step::Remount {
            apart = Default::default();
            self.slots = Default::default();
            self.maps = Default::default();
        }
        self.apart = Some(apart);
        let of_mount = matches!(step, Step::MakeReadOnly | Step::MakeWritable | Step::Freeze);
        (if of_mount { by_root } else { user }, step)
    }

    fn one(&mut self) -> (User, Step) {
        let step = match self.mount {
            Mount::Writable => self.any(),
            Mount::Closing => self.close_or_make_read_only(),
            Mount::ReadOnly(0) => Step::MakeWritable,
            Mount::ReadOnly(left) => {
                self.mount = Mount::ReadOnly(left - 1);
                self.any()
            }
        };
        // What is not possible now makes nothing.
        let learns = match self.mount {
            Mount::ReadOnly(_) => matches!(
                step,
                Step::Open { .. } | Step::MakeReadOnly | Step::MakeWritable | Step::Remount
            ),
            _ => true,
        };
        if learns {
            self.learn(&step);
        }
        let of_mount = matches!(step, Step::MakeReadOnly | Step::MakeWritable | Step::Freeze);
        let user = match self.random.below(10) {
            _ if self.root_only => User::Root,
            1..=9 if of_mount => User::Root,
            0..=4 => User::Root,
            5..=7 => User::Alice,
            _ => User::Bob,
        };
        (user, step)
    }

    fn any(&mut self) -> Step {
        let weights = WEIGHTS.iter().map(|(weight, _)| *weight);
        let step = WEIGHTS[self.random.weighted(weights)].1(self);
        // What a step works on is made first, for the most part.
        let step = match step {
            Step::MapPeek { map, .. } | Step::MapPoke { map, .. } | Step::MapSync { map }
                if !self.maps[map] && self.random.chance(85) =>
            {
                self.map_keep_as(map)
            }
            step => step,
        };
        let empty = step
            .slots()
            .into_iter()
            .find(|slot| self.slots[*slot].is_none());
        match empty {
            Some(slot) if self.random.chance(85) => self.open_for(slot, &step),
            _ => step,
        }
    }

    /// Takes note of what the step makes, as if it were sure to succeed.
    fn learn(&mut self, step: &Step) {
        match step {
            Step::Mkdir { path, .. } => self.add(path, What::Dir),
            Step::Create { path, .. } | Step::LinkSlot { to: path, .. } => {
                self.add(path, What::File)
            }
            Step::Symlink { path, .. } => self.add(path, What::Link),
            Step::Mknod { path, node, .. } => {
                let is_file = *node == Node::File;
                self.add(path, if is_file { What::File } else { What::Node });
            }
            Step::Link { from, to, .. } => {
                if let Some(what) = self
                    .tree
                    .get(&self.resolve(from))
                    .filter(|what| !what.is_dir())
                {
                    self.add(to, what);
                }
            }
            Step::Unlink { path } => self.tree.unlink(&self.resolve(path)),
            Step::Rmdir { path } => self.tree.rmdir(&self.resolve(path)),
            Step::Rename { from, to, how } => {
                let (from, to) = (self.resolve(from), self.resolve(to));
                match how {
                    How::Exchange => self.tree.exchange(&from, &to),
                    How::NoReplace if self.tree.get(&to).is_some() => {}
                    How::Plain | How::NoReplace => self.tree.rename(&from, &to),
                    How::Whiteout => {}
                }
            }
            Step::Open {
                slot, path, flags, ..
            } => self.learn_open(*slot, path, flags),
            Step::Reopen { slot, to, flags } => {
                let can_write = flags.contains(&Open::Write) || flags.contains(&Open::ReadWrite);
                if let Some(opened) = &self.slots[*slot] {
                    let (path, is_dir) = (opened.path.clone(), opened.is_dir);
                    self.slots[*to] = Some(Opened {
                        path,
                        is_dir,
                        can_write,
                    });
                }
            }
            Step::Close { slot } => self.slots[*slot] = None,
            Step::SetXattr { path, name, .. } => {
                let path = self.resolve(path);
                self.marks.push((path, name.clone()));
            }
            Step::FSetXattr { slot, name, .. } => {
                if let Some(opened) = &self.slots[*slot] {
                    self.marks.push((opened.path.clone(), name.clone()));
                }
            }
            Step::MapKeep { slot, map, .. } => self.maps[*map] |= self.slots[*slot].is_some(),
            Step::Remount => {
                self.slots = Default::default();
                self.maps = Default::default();
                self.mount = Mount::Writable;
            }
            Step::MakeReadOnly => self.mount = Mount::ReadOnly(1 + self.random.below(5)),
            Step::MakeWritable => self.mount = Mount::Writable,
            _ => {}
        }
    }

    fn learn_open(&mut self, slot: Slot, path: &str, flags: &[Open]) {
        let path = self.resolve(path);
        if flags.contains(&Open::Create) {
            self.tree.add(&path, What::File);
        }
        let is_dir =
            self.tree.get(&path).is_some_and(What::is_dir) && !flags.contains(&Open::Tmpfile);
        let can_write = flags.contains(&Open::Write) || flags.contains(&Open::ReadWrite);
        if self.tree.get(&path).is_some() {
            self.slots[slot] = Some(Opened {
                path,
                is_dir,
                can_write,
            });
        }
    }

    fn add(&mut self, path: &str, what: What) {
        let path = self.resolve(path);
        self.tree.add(&path, what);
    }

    /// The path that a path leads to that begins in a slot.
    fn resolve(&self, path: &str) -> String {
        let in_slot = path.strip_prefix('@').and_then(|rest| rest.split_once('/'));
        let Some((slot, name)) = in_slot else {
            return path.to_owned();
        };
        let slot = slot
            .parse()
            .ok()
            .and_then(|slot: Slot| self.slots.get(slot)?.as_ref());
        slot.map_or_else(String::new, |opened| join(&opened.path, name))
    }

    /// The path of such an object, or of any that may be there or not.
    fn such(&mut self, wanted: impl Fn(What) -> bool) -> String {
        let paths = self.tree.paths(wanted);
        if paths.is_empty() || self.random.chance(8) {
            return super::path(&mut self.random);
        }
        (*self.random.pick(&paths)).to_owned()
    }

    /// A path that is there.
    fn path(&mut self) -> String {
        self.such(|_| true)
    }

    fn file(&mut self) -> String {
        self.such(|what| what == What::File)
    }

    fn not_dir(&mut self) -> String {
        self.such(|what| !what.is_dir())
    }

    fn dir(&mut self) -> String {
        if self.random.chance(10) {
            return ".".to_owned();
        }
        self.such(What::is_dir)
    }

    /// A path that is free, in a directory that is there.
    fn free(&mut self) -> String {
        let slot = self.random.below(SLOTS);
        let is_dir = self.slots[slot]
            .as_ref()
            .is_some_and(|opened| opened.is_dir);
        let parent = match () {
            () if is_dir && self.random.chance(40) => format!("@{slot}"),
            () if self.random.chance(25) => ".".to_owned(),
            () => self.such(What::is_dir),
        };
        let mut path = String::new();
        for _ in 0..5 {
            path = join(&parent, super::leaf(&mut self.random));
            if self.tree.get(&self.resolve(&path)).is_none() {
                break;
            }
        }
        path
    }

    /// A path to make something at: free, or taken in any way.
    fn target(&mut self) -> String {
        if self.random.chance(20) {
            self.path()
        } else {
            self.free()
        }
    }

    /// A slot that holds such a thing, if there is one.
    fn slot_with(&mut self, wanted: impl Fn(&Opened) -> bool) -> Slot {
        let slots = self.slots.iter().enumerate();
        let used: Vec<_> = slots
            .filter(|(_, opened)| opened.as_ref().is_some_and(&wanted))
            .map(|(slot, _)| slot)
            .collect();
        if used.is_empty() || self.random.chance(3) {
            return self.random.below(SLOTS);
        }
        *self.random.pick(&used)
    }

    /// A slot that something is open in.
    fn slot(&mut self) -> Slot {
        self.slot_with(|_| true)
    }

    /// A slot that a directory is open in.
    fn dir_slot(&mut self) -> Slot {
        self.slot_with(|opened| opened.is_dir)
    }

    /// A slot that a file is open in.
    fn file_slot(&mut self) -> Slot {
        self.slot_with(|opened| !opened.is_dir)
    }

    /// A slot that a file is open in for writing.
    fn written_slot(&mut self) -> Slot {
        if self.random.chance(10) {
            return self.file_slot();
        }
        self.slot_with(|opened| !opened.is_dir && opened.can_write)
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
        // Nobody is the last one, which not all mounts can show.
        let ids = [
            None,
            Some(0),
            Some(0),
            Some(1000),
            Some(1000),
            Some(1001),
            Some(5000),
        ];
        *self.random.pick(&ids)
    }

    fn rwf(&mut self) -> Rwf {
        // Overlays do not take the last four, so that these never depend on what is in the page cache.
        let rwfs = [
            Rwf::Append,
            Rwf::NoAppend,
            Rwf::Sync,
            Rwf::DSync,
            Rwf::HighPriority,
            Rwf::NoWait,
            Rwf::Atomic,
            Rwf::DontCache,
            Rwf::NoSignal,
        ];
        if self.random.chance(40) {
            return Rwf::None;
        }
        *self.random.pick(&rwfs)
    }

    /// How long several buffers are.
    fn lens(&mut self) -> Vec<usize> {
        (0..1 + self.random.below(4)).map(|_| self.len()).collect()
    }

    /// A place, or the position of a descriptor.
    fn place(&mut self) -> Option<u64> {
        self.random.chance(60).then(|| self.at())
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

    /// A path and an attribute's name, for the most part of those that there may be.
    fn mark(&mut self) -> (String, String) {
        if !self.marks.is_empty() && self.random.chance(70) {
            return self.random.pick(&self.marks).clone();
        }
        (self.path(), self.xattr().0)
    }

    /// The name of an attribute of what is open in the slot.
    fn mark_of(&mut self, slot: Slot) -> String {
        let names: Vec<_> = match &self.slots[slot] {
            Some(opened) => {
                let its = self.marks.iter().filter(|(path, _)| *path == opened.path);
                its.map(|(_, name)| name.clone()).collect()
            }
            None => Vec::new(),
        };
        match names.is_empty() {
            true => self.xattr().0,
            false => self.random.pick(&names).clone(),
        }
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
