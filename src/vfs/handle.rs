// SPDX-License-Identifier: GPL-2.0-only

//! File handles: what a filesystem below calls one of its inodes, whatever its name, and over mounts.
//!
//! C header: [`include/linux/exportfs.h`](srctree/include/linux/exportfs.h).

use core::ptr::{
    self,
    fn_addr_eq, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    dentry::Dentry,
    inode::Inode,
    mount::Mount,
    superblock::SuperBlock,
    AnyFs, //
};
use crate::bindings;

/// The longest handle, in bytes.
const LENGTH_MAX: usize = bindings::MAX_HANDLE_SZ as usize; // CAST: The constant is 128.

/// A handle of an inode, which only the filesystem that made it understands.
///
/// # Invariants
///
/// `length` is at most [`LENGTH_MAX`], and a multiple of four.
// C takes the bytes as an array of words.
#[repr(C, align(8))]
pub(crate) struct FileHandle {
    bytes: [u8; LENGTH_MAX],
    length: usize,
    kind: u8,
}

impl FileHandle {
    /// A handle that was kept as its type and its bytes. `None` if they cannot be one.
    pub(crate) fn new(kind: u8, kept: &[u8]) -> Option<Self> {
        let mut bytes = [0; LENGTH_MAX];
        // What is left over by whole words is not looked at.
        let length = kept.len() & !3;
        bytes
            .get_mut(..length)?
            .copy_from_slice(kept.get(..length)?);
        // INVARIANT: The slice of that length was there, and the lowest bits were cleared.
        Some(Self {
            bytes,
            length,
            kind,
        })
    }

    /// Asks the filesystem of `inode` for its handle, one that tells no parent.
    ///
    /// # Errors
    ///
    /// `EIO` if the filesystem makes none.
    pub(crate) fn of(inode: &Inode<AnyFs>) -> Result<Self> {
        // Where C takes it as words, it has to begin like one.
        let mut handle = Self {
            bytes: [0; LENGTH_MAX],
            length: 0,
            kind: 0,
        };
        // CAST: The constant is 128.
        let mut words = (LENGTH_MAX / 4) as c_int;
        // SAFETY: The inode is valid, there is room for as many words as told, and no parent is asked for.
        let kind = unsafe {
            bindings::exportfs_encode_inode_fh(
                inode.as_ptr(),
                ptr::from_mut(&mut handle.bytes).cast(),
                &mut words,
                ptr::null_mut(),
                0,
            )
        };
        let length = usize::try_from(words)?.checked_mul(4).ok_or(EIO)?;
        match u8::try_from(kind) {
            // INVARIANT: Both were just checked.
            Ok(kind) if u32::from(kind) != INVALID && length <= LENGTH_MAX => {
                handle.length = length;
                handle.kind = kind;
                Ok(handle)
            }
            _ => Err(EIO),
        }
    }

    /// The type of the handle.
    pub(crate) fn kind(&self) -> u8 {
        self.kind
    }

    /// The bytes of the handle.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// What stands for no handle at all.
const INVALID: u32 = bindings::fid_type_FILEID_INVALID;

/// What a filesystem can do with handles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandleSupport {
    /// It cannot find the inode of a handle.
    None,
    /// Handles hold inode numbers of 32 bits, so that there are no larger ones.
    Ino32,
    /// Handles are made in a way of the filesystem's own.
    Other,
}

impl SuperBlock<AnyFs> {
    /// What the filesystem can do with handles.
    pub(crate) fn handle_support(&self) -> HandleSupport {
        // SAFETY: The superblock is valid by the type invariant; the field is set before it is mounted.
        let ops = unsafe { (*self.as_ptr()).s_export_op };
        if ops.is_null() {
            return HandleSupport::None;
        }
        // SAFETY: The table is not null, and as constant as the filesystem's code.
        let ops = unsafe { &*ops.cast::<bindings::export_operations>() };
        if ops.fh_to_dentry.is_none() {
            return HandleSupport::None;
        }
        let generic: unsafe extern "C" fn(_, _, _, _) -> _ = bindings::generic_encode_ino32_fh;
        match ops.encode_fh {
            Some(encode) if fn_addr_eq(encode, generic) => HandleSupport::Ino32,
            _ => HandleSupport::Other,
        }
    }

    /// The identity of the filesystem, all zero if it has none.
    pub(crate) fn uuid(&self) -> [u8; 16] {
        // SAFETY: The superblock is valid by the type invariant; the field is set before it is mounted.
        unsafe { (*self.as_ptr()).s_uuid.b }
    }
}

impl Inode<AnyFs> {
    /// The superblock that it belongs to.
    pub(crate) fn filesystem(&self) -> &SuperBlock<AnyFs> {
        // SAFETY: An inode's superblock outlives it, and never changes.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }
}

impl Mount {
    /// Finds the inode that `handle` stands for, and a dentry of it, which may be in no directory. `None`
    /// if the filesystem does not know it, or no longer.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn decode(&self, handle: &FileHandle) -> Result<Option<ARef<Dentry<AnyFs>>>> {
        // SAFETY: The mount is valid, and filesystems only read the handle, whose length in words is
        // told. Without a function that judges them, dentries in no directory are good enough.
        let found = unsafe {
            bindings::exportfs_decode_fh(
                self.as_ptr(),
                ptr::from_ref(&handle.bytes).cast_mut().cast(),
                // CAST: At most 32.
                (handle.length / 4) as c_int,
                c_int::from(handle.kind),
                None,
                ptr::null_mut(),
            )
        };
        // SAFETY: The function returns an error, or a dentry with a reference for us.
        match unsafe { Dentry::from_owned(found) } {
            Ok(found) => Ok(Some(found)),
            Err(e) if e == ESTALE => Ok(None),
            Err(e) => Err(e),
        }
    }
}
