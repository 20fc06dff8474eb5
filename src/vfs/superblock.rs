// SPDX-License-Identifier: GPL-2.0-only

//! Superblocks: of filesystems below, of ours in use, and of ours while a mount is being made.
//!
//! C header: [`include/linux/fs/super_types.h`](srctree/include/linux/fs/super_types.h).

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::aref::ARef,
    types::{
        ForeignOwnable,
        Opaque, //
    },
};

use super::{
    dentry::Dentry,
    encoding,
    inode::{
        Inode,
        WithNode, //
    },
    lock,
    path::PathRef,
    revalidate::Wish,
    vtable::{
        export::ExportTable,
        inode::InodeTables,
        superblock::SuperTable,
        xattr::XattrHandlers, //
    },
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// How many filesystems may be stacked on each other.
pub(crate) const MAX_STACK_DEPTH: u32 = bindings::FILESYSTEM_MAX_STACK_DEPTH;

/// A superblock of the filesystem `F`.
///
/// # Invariants
///
/// Valid, and if `F` is a [`FileSystem`], `s_fs_info` owns its `F::Data`.
#[repr(transparent)]
pub(crate) struct SuperBlock<F>(Opaque<bindings::super_block>, PhantomData<fn() -> F>);

impl<F> SuperBlock<F> {
    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must keep the type invariant during `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(ptr: *const bindings::super_block) -> &'a Self {
        // SAFETY: By this function's requirements, and `SuperBlock` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// C's pointer.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// How many filesystems it is stacked on.
    pub(crate) fn stack_depth(&self) -> u32 {
        // SAFETY: The superblock is valid by the type invariant; the field is set before it is mounted.
        let depth = unsafe { (*self.as_ptr()).s_stack_depth };
        u32::try_from(depth).unwrap_or(0)
    }

    /// Whether nothing can be changed now.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: The superblock is valid by the type invariant; single flags are read without a lock.
        let flags = unsafe { ptr::addr_of!((*self.as_ptr()).s_flags).read_volatile() };
        // CAST: A single low bit.
        flags & bindings::ROVL_SB_RDONLY as c_ulong != 0
    }

    /// Whether both are the same superblock.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }

    /// An address that tells this superblock from all others that exist.
    pub(crate) fn identity(&self) -> SuperBlockId {
        // CAST: An address as a number, never turned back.
        SuperBlockId(self.as_ptr() as usize)
    }
}

/// Tells whether two objects are on the same filesystem.
///
/// Good for comparing only, and only while both superblocks are held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SuperBlockId(usize);

impl SuperBlock<AnyFs> {
    /// The finest step of its timestamps, in nanoseconds.
    pub(crate) fn time_granularity(&self) -> u32 {
        // SAFETY: The superblock is valid by the type invariant; the field is set before it is mounted.
        unsafe { (*self.as_ptr()).s_time_gran }
    }
}

impl<F: FileSystem> SuperBlock<F> {
    /// What the filesystem keeps with this superblock.
    #[inline]
    pub(crate) fn data(&self) -> &F::Data {
        // SAFETY: The superblock is valid by the type invariant.
        let data = unsafe { (*self.as_ptr()).s_fs_info };
        // SAFETY: By the type invariant `s_fs_info` is an owned `KBox<F::Data>`, that is given back
        // only when nothing can reach the superblock any more.
        unsafe { &*data.cast() }
    }

    /// Whether `inode` is that of the root directory.
    pub(crate) fn is_root(&self, inode: &Inode<F>) -> bool {
        // SAFETY: The superblock is valid by the type invariant; the root is set before it is mounted.
        let root = unsafe { (*self.as_ptr()).s_root };
        // SAFETY: A superblock that has inodes in use holds its root.
        !root.is_null() && ptr::eq(unsafe { (*root).d_inode }, inode.as_ptr())
    }

    /// The number of the device that the filesystem claims to be on.
    #[inline]
    pub(crate) fn device(&self) -> u32 {
        // SAFETY: The superblock is valid by the type invariant; the field never changes.
        unsafe { (*self.as_ptr()).s_dev }
    }

    /// The inode that stands for `key`: one that exists already, or a new one to be filled.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn inode_for(&self, key: &Inode<AnyFs>) -> Result<Found<F>> {
        let key = key.as_ptr().cast::<c_void>();
        // SAFETY: The callbacks fit the key, which is only ever compared by address.
        // CAST: The address serves as hash value.
        let inode = unsafe {
            bindings::iget5_locked(
                self.as_ptr(),
                key as u64,
                Some(same_key),
                Some(set_key),
                key,
            )
        };
        // SAFETY: The function returns null, or an inode of this superblock with a reference for us.
        unsafe { Found::from_owned(inode) }
    }

    /// Lets `inode` stand for `key`. Returns `inode` itself, or a reference to the one that stands for `key`
    /// already, or null if that one cannot be waited for.
    ///
    /// # Safety
    ///
    /// The inode must be one of `F`, not hashed, and known to the caller alone.
    pub(super) unsafe fn insert_inode(
        inode: *mut bindings::inode,
        key: &Inode<AnyFs>,
    ) -> *mut bindings::inode {
        let key = key.as_ptr().cast::<c_void>();
        // SAFETY: By this function's requirements, and the callbacks fit the key.
        // CAST: The address serves as hash value.
        unsafe { bindings::inode_insert5(inode, key as u64, Some(same_key), Some(set_key), key) }
    }

    /// A new inode that stands for nothing that could be asked for again.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn anonymous_inode(&self) -> Result<NewInode<F>> {
        // SAFETY: The superblock is valid by the type invariant.
        let inode = unsafe { bindings::new_inode(self.as_ptr()) };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;
        // SAFETY: It is an inode of this superblock, with a reference for us, that nobody else knows.
        // INVARIANT: As above, and not hashed.
        Ok(NewInode(unsafe { ARef::from_raw(inode.cast()) }))
    }
}

/// # Safety
///
/// `inode` must be valid. Called by `iget5_locked` for hashed inodes of one superblock.
unsafe extern "C" fn same_key(inode: *mut bindings::inode, key: *mut c_void) -> c_int {
    // SAFETY: The inode is valid by this function's requirements.
    c_int::from(unsafe { (*inode).i_private } == key)
}

/// # Safety
///
/// `inode` must be valid and new. Called by `iget5_locked` before it hashes the inode.
unsafe extern "C" fn set_key(inode: *mut bindings::inode, key: *mut c_void) -> c_int {
    // SAFETY: The inode is valid by this function's requirements, and nobody else knows it yet.
    unsafe { (*inode).i_private = key };
    0
}

/// The answer to asking for an inode by what it stands for.
pub(crate) enum Found<F: FileSystem> {
    /// It existed.
    Existing(ARef<Inode<F>>),
    /// It was made; others who ask for it wait until it is filled.
    New(NewInode<F>),
}

impl<F: FileSystem> Found<F> {
    /// # Safety
    ///
    /// `inode` must be null, or an inode of `F` with a reference for the caller.
    pub(super) unsafe fn from_owned(inode: *mut bindings::inode) -> Result<Self> {
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;
        // SAFETY: By this function's requirements.
        let is_new = unsafe { bindings::rovl_inode_is_new(inode.as_ptr()) };
        // SAFETY: By this function's requirements.
        let inode = unsafe { ARef::from_raw(inode.cast()) };
        // INVARIANT: An inode that is new is locked by the one to whom `iget5_locked` returned it.
        Ok(if is_new {
            Self::New(NewInode(inode))
        } else {
            Self::Existing(inode)
        })
    }
}

/// An inode that is being filled.
///
/// Dropped without having been finished, it becomes a bad inode that nobody finds.
///
/// # Invariants
///
/// Either the inode is not hashed, and only we know it, or it is new, so that all others wait.
pub(crate) struct NewInode<F: FileSystem>(ARef<Inode<F>>);

impl<F: FileSystem> NewInode<F> {
    /// The node, to be filled.
    pub(crate) fn node(&self) -> &F::Node {
        self.0.node()
    }

    /// Forbids changes, or all but appending, whatever the inode that it stands for says.
    pub(crate) fn protect(&self, protection: Protection) {
        let flags = match protection {
            Protection::Append => bindings::S_APPEND,
            Protection::Immutable => bindings::S_IMMUTABLE,
        };
        // SAFETY: By the type invariant nobody else uses the inode yet.
        unsafe { (*self.0.as_ptr()).i_flags |= flags };
    }

    /// Makes the inode one of the kind of `real`, with the same owner, as `path`'s mount maps it, and
    /// mode, times, size, number of links and flags, and gives it the number `number`.
    ///
    /// C: `ovl_fill_inode`, `ovl_copyflags`.
    ///
    /// # Errors
    ///
    /// `ESTALE` if `path` has no inode.
    pub(crate) fn finish_like(self, path: &PathRef<'_>, number: u64) -> Result<ARef<Inode<F>>> {
        let real = path.dentry.inode().ok_or(ESTALE)?.as_ptr();
        let inode = self.0.as_ptr();
        // SAFETY: By the type invariant nobody else uses the inode yet, and `real` is held by its
        // dentry. The copying functions read what may change meanwhile as C does.
        unsafe {
            (*inode).i_flags |= bindings::S_NOCMTIME;
            // The filesystem below caches access control lists, and is asked each time.
            bindings::rovl_acl_dont_cache(inode);
            (*inode).i_flags |= (*real).i_flags & COPIED_FLAGS;
            (*inode).i_rdev = (*real).i_rdev;
            (*inode).i_ino = number;
        }
        self.0.copy_attributes(path);
        // SAFETY: The inode is valid.
        let is_found_again = unsafe { bindings::rovl_inode_is_new(inode) };
        if self.0.is_directory() || !is_found_again {
            // Those of a directory are not counted, as it may be merged. And an inode that is not found
            // again stands for one name alone, whatever other names the one below has.
            // SAFETY: As above.
            unsafe { bindings::set_nlink(inode, 1) };
        } else {
            // SAFETY: As above.
            unsafe { bindings::set_nlink(inode, (*real).__bindgen_anon_1.i_nlink) };
        }
        F::Inodes::install(&self.0);
        lock::annotate(&self.0, self.0.superblock_depth());
        if is_found_again {
            // SAFETY: By the type invariant it is ours to unlock, and it is complete now.
            unsafe { bindings::unlock_new_inode(inode) };
        }
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: The value is not used or dropped again.
        Ok(unsafe { ptr::read(&this.0) })
    }
}

/// What is forbidden to do with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    /// To change what is there.
    Append,
    /// To change anything.
    Immutable,
}

/// Inode flags that an inode takes over from the one that it stands for
/// (C: `OVL_COPY_I_FLAGS_MASK`).
pub(super) const COPIED_FLAGS: u32 = bindings::S_IMMUTABLE
    | bindings::S_APPEND
    | bindings::S_SYNC
    | bindings::S_NOATIME
    | bindings::S_CASEFOLD;

impl<F: FileSystem> Drop for NewInode<F> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the inode is valid and nobody else uses it.
        unsafe { bindings::make_bad_inode(self.0.as_ptr()) };
        // SAFETY: The inode is valid.
        if unsafe { bindings::rovl_inode_is_new(self.0.as_ptr()) } {
            // SAFETY: By the type invariant it is ours to unlock.
            unsafe { bindings::unlock_new_inode(self.0.as_ptr()) };
        }
    }
}

impl<F: FileSystem> Inode<F> {
    fn superblock_depth(&self) -> u32 {
        // SAFETY: An inode's superblock outlives it, and the field is set before there are inodes.
        let depth = unsafe { (*(*self.as_ptr()).i_sb).s_stack_depth };
        u32::try_from(depth).unwrap_or(0)
    }
}

/// A superblock that is being made, and nobody can reach yet.
///
/// # Invariants
///
/// Valid, `s_fs_info` and `s_root` are null, and only the current task knows it.
pub(crate) struct NewSuperBlock<'a, F: FileSystem> {
    ptr: *mut bindings::super_block,
    _borrowed: PhantomData<&'a mut F>,
}

impl<'a, F: FileSystem> NewSuperBlock<'a, F> {
    /// Wraps the argument of the `fill_super` callback.
    ///
    /// # Safety
    ///
    /// `ptr` must keep the type invariant during `'a`.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::super_block) -> Self {
        // INVARIANT: By this function's requirements.
        Self {
            ptr,
            _borrowed: PhantomData,
        }
    }

    /// C's pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.ptr
    }

    /// Forbids all changes.
    pub(crate) fn make_read_only(&mut self) {
        // SAFETY: By the type invariant nobody else knows the superblock.
        unsafe { (*self.ptr).s_flags |= bindings::ROVL_SB_RDONLY as c_ulong };
    }

    /// Sets the finest step of timestamps, in nanoseconds.
    pub(crate) fn set_time_granularity(&mut self, nanoseconds: u32) {
        // SAFETY: By the type invariant nobody else knows the superblock.
        unsafe { (*self.ptr).s_time_gran = nanoseconds };
    }

    /// Gives the filesystem an identity.
    pub(crate) fn set_uuid(&mut self, uuid: &[u8; 16]) {
        // SAFETY: By the type invariant nobody else knows the superblock.
        // CAST: The constant is 16.
        unsafe {
            bindings::rovl_super_set_uuid(self.ptr, uuid.as_ptr(), uuid.len() as c_uint);
        };
    }

    /// Lets inodes tell by a flag that they have no security attributes (C: `SB_NOSEC`).
    pub(crate) fn flag_missing_security(&mut self) {
        // CAST: A positive flag below 2^31.
        // SAFETY: By the type invariant nobody else knows the superblock.
        unsafe { (*self.ptr).s_flags |= bindings::ROVL_SB_NOSEC as c_ulong };
    }

    /// Gives the superblock its data, and with it what inodes need to be made.
    ///
    /// `depth` is the number of filesystems below.
    pub(crate) fn with_data(self, data: KBox<F::Data>, depth: u32) -> FilledSuperBlock<'a, F> {
        let sb = self.ptr;
        let xattrs = F::Xattrs::of(&data);
        // SAFETY: By the type invariant nobody else knows the superblock. The tables are static.
        unsafe {
            (*sb).s_fs_info = data.into_foreign();
            (*sb).s_op = SuperTable::<F>::TABLE;
            (*sb).s_xattr = xattrs.as_ptr();
            (*sb).s_flags |= bindings::ROVL_SB_POSIXACL as c_ulong;
            // CAST: A few at most; flags and magic numbers are narrow.
            (*sb).s_stack_depth = depth as c_int;
            (*sb).s_maxbytes = bindings::ROVL_MAX_LFS_FILESIZE;
            (*sb).s_magic = F::MAGIC;
            (*sb).s_iflags |= (bindings::SB_I_SKIP_SYNC
                | bindings::SB_I_NOUMASK
                | bindings::SB_I_EVM_HMAC_UNSUPPORTED) as c_ulong;
            bindings::set_default_d_op(sb, encoding::dentry_table::<F>(sb));
        }
        // INVARIANT: `s_fs_info` owns the data now.
        FilledSuperBlock {
            ptr: sb,
            _borrowed: PhantomData,
        }
    }
}

/// A superblock that is being made, and has its data, but no root.
///
/// Dropped without having been given a root, it drops the data.
///
/// # Invariants
///
/// Valid, `s_fs_info` owns an `F::Data`, `s_root` is null, and only the current task knows it.
pub(crate) struct FilledSuperBlock<'a, F: FileSystem> {
    ptr: *mut bindings::super_block,
    _borrowed: PhantomData<&'a mut F>,
}

impl<F: FileSystem> FilledSuperBlock<'_, F> {
    /// Lets file handles be asked for, by which nothing can be found.
    pub(crate) fn encode_handles(&mut self) {
        // SAFETY: By the type invariant nobody else knows the superblock. The table is static.
        unsafe {
            (*self.ptr).s_export_op = ptr::from_ref(ExportTable::<F>::ENCODE_ONLY).cast();
        }
    }

    /// Makes `inode` the root, which completes the superblock. `wish` says whether to ask, when somebody
    /// comes to it, whether it is still current.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn set_root(self, inode: ARef<Inode<F>>, wish: Wish) -> Result {
        // SAFETY: The inode's reference is handed over, also when this fails.
        let root = unsafe { bindings::d_make_root(ARef::into_raw(inode).as_ptr().cast()) };
        if root.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: A root is a dentry of the superblock, and `d_make_root` returns it with a reference.
        unsafe { Dentry::<F>::from_raw(root) }.set_wish(wish);
        // SAFETY: By the type invariant nobody else knows the superblock.
        unsafe { (*self.ptr).s_root = root };
        // From here on the superblock drops its data itself, when it is killed.
        core::mem::forget(self);
        Ok(())
    }
}

impl<F: FileSystem> core::ops::Deref for FilledSuperBlock<'_, F> {
    type Target = SuperBlock<F>;

    fn deref(&self) -> &SuperBlock<F> {
        // SAFETY: The superblock is valid and has its data by the type invariant.
        unsafe { SuperBlock::from_raw(self.ptr) }
    }
}

impl<F: FileSystem> Drop for FilledSuperBlock<'_, F> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant `s_fs_info` owns the data, and there is nobody to use it: there
        // are no inodes left, since whoever made one has dropped it.
        drop(unsafe { <KBox<F::Data>>::from_foreign((*self.ptr).s_fs_info) });
        // SAFETY: The superblock is valid.
        unsafe { (*self.ptr).s_fs_info = ptr::null_mut() };
    }
}

/// A device number that no device has, to tell filesystems apart by.
///
/// # Invariants
///
/// The number is allocated to us.
pub(crate) struct AnonymousDevice(bindings::dev_t);

impl AnonymousDevice {
    /// Allocates a number.
    ///
    /// # Errors
    ///
    /// `EMFILE` if there is none left, `ENOMEM`.
    pub(crate) fn allocate() -> Result<Self> {
        let mut number = 0;
        // SAFETY: There is room for the result.
        to_result(unsafe { bindings::get_anon_bdev(&mut number) })?;
        // INVARIANT: Just allocated.
        Ok(Self(number))
    }

    /// The number.
    pub(crate) fn number(&self) -> u32 {
        self.0
    }
}

impl Drop for AnonymousDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the number is ours.
        unsafe { bindings::free_anon_bdev(self.0) };
    }
}

/// Size of an inode with its node, in bytes.
pub(super) const fn inode_size<F: FileSystem>() -> usize {
    core::mem::size_of::<WithNode<F>>()
}
