// SPDX-License-Identifier: GPL-2.0-only

//! Attributes of files that are no extended ones, and what is asked of a whole filesystem.

#![expect(unsafe_code, reason = "the calls have no safe interface")]

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

use super::check;
use super::SysResult;
use rustix::fs::AtFlags;
use rustix::io::Errno;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct FsXattr {
    pub xflags: u32,
    pub extsize: u32,
    nextents: u32,
    pub projid: u32,
    pub cowextsize: u32,
    padding: [u8; 8],
}

pub fn fsgetxattr(fd: impl AsFd) -> SysResult<FsXattr> {
    const FSGETXATTR: libc::c_ulong = 0x801c_581f;
    let mut attr = FsXattr::default();
    // SAFETY: this call writes a `struct fsxattr`, which `attr` is.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FSGETXATTR, &raw mut attr) };
    check(result as isize)?;
    Ok(attr)
}

pub fn fssetxattr(fd: impl AsFd, attr: &FsXattr) -> SysResult<()> {
    const FSSETXATTR: libc::c_ulong = 0x401c_5820;
    // SAFETY: this call reads a `struct fsxattr`, which `attr` is.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FSSETXATTR, &raw const *attr) };
    check(result as isize).map(drop)
}

/// `struct file_attr`, the same by path.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct FileAttr {
    pub xflags: u64,
    pub extsize: u32,
    nextents: u32,
    pub projid: u32,
    pub cowextsize: u32,
}

/// `file_getattr(2)`.
pub fn file_getattr(path: &str, flags: AtFlags) -> SysResult<FileAttr> {
    const FILE_GETATTR: libc::c_long = 468;
    let mut attr = FileAttr::default();
    file_attr(FILE_GETATTR, path, &mut attr, flags)?;
    Ok(attr)
}

/// `file_setattr(2)`.
pub fn file_setattr(path: &str, mut attr: FileAttr, flags: AtFlags) -> SysResult<()> {
    const FILE_SETATTR: libc::c_long = 469;
    file_attr(FILE_SETATTR, path, &mut attr, flags)
}

fn file_attr(call: libc::c_long, path: &str, attr: &mut FileAttr, flags: AtFlags) -> SysResult<()> {
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    // SAFETY: the path ends with a NUL, and `attr` is a `struct file_attr` of the size told.
    let result = unsafe {
        libc::syscall(
            call,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut *attr,
            size_of::<FileAttr>(),
            flags.bits(),
        )
    };
    check(result as isize).map(drop)
}

/// Forbids changes to a filesystem, until it is thawed.
pub fn freeze(fd: impl AsFd) -> SysResult<()> {
    const FIFREEZE: libc::c_ulong = 0xc004_5877;
    // SAFETY: this call reads and writes nothing.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FIFREEZE, 0) };
    check(result as isize).map(drop)
}

/// Allows changes again.
pub fn thaw(fd: impl AsFd) -> SysResult<()> {
    const FITHAW: libc::c_ulong = 0xc004_5878;
    // SAFETY: this call reads and writes nothing.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FITHAW, 0) };
    check(result as isize).map(drop)
}

/// `sync_file_range(2)`: writes the range and waits.
pub fn sync_range(fd: impl AsFd, at: u64, length: u64) -> SysResult<()> {
    let number = |value| libc::off64_t::try_from(value).map_err(|_| Errno::INVAL);
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::sync_file_range(fd, number(at)?, number(length)?, flags) };
    check(result as isize).map(drop)
}
