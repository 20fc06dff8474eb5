// SPDX-License-Identifier: GPL-2.0-only

//! Making an object of one filesystem below like an object of another: what it takes beside its data.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/security.h`](srctree/include/linux/security.h).

use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    cred::Credential,
    error::to_result,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    attr::Stat,
    dentry::Dentry,
    dirop::WriteAccess,
    file::LayerFile,
    fileattr::FileAttr,
    inode::Inode,
    modify::InodeLock,
    path::PathRef,
    AnyFs,
    FileSystem, //
};
use crate::bindings;

impl<F: FileSystem> Dentry<F> {
    /// The credentials with which a security module wants a copy of this object to be made, if it does not
    /// want those that are in force.
    ///
    /// # Errors
    ///
    /// What a security module says.
    pub(crate) fn copier(&self) -> Result<Option<ARef<Credential>>> {
        let mut cred = ptr::null_mut();
        // SAFETY: The dentry is valid, and there is room for the result.
        to_result(unsafe { bindings::rovl_security_inode_copy_up(self.as_ptr(), &mut cred) })?;
        // SAFETY: If there are credentials, the function has given us a reference to them, and
        // `Credential` is a transparent wrapper.
        Ok(NonNull::new(cred).map(|cred| unsafe { ARef::from_raw(cred.cast()) }))
    }
}

/// What a security module thinks of copying an attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is to be copied.
    Copy,
    /// It is to be left out.
    Discard,
}

impl Dentry<AnyFs> {
    /// Asks the security modules whether the extended attribute `name` is to be copied.
    ///
    /// # Errors
    ///
    /// What a security module says.
    pub(crate) fn judge_xattr_copy(&self, name: &CStr) -> Result<Verdict> {
        // SAFETY: Both are valid.
        let verdict = to_result(unsafe {
            bindings::rovl_security_inode_copy_up_xattr(self.as_ptr(), name.as_char_ptr())
        });
        match verdict {
            Err(error) if error == ECANCELED => Ok(Verdict::Discard),
            // No module knows the attribute.
            Err(error) if error != EOPNOTSUPP => Err(error),
            _ => Ok(Verdict::Copy),
        }
    }

    /// Whether the filesystem can list extended attributes at all.
    pub(crate) fn lists_xattrs(&self) -> bool {
        self.inode().is_some_and(|inode| {
            // SAFETY: The inode is valid by its invariant; each has a table of callbacks.
            unsafe { (*(*inode.as_ptr()).i_op).listxattr.is_some() }
        })
    }
}

/// A file that was made without a name, and is open for writing.
pub(crate) struct Nameless(ARef<LayerFile>);

impl Nameless {
    /// The file.
    pub(crate) fn file(&self) -> &LayerFile {
        &self.0
    }

    /// The dentry, which is in no directory.
    pub(crate) fn object(&self) -> &Dentry<AnyFs> {
        // SAFETY: A file holds its path, which never changes once it is open.
        unsafe { Dentry::from_raw((*self.0.as_ptr()).__bindgen_anon_1.f_path.dentry) }
    }
}

impl WriteAccess<'_> {
    /// Makes a file without a name, on the filesystem of the directory `dir`.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if there can be none such, `ENOSPC` and others.
    pub(crate) fn make_nameless(&self, dir: &Dentry<AnyFs>, mode: u16) -> Result<Nameless> {
        const FLAGS: u32 = bindings::O_LARGEFILE | bindings::O_WRONLY;

        let path = PathRef {
            mount: self.mount(),
            dentry: dir,
        };
        // SAFETY: All are valid; the credentials are those in force.
        let file = unsafe {
            bindings::kernel_tmpfile_open(
                self.idmap(),
                &path.as_raw(),
                mode,
                // CAST: Flags are below 2^31.
                FLAGS as c_int,
                bindings::rovl_current_cred(),
            )
        };
        // SAFETY: The function returns an error, or a file for us.
        Ok(Nameless(unsafe { LayerFile::from_owned(file) }?))
    }

    /// Gives `to` the size, if it is a regular file, the mode, owner and times that `from` tells.
    /// (C: `ovl_set_size`, `ovl_set_attr`.)
    ///
    /// # Errors
    ///
    /// What the filesystem says. Times that cannot be set are left alone.
    pub(crate) fn give_attributes(&self, to: &Dentry<AnyFs>, from: &Stat) -> Result {
        let _lock = InodeLock::take(to.inode().ok_or(ESTALE)?);
        let kind = u32::from(from.0.mode) & bindings::S_IFMT;
        if kind == bindings::S_IFREG {
            // SAFETY: The inode is locked.
            unsafe { self.change_locked(to, size_of(from)) }?;
        }
        if kind != bindings::S_IFLNK {
            // SAFETY: The inode is locked.
            unsafe { self.change_locked(to, mode_of(from)) }?;
        }
        // SAFETY: The inode is locked.
        unsafe { self.change_locked(to, owner_of(from)) }?;
        // Times are the best that can be had, as in `ovl_set_attr`.
        // SAFETY: The inode is locked.
        let _ = unsafe { self.change_locked(to, times_of(from)) };
        Ok(())
    }

    /// Gives `to` the times that `from` tells, if that can be done.
    ///
    /// # Safety
    ///
    /// The inode of `to` must be locked by the current task.
    pub(super) unsafe fn give_times_locked(&self, to: &Dentry<AnyFs>, from: &Stat) {
        // SAFETY: By this function's requirements.
        let _ = unsafe { self.change_locked(to, times_of(from)) };
    }

    /// # Safety
    ///
    /// The inode of `dentry` must be locked by the current task.
    unsafe fn change_locked(&self, dentry: &Dentry<AnyFs>, mut change: bindings::iattr) -> Result {
        // SAFETY: All are valid, and by this function's requirements the inode is locked.
        to_result(unsafe {
            bindings::notify_change(self.idmap(), dentry.as_ptr(), &mut change, ptr::null_mut())
        })
    }
}

fn size_of(stat: &Stat) -> bindings::iattr {
    bindings::iattr {
        ia_valid: bindings::ROVL_ATTR_SIZE,
        ia_size: stat.0.size,
        ..pin_init::zeroed()
    }
}

fn mode_of(stat: &Stat) -> bindings::iattr {
    bindings::iattr {
        ia_valid: bindings::ROVL_ATTR_MODE,
        ia_mode: stat.0.mode,
        ..pin_init::zeroed()
    }
}

fn owner_of(stat: &Stat) -> bindings::iattr {
    let mut change = bindings::iattr {
        ia_valid: bindings::ROVL_ATTR_UID | bindings::ROVL_ATTR_GID,
        ..pin_init::zeroed()
    };
    // Meant as the mount shows owners, and both variants of each union are the same number.
    change.__bindgen_anon_1.ia_uid = stat.0.uid;
    change.__bindgen_anon_2.ia_gid = stat.0.gid;
    change
}

fn times_of(stat: &Stat) -> bindings::iattr {
    bindings::iattr {
        ia_valid: bindings::ROVL_ATTR_ATIME
            | bindings::ROVL_ATTR_MTIME
            | bindings::ROVL_ATTR_ATIME_SET
            | bindings::ROVL_ATTR_MTIME_SET
            | bindings::ROVL_ATTR_CTIME,
        ia_atime: stat.0.atime,
        ia_mtime: stat.0.mtime,
        ..pin_init::zeroed()
    }
}

impl<F: FileSystem> Inode<F> {
    /// Whether there are flags that a copy gets as well, or that are kept elsewhere for it
    /// (C: `OVL_FATTR_I_FLAGS_MASK`).
    pub(crate) fn has_lasting_flags(&self) -> bool {
        const LASTING: u32 =
            bindings::S_SYNC | bindings::S_NOATIME | bindings::S_APPEND | bindings::S_IMMUTABLE;

        self.flags() & LASTING != 0
    }
}

impl FileAttr {
    /// No flags yet, to be asked for as `chattr(1)` has them.
    pub(crate) fn empty() -> Self {
        let mut raw = bindings::file_kattr::default();
        raw.set_flags_valid(true);
        Self(raw)
    }

    /// Whether there is a flag that a copy gets as well.
    pub(crate) fn has_inherited(&self) -> bool {
        self.0.flags & INHERITED != 0
    }

    /// Takes the flags that a copy gets from those of the original.
    pub(crate) fn inherit(&mut self, from: &Self) {
        self.0.flags = self.0.flags & !INHERITED | from.0.flags & INHERITED;
        self.0.fsx_xflags = self.0.fsx_xflags & !INHERITED_X | from.0.fsx_xflags & INHERITED_X;
    }
}

/// Flags that a copy gets (C: `OVL_COPY_FS_FLAGS_MASK`).
const INHERITED: u32 = bindings::FS_SYNC_FL | bindings::FS_NOATIME_FL;

/// The same flags in their other form (C: `OVL_COPY_FSX_FLAGS_MASK`).
const INHERITED_X: u32 = bindings::FS_XFLAG_SYNC | bindings::FS_XFLAG_NOATIME;
