// SPDX-License-Identifier: GPL-2.0-only

//! What `stat(2)` and `statfs(2)` tell.
//!
//! C headers: [`include/linux/stat.h`](srctree/include/linux/stat.h),
//! [`include/linux/statfs.h`](srctree/include/linux/statfs.h).

use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

use super::{
    inode::Inode,
    mount::Idmap,
    path::PathRef,
    FileSystem, //
};
use crate::bindings;

/// Which attributes are asked for, and how current they have to be.
#[derive(Clone, Copy)]
pub(crate) struct StatRequest {
    /// `STATX_*` bits.
    mask: u32,
    /// `AT_STATX_*` flags.
    flags: c_uint,
}

impl StatRequest {
    /// Just the inode number.
    pub(crate) const NUMBER: Self = Self {
        mask: bindings::STATX_INO,
        flags: 0,
    };

    /// Just the inode number and the number of links, as current as `self` asks for.
    pub(crate) fn number_and_links(self) -> Self {
        Self {
            mask: bindings::STATX_INO | bindings::STATX_NLINK,
            flags: self.flags,
        }
    }

    /// From the arguments of the `getattr` callback.
    pub(super) fn from_raw(mask: u32, flags: c_uint) -> Self {
        Self { mask, flags }
    }
}

/// The attributes of a file.
#[repr(transparent)]
pub(crate) struct Stat(pub(super) bindings::kstat);

impl Stat {
    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid, and nobody else may use it, during `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::kstat) -> &'a mut Self {
        // SAFETY: By this function's requirements, and `Stat` is a transparent wrapper.
        unsafe { &mut *ptr.cast() }
    }

    /// No attributes yet.
    pub(crate) fn empty() -> Self {
        Self(pin_init::zeroed())
    }

    /// Takes the attributes of `path`, without asking a security module again.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn fill_from(&mut self, path: &PathRef<'_>, request: StatRequest) -> Result {
        // SAFETY: The path is valid, and there is room for the result.
        to_result(unsafe {
            bindings::vfs_getattr_nosec(&path.as_raw(), &mut self.0, request.mask, request.flags)
        })
    }

    /// Takes the attributes of `path` that `stat(2)` shows without further flags.
    ///
    /// # Errors
    ///
    /// What a security module or the filesystem says.
    pub(crate) fn ask_for(&mut self, path: &PathRef<'_>) -> Result {
        // SAFETY: The path is valid, and there is room for the result.
        to_result(unsafe {
            bindings::vfs_getattr(
                &path.as_raw(),
                &mut self.0,
                bindings::STATX_BASIC_STATS,
                bindings::AT_STATX_SYNC_AS_STAT,
            )
        })
    }

    /// Whether the current user namespace has numbers for the owner and the group.
    pub(crate) fn has_mapped_owner(&self) -> bool {
        // SAFETY: There are no requirements.
        unsafe { bindings::rovl_ids_have_mapping(self.0.uid, self.0.gid) }
    }

    /// The type and permission bits (`S_*`).
    pub(crate) fn mode(&self) -> u16 {
        self.0.mode
    }

    /// The bits of the mode that tell what kind of file it is.
    pub(crate) fn file_type_bits(&self) -> u16 {
        // CAST: All types of files fit 16 bits.
        const TYPE: u16 = bindings::S_IFMT as u16;

        self.0.mode & TYPE
    }

    /// The number of the device that a device node stands for.
    pub(crate) fn special_device(&self) -> u32 {
        self.0.rdev
    }

    /// The size, in bytes.
    pub(crate) fn size(&self) -> i64 {
        self.0.size
    }

    /// Sets the size, in bytes.
    pub(crate) fn set_size(&mut self, size: i64) {
        self.0.size = size;
    }

    /// Reports the append-only and immutable flags of `inode`.
    pub(crate) fn report_flags_of<F: FileSystem>(&mut self, inode: &Inode<F>) {
        // SAFETY: Both are valid.
        unsafe { bindings::generic_fill_statx_attr(inode.as_ptr(), &mut self.0) };
    }

    /// Maps the owner, from the filesystem of `inode` through `idmap`.
    pub(crate) fn map_owner<F: FileSystem>(&mut self, idmap: &Idmap, inode: &Inode<F>) {
        // SAFETY: All are valid.
        unsafe {
            self.0.uid = bindings::rovl_vfsuid_of_kuid(idmap.as_ptr(), inode.as_ptr(), self.0.uid);
            self.0.gid = bindings::rovl_vfsgid_of_kgid(idmap.as_ptr(), inode.as_ptr(), self.0.gid);
        }
    }

    /// The inode number.
    pub(crate) fn number(&self) -> u64 {
        self.0.ino
    }

    /// Sets the inode number.
    pub(crate) fn set_number(&mut self, number: u64) {
        self.0.ino = number;
    }

    /// Sets the number of the device.
    pub(crate) fn set_device(&mut self, device: u32) {
        self.0.dev = device;
    }

    /// The number of links.
    pub(crate) fn links(&self) -> u32 {
        self.0.nlink
    }

    /// Sets the number of links.
    pub(crate) fn set_links(&mut self, links: u32) {
        self.0.nlink = links;
    }
}

/// The figures of a filesystem.
#[repr(transparent)]
pub(crate) struct StatFs(Opaque<bindings::kstatfs>);

impl StatFs {
    /// Makes a reference from C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid, and nobody else may use it, during `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::kstatfs) -> &'a mut Self {
        // SAFETY: By this function's requirements, and `StatFs` is a transparent wrapper.
        unsafe { &mut *ptr.cast() }
    }

    /// The figures of the filesystem that `path` is on.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(super) fn of(path: &PathRef<'_>) -> Result<Self> {
        let mut this = Self(Opaque::zeroed());
        this.fill_from(path)?;
        Ok(this)
    }

    /// Takes the figures of the filesystem that `path` is on.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(crate) fn fill_from(&mut self, path: &PathRef<'_>) -> Result {
        // SAFETY: The path is valid, and there is room for the result.
        to_result(unsafe { bindings::vfs_statfs(&path.as_raw(), self.0.get().cast()) })
    }

    /// The length of the longest name, in bytes.
    pub(crate) fn name_length(&self) -> u64 {
        // SAFETY: The structure is initialised, and borrowed by us.
        let length = unsafe { (*self.0.get()).f_namelen };
        u64::try_from(length).unwrap_or(0)
    }

    /// Sets the identity of the filesystem, made of its uuid.
    pub(crate) fn set_id(&mut self, uuid: &[u8; 16]) {
        let mut uuid = *uuid;
        // SAFETY: The uuid has 16 bytes.
        let id = unsafe { bindings::rovl_uuid_to_fsid(uuid.as_mut_ptr()) };
        // SAFETY: The structure is borrowed by us alone.
        unsafe { (*self.0.get()).f_fsid = id };
    }

    /// Sets the length of the longest name, in bytes, and the filesystem's magic number.
    pub(crate) fn set_identity(&mut self, name_length: u64, magic: c_ulong) {
        let raw = self.0.get();
        // CAST: Both are small, the C structure has signed fields.
        // SAFETY: The structure is borrowed by us alone.
        unsafe {
            (*raw).f_namelen = name_length as c_long;
            (*raw).f_type = magic as c_long;
        }
    }
}
