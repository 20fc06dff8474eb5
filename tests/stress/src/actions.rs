// SPDX-License-Identifier: GPL-2.0-only

//! The changes that writers make: system calls by path in a few directories, drawn at random.
//!
//! Others change the same names at the same time, so that some errors are in order. What is not in
//! order is an error that no serial order of the calls could give. Each thread has files besides that
//! no other changes, of which it knows every byte.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::random::Random;
use rovl_kit::sys;
use rovl_kit::sys::Mapping;
use rovl_kit::sys::SysResult;
use rustix::fs::AtFlags;
use rustix::fs::FallocateFlags;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::fs::SeekFrom;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::mm::ProtFlags;

use crate::tally::Tally;
use rovl_kit::blocks;
use rovl_kit::blocks::block;
use rovl_kit::blocks::BLOCK;

/// The directories that all writers share.
pub const DIRS: [&str; 3] = ["d0", "d1", "d2"];
/// Files in each of them, most of which a lower layer has.
pub const FILES: usize = 12;
/// Directories in each of them, one of which a lower layer has.
pub const SUBDIRS: usize = 3;

/// What a name to be opened may have become: it is gone, a symbolic link, or a socket.
const OPENED: &[Errno] = &[Errno::NOENT, Errno::LOOP, Errno::NXIO];
/// What changing an opened file may meet besides: its name is gone or another's, and so the place to
/// copy it up to is taken. (C: `ovl_copy_up_tmpfile`.)
const CHANGED: &[Errno] = &[Errno::NOENT, Errno::LOOP, Errno::NXIO, Errno::EXIST];
/// What a new name may meet: another has made it, or the directory is gone.
const MADE: &[Errno] = &[Errno::EXIST, Errno::NOENT];
/// What renaming may meet besides: a directory with names in it, and one of a lower layer without
/// redirects.
const RENAMED: &[Errno] = &[Errno::EXIST, Errno::NOENT, Errno::NOTEMPTY, Errno::XDEV];
const REMOVED: &[Errno] = &[Errno::NOENT];
const DIR_MADE: &[Errno] = &[Errno::EXIST];
const DIR_REMOVED: &[Errno] = &[Errno::NOENT, Errno::NOTEMPTY];
/// What is always there gives no errors.
const NEVER: &[Errno] = &[];

/// One thread's work in a tree.
pub struct Writer<'a> {
    root: &'a OwnedFd,
    /// How many threads have files of their own in the tree.
    threads: usize,
    /// Without holes at any time, which others may look at.
    own: Own,
    /// What others' files are copied over.
    copied: Own,
    /// What happens besides what others' work explains.
    also: &'a [Errno],
    space: Vec<u8>,
    tally: Tally,
}

/// A file that no other thread changes, and what is in it.
struct Own {
    path: String,
    data: Vec<u8>,
}

/// Why a step ended early.
enum Failed {
    /// The kernel refused it, which may be in order.
    Refused(Errno),
    /// What it found is wrong.
    Wrong(anyhow::Error),
}

impl From<Errno> for Failed {
    fn from(error: Errno) -> Self {
        Failed::Refused(error)
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Failed::Wrong(error)
    }
}

type Done = std::result::Result<(), Failed>;

impl<'a> Writer<'a> {
    /// A writer that looks first at what its own files have.
    pub fn new(
        root: &'a OwnedFd,
        number: usize,
        threads: usize,
        also: &'a [Errno],
    ) -> Result<Self> {
        let mut writer = Writer {
            root,
            threads,
            own: Own::unread(own_file(number)),
            copied: Own::unread(copied_file(number)),
            also,
            space: vec![0; 64 * BLOCK],
            tally: Tally::default(),
        };
        writer.own.data = writer.whole(&writer.own)?;
        writer.copied.data = writer.whole(&writer.copied)?;
        Ok(writer)
    }

    /// Does one thing.
    pub fn step(&mut self, random: &mut Random) -> Result<()> {
        let path = some_path(random);
        let (kind, expected, done) = match random.below(25) {
            0 | 1 => ("create", MADE, self.create(&path, random)),
            2 | 3 => ("write", CHANGED, self.write(&path, random)),
            4 => ("truncate", CHANGED, self.rewrite(&path, random)),
            5 => ("append", CHANGED, self.append(&path, random)),
            6 | 7 => ("rename", RENAMED, self.rename(&path, random)),
            8 => ("link", MADE, self.link(&path, random)),
            9 => ("symlink", MADE, self.symlink(&path)),
            10 | 11 => ("unlink", REMOVED, self.unlink(&path)),
            12 => ("mkdir", DIR_MADE, self.mkdir(random)),
            13 => ("rmdir", DIR_REMOVED, self.rmdir(random)),
            14 => ("attributes", CHANGED, self.attributes(&path, random)),
            15 => ("tmpfile", MADE, self.tmpfile(&path, random)),
            16 => ("read", OPENED, self.read(&path)),
            17 => ("mknod", MADE, self.mknod(&path)),
            18 => ("punch", CHANGED, self.punch(&path, random)),
            19 => ("copy", OPENED, self.copy(&path)),
            20 => ("copy within", NEVER, self.copy_within(random)),
            21 => ("map", NEVER, self.map(random)),
            22 => ("look", NEVER, self.look(random)),
            _ => ("list", REMOVED, self.list(random)),
        };
        let tried = self.tally.0.entry(kind).or_default();
        tried.steps += 1;
        match done {
            Ok(()) => tried.succeeded += 1,
            Err(Failed::Refused(Errno::NOMEM)) if self.also.contains(&Errno::NOMEM) => {
                tried.without_memory += 1;
            }
            Err(Failed::Refused(error))
                if expected.contains(&error) || self.also.contains(&error) => {}
            Err(Failed::Refused(error)) => {
                return Err(error)
                    .with_context(|| format!("{kind}, of {path} or a path of its own"))
            }
            Err(Failed::Wrong(error)) => return Err(error.context(kind)),
        }
        Ok(())
    }

    /// What was tried, and what came of it.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The files that no other thread changes, with what is in them.
    pub fn known(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let both = [&self.own, &self.copied].into_iter();
        both.map(|own| (own.path.as_str(), own.data.as_slice()))
    }

    fn open(&self, path: &str, flags: OFlags) -> SysResult<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        rustix::fs::openat(self.root, path, flags, Mode::from_raw_mode(0o644))
    }

    fn create(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(path, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY)?;
        for _ in 0..random.below(4) {
            write_block(&file, None, random)?;
        }
        Ok(())
    }

    fn write(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(path, OFlags::RDWR)?;
        write_block(&file, Some(random.below(16)), random)?;
        match random.below(6) {
            0 => rustix::fs::fsync(&file)?,
            1 => rustix::fs::fdatasync(&file)?,
            _ => {}
        }
        Ok(())
    }

    fn rewrite(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(path, OFlags::WRONLY | OFlags::TRUNC)?;
        write_block(&file, None, random)?;
        rustix::fs::ftruncate(&file, (random.below(32) * BLOCK) as u64)?;
        Ok(())
    }

    fn append(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(path, OFlags::WRONLY | OFlags::APPEND)?;
        // Files do not grow forever.
        if rustix::fs::seek(&file, SeekFrom::End(0))? < 64 * BLOCK as u64 {
            write_block(&file, None, random)?;
        }
        Ok(())
    }

    fn rename(&self, path: &str, random: &mut Random) -> Done {
        let flags = *random.pick(&[
            RenameFlags::empty(),
            RenameFlags::empty(),
            RenameFlags::NOREPLACE,
            RenameFlags::EXCHANGE,
        ]);
        let (from, to) = if random.one_in(4) {
            (some_subdir(random), some_subdir(random))
        } else {
            (path.to_owned(), some_path(random))
        };
        rustix::fs::renameat_with(self.root, from, self.root, to, flags)?;
        Ok(())
    }

    fn link(&self, path: &str, random: &mut Random) -> Done {
        let to = some_path(random);
        rustix::fs::linkat(self.root, path, self.root, to, AtFlags::empty())?;
        Ok(())
    }

    fn symlink(&self, path: &str) -> Done {
        rustix::fs::symlinkat("to", self.root, path)?;
        Ok(())
    }

    fn unlink(&self, path: &str) -> Done {
        rustix::fs::unlinkat(self.root, path, AtFlags::empty())?;
        Ok(())
    }

    fn mkdir(&self, random: &mut Random) -> Done {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(self.root, some_subdir(random), mode)?;
        Ok(())
    }

    fn rmdir(&self, random: &mut Random) -> Done {
        rustix::fs::unlinkat(self.root, some_subdir(random), AtFlags::REMOVEDIR)?;
        Ok(())
    }

    fn attributes(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(path, OFlags::RDONLY)?;
        let done = match random.below(6) {
            0 => rustix::fs::fchmod(&file, Mode::from_raw_mode(0o600 + random.below(64) as u32)),
            1 => {
                let time = Timespec {
                    tv_sec: 1_000_000_000 + random.below(1000) as i64,
                    tv_nsec: 0,
                };
                let times = Timestamps {
                    last_access: time,
                    last_modification: time,
                };
                rustix::fs::futimens(&file, &times)
            }
            2 => {
                let value = random.number().to_ne_bytes();
                rustix::fs::fsetxattr(&file, "user.stress", &value, XattrFlags::empty())
            }
            3 => {
                let id = 1000 + random.below(3) as u32;
                let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
                rustix::fs::fchown(&file, Some(user), Some(group))
            }
            4 => {
                let value = acl(random.below(8) as u16);
                let name = "system.posix_acl_access";
                rustix::fs::fsetxattr(&file, name, &value, XattrFlags::empty())
            }
            _ => match rustix::fs::fremovexattr(&file, "user.stress") {
                Err(Errno::NODATA) => Ok(()),
                other => other,
            },
        };
        Ok(done?)
    }

    fn tmpfile(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(random.pick::<&str>(&DIRS), OFlags::TMPFILE | OFlags::WRONLY)?;
        write_block(&file, None, random)?;
        rustix::fs::linkat(&file, "", self.root, path, AtFlags::EMPTY_PATH)?;
        Ok(())
    }

    fn mknod(&self, path: &str) -> Done {
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(self.root, path, FileType::Socket, mode, 0)?;
        Ok(())
    }

    fn punch(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(path, OFlags::RDWR)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let (at, length) = (random.below(16) * BLOCK, (1 + random.below(8)) * BLOCK);
        rustix::fs::fallocate(&file, flags, at as u64, length as u64)?;
        Ok(())
    }

    /// Copies another file over a part of one's own, which keeps its length and the rest.
    fn copy(&mut self, path: &str) -> Done {
        let from = self.open(path, OFlags::RDONLY)?;
        let to = self.open(&self.copied.path, OFlags::WRONLY)?;
        let length = OWN_BLOCKS * BLOCK;
        let done = rustix::fs::copy_file_range(from, Some(&mut 0), to, Some(&mut 0), length);
        // Others change what is copied, so that it is known only afterwards.
        if let Ok(count) = done {
            let found = self.whole(&self.copied)?;
            if let Some(copied) = found.get(..count) {
                self.copied.data[..count].copy_from_slice(copied);
            }
        }
        self.compare(&self.copied)?;
        Ok(done.map(drop)?)
    }

    /// Copies some blocks from one half of one's own file to the other.
    fn copy_within(&mut self, random: &mut Random) -> Done {
        const HALF: usize = OWN_BLOCKS / 2;
        let (first, second) = (random.below(HALF), random.below(HALF));
        let length = (1 + random.below(HALF - first.max(second))) * BLOCK;
        let (first, second) = (first * BLOCK, (HALF + second) * BLOCK);
        let (at, to) = *random.pick(&[(first, second), (second, first)]);
        let from = self.open(&self.own.path, OFlags::RDONLY)?;
        let file = self.open(&self.own.path, OFlags::WRONLY)?;
        let (mut from_at, mut to_at) = (at as u64, to as u64);
        let (from_at, to_at) = (Some(&mut from_at), Some(&mut to_at));
        let done = rustix::fs::copy_file_range(from, from_at, file, to_at, length);
        self.own.data.copy_within(at..at + done.unwrap_or(0), to);
        self.compare(&self.own)?;
        Ok(done.map(drop)?)
    }

    /// A file is never seen half copied up.
    fn read(&mut self, path: &str) -> Done {
        let file = self.open(path, OFlags::RDONLY)?;
        let size = rustix::fs::fstat(&file)?.st_size;
        if size % BLOCK as i64 != 0 {
            return Err(anyhow!("{path} has {size} bytes").into());
        }
        rustix::io::pread(&file, &mut self.space, 0)?;
        Ok(())
    }

    /// Others' own files have all of their length at any time, and no holes.
    fn look(&self, random: &mut Random) -> Done {
        let path = own_file(random.below(self.threads));
        let file = self.open(&path, OFlags::RDONLY)?;
        let data = self.all_of(&file)?;
        check_own(&data).context(path)?;
        Ok(())
    }

    /// What is written through a mapping is read through the file, before and after copy-up.
    fn map(&mut self, random: &mut Random) -> Done {
        let file = self.open(&self.own.path, OFlags::RDWR)?;
        let length = OWN_BLOCKS * BLOCK;
        let mapping = Mapping::new(&file, length, ProtFlags::READ | ProtFlags::WRITE)?;
        let at = random.below(OWN_BLOCKS) * BLOCK;
        let data = block(random.number());
        mapping.write(at, &data);
        self.own.data[at..at + BLOCK].copy_from_slice(&data);
        self.compare(&self.own)?;
        rustix::fs::fdatasync(file.as_fd())?;
        Ok(())
    }

    fn list(&self, random: &mut Random) -> Done {
        let path = if random.one_in(3) {
            some_subdir(random)
        } else {
            (*random.pick(&DIRS)).to_owned()
        };
        let dir = self.open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        // The directory may be removed meanwhile.
        let entries = sys::read_dir(&dir, 200 << random.below(5))?;
        let mut names: Vec<_> = entries.iter().map(|entry| &entry.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        if names.len() != count {
            return Err(anyhow!("{path} lists a name twice").into());
        }
        for entry in &entries {
            match rustix::fs::statat(&dir, &entry.name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) if self.also.contains(&error) => {}
                Err(error) => {
                    let name = Path::new(&path).join(&entry.name);
                    return Err(anyhow!("{}: {error}", name.display()).into());
                }
            }
        }
        Ok(())
    }

    /// Fails unless a file of one's own has what is known of it.
    fn compare(&self, own: &Own) -> Result<()> {
        let found = self.whole(own)?;
        blocks::compare(&found, &own.data).with_context(|| own.path.clone())
    }

    /// All that is in a file of one's own. What is refused in passing is asked for again.
    fn whole(&self, own: &Own) -> Result<Vec<u8>> {
        let mut tries = 0;
        loop {
            let file = self.open(&own.path, OFlags::RDONLY);
            match file.and_then(|file| self.all_of(&file)) {
                Err(error) if self.also.contains(&error) && tries < TRIES => tries += 1,
                other => return other.with_context(|| format!("read {}", own.path)),
            }
        }
    }

    /// All that is in a file, up to what is too much for one's own.
    fn all_of(&self, file: &OwnedFd) -> SysResult<Vec<u8>> {
        let mut data = vec![0; (OWN_BLOCKS + 1) * BLOCK];
        let mut length = 0;
        loop {
            match rustix::io::pread(file, &mut data[length..], length as u64)? {
                0 => break,
                count => length += count,
            }
        }
        data.truncate(length);
        Ok(data)
    }
}

impl Own {
    fn unread(path: String) -> Self {
        Own {
            path,
            data: Vec::new(),
        }
    }
}

/// How often what is refused in passing is asked for.
const TRIES: usize = 1000;

/// The file that only this thread changes; a lower layer has it.
pub fn own_file(number: usize) -> String {
    format!("{}/own{number}", DIRS[number % DIRS.len()])
}

/// Another one.
pub fn copied_file(number: usize) -> String {
    format!("{}/copied{number}", DIRS[number % DIRS.len()])
}

/// How long those files are, for good.
pub const OWN_BLOCKS: usize = 16;

/// An access control list with one user besides the owner, in the form of the attribute.
fn acl(permissions: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries = [
        (1_u16, 6_u16, NOBODY),
        (2, permissions, 1001),
        (4, 4, NOBODY),
        (16, 7, NOBODY),
        (32, 0, NOBODY),
    ];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// Fails unless this may be in a file of somebody's own. A block may be of two writes as long as these
/// go on.
fn check_own(data: &[u8]) -> Result<()> {
    let length = data.len();
    ensure!(length == OWN_BLOCKS * BLOCK, "{length} bytes are there");
    let hole = data.chunks(8).position(|word| word == [0; 8]);
    ensure!(hole.is_none(), "there is a hole at word {hole:?}");
    Ok(())
}

fn some_subdir(random: &mut Random) -> String {
    let dir = random.pick(&DIRS);
    format!("{dir}/s{}", random.below(SUBDIRS))
}

fn some_path(random: &mut Random) -> String {
    let name = random.below(FILES);
    if random.one_in(4) {
        return format!("{}/f{}", some_subdir(random), name % 3);
    }
    format!("{}/f{name}", random.pick(&DIRS))
}

/// Writes one block: the given one, or where the file stands.
fn write_block(file: &OwnedFd, at: Option<usize>, random: &mut Random) -> SysResult<()> {
    let data = block(random.number());
    let length = match at {
        Some(at) => rustix::io::pwrite(file, &data, (at * BLOCK) as u64)?,
        None => rustix::io::write(file, &data)?,
    };
    // Blocks are far smaller than what a filesystem allocates.
    if length == data.len() {
        Ok(())
    } else {
        Err(Errno::MSGSIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_long_and_without_holes() {
        let mut data = block(5).repeat(OWN_BLOCKS);
        assert!(check_own(&data).is_ok());
        assert!(check_own(&data[BLOCK..]).is_err());
        // Of two writes.
        data[..100].fill(9);
        assert!(check_own(&data).is_ok());
        data[BLOCK..2 * BLOCK].fill(0);
        assert!(check_own(&data).is_err());
    }
}
