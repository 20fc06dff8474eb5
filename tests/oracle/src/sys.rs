// SPDX-License-Identifier: GPL-2.0-only

//! System calls that rustix has no safe function for: mappings, ranges of clones, own memory.

#![expect(unsafe_code, reason = "the calls have no safe interface")]

pub mod control;
pub mod mapped;
pub mod queue;

use std::ffi::c_void;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use rustix::process::Pid;

pub type SysResult<T> = Result<T, Errno>;

fn check(result: isize) -> SysResult<usize> {
    usize::try_from(result).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}

/// A mapping of a file. The kernel reads and writes it on our behalf, from and to a pipe, so that a
/// page that cannot be had is an error and no signal.
pub struct Mapping {
    address: *mut c_void,
    length: usize,
}

/// How much a pipe holds.
const PIPE: usize = 1 << 16;

impl Mapping {
    pub fn new(
        fd: impl AsFd,
        at: u64,
        length: usize,
        flags: MapFlags,
        prot: ProtFlags,
    ) -> SysResult<Self> {
        // SAFETY: the kernel chooses the address, so no existing memory is touched.
        let address =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, prot, flags, fd, at) }?;
        Ok(Mapping { address, length })
    }

    fn range(&self, at: usize, length: usize) -> SysResult<*mut c_void> {
        let is_inside = at.checked_add(length).is_some_and(|end| end <= self.length);
        if !is_inside || length > PIPE {
            return Err(Errno::INVAL);
        }
        Ok(self.address.wrapping_byte_add(at))
    }

    pub fn read(&self, at: usize, buffer: &mut [u8]) -> SysResult<usize> {
        let there = self.range(at, buffer.len())?;
        let (output, input) = rustix::pipe::pipe()?;
        // SAFETY: the kernel reads from the mapping alone.
        let taken = unsafe { libc::write(input.as_raw_fd(), there, buffer.len()) };
        let taken = check(taken)?;
        rustix::io::read(output, buffer.get_mut(..taken).ok_or(Errno::IO)?)
    }

    pub fn write(&self, at: usize, data: &[u8]) -> SysResult<usize> {
        let there = self.range(at, data.len())?;
        let (output, input) = rustix::pipe::pipe()?;
        if data.is_empty() {
            return Ok(0);
        }
        let given = rustix::io::write(input, data)?;
        // SAFETY: the kernel writes to the mapping alone, to which nobody has a reference.
        check(unsafe { libc::read(output.as_raw_fd(), there, given) })
    }
}

impl Mapping {
    /// Writes what was changed to the file, and waits.
    pub fn sync(&self) -> SysResult<()> {
        // SAFETY: the range was mapped by `new`.
        unsafe { rustix::mm::msync(self.address, self.length, rustix::mm::MsyncFlags::SYNC) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // What stays mapped, because allocations are made to fail, would keep the file open.
        // SAFETY: the range was mapped by `new`, and nobody has a reference to it.
        while unsafe { rustix::mm::munmap(self.address, self.length) } == Err(Errno::NOMEM) {}
    }
}

/// `struct file_dedupe_range` with one target.
#[repr(C)]
struct DedupeRange {
    from_at: u64,
    length: u64,
    count: u16,
    reserved: [u16; 3],
    to: i64,
    to_at: u64,
    bytes: u64,
    status: i32,
    reserved2: u32,
}

/// Returns the number of bytes that are shared now, and the status for the target.
pub fn dedupe(
    from: impl AsFd,
    at: u64,
    length: u64,
    to: impl AsFd,
    to_at: u64,
) -> SysResult<(u64, i32)> {
    const FIDEDUPERANGE: libc::c_ulong = 0xc018_9436;
    let mut range = DedupeRange {
        from_at: at,
        length,
        count: 1,
        reserved: [0; 3],
        to: to.as_fd().as_raw_fd().into(),
        to_at,
        bytes: 0,
        status: 0,
        reserved2: 0,
    };
    // SAFETY: the call reads and writes a `struct file_dedupe_range` with one target.
    let result = unsafe { libc::ioctl(from.as_fd().as_raw_fd(), FIDEDUPERANGE, &mut range) };
    check(result as isize)?;
    Ok((range.bytes, range.status))
}

/// `fork(2)`: the process that is made, or nothing in that process.
pub fn fork() -> SysResult<Option<Pid>> {
    // SAFETY: a process that runs scripts has one thread, so its copy finds everything as it was.
    let made = check(unsafe { libc::fork() } as isize)?;
    Ok(i32::try_from(made).ok().and_then(Pid::from_raw))
}

/// `truncate(2)`.
pub fn truncate(path: &str, length: u64) -> SysResult<()> {
    let path = std::ffi::CString::new(path).map_err(|_| Errno::INVAL)?;
    let length = libc::off_t::try_from(length).map_err(|_| Errno::INVAL)?;
    // SAFETY: the path ends with a NUL and is borrowed over the call.
    let result = unsafe { libc::truncate(path.as_ptr(), length) };
    check(result as isize).map(drop)
}

/// Waits until the clock that gives files their times has passed the present one, so that what is
/// changed after this has another time than what was made before. That clock goes in ticks, and
/// some are late.
pub fn wait_for_tick() {
    let read = |clock| {
        let time = rustix::time::clock_gettime(clock);
        (time.tv_sec, time.tv_nsec)
    };
    let present = read(rustix::time::ClockId::Realtime);
    while read(rustix::time::ClockId::RealtimeCoarse) <= present {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
