// SPDX-License-Identifier: GPL-2.0-only

//! The words of steps: who, how, and by which flags.

use rustix::fs::AtFlags;
use rustix::fs::FallocateFlags;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::fs::XattrFlags;
use rustix::io::ReadWriteFlags;
use serde::Deserialize;
use serde::Serialize;

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    Root,
    /// Owns some of the objects.
    Alice,
    /// Is in Alice's group besides an own one.
    Bob,
}

impl User {
    pub fn uid(self) -> u32 {
        match self {
            User::Root => 0,
            User::Alice => 1000,
            User::Bob => 1001,
        }
    }
}

/// Flags of open(2), each by its name in C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Open {
    Write,
    ReadWrite,
    Append,
    Create,
    Excl,
    Trunc,
    Directory,
    NoFollow,
    Direct,
    Sync,
    DSync,
    NoAtime,
    Path,
    Tmpfile,
}

pub fn open_flags(flags: &[Open]) -> OFlags {
    // Nothing may wait for the other end of a pipe.
    let mut bits = OFlags::CLOEXEC | OFlags::NONBLOCK;
    for flag in flags {
        bits |= match flag {
            Open::Write => OFlags::WRONLY,
            Open::ReadWrite => OFlags::RDWR,
            Open::Append => OFlags::APPEND,
            Open::Create => OFlags::CREATE,
            Open::Excl => OFlags::EXCL,
            Open::Trunc => OFlags::TRUNC,
            Open::Directory => OFlags::DIRECTORY,
            Open::NoFollow => OFlags::NOFOLLOW,
            Open::Direct => OFlags::DIRECT,
            Open::Sync => OFlags::SYNC,
            Open::DSync => OFlags::DSYNC,
            Open::NoAtime => OFlags::NOATIME,
            Open::Path => OFlags::PATH,
            Open::Tmpfile => OFlags::TMPFILE,
        };
    }
    bits
}

/// Whether a link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Last {
    #[default]
    Follow,
    NoFollow,
}

impl Last {
    pub fn flags(self) -> AtFlags {
        match self {
            Last::Follow => AtFlags::empty(),
            Last::NoFollow => AtFlags::SYMLINK_NOFOLLOW,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    Plain,
    NoReplace,
    Exchange,
    Whiteout,
}

impl How {
    pub fn flags(self) -> RenameFlags {
        match self {
            How::Plain => RenameFlags::empty(),
            How::NoReplace => RenameFlags::NOREPLACE,
            How::Exchange => RenameFlags::EXCHANGE,
            How::Whiteout => RenameFlags::WHITEOUT,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    File,
    Fifo,
    Socket,
    Char(u32, u32),
    Block(u32, u32),
}

/// Flags of preadv2(2) and pwritev2(2), each by its name in C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Rwf {
    #[default]
    None,
    Append,
    NoAppend,
    Sync,
    DSync,
    NoWait,
    HighPriority,
    Atomic,
    DontCache,
    NoSignal,
}

impl Rwf {
    pub fn flags(self) -> ReadWriteFlags {
        const NOAPPEND: u32 = 0x20;
        const ATOMIC: u32 = 0x40;
        const DONTCACHE: u32 = 0x80;
        const NOSIGNAL: u32 = 0x100;
        match self {
            Rwf::None => ReadWriteFlags::empty(),
            Rwf::Append => ReadWriteFlags::APPEND,
            Rwf::NoAppend => ReadWriteFlags::from_bits_retain(NOAPPEND),
            Rwf::Sync => ReadWriteFlags::SYNC,
            Rwf::DSync => ReadWriteFlags::DSYNC,
            Rwf::NoWait => ReadWriteFlags::NOWAIT,
            Rwf::HighPriority => ReadWriteFlags::HIPRI,
            Rwf::Atomic => ReadWriteFlags::from_bits_retain(ATOMIC),
            Rwf::DontCache => ReadWriteFlags::from_bits_retain(DONTCACHE),
            Rwf::NoSignal => ReadWriteFlags::from_bits_retain(NOSIGNAL),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alloc {
    Plain,
    Keep,
    Punch,
    Zero,
    ZeroKeep,
    Collapse,
    Insert,
    Unshare,
    WriteZeroes,
}

impl Alloc {
    pub fn flags(self) -> FallocateFlags {
        const WRITE_ZEROES: u32 = 0x80;
        match self {
            Alloc::Plain => FallocateFlags::empty(),
            Alloc::Keep => FallocateFlags::KEEP_SIZE,
            Alloc::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            Alloc::Zero => FallocateFlags::ZERO_RANGE,
            Alloc::ZeroKeep => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
            Alloc::Collapse => FallocateFlags::COLLAPSE_RANGE,
            Alloc::Insert => FallocateFlags::INSERT_RANGE,
            Alloc::Unshare => FallocateFlags::UNSHARE_RANGE,
            Alloc::WriteZeroes => FallocateFlags::from_bits_retain(WRITE_ZEROES),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum From {
    Start,
    Current,
    End,
    Data,
    Hole,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Time {
    Now,
    Omit,
    /// Seconds after the first of the times that layers have.
    Age(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Set {
    Any,
    Create,
    Replace,
}

impl Set {
    pub fn flags(self) -> XattrFlags {
        match self {
            Set::Any => XattrFlags::empty(),
            Set::Create => XattrFlags::CREATE,
            Set::Replace => XattrFlags::REPLACE,
        }
    }
}

/// File flags to set; all others are cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attr {
    None,
    Append,
    Immutable,
    NoDump,
    NoAtime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Map {
    /// Shared, for reading.
    Read,
    /// Shared, for writing.
    Write,
    /// A copy of its own.
    Private,
}

/// What hands a request to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Queue {
    Aio,
    Uring,
}

/// A request to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    Read,
    /// Writes bytes that the number chooses.
    Write(u8),
    Sync,
    DataSync,
    Allocate(Alloc),
}

/// What a program says of how it will use a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Advice {
    Random,
    WillNeed,
    DontNeed,
}

impl Advice {
    pub fn raw(self) -> rustix::fs::Advice {
        match self {
            Advice::Random => rustix::fs::Advice::Random,
            Advice::WillNeed => rustix::fs::Advice::WillNeed,
            Advice::DontNeed => rustix::fs::Advice::DontNeed,
        }
    }
}
