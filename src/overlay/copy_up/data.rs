// SPDX-License-Identifier: GPL-2.0-only

//! The data of a regular file (C4).
//!
//! Best is to share it, then to let the filesystem copy it in its own way. Otherwise it goes through the
//! page caches, in steps large enough not to count, and small enough that a task which is to die does so
//! soon. What is no data in the lower file is none in the copy.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    Plan,
    Syncing, //
};
use crate::vfs::{
    copy,
    file::{
        LayerFile,
        OpenFlags, //
    },
};

/// How much is copied in one step, in bytes (C: `OVL_COPY_UP_CHUNK_SIZE`).
const STEP: i64 = 1 << 20;

/// Fills `to`, which is empty, and of which no attributes are set: writing would take some of them away.
///
/// # Errors
///
/// `EINTR` if the task is to die, `ENOSPC`, `EDQUOT` and what else the layers' filesystems say.
pub(super) fn copy(plan: &Plan<'_>, to: &LayerFile) -> Result {
    let size = plan.stat.size();
    let cred = plan.instance.mounter();
    let from = LayerFile::open_to_read(&plan.source, OpenFlags::LARGE_FILE, cred)?;
    // That it cannot be shared is what is to be expected.
    let is_shared = from.clone_to(to, size) == Ok(size);
    if !is_shared {
        from.may_copy_to(to, size)?;
        copy_ranges(&from, to, size)?;
    }
    // overlayfs never syncs what is shared. Where the name may come to the disk before that, a file would be
    // empty after a crash.
    let is_ordered = is_shared && plan.writable.layer.mount().superblock().orders_clones();
    if plan.syncing() == Syncing::WithData && !is_ordered {
        to.sync_all()?;
    }
    Ok(())
}

/// Copies each range of data.
fn copy_ranges(from: &LayerFile, to: &LayerFile, size: i64) -> Result {
    let mut position = 0;
    while let Some((start, end)) = next_range(from, position, size)? {
        position = copy_range(from, to, start, end)?;
        if position < end {
            break;
        }
    }
    Ok(())
}

/// The next range of data, from `position` on.
///
/// Filesystems that know of no holes say so in different ways; to them, all is data.
fn next_range(from: &LayerFile, position: i64, size: i64) -> Result<Option<(i64, i64)>> {
    if position >= size {
        return Ok(None);
    }
    if !from.can_seek() {
        return Ok(Some((position, size)));
    }
    let start = match from.next_data(position) {
        Ok(Some(start)) => start.max(position),
        Ok(None) => return Ok(None),
        Err(_) => return Ok(Some((position, size))),
    };
    let end = match from.next_hole(start) {
        Ok(Some(end)) if end > start => end.min(size),
        _ => size,
    };
    Ok((start < size).then_some((start, end)))
}

/// Copies all from `start` to `end`. Returns where it has come to, which is before `end` only if the file
/// has become shorter.
fn copy_range(from: &LayerFile, to: &LayerFile, start: i64, end: i64) -> Result<i64> {
    let mut position = start;
    while position < end {
        if copy::is_being_killed() {
            return Err(EINTR);
        }
        let len = STEP.min(end.saturating_sub(position));
        let copied = step(from, to, position, usize::try_from(len)?)?;
        if copied == 0 {
            break;
        }
        position = position.saturating_add(i64::try_from(copied)?);
    }
    Ok(position)
}

/// Copies up to `len` bytes. Returns how many were copied, zero at the end of the file.
fn step(from: &LayerFile, to: &LayerFile, position: i64, len: usize) -> Result<usize> {
    if to.copies_on_its_own() {
        match from.copy_range_to(to, position, len) {
            // It does not do it between these two, or not at this place.
            Ok(0) => (),
            Err(error) if error == EXDEV || error == EOPNOTSUPP || error == EINVAL => (),
            result => return result,
        }
    }
    from.splice_to(to, position, len)
}
