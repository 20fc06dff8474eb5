// SPDX-License-Identifier: GPL-2.0-only

//! System calls that rustix has no function for: leases, extents, attributes, native AIO, io_uring, clones,
//! swap space, freezing.

#![expect(unsafe_code, reason = "the calls have no safe interface")]

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::IntoRawFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

type SysResult<T> = std::result::Result<T, Errno>;

fn check(result: libc::c_long) -> SysResult<libc::c_long> {
    if result >= 0 {
        return Ok(result);
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Closes the descriptor, and says what the filesystem says to it.
pub fn close(fd: OwnedFd) -> SysResult<()> {
    // SAFETY: the descriptor was owned, so that nobody else uses or closes it.
    let result = unsafe { libc::close(fd.into_raw_fd()) };
    check(result.into()).map(drop)
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

pub fn fssetxattr(fd: impl AsFd, attr: &FsXattr) -> SysResult<()> {
    const FSSETXATTR: libc::c_ulong = 0x401c_5820;
    // SAFETY: this call reads a `struct fsxattr`, which `attr` is.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FSSETXATTR, attr) };
    check(result.into()).map(drop)
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

/// `struct iocb`, as far as reading and writing need it.
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
    // SAFETY: the buffer is there to be written to, and nobody else uses it.
    unsafe { aio(fd, PREAD, buffer.as_mut_ptr(), buffer.len(), offset) }
}

/// Writes with `io_submit(2)` and waits for the end.
pub fn aio_write(fd: impl AsFd, data: &[u8], offset: i64) -> SysResult<usize> {
    const PWRITE: u16 = 1;
    // SAFETY: this operation only reads the buffer.
    unsafe { aio(fd, PWRITE, data.as_ptr().cast_mut(), data.len(), offset) }
}

/// # Safety
///
/// The buffer must have this length, and be there for what the operation does with it.
unsafe fn aio(
    fd: impl AsFd,
    opcode: u16,
    buffer: *mut u8,
    length: usize,
    offset: i64,
) -> SysResult<usize> {
    let mut context: libc::c_ulong = 0;
    // SAFETY: the call writes one number.
    check(unsafe { libc::syscall(libc::SYS_io_setup, 1, &mut context) })?;
    let mut iocb = Iocb {
        opcode,
        fd: fd.as_fd().as_raw_fd() as u32,
        buffer: buffer as u64,
        length: length as u64,
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
    let fd = io_uring::types::Fd(fd.as_fd().as_raw_fd());
    let length = u32::try_from(buffer.len()).map_err(|_| Errno::INVAL)?;
    let read = io_uring::opcode::Read::new(fd, buffer.as_mut_ptr(), length)
        .offset(offset)
        .build();
    // SAFETY: the buffer is there until this returns.
    let results = unsafe { uring(&[read]) }?;
    results.first().copied().ok_or(Errno::IO)?
}

/// Writes all of these, each at its offset, with io_uring, at once and in any order. Returns how much each
/// has written.
pub fn uring_write(fd: impl AsFd, parts: &[(&[u8], u64)]) -> SysResult<Vec<SysResult<usize>>> {
    let fd = io_uring::types::Fd(fd.as_fd().as_raw_fd());
    let mut requests = Vec::new();
    for (data, offset) in parts {
        let length = u32::try_from(data.len()).map_err(|_| Errno::INVAL)?;
        let write = io_uring::opcode::Write::new(fd, data.as_ptr(), length);
        requests.push(write.offset(*offset).build());
    }
    // SAFETY: the data is there until this returns, and is only read.
    unsafe { uring(&requests) }
}

/// Allocates and syncs with io_uring, the one after the other. Returns how each went.
pub fn uring_allocate_and_sync(fd: impl AsFd, length: u64) -> SysResult<Vec<SysResult<usize>>> {
    let fd = io_uring::types::Fd(fd.as_fd().as_raw_fd());
    let allocate = io_uring::opcode::Fallocate::new(fd, length).build();
    let sync = io_uring::opcode::Fsync::new(fd).build();
    // SAFETY: these requests have no buffers.
    let first = unsafe { uring(&[allocate]) }?;
    // SAFETY: as above.
    let second = unsafe { uring(&[sync]) }?;
    Ok(first.into_iter().chain(second).collect())
}

/// Submits these requests and waits for the end of all. The results are in their order.
///
/// # Safety
///
/// The buffers of the requests must be there until this returns.
unsafe fn uring(requests: &[io_uring::squeue::Entry]) -> SysResult<Vec<SysResult<usize>>> {
    let as_errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let mut ring = io_uring::IoUring::new(16).map_err(as_errno)?;
    for (at, request) in requests.iter().enumerate() {
        let request = request.clone().user_data(at as u64);
        // SAFETY: the buffers live until the request is waited for below.
        unsafe { ring.submission().push(&request) }.map_err(|_| Errno::BUSY)?;
    }
    ring.submit_and_wait(requests.len()).map_err(as_errno)?;
    let mut results = vec![Err(Errno::IO); requests.len()];
    for entry in ring.completion() {
        let result = entry.result();
        let result = usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result));
        if let Some(place) = results.get_mut(entry.user_data() as usize) {
            *place = result;
        }
    }
    Ok(results)
}

/// What deduplication says: how many bytes are shared now, or that the data differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deduped {
    Same(u64),
    Differs,
}

/// Lets the first bytes of `to` share the data of those of `from`, if they are the same.
pub fn dedupe(from: impl AsFd, length: u64, to: impl AsFd) -> SysResult<Deduped> {
    const FIDEDUPERANGE: libc::c_ulong = 0xc018_9436;

    /// `struct file_dedupe_range` with one `struct file_dedupe_range_info`.
    #[repr(C)]
    struct Range {
        at: u64,
        length: u64,
        count: u16,
        reserved1: u16,
        reserved2: u32,
        to: i64,
        to_at: u64,
        deduped: u64,
        status: i32,
        reserved: u32,
    }
    let mut range = Range {
        at: 0,
        length,
        count: 1,
        reserved1: 0,
        reserved2: 0,
        to: to.as_fd().as_raw_fd().into(),
        to_at: 0,
        deduped: 0,
        status: 0,
        reserved: 0,
    };
    // SAFETY: this call reads and writes these two structures.
    let result = unsafe { libc::ioctl(from.as_fd().as_raw_fd(), FIDEDUPERANGE, &mut range) };
    check(result.into())?;
    match range.status {
        0 => Ok(Deduped::Same(range.deduped)),
        1 => Ok(Deduped::Differs),
        error => Err(Errno::from_raw_os_error(-error)),
    }
}

/// Makes the file swap space.
pub fn swap_on(path: &std::path::Path) -> SysResult<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = path.as_os_str().as_bytes();
    let path = std::ffi::CString::new(path).map_err(|_| Errno::INVAL)?;
    // SAFETY: the path is a C string.
    check(unsafe { libc::syscall(libc::SYS_swapon, path.as_ptr(), 0) }).map(drop)
}

/// Forbids changes to a filesystem, until it is thawed.
pub fn freeze(fd: impl AsFd) -> SysResult<()> {
    const FIFREEZE: libc::c_ulong = 0xc004_5877;
    // SAFETY: this call reads and writes nothing.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FIFREEZE, 0) };
    check(result.into()).map(drop)
}

/// Allows changes again.
pub fn thaw(fd: impl AsFd) -> SysResult<()> {
    const FITHAW: libc::c_ulong = 0xc004_5878;
    // SAFETY: this call reads and writes nothing.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FITHAW, 0) };
    check(result.into()).map(drop)
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
