// SPDX-License-Identifier: GPL-2.0-only

//! Access control lists, as the filesystems below keep them.
//!
//! C header: [`include/linux/posix_acl.h`](srctree/include/linux/posix_acl.h).

use core::{
    marker::PhantomData,
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
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

use super::{
    dentry::Dentry,
    dirop::WriteAccess,
    inode::Inode,
    mount::Idmap,
    path::PathRef,
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// Which of the lists of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AclKind {
    /// Who may do what with the file.
    Access,
    /// What files that are made in the directory inherit.
    Default,
}

impl AclKind {
    /// From the argument of the callbacks.
    pub(super) fn from_raw(kind: c_int) -> Self {
        // CAST: The constant is positive and small.
        if kind == bindings::ACL_TYPE_ACCESS as c_int {
            Self::Access
        } else {
            Self::Default
        }
    }

    /// Which list the extended attribute `name` stands for, if any.
    pub(crate) fn of_xattr(name: &CStr) -> Option<Self> {
        [Self::Access, Self::Default]
            .into_iter()
            .find(|kind| kind.xattr_name() == name)
    }

    fn as_raw(self) -> c_int {
        match self {
            // CAST: The constants are positive and small.
            Self::Access => bindings::ACL_TYPE_ACCESS as c_int,
            // CAST: As above.
            Self::Default => bindings::ACL_TYPE_DEFAULT as c_int,
        }
    }

    /// The name of the extended attribute that stands for it (C: `posix_acl_xattr_name`).
    pub(super) fn xattr_name(self) -> &'static CStr {
        match self {
            Self::Access => c"system.posix_acl_access",
            Self::Default => c"system.posix_acl_default",
        }
    }
}

/// An access control list. It never changes while it is shared.
///
/// # Invariants
///
/// The reference count is not zero.
#[repr(transparent)]
pub(crate) struct Acl(Opaque<bindings::posix_acl>);

// SAFETY: Lists can be released by any thread.
unsafe impl Send for Acl {}

// SAFETY: A list that is shared is constant.
unsafe impl Sync for Acl {}

// SAFETY: A reference keeps a list in memory, and all lists are reference counted.
unsafe impl AlwaysRefCounted for Acl {
    fn inc_ref(&self) {
        // SAFETY: A shared reference means that the count is not zero.
        unsafe { bindings::rovl_posix_acl_dup(self.0.get()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference; `Acl` is a transparent wrapper.
        unsafe { bindings::rovl_posix_acl_release(obj.as_ptr().cast()) };
    }
}

impl Acl {
    /// C's pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::posix_acl {
        self.0.get()
    }

    /// Takes over a reference from a C function that returns a list, null, or an error.
    ///
    /// # Safety
    ///
    /// If `ptr` is neither null nor encodes an error, the caller must own a reference to the list.
    unsafe fn from_owned(ptr: *mut bindings::posix_acl) -> Result<Option<ARef<Self>>> {
        let ptr = NonNull::new(from_err_ptr(ptr)?);
        // SAFETY: By this function's requirements, and `Acl` is a transparent wrapper.
        Ok(ptr.map(|ptr| unsafe { ARef::from_raw(ptr.cast()) }))
    }

    /// What a callback is lent, if anything.
    ///
    /// # Safety
    ///
    /// `ptr` must be null, or point to a list that somebody holds during `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::posix_acl) -> Option<&'a Self> {
        // SAFETY: By this function's requirements, and `Acl` is a transparent wrapper.
        NonNull::new(ptr).map(|ptr| unsafe { ptr.cast().as_ref() })
    }

    /// What a callback returns to C.
    pub(super) fn into_raw(this: Option<ARef<Self>>) -> *mut bindings::posix_acl {
        this.map_or(ptr::null_mut(), |acl| ARef::into_raw(acl).as_ptr().cast())
    }

    /// A copy that nobody else knows.
    fn copy(&self) -> Result<NonNull<bindings::posix_acl>> {
        // SAFETY: The list is valid by the type invariant.
        let copy = unsafe { bindings::posix_acl_clone(self.0.get(), bindings::GFP_KERNEL) };
        NonNull::new(copy).ok_or(ENOMEM)
    }

    /// A copy with the users and groups as a mount with `idmap` shows them. `inode` is the one that the
    /// list belongs to. (C: `ovl_idmap_posix_acl`.)
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn mapped(&self, idmap: &Idmap, inode: &Inode<AnyFs>) -> Result<ARef<Self>> {
        let copy = self.copy()?;
        // SAFETY: `posix_acl_clone` returns a list that nobody else knows. Both variants of the union are
        // the same header.
        let header = unsafe { (*copy.as_ptr()).__bindgen_anon_1.hdr.as_ref() };
        // CAST: The count is 32 bits wide, `usize` is not smaller.
        let count = header.a_count as usize;
        // SAFETY: As above, and a list has as many entries as it says.
        let entries = unsafe { (*copy.as_ptr()).a_entries.as_mut_slice(count) };
        for entry in entries {
            map_entry(entry, idmap, inode);
        }
        // SAFETY: The reference that `posix_acl_clone` gave us is handed over.
        Ok(unsafe { ARef::from_raw(copy.cast()) })
    }
}

impl WriteAccess<'_> {
    /// Sets a list, or removes it. The inode's lock is taken.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if there can be none, `ENOMEM`, and what the filesystem or a security module says.
    pub(crate) fn set_acl(
        &self,
        dentry: &Dentry<AnyFs>,
        kind: AclKind,
        acl: Option<&Acl>,
    ) -> Result {
        let name = kind.xattr_name().as_char_ptr();
        let Some(acl) = acl else {
            // SAFETY: All are valid.
            return to_result(unsafe {
                bindings::vfs_remove_acl(self.idmap(), dentry.as_ptr(), name)
            });
        };
        let copy = if self.mount().is_idmapped() {
            // The users and groups are mapped in place, and a list that is shared must not change.
            // SAFETY: The reference to the copy is handed over.
            Some(unsafe { ARef::<Acl>::from_raw(acl.copy()?.cast()) })
        } else {
            None
        };
        let acl = copy.as_deref().unwrap_or(acl);
        // SAFETY: All are valid; the list is changed only if it is the copy.
        to_result(unsafe {
            bindings::vfs_set_acl(self.idmap(), dentry.as_ptr(), name, acl.0.get())
        })
    }
}

impl Inode<AnyFs> {
    /// Whether the filesystem can set lists of this inode at all.
    pub(crate) fn can_set_acl(&self) -> bool {
        // SAFETY: The inode is valid by its invariant; each has a table of callbacks.
        unsafe { (*(*self.as_ptr()).i_op).set_acl.is_some() }
    }
}

impl<F: FileSystem> Inode<F> {
    /// Whether the file keeps its set-group-ID bit only for those who are in its group, and the current
    /// credentials are not, nor have the capability to act as if.
    pub(crate) fn loses_set_group_id(&self, idmap: &Idmap) -> bool {
        if self.mode_bits() & bindings::S_ISGID == 0 {
            return false;
        }
        // SAFETY: Both are valid by their invariants.
        unsafe { !bindings::rovl_in_group_or_capable(idmap.as_ptr(), self.as_ptr()) }
    }
}

/// Maps the user or group that the entry is for, if it is for one.
fn map_entry(entry: &mut bindings::posix_acl_entry, idmap: &Idmap, inode: &Inode<AnyFs>) {
    // CAST: Tags are small constants.
    const USER: c_short = bindings::ACL_USER as c_short;
    // CAST: As above.
    const GROUP: c_short = bindings::ACL_GROUP as c_short;

    let (idmap, inode) = (idmap.as_ptr(), inode.as_ptr());
    let id = &mut entry.__bindgen_anon_1;
    match entry.e_tag {
        USER => {
            // SAFETY: By the tag it is the user's number that is set.
            let user = unsafe { id.e_uid.as_mut() };
            // SAFETY: Both are valid.
            *user = unsafe { bindings::rovl_vfsuid_of_kuid(idmap, inode, *user) };
        }
        GROUP => {
            // SAFETY: By the tag it is the group's number that is set.
            let group = unsafe { id.e_gid.as_mut() };
            // SAFETY: Both are valid.
            *group = unsafe { bindings::rovl_vfsgid_of_kgid(idmap, inode, *group) };
        }
        _ => (),
    }
}

/// Witness that a callback was called by a path walk under the RCU read lock, which lasts as long as the
/// callback.
pub(crate) struct RcuWalk(NotThreadSafe);

impl RcuWalk {
    /// # Safety
    ///
    /// The RCU read lock must be held as long as the value lives.
    pub(super) unsafe fn new() -> Self {
        Self(NotThreadSafe)
    }
}

/// What is known of a list without reading it: the list, that there is none, or nothing.
///
/// # Invariants
///
/// What the pointer points to, if anything, can be read during `'a`.
pub(crate) struct CachedAcl<'a>(*mut bindings::posix_acl, PhantomData<&'a RcuWalk>);

impl CachedAcl<'_> {
    /// There is no list.
    pub(crate) fn none() -> Self {
        // INVARIANT: A null pointer points to nothing.
        Self(ptr::null_mut(), PhantomData)
    }

    /// What a callback returns to C.
    pub(super) fn as_raw(&self) -> *mut bindings::posix_acl {
        self.0
    }
}

impl Inode<AnyFs> {
    /// Whether the filesystem has access control lists (C: `IS_POSIXACL`).
    #[inline]
    pub(crate) fn has_acls(&self) -> bool {
        // SAFETY: An inode's superblock outlives it; single flags of it are read without a lock.
        let flags = unsafe { ptr::addr_of!((*(*self.as_ptr()).i_sb).s_flags).read_volatile() };
        // CAST: A single low bit.
        flags & bindings::ROVL_SB_POSIXACL as c_ulong != 0
    }

    /// The list, to check access by. No security module is asked.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn acl(&self, kind: AclKind) -> Result<Option<ARef<Acl>>> {
        // SAFETY: The inode is valid by its invariant.
        let acl = unsafe { bindings::get_inode_acl(self.as_ptr(), kind.as_raw()) };
        // SAFETY: The function returns an error, null, or a list with a reference for us.
        unsafe { Acl::from_owned(acl) }
    }

    /// The list, if it is in memory.
    pub(crate) fn cached_acl<'a>(&'a self, kind: AclKind, _walk: &'a RcuWalk) -> CachedAcl<'a> {
        // SAFETY: The inode is valid by its invariant, and the witness says that the RCU read lock is
        // held.
        let acl = unsafe { bindings::get_cached_acl_rcu(self.as_ptr(), kind.as_raw()) };
        // INVARIANT: Lists are freed after an RCU grace period, and `'a` is within the critical section.
        // Values that stand for an unknown list are never dereferenced by anyone.
        CachedAcl(acl, PhantomData)
    }
}

/// What an object inherits from the directory that it is made in.
pub(crate) struct Inherited {
    /// Its mode, without what the directory's list denies, or, if there is none, without what the umask
    /// denies.
    pub(crate) mode: u16,
    /// Who may do what with it, if the mode alone does not tell.
    pub(crate) access: Option<ARef<Acl>>,
    /// What is inherited from it in turn, if it is a directory.
    pub(crate) default: Option<ARef<Acl>>,
}

impl<F: FileSystem> Inode<F> {
    /// What an object that is made in this directory with `mode` inherits.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what the filesystem says.
    pub(crate) fn inherited(&self, mut mode: u16) -> Result<Inherited> {
        let (mut default, mut access) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: The inode is valid by its invariant, and there is room for the results.
        to_result(unsafe {
            bindings::posix_acl_create(self.as_ptr(), &mut mode, &mut default, &mut access)
        })?;
        // SAFETY: The function has succeeded, so that both are null, or a list with a reference for us.
        let (access, default) = unsafe { (Acl::from_owned(access)?, Acl::from_owned(default)?) };
        Ok(Inherited {
            mode,
            access,
            default,
        })
    }
}

impl PathRef<'_> {
    /// The list, to be shown to the current credentials.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if there can be none, what a security module says, and what the filesystem says.
    pub(crate) fn acl(&self, kind: AclKind) -> Result<Option<ARef<Acl>>> {
        // SAFETY: All three are valid.
        let acl = unsafe {
            bindings::vfs_get_acl(
                self.mount.idmap().as_ptr(),
                self.dentry.as_ptr(),
                kind.xattr_name().as_char_ptr(),
            )
        };
        // SAFETY: The function returns an error, null, or a list with a reference for us.
        unsafe { Acl::from_owned(acl) }
    }
}
