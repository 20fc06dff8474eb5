// SPDX-License-Identifier: GPL-2.0-only

//! System calls that rustix has no function for: leases, extents, attributes, native AIO, io_uring.

#![expect(unsafe_code, reason = "the calls have no safe interface")]

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

type SysResult<T> = std::result::Result<T, Errno>;

fn check(result: libc::c_long) -> SysResult<libc::c_long> {
    if result >= 0 {
        return Ok(result);
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Kinds of leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    Read,
    Write,
    None,
}

impl Lease {
    fn raw(self) -> libc::c_int {
        match self {
            Lease::Read => libc::F_RDLCK,
            Lease::Write => libc::F_WRLCK,
            Lease::None => libc::F_UNLCK,
        }
    }
}

pub fn set_lease(fd: impl AsFd, lease: Lease) -> SysResult<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::fcntl(fd, libc::F_SETLEASE, lease.raw()) };
    check(result.into()).map(drop)
}

pub fn lease(fd: impl AsFd) -> SysResult<Lease> {
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETLEASE) };
    match i32::try_from(check(result.into())?) {
        Ok(libc::F_RDLCK) => Ok(Lease::Read),
        Ok(libc::F_WRLCK) => Ok(Lease::Write),
        _ => Ok(Lease::None),
    }
}

/// `struct fsxattr`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct FsXattr {
    pub xflags: u32,
    pub extsize: u32,
    pub nextents: u32,
    pub projid: u32,
    pub cowextsize: u32,
    padding: [u8; 8],
}

/// The bit in `xflags` that says that the file is immutable.
pub const XFLAG_IMMUTABLE: u32 = 0x8;

pub fn fsgetxattr(fd: impl AsFd) -> SysResult<FsXattr> {
    const FSGETXATTR: libc::c_ulong = 0x801c_581f;
    let mut attr = FsXattr::default();
    // SAFETY: this call writes a `struct fsxattr`, which `attr` is.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FSGETXATTR, &mut attr) };
    check(result.into())?;
    Ok(attr)
}

/// Sets the size of the file at `path`.
pub fn truncate(path: &std::path::Path, size: i64) -> SysResult<()> {
    use std::os::unix::ffi::OsStrExt;

    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the name is a C string.
    let result = unsafe { libc::truncate(path.as_ptr(), size) };
    check(result.into()).map(drop)
}

/// One extent of a file.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub logical: u64,
    pub physical: u64,
    pub length: u64,
    reserved: [u64; 2],
    pub flags: u32,
    reserved2: [u32; 3],
}

const EXTENTS: usize = 32;

#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS],
}

/// The first extents of the file, which is synced before if `sync`.
pub fn fiemap(fd: impl AsFd, sync: bool) -> SysResult<Vec<Extent>> {
    const FIEMAP: libc::c_ulong = 0xc020_660b;
    let mut map = Fiemap {
        start: 0,
        length: u64::MAX,
        flags: u32::from(sync),
        mapped: 0,
        count: EXTENTS as u32,
        reserved: 0,
        extents: [Extent::default(); EXTENTS],
    };
    // SAFETY: this call writes the header and as many extents as `count` says.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FIEMAP, &mut map) };
    check(result.into())?;
    Ok(map.extents[..map.mapped as usize].to_vec())
}

/// A buffer that starts at a page, as direct I/O wants it.
#[repr(align(4096))]
pub struct Aligned<const N: usize>(pub [u8; N]);

impl<const N: usize> Aligned<N> {
    pub fn boxed() -> Box<Self> {
        Box::new(Aligned([0; N]))
    }
}

/// `struct iocb`, as far as a read needs it.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

#[repr(C)]
#[derive(Default)]
struct IoEvent {
    data: u64,
    iocb: u64,
    result: i64,
    result2: i64,
}

/// Reads with `io_submit(2)` and waits for the end.
pub fn aio_read(fd: impl AsFd, buffer: &mut [u8], offset: i64) -> SysResult<usize> {
    const PREAD: u16 = 0;
    let mut context: libc::c_ulong = 0;
    // SAFETY: the call writes one number.
    check(unsafe { libc::syscall(libc::SYS_io_setup, 1, &mut context) })?;
    let mut iocb = Iocb {
        opcode: PREAD,
        fd: fd.as_fd().as_raw_fd() as u32,
        buffer: buffer.as_mut_ptr() as u64,
        length: buffer.len() as u64,
        offset,
        ..Iocb::default()
    };
    let mut list = [&raw mut iocb];
    // SAFETY: the list has one request, whose buffer lives until the request is waited for below.
    let submitted = unsafe { libc::syscall(libc::SYS_io_submit, context, 1, list.as_mut_ptr()) };
    let result = check(submitted).and_then(|_| {
        let mut event = IoEvent::default();
        let no_limit = std::ptr::null_mut::<libc::timespec>();
        // SAFETY: there is room for the one event that is asked for.
        check(unsafe {
            libc::syscall(libc::SYS_io_getevents, context, 1, 1, &mut event, no_limit)
        })?;
        Ok(event.result)
    });
    // SAFETY: the context is ours, and nothing is in flight.
    check(unsafe { libc::syscall(libc::SYS_io_destroy, context) })?;
    let result = result?;
    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result as i32))
}

/// Reads with io_uring and waits for the end.
pub fn uring_read(fd: impl AsFd, buffer: &mut [u8], offset: u64) -> SysResult<usize> {
    let as_errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let mut ring = io_uring::IoUring::new(4).map_err(as_errno)?;
    let fd = io_uring::types::Fd(fd.as_fd().as_raw_fd());
    let length = u32::try_from(buffer.len()).map_err(|_| Errno::INVAL)?;
    let read = io_uring::opcode::Read::new(fd, buffer.as_mut_ptr(), length)
        .offset(offset)
        .build();
    // SAFETY: the buffer lives until the request is waited for below.
    unsafe { ring.submission().push(&read) }.map_err(|_| Errno::BUSY)?;
    ring.submit_and_wait(1).map_err(as_errno)?;
    let entry = ring.completion().next().ok_or(Errno::IO)?;
    let result = entry.result();
    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result))
}

/// A user namespace that somebody else keeps, with all users and groups shifted.
pub struct ShiftedIds {
    keeper: std::process::Child,
    namespace: std::fs::File,
}

impl ShiftedIds {
    /// What is `id` on disk shall be seen as `id + shift`.
    pub fn new(shift: u32) -> std::io::Result<Self> {
        use std::fs;
        let mut keeper = std::process::Command::new("busybox")
            .args(["unshare", "-U", "busybox", "sleep", "1000"])
            .spawn()?;
        let own = fs::read_link("/proc/self/ns/user")?;
        let path = format!("/proc/{}/ns/user", keeper.id());
        while fs::read_link(&path)? == own {
            if keeper.try_wait()?.is_some() {
                return Err(std::io::Error::other("cannot make a user namespace"));
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        for map in ["uid_map", "gid_map"] {
            fs::write(
                format!("/proc/{}/{map}", keeper.id()),
                format!("0 {shift} 65536"),
            )?;
        }
        let namespace = fs::File::open(path)?;
        Ok(ShiftedIds { keeper, namespace })
    }

    /// Shifts the ids of a mount that is attached nowhere yet.
    pub fn apply(&self, mount: impl AsFd) -> SysResult<()> {
        /// `struct mount_attr`.
        #[repr(C)]
        struct MountAttr {
            set: u64,
            clear: u64,
            propagation: u64,
            userns_fd: u64,
        }
        const IDMAP: u64 = 0x0010_0000;
        let attr = MountAttr {
            set: IDMAP,
            clear: 0,
            propagation: 0,
            userns_fd: self.namespace.as_raw_fd() as u64,
        };
        // SAFETY: the path is empty, and the structure is as large as is said.
        check(unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                mount.as_fd().as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                &attr,
                size_of::<MountAttr>(),
            )
        })
        .map(drop)
    }
}

impl Drop for ShiftedIds {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
