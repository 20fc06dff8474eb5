// SPDX-License-Identifier: GPL-2.0-only

//! Runs steps on one mount, and says what came of each.

mod attributes;
mod data_paths;
mod fields;
mod mappings;
mod mount;
mod process;

use std::cell::Cell;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use rustix::fs::Access;
use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::IFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::SeekFrom;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::thread::set_thread_groups;
use rustix::thread::set_thread_res_gid;
use rustix::thread::set_thread_res_uid;
use rustix::thread::Gid;
use rustix::thread::Uid;

use self::mappings::Kept;
use self::process::Process;
use crate::data;
use crate::script::Backing;
use crate::script::Script;
use crate::side::Side;
use crate::stat;
use crate::step::open_flags;
use crate::step::From;
use crate::step::Node;
use crate::step::Queue;
use crate::step::Slot;
use crate::step::Step;
use crate::step::User;
use crate::step::MAPS;
use crate::step::SLOTS;
use crate::sys;
use crate::sys::queue::Queues;
use crate::sys::SysResult;

/// What came of a step, in a form that is the same on both sides if the behaviour is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub result: Result<String, Errno>,
    /// How what the step names has changed, if that was looked at.
    pub seen: String,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.result {
            Ok(text) if text.is_empty() => f.write_str("ok")?,
            Ok(text) => f.write_str(text)?,
            Err(error) => write!(f, "{}", errno_name(*error))?,
        }
        if !self.seen.is_empty() {
            write!(f, " [{}]", self.seen)?;
        }
        Ok(())
    }
}

fn errno_name(error: Errno) -> String {
    let text = format!("{error:?}");
    match text.strip_prefix("Errno::") {
        Some(name) => format!("E{name}"),
        None => text,
    }
}

/// What a script holds open on one mount.
pub struct Session<'a> {
    root: String,
    /// Where upper is on disk.
    upper: String,
    upper_on: Backing,
    queues: &'a Queues,
    /// Whether a ring was asked for something.
    asked_ring: Cell<bool>,
    slots: [Option<OwnedFd>; SLOTS],
    maps: [Option<Kept>; MAPS],
    user: User,
    /// In which the steps of some users are done.
    processes: Vec<Process>,
    /// File flags that upper's filesystem itself has set, and does not let go easily.
    lasting: IFlags,
}

impl<'a> Session<'a> {
    pub fn new(side: &Side<'_>, queues: &'a Queues) -> Self {
        let setup = &side.script.setup;
        // Whether the blocks of a file can be told without extents depends on the holes it has.
        const EXTENTS: u32 = 0x80000;
        Session {
            root: side.point.clone(),
            upper: side.upper().to_owned(),
            upper_on: setup.upper_on,
            queues,
            asked_ring: Cell::new(false),
            slots: Default::default(),
            maps: Default::default(),
            user: User::Root,
            processes: Vec::new(),
            lasting: match setup.upper_on {
                Backing::Ext4 => IFlags::from_bits_retain(EXTENTS),
                _ => IFlags::empty(),
            },
        }
    }

    /// Starts the processes that the script wants, while nothing is open yet on either side.
    pub fn start_processes(&mut self, side: &Side<'_>) {
        let script = side.script;
        let works = |wanted: User| script.steps.iter().any(|(user, _)| *user == wanted);
        for user in [User::Alice, User::Bob] {
            if script.setup.processes && works(user) {
                match Process::start(side, user) {
                    Ok(process) => self.processes.push(process),
                    Err(error) => panic!("cannot start a process of {user:?}: {error}"),
                }
            }
        }
    }

    /// Lets everything go, so that the mount can be unmounted.
    pub fn close(&mut self) {
        self.become_user(User::Root);
        self.processes.clear();
        self.slots = Default::default();
        self.maps = Default::default();
    }

    fn become_user(&mut self, user: User) {
        if self.user == user {
            return;
        }
        // These cannot fail for long: the saved id stays root's, and memory is all that may lack.
        let change = || -> SysResult<()> {
            set_thread_res_uid(None, Uid::ROOT, None)?;
            let gid = Gid::from_raw(user.uid());
            let groups: &[Gid] = match user {
                User::Bob => &[Gid::from_raw(1000)],
                _ => &[],
            };
            set_thread_groups(groups)?;
            set_thread_res_gid(None, gid, None)?;
            set_thread_res_uid(None, Uid::from_raw(user.uid()), None)
        };
        loop {
            match change() {
                Ok(()) => break,
                Err(Errno::NOMEM | Errno::AGAIN) => {}
                Err(error) => panic!("cannot become {user:?}: {error}"),
            }
        }
        self.user = user;
    }

    /// Does a step of the script, in the process of its user if there is one.
    pub fn run(&mut self, script: &Script, index: usize) -> Outcome {
        let setup = &script.setup;
        let Some((user, step)) = script.steps.get(index) else {
            panic!("there is no step {index}");
        };
        if let Some(process) = self.processes.iter_mut().find(|one| one.user == *user) {
            let by_ring = matches!(step, Step::Queued { by, .. } if *by == Queue::Uring);
            self.asked_ring.set(self.asked_ring.get() || by_ring);
            return process.run(index);
        }
        let before = if setup.watch {
            self.look(step)
        } else {
            Vec::new()
        };
        self.become_user(*user);
        let result = self.step(step);
        self.become_user(User::Root);
        let mut seen = String::new();
        if setup.watch {
            let after = self.look(step);
            let trust = stat::Trust {
                times: setup.upper_on.is_disk(),
                directory_numbers: setup.has_stable_numbers(),
                // With userxattr not all copies say what they were copied from.
                numbers: setup.has_stable_numbers() || !setup.has_option("userxattr"),
            };
            for (before, after) in before.iter().zip(&after) {
                stat::relate(&mut seen, before, after, trust);
            }
        }
        Outcome { result, seen }
    }

    /// Looks at what the step names, and at the directories that hold it.
    fn look(&self, step: &Step) -> Vec<Option<stat::Glance>> {
        let mut seen = Vec::new();
        for path in step.paths() {
            seen.push(stat::Glance::at(&self.path(path)));
            if let Some((parent, _)) = path.rsplit_once('/') {
                seen.push(stat::Glance::at(&self.path(parent)));
            } else {
                seen.push(stat::Glance::at(&self.root));
            }
        }
        for slot in step.slots() {
            seen.push(self.slot(slot).ok().and_then(stat::Glance::of));
        }
        seen
    }

    fn path(&self, path: &str) -> String {
        if let Some(rest) = path.strip_prefix('@') {
            let (slot, rest) = rest.split_once('/').unwrap_or((rest, ""));
            let fd = slot.parse().ok().and_then(|slot| self.slot(slot).ok());
            // An empty slot leads nowhere.
            let fd = fd.map_or(-1, AsRawFd::as_raw_fd);
            if rest.is_empty() {
                return format!("/proc/self/fd/{fd}");
            }
            return format!("/proc/self/fd/{fd}/{rest}");
        }
        format!("{}/{path}", self.root)
    }

    fn slot(&self, slot: Slot) -> SysResult<&OwnedFd> {
        self.slots
            .get(slot)
            .and_then(Option::as_ref)
            .ok_or(Errno::BADF)
    }

    fn put(&mut self, slot: Slot, fd: OwnedFd) -> SysResult<String> {
        *self.slots.get_mut(slot).ok_or(Errno::BADF)? = Some(fd);
        Ok(String::new())
    }

    fn step(&mut self, step: &Step) -> SysResult<String> {
        if let Some(result) = self.step_names(step) {
            return result;
        }
        if let Some(result) = self.step_paths(step) {
            return result;
        }
        if let Some(result) = self.step_io(step) {
            return result;
        }
        if let Some(result) = self.step_maps(step) {
            return result;
        }
        if let Some(result) = self.step_ranges(step) {
            return result;
        }
        if let Some(result) = self.step_data_paths(step) {
            return result;
        }
        if let Some(result) = self.step_fields(step) {
            return result;
        }
        if let Some(result) = self.step_mount(step) {
            return result;
        }
        self.step_attributes(step).unwrap_or(Err(Errno::NOSYS))
    }

    /// Steps that change names.
    fn step_names(&mut self, step: &Step) -> Option<SysResult<String>> {
        let done = match step {
            Step::Create { path, mode } => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::open(self.path(path), flags, Mode::from_raw_mode(mode.0)).map(drop)
            }
            Step::Mkdir { path, mode } => {
                rustix::fs::mkdir(self.path(path), Mode::from_raw_mode(mode.0))
            }
            Step::Mknod { path, node, mode } => {
                let (kind, device) = match node {
                    Node::File => (FileType::RegularFile, 0),
                    Node::Fifo => (FileType::Fifo, 0),
                    Node::Socket => (FileType::Socket, 0),
                    Node::Char(a, b) => (FileType::CharacterDevice, rustix::fs::makedev(*a, *b)),
                    Node::Block(a, b) => (FileType::BlockDevice, rustix::fs::makedev(*a, *b)),
                };
                rustix::fs::mknodat(
                    CWD,
                    self.path(path),
                    kind,
                    Mode::from_raw_mode(mode.0),
                    device,
                )
            }
            Step::Symlink { target, path } => rustix::fs::symlink(target.as_str(), self.path(path)),
            Step::Link { from, to, last } => {
                let flags = match last {
                    crate::step::Last::Follow => AtFlags::SYMLINK_FOLLOW,
                    crate::step::Last::NoFollow => AtFlags::empty(),
                };
                rustix::fs::linkat(CWD, self.path(from), CWD, self.path(to), flags)
            }
            Step::LinkSlot { slot, to } => self.slot(*slot).and_then(|fd| {
                let from = format!("/proc/self/fd/{}", fd.as_raw_fd());
                rustix::fs::linkat(CWD, from, CWD, self.path(to), AtFlags::SYMLINK_FOLLOW)
            }),
            Step::Unlink { path } => rustix::fs::unlink(self.path(path)),
            Step::Rmdir { path } => rustix::fs::rmdir(self.path(path)),
            Step::Rename { from, to, how } => {
                rustix::fs::renameat_with(CWD, self.path(from), CWD, self.path(to), how.flags())
            }
            _ => return None,
        };
        Some(done.map(|()| String::new()))
    }

    /// Steps on what a path leads to.
    fn step_paths(&mut self, step: &Step) -> Option<SysResult<String>> {
        let nothing = |()| String::new();
        Some(match step {
            Step::Stat { path, last } => rustix::fs::statat(CWD, self.path(path), last.flags())
                .map(|stat| stat::describe(&stat)),
            Step::Access { path, mode } => {
                let access = Access::from_bits_retain(mode.0);
                rustix::fs::accessat(CWD, self.path(path), access, AtFlags::EACCESS).map(nothing)
            }
            Step::Readlink { path } => rustix::fs::readlink(self.path(path), Vec::new())
                .map(|target| target.to_string_lossy().into_owned()),
            Step::List { path } => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::open(self.path(path), flags, Mode::empty())
                    .and_then(|fd| data::list(&fd))
            }
            Step::ReadFile { path } => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                rustix::fs::open(self.path(path), flags, Mode::empty())
                    .and_then(|fd| data::read_at(&fd, 0, 1 << 16))
            }
            Step::Truncate { path, len } => sys::truncate(&self.path(path), *len).map(nothing),
            Step::Chmod { path, mode } => {
                rustix::fs::chmod(self.path(path), Mode::from_raw_mode(mode.0)).map(nothing)
            }
            Step::Chown {
                path,
                uid,
                gid,
                last,
            } => {
                let uid = uid.map(Uid::from_raw);
                let gid = gid.map(Gid::from_raw);
                rustix::fs::chownat(CWD, self.path(path), uid, gid, last.flags()).map(nothing)
            }
            Step::Utimes {
                path,
                atime,
                mtime,
                last,
            } => {
                let times = stat::timestamps(*atime, *mtime);
                rustix::fs::utimensat(CWD, self.path(path), &times, last.flags()).map(nothing)
            }
            Step::Open {
                slot,
                path,
                flags,
                mode,
            } => {
                let flags = open_flags(flags);
                rustix::fs::open(self.path(path), flags, Mode::from_raw_mode(mode.0))
                    .and_then(|fd| self.put(*slot, fd))
            }
            Step::Reopen { slot, to, flags } => self
                .slot(*slot)
                .and_then(|fd| {
                    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                    rustix::fs::open(path, open_flags(flags), Mode::empty())
                })
                .and_then(|fd| self.put(*to, fd)),
            Step::Close { slot } => {
                if let Some(slot) = self.slots.get_mut(*slot) {
                    *slot = None;
                }
                Ok(String::new())
            }
            _ => return self.step_xattrs(step),
        })
    }

    /// Steps that move data through one descriptor.
    fn step_io(&mut self, step: &Step) -> Option<SysResult<String>> {
        let number = |count: usize| count.to_string();
        Some(match step {
            Step::Write { slot, len, fill } => self
                .slot(*slot)
                .and_then(|fd| rustix::io::write(fd, data::pattern(*len, *fill).get()))
                .map(number),
            Step::WriteAt {
                slot,
                at,
                len,
                fill,
                rwf,
            } => self
                .slot(*slot)
                .and_then(|fd| {
                    let pattern = data::pattern(*len, *fill);
                    rustix::io::pwritev2(fd, &[IoSlice::new(pattern.get())], *at, rwf.flags())
                })
                .map(number),
            Step::Read { slot, len } => self.slot(*slot).and_then(|fd| data::read(fd, *len)),
            Step::ReadAt { slot, at, len, rwf } => self
                .slot(*slot)
                .and_then(|fd| data::read_parts(fd, *at, &[*len], rwf.flags())),
            Step::Seek { slot, from, by } => self.slot(*slot).and_then(|fd| {
                let by_unsigned = u64::try_from(*by).unwrap_or(0);
                let to = match from {
                    From::Start => SeekFrom::Start(by_unsigned),
                    From::Current => SeekFrom::Current(*by),
                    From::End => SeekFrom::End(*by),
                    From::Data => SeekFrom::Data(by_unsigned),
                    From::Hole => SeekFrom::Hole(by_unsigned),
                };
                let before = rustix::fs::tell(fd);
                let is_dir = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode).is_dir();
                let found = match rustix::fs::seek(fd, to) {
                    Err(Errno::INVAL) if is_dir => return Ok(data::NO_POSITION.to_owned()),
                    other => other?,
                };
                // Where a copy has holes may differ, and where a directory ends; what comes next shall not
                // depend on it.
                let differs = matches!(to, SeekFrom::Data(_) | SeekFrom::Hole(_))
                    || (is_dir && matches!(to, SeekFrom::End(_)));
                if let (true, Ok(before)) = (differs, before) {
                    rustix::fs::seek(fd, SeekFrom::Start(before))?;
                }
                // Positions in a directory mean nothing to anyone but the filesystem.
                Ok(if is_dir {
                    String::new()
                } else {
                    found.to_string()
                })
            }),
            _ => return None,
        })
    }

    /// Steps that change where a file's data is.
    fn step_ranges(&mut self, step: &Step) -> Option<SysResult<String>> {
        let nothing = |()| String::new();
        Some(match step {
            Step::FTruncate { slot, len } => self
                .slot(*slot)
                .and_then(|fd| rustix::fs::ftruncate(fd, *len))
                .map(nothing),
            Step::Allocate { slot, how, at, len } => self
                .slot(*slot)
                .and_then(|fd| rustix::fs::fallocate(fd, how.flags(), *at, *len))
                .map(nothing),
            Step::CopyRange {
                slot,
                at,
                to,
                to_at,
                len,
            } => self.two(*slot, *to).and_then(|(from, to)| {
                let (mut at, mut to_at) = (*at, *to_at);
                rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut to_at), *len)
                    .map(|count| count.to_string())
            }),
            Step::SendFile { slot, to, len } => self.two(*slot, *to).and_then(|(from, to)| {
                let count = rustix::fs::sendfile(to, from, None, *len)?;
                data::moved(from, to, &count.to_string())
            }),
            Step::Clone { slot, to } => self
                .two(*slot, *to)
                .and_then(|(from, to)| rustix::fs::ioctl_ficlone(to, from))
                .map(nothing),
            Step::CloneRange {
                slot,
                at,
                to,
                to_at,
                len,
            } => self
                .two(*slot, *to)
                .and_then(|(from, to)| rovl_kit::sys::clone_range(from, *at, *len, to, *to_at))
                .map(nothing),
            Step::Dedupe {
                slot,
                at,
                to,
                to_at,
                len,
            } => self
                .two(*slot, *to)
                .and_then(|(from, to)| sys::dedupe(from, *at, *len, to, *to_at))
                .map(|(bytes, status)| format!("{bytes} status {status}")),
            _ => return None,
        })
    }

    fn two(&self, one: Slot, other: Slot) -> SysResult<(&OwnedFd, &OwnedFd)> {
        Ok((self.slot(one)?, self.slot(other)?))
    }
}
