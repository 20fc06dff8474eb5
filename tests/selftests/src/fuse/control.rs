// SPDX-License-Identifier: GPL-2.0-only

//! What a server counts, and what it is told to fail, by attributes of the root that are never stored.

use std::time::Duration;

use rustix::io::Errno;

/// How often descriptors were closed, in decimal.
pub const FLUSHES: &str = "user.server.flushes";

/// Who closed a descriptor last, as the kernel tells servers, in decimal.
pub const FLUSH_OWNER: &str = "user.server.flush-owner";

/// With which errno closing fails, in decimal; 0 for success.
pub const FLUSH_ERROR: &str = "user.server.flush-error";

/// With which errno `statfs` fails, in decimal; 0 for success.
pub const STATFS_ERROR: &str = "user.server.statfs-error";

/// How long names may be, in decimal, as `statfs` says.
pub const NAME_LENGTH: &str = "user.server.name-length";

/// What is added to the inode numbers that users see, in decimal.
pub const NUMBERS_FROM: &str = "user.server.numbers-from";

/// With which errno giving an object one name more fails, in decimal; 0 for success.
pub const LINK_ERROR: &str = "user.server.link-error";

/// How many names an object may have, in decimal.
pub const MOST_LINKS: &str = "user.server.most-links";

/// How often files were opened.
pub const OPENS: &str = "user.server.opens";

/// How often directories were opened.
pub const DIR_OPENS: &str = "user.server.dir-opens";

/// How often data was asked for, a page or more at a time.
pub const READS: &str = "user.server.reads";

/// How many milliseconds later than others requests for data, and those to sync directories, are answered. What
/// waits is answered at once when this becomes 0.
pub const READ_DELAY: &str = "user.server.read-delay";

/// With which errno reading fails.
pub const READ_ERROR: &str = "user.server.read-error";

/// With which errno writing fails.
pub const WRITE_ERROR: &str = "user.server.write-error";

/// How often files were synced.
pub const SYNCS: &str = "user.server.syncs";

/// How often directories were synced.
pub const DIR_SYNCS: &str = "user.server.dir-syncs";

/// With which errno syncing fails.
pub const SYNC_ERROR: &str = "user.server.sync-error";

/// How often it was asked to copy data by itself.
pub const COPIES: &str = "user.server.copies";

/// With which errno copying by itself fails.
pub const COPY_ERROR: &str = "user.server.copy-error";

/// How many bytes it copies by itself at most, each time it is asked.
pub const COPY_MOST: &str = "user.server.copy-most";

pub struct Control {
    pub flushes: u64,
    pub flush_owner: u64,
    pub flush_error: u64,
    pub statfs_error: u64,
    pub name_length: u64,
    pub link_error: u64,
    pub most_links: u64,
    pub opens: u64,
    pub dir_opens: u64,
    pub reads: u64,
    pub read_delay: u64,
    pub read_error: u64,
    pub write_error: u64,
    pub syncs: u64,
    pub dir_syncs: u64,
    pub sync_error: u64,
    pub copies: u64,
    pub copy_error: u64,
    pub copy_most: u64,
}

impl Control {
    pub fn new() -> Self {
        Control {
            flushes: 0,
            flush_owner: 0,
            flush_error: 0,
            statfs_error: 0,
            name_length: 255,
            link_error: 0,
            most_links: u64::MAX,
            opens: 0,
            dir_opens: 0,
            reads: 0,
            read_delay: 0,
            read_error: 0,
            write_error: 0,
            syncs: 0,
            dir_syncs: 0,
            sync_error: 0,
            copies: 0,
            copy_error: 0,
            copy_most: u64::MAX,
        }
    }

    /// The number behind an attribute.
    pub fn number(&mut self, name: &[u8]) -> Option<&mut u64> {
        Some(match std::str::from_utf8(name).ok()? {
            FLUSHES => &mut self.flushes,
            FLUSH_OWNER => &mut self.flush_owner,
            FLUSH_ERROR => &mut self.flush_error,
            STATFS_ERROR => &mut self.statfs_error,
            NAME_LENGTH => &mut self.name_length,
            LINK_ERROR => &mut self.link_error,
            MOST_LINKS => &mut self.most_links,
            OPENS => &mut self.opens,
            DIR_OPENS => &mut self.dir_opens,
            READS => &mut self.reads,
            READ_DELAY => &mut self.read_delay,
            READ_ERROR => &mut self.read_error,
            WRITE_ERROR => &mut self.write_error,
            SYNCS => &mut self.syncs,
            DIR_SYNCS => &mut self.dir_syncs,
            SYNC_ERROR => &mut self.sync_error,
            COPIES => &mut self.copies,
            COPY_ERROR => &mut self.copy_error,
            COPY_MOST => &mut self.copy_most,
            _ => return None,
        })
    }

    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.read_delay)
    }
}

/// Fails with this errno, unless it is 0.
pub fn failing(errno: u64) -> Result<(), Errno> {
    match i32::try_from(errno) {
        Ok(0) => Ok(()),
        Ok(errno) => Err(Errno::from_raw_os_error(errno)),
        Err(_) => Err(Errno::IO),
    }
}
