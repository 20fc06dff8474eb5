// SPDX-License-Identifier: GPL-2.0-only

//! The steps of a script: one system call each, or a few that belong together.
//!
//! Paths are relative to the mount; those that begin with `@N/` are relative to the directory that
//! is open in slot N. Descriptors stay in their slots until they are closed or replaced.

mod words;

use serde::Deserialize;
use serde::Serialize;

pub use self::words::open_flags;
pub use self::words::Advice;
pub use self::words::Alloc;
pub use self::words::Ask;
pub use self::words::Attr;
pub use self::words::From;
pub use self::words::How;
pub use self::words::Last;
pub use self::words::Map;
pub use self::words::Node;
pub use self::words::Open;
pub use self::words::Queue;
pub use self::words::Rwf;
pub use self::words::Set;
pub use self::words::Time;
pub use self::words::User;
use crate::text::Bytes;
use crate::text::Octal;

/// Number of a slot for a descriptor.
pub type Slot = usize;
pub const SLOTS: usize = 6;
/// How many mappings there can be.
pub const MAPS: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    // Names.
    Create {
        path: String,
        mode: Octal,
    },
    Mkdir {
        path: String,
        mode: Octal,
    },
    Mknod {
        path: String,
        node: Node,
        mode: Octal,
    },
    Symlink {
        target: String,
        path: String,
    },
    Link {
        from: String,
        to: String,
        last: Last,
    },
    LinkSlot {
        slot: Slot,
        to: String,
    },
    Unlink {
        path: String,
    },
    Rmdir {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        how: How,
    },
    // Paths.
    Stat {
        path: String,
        last: Last,
    },
    Access {
        path: String,
        mode: Octal,
    },
    Readlink {
        path: String,
    },
    List {
        path: String,
    },
    ReadFile {
        path: String,
    },
    Truncate {
        path: String,
        len: u64,
    },
    Chmod {
        path: String,
        mode: Octal,
    },
    Chown {
        path: String,
        uid: Option<u32>,
        gid: Option<u32>,
        last: Last,
    },
    Utimes {
        path: String,
        atime: Time,
        mtime: Time,
        last: Last,
    },
    GetXattr {
        path: String,
        name: String,
        last: Last,
    },
    SetXattr {
        path: String,
        name: String,
        value: Bytes,
        set: Set,
        last: Last,
    },
    RemoveXattr {
        path: String,
        name: String,
        last: Last,
    },
    ListXattr {
        path: String,
        last: Last,
    },
    // Descriptors.
    Open {
        slot: Slot,
        path: String,
        flags: Vec<Open>,
        mode: Octal,
    },
    Reopen {
        slot: Slot,
        to: Slot,
        flags: Vec<Open>,
    },
    Close {
        slot: Slot,
    },
    Write {
        slot: Slot,
        len: usize,
        fill: u8,
    },
    WriteAt {
        slot: Slot,
        at: u64,
        len: usize,
        fill: u8,
        rwf: Rwf,
    },
    Read {
        slot: Slot,
        len: usize,
    },
    ReadAt {
        slot: Slot,
        at: u64,
        len: usize,
        #[serde(default, skip_serializing_if = "is_default")]
        rwf: Rwf,
    },
    /// Writes from several buffers of these lengths at once.
    WriteParts {
        slot: Slot,
        at: u64,
        lens: Vec<usize>,
        fill: u8,
    },
    /// Reads into several buffers at once.
    ReadParts {
        slot: Slot,
        at: u64,
        lens: Vec<usize>,
    },
    /// Asks for something by a queue, and waits for it.
    Queued {
        slot: Slot,
        by: Queue,
        ask: Ask,
        at: u64,
        len: usize,
        rwf: Rwf,
    },
    /// Moves data from one file into a pipe, and from there into another; where there is no place
    /// it is at the descriptor's position.
    Splice {
        slot: Slot,
        at: Option<u64>,
        to: Slot,
        to_at: Option<u64>,
        len: usize,
    },
    Seek {
        slot: Slot,
        from: From,
        by: i64,
    },
    FTruncate {
        slot: Slot,
        len: u64,
    },
    Allocate {
        slot: Slot,
        how: Alloc,
        at: u64,
        len: u64,
    },
    CopyRange {
        slot: Slot,
        at: u64,
        to: Slot,
        to_at: u64,
        len: usize,
    },
    SendFile {
        slot: Slot,
        to: Slot,
        len: usize,
    },
    Clone {
        slot: Slot,
        to: Slot,
    },
    CloneRange {
        slot: Slot,
        at: u64,
        to: Slot,
        to_at: u64,
        len: u64,
    },
    Dedupe {
        slot: Slot,
        at: u64,
        to: Slot,
        to_at: u64,
        len: u64,
    },
    MapWrite {
        slot: Slot,
        at: u64,
        len: usize,
        fill: u8,
    },
    MapRead {
        slot: Slot,
        at: u64,
        len: usize,
    },
    MapKeep {
        slot: Slot,
        map: usize,
        how: Map,
    },
    MapPeek {
        map: usize,
        at: u64,
        len: usize,
    },
    MapPoke {
        map: usize,
        at: u64,
        len: usize,
        fill: u8,
    },
    MapSync {
        map: usize,
    },
    FStat {
        slot: Slot,
    },
    FChmod {
        slot: Slot,
        mode: Octal,
    },
    FChown {
        slot: Slot,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    FUtimes {
        slot: Slot,
        atime: Time,
        mtime: Time,
    },
    FGetXattr {
        slot: Slot,
        name: String,
    },
    FSetXattr {
        slot: Slot,
        name: String,
        value: Bytes,
        set: Set,
    },
    FRemoveXattr {
        slot: Slot,
        name: String,
    },
    FListXattr {
        slot: Slot,
    },
    GetAttr {
        slot: Slot,
    },
    SetAttr {
        slot: Slot,
        attr: Attr,
    },
    /// By the call that has fields instead of one number.
    GetFields {
        slot: Slot,
    },
    SetFields {
        slot: Slot,
        attr: Attr,
        project: u32,
    },
    /// The same, by path.
    GetFieldsAt {
        path: String,
        last: Last,
    },
    SetFieldsAt {
        path: String,
        attr: Attr,
        project: u32,
        last: Last,
    },
    /// What only statx(2) tells.
    Statx {
        path: String,
        last: Last,
    },
    SetFl {
        slot: Slot,
        flags: Vec<Open>,
    },
    SyncRange {
        slot: Slot,
        at: u64,
        len: u64,
    },
    Advise {
        slot: Slot,
        at: u64,
        len: u64,
        advice: Advice,
    },
    FSync {
        slot: Slot,
    },
    FDataSync {
        slot: Slot,
    },
    SyncFs {
        slot: Slot,
    },
    FList {
        slot: Slot,
    },
    // The mount.
    /// Closes everything, unmounts, and mounts again with the same type.
    Remount,
    /// Makes the mount read-only, with what is open on it.
    MakeReadOnly,
    MakeWritable,
    /// Asks to freeze the overlay, then freezes upper's filesystem, if that can be, and thaws it. Whoever
    /// went on writing would keep that from happening.
    ///
    /// No step is taken meanwhile, since what it waits for, and whether times of access are noted, would
    /// depend on when it ends.
    Freeze,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Step {
    /// The paths that the step names.
    pub fn paths(&self) -> Vec<&str> {
        match self {
            Step::Create { path, .. }
            | Step::Mkdir { path, .. }
            | Step::Mknod { path, .. }
            | Step::Symlink { path, .. }
            | Step::Unlink { path }
            | Step::Rmdir { path }
            | Step::Stat { path, .. }
            | Step::Access { path, .. }
            | Step::Readlink { path }
            | Step::List { path }
            | Step::ReadFile { path }
            | Step::Truncate { path, .. }
            | Step::Chmod { path, .. }
            | Step::Chown { path, .. }
            | Step::Utimes { path, .. }
            | Step::GetXattr { path, .. }
            | Step::SetXattr { path, .. }
            | Step::RemoveXattr { path, .. }
            | Step::ListXattr { path, .. }
            | Step::GetFieldsAt { path, .. }
            | Step::SetFieldsAt { path, .. }
            | Step::Statx { path, .. }
            | Step::Open { path, .. } => vec![path],
            Step::Link { from, to, .. } | Step::Rename { from, to, .. } => vec![from, to],
            Step::LinkSlot { to, .. } => vec![to],
            _ => Vec::new(),
        }
    }

    /// The slots whose files the step reads or changes.
    pub fn slots(&self) -> Vec<Slot> {
        match self {
            Step::LinkSlot { slot, .. }
            | Step::Write { slot, .. }
            | Step::WriteAt { slot, .. }
            | Step::Read { slot, .. }
            | Step::ReadAt { slot, .. }
            | Step::WriteParts { slot, .. }
            | Step::ReadParts { slot, .. }
            | Step::Queued { slot, .. }
            | Step::Seek { slot, .. }
            | Step::FTruncate { slot, .. }
            | Step::Allocate { slot, .. }
            | Step::MapWrite { slot, .. }
            | Step::MapRead { slot, .. }
            | Step::MapKeep { slot, .. }
            | Step::FStat { slot }
            | Step::FChmod { slot, .. }
            | Step::FChown { slot, .. }
            | Step::FUtimes { slot, .. }
            | Step::FGetXattr { slot, .. }
            | Step::FSetXattr { slot, .. }
            | Step::FRemoveXattr { slot, .. }
            | Step::FListXattr { slot }
            | Step::GetAttr { slot }
            | Step::SetAttr { slot, .. }
            | Step::GetFields { slot }
            | Step::SetFields { slot, .. }
            | Step::SetFl { slot, .. }
            | Step::SyncRange { slot, .. }
            | Step::Advise { slot, .. }
            | Step::FSync { slot }
            | Step::FDataSync { slot }
            | Step::SyncFs { slot }
            | Step::FList { slot } => vec![*slot],
            Step::CopyRange { slot, to, .. }
            | Step::SendFile { slot, to, .. }
            | Step::Splice { slot, to, .. }
            | Step::Clone { slot, to }
            | Step::CloneRange { slot, to, .. }
            | Step::Dedupe { slot, to, .. }
            | Step::Reopen { slot, to, .. } => vec![*slot, *to],
            _ => Vec::new(),
        }
    }

    /// Whether the step may change something that stays.
    pub fn changes(&self) -> bool {
        !matches!(
            self,
            Step::Stat { .. }
                | Step::Access { .. }
                | Step::Readlink { .. }
                | Step::List { .. }
                | Step::ReadFile { .. }
                | Step::GetXattr { .. }
                | Step::ListXattr { .. }
                | Step::Close { .. }
                | Step::Read { .. }
                | Step::ReadAt { .. }
                | Step::ReadParts { .. }
                | Step::Queued {
                    ask: Ask::Read | Ask::Sync | Ask::DataSync,
                    ..
                }
                | Step::Seek { .. }
                | Step::MapRead { .. }
                | Step::MapKeep { .. }
                | Step::MapPeek { .. }
                | Step::MapSync { .. }
                | Step::FStat { .. }
                | Step::FGetXattr { .. }
                | Step::FListXattr { .. }
                | Step::GetAttr { .. }
                | Step::GetFields { .. }
                | Step::GetFieldsAt { .. }
                | Step::Statx { .. }
                | Step::SyncRange { .. }
                | Step::Advise { .. }
                | Step::FSync { .. }
                | Step::FDataSync { .. }
                | Step::SyncFs { .. }
                | Step::FList { .. }
                | Step::Remount
                | Step::MakeReadOnly
                | Step::MakeWritable
                | Step::Freeze
        )
    }
}
