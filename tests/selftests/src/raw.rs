// SPDX-License-Identifier: GPL-2.0-only

//! System calls that rustix does not have: file handles, fanotify, and idmapped mounts.

#![expect(unsafe_code, reason = "there is no safe interface to these calls")]

use std::ffi::CString;
use std::io::Error;
use std::io::Result;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A file handle as name_to_handle_at(2) gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    pub kind: i32,
    pub bytes: Vec<u8>,
}

/// The head of `struct file_handle`; the bytes follow.
const HANDLE_HEAD: usize = 8;

/// Asks for the handle of a path, with room for `room` bytes. If that is too little, the error comes with
/// the length that it takes.
pub fn handle_of(path: &Path, flags: i32, room: u32) -> std::result::Result<Handle, (Error, u32)> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|e| (e.into(), 0))?;
    let mut buffer = vec![0_u8; HANDLE_HEAD + room as usize];
    buffer[..4].copy_from_slice(&room.to_ne_bytes());
    let mut mount_id = 0_i32;
    // SAFETY: the name is a C string, and the buffer has as much room as its head says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            name.as_ptr(),
            buffer.as_mut_ptr(),
            &mut mount_id,
            flags,
        )
    };
    let word = |at: usize| [buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]];
    let length = u32::from_ne_bytes(word(0));
    if result != 0 {
        return Err((Error::last_os_error(), length));
    }
    Ok(Handle {
        kind: i32::from_ne_bytes(word(4)),
        bytes: buffer[HANDLE_HEAD..HANDLE_HEAD + length as usize].to_vec(),
    })
}

/// `AT_HANDLE_FID`: a handle by which nothing has to be found.
pub const HANDLE_FID: i32 = 0x200;

fn owned(fd: i64) -> Result<OwnedFd> {
    match i32::try_from(fd) {
        // SAFETY: the system call has just returned this descriptor, nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Error::last_os_error()),
    }
}

/// A fanotify group that reports opening of `path`, by its handle.
pub fn watch_opens(path: &Path) -> Result<OwnedFd> {
    let group = libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_FID | libc::FAN_NONBLOCK;
    watch(path, group, 0, libc::FAN_OPEN | libc::FAN_ONDIR)
}

/// A fanotify group that is asked before anything in the filesystem of `path` is opened.
pub fn guard_opens(path: &Path) -> Result<OwnedFd> {
    let group = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC;
    watch(path, group, libc::FAN_MARK_FILESYSTEM, libc::FAN_OPEN_PERM)
}

/// A fanotify group that is told of `events` at what `mark` says of `path`.
fn watch(path: &Path, group: u32, mark: u32, events: u64) -> Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let group = unsafe { libc::syscall(libc::SYS_fanotify_init, group, libc::O_RDONLY) };
    let group = owned(group)?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the name is a C string.
    let result = unsafe {
        libc::syscall(
            libc::SYS_fanotify_mark,
            group.as_raw_fd(),
            libc::FAN_MARK_ADD | mark,
            events,
            libc::AT_FDCWD,
            name.as_ptr(),
        )
    };
    if result != 0 {
        return Err(Error::last_os_error());
    }
    Ok(group)
}

/// Reads the events that are there, and returns the handle that each reports.
pub fn reported_handles(group: impl AsFd) -> Result<Vec<Handle>> {
    /// Of `struct fanotify_event_metadata`, whose length comes first.
    const EVENT_HEAD: usize = 24;
    /// Of `struct fanotify_event_info_fid`, up to the file handle.
    const INFO_HEAD: usize = 12;

    let mut buffer = [0; 4096];
    let length = rustix::io::read(group, &mut buffer)?;
    let mut rest = &buffer[..length];
    let mut handles = Vec::new();
    let word = |bytes: &[u8], at: usize| {
        u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    while rest.len() >= EVENT_HEAD {
        let (event, next) = rest.split_at(word(rest, 0) as usize);
        rest = next;
        let handle = &event[EVENT_HEAD + INFO_HEAD..];
        let bytes = &handle[HANDLE_HEAD..HANDLE_HEAD + word(handle, 0) as usize];
        handles.push(Handle {
            kind: word(handle, 4) as i32,
            bytes: bytes.to_vec(),
        });
    }
    Ok(handles)
}

/// Maps the owners on a detached mount by a user namespace.
pub fn idmap_mount(mount: impl AsFd, user_namespace: impl AsFd) -> Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

    /// `struct mount_attr`.
    #[repr(C)]
    struct Attr {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let attr = Attr {
        set: MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: 0,
        user_namespace: user_namespace.as_fd().as_raw_fd() as u64,
    };
    // SAFETY: the structure is one that the kernel knows, of the size told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<Attr>(),
        )
    };
    if result != 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}

/// Waits for a question of the group, and permits what it is about once `before` was called.
pub fn permit_open(group: impl AsFd, before: impl FnOnce()) -> Result<()> {
    /// Of `struct fanotify_event_metadata`: where the descriptor is.
    const FD: usize = 16;

    let mut event = [0; 24];
    let length = rustix::io::read(&group, &mut event)?;
    if length < event.len() {
        return Err(Error::other("the event is too short"));
    }
    before();
    let fd: [u8; 4] = [event[FD], event[FD + 1], event[FD + 2], event[FD + 3]];
    // SAFETY: the kernel has made the descriptor for us.
    let file = unsafe { OwnedFd::from_raw_fd(i32::from_ne_bytes(fd)) };
    let answer = [fd, libc::FAN_ALLOW.to_ne_bytes()].concat();
    rustix::io::write(&group, &answer)?;
    drop(file);
    Ok(())
}
