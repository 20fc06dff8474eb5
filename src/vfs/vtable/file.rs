// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of open files and directories.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    prelude::*,
    types::ForeignOwnable, //
};

use crate::{
    bindings,
    vfs::{
        backing::{
            Advice,
            AreaAddress,
            AreaRequest,
            LockOwner,
            SyncRange, //
        },
        file::{
            File,
            Iocb,
            Splice,
            Whence, //
        },
        inode::Inode,
        readdir::Emitter,
        write::{
            Allocation,
            CopyKind,
            CopyRange, //
        },
        FileSystem, //
    },
};

/// What each open file owns, kept in its `private_data`.
///
/// # Safety
///
/// Implementers guarantee that what [`OpenState::into_private`] returns stands for all of the value, and
/// that [`OpenState::borrow_at`] leaves in its place what [`OpenState::from_private`] can be called with.
pub(crate) unsafe trait OpenState: Send + Sync + 'static {
    /// What callbacks see of it.
    type Borrowed<'a>;

    /// Turns it into what can be kept in `private_data`.
    fn into_private(self) -> *mut c_void;

    /// Turns it back.
    ///
    /// # Safety
    ///
    /// `private` must come from [`OpenState::into_private`], or be what was found in its place
    /// afterwards, must be turned back only once, and nothing that was borrowed may be used any more.
    unsafe fn from_private(private: *mut c_void) -> Self;

    /// Looks at it in its place.
    ///
    /// # Safety
    ///
    /// `place` must hold what comes from [`OpenState::into_private`], and nobody may access it but by this
    /// function, during `'a`.
    unsafe fn borrow_at<'a>(place: *mut *mut c_void) -> Self::Borrowed<'a>;
}

// SAFETY: `ForeignOwnable` promises the same, and leaves what is in the place as it is.
unsafe impl<T: ForeignOwnable + Send + Sync + 'static> OpenState for T {
    type Borrowed<'a> = <T as ForeignOwnable>::Borrowed<'a>;

    fn into_private(self) -> *mut c_void {
        self.into_foreign()
    }

    unsafe fn from_private(private: *mut c_void) -> Self {
        // SAFETY: By this function's requirements.
        unsafe { T::from_foreign(private) }
    }

    #[inline]
    unsafe fn borrow_at<'a>(place: *mut *mut c_void) -> Self::Borrowed<'a> {
        // SAFETY: By this function's requirements the place can be read.
        let private = unsafe { *place };
        // SAFETY: By this function's requirements.
        unsafe { T::borrow(private) }
    }
}

/// What each open file owns, as callbacks see it.
pub(crate) type Handle<'a, T> = <<T as FileOps>::Handle as OpenState>::Borrowed<'a>;

/// What a filesystem does with open files.
#[vtable]
pub(crate) trait FileOps {
    /// The filesystem.
    type Fs: FileSystem;

    /// What each open file owns.
    type Handle: OpenState;

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn open(inode: &Inode<Self::Fs>, file: &File<Self::Fs>) -> Result<Self::Handle>;

    /// Seeks, and returns the new position, which is set in `file` too.
    ///
    /// # Errors
    ///
    /// `EINVAL`, `ENXIO`, and what a filesystem below says.
    fn llseek(
        file: &File<Self::Fs>,
        handle: Handle<'_, Self>,
        offset: i64,
        whence: Whence,
    ) -> Result<i64>;

    /// Reads.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn read_iter(
        file: &File<Self::Fs>,
        handle: Handle<'_, Self>,
        iocb: &mut Iocb<'_>,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        let _ = (file, handle, iocb, to);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn write_iter(
        file: &File<Self::Fs>,
        handle: Handle<'_, Self>,
        iocb: &mut Iocb<'_>,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let _ = (file, handle, iocb, from);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Moves data out of a pipe.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn splice_write(
        file: &File<Self::Fs>,
        handle: Handle<'_, Self>,
        position: &mut i64,
        splice: Splice,
    ) -> Result<usize> {
        let _ = (file, handle, position, splice);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reserves, frees or moves the space of a part of the file.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn fallocate(
        file: &File<Self::Fs>,
        handle: Handle<'_, Self>,
        allocation: Allocation,
    ) -> Result {
        let _ = (file, handle, allocation);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a part of `to` the same as a part of `from`, a file of this filesystem as well, though not
    /// always in the same superblock. Returns for how many bytes it did.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn copy_range(
        from: (&File<Self::Fs>, Handle<'_, Self>),
        to: (&File<Self::Fs>, Handle<'_, Self>),
        range: CopyRange,
        kind: CopyKind,
    ) -> Result<i64> {
        let _ = (from, to, range, kind);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Moves data into a pipe.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn splice_read(
        file: &File<Self::Fs>,
        handle: Handle<'_, Self>,
        position: &mut i64,
        splice: Splice,
    ) -> Result<usize> {
        let _ = (file, handle, position, splice);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Maps the file into memory.
    ///
    /// # Errors
    ///
    /// `ENODEV`, and what a filesystem below says.
    fn mmap(file: &File<Self::Fs>, handle: Handle<'_, Self>, vma: &VmaNew) -> Result {
        let _ = (file, handle, vma);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Emits names of a directory. The directory is locked, shared.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn iterate(
        file: &File<Self::Fs>,
        handle: Handle<'_, Self>,
        emitter: &mut Emitter<'_>,
    ) -> Result {
        let _ = (file, handle, emitter);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes a hint how the file will be read.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn fadvise(file: &File<Self::Fs>, handle: Handle<'_, Self>, advice: Advice) -> Result {
        let _ = (file, handle, advice);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A descriptor of the file is closed.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn flush(file: &File<Self::Fs>, handle: Handle<'_, Self>, owner: LockOwner) -> Result {
        let _ = (file, handle, owner);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes what was changed to the disk.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn fsync(file: &File<Self::Fs>, handle: Handle<'_, Self>, range: SyncRange) -> Result {
        let _ = (file, handle, range);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Finds a place for a mapping.
    fn unmapped_area(
        file: &File<Self::Fs>,
        handle: Handle<'_, Self>,
        request: AreaRequest,
    ) -> AreaAddress {
        let _ = (file, handle, request);
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The table for `T`.
pub(super) struct FileTable<T>(PhantomData<T>);

impl<T: FileOps> FileTable<T> {
    /// The table.
    ///
    /// The owner is left out: a mount keeps the module, and an open file keeps the mount.
    pub(super) const TABLE: &'static bindings::file_operations = &bindings::file_operations {
        open: Some(Self::open),
        release: Some(Self::release),
        llseek: Some(Self::llseek),
        read: if T::HAS_ITERATE {
            Some(bindings::generic_read_dir)
        } else {
            None
        },
        read_iter: if T::HAS_READ_ITER {
            Some(Self::read_iter)
        } else {
            None
        },
        write_iter: if T::HAS_WRITE_ITER {
            Some(Self::write_iter)
        } else {
            None
        },
        splice_write: if T::HAS_SPLICE_WRITE {
            Some(Self::splice_write)
        } else {
            None
        },
        fallocate: if T::HAS_FALLOCATE {
            Some(Self::fallocate)
        } else {
            None
        },
        copy_file_range: if T::HAS_COPY_RANGE {
            Some(Self::copy_file_range)
        } else {
            None
        },
        remap_file_range: if T::HAS_COPY_RANGE {
            Some(Self::remap_file_range)
        } else {
            None
        },
        splice_read: if T::HAS_SPLICE_READ {
            Some(Self::splice_read)
        } else {
            None
        },
        mmap: if T::HAS_MMAP { Some(Self::mmap) } else { None },
        iterate_shared: if T::HAS_ITERATE {
            Some(Self::iterate)
        } else {
            None
        },
        fadvise: if T::HAS_FADVISE {
            Some(Self::fadvise)
        } else {
            None
        },
        flush: if T::HAS_FLUSH {
            Some(Self::flush)
        } else {
            None
        },
        fsync: if T::HAS_FSYNC {
            Some(Self::fsync)
        } else {
            None
        },
        get_unmapped_area: if T::HAS_UNMAPPED_AREA {
            Some(Self::get_unmapped_area)
        } else {
            None
        },
        setlease: Some(bindings::rovl_generic_setlease),
        ..pin_init::zeroed()
    };

    /// What `open` left with the file.
    ///
    /// # Safety
    ///
    /// `file` must have been opened by `Self::open`, and not be released, during `'a`.
    #[inline]
    pub(super) unsafe fn handle<'a>(file: *mut bindings::file) -> Handle<'a, T> {
        // SAFETY: By this function's requirements.
        let place = unsafe { &raw mut (*file).private_data };
        // SAFETY: `open` put an owned `T::Handle` there, and `release` has not taken it back.
        unsafe { T::Handle::borrow_at(place) }
    }

    /// # Safety
    ///
    /// Called by the VFS with an inode of `T::Fs`, and a file that is being opened.
    unsafe extern "C" fn open(inode: *mut bindings::inode, raw: *mut bindings::file) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let inode = unsafe { Inode::from_raw(inode) };
            // SAFETY: By the callback's contract.
            let file = unsafe { File::from_raw(raw) };
            let handle = T::open(inode, file)?;
            // SAFETY: By the callback's contract nobody else uses the file yet.
            unsafe { (*raw).private_data = handle.into_private() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS, once, with a file that was opened by `Self::open`.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the callback's contract.
        let private = unsafe { (*file).private_data };
        // SAFETY: `open` put it there, and nobody uses the file any more.
        drop(unsafe { T::Handle::from_private(private) });
        0
    }

    /// # Safety
    ///
    /// Called by the VFS with a file that was opened by `Self::open`.
    unsafe extern "C" fn llseek(
        raw: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            T::llseek(file, handle, offset, Whence::from_raw(whence))
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a request for a file that was opened by `Self::open`.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        to: *mut bindings::iov_iter,
    ) -> isize {
        from_result(|| {
            let iocb = NonNull::new(iocb).ok_or(EINVAL)?;
            // SAFETY: By the callback's contract.
            let raw = unsafe { (*iocb.as_ptr()).ki_filp };
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            // SAFETY: By the callback's contract.
            let to = unsafe { IovIterDest::from_raw(to) };
            if to.is_empty() {
                return Ok(0);
            }
            // SAFETY: By the callback's contract.
            let mut iocb = unsafe { Iocb::from_raw(iocb) };
            let read = T::read_iter(file, handle, &mut iocb, to)?;
            isize::try_from(read).map_err(|_| EOVERFLOW)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a file that was opened by `Self::open`, a position and a pipe.
    unsafe extern "C" fn splice_read(
        raw: *mut bindings::file,
        position: *mut bindings::loff_t,
        pipe: *mut bindings::pipe_inode_info,
        len: usize,
        flags: c_uint,
    ) -> isize {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            let splice = Splice {
                pipe: NonNull::new(pipe).ok_or(EINVAL)?,
                len,
                flags,
            };
            // SAFETY: By the callback's contract.
            let position = unsafe { &mut *position };
            let moved = T::splice_read(file, handle, position, splice)?;
            isize::try_from(moved).map_err(|_| EOVERFLOW)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a file that was opened by `Self::open`, and an area that is being set up.
    unsafe extern "C" fn mmap(
        raw: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            // SAFETY: By the callback's contract.
            T::mmap(file, handle, unsafe { VmaNew::from_raw(vma) })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory that was opened by `Self::open`, and is locked.
    unsafe extern "C" fn iterate(
        raw: *mut bindings::file,
        ctx: *mut bindings::dir_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            let ctx = NonNull::new(ctx).ok_or(EINVAL)?;
            // SAFETY: By the callback's contract.
            let mut emitter = unsafe { Emitter::from_raw(ctx) };
            T::iterate(file, handle, &mut emitter)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a file that was opened by `Self::open`.
    unsafe extern "C" fn fadvise(
        raw: *mut bindings::file,
        offset: bindings::loff_t,
        len: bindings::loff_t,
        advice: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            let advice = Advice {
                offset,
                len,
                advice,
            };
            T::fadvise(file, handle, advice)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a file that was opened by `Self::open`.
    unsafe extern "C" fn flush(raw: *mut bindings::file, owner: bindings::fl_owner_t) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            T::flush(file, handle, LockOwner(owner))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a file that was opened by `Self::open`.
    unsafe extern "C" fn fsync(
        raw: *mut bindings::file,
        start: bindings::loff_t,
        end: bindings::loff_t,
        datasync: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
            let range = SyncRange {
                start,
                end,
                datasync,
            };
            T::fsync(file, handle, range)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a file that was opened by `Self::open`, for a mapping of the current task.
    unsafe extern "C" fn get_unmapped_area(
        raw: *mut bindings::file,
        address: c_ulong,
        len: c_ulong,
        page_offset: c_ulong,
        flags: c_ulong,
    ) -> c_ulong {
        // SAFETY: By the callback's contract.
        let (file, handle) = unsafe { (File::from_raw(raw), Self::handle(raw)) };
        let request = AreaRequest {
            address,
            len,
            page_offset,
            flags,
        };
        T::unmapped_area(file, handle, request).0
    }
}
