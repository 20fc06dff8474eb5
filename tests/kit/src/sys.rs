// SPDX-License-Identifier: GPL-2.0-only

//! Helpers around system calls, and the only unsafe code beside that of the device mapper.

#![expect(
    unsafe_code,
    reason = "mappings, namespaces and allocators have no safe interface"
)]

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;
use rustix::fs::RawDir;
use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use rustix::thread::UnshareFlags;

pub type SysResult<T> = std::result::Result<T, Errno>;

/// Gives the calling thread a mount namespace of its own. Threads that it starts inherit it.
pub fn unshare_mounts() -> SysResult<()> {
    // SAFETY: no file descriptor table is unshared, which is what makes this call unsafe.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
}

/// An entry as getdents gives it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: OsString,
    pub ino: u64,
    pub kind: FileType,
}

/// Reads the directory from where `fd` stands to its end, `buffer` bytes at a time, without the
/// two dots.
pub fn read_dir(fd: impl AsFd, buffer: usize) -> SysResult<Vec<Entry>> {
    let mut space = vec![MaybeUninit::uninit(); buffer];
    let mut dir = RawDir::new(fd, &mut space);
    let mut entries = Vec::new();
    while let Some(entry) = dir.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            entries.push(Entry {
                name: OsStr::from_bytes(name).to_owned(),
                ino: entry.ino(),
                kind: entry.file_type(),
            });
        }
    }
    Ok(entries)
}

/// A shared mapping of a file from its start.
pub struct Mapping {
    address: *mut std::ffi::c_void,
    length: usize,
}

impl Mapping {
    /// Maps for reading, or for writing as well.
    pub fn new(fd: impl AsFd, length: usize, prot: ProtFlags) -> SysResult<Self> {
        let null = std::ptr::null_mut();
        // SAFETY: the kernel chooses the address, so no existing memory is touched.
        let address = unsafe { rustix::mm::mmap(null, length, prot, MapFlags::SHARED, fd, 0) }?;
        Ok(Mapping { address, length })
    }

    /// Copies bytes out of the mapping. The file must be long enough, or the program ends by a signal.
    pub fn read(&self, at: usize, to: &mut [u8]) {
        assert!(at + to.len() <= self.length);
        // SAFETY: the range lies in the mapping, as was just checked. No reference to the mapped
        // bytes is made, since the file may change meanwhile.
        unsafe {
            let from = self.address.cast::<u8>().add(at);
            std::ptr::copy(from, to.as_mut_ptr(), to.len());
        }
    }

    /// Copies bytes into a mapping that is for writing; as `read` otherwise.
    pub fn write(&self, at: usize, from: &[u8]) {
        assert!(at + from.len() <= self.length);
        // SAFETY: as in `read`.
        unsafe {
            let to = self.address.cast::<u8>().add(at);
            std::ptr::copy(from.as_ptr(), to, from.len());
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Unmapping takes memory where mappings were merged, or allocations are made to fail. What
        // stays mapped would keep the file open.
        // SAFETY: the range was mapped by `new`, and no reference to it is ever made.
        while unsafe { rustix::mm::munmap(self.address, self.length) } == Err(Errno::NOMEM) {}
    }
}

/// Lets a part of `to` share the data of a part of `from`; a length of 0 means up to the end.
pub fn clone_range(
    from: impl AsFd,
    at: u64,
    length: u64,
    to: impl AsFd,
    to_at: u64,
) -> SysResult<()> {
    const FICLONERANGE: libc::c_ulong = 0x4020_940d;

    /// `struct file_clone_range`.
    #[repr(C)]
    struct Range {
        from: i64,
        at: u64,
        length: u64,
        to_at: u64,
    }
    let range = Range {
        from: from.as_fd().as_raw_fd().into(),
        at,
        length,
        to_at,
    };
    // SAFETY: this call reads a `struct file_clone_range`, which this is.
    match unsafe { libc::ioctl(to.as_fd().as_raw_fd(), FICLONERANGE, &range) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// The allocator of a program in which the kernel's allocations fail, and with them its own: it asks
/// again, where others would end the program.
pub struct Patient;

/// How often it asks.
const PATIENCE: usize = 1000;

fn ask(allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let mut tries = (0..PATIENCE).map(|_| allocate());
    tries
        .find(|found| !found.is_null())
        .unwrap_or(std::ptr::null_mut())
}

// SAFETY: all is the system's allocator's, which leaves everything as it is where it fails.
unsafe impl GlobalAlloc for Patient {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same contract.
        ask(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same contract.
        ask(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the same contract, and what failed has left `old` alone.
        ask(|| unsafe { System.realloc(old, layout, size) })
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Drops clean caches: 1 is pages, 2 dentries and inodes, 3 both.
pub fn drop_caches(which: u8) -> std::io::Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", which.to_string())
}
