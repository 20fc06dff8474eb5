// SPDX-License-Identifier: GPL-2.0-only

//! Data that is written, and data that was read, told apart by short texts.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::statat;
use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::RawDir;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;

use crate::sys::SysResult;

/// A buffer that starts at a page, as direct I/O wants it.
pub struct Pattern {
    buffer: Vec<u8>,
    start: usize,
    length: usize,
}

impl Pattern {
    pub fn get(&self) -> &[u8] {
        self.buffer
            .get(self.start..self.start + self.length)
            .unwrap_or_default()
    }

    pub fn get_mut(&mut self) -> &mut [u8] {
        self.buffer
            .get_mut(self.start..self.start + self.length)
            .unwrap_or_default()
    }
}

const ALIGNMENT: usize = 4096;

/// Zeroes.
pub fn aligned(length: usize) -> Pattern {
    let buffer = vec![0; length + ALIGNMENT];
    let start = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    Pattern {
        buffer,
        start,
        length,
    }
}

/// Bytes that depend on `fill` and on their position.
pub fn pattern(length: usize, fill: u8) -> Pattern {
    let mut pattern = aligned(length);
    fill_with(pattern.get_mut(), fill);
    pattern
}

fn fill_with(buffer: &mut [u8], fill: u8) {
    let mut value = fill;
    for (index, byte) in buffer.iter_mut().enumerate() {
        // A position that is off by any power of two is seen.
        if index % 61 == 0 {
            value = value.wrapping_mul(31).wrapping_add(fill).wrapping_add(7);
        }
        *byte = value;
        value = value.wrapping_add(1);
    }
}

/// FNV-1a over words of eight bytes, which is quick and tells enough.
pub fn hash(data: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut chunks = data.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    for byte in chunks.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

pub fn digest(data: &[u8]) -> String {
    if data.is_empty() {
        return "0 bytes".to_owned();
    }
    format!("{} bytes {:x}", data.len(), hash(data))
}

pub fn read(fd: &OwnedFd, length: usize) -> SysResult<String> {
    let mut buffer = aligned(length);
    let count = rustix::io::read(fd, buffer.get_mut())?;
    Ok(digest(buffer.get().get(..count).unwrap_or_default()))
}

pub fn read_at(fd: &OwnedFd, at: u64, length: usize) -> SysResult<String> {
    let mut buffer = aligned(length);
    let count = rustix::io::pread(fd, buffer.get_mut(), at)?;
    Ok(digest(buffer.get().get(..count).unwrap_or_default()))
}

/// Said of a mapping that does not show what its descriptor reads.
pub const UNLIKE: &str = ", unlike the file";

/// Said of data that went from one place of a file to another without being copied on the way.
pub const WITHIN: &str = ", within one file";

/// Adds to what is said of data that went by references to pages whether it was within one file.
pub fn moved(from: &OwnedFd, to: &OwnedFd, said: &str) -> SysResult<String> {
    let (from, to) = (rustix::fs::fstat(from)?, rustix::fs::fstat(to)?);
    let is_same = (from.st_dev, from.st_ino) == (to.st_dev, to.st_ino);
    let within = if is_same { WITHIN } else { "" };
    Ok(format!("{said}{within}"))
}

/// Said of a directory in which a position cannot be sought.
pub const NO_POSITION: &str = "not in a directory";

/// What is in the file, and then zeroes.
pub fn read_padded(fd: &OwnedFd, at: u64, length: usize) -> SysResult<Vec<u8>> {
    let mut buffer = vec![0; length];
    rustix::io::pread(fd, &mut buffer, at)?;
    Ok(buffer)
}

/// Reads into buffers of these lengths.
pub fn read_parts(
    fd: &OwnedFd,
    at: u64,
    lengths: &[usize],
    flags: ReadWriteFlags,
) -> SysResult<String> {
    let mut buffers: Vec<_> = lengths.iter().map(|length| aligned(*length)).collect();
    let mut slices: Vec<_> = buffers
        .iter_mut()
        .map(|buffer| IoSliceMut::new(buffer.get_mut()))
        .collect();
    let count = rustix::io::preadv2(fd, &mut slices, at, flags)?;
    let mut all = buffers
        .iter()
        .map(Pattern::get)
        .collect::<Vec<_>>()
        .concat();
    all.truncate(count);
    Ok(digest(&all))
}

/// Names of attributes, sorted, from what the kernel gives.
pub fn names(list: &[u8]) -> Vec<String> {
    let mut names: Vec<_> = list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    names.sort();
    names
}

/// Comes after names in a listing that cannot be found.
pub const PHANTOM: &str = ":nothing";

/// What is left of a listing, sorted: no order is promised to anyone.
pub fn list(fd: &OwnedFd) -> SysResult<String> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = Vec::new();
    let mut dir = RawDir::new(fd, &mut buffer);
    while let Some(entry) = dir.next() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push((name, entry.file_type()));
    }
    let mut entries: Vec<_> = entries
        .into_iter()
        .map(|(name, kind)| {
            // Only these may stand for a whiteout.
            let is_phantom = matches!(kind, FileType::RegularFile | FileType::CharacterDevice)
                && statat(fd, &*name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_err_and(|error| error == Errno::NOENT);
            format!("{name}:{kind:?}{}", if is_phantom { PHANTOM } else { "" })
        })
        .collect();
    entries.sort();
    Ok(entries.join(" "))
}

/// The whole content of a file of reasonable size.
pub fn content(fd: &OwnedFd, buffer: &mut Vec<u8>) -> SysResult<()> {
    const LIMIT: usize = 16 << 20;
    buffer.clear();
    loop {
        let filled = buffer.len();
        buffer.resize(filled + (1 << 16), 0);
        let space = buffer.get_mut(filled..).unwrap_or_default();
        let count = rustix::io::read(fd, space)?;
        buffer.truncate(filled + count);
        if count == 0 || buffer.len() > LIMIT {
            return Ok(());
        }
    }
}
