// SPDX-License-Identifier: GPL-2.0-only

//! The log of dm-log-writes, as Documentation/admin-guide/device-mapper/log-writes.rst has it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

const MAGIC: u64 = 0x006a_7366_7773_6872;
pub const SECTOR: u64 = 512;

const FLUSH: u64 = 1 << 0;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;

/// What happened to the disk, in order.
pub struct Log {
    file: File,
    pub entries: Vec<Entry>,
}

pub struct Entry {
    flags: u64,
    /// Where on the disk, and how much, in bytes.
    at: u64,
    length: u64,
    /// Where in the log the data is.
    data: u64,
    /// The number that a mark has.
    mark: Option<usize>,
}

impl Entry {
    /// Whether all that was written before is on the disk for good.
    pub fn is_flush(&self) -> bool {
        self.flags & FLUSH != 0
    }

    /// Whether this itself is on the disk for good.
    pub fn is_lasting(&self) -> bool {
        self.flags & (FUA | DISCARD | MARK) != 0
    }

    pub fn mark(&self) -> Option<usize> {
        self.mark
    }
}

impl Log {
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let head = words(&file, 0)?;
        ensure!(head[0] == MAGIC, "there is no log");
        ensure!(head[3] & 0xffff_ffff == SECTOR, "the log has other sectors");
        let mut entries = Vec::new();
        let mut at = SECTOR;
        for _ in 0..head[2] {
            let [sector, count, flags, data_length] = words(&file, at)?;
            let mut entry = Entry {
                flags,
                at: sector * SECTOR,
                length: count * SECTOR,
                data: at + SECTOR,
                mark: None,
            };
            if flags & MARK != 0 {
                let mut text = vec![0; usize::try_from(data_length)?];
                // A mark's text follows the entry in its own sector.
                file.read_exact_at(&mut text, at + 32)?;
                let text = String::from_utf8_lossy(&text);
                // The target itself makes one at its end, with words.
                entry.mark = text.trim_end_matches('\0').parse().ok();
            }
            at += SECTOR;
            if flags & DISCARD == 0 {
                at += entry.length;
            }
            entries.push(entry);
        }
        Ok(Log { file, entries })
    }

    /// Does to the disk's image what this entry did to the disk.
    pub fn apply(&self, number: usize, image: &File) -> Result<()> {
        let entry = &self.entries[number];
        let mut data = vec![0; usize::try_from(entry.length)?];
        if entry.flags & DISCARD == 0 {
            self.file.read_exact_at(&mut data, entry.data)?;
        }
        Ok(image.write_all_at(&data, entry.at)?)
    }
}

fn words(file: &File, at: u64) -> Result<[u64; 4]> {
    let mut bytes = [0; 32];
    file.read_exact_at(&mut bytes, at)
        .context("the log ends early")?;
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into()?);
    }
    Ok(words)
}
