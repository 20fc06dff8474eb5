// SPDX-License-Identifier: GPL-2.0-only

//! What stat(2) says, as far as it has to be the same on both sides.

use std::fmt;
use std::fmt::Write;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Stat;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::CWD;
use rustix::fs::UTIME_NOW;
use rustix::fs::UTIME_OMIT;

use crate::step::Time;

/// The first of the times that objects of layers have, in 2001. Whatever is later than
/// `RECENT` was changed by the run.
const ANCIENT: i64 = 1_000_000_000;
const RECENT: i64 = 1_500_000_000;

pub fn age(seconds: u32) -> Timespec {
    Timespec {
        tv_sec: ANCIENT + i64::from(seconds),
        tv_nsec: 123_456_789,
    }
}

fn to_set(time: Time) -> Timespec {
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    match time {
        Time::Now => special(UTIME_NOW),
        Time::Omit => special(UTIME_OMIT),
        Time::Age(seconds) => age(seconds),
    }
}

pub fn timestamps(atime: Time, mtime: Time) -> Timestamps {
    Timestamps {
        last_access: to_set(atime),
        last_modification: to_set(mtime),
    }
}

/// A time: exact where somebody has set it, and else only that it is recent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    Age(i64, i64),
    Recent,
}

impl When {
    pub fn new(seconds: i64, nanoseconds: i64) -> Self {
        if seconds > RECENT {
            When::Recent
        } else {
            When::Age(seconds - ANCIENT, nanoseconds)
        }
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Age(seconds, nanoseconds) => write!(f, "{seconds}.{nanoseconds:09}"),
            When::Recent => f.write_str("recent"),
        }
    }
}

/// The letter that ls(1) shows.
pub fn letter(kind: FileType) -> char {
    match kind {
        FileType::RegularFile => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Unknown => '?',
    }
}

pub fn mtime(stat: &Stat) -> When {
    When::new(stat.st_mtime, stat.st_mtime_nsec as i64)
}

pub fn atime(stat: &Stat) -> When {
    When::new(stat.st_atime, stat.st_atime_nsec as i64)
}

/// The size, where it means something.
pub fn size(stat: &Stat) -> i64 {
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        0
    } else {
        stat.st_size
    }
}

pub fn describe(stat: &Stat) -> String {
    format!(
        "{}{:o} {}:{} nlink {} size {} rdev {:x} mtime {:?}",
        letter(FileType::from_raw_mode(stat.st_mode)),
        stat.st_mode & 0o7777,
        stat.st_uid,
        stat.st_gid,
        stat.st_nlink,
        size(stat),
        stat.st_rdev,
        mtime(stat)
    )
}

/// A look at an object, to be compared with a later one.
pub struct Glance(Stat);

impl Glance {
    pub fn at(path: &str) -> Option<Self> {
        rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .map(Glance)
    }

    pub fn of(fd: &OwnedFd) -> Option<Self> {
        rustix::fs::fstat(fd).ok().map(Glance)
    }
}

/// How far what was seen of an object may be compared.
#[derive(Debug, Clone, Copy)]
pub struct Trust {
    /// Whether a directory's times say whether it has changed.
    pub times: bool,
    /// Whether a directory has the same number as long as it is there, and not as its inode is known,
    /// which a failed removal may end.
    pub directory_numbers: bool,
    /// The same of all else.
    pub numbers: bool,
}

/// Adds what became of the object between two looks at one path.
///
/// tmpfs gives a directory the time of what was removed from it, by a clock of few ticks. So with
/// an upper there, whether a directory's times have changed is a matter of luck, and is left out.
pub fn relate(text: &mut String, before: &Option<Glance>, after: &Option<Glance>, trust: Trust) {
    if !text.is_empty() {
        text.push_str(", ");
    }
    let (Some(Glance(before)), Some(Glance(after))) = (before, after) else {
        match after {
            None => text.push_str(if before.is_none() { "none" } else { "gone" }),
            Some(Glance(after)) => {
                let _ = write!(text, "new {}", describe(after));
            }
        }
        return;
    };
    let is_dir = FileType::from_raw_mode(after.st_mode).is_dir();
    let is_other = (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino);
    let is_trusted = if is_dir {
        trust.directory_numbers
    } else {
        trust.numbers
    };
    if !is_trusted {
        // Nobody can tell whether it is another one, which has other times.
        text.push_str(&describe(after));
        return;
    }
    if is_other {
        let _ = write!(text, "other {}", describe(after));
        return;
    }
    if is_dir && !trust.times {
        text.push_str(&describe(after));
        return;
    }
    let changed = |is: bool, name: &str| {
        if is {
            format!(" {name} changed")
        } else {
            String::new()
        }
    };
    let _ = write!(
        text,
        "{}{}{}",
        describe(after),
        changed(
            (before.st_mtime, before.st_mtime_nsec) != (after.st_mtime, after.st_mtime_nsec),
            "mtime"
        ),
        changed(
            (before.st_ctime, before.st_ctime_nsec) != (after.st_ctime, after.st_ctime_nsec),
            "ctime"
        ),
    );
}
