// SPDX-License-Identifier: GPL-2.0-only

//! Answers of a FUSE server, put together field by field.

use rustix::io::Errno;

/// The fields after the header.
#[derive(Default)]
pub struct Reply(Vec<u8>);

impl Reply {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Fills up with zeroes to a length that is a multiple of this.
    pub fn align(mut self, to: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self
    }

    /// Adds zeroes.
    pub fn zeroes(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    pub fn fields(&self) -> &[u8] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// A whole message: `struct fuse_out_header`, and the fields if there is no error.
pub fn message(unique: u64, reply: Result<Reply, Errno>) -> Vec<u8> {
    let (error, fields) = match reply {
        Ok(reply) => (0, reply.0),
        Err(errno) => (-errno.raw_os_error(), Vec::new()),
    };
    let length = u32::try_from(16 + fields.len()).unwrap_or(u32::MAX);
    let header = Reply::new().u32(length).bytes(&error.to_ne_bytes());
    header.u64(unique).bytes(&fields).0
}

/// `struct fuse_init_out`, of version 7.31 and without any of the flags.
pub fn init() -> Reply {
    let versions = Reply::new().u32(7).u32(31);
    let limits = versions.u32(0).u32(0).u16(16).u16(12).u32(64 * 1024);
    limits.u32(1).u16(0).u16(0).zeroes(32)
}

/// `struct fuse_statfs_out`.
pub fn statfs(name_length: u32) -> Reply {
    let counts = [1 << 20, 1 << 19, 1 << 19, 1000, 500];
    let reply = counts.into_iter().fold(Reply::new(), Reply::u64);
    reply.u32(4096).u32(name_length).u32(4096).zeroes(28)
}

/// The value of an attribute, or its length if no room is given for it.
pub fn value(value: &[u8], room: u32) -> Result<Reply, Errno> {
    match room as usize {
        0 => {
            let length = u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?;
            Ok(Reply::new().u32(length).u32(0))
        }
        room if room < value.len() => Err(Errno::RANGE),
        _ => Ok(Reply::new().bytes(value)),
    }
}

/// The number that is there, 0 beyond the end.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    found.map_or(0, u32::from_ne_bytes)
}

/// The number that is there, 0 beyond the end.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let found = bytes
        .get(at..at + 8)
        .and_then(|eight| eight.try_into().ok());
    found.map_or(0, u64::from_ne_bytes)
}
