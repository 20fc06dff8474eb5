// SPDX-License-Identifier: GPL-2.0-only

//! Open files: ours, and those of the filesystems below that they stand for.
//!
//! C headers: [`include/linux/backing-file.h`](srctree/include/linux/backing-file.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h).

use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    cred::Credential,
    error::{
        from_err_ptr,
        to_result, //
    },
    iov::IovIterDest,
    mm::virt::VmaNew,
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque,
};

use super::{
    dentry::Dentry,
    inode::{
        Access,
        Inode, //
    },
    path::PathRef,
    watch::{
        backing_ctx,
        Watcher, //
    },
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// An open file of the filesystem `F`.
///
/// # Invariants
///
/// The file is valid, and open or about to be.
#[repr(transparent)]
pub(crate) struct File<F>(Opaque<bindings::file>, PhantomData<fn() -> F>);

impl<F: FileSystem> File<F> {
    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a file of `F` that keeps the type invariant during `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::file) -> &'a Self {
        // SAFETY: By this function's requirements, and `File` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// C's pointer.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.0.get()
    }

    /// The dentry by which it was opened.
    #[inline]
    pub(crate) fn dentry(&self) -> &Dentry<F> {
        // SAFETY: A file holds its path, which never changes.
        unsafe { Dentry::from_raw((*self.as_ptr()).__bindgen_anon_1.f_path.dentry) }
    }

    /// The inode.
    #[inline]
    pub(crate) fn inode(&self) -> &Inode<F> {
        // SAFETY: A file holds its inode, which never changes.
        unsafe { Inode::from_raw((*self.as_ptr()).f_inode) }
    }

    /// The flags that it was opened with.
    #[inline]
    pub(crate) fn flags(&self) -> OpenFlags {
        // SAFETY: The file is valid by the type invariant; flags are read without a lock as in C.
        OpenFlags(unsafe { ptr::addr_of!((*self.as_ptr()).f_flags).read_volatile() })
    }

    /// Forgets the flags that concern only the opening itself, so that they are not passed on.
    ///
    /// To be called while it is being opened.
    pub(crate) fn forget_creation_flags(&self) {
        const FLAGS: u32 =
            bindings::O_CREAT | bindings::O_EXCL | bindings::O_NOCTTY | bindings::O_TRUNC;

        // SAFETY: While a file is being opened nobody else has it.
        unsafe { (*self.as_ptr()).f_flags &= !FLAGS };
    }

    /// The position for the next read.
    pub(crate) fn position(&self) -> i64 {
        // SAFETY: The file is valid by the type invariant.
        unsafe { (*self.as_ptr()).f_pos }
    }

    /// Sets the position for the next read. The caller serialises with others, or lives with the race as
    /// all callers of `lseek(2)` do.
    pub(crate) fn set_position(&self, position: i64) {
        // SAFETY: The file is valid by the type invariant.
        unsafe { (*self.as_ptr()).f_pos = position };
    }
}

/// Flags of `open(2)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFlags(u32);

impl OpenFlags {
    /// To read, and nothing else.
    pub(crate) const READ: Self = Self(bindings::O_RDONLY);

    /// Files may be larger than 2 GiB.
    pub(crate) const LARGE_FILE: Self = Self(bindings::O_LARGEFILE);

    /// To write to files that may be larger than 2 GiB.
    pub(crate) const WRITE_LARGE: Self = Self(bindings::O_WRONLY | bindings::O_LARGEFILE);

    /// The bits.
    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// Whether they ask for writing.
    #[inline]
    pub(crate) fn writes(self) -> bool {
        matches!(
            self.0 & bindings::O_ACCMODE,
            bindings::O_WRONLY | bindings::O_RDWR
        )
    }

    /// Whether they ask for throwing all data away.
    #[inline]
    pub(crate) fn truncates(self) -> bool {
        self.0 & bindings::O_TRUNC != 0
    }

    /// What has to be permitted to open a file with them (C: `ACC_MODE`).
    fn access(self) -> Access {
        let mut access = match self.0 & bindings::O_ACCMODE {
            bindings::O_RDONLY => Access::OPEN_READ,
            bindings::O_WRONLY => Access::OPEN_WRITE,
            _ => Access::OPEN_READ.and(Access::OPEN_WRITE),
        };
        if self.0 & bindings::O_APPEND != 0 {
            access = access.and(Access::APPENDING);
        }
        access
    }

    /// Just `O_LARGEFILE`, if that is among them.
    pub(crate) fn large_file_only(self) -> Self {
        Self(self.0 & bindings::O_LARGEFILE)
    }

    /// With `O_NOATIME` if `owner` may ask for it.
    fn without_atime(self, path: &PathRef<'_>) -> Result<Self> {
        let inode = path.dentry.inode().ok_or(ESTALE)?;
        Ok(if inode.owner_or_capable(path.mount.idmap()) {
            Self(self.0 | bindings::O_NOATIME)
        } else {
            Self(self.0 & !bindings::O_NOATIME)
        })
    }

    // CAST: Flags are below 2^31.
    fn as_raw(self) -> c_int {
        self.0 as c_int
    }
}

/// From where a seek counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whence {
    /// From the start.
    Start,
    /// From the current position.
    Current,
    /// What only the filesystem that has the file can answer: its end, data and holes.
    Other(c_int),
}

impl Whence {
    /// From the argument of the `llseek` callback.
    pub(super) fn from_raw(whence: c_int) -> Self {
        // CAST: Small constants.
        const SET: c_int = bindings::SEEK_SET as c_int;
        // CAST: As above.
        const CUR: c_int = bindings::SEEK_CUR as c_int;

        match whence {
            SET => Self::Start,
            CUR => Self::Current,
            other => Self::Other(other),
        }
    }

    fn as_raw(self) -> c_int {
        match self {
            // CAST: Small constants.
            Self::Start => bindings::SEEK_SET as c_int,
            // CAST: As above.
            Self::Current => bindings::SEEK_CUR as c_int,
            Self::Other(other) => other,
        }
    }
}

/// An open file of a filesystem below, that belongs to an open file of ours.
///
/// # Invariants
///
/// The reference count is not zero.
#[repr(transparent)]
pub(crate) struct LayerFile(Opaque<bindings::file>);

// SAFETY: Files can be put by any thread. They were not taken by `fdget`.
unsafe impl Send for LayerFile {}

// SAFETY: Positions are touched only where the caller serialises, everything else is constant.
unsafe impl Sync for LayerFile {}

// SAFETY: A reference keeps a file open, and all files are reference counted.
unsafe impl AlwaysRefCounted for LayerFile {
    fn inc_ref(&self) {
        // SAFETY: A shared reference means that the count is not zero.
        unsafe { bindings::get_file(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference; `LayerFile` is a transparent wrapper.
        unsafe { bindings::fput(obj.as_ptr().cast()) };
    }
}

impl LayerFile {
    /// Takes over a reference from a C function that returns a file or an error.
    ///
    /// # Safety
    ///
    /// If `ptr` encodes no error, the caller must own a reference to the file.
    pub(super) unsafe fn from_owned(ptr: *mut bindings::file) -> Result<ARef<Self>> {
        let ptr = NonNull::new(from_err_ptr(ptr)?).ok_or(EIO)?;
        // SAFETY: By this function's requirements, and `LayerFile` is a transparent wrapper.
        Ok(unsafe { ARef::from_raw(ptr.cast()) })
    }

    /// C's pointer.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.0.get()
    }

    /// Whether it is the object of `dentry` that is open.
    #[inline]
    pub(crate) fn is_of(&self, dentry: &Dentry<AnyFs>) -> bool {
        // SAFETY: The file is valid by the type invariant, and its inode never changes.
        let inode = unsafe { (*self.as_ptr()).f_inode };
        dentry
            .inode()
            .is_some_and(|other| ptr::eq(inode, other.as_ptr()))
    }

    /// Opens the file at `path` for `user`, with its flags, if `cred`, which has to be in force, may.
    ///
    /// The new file keeps the path of `user` for those who ask, as in `/proc/PID/maps`.
    ///
    /// # Errors
    ///
    /// `EACCES` and what else opening can give.
    pub(crate) fn open_for<F: FileSystem>(
        user: &File<F>,
        path: &PathRef<'_>,
        cred: &Credential,
    ) -> Result<ARef<Self>> {
        let flags = user.flags();
        let inode = path.dentry.inode().ok_or(ESTALE)?;
        inode.permission(path.mount.idmap(), flags.access())?;
        let flags = flags.without_atime(path)?;
        // SAFETY: All are valid; the function takes references of its own to both paths.
        let file = unsafe {
            bindings::backing_file_open(
                user.as_ptr(),
                flags.as_raw(),
                &path.as_raw(),
                cred.as_ptr(),
            )
        };
        // SAFETY: The function returns an error, or a file for us.
        unsafe { Self::from_owned(file) }
    }

    /// Opens what is at `path` to read it, if `cred`, which has to be in force, may.
    ///
    /// `extra` are flags beside those that reading takes.
    ///
    /// # Errors
    ///
    /// `EACCES` and what else opening can give. (C: `ovl_path_open`.)
    pub(crate) fn open_to_read(
        path: &PathRef<'_>,
        extra: OpenFlags,
        cred: &Credential,
    ) -> Result<ARef<Self>> {
        let inode = path.dentry.inode().ok_or(ESTALE)?;
        inode.permission(path.mount.idmap(), Access::OPEN_READ)?;
        let flags = OpenFlags(OpenFlags::READ.0 | extra.0).without_atime(path)?;
        Self::open_unchecked(path, flags, cred)
    }

    /// Opens what is at `path` for `cred`, without asking whether it may read.
    ///
    /// # Errors
    ///
    /// What a security module or the filesystem says.
    pub(super) fn open_unchecked(
        path: &PathRef<'_>,
        flags: OpenFlags,
        cred: &Credential,
    ) -> Result<ARef<Self>> {
        // SAFETY: All are valid; the function takes references of its own.
        let file = unsafe { bindings::dentry_open(&path.as_raw(), flags.as_raw(), cred.as_ptr()) };
        // SAFETY: The function returns an error, or a file for us.
        unsafe { Self::from_owned(file) }
    }

    /// Seeks, and returns the new position. `position` is where the file stands before.
    ///
    /// # Errors
    ///
    /// `EINVAL`, `ENXIO`, and what the filesystem says.
    pub(crate) fn seek(&self, position: i64, offset: i64, whence: Whence) -> Result<i64> {
        // SAFETY: The file is valid. Its position is used by nobody but those who come through here, or
        // read the directory, and they set it first.
        unsafe { (*self.as_ptr()).f_pos = position };
        // SAFETY: The file is valid.
        let result = unsafe { bindings::vfs_llseek(self.as_ptr(), offset, whence.as_raw()) };
        if result < 0 {
            // CAST: A negative value is an errno.
            to_result(result as c_int)?;
        }
        Ok(result)
    }

    /// Reads for `iocb`, which belongs to the file of ours that this one was opened for.
    ///
    /// # Errors
    ///
    /// What the filesystem says; `EIOCBQUEUED` means that the read goes on.
    #[inline]
    pub(crate) fn read<W: Watcher>(
        &self,
        iocb: &mut Iocb<'_>,
        to: &mut IovIterDest<'_>,
        cred: &Credential,
    ) -> Result<usize> {
        let mut ctx = backing_ctx::<W>(cred);
        // SAFETY: All are valid. The file was opened by `backing_file_open`.
        let read = unsafe {
            bindings::backing_file_read_iter(
                self.as_ptr(),
                to.as_raw(),
                iocb.0.as_ptr(),
                (*iocb.0.as_ptr()).ki_flags,
                &mut ctx,
            )
        };
        usize_or_errno(read)
    }

    /// Moves up to `len` bytes into a pipe, for `user` and from `position`, which is advanced.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn splice_read<W: Watcher>(
        &self,
        user: &File<W::Fs>,
        position: &mut i64,
        splice: Splice,
        cred: &Credential,
    ) -> Result<usize> {
        let mut ctx = backing_ctx::<W>(cred);
        let mut iocb = sync_iocb(user, *position);
        // SAFETY: All are valid. The file was opened by `backing_file_open`.
        let moved = unsafe {
            bindings::backing_file_splice_read(
                self.as_ptr(),
                &mut iocb,
                splice.pipe.as_ptr(),
                splice.len,
                splice.flags,
                &mut ctx,
            )
        };
        *position = iocb.ki_pos;
        usize_or_errno(moved)
    }

    /// Maps the file into memory in place of the file of ours that `vma` is for.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it cannot be mapped, and what the filesystem says.
    pub(crate) fn mmap<W: Watcher>(&self, vma: &VmaNew, cred: &Credential) -> Result {
        let mut ctx = backing_ctx::<W>(cred);
        // SAFETY: All are valid. The file was opened by `backing_file_open`.
        to_result(unsafe { bindings::backing_file_mmap(self.as_ptr(), vma.as_ptr(), &mut ctx) })
    }
}

/// The state of one call on `user` that is over when it returns, at `position`.
#[inline]
pub(super) fn sync_iocb<F: FileSystem>(user: &File<F>, position: i64) -> bindings::kiocb {
    let mut iocb = MaybeUninit::<bindings::kiocb>::uninit();
    // SAFETY: There is room for the structure. Callers drop it before the file.
    unsafe { bindings::rovl_init_sync_kiocb(iocb.as_mut_ptr(), user.as_ptr()) };
    // SAFETY: Just initialised.
    let mut iocb = unsafe { iocb.assume_init() };
    iocb.ki_pos = position;
    iocb
}

/// The number of bytes, or the error, that a C function has returned.
///
/// # Errors
///
/// That error.
pub(super) fn usize_or_errno(value: isize) -> Result<usize> {
    // CAST: A negative value is an errno.
    usize::try_from(value).map_err(|_| Error::from_errno(value as c_int))
}

/// A request to read a file of ours, or to write to it.
pub(crate) struct Iocb<'a>(NonNull<bindings::kiocb>, PhantomData<&'a mut ()>);

impl Iocb<'_> {
    /// Wraps the argument of the `read_iter` or `write_iter` callback.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid, and ours to use, as long as this lives.
    #[inline]
    pub(super) unsafe fn from_raw(ptr: NonNull<bindings::kiocb>) -> Self {
        Self(ptr, PhantomData)
    }

    /// C's pointer.
    #[inline]
    pub(super) fn as_ptr(&mut self) -> *mut bindings::kiocb {
        self.0.as_ptr()
    }
}

/// The rest of the arguments of the `splice_read` or `splice_write` callback.
pub(crate) struct Splice {
    pub(super) pipe: NonNull<bindings::pipe_inode_info>,
    pub(super) len: usize,
    pub(super) flags: c_uint,
}
