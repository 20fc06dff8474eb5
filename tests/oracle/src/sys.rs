// SPDX-License-Identifier: GPL-2.0-only

//! System calls that rustix has no safe function for: mappings, ranges of clones, own memory.

#![expect(unsafe_code, reason = "the calls have no safe interface")]

use std::ffi::c_void;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

pub type SysResult<T> = Result<T, Errno>;

fn check(result: isize) -> SysResult<usize> {
    usize::try_from(result).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}

/// A mapping of a file. It is read and written by the kernel on our behalf, so that a page that
/// cannot be had is an error and no signal.
pub struct Mapping {
    address: *mut c_void,
    length: usize,
}

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

    fn range(&self, at: usize, length: usize) -> SysResult<libc::iovec> {
        if at.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(Errno::INVAL);
        }
        Ok(libc::iovec {
            iov_base: self.address.wrapping_byte_add(at),
            iov_len: length,
        })
    }

    pub fn read(&self, at: usize, buffer: &mut [u8]) -> SysResult<usize> {
        let there = self.range(at, buffer.len())?;
        let here = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: the kernel writes to `buffer` alone, which is borrowed for writing.
        check(unsafe { libc::process_vm_readv(libc::getpid(), &here, 1, &there, 1, 0) })
    }

    pub fn write(&self, at: usize, data: &[u8]) -> SysResult<usize> {
        let there = self.range(at, data.len())?;
        let here = libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        };
        // SAFETY: the kernel writes to the mapping alone, to which nobody has a reference.
        check(unsafe { libc::process_vm_writev(libc::getpid(), &here, 1, &there, 1, 0) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, and nobody has a reference to it.
        let _ = unsafe { rustix::mm::munmap(self.address, self.length) };
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
