// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of directories that make objects, and names for them.
//!
//! The trait and the table are in [`super::inode`].
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use core::ptr;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

use super::{
    file::OpenState,
    inode::{
        InodeOps,
        InodeTable,
        RegularHandle, //
    },
};
use crate::{
    bindings,
    vfs::{
        create::NewName,
        dentry::Dentry,
        dirop::{
            NewKind,
            NewObject, //
        },
        mount::Idmap,
        tmpfile::UnnamedFile, //
    },
};

/// The bits of a mode that are not its type (C: `S_IALLUGO`).
const PERMISSIONS: u16 = 0o7777;

/// The mode of an object of the type `kind`, one of the `S_IF*`, with the permission bits of `mode`.
fn typed(kind: u32, mode: u16) -> u16 {
    // CAST: All these constants fit 16 bits.
    kind as u16 | (mode & PERMISSIONS)
}

impl<T: InodeOps> InodeTable<T> {
    /// # Safety
    ///
    /// `dentry` must be as for [`NewName`], and `idmap` valid.
    unsafe fn make(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        kind: NewKind<'_>,
        mode: u16,
    ) -> Result {
        // SAFETY: By this function's requirements.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: By this function's requirements.
        let name = unsafe { NewName::from_raw(dentry) };
        T::create(idmap, name, NewObject { kind, mode })
    }

    /// # Safety
    ///
    /// Called by the VFS with a locked directory of `T::Fs` and a negative dentry in it.
    pub(super) unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        _dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int {
        from_result(|| {
            let mode = typed(bindings::S_IFREG, mode);
            // SAFETY: By the callback's contract.
            unsafe { Self::make(idmap, dentry, NewKind::Regular, mode) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As for [`Self::create`].
    pub(super) unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        _dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        let mode = typed(bindings::S_IFDIR, mode);
        // SAFETY: By the callback's contract.
        match unsafe { Self::make(idmap, dentry, NewKind::Directory, mode) } {
            // The dentry that was given is the one that was made use of.
            Ok(()) => ptr::null_mut(),
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// As for [`Self::create`].
    pub(super) unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        _dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        device: bindings::dev_t,
    ) -> c_int {
        from_result(|| {
            let kind = NewKind::of_node(mode, device);
            // SAFETY: By the callback's contract.
            unsafe { Self::make(idmap, dentry, kind, mode) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As for [`Self::create`], and `target` must be a C string.
    pub(super) unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        _dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let target = unsafe { CStr::from_char_ptr(target) };
            let mode = typed(bindings::S_IFLNK, 0);
            // SAFETY: By the callback's contract.
            unsafe { Self::make(idmap, dentry, NewKind::Symlink(target), mode) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a positive dentry of `T::Fs` that is no directory, and is locked, a locked
    /// directory and a negative dentry in it.
    pub(super) unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        _dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let old = unsafe { Dentry::from_raw(old) };
            // SAFETY: By the callback's contract.
            T::link(old, unsafe { NewName::from_raw(dentry) })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a directory of `T::Fs`, and a file that is being opened, with a negative
    /// dentry that has no name yet.
    pub(super) unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        _dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let idmap = unsafe { Idmap::from_raw(idmap) };
            // SAFETY: By the callback's contract.
            let handle = T::tmpfile(idmap, unsafe { UnnamedFile::from_raw(file) }, mode)?;
            let handle = handle.into_private();
            // SAFETY: By the callback's contract nobody else uses the file yet.
            let dentry = unsafe {
                (*file).private_data = handle;
                (*file).__bindgen_anon_1.f_path.dentry
            };
            // SAFETY: The dentry stands for a regular file now, and the file was not opened before.
            let result = unsafe { bindings::finish_open(file, dentry, Some(Self::opened)) };
            // SAFETY: The file is valid.
            if unsafe { (*file).f_mode } & bindings::ROVL_FMODE_OPENED == 0 {
                // SAFETY: It was made above, and nobody releases a file that was not opened.
                drop(unsafe { RegularHandle::<T::Fs>::from_private(handle) });
            }
            to_result(result)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS for a file that has all it needs.
    unsafe extern "C" fn opened(_inode: *mut bindings::inode, _file: *mut bindings::file) -> c_int {
        0
    }
}
