// SPDX-License-Identifier: GPL-2.0-only

//! Helpers around system calls that many tests use, and the only unsafe code of the program.

#![expect(
    unsafe_code,
    reason = "mappings, namespaces and fork have no safe interface"
)]

use std::ffi::OsStr;
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::RawDir;
use rustix::fs::Stat;
use rustix::fs::Statx;
use rustix::fs::StatxFlags;
use rustix::fs::Uid;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use rustix::process::Pid;
use rustix::thread::LinkNameSpaceType;
use rustix::thread::UnshareFlags;

pub use rovl_kit::random::pattern;
pub use rovl_kit::sys::unshare_mounts;

type SysResult<T> = std::result::Result<T, Errno>;

/// An entry as getdents gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    pub ino: u64,
    pub kind: FileType,
    /// The position after this entry, to be given to lseek.
    pub next: u64,
}

impl Entry {
    pub fn is_dot(&self) -> bool {
        self.name == "." || self.name == ".."
    }
}

pub fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

pub fn open(path: impl AsRef<Path>, flags: OFlags) -> SysResult<OwnedFd> {
    rustix::fs::open(path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty())
}

pub fn open_read(path: impl AsRef<Path>) -> SysResult<OwnedFd> {
    open(path, OFlags::RDONLY)
}

pub fn open_dir(path: impl AsRef<Path>) -> SysResult<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY)
}

pub fn mkdir(path: &Path, mode: u32) -> SysResult<()> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(mode))
}

pub fn lstat(path: impl AsRef<Path>) -> SysResult<Stat> {
    rustix::fs::lstat(path.as_ref())
}

pub fn stat(path: impl AsRef<Path>) -> SysResult<Stat> {
    rustix::fs::stat(path.as_ref())
}

/// All that statx knows, without following a link.
pub fn lstatx(path: impl AsRef<Path>) -> SysResult<Statx> {
    rustix::fs::statx(
        CWD,
        path.as_ref(),
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::ALL | StatxFlags::MNT_ID,
    )
}

pub fn readlink(path: impl AsRef<Path>) -> SysResult<OsString> {
    let target = rustix::fs::readlink(path.as_ref(), Vec::new())?;
    Ok(OsStr::from_bytes(target.as_bytes()).to_owned())
}

/// Reads the directory from where `fd` stands to its end, `buffer` bytes at a time.
pub fn read_entries(fd: impl AsFd, buffer: usize) -> SysResult<Vec<Entry>> {
    let mut space = vec![MaybeUninit::uninit(); buffer];
    let mut dir = RawDir::new(fd, &mut space);
    let mut entries = Vec::new();
    while let Some(entry) = dir.next() {
        let entry = entry?;
        entries.push(Entry {
            name: OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(),
            ino: entry.ino(),
            kind: entry.file_type(),
            next: entry.next_entry_cookie(),
        });
    }
    Ok(entries)
}

/// Reads as many entries as one getdents call with this buffer gives.
pub fn read_some(fd: impl AsFd, buffer: usize) -> SysResult<Vec<Entry>> {
    let mut space = vec![MaybeUninit::uninit(); buffer];
    let mut dir = RawDir::new(fd, &mut space);
    let mut entries = Vec::new();
    while let Some(entry) = dir.next() {
        let entry = entry?;
        entries.push(Entry {
            name: OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(),
            ino: entry.ino(),
            kind: entry.file_type(),
            next: entry.next_entry_cookie(),
        });
        if dir.is_buffer_empty() {
            break;
        }
    }
    Ok(entries)
}

/// The whole listing, dots included, in the order of the filesystem.
pub fn list(path: impl AsRef<Path>) -> SysResult<Vec<Entry>> {
    read_entries(open_dir(path)?, 32 * 1024)
}

/// The sorted names without dots; a name listed twice is there twice.
pub fn names(path: impl AsRef<Path>) -> SysResult<Vec<OsString>> {
    let mut names: Vec<_> = list(path)?
        .into_iter()
        .filter(|entry| !entry.is_dot())
        .map(|entry| entry.name)
        .collect();
    names.sort();
    Ok(names)
}

/// Every path below `top`, relative to it, without following links, sorted.
///
/// Names that are listed and cannot be looked up are left out: overlays list the whiteouts of a
/// directory that only one layer has.
pub fn walk(top: &Path) -> SysResult<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        for entry in list(top.join(&dir))? {
            if entry.is_dot() {
                continue;
            }
            let path = dir.join(&entry.name);
            match lstat_kind(top.join(&path)) {
                Ok(FileType::Directory) => pending.push(path.clone()),
                Ok(_) => {}
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            }
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

pub fn lstat_kind(path: impl AsRef<Path>) -> SysResult<FileType> {
    Ok(FileType::from_raw_mode(lstat(path)?.st_mode))
}

/// Runs `work` in a thread with the identity of an unprivileged user.
///
/// Credentials belong to threads in Linux, so that the test itself stays root.
pub fn as_user<T: Send>(
    uid: u32,
    gid: u32,
    groups: &[u32],
    work: impl FnOnce() -> T + Send,
) -> SysResult<T> {
    let groups: Vec<_> = groups.iter().map(|id| Gid::from_raw(*id)).collect();
    in_thread(move || {
        rustix::thread::set_thread_groups(&groups)?;
        let gid = Gid::from_raw(gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        let uid = Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        Ok(work())
    })
}

/// Runs `work` in a thread with its own root and working directory, and takes them back.
///
/// A thread that ended may still hold its root for a moment, which would keep mounts busy.
pub fn with_own_root<T: Send>(work: impl FnOnce() -> T + Send) -> SysResult<T> {
    in_thread(move || {
        // SAFETY: no file descriptor table is unshared, which is what makes this call unsafe.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
        let root = open_dir("/")?;
        let result = work();
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
        Ok(result)
    })
}

/// Runs `work` in a thread with its own mount namespace, a copy of the present one, which is
/// gone with all its mounts when this returns.
pub fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> SysResult<T> {
    let present = open_read("/proc/thread-self/ns/mnt")?;
    in_thread(move || {
        unshare_mounts()?;
        let result = work();
        let kind = Some(LinkNameSpaceType::Mount);
        rustix::thread::move_into_link_name_space(present.as_fd(), kind)?;
        Ok(result)
    })
}

pub fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    // A panic ends the whole process, so there is no panicked thread to join.
    std::thread::scope(|scope| scope.spawn(work).join()).expect("threads do not panic")
}

/// Copies this process. The child, which gets `None`, is for its caller to end.
///
/// # Panics
///
/// In a process with several threads, where locks that others hold would stay held in the child.
pub fn fork() -> SysResult<Option<Pid>> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    assert_eq!(threads, 1, "only a process of one thread can be copied");
    // SAFETY: this is the only thread, as was just seen, so the child finds everything as its
    // caller left it.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()
            .raw_os_error()
            .map_or(Errno::IO, Errno::from_raw_os_error)),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Gives the process, which has one thread, user and mount namespaces of its own.
pub fn unshare_user() -> SysResult<()> {
    let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNS;
    // SAFETY: no file descriptor table is unshared, which is what makes this call unsafe.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Signals that a test may have to do without.
#[derive(Clone, Copy)]
pub enum Ignored {
    /// Sent at the limit of the size of files.
    FileSize,
    /// Sent when somebody breaks a lease.
    LeaseBreak,
}

/// Does `work` with a signal ignored.
pub fn ignoring<T>(signal: Ignored, work: impl FnOnce() -> T) -> std::io::Result<T> {
    let signal = match signal {
        Ignored::FileSize => libc::SIGXFSZ,
        Ignored::LeaseBreak => libc::SIGIO,
    };
    // SAFETY: to ignore a signal runs no code of ours.
    let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if before == libc::SIG_ERR {
        return Err(std::io::Error::last_os_error());
    }
    let result = work();
    // SAFETY: that is how it was before.
    unsafe { libc::signal(signal, before) };
    Ok(result)
}

/// Does `work` while a signal comes again and again, which interrupts whatever waits for something else.
/// The process has one thread.
pub fn interrupted<T>(work: impl FnOnce() -> T) -> std::io::Result<T> {
    extern "C" fn nothing(_: libc::c_int) {}

    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: zeroes are an empty set of signals and no flags, `SA_RESTART` among them.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handler touches nothing.
    if unsafe { libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let tick = |microseconds| {
        let time = libc::timeval {
            tv_sec: 0,
            tv_usec: microseconds,
        };
        let timer = libc::itimerval {
            it_interval: time,
            it_value: time,
        };
        // SAFETY: the timer is only read.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) }
    };
    tick(50_000);
    let result = work();
    tick(0);
    Ok(result)
}

/// A mapping of a file, for reading.
pub struct Mapping {
    address: *mut std::ffi::c_void,
    length: usize,
}

impl Mapping {
    pub fn new(fd: impl AsFd, length: usize, flags: MapFlags, prot: ProtFlags) -> SysResult<Self> {
        Self::at(fd, 0, length, flags, prot)
    }

    pub fn at(
        fd: impl AsFd,
        offset: u64,
        length: usize,
        flags: MapFlags,
        prot: ProtFlags,
    ) -> SysResult<Self> {
        // SAFETY: the kernel chooses the address, so no existing memory is touched.
        let address =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, prot, flags, fd, offset) }?;
        Ok(Mapping { address, length })
    }

    pub fn address(&self) -> usize {
        self.address as usize
    }

    /// The mapped bytes; only to be called for mappings that can be read.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is there until `self` is dropped, and tests change no file that
        // they have mapped. A page that cannot be read kills this test's process by SIGBUS.
        unsafe { std::slice::from_raw_parts(self.address.cast(), self.length) }
    }

    /// The mapped bytes; only to be called for private mappings that can be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.address.cast(), self.length) }
    }

    /// What is in this part of a mapping that can be read, now: it may be of a file that changes.
    pub fn load(&self, at: usize, length: usize) -> Vec<u8> {
        assert!(at + length <= self.length);
        let mut copy = vec![0; length];
        // SAFETY: the part is within the mapping, which is there until `self` is dropped, and the memory
        // that it is copied to is new.
        unsafe {
            let from = self.address.cast::<u8>().add(at);
            std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), length);
        }
        copy
    }

    /// Writes to a part of a mapping that can be written to.
    pub fn store(&self, at: usize, data: &[u8]) {
        assert!(at + data.len() <= self.length);
        // SAFETY: the part is within the mapping, which is there until `self` is dropped, and nobody holds a
        // reference to it, since `bytes` and `bytes_mut` are for mappings that are not written to like this.
        unsafe {
            let to = self.address.cast::<u8>().add(at);
            std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len());
        }
    }

    /// Writes what was changed through the mapping to the file.
    pub fn sync(&self) -> SysResult<()> {
        // SAFETY: the range is the mapping's own.
        unsafe { rustix::mm::msync(self.address, self.length, rustix::mm::MsyncFlags::SYNC) }
    }

    /// Changes the protection of the whole mapping.
    pub fn protect(&self, prot: rustix::mm::MprotectFlags) -> SysResult<()> {
        // SAFETY: the range is the mapping's own, and no reference to it is held over this call.
        unsafe { rustix::mm::mprotect(self.address, self.length, prot) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `at`, and no reference outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.address, self.length) };
    }
}

/// Drops clean page cache, dentries and inodes.
pub fn drop_caches() -> std::io::Result<()> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3")
}
