// SPDX-License-Identifier: GPL-2.0-only

//! Files that are opened without ever having had a name.
//!
//! C headers: [`include/linux/backing-file.h`](srctree/include/linux/backing-file.h),
//! [`include/linux/dcache.h`](srctree/include/linux/dcache.h).

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    create::NewName,
    dentry::Dentry,
    file::{
        File,
        LayerFile, //
    },
    inode::Inode,
    path::PathRef,
    revalidate::Wish,
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// A file of ours that is being made and opened at once, without a name.
///
/// # Invariants
///
/// The VFS has called us to do so. The file's dentry is negative, in no list of names, and known to us
/// alone; its parent is the directory that the file is made in.
pub(crate) struct UnnamedFile<'a, F>(&'a File<F>);

impl<'a, F: FileSystem> UnnamedFile<'a, F> {
    /// Wraps the file of a callback.
    ///
    /// # Safety
    ///
    /// `ptr` must be as in the type invariant, during `'a`.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::file) -> Self {
        // SAFETY: By this function's requirements.
        // INVARIANT: Likewise.
        Self(unsafe { File::from_raw(ptr) })
    }

    /// The name that it would have, if it had one.
    pub(crate) fn name(&self) -> NewName<'a, F> {
        // SAFETY: By the type invariant the dentry is negative, and nobody else changes anything about it.
        unsafe { NewName::from_raw(self.0.dentry().as_ptr()) }
    }

    /// Makes and opens a file without a name on a filesystem below, in the directory `dir` and for this
    /// file. `mode` has the bits that tell the kind; the umask has not been applied.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the filesystem has no such files, and what else it says.
    pub(crate) fn make_below(&self, dir: &PathRef<'_>, mode: u16) -> Result<ARef<LayerFile>> {
        // Whoever makes a file owns it, and may always ask for this flag.
        let flags = self.0.flags().bits() | bindings::O_NOATIME;
        // SAFETY: All are valid; the function takes references of its own to both paths.
        let file = unsafe {
            bindings::backing_tmpfile_open(
                self.0.as_ptr(),
                // CAST: Flags are below 2^31.
                flags as c_int,
                &dir.as_raw(),
                mode,
                bindings::rovl_current_cred(),
            )
        };
        // SAFETY: The function returns an error, or a file for us.
        unsafe { LayerFile::from_owned(file) }
    }

    /// Makes the file one of `inode`. `wish` is as for [`NewName::attach`].
    pub(crate) fn attach(self, inode: ARef<Inode<F>>, wish: Wish) {
        // SAFETY: By the type invariant the dentry is negative, and the inode is held.
        unsafe { bindings::d_mark_tmpfile(self.0.as_ptr(), inode.as_ptr()) };
        self.name().attach(inode, wish);
    }
}

impl LayerFile {
    /// The dentry by which it was opened.
    pub(crate) fn dentry(&self) -> &Dentry<AnyFs> {
        // SAFETY: A file holds its path, which never changes once it is open.
        unsafe { Dentry::from_raw((*self.as_ptr()).__bindgen_anon_1.f_path.dentry) }
    }
}
