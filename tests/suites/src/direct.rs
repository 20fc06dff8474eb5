// SPDX-License-Identifier: GPL-2.0-only

//! As fsx, but past the page cache, which fsx cannot: random operations on one file by `O_DIRECT`,
//! compared with what is known of the content, and now and then with what the page cache shows.

use std::fs;
use std::os::fd::OwnedFd;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::ktap::Passed;
use rovl_kit::random::pattern;
use rovl_kit::random::Random;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::place::Place;

/// What offsets, lengths and buffers are aligned to.
const ALIGN: usize = 4096;
/// The longest file, and the longest operation, in such units.
const UNITS: usize = 64;
const LONGEST: usize = 16;

pub fn run(place: &Place, operations: u64) -> Result<Passed> {
    let data = pattern(UNITS / 2 * ALIGN, 1);
    let lower = place.lower.join("direct");
    fs::write(&lower, &data)?;
    place.mount()?;
    let mut file = Exercise {
        path: place.point.join("direct"),
        direct: None,
        good: data.clone(),
        buffer: vec![0; (LONGEST + 1) * ALIGN],
    };
    let mut random = Random::new(1);
    for number in 0..operations {
        file.step(&mut random)
            .with_context(|| format!("operation {number}"))?;
    }
    drop(file);
    place.unmount()?;
    ensure!(fs::read(&lower)? == data, "the lower layer has changed");
    Ok(Passed::Did(format!("{operations} operations")))
}

struct Exercise {
    path: std::path::PathBuf,
    direct: Option<OwnedFd>,
    /// What the file must hold.
    good: Vec<u8>,
    buffer: Vec<u8>,
}

impl Exercise {
    fn step(&mut self, random: &mut Random) -> Result<()> {
        match random.below(24) {
            0 => self.direct = None,
            1 => self.truncate(random)?,
            2 => rustix::fs::fsync(self.direct()?)?,
            3 => {
                let found = fs::read(&self.path)?;
                ensure!(found == self.good, "the page cache shows something else");
            }
            4 => {
                let size = rustix::fs::fstat(self.direct()?)?.st_size;
                ensure!(size == self.good.len() as i64, "it has {size} bytes");
            }
            5..=13 => self.write(random)?,
            _ => self.read(random)?,
        }
        Ok(())
    }

    fn direct(&mut self) -> Result<&OwnedFd> {
        if self.direct.is_none() {
            let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
            let file = rustix::fs::open(&self.path, flags, Mode::empty()).context("open")?;
            self.direct = Some(file);
        }
        self.direct.as_ref().context("no file")
    }

    /// The aligned part of the buffer, of this length.
    fn room(buffer: &mut [u8], length: usize) -> &mut [u8] {
        let start = buffer.as_ptr().align_offset(ALIGN);
        &mut buffer[start..start + length]
    }

    fn write(&mut self, random: &mut Random) -> Result<()> {
        let length = (1 + random.below(LONGEST)) * ALIGN;
        let at = random.below(UNITS - LONGEST) * ALIGN;
        let mut buffer = std::mem::take(&mut self.buffer);
        let room = Self::room(&mut buffer, length);
        room.copy_from_slice(&pattern(length, random.number()));
        let written = rustix::io::pwrite(self.direct()?, room, at as u64).context("write")?;
        ensure!(
            written == length,
            "only {written} of {length} bytes were written"
        );
        if self.good.len() < at + length {
            self.good.resize(at + length, 0);
        }
        self.good[at..at + length].copy_from_slice(room);
        self.buffer = buffer;
        Ok(())
    }

    fn read(&mut self, random: &mut Random) -> Result<()> {
        let length = (1 + random.below(LONGEST)) * ALIGN;
        let at = random.below(UNITS) * ALIGN;
        let mut buffer = std::mem::take(&mut self.buffer);
        let room = Self::room(&mut buffer, length);
        let read = rustix::io::pread(self.direct()?, &mut *room, at as u64).context("read")?;
        let wanted = self.good.get(at..).unwrap_or_default();
        let wanted = &wanted[..wanted.len().min(length)];
        ensure!(room[..read] == *wanted, "read at {at} is something else");
        self.buffer = buffer;
        Ok(())
    }

    fn truncate(&mut self, random: &mut Random) -> Result<()> {
        let length = random.below(UNITS) * ALIGN;
        rustix::fs::ftruncate(self.direct()?, length as u64).context("truncate")?;
        self.good.resize(length, 0);
        Ok(())
    }
}
