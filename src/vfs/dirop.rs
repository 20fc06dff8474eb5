// SPDX-License-Identifier: GPL-2.0-only

//! Changing the names in a directory of a filesystem below.
//!
//! Each change needs two witnesses. [`WriteAccess`] says that the filesystem cannot become read-only, and
//! is not frozen. A guard that is made of it says that the directory is locked and what the name stands
//! for: [`FreeName`] can become something, [`TakenName`] and [`Removing`] can be removed, [`Renaming`]
//! can be carried out. Dropping a guard unlocks.
//!
//! All errors of the functions here include what the filesystem and the security modules say.
//!
//! C header: [`include/linux/namei.h`](srctree/include/linux/namei.h). See also
//! [`Documentation/filesystems/directory-locking.rst`](srctree/Documentation/filesystems/directory-locking.rst).

mod make;
mod place;
mod removal;
pub(crate) mod rename;

pub(crate) use self::make::{
    NewKind,
    NewObject, //
};

use core::{
    mem::ManuallyDrop,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    attr::Stat,
    dentry::Dentry,
    inode::Inode,
    lookup::qstr,
    mount::Mount,
    AnyFs, //
};
use crate::bindings;

/// The right to change a filesystem through a mount, until this is dropped.
///
/// No data is to be copied while it is held: it keeps the filesystem from being frozen.
///
/// # Invariants
///
/// `mnt_want_write` has succeeded for the mount.
pub(crate) struct WriteAccess<'a> {
    mount: &'a Mount,
}

impl Mount {
    /// Asks for the right to change the filesystem. Waits while it is frozen.
    ///
    /// # Errors
    ///
    /// `EROFS` if the mount or the filesystem is read-only.
    pub(crate) fn want_write(&self) -> Result<WriteAccess<'_>> {
        // SAFETY: The mount is valid.
        to_result(unsafe { bindings::mnt_want_write(self.as_ptr()) })?;
        // INVARIANT: It has succeeded.
        Ok(WriteAccess { mount: self })
    }
}

/// Keeps a mount from becoming read-only, until this is dropped. The filesystem may be frozen meanwhile.
///
/// # Invariants
///
/// `mnt_get_write_access` has succeeded for the mount.
#[must_use = "the mount may become read-only when this is dropped"]
pub(crate) struct StaysWritable<'a>(&'a Mount);

impl Mount {
    /// Keeps the mount from becoming read-only.
    ///
    /// # Errors
    ///
    /// `EROFS` if the mount or the filesystem is read-only.
    pub(crate) fn stay_writable(&self) -> Result<StaysWritable<'_>> {
        // SAFETY: The mount is valid.
        to_result(unsafe { bindings::mnt_get_write_access(self.as_ptr()) })?;
        // INVARIANT: It has succeeded.
        Ok(StaysWritable(self))
    }
}

impl Drop for StaysWritable<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this balances `mnt_get_write_access`.
        unsafe { bindings::mnt_put_write_access(self.0.as_ptr()) };
    }
}

impl Drop for WriteAccess<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this balances `mnt_want_write`.
        unsafe { bindings::mnt_drop_write(self.mount.as_ptr()) };
    }
}

impl WriteAccess<'_> {
    /// The mount that may be written to.
    pub(crate) fn mount(&self) -> &Mount {
        self.mount
    }

    /// C's mapping of owners.
    pub(super) fn idmap(&self) -> *mut bindings::mnt_idmap {
        self.mount.idmap().as_ptr()
    }

    /// Locks `dir`, and finds out whether `name` is free.
    ///
    /// # Errors
    ///
    /// `EACCES` if `dir` may not be searched, `ENOENT` if it has been removed, `ENAMETOOLONG`.
    pub(crate) fn start_creating<'a>(
        &'a self,
        dir: &'a Dentry<AnyFs>,
        name: &[u8],
    ) -> Result<Name<'a>> {
        let mut name = qstr(name)?;
        // SAFETY: All are valid, and the name outlives the call.
        let child = unsafe { bindings::start_creating(self.idmap(), dir.as_ptr(), &mut name) };
        let child = NonNull::new(from_err_ptr(child)?).ok_or(EIO)?;
        // INVARIANT: The function locked the directory and returned a dentry in it, which is ours.
        let locked = Locked {
            child,
            dir,
            access: self,
        };
        Ok(if locked.is_positive() {
            Name::Taken(TakenName(locked))
        } else {
            Name::Free(FreeName(locked))
        })
    }

    /// Locks `dir`, and checks that `child` is still in it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not, `ENOENT` if nothing is there any more.
    pub(crate) fn start_removing<'a>(
        &'a self,
        dir: &'a Dentry<AnyFs>,
        child: &Dentry<AnyFs>,
    ) -> Result<Removing<'a>> {
        // SAFETY: Both are valid.
        let child = unsafe { bindings::start_removing_dentry(dir.as_ptr(), child.as_ptr()) };
        let child = NonNull::new(from_err_ptr(child)?).ok_or(EIO)?;
        // INVARIANT: The function locked the directory and returned the dentry with a reference for us.
        Ok(Removing(Locked {
            child,
            dir,
            access: self,
        }))
    }

    /// Locks both directories, and finds the place where `child` shall go.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `child` is no longer in `from`, or above `to`; `ENOTEMPTY` if the place is above
    /// `child`.
    pub(crate) fn start_renaming<'a>(
        &'a self,
        from: &'a Dentry<AnyFs>,
        child: &Dentry<AnyFs>,
        to: &'a Dentry<AnyFs>,
        name: &[u8],
        flags: RenameFlags,
    ) -> Result<Renaming<'a>> {
        let mut name = qstr(name)?;
        self.renaming(from, to, flags, |data| {
            // SAFETY: All are valid, and the name outlives the call.
            unsafe { bindings::start_renaming_dentry(data, 0, child.as_ptr(), &mut name) }
        })
    }
}

impl WriteAccess<'_> {
    /// Locks both directories, and checks that `child` and `target` are still in theirs.
    ///
    /// # Errors
    ///
    /// `EINVAL` if one of them is not, or is above the other's directory.
    pub(crate) fn start_renaming_to<'a>(
        &'a self,
        from: &'a Dentry<AnyFs>,
        child: &Dentry<AnyFs>,
        to: &'a Dentry<AnyFs>,
        target: &Dentry<AnyFs>,
        flags: RenameFlags,
    ) -> Result<Renaming<'a>> {
        self.renaming(from, to, flags, |data| {
            // SAFETY: All are valid.
            unsafe { bindings::start_renaming_two_dentries(data, child.as_ptr(), target.as_ptr()) }
        })
    }
}

/// A name in a locked directory.
///
/// # Invariants
///
/// We own a reference to `child`, which is in `dir`, and the lock of `dir`'s inode.
struct Locked<'a> {
    child: NonNull<bindings::dentry>,
    dir: &'a Dentry<AnyFs>,
    access: &'a WriteAccess<'a>,
}

impl Locked<'_> {
    fn child(&self) -> &Dentry<AnyFs> {
        // SAFETY: By the type invariant we own a reference.
        unsafe { Dentry::from_raw(self.child.as_ptr()) }
    }

    fn is_positive(&self) -> bool {
        self.child().inode().is_some()
    }

    /// The inode of the directory.
    fn dir_inode(&self) -> *mut bindings::inode {
        self.dir.inode().map_or(ptr::null_mut(), Inode::as_ptr)
    }

    /// Removes what the name stands for. The name is then free in the cache too.
    fn remove(&self) -> Result {
        let is_directory = self.child().inode().is_some_and(Inode::is_directory);
        let remove = if is_directory {
            bindings::vfs_rmdir
        } else {
            bindings::vfs_unlink
        };
        // SAFETY: By the type invariant the directory is locked, and the dentry is in it.
        to_result(unsafe {
            remove(
                self.access.idmap(),
                self.dir_inode(),
                self.child.as_ptr(),
                ptr::null_mut(),
            )
        })
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant both the lock and a reference are ours.
        unsafe { bindings::end_dirop(self.child.as_ptr()) };
    }
}

/// What a name turned out to be.
pub(crate) enum Name<'a> {
    /// Nothing yet.
    Free(FreeName<'a>),
    /// Something.
    Taken(TakenName<'a>),
}

/// A name in a locked directory that stands for nothing yet.
pub(crate) struct FreeName<'a>(Locked<'a>);

impl<'a> FreeName<'a> {
    /// Makes an empty regular file.
    ///
    /// # Errors
    ///
    /// `ENOSPC` and others.
    pub(crate) fn create(self, mode: u16) -> Result<TakenName<'a>> {
        // SAFETY: The directory is locked, and the dentry is in it.
        to_result(unsafe {
            bindings::vfs_create(
                self.0.access.idmap(),
                self.0.child.as_ptr(),
                mode,
                ptr::null_mut(),
            )
        })?;
        TakenName::new(self.0)
    }

    /// Makes an empty directory.
    ///
    /// # Errors
    ///
    /// `ENOSPC` and others; `EINVAL` if the filesystem does not show what it has just made.
    pub(crate) fn mkdir(self, mode: u16) -> Result<TakenName<'a>> {
        // `vfs_mkdir` unlocks and drops the dentry if it fails.
        let locked = ManuallyDrop::new(self.0);
        // SAFETY: The directory is locked, and the dentry is in it.
        let made = unsafe {
            bindings::vfs_mkdir(
                locked.access.idmap(),
                locked.dir_inode(),
                locked.child.as_ptr(),
                mode,
                ptr::null_mut(),
            )
        };
        let child = NonNull::new(from_err_ptr(made)?).ok_or(EIO)?;
        // INVARIANT: The function handed us a reference to the dentry that it made, or to another one
        // in its place, and the directory is still locked.
        TakenName::new(Locked {
            child,
            dir: locked.dir,
            access: locked.access,
        })
    }
}

/// A name in a locked directory that stands for something.
pub(crate) struct TakenName<'a>(Locked<'a>);

impl<'a> TakenName<'a> {
    /// Some filesystems leave the dentry without an inode, and make another when it is looked up.
    fn new(locked: Locked<'a>) -> Result<Self> {
        if locked.is_positive() {
            Ok(Self(locked))
        } else {
            Err(EINVAL)
        }
    }

    /// What the name stands for.
    pub(crate) fn dentry(&self) -> &Dentry<AnyFs> {
        self.0.child()
    }

    /// Gives the directory the times that `times` tells, if that can be done. Nobody else can change it from
    /// when it was locked.
    pub(crate) fn give_directory_times(&self, times: &Stat) {
        // SAFETY: By the type invariant the directory is locked.
        unsafe { self.0.access.give_times_locked(self.0.dir, times) };
    }

    /// Unlocks the directory and keeps what the name stands for.
    pub(crate) fn keep(self) -> ARef<Dentry<AnyFs>> {
        self.0.child().into()
    }
}

/// Something in a locked directory that is about to be removed.
pub(crate) struct Removing<'a>(Locked<'a>);

impl Removing<'_> {
    /// Removes it.
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY`, `EPERM` and others.
    pub(crate) fn remove(self) -> Result {
        self.0.remove()
    }
}

/// What becomes of the two places of a rename (C: `RENAME_*`).
#[derive(Clone, Copy)]
pub(crate) struct RenameFlags(c_uint);

impl RenameFlags {
    /// What is in the new place is replaced.
    pub(crate) const REPLACE: Self = Self(0);

    /// The two change places.
    pub(crate) const EXCHANGE: Self = Self(bindings::RENAME_EXCHANGE);

    /// A whiteout stays in the place that is left.
    pub(crate) const WHITEOUT: Self = Self(bindings::RENAME_WHITEOUT);
}

/// A rename that can be carried out: both directories are locked.
///
/// # Invariants
///
/// `start_renaming_dentry` or `start_renaming_two_dentries` has succeeded for `data`.
pub(crate) struct Renaming<'a> {
    data: bindings::renamedata,
    access: &'a WriteAccess<'a>,
    to: &'a Dentry<AnyFs>,
}

impl Renaming<'_> {
    /// Carries it out.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the filesystem does not know the flags, and others.
    pub(crate) fn rename(mut self) -> Result {
        self.carry_out()
    }

    /// Carries it out, and gives the directory of the new place the times that `times` tells, if that can be
    /// done.
    ///
    /// # Errors
    ///
    /// As [`Renaming::rename`].
    pub(crate) fn rename_with_times(mut self, times: &Stat) -> Result {
        self.carry_out()?;
        // SAFETY: By the type invariant the directory is locked.
        unsafe { self.access.give_times_locked(self.to, times) };
        Ok(())
    }

    fn carry_out(&mut self) -> Result {
        // SAFETY: By the type invariant all in `data` is valid and locked.
        to_result(unsafe { bindings::vfs_rename(&mut self.data) })
    }
}

impl Drop for Renaming<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant both locks and the references are ours.
        unsafe { bindings::end_renaming(&mut self.data) };
    }
}
