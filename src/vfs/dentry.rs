// SPDX-License-Identifier: GPL-2.0-only

//! Dentries: names in a directory, in the states that matter to a filesystem.
//!
//! C header: [`include/linux/dcache.h`](srctree/include/linux/dcache.h).

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::from_err_ptr,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            atomic_load,
            ordering::Acquire, //
        },
        rcu, //
    },
    types::Opaque,
};

use super::{
    inode::Inode,
    revalidate::Wish,
    slot::RcuFreed,
    superblock::SuperBlock,
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// A dentry of the filesystem `F`.
///
/// # Invariants
///
/// The reference count is not zero, or the current task is in an RCU read-side critical section in which
/// the dentry was found.
#[repr(transparent)]
pub(crate) struct Dentry<F>(Opaque<bindings::dentry>, PhantomData<fn() -> F>);

// SAFETY: Dentries can be put by any thread.
unsafe impl<F> Send for Dentry<F> {}

// SAFETY: All that the methods look at is constant, or read in the way that dcache.h asks for.
unsafe impl<F> Sync for Dentry<F> {}

// SAFETY: A reference keeps a dentry in memory, and all dentries are reference counted.
unsafe impl<F> AlwaysRefCounted for Dentry<F> {
    fn inc_ref(&self) {
        // SAFETY: A shared reference means that the count is not zero; walkers under RCU get no `ARef`.
        unsafe { bindings::rovl_dget(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference; `Dentry` is a transparent wrapper.
        unsafe { bindings::dput(obj.as_ptr().cast()) };
    }
}

// SAFETY: dcache frees dentries after an RCU grace period, and so it does with the inode that one points
// to. (`DCACHE_NORCU` exists only for dentries of pipes and sockets, which nothing can be stacked on.)
unsafe impl<F> RcuFreed for Dentry<F> {}

impl<F> Dentry<F> {
    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a dentry of `F`, or of any filesystem if `F` is [`AnyFs`], that keeps the
    /// type invariant during `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(ptr: *const bindings::dentry) -> &'a Self {
        // SAFETY: By this function's requirements, and `Dentry` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// Takes over a reference from a C function that returns a dentry or an error.
    ///
    /// # Errors
    ///
    /// The error that `ptr` encodes.
    ///
    /// # Safety
    ///
    /// If `ptr` encodes no error, it must be as for [`Dentry::from_raw`], and the caller must own a
    /// reference.
    pub(super) unsafe fn from_owned(ptr: *mut bindings::dentry) -> Result<ARef<Self>> {
        let ptr = NonNull::new(from_err_ptr(ptr)?).ok_or(ENOENT)?;
        // SAFETY: By this function's requirements.
        Ok(unsafe { ARef::from_raw(ptr.cast()) })
    }

    /// C's pointer.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.get()
    }

    /// The inode, or `None` if the name does not exist.
    ///
    /// What a dentry points to does not change while somebody holds it, except that a negative one may
    /// become positive.
    #[inline]
    pub(crate) fn inode(&self) -> Option<&Inode<F>> {
        // SAFETY: The dentry can be read by the type invariant.
        let inode = unsafe { ptr::addr_of!((*self.as_ptr()).d_inode).read_volatile() };
        if inode.is_null() {
            return None;
        }
        // SAFETY: A held dentry holds its inode, and under RCU the inode is freed after a grace period.
        Some(unsafe { Inode::from_raw(inode) })
    }

    /// The flags (C: `DCACHE_*`).
    pub(super) fn flags(&self) -> u32 {
        // SAFETY: The dentry can be read by the type invariant; flags are read without a lock as in
        // `__d_entry_type`.
        unsafe { ptr::addr_of!((*self.as_ptr()).d_flags).read_volatile() }
    }

    /// Whether names can be looked up in it (C: `d_can_lookup`).
    pub(crate) fn can_lookup(&self) -> bool {
        // SAFETY: The dentry can be read by the type invariant.
        unsafe { bindings::rovl_d_can_lookup(self.as_ptr()) }
    }

    /// Whether it is a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        // SAFETY: The dentry can be read by the type invariant.
        unsafe { bindings::rovl_d_is_reg(self.as_ptr()) }
    }

    /// Whether the filesystem stacks on others itself, so that its objects stand for real ones.
    pub(crate) fn is_stacked(&self) -> bool {
        self.flags() & bindings::dentry_flags_DCACHE_OP_REAL != 0
    }

    /// Whether it is of a kind that cannot be stacked on: an automount point, a directory with rules of
    /// its own for comparing names, or no known kind at all (C: `ovl_dentry_weird`).
    pub(crate) fn is_weird(&self) -> bool {
        const MANAGED: u32 = bindings::dentry_flags_DCACHE_NEED_AUTOMOUNT
            | bindings::dentry_flags_DCACHE_MANAGE_TRANSIT;
        const OWN_NAMES: u32 =
            bindings::dentry_flags_DCACHE_OP_HASH | bindings::dentry_flags_DCACHE_OP_COMPARE;

        // SAFETY: The dentry can be read by the type invariant.
        let known_kind = unsafe {
            bindings::rovl_d_can_lookup(self.as_ptr())
                || bindings::rovl_d_is_file(self.as_ptr())
                || bindings::rovl_d_is_symlink(self.as_ptr())
        };
        let flags = self.flags();
        if !known_kind || flags & MANAGED != 0 {
            return true;
        }
        // SAFETY: A dentry belongs to one superblock all its life.
        let folds_case = unsafe { bindings::rovl_sb_has_encoding((*self.as_ptr()).d_sb) };
        !folds_case && flags & OWN_NAMES != 0
    }

    /// Whether the cache knows it by its name.
    pub(crate) fn is_cached(&self) -> bool {
        // SAFETY: The dentry can be read by the type invariant.
        !unsafe { bindings::rovl_d_unhashed(self.as_ptr()) }
    }

    /// The name, without a terminating NUL.
    ///
    /// # Safety
    ///
    /// The name must be stable during `'a`: the directory is locked, or the dentry is in lookup.
    pub(super) unsafe fn stable_name<'a>(&'a self) -> &'a [u8] {
        let dentry = self.as_ptr();
        // SAFETY: By this function's requirements the name is stable.
        let name = unsafe { &(*dentry).__bindgen_anon_1.d_name };
        // SAFETY: Both variants of the union hold the length in the same place.
        let len = unsafe { name.__bindgen_anon_1.__bindgen_anon_1.len };
        // SAFETY: A dentry's name has that many bytes, and lives as long as it is stable.
        // CAST: The length is 32 bits wide, `usize` is not smaller.
        unsafe { core::slice::from_raw_parts(name.name, len as usize) }
    }

    /// Whether this is `other`, or lies below it.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        // SAFETY: Both dentries are valid by the type invariant.
        unsafe { bindings::is_subdir(self.as_ptr(), other.as_ptr()) }
    }

    /// The superblock.
    #[inline]
    pub(super) fn superblock_ptr(&self) -> *mut bindings::super_block {
        // SAFETY: The dentry can be read by the type invariant, and its superblock never changes.
        unsafe { (*self.as_ptr()).d_sb }
    }
}

impl Dentry<AnyFs> {
    /// Takes a name that does not exist out of the cache, if only the caller has it.
    pub(super) fn drop_unused_negative(&self) {
        let dentry = self.as_ptr();
        // SAFETY: The dentry is valid by the type invariant; both variants of the union begin with the
        // lock and the count.
        let lockref = unsafe { &raw mut (*dentry).d_lockref.__bindgen_anon_1.__bindgen_anon_1 };
        // SAFETY: As above.
        let (lock, count) = unsafe { (&raw mut (*lockref).lock, &raw const (*lockref).count) };
        // SAFETY: As above. Others change the count meanwhile.
        let is_unused = || unsafe { count.read_volatile() } == 1;
        if !is_unused() {
            return;
        }
        // SAFETY: The lock is valid, and not held by this task.
        unsafe { bindings::spin_lock(lock) };
        // Both may have changed before the lock was taken.
        // SAFETY: The dentry is valid.
        if unsafe { bindings::rovl_d_flags_negative(dentry) } && is_unused() {
            // SAFETY: The dentry's lock is held.
            unsafe { bindings::__d_drop(dentry) };
        }
        // SAFETY: It was locked above.
        unsafe { bindings::spin_unlock(lock) };
    }
}

impl<F: FileSystem> Dentry<F> {
    /// What `d_fsdata` holds of a dentry that is marked.
    const MARK: *mut c_void = ptr::without_provenance_mut(1);

    /// Whether it was marked. A new dentry is not.
    #[inline]
    pub(crate) fn is_marked(&self) -> bool {
        // SAFETY: The dentry can be read by the type invariant. The field is its filesystem's own, which has
        // no other use for it.
        !unsafe { ptr::addr_of!((*self.as_ptr()).d_fsdata).read_volatile() }.is_null()
    }

    /// Marks it, for as long as it is in memory, whatever becomes of its name. What that means is up to the
    /// filesystem. No lock is needed.
    pub(crate) fn mark(&self) {
        // SAFETY: As above; whoever else writes it meanwhile writes the same.
        unsafe { ptr::addr_of_mut!((*self.as_ptr()).d_fsdata).write_volatile(Self::MARK) };
    }

    /// The superblock that it belongs to.
    #[inline]
    pub(crate) fn superblock(&self) -> &SuperBlock<F> {
        // SAFETY: A dentry's superblock outlives it, and it is one of `F`, which was filled before it
        // could have dentries.
        unsafe { SuperBlock::from_raw(self.superblock_ptr()) }
    }
}

impl<F> Dentry<F> {
    /// The directory that it is in now; itself, if it is a root.
    pub(crate) fn parent(&self) -> ARef<Self> {
        // SAFETY: The dentry is valid by the type invariant.
        let parent = unsafe { bindings::dget_parent(self.as_ptr()) };
        // SAFETY: `dget_parent` returns a dentry of the same superblock with a reference for us, and
        // never null.
        unsafe { ARef::from_raw(NonNull::new_unchecked(parent.cast())) }
    }

    /// The directory that it is in now, without a reference: it can be read as long as the RCU read lock is held.
    pub(super) fn parent_under<'a>(&'a self, _rcu: &'a rcu::Guard) -> &'a Self {
        // SAFETY: The dentry is valid by the type invariant, or can be read under the same lock.
        let parent = unsafe { (&raw const (*self.as_ptr()).d_parent).read_volatile() };
        // SAFETY: It was the parent after the critical section had begun, and dentries are freed only when that
        // has ended.
        unsafe { Self::from_raw(parent) }
    }

    /// A number that is another one after each move to another name or directory (C: `d_seq`).
    pub(crate) fn sequence(&self) -> u32 {
        // SAFETY: The dentry is valid by the type invariant; the number is made to be read at any time.
        let sequence = unsafe { &raw mut (*self.as_ptr()).d_seq.seqcount.sequence };
        // SAFETY: As above, and only C writes to it, with accesses that are atomic as well.
        unsafe { atomic_load(sequence, Acquire) }
    }
}

impl<F: FileSystem> Dentry<F> {
    /// Looks at the directory that it is in now, without a reference. What `look` does must not sleep. `None` if
    /// the directory is just going away.
    pub(crate) fn peek_parent<R>(&self, look: impl FnOnce(&Inode<F>) -> R) -> Option<R> {
        let rcu = rcu::read_lock();
        let parent = self.parent_under(&rcu);
        // SAFETY: The parent can be read under the lock.
        let inode = unsafe { (&raw const (*parent.as_ptr()).d_inode).read_volatile() };
        // SAFETY: Inodes are freed only after a grace period, like dentries, with all that walkers in RCU mode
        // look at.
        (!inode.is_null()).then(|| look(unsafe { Inode::from_raw(inode) }))
    }
}

impl PartialEq for Dentry<AnyFs> {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }
}

/// A name that is being looked up, or made, in a directory of ours: not yet visible to anyone else.
///
/// # Invariants
///
/// The dentry is in lookup: its parent and its name are stable, its parent is held, and only the current
/// callback works on it.
pub(crate) struct Unhashed<'a, F>(&'a Dentry<F>);

impl<'a, F: FileSystem> Unhashed<'a, F> {
    /// Wraps the dentry of the `lookup` callback.
    ///
    /// # Safety
    ///
    /// `ptr` must be as in the type invariant, during `'a`.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::dentry) -> Self {
        // SAFETY: By this function's requirements.
        // INVARIANT: Likewise.
        Self(unsafe { Dentry::from_raw(ptr) })
    }

    /// The name, without a terminating NUL.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: By the type invariant the name is stable.
        unsafe { self.0.stable_name() }
    }

    /// Marks the dentry ([`Dentry::mark`]).
    pub(crate) fn mark(&self) {
        self.0.mark();
    }

    /// Binds the name to `inode`, or marks it as one that does not exist, and makes it visible. `wish` says
    /// whether to ask, each time that the name is used, whether it is still current.
    ///
    /// For a directory that the cache knows already, under another name or none, that dentry is moved
    /// here and returned.
    ///
    /// # Errors
    ///
    /// `ELOOP` if a directory would become its own ancestor, `ESTALE` if it has another place.
    pub(crate) fn splice(
        self,
        inode: Option<ARef<Inode<F>>>,
        wish: Wish,
    ) -> Result<Option<ARef<Dentry<F>>>> {
        self.0.set_wish(wish);
        let inode = inode.map_or(ptr::null_mut(), |inode| {
            ARef::into_raw(inode).as_ptr().cast()
        });
        // SAFETY: By the type invariant the dentry is in lookup, and the inode's reference is handed
        // over, also when this fails.
        let found = unsafe { bindings::d_splice_alias(inode, self.0.as_ptr()) };
        let Some(found) = NonNull::new(from_err_ptr(found)?) else {
            return Ok(None);
        };
        // SAFETY: `d_splice_alias` returns a dentry of the same superblock with a reference for us.
        Ok(Some(unsafe { ARef::from_raw(found.cast()) }))
    }
}
