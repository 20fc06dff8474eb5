// SPDX-License-Identifier: GPL-2.0-only

//! Making objects of each kind, and further names of those that there are.

use core::ptr;
use kernel::{
    error::to_result,
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    FreeName,
    Name,
    TakenName,
    WriteAccess, //
};
use crate::{
    bindings,
    vfs::{
        dentry::Dentry,
        inode::Inode,
        AnyFs, //
    },
};

/// What an object is to be.
#[derive(Clone, Copy)]
pub(crate) enum NewKind<'a> {
    /// A regular file, without data.
    Regular,
    /// A directory, without names.
    Directory,
    /// A device node with this number, a FIFO or a socket.
    Node(u32),
    /// A symlink with this target.
    Symlink(&'a CStr),
}

impl NewKind<'_> {
    /// From the arguments of the `mknod` callback, which makes empty files as well.
    pub(in crate::vfs) fn of_node(mode: u16, device: u32) -> Self {
        match u32::from(mode) & bindings::S_IFMT {
            bindings::S_IFREG => Self::Regular,
            _ => Self::Node(device),
        }
    }
}

/// An object that is to be made.
#[derive(Clone, Copy)]
pub(crate) struct NewObject<'a> {
    /// What it is to be.
    pub(crate) kind: NewKind<'a>,
    /// The permission bits, and the bits that tell the kind. The umask has not been applied.
    pub(crate) mode: u16,
}

impl<'a> FreeName<'a> {
    /// Makes an object. What it inherits, and the umask, are the filesystem's business.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `EPERM` if the filesystem has no objects of this kind, and others.
    pub(crate) fn make(self, object: &NewObject<'_>) -> Result<TakenName<'a>> {
        match object.kind {
            NewKind::Regular => self.create(object.mode),
            NewKind::Directory => self.mkdir(object.mode),
            NewKind::Node(device) => self.mknod(object.mode, device),
            NewKind::Symlink(target) => self.symlink(target),
        }
    }

    /// Makes a device node, a FIFO or a socket.
    ///
    /// # Errors
    ///
    /// `EPERM` without the right to make device nodes, `ENOSPC` and others.
    pub(crate) fn mknod(self, mode: u16, device: u32) -> Result<TakenName<'a>> {
        // SAFETY: The directory is locked, and the dentry is in it.
        to_result(unsafe {
            bindings::vfs_mknod(
                self.0.access.idmap(),
                self.0.dir_inode(),
                self.0.child.as_ptr(),
                mode,
                device,
                ptr::null_mut(),
            )
        })?;
        TakenName::new(self.0)
    }

    /// Makes a symlink.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG`, `ENOSPC` and others.
    pub(crate) fn symlink(self, target: &CStr) -> Result<TakenName<'a>> {
        // SAFETY: The directory is locked, and the dentry is in it.
        to_result(unsafe {
            bindings::vfs_symlink(
                self.0.access.idmap(),
                self.0.dir_inode(),
                self.0.child.as_ptr(),
                target.as_char_ptr(),
                ptr::null_mut(),
            )
        })?;
        TakenName::new(self.0)
    }

    /// Makes it a name of `object`, which is no directory.
    ///
    /// # Errors
    ///
    /// `EMLINK`, `EXDEV`, `EPERM` if the filesystem has no hard links, and others.
    pub(crate) fn link(self, object: &Dentry<AnyFs>) -> Result<TakenName<'a>> {
        // SAFETY: The directory is locked, and the dentry is in it; the object is held.
        to_result(unsafe {
            bindings::vfs_link(
                object.as_ptr(),
                self.0.access.idmap(),
                self.0.dir_inode(),
                self.0.child.as_ptr(),
                ptr::null_mut(),
            )
        })?;
        TakenName::new(self.0)
    }
}

impl WriteAccess<'_> {
    /// Unlocks the directory in which `made`, called `name`, was just made, and keeps it in a form that the
    /// cache knows.
    ///
    /// Filesystems that fold case may leave what they have made out of the cache. It is looked up again
    /// then, and since nothing is locked meanwhile, it may be gone.
    ///
    /// # Errors
    ///
    /// `EIO` if something else is there, and as [`WriteAccess::start_creating`].
    pub(crate) fn keep_cached(
        &self,
        dir: &Dentry<AnyFs>,
        name: &[u8],
        made: TakenName<'_>,
    ) -> Result<ARef<Dentry<AnyFs>>> {
        let made = made.keep();
        if made.is_cached() {
            return Ok(made);
        }
        match self.start_creating(dir, name)? {
            Name::Taken(again) if Inode::same(again.dentry().inode(), made.inode()) => {
                Ok(again.keep())
            }
            Name::Taken(_) | Name::Free(_) => Err(EIO),
        }
    }
}
