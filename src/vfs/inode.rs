// SPDX-License-Identifier: GPL-2.0-only

//! Inodes: those of filesystems below, and our own with a node embedded.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{prelude::*, sync::aref::AlwaysRefCounted, types::Opaque};

use super::{
    mount::Idmap,
    path::PathRef,
    superblock::SuperBlock,
    AnyFs,
    FileSystem, //
};
use crate::bindings;

/// What kind of file an inode is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileType {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device, FIFO or socket.
    Special,
}

impl FileType {
    /// The kind that the type bits of `mode` stand for.
    fn from_mode(mode: u16) -> Self {
        // CAST: All these constants fit 16 bits, as `umode_t` does.
        match u32::from(mode) & bindings::S_IFMT {
            bindings::S_IFREG => Self::Regular,
            bindings::S_IFDIR => Self::Directory,
            bindings::S_IFLNK => Self::Symlink,
            bindings::S_IFCHR => Self::CharDevice,
            _ => Self::Special,
        }
    }
}

/// What a filesystem keeps with each of its inodes.
///
/// It lives in the inode's own allocation. It begins its life when the inode is allocated, knowing
/// nothing, learns what it stands for while the inode is still new, and ends in two steps.
pub(crate) trait Node: Send + Sync + Sized {
    /// The filesystem.
    type Fs: FileSystem;

    /// Makes the node of an inode that has just been allocated, in a superblock that has `depth`
    /// filesystems below it.
    fn vacant(depth: u32) -> impl PinInit<Self>;

    /// Gives back whatever the node refers to. Called once, when nobody has the inode any more but for
    /// walkers under the RCU read lock; what those may look at has to stay readable. May sleep.
    ///
    /// The value is dropped afterwards, when those walkers are gone, in a context that must not sleep.
    fn release(&self);
}

/// The allocation of an inode of ours.
///
/// The inode comes first, so that one pointer serves for both.
#[repr(C)]
pub(super) struct WithNode<F: FileSystem> {
    inode: MaybeUninit<bindings::inode>,
    pub(super) node: MaybeUninit<F::Node>,
}

/// An inode of the filesystem `F`.
///
/// # Invariants
///
/// The inode is valid, and either its reference count is not zero, or the current task is in an RCU
/// read-side critical section in which the inode was found. If `F` is a [`FileSystem`], the inode is the
/// head of a `WithNode<F>` whose node is initialised.
#[repr(transparent)]
pub(crate) struct Inode<F>(Opaque<bindings::inode>, PhantomData<fn() -> F>);

// SAFETY: Inodes can be put by any thread.
unsafe impl<F> Send for Inode<F> {}

// SAFETY: The methods read single fields, as C does without a lock, and nodes are `Sync`.
unsafe impl<F> Sync for Inode<F> {}

// SAFETY: A reference keeps an inode in memory, and all inodes are reference counted.
unsafe impl<F> AlwaysRefCounted for Inode<F> {
    fn inc_ref(&self) {
        // SAFETY: A shared reference means that the count is not zero; walkers under RCU get no `ARef`.
        unsafe { bindings::ihold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference; `Inode` is a transparent wrapper.
        unsafe { bindings::iput(obj.as_ptr().cast()) };
    }
}

impl<F> Inode<F> {
    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to an inode of `F`, or of any filesystem if `F` is [`AnyFs`], that keeps the
    /// type invariant during `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(ptr: *const bindings::inode) -> &'a Self {
        // SAFETY: By this function's requirements, and `Inode` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// C's pointer.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// The inode number.
    pub(crate) fn number(&self) -> u64 {
        // SAFETY: The inode is valid by the type invariant, and this field does not change once it is
        // known to others.
        unsafe { (*self.as_ptr()).i_ino }
    }

    fn mode(&self) -> u16 {
        // SAFETY: The inode is valid by the type invariant. Permission bits may change meanwhile.
        unsafe { ptr::addr_of!((*self.as_ptr()).i_mode).read_volatile() }
    }

    /// What kind of file it is.
    #[inline]
    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode())
    }

    /// Its type as directories list it (`DT_*`).
    pub(crate) fn d_type(&self) -> u8 {
        // CAST: Four bits remain (C: `S_DT`).
        (self.mode() >> 12) as u8 & 0xf
    }

    /// Whether it is a directory.
    #[inline]
    pub(crate) fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// The device number of a device node, zero otherwise.
    pub(crate) fn device(&self) -> u32 {
        // SAFETY: The inode is valid by the type invariant, and the field never changes.
        unsafe { (*self.as_ptr()).i_rdev }
    }

    /// The number of names.
    pub(crate) fn links(&self) -> u32 {
        // SAFETY: The inode is valid by the type invariant; the union's two fields are the same number.
        unsafe { ptr::addr_of!((*self.as_ptr()).__bindgen_anon_1.i_nlink).read_volatile() }
    }
}

/// Tells an inode from all others that exist.
///
/// Good for comparing only, and only while the inode is held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InodeId(usize);

impl<F> Inode<F> {
    /// What tells it from all others.
    #[inline]
    pub(crate) fn identity(&self) -> InodeId {
        // CAST: An address as a number, never turned back.
        InodeId(self.as_ptr() as usize)
    }

    /// Whether both are there, and are one inode.
    pub(crate) fn same(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => ptr::eq(one, other),
            _ => false,
        }
    }

    /// The size, in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: The inode is valid by the type invariant; on 64 bits C reads the field like this.
        let size = unsafe { ptr::addr_of!((*self.as_ptr()).i_size).read_volatile() };
        u64::try_from(size).unwrap_or(0)
    }

    /// Whether both are of the same type (C: `inode_wrong_type`).
    pub(crate) fn is_same_type(&self, other: &Self) -> bool {
        (self.mode_bits() ^ other.mode_bits()) & bindings::S_IFMT == 0
    }

    /// The type and permission bits (`S_*`).
    pub(crate) fn mode_bits(&self) -> u32 {
        u32::from(self.mode())
    }
}

impl<F> Inode<F> {
    /// The flags (`S_*`).
    pub(super) fn flags(&self) -> u32 {
        // SAFETY: The inode is valid by the type invariant; flags are read without a lock as in C.
        unsafe { ptr::addr_of!((*self.as_ptr()).i_flags).read_volatile() }
    }
}

impl<F: FileSystem> Inode<F> {
    /// What the filesystem keeps with this inode.
    #[inline]
    pub(crate) fn node(&self) -> &F::Node {
        let whole = self.as_ptr().cast::<WithNode<F>>();
        // SAFETY: By the type invariant this is the head of a `WithNode<F>` with an initialised node.
        unsafe { (*whole).node.assume_init_ref() }
    }

    /// The superblock that it belongs to.
    #[inline]
    pub(crate) fn superblock(&self) -> &SuperBlock<F> {
        // SAFETY: An inode's superblock outlives it, and never changes. It is one of `F`, that was
        // filled before it had inodes that callbacks can see.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }
}

impl<F: FileSystem> Inode<F> {
    /// Takes over the mode, times, size and owner, as its mount maps it, of what is at `path`.
    pub(crate) fn copy_attributes(&self, path: &PathRef<'_>) {
        let Some(real) = path.dentry.inode() else {
            return;
        };
        let (inode, real, idmap) = (self.as_ptr(), real.as_ptr(), path.mount.idmap().as_ptr());
        // SAFETY: The inode is valid by the type invariant.
        let lock = unsafe { ptr::addr_of_mut!((*inode).i_lock) };
        // SAFETY: The lock is valid, and not held by this task.
        unsafe { bindings::spin_lock(lock) };
        // SAFETY: Both inodes are valid by their invariants, and so is the mapping. The lock keeps others
        // from writing to ours, and what may change meanwhile is read as C does.
        unsafe {
            (*inode).i_mode = (*real).i_mode;
            (*inode).i_uid = bindings::rovl_i_uid_into_kuid(idmap, real);
            (*inode).i_gid = bindings::rovl_i_gid_into_kgid(idmap, real);
            bindings::rovl_inode_copy_atime(inode, real);
            bindings::rovl_inode_copy_mtime(inode, real);
            bindings::rovl_inode_copy_ctime(inode, real);
            bindings::rovl_i_size_copy(inode, real);
        }
        // SAFETY: It was locked above.
        unsafe { bindings::spin_unlock(lock) };
    }

    /// As [`Inode::copy_attributes`], of what writing changes alone: the mode, the times of the last changes
    /// and the size of `real`.
    pub(crate) fn copy_written(&self, real: &Inode<AnyFs>) {
        let (inode, real) = (self.as_ptr(), real.as_ptr());
        // SAFETY: The inode is valid by the type invariant.
        let lock = unsafe { ptr::addr_of_mut!((*inode).i_lock) };
        // SAFETY: The lock is valid, and not held by this task.
        unsafe { bindings::spin_lock(lock) };
        // SAFETY: As in `copy_attributes`.
        unsafe {
            (*inode).i_mode = (*real).i_mode;
            bindings::rovl_inode_copy_mtime(inode, real);
            bindings::rovl_inode_copy_ctime(inode, real);
            bindings::rovl_i_size_copy(inode, real);
        }
        // SAFETY: It was locked above.
        unsafe { bindings::spin_unlock(lock) };
    }

    /// Whether the type and permission bits are those of `real`.
    #[inline]
    pub(crate) fn has_mode_of(&self, real: &Inode<AnyFs>) -> bool {
        real.mode() == self.mode()
    }

    /// Lets an inode that could not be found by what it stands for be found by `key` from now on.
    /// One that can be found already stays as it is.
    pub(crate) fn find_by(&self, key: &Inode<AnyFs>) {
        let inode = self.as_ptr();
        // SAFETY: The inode is valid by the type invariant.
        if !unsafe { bindings::rovl_inode_unhashed(inode) } {
            return;
        }
        // SAFETY: As above; an inode that is not hashed is compared with no key by anyone.
        unsafe { (*inode).i_private = key.as_ptr().cast() };
        // SAFETY: The inode is valid, not hashed, and in use; the hash value is what `inode_for` uses.
        // CAST: The address serves as hash value.
        unsafe { bindings::__insert_inode_hash(inode, key.as_ptr() as u64) };
    }
}

impl Inode<AnyFs> {
    /// Whether the current credentials permit what `access` says.
    ///
    /// # Errors
    ///
    /// `EACCES` or another reason for which access is refused; `ECHILD` if `access` asks not to block
    /// and the answer would need that.
    pub(crate) fn permission(&self, idmap: &Idmap, access: Access) -> Result {
        // SAFETY: Both are valid by their invariants.
        kernel::error::to_result(unsafe {
            bindings::inode_permission(idmap.as_ptr(), self.as_ptr(), access.0)
        })
    }
}

impl<F> Inode<F> {
    /// Whether the current credentials own the inode, or have the capability to act as if.
    pub(crate) fn owner_or_capable(&self, idmap: &Idmap) -> bool {
        // SAFETY: Both are valid by their invariants.
        unsafe { bindings::inode_owner_or_capable(idmap.as_ptr(), self.as_ptr()) }
    }
}

/// What somebody wants to do with an inode (C: the `MAY_*` mask).
#[derive(Clone, Copy)]
pub(crate) struct Access(c_int);

impl Access {
    // CAST: All of these are small positive constants.
    const WRITE: c_int = bindings::MAY_WRITE as c_int;
    // CAST: As above.
    const APPEND: c_int = bindings::MAY_APPEND as c_int;
    // CAST: As above.
    const READ: c_int = bindings::MAY_READ as c_int;
    // CAST: As above.
    const OPEN: c_int = bindings::MAY_OPEN as c_int;

    /// To open for reading.
    pub(crate) const OPEN_READ: Self = Self(Self::READ | Self::OPEN);

    /// To open for writing.
    pub(crate) const OPEN_WRITE: Self = Self(Self::WRITE | Self::OPEN);

    /// To write at the end, and nowhere else.
    pub(crate) const APPENDING: Self = Self(Self::APPEND);

    /// Both this and `other`.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// From the mask that a callback gets.
    pub(super) fn from_raw(mask: c_int) -> Self {
        Self(mask)
    }

    /// Whether writing is among it.
    pub(crate) fn writes(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    /// The same, but to read where it was to write or append: what copying a file before the first write
    /// takes.
    pub(crate) fn read_instead_of_write(self) -> Self {
        Self((self.0 & !(Self::WRITE | Self::APPEND)) | Self::READ)
    }
}

impl<F: FileSystem> Inode<F> {
    /// Checks `access` by the mode bits and ACLs of this inode itself, for the current credentials.
    ///
    /// # Errors
    ///
    /// As [`Inode::permission`].
    pub(crate) fn generic_permission(&self, idmap: &Idmap, access: Access) -> Result {
        // SAFETY: Both are valid by their invariants.
        kernel::error::to_result(unsafe {
            bindings::generic_permission(idmap.as_ptr(), self.as_ptr(), access.0)
        })
    }
}
