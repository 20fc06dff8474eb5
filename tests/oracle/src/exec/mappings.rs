// SPDX-License-Identifier: GPL-2.0-only

//! Mappings of files, and what they show of them.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use super::Session;
use crate::data;
use crate::step::Map;
use crate::step::Slot;
use crate::step::Step;
use crate::sys::Mapping;
use crate::sys::SysResult;

/// How large a mapping is that stays.
const KEPT: usize = 2 * 4096;
/// The page that mappings begin at.
const PAGE: u64 = 4096;

/// A mapping that stays, and the file, which it keeps open anyway.
pub(super) struct Kept {
    mapping: Mapping,
    file: OwnedFd,
    how: Map,
}

impl Session<'_> {
    fn map(&self, map: usize) -> SysResult<&Kept> {
        self.maps
            .get(map)
            .and_then(Option::as_ref)
            .ok_or(Errno::BADF)
    }

    /// Steps that reach data through mappings.
    pub(super) fn step_maps(&mut self, step: &Step) -> Option<SysResult<String>> {
        let number = |count: usize| count.to_string();
        Some(match step {
            Step::MapWrite {
                slot,
                at,
                len,
                fill,
            } => self.slot(*slot).and_then(|fd| {
                let size = u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0);
                let at = (*at).min(size);
                let length = usize::try_from((size - at).min(*len as u64)).unwrap_or(0);
                let (map, inside) = map_range(fd, at, length, MapFlags::SHARED, ProtFlags::WRITE)?;
                map.write(inside, data::pattern(length, *fill).get())
                    .map(number)
            }),
            Step::MapRead { slot, at, len } => self.slot(*slot).and_then(|fd| {
                let (map, inside) = map_range(fd, *at, *len, MapFlags::SHARED, ProtFlags::empty())?;
                let mapped = match read_map(&map, inside, *len) {
                    Err(Errno::FAULT) => return no_page(fd, *at),
                    other => other?,
                };
                // Direct reading may be refused.
                let read = data::read_padded(fd, *at, *len);
                let is_other = read.is_ok_and(|read| !read.starts_with(&mapped));
                Ok(shown(&mapped, is_other))
            }),
            Step::MapKeep { slot, map, how } => self.keep(*slot, *map, *how),
            Step::MapPeek { map, at, len } => self.map(*map).and_then(|kept| {
                let inside = usize::try_from(*at).map_err(|_| Errno::INVAL)?;
                let mapped = match read_map(&kept.mapping, inside, *len) {
                    Err(Errno::FAULT) => return no_page(&kept.file, *at),
                    other => other?,
                };
                // What was written to a private one is seen there alone, and what comes after the end of the
                // file in no file.
                let mut read = vec![0; *len];
                let is_other = kept.how != Map::Private
                    && rustix::io::pread(&kept.file, &mut read, *at).is_ok_and(|count| {
                        let count = count.min(mapped.len());
                        read.get(..count) != mapped.get(..count)
                    });
                Ok(shown(&mapped, is_other))
            }),
            Step::MapPoke { map, at, len, fill } => self.map(*map).and_then(|kept| {
                let inside = usize::try_from(*at).map_err(|_| Errno::INVAL)?;
                let written = kept.mapping.write(inside, data::pattern(*len, *fill).get());
                match written {
                    Err(Errno::FAULT) if kept.how != Map::Read => no_page(&kept.file, *at),
                    other => other.map(number),
                }
            }),
            Step::MapSync { map } => self
                .map(*map)
                .and_then(|kept| kept.mapping.sync())
                .map(|()| String::new()),
            _ => return None,
        })
    }

    fn keep(&mut self, slot: Slot, map: usize, how: Map) -> SysResult<String> {
        let (flags, prot) = match how {
            Map::Read => (MapFlags::SHARED, ProtFlags::READ),
            Map::Write => (MapFlags::SHARED, ProtFlags::READ | ProtFlags::WRITE),
            Map::Private => (MapFlags::PRIVATE, ProtFlags::READ | ProtFlags::WRITE),
        };
        let fd = self.slot(slot)?;
        let kept = Kept {
            mapping: Mapping::new(fd, 0, KEPT, flags, prot)?,
            file: rustix::io::fcntl_dupfd_cloexec(fd, 0)?,
            how,
        };
        *self.maps.get_mut(map).ok_or(Errno::INVAL)? = Some(kept);
        Ok(String::new())
    }
}

/// What a mapping shows, and whether that is other than what is read.
fn shown(mapped: &[u8], is_other: bool) -> String {
    let unlike = if is_other { data::UNLIKE } else { "" };
    format!("{}{unlike}", data::digest(mapped))
}

/// What is said of a page that cannot be had: that is wrong if the file has data there.
fn no_page(fd: &OwnedFd, at: u64) -> SysResult<String> {
    match rustix::io::pread(fd, &mut [0], at) {
        Ok(1) => Ok(format!("no page{}", data::UNLIKE)),
        _ => Err(Errno::FAULT),
    }
}

/// Maps what is needed to reach the range. Returns where the range begins in the mapping.
fn map_range(
    fd: &OwnedFd,
    at: u64,
    length: usize,
    flags: MapFlags,
    more: ProtFlags,
) -> SysResult<(Mapping, usize)> {
    let inside = at % PAGE;
    let start = at - inside;
    let inside = usize::try_from(inside).map_err(|_| Errno::INVAL)?;
    let map = Mapping::new(fd, start, inside + length, flags, ProtFlags::READ | more)?;
    Ok((map, inside))
}

fn read_map(map: &Mapping, at: usize, length: usize) -> SysResult<Vec<u8>> {
    let mut buffer = vec![0; length];
    let count = map.read(at, &mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}
