// SPDX-License-Identifier: GPL-2.0-only

//! The changes that writers make: system calls by path in a few directories, drawn at random.
//!
//! Others change the same names at the same time, so that most errors are in order. What is not in
//! order is an error that no serial order of the calls could give.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::random::Random;
use rovl_kit::sys;
use rovl_kit::sys::Mapping;
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

use rovl_kit::blocks::block;
use rovl_kit::blocks::BLOCK;

/// The directories that all writers share.
pub const DIRS: [&str; 3] = ["d0", "d1", "d2"];
/// Files in each of them, most of which a lower layer has.
pub const FILES: usize = 12;
/// Directories in each of them, one of which a lower layer has.
pub const SUBDIRS: usize = 3;

/// What any path may meet where others rename and remove.
const USUAL: [Errno; 10] = [
    Errno::NOENT,
    Errno::EXIST,
    Errno::NOTDIR,
    Errno::ISDIR,
    Errno::NOTEMPTY,
    // A symbolic link that is not to be followed.
    Errno::LOOP,
    // A directory of a lower layer without redirects.
    Errno::XDEV,
    // A directory below itself.
    Errno::INVAL,
    // A link to a directory.
    Errno::PERM,
    // A socket that is to be opened.
    Errno::NXIO,
];

/// One thread's work in a tree.
pub struct Writer<'a> {
    root: &'a OwnedFd,
    /// A file that no other thread touches.
    own: String,
    /// What happens besides `USUAL`.
    also: &'a [Errno],
    space: Vec<u8>,
}

type Done = std::result::Result<(), Errno>;

impl<'a> Writer<'a> {
    pub fn new(root: &'a OwnedFd, number: usize, also: &'a [Errno]) -> Self {
        Writer {
            root,
            own: own_file(number),
            also,
            space: vec![0; 64 * BLOCK],
        }
    }

    /// Does one thing.
    pub fn step(&mut self, random: &mut Random) -> Result<()> {
        let path = some_path(random);
        let (what, done) = match random.below(23) {
            0 | 1 => ("create", self.create(&path, random)),
            2 | 3 => ("write", self.write(&path, random)),
            4 => ("truncate", self.rewrite(&path, random)),
            5 => ("append", self.append(&path, random)),
            6 | 7 => ("rename", self.rename(&path, random)),
            8 => ("link", self.link(&path, random)),
            9 => ("symlink", rustix::fs::symlinkat("to", self.root, &path)),
            10 | 11 => ("unlink", self.unlink(&path)),
            12 => ("mkdir", self.mkdir(random)),
            13 => ("rmdir", self.rmdir(random)),
            14 => ("attributes", self.attributes(&path, random)),
            15 => ("tmpfile", self.tmpfile(&path, random)),
            16 => return self.read(&path),
            17 => ("mknod", self.mknod(&path)),
            18 => ("punch", self.punch(&path, random)),
            19 => ("copy", self.copy(&path)),
            20 => return self.map(random).with_context(|| self.own.clone()),
            _ => return self.list(random),
        };
        match done {
            Ok(()) => Ok(()),
            Err(error) if USUAL.contains(&error) || self.also.contains(&error) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("{what} {path}")),
        }
    }

    fn open(&self, path: &str, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
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
            0 => rustix::fs::fsync(&file),
            1 => rustix::fs::fdatasync(&file),
            _ => Ok(()),
        }
    }

    fn rewrite(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(path, OFlags::WRONLY | OFlags::TRUNC)?;
        write_block(&file, None, random)?;
        rustix::fs::ftruncate(&file, (random.below(32) * BLOCK) as u64)
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
        rustix::fs::renameat_with(self.root, from, self.root, to, flags)
    }

    fn link(&self, path: &str, random: &mut Random) -> Done {
        let to = some_path(random);
        rustix::fs::linkat(self.root, path, self.root, to, AtFlags::empty())
    }

    fn unlink(&self, path: &str) -> Done {
        rustix::fs::unlinkat(self.root, path, AtFlags::empty())
    }

    fn mkdir(&self, random: &mut Random) -> Done {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(self.root, some_subdir(random), mode)
    }

    fn rmdir(&self, random: &mut Random) -> Done {
        rustix::fs::unlinkat(self.root, some_subdir(random), AtFlags::REMOVEDIR)
    }

    fn attributes(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(path, OFlags::RDONLY)?;
        match random.below(6) {
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
        }
    }

    fn tmpfile(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(random.pick::<&str>(&DIRS), OFlags::TMPFILE | OFlags::WRONLY)?;
        write_block(&file, None, random)?;
        rustix::fs::linkat(&file, "", self.root, path, AtFlags::EMPTY_PATH)
    }

    fn mknod(&self, path: &str) -> Done {
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(self.root, path, FileType::Socket, mode, 0)
    }

    fn punch(&self, path: &str, random: &mut Random) -> Done {
        let file = self.open(path, OFlags::RDWR)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let (at, length) = (random.below(16) * BLOCK, (1 + random.below(8)) * BLOCK);
        rustix::fs::fallocate(&file, flags, at as u64, length as u64)
    }

    /// Copies over the own file, which keeps its length.
    fn copy(&self, path: &str) -> Done {
        let from = self.open(path, OFlags::RDONLY)?;
        let to = self.open(&self.own, OFlags::WRONLY)?;
        let length = OWN_BLOCKS * BLOCK;
        rustix::fs::copy_file_range(from, Some(&mut 0), to, Some(&mut 0), length).map(drop)
    }

    /// A file is never seen half copied up.
    fn read(&mut self, path: &str) -> Result<()> {
        let Ok(file) = self.open(path, OFlags::RDONLY) else {
            return Ok(());
        };
        let size = match rustix::fs::fstat(&file) {
            Err(error) if self.also.contains(&error) => return Ok(()),
            other => other?.st_size,
        };
        ensure!(
            size % BLOCK as i64 == 0 || is_dir(&file),
            "{path} has {size} bytes"
        );
        match rustix::io::pread(&file, &mut self.space, 0) {
            Ok(_) | Err(Errno::ISDIR) => Ok(()),
            Err(error) if self.also.contains(&error) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("read {path}")),
        }
    }

    /// What is written through a mapping is read through the file, before and after copy-up.
    fn map(&self, random: &mut Random) -> Result<()> {
        let file = match self.open(&self.own, OFlags::RDWR) {
            Err(error) if self.also.contains(&error) => return Ok(()),
            other => other?,
        };
        let length = OWN_BLOCKS * BLOCK;
        let mapping = match Mapping::new(&file, length, ProtFlags::READ | ProtFlags::WRITE) {
            Err(error) if self.also.contains(&error) => return Ok(()),
            other => other?,
        };
        let at = random.below(OWN_BLOCKS) * BLOCK;
        let data = block(random.number());
        mapping.write(at, &data);
        let mut found = vec![0; BLOCK];
        let read = match rustix::io::pread(&file, &mut found, at as u64) {
            Err(error) if self.also.contains(&error) => None,
            other => Some(other?),
        };
        ensure!(
            read.is_none() || found == data,
            "what was written through the mapping is not read"
        );
        match rustix::fs::fdatasync(file.as_fd()) {
            Err(error) if self.also.contains(&error) => Ok(()),
            other => Ok(other?),
        }
    }

    fn list(&self, random: &mut Random) -> Result<()> {
        let path = if random.one_in(3) {
            some_subdir(random)
        } else {
            (*random.pick(&DIRS)).to_owned()
        };
        let Ok(dir) = self.open(&path, OFlags::RDONLY | OFlags::DIRECTORY) else {
            return Ok(());
        };
        let entries = match sys::read_dir(&dir, 200 << random.below(5)) {
            Ok(entries) => entries,
            // The directory was removed meanwhile.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) if self.also.contains(&error) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("list {path}")),
        };
        let mut names: Vec<_> = entries.iter().map(|entry| &entry.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        ensure!(names.len() == count, "{path} lists a name twice");
        for entry in &entries {
            let stat = rustix::fs::statat(&dir, &entry.name, AtFlags::SYMLINK_NOFOLLOW);
            match stat {
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) if self.also.contains(&error) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("{path}/{:?}", entry.name))
                }
            }
        }
        Ok(())
    }
}

/// The file that only this thread uses; a lower layer has it.
pub fn own_file(number: usize) -> String {
    format!("{}/own{number}", DIRS[number % DIRS.len()])
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

fn is_dir(file: &OwnedFd) -> bool {
    let stat = rustix::fs::fstat(file);
    stat.is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_dir())
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
fn write_block(file: &OwnedFd, at: Option<usize>, random: &mut Random) -> Done {
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
