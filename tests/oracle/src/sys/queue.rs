// SPDX-License-Identifier: GPL-2.0-only

//! Requests that the kernel works on while the one who made them may go on: native AIO and io_uring.
//! Each is waited for, since what comes of two at once depends on chance.

#![expect(unsafe_code, reason = "the calls have no safe interface")]

use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use io_uring::opcode;
use io_uring::squeue;
use io_uring::types::Fd;
use io_uring::types::FsyncFlags;
use io_uring::IoUring;
use rustix::io::Errno;

use super::check;
use super::SysResult;

/// What is asked for.
pub enum Request<'a> {
    Read(&'a mut [u8]),
    Write(&'a [u8]),
    Sync,
    DataSync,
}

/// `struct iocb`.
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
    offset: u64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Default)]
struct IoEvent {
    data: u64,
    iocb: u64,
    result: i64,
    result2: i64,
}

/// What io_setup(2) makes.
struct Context(libc::c_ulong);

impl Context {
    fn new() -> SysResult<Self> {
        let mut context = 0;
        // SAFETY: the call writes one number.
        check(unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut context) } as isize)?;
        Ok(Context(context))
    }

    fn run(&self, iocb: &mut Iocb) -> SysResult<i64> {
        let mut list = [&raw mut *iocb];
        // SAFETY: the list has one request, and whoever made that keeps its buffer until it is
        // waited for below.
        let submitted = unsafe { libc::syscall(libc::SYS_io_submit, self.0, 1, list.as_mut_ptr()) };
        check(submitted as isize)?;
        let mut event = IoEvent::default();
        let no_limit = std::ptr::null_mut::<libc::timespec>();
        loop {
            // SAFETY: there is room for the one event that is asked for.
            let waited = unsafe {
                libc::syscall(
                    libc::SYS_io_getevents,
                    self.0,
                    1,
                    1,
                    &raw mut event,
                    no_limit,
                )
            };
            match check(waited as isize) {
                Ok(_) => return Ok(event.result),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and nothing is in flight.
        let _ = unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

/// Both kinds of queues, made when they are needed first.
#[derive(Default)]
pub struct Queues {
    aio: RefCell<Option<Context>>,
    ring: RefCell<Option<IoUring>>,
}

fn result(value: i64) -> SysResult<usize> {
    let error = |_| Errno::from_raw_os_error(i32::try_from(-value).unwrap_or(libc::EIO));
    usize::try_from(value).map_err(error)
}

impl Queues {
    /// By io_submit(2). `flags` are those of preadv2(2).
    pub fn aio(&self, fd: &OwnedFd, at: u64, flags: u32, what: Request<'_>) -> SysResult<usize> {
        let (opcode, buffer, length) = match what {
            Request::Read(buffer) => (0, buffer.as_mut_ptr() as u64, buffer.len()),
            Request::Write(data) => (1, data.as_ptr() as u64, data.len()),
            Request::Sync => (2, 0, 0),
            Request::DataSync => (3, 0, 0),
        };
        let has_data = opcode < 2;
        let mut iocb = Iocb {
            opcode,
            fd: u32::try_from(fd.as_raw_fd()).map_err(|_| Errno::BADF)?,
            buffer,
            length: length as u64,
            offset: if has_data { at } else { 0 },
            rw_flags: if has_data { flags } else { 0 },
            ..Iocb::default()
        };
        let mut aio = self.aio.borrow_mut();
        if aio.is_none() {
            *aio = Some(Context::new()?);
        }
        let context = aio.as_ref().ok_or(Errno::NOSYS)?;
        result(context.run(&mut iocb)?)
    }

    /// By io_uring. `flags` are those of preadv2(2).
    pub fn uring(&self, fd: &OwnedFd, at: u64, flags: u32, what: Request<'_>) -> SysResult<usize> {
        let fd = Fd(fd.as_raw_fd());
        let flags = i32::try_from(flags).map_err(|_| Errno::INVAL)?;
        let length = |length| u32::try_from(length).map_err(|_| Errno::INVAL);
        let entry = match what {
            Request::Read(buffer) => {
                opcode::Read::new(fd, buffer.as_mut_ptr(), length(buffer.len())?)
                    .offset(at)
                    .rw_flags(flags)
                    .build()
            }
            Request::Write(data) => opcode::Write::new(fd, data.as_ptr(), length(data.len())?)
                .offset(at)
                .rw_flags(flags)
                .build(),
            Request::Sync => opcode::Fsync::new(fd).build(),
            Request::DataSync => opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(),
        };
        self.submit(&entry)
    }

    /// Allocates by io_uring.
    pub fn allocate(&self, fd: &OwnedFd, mode: u32, at: u64, length: u64) -> SysResult<usize> {
        let mode = i32::try_from(mode).map_err(|_| Errno::INVAL)?;
        let entry = opcode::Fallocate::new(Fd(fd.as_raw_fd()), length)
            .offset(at)
            .mode(mode)
            .build();
        self.submit(&entry)
    }

    /// The buffers of the entry are there until this returns: all callers are in this file.
    fn submit(&self, entry: &squeue::Entry) -> SysResult<usize> {
        let as_errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let mut ring = self.ring.borrow_mut();
        if ring.is_none() {
            *ring = Some(IoUring::new(4).map_err(as_errno)?);
        }
        let ring = ring.as_mut().ok_or(Errno::NOSYS)?;
        // SAFETY: the buffers live until the request is waited for below.
        unsafe { ring.submission().push(entry) }.map_err(|_| Errno::BUSY)?;
        loop {
            match ring.submit_and_wait(1).map_err(as_errno) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            if let Some(entry) = ring.completion().next() {
                return result(entry.result().into());
            }
        }
    }
}
