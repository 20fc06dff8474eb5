// SPDX-License-Identifier: GPL-2.0-only

//! Changes of attributes: mode, owner, size and times.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use core::ptr;
use kernel::{
    error::to_result,
    prelude::*, //
};

use super::{
    dentry::Dentry,
    dirop::WriteAccess,
    file::File,
    inode::{
        FileType,
        Inode, //
    },
    modify::InodeLock,
    mount::Idmap,
    path::PathRef,
    vtable::{
        file::OpenState,
        inode::{
            regular_handle,
            RegularHandle, //
        }, //
    },
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// A change of attributes that somebody asks for.
#[repr(transparent)]
pub(crate) struct Change(bindings::iattr);

impl Change {
    /// Takes the set-group-ID bit away, and changes nothing else.
    pub(crate) fn clear_set_group_id() -> Self {
        Self(bindings::iattr {
            ia_valid: bindings::ROVL_ATTR_KILL_SGID,
            ..pin_init::zeroed()
        })
    }

    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid, and nobody else may use it, during `'a`. If it says that there is a file, that has been
    /// opened, and stays so as long as the callback runs that the change is an argument of.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::iattr) -> &'a mut Self {
        // SAFETY: By this function's requirements, and `Change` is a transparent wrapper.
        unsafe { &mut *ptr.cast() }
    }

    /// Checks whether the credentials in force may change the inode of `dentry`, which is locked, like
    /// this. From then on owners are meant as the filesystem itself has them, not as a mount with `idmap`
    /// shows them.
    ///
    /// # Errors
    ///
    /// `EPERM` if they may not, `EFBIG` and others for the size, and what a security module says.
    pub(crate) fn prepare<F: FileSystem>(&mut self, idmap: &Idmap, dentry: &Dentry<F>) -> Result {
        let inode = dentry.inode().ok_or(ESTALE)?.as_ptr();
        // SAFETY: All are valid, and the dentry is positive.
        to_result(unsafe {
            bindings::setattr_prepare(idmap.as_ptr(), dentry.as_ptr(), &mut self.0)
        })?;
        if self.has(bindings::ROVL_ATTR_UID) {
            // SAFETY: Both variants of the union are the same number, set as the bit says.
            let owner = unsafe { &mut self.0.__bindgen_anon_1.ia_uid };
            // SAFETY: All are valid.
            *owner = unsafe { bindings::rovl_from_vfsuid(idmap.as_ptr(), inode, *owner) };
        }
        if self.has(bindings::ROVL_ATTR_GID) {
            // SAFETY: As above.
            let group = unsafe { &mut self.0.__bindgen_anon_2.ia_gid };
            // SAFETY: All are valid.
            *group = unsafe { bindings::rovl_from_vfsgid(idmap.as_ptr(), inode, *group) };
        }
        Ok(())
    }

    /// The size that the file is to get.
    pub(crate) fn size(&self) -> Option<i64> {
        self.has(bindings::ROVL_ATTR_SIZE).then_some(self.0.ia_size)
    }

    /// The open file by which somebody asks for it, and what that owns, if it is one of `inode`, which has to be
    /// a regular file.
    pub(crate) fn file<'a, F: FileSystem>(
        &self,
        inode: &'a Inode<F>,
    ) -> Option<(&'a File<F>, <RegularHandle<F> as OpenState>::Borrowed<'a>)> {
        if !self.has(bindings::ROVL_ATTR_FILE) || inode.file_type() != FileType::Regular {
            return None;
        }
        let file = self.0.ia_file;
        // SAFETY: By the requirements of `from_raw` the file is open.
        if unsafe { (*file).f_inode } != inode.as_ptr() {
            return None;
        }
        // SAFETY: By the requirements of `from_raw` the file is open, and it is one of ours, as its inode is. Its
        // callbacks are those that such inodes have, which never change.
        Some(unsafe { (File::from_raw(file), regular_handle::<F>(file)) })
    }

    /// Notes that data is changed, too: the times of that are brought up to date.
    pub(crate) fn touch(&mut self) {
        self.0.ia_valid |= bindings::ROVL_ATTR_MTIME | bindings::ROVL_ATTR_CTIME;
    }

    fn has(&self, bit: c_uint) -> bool {
        self.0.ia_valid & bit != 0
    }

    /// Leaves only what is meant for an object below, whose filesystem knows nothing of our files.
    fn for_layer(&mut self) {
        const KILL: c_uint = bindings::ROVL_ATTR_KILL_SUID | bindings::ROVL_ATTR_KILL_SGID;

        if self.has(KILL) {
            // The bits are taken from the mode that the object below has, not from ours.
            self.0.ia_valid &= !bindings::ROVL_ATTR_MODE;
        }
        // The file is one of ours, and the one below was not opened with `O_TRUNC`, so that its filesystem
        // must not think that it is empty already.
        self.0.ia_valid &= !(bindings::ROVL_ATTR_FILE | bindings::ROVL_ATTR_OPEN);
    }
}

impl WriteAccess<'_> {
    /// Changes attributes of an object below. The inode's lock is taken.
    ///
    /// # Errors
    ///
    /// `EOVERFLOW` if an owner has no number on the filesystem, `EPERM`, and what else it or a security
    /// module says.
    pub(crate) fn change(&self, dentry: &Dentry<AnyFs>, change: &mut Change) -> Result {
        change.for_layer();
        let _lock = InodeLock::take(dentry.inode().ok_or(ESTALE)?);
        // SAFETY: All are valid, and the inode is locked.
        to_result(unsafe {
            bindings::notify_change(
                self.idmap(),
                dentry.as_ptr(),
                &mut change.0,
                ptr::null_mut(),
            )
        })
    }
}

/// Somebody who writes to a file, so that it cannot be executed meanwhile.
///
/// # Invariants
///
/// `get_write_access` has succeeded for the inode.
#[must_use = "the file can be executed again when this is dropped"]
pub(crate) struct Writer<'a>(&'a Inode<AnyFs>);

impl Inode<AnyFs> {
    /// Keeps the file from being executed.
    ///
    /// # Errors
    ///
    /// `ETXTBSY` if it is being executed.
    pub(crate) fn begin_write(&self) -> Result<Writer<'_>> {
        // SAFETY: The inode is valid by its invariant.
        to_result(unsafe { bindings::rovl_get_write_access(self.as_ptr()) })?;
        // INVARIANT: It has succeeded.
        Ok(Writer(self))
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this balances `get_write_access`.
        unsafe { bindings::rovl_put_write_access(self.0.as_ptr()) };
    }
}

/// Which times the VFS wants to be updated, and how.
#[derive(Clone, Copy)]
pub(crate) struct TimeUpdate {
    kind: c_uint,
    flags: c_uint,
}

impl TimeUpdate {
    /// From the arguments of the `update_time` callback.
    pub(super) fn from_raw(kind: c_uint, flags: c_uint) -> Self {
        Self { kind, flags }
    }

    /// Whether it is the time of the last access, not that of the last change.
    pub(crate) fn is_of_access(self) -> bool {
        self.kind == bindings::fs_update_time_FS_UPD_ATIME
    }

    /// Whether the caller can wait.
    pub(crate) fn may_block(self) -> bool {
        self.flags & bindings::ROVL_IOCB_NOWAIT == 0
    }
}

impl PathRef<'_> {
    /// Notes that the object was accessed now, if its mount and its filesystem keep such times and the one
    /// that they have is too old.
    pub(crate) fn touch(&self) {
        // SAFETY: The path is valid.
        unsafe { bindings::touch_atime(&self.as_raw()) };
    }
}

impl<F: FileSystem> File<F> {
    /// Whether accesses by this file are not to be noted (C: `O_NOATIME`).
    #[inline]
    pub(crate) fn keeps_access_time(&self) -> bool {
        self.flags().bits() & bindings::O_NOATIME != 0
    }

    /// As [`PathRef::touch`].
    #[inline]
    pub(crate) fn touch(&self) {
        // SAFETY: The file is valid by its invariant, and holds its path, which never changes.
        unsafe { bindings::touch_atime(&raw const (*self.as_ptr()).__bindgen_anon_1.f_path) };
    }
}

impl<F: FileSystem> Inode<F> {
    /// Takes over the time of the last access from an object below.
    pub(crate) fn take_access_time_of(&self, real: &Inode<AnyFs>) {
        // SAFETY: Both are valid. Whoever reads or sets the time does it without a lock, as in C.
        unsafe { bindings::rovl_inode_copy_atime(self.as_ptr(), real.as_ptr()) };
    }

    /// Takes over the times of the last changes from an object below, if they differ.
    pub(crate) fn take_change_times_of(&self, real: &Inode<AnyFs>) {
        if self.change_times() == real.change_times() {
            return;
        }
        // SAFETY: Both are valid. Whoever reads or sets the times does it without a lock, as in C.
        unsafe {
            bindings::rovl_inode_copy_mtime(self.as_ptr(), real.as_ptr());
            bindings::rovl_inode_copy_ctime(self.as_ptr(), real.as_ptr());
        }
    }
}

impl<F> Inode<F> {
    /// When the data, and when anything was changed the last time: seconds and nanoseconds of each.
    fn change_times(&self) -> (i64, u32, i64, u32) {
        let raw = self.as_ptr();
        // SAFETY: The inode is valid by its invariant; times are read without a lock as in C.
        unsafe {
            (
                (&raw const (*raw).i_mtime_sec).read_volatile(),
                (&raw const (*raw).i_mtime_nsec).read_volatile(),
                (&raw const (*raw).i_ctime_sec).read_volatile(),
                // One bit of it says that somebody has looked at it.
                (&raw const (*raw).i_ctime_nsec).read_volatile() & !bindings::ROVL_I_CTIME_QUERIED,
            )
        }
    }
}
