// SPDX-License-Identifier: GPL-2.0-only

//! Sparse images of disks.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

const PIECE: usize = 64 << 10;

/// An empty image of this length.
pub fn create(path: &Path, length: u64) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .with_context(|| format!("create {}", path.display()))?;
    file.set_len(length)?;
    Ok(file)
}

/// An image of a device, with holes where that has zeroes.
pub fn of_device(device: &Path, path: &Path) -> Result<File> {
    let mut from = File::open(device)?;
    let length = rovl_kit::dm::sectors(device)? * 512;
    let to = create(path, length)?;
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(to);
        }
        let piece = &buffer[..count];
        if piece.iter().any(|byte| *byte != 0) {
            to.write_all_at(piece, at)?;
        }
        at += count as u64;
    }
}

/// A copy of an image, with the same holes.
pub fn copy(from: &File, path: &Path) -> Result<File> {
    let length = from.metadata()?.len();
    let to = create(path, length)?;
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        at = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(to),
            other => other?,
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(at))?;
        while at < end {
            let piece = &mut buffer[..PIECE.min(usize::try_from(end - at)?)];
            from.read_exact_at(piece, at)?;
            to.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
    }
}
