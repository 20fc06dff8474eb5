// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of inodes, for each kind of file.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use core::{
    marker::PhantomData,
    ptr, //
};
use kernel::{
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    file::{
        FileOps,
        FileTable,
        OpenState, //
    },
    inode_removal::RenameMode, //
};
use crate::{
    bindings,
    vfs::{
        acl::{
            Acl,
            AclKind,
            CachedAcl,
            RcuWalk, //
        },
        attr::{
            Stat,
            StatRequest, //
        },
        create::NewName,
        dentry::{
            Dentry,
            Unhashed, //
        },
        dirop::NewObject,
        fileattr::{
            ExtentRequest,
            FileAttr, //
        },
        inode::{
            Access,
            FileType,
            Inode, //
        },
        locked_name::LockedName,
        mount::Idmap,
        setattr::{
            Change,
            TimeUpdate, //
        },
        tmpfile::UnnamedFile,
        xattr::ListBuffer,
        AnyFs,
        FileSystem, //
    },
};

/// What a filesystem does with inodes.
#[vtable]
pub(crate) trait InodeOps {
    /// The filesystem.
    type Fs: FileSystem;

    /// Looks a name up in a directory. The directory is locked, shared or exclusively.
    ///
    /// # Errors
    ///
    /// Anything but `ENOENT`: a name that does not exist is spliced without an inode.
    fn lookup(
        dir: &Inode<Self::Fs>,
        name: Unhashed<'_, Self::Fs>,
    ) -> Result<Option<ARef<Dentry<Self::Fs>>>> {
        let _ = (dir, name);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes an object in a directory, which is locked.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn create(idmap: &Idmap, name: NewName<'_, Self::Fs>, object: NewObject<'_>) -> Result {
        let _ = (idmap, name, object);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Gives `old`, which is no directory, a further name. Both `old` and the directory are locked.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn link(old: &Dentry<Self::Fs>, name: NewName<'_, Self::Fs>) -> Result {
        let _ = (old, name);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes and opens a regular file without a name. The directory is not locked.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`, and what a filesystem below says.
    fn tmpfile(
        idmap: &Idmap,
        file: UnnamedFile<'_, Self::Fs>,
        mode: u16,
    ) -> Result<RegularHandle<Self::Fs>> {
        let _ = (idmap, file, mode);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells the attributes.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn getattr(
        idmap: &Idmap,
        dentry: &Dentry<Self::Fs>,
        stat: &mut Stat,
        request: StatRequest,
    ) -> Result {
        let _ = (idmap, dentry, stat, request);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Whether the current task may do what `access` says. May be called under the RCU read lock, which
    /// `access` then tells to those who would block.
    ///
    /// # Errors
    ///
    /// `EACCES` and others; `ECHILD` if it cannot be told without blocking.
    fn permission(idmap: &Idmap, inode: &Inode<Self::Fs>, access: Access) -> Result {
        let _ = (idmap, inode, access);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Finds the target of a symlink.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn get_link<'a>(
        dentry: &'a Dentry<Self::Fs>,
        later: &'a mut LinkCleanup,
    ) -> Result<LinkTarget<'a>> {
        let _ = (dentry, later);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The list that access is checked by.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn acl(inode: &Inode<Self::Fs>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
        let _ = (inode, kind);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The list that access is checked by, for a path walk under the RCU read lock.
    ///
    /// # Errors
    ///
    /// `ECHILD` if it cannot be told without blocking.
    fn cached_acl<'a>(
        inode: &'a Inode<Self::Fs>,
        kind: AclKind,
        walk: &'a RcuWalk,
    ) -> Result<CachedAcl<'a>> {
        let _ = (inode, kind, walk);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The list, for somebody who wants to see it.
    ///
    /// # Errors
    ///
    /// What a filesystem below says.
    fn read_acl(dentry: &Dentry<Self::Fs>, kind: AclKind) -> Result<Option<ARef<Acl>>> {
        let _ = (dentry, kind);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Lists the names of extended attributes, and returns the length of the list.
    ///
    /// # Errors
    ///
    /// `ERANGE` if the buffer is too small, and what a filesystem below says.
    fn list_xattrs(dentry: &Dentry<Self::Fs>, list: ListBuffer<'_>) -> Result<usize> {
        let _ = (dentry, list);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells the flags that `chattr(1)` sets.
    ///
    /// # Errors
    ///
    /// `ENOTTY` if there are none, and what a filesystem below says.
    fn fileattr(dentry: &Dentry<Self::Fs>, attr: &mut FileAttr) -> Result {
        let _ = (dentry, attr);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells where the data lies.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`, and what a filesystem below says.
    fn extents(inode: &Inode<Self::Fs>, request: ExtentRequest) -> Result {
        let _ = (inode, request);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a name of something that is no directory.
    ///
    /// # Errors
    ///
    /// `EROFS`, `ESTALE`, and what a filesystem below says.
    fn unlink(name: LockedName<'_, Self::Fs>) -> Result {
        let _ = name;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a directory.
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY`, and as [`InodeOps::unlink`].
    fn rmdir(name: LockedName<'_, Self::Fs>) -> Result {
        let _ = name;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Renames what `old` stands for to `new`. The VFS changes the names in the cache afterwards.
    ///
    /// # Errors
    ///
    /// `EXDEV` for what cannot be renamed, and as [`InodeOps::rmdir`].
    fn rename(
        old: LockedName<'_, Self::Fs>,
        new: LockedName<'_, Self::Fs>,
        mode: RenameMode,
    ) -> Result {
        let _ = (old, new, mode);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes attributes. The inode is locked, also for the next two.
    ///
    /// # Errors
    ///
    /// `EPERM` if the current task may not, and what a filesystem below says.
    fn setattr(idmap: &Idmap, dentry: &Dentry<Self::Fs>, change: &mut Change) -> Result {
        let _ = (idmap, dentry, change);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets an access control list, or removes it.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if there can be none, `EPERM`, and what a filesystem below says.
    fn set_acl(
        idmap: &Idmap,
        dentry: &Dentry<Self::Fs>,
        acl: Option<&Acl>,
        kind: AclKind,
    ) -> Result {
        let _ = (idmap, dentry, acl, kind);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets the flags that `chattr(1)` sets. The VFS has checked the task's right to.
    ///
    /// # Errors
    ///
    /// `ENOTTY` if there are none, and what a filesystem below says.
    fn set_fileattr(dentry: &Dentry<Self::Fs>, attr: &mut FileAttr) -> Result {
        let _ = (dentry, attr);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Brings times up to date.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if that cannot be done without blocking, and the caller asks for it.
    fn update_time(inode: &Inode<Self::Fs>, update: TimeUpdate) -> Result {
        let _ = (inode, update);
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What has to be done when a symlink's target is used no more.
#[repr(transparent)]
pub(crate) struct LinkCleanup(bindings::delayed_call);

/// The target of a symlink, a C string that lives as long as the cleanup is not done.
pub(crate) struct LinkTarget<'a>(*const c_char, PhantomData<&'a LinkCleanup>);

impl Dentry<AnyFs> {
    /// The target of this symlink of a filesystem below.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is none, and what the filesystem says.
    pub(crate) fn link_target<'a>(&'a self, later: &'a mut LinkCleanup) -> Result<LinkTarget<'a>> {
        // SAFETY: Both are valid.
        let target = unsafe { bindings::vfs_get_link(self.as_ptr(), &mut later.0) };
        let target = kernel::error::from_err_ptr(target.cast_mut())?;
        Ok(LinkTarget(target, PhantomData))
    }
}

/// The callbacks of each kind of file.
pub(crate) trait InodeTables {
    /// The filesystem.
    type Fs: FileSystem;
    /// For directories.
    type Directory: InodeOps<Fs = Self::Fs>;
    /// For open directories.
    type DirectoryFile: FileOps<Fs = Self::Fs>;
    /// For regular files.
    type Regular: InodeOps<Fs = Self::Fs>;
    /// For open regular files.
    type RegularFile: FileOps<Fs = Self::Fs>;
    /// For symlinks.
    type Symlink: InodeOps<Fs = Self::Fs>;
    /// For device nodes, FIFOs and sockets.
    type Special: InodeOps<Fs = Self::Fs>;

    /// Puts the callbacks that fit its kind into a new inode.
    fn install(inode: &Inode<Self::Fs>)
    where
        Self: Sized,
    {
        install::<Self>(inode);
    }
}

/// What each open regular file owns.
pub(crate) type RegularHandle<F> =
    <<<F as FileSystem>::Inodes as InodeTables>::RegularFile as FileOps>::Handle;

/// What an open regular file owns.
///
/// # Safety
///
/// `file` must be a regular file of `F` that has been opened, and not be released, during `'a`.
pub(in crate::vfs) unsafe fn regular_handle<'a, F: FileSystem>(
    file: *mut bindings::file,
) -> <RegularHandle<F> as OpenState>::Borrowed<'a> {
    // SAFETY: By this function's requirements: `install` lets regular files be opened by this table.
    unsafe { FileTable::<<F::Inodes as InodeTables>::RegularFile>::handle(file) }
}

/// For O_DIRECT, opening checks that there is a `direct_IO`; the reads themselves go to the file below.
const ADDRESS_SPACE: &bindings::address_space_operations = &bindings::address_space_operations {
    direct_IO: Some(bindings::noop_direct_IO),
    ..pin_init::zeroed()
};

fn install<T: InodeTables>(inode: &Inode<T::Fs>) {
    let raw = inode.as_ptr();
    let ops = match inode.file_type() {
        FileType::Directory => InodeTable::<T::Directory>::TABLE,
        FileType::Regular => InodeTable::<T::Regular>::TABLE,
        FileType::Symlink => InodeTable::<T::Symlink>::TABLE,
        FileType::CharDevice | FileType::Special => InodeTable::<T::Special>::TABLE,
    };
    // SAFETY: The inode is new: only its maker uses it. All tables are static.
    unsafe { (*raw).i_op = ops };
    match inode.file_type() {
        // SAFETY: As above.
        FileType::Directory => unsafe {
            (*raw).__bindgen_anon_3.i_fop = FileTable::<T::DirectoryFile>::TABLE;
        },
        // SAFETY: As above.
        FileType::Regular => unsafe {
            (*raw).__bindgen_anon_3.i_fop = FileTable::<T::RegularFile>::TABLE;
            (*(*raw).i_mapping).a_ops = ADDRESS_SPACE;
        },
        FileType::Symlink => (),
        // SAFETY: As above.
        FileType::CharDevice | FileType::Special => unsafe {
            bindings::init_special_inode(raw, (*raw).i_mode, (*raw).i_rdev);
        },
    }
}

/// The table for `T`.
pub(super) struct InodeTable<T>(PhantomData<T>);

impl<T: InodeOps> InodeTable<T> {
    const TABLE: &'static bindings::inode_operations = &bindings::inode_operations {
        lookup: if T::HAS_LOOKUP {
            Some(Self::lookup)
        } else {
            None
        },
        create: if T::HAS_CREATE {
            Some(Self::create)
        } else {
            None
        },
        mkdir: if T::HAS_CREATE {
            Some(Self::mkdir)
        } else {
            None
        },
        mknod: if T::HAS_CREATE {
            Some(Self::mknod)
        } else {
            None
        },
        symlink: if T::HAS_CREATE {
            Some(Self::symlink)
        } else {
            None
        },
        link: if T::HAS_LINK { Some(Self::link) } else { None },
        tmpfile: if T::HAS_TMPFILE {
            Some(Self::tmpfile)
        } else {
            None
        },
        getattr: if T::HAS_GETATTR {
            Some(Self::getattr)
        } else {
            None
        },
        permission: if T::HAS_PERMISSION {
            Some(Self::permission)
        } else {
            None
        },
        get_link: if T::HAS_GET_LINK {
            Some(Self::get_link)
        } else {
            None
        },
        get_inode_acl: if T::HAS_ACL {
            Some(Self::get_inode_acl)
        } else {
            None
        },
        get_acl: if T::HAS_READ_ACL {
            Some(Self::get_acl)
        } else {
            None
        },
        listxattr: if T::HAS_LIST_XATTRS {
            Some(Self::listxattr)
        } else {
            None
        },
        fileattr_get: if T::HAS_FILEATTR {
            Some(Self::fileattr_get)
        } else {
            None
        },
        fiemap: if T::HAS_EXTENTS {
            Some(Self::fiemap)
        } else {
            None
        },
        unlink: if T::HAS_UNLINK {
            Some(Self::unlink)
        } else {
            None
        },
        rmdir: if T::HAS_RMDIR {
            Some(Self::rmdir)
        } else {
            None
        },
        rename: if T::HAS_RENAME {
            Some(Self::rename)
        } else {
            None
        },
        setattr: if T::HAS_SETATTR {
            Some(Self::setattr)
        } else {
            None
        },
        set_acl: if T::HAS_SET_ACL {
            Some(Self::set_acl)
        } else {
            None
        },
        fileattr_set: if T::HAS_SET_FILEATTR {
            Some(Self::fileattr_set)
        } else {
            None
        },
        update_time: if T::HAS_UPDATE_TIME {
            Some(Self::update_time)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS with a locked directory of `T::Fs` and a dentry in lookup in it.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: By the callback's contract.
        let dir = unsafe { Inode::from_raw(dir) };
        // SAFETY: By the callback's contract.
        let name = unsafe { Unhashed::from_raw(dentry) };
        match T::lookup(dir, name) {
            Ok(None) => ptr::null_mut(),
            Ok(Some(found)) => ARef::into_raw(found).as_ptr().cast(),
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a path on `T::Fs`, and room for the result.
    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        mask: u32,
        flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let idmap = unsafe { Idmap::from_raw(idmap) };
            // SAFETY: By the callback's contract.
            let dentry = unsafe { Dentry::from_raw((*path).dentry) };
            // SAFETY: By the callback's contract.
            let stat = unsafe { Stat::from_raw(stat) };
            T::getattr(idmap, dentry, stat, StatRequest::from_raw(mask, flags))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with an inode of `T::Fs` that is held or, if the mask has `MAY_NOT_BLOCK`,
    /// protected by RCU.
    unsafe extern "C" fn permission(
        idmap: *mut bindings::mnt_idmap,
        inode: *mut bindings::inode,
        mask: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let idmap = unsafe { Idmap::from_raw(idmap) };
            // SAFETY: By the callback's contract.
            let inode = unsafe { Inode::from_raw(inode) };
            T::permission(idmap, inode, Access::from_raw(mask))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a dentry of `T::Fs`, or null under RCU.
    unsafe extern "C" fn get_link(
        dentry: *mut bindings::dentry,
        _inode: *mut bindings::inode,
        later: *mut bindings::delayed_call,
    ) -> *const c_char {
        if dentry.is_null() {
            return ECHILD.to_ptr::<c_char>();
        }
        // SAFETY: By the callback's contract.
        let dentry = unsafe { Dentry::from_raw(dentry) };
        // SAFETY: By the callback's contract; this is a transparent wrapper.
        let later = unsafe { &mut *later.cast::<LinkCleanup>() };
        match T::get_link(dentry, later) {
            Ok(target) => target.0,
            Err(error) => error.to_ptr::<c_char>(),
        }
    }
}
