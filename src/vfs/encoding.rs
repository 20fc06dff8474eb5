// SPDX-License-Identifier: GPL-2.0-only

//! Names that are compared without regard to case.
//!
//! C header: [`include/linux/fs/super.h`](srctree/include/linux/fs/super.h).

use super::{
    dentry::Dentry,
    superblock::{
        NewSuperBlock,
        SuperBlock, //
    },
    vtable::dentry::DentryTable,
    AnyFs,
    FileSystem, //
};
use crate::bindings;

impl Dentry<AnyFs> {
    /// Whether it is a directory in which case does not count.
    #[inline]
    pub(crate) fn is_casefolded(&self) -> bool {
        self.inode()
            .is_some_and(|inode| inode.flags() & bindings::S_CASEFOLD != 0)
            // SAFETY: The dentry is valid, and its superblock never changes.
            && unsafe { bindings::rovl_sb_has_encoding(self.superblock_ptr()) }
    }
}

impl SuperBlock<AnyFs> {
    /// Whether the filesystem refuses names that are no proper text.
    pub(crate) fn has_strict_encoding(&self) -> bool {
        encoding_flags(self) & bindings::SB_ENC_STRICT_MODE_FL != 0
    }

    /// Writes `name` to `out` with its case folded, and returns what was written. `None` if it is no
    /// proper text, or does not fit: then it is equal to no other name.
    pub(crate) fn fold_case<'o>(&self, name: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
        fold_case(self, name, out)
    }

    /// Whether both filesystems fold names in the same way.
    pub(crate) fn has_encoding_of(&self, other: &Self) -> bool {
        // SAFETY: Both are valid by the type invariant.
        unsafe { bindings::rovl_sb_same_encoding(self.as_ptr(), other.as_ptr()) }
    }
}

impl<F: FileSystem> NewSuperBlock<'_, F> {
    /// Compares names as `other` does, which must be mounted as long as this.
    ///
    /// To be called before the superblock gets its data.
    pub(crate) fn adopt_encoding(&mut self, other: &SuperBlock<AnyFs>) {
        copy_encoding(self, other);
    }
}

#[cfg(CONFIG_UNICODE)]
fn encoding_flags(sb: &SuperBlock<AnyFs>) -> u32 {
    // SAFETY: The superblock is valid by the type invariant; the field is set before it is mounted.
    u32::from(unsafe { (*sb.as_ptr()).s_encoding_flags })
}

#[cfg(CONFIG_UNICODE)]
fn copy_encoding<F: FileSystem>(to: &NewSuperBlock<'_, F>, from: &SuperBlock<AnyFs>) {
    let (to, from) = (to.as_ptr(), from.as_ptr());
    // SAFETY: Both are valid, and nobody else knows the new one. The tables that an encoding points to
    // live as long as the filesystem that has it.
    unsafe {
        (*to).s_encoding = (*from).s_encoding;
        (*to).s_encoding_flags = (*from).s_encoding_flags;
    }
}

#[cfg(CONFIG_UNICODE)]
fn fold_case<'o>(sb: &SuperBlock<AnyFs>, name: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    // SAFETY: The superblock is valid by the type invariant; the field is set before it is mounted.
    let encoding = unsafe { (*sb.as_ptr()).s_encoding };
    if encoding.is_null() {
        return None;
    }
    let name = super::lookup::qstr(name).ok()?;
    // SAFETY: All are valid, and the name and the buffer outlive the call.
    let len = unsafe { bindings::utf8_casefold(encoding, &name, out.as_mut_ptr(), out.len()) };
    out.get(..usize::try_from(len).ok()?)
}

#[cfg(not(CONFIG_UNICODE))]
fn fold_case<'o>(_sb: &SuperBlock<AnyFs>, _name: &[u8], _out: &'o mut [u8]) -> Option<&'o [u8]> {
    None
}

// Without support for encodings superblocks have no fields for them.
#[cfg(not(CONFIG_UNICODE))]
fn encoding_flags(_sb: &SuperBlock<AnyFs>) -> u32 {
    0
}

#[cfg(not(CONFIG_UNICODE))]
fn copy_encoding<F: FileSystem>(_to: &NewSuperBlock<'_, F>, _from: &SuperBlock<AnyFs>) {}

/// The callbacks for dentries of the superblock `sb`.
///
/// # Safety
///
/// `sb` must be valid.
pub(super) unsafe fn dentry_table<F: FileSystem>(
    sb: *mut bindings::super_block,
) -> *const bindings::dentry_operations {
    // SAFETY: By this function's requirements.
    if unsafe { bindings::rovl_sb_has_encoding(sb) } {
        return DentryTable::<F>::CASEFOLDED;
    }
    DentryTable::<F>::TABLE
}
