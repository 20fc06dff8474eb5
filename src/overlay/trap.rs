// SPDX-License-Identifier: GPL-2.0-only

//! Directories that may not turn up inside of a layer: the roots of the layers, and the work directory.
//!
//! Were one of them found below another, the same object would be in the overlay twice, and changing one
//! would change the other. Nobody can be kept from moving directories about, so each one that a lookup
//! finds is checked too.
//!
//! overlayfs puts dead inodes into its inode cache for this. Here it is a sorted array: asking it takes no
//! lock and no reference, and there are few traps.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::vfs::{
    dentry::Dentry,
    inode::{
        Inode,
        InodeId, //
    },
    AnyFs, //
};

/// All traps of an overlay. Whoever keeps it holds the directories too.
pub(super) struct Traps {
    sorted: KVVec<InodeId>,
}

impl Traps {
    /// No traps, but room for `count`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn with_capacity(count: usize) -> Result<Self> {
        Ok(Self {
            sorted: KVVec::with_capacity(count, GFP_KERNEL)?,
        })
    }

    /// Adds a directory. (C: `ovl_get_trap_inode`.)
    ///
    /// # Errors
    ///
    /// `ELOOP` if it is there already, `ENOMEM`.
    pub(super) fn add(&mut self, dentry: &Dentry<AnyFs>) -> Result {
        let id = dentry.inode().ok_or(ESTALE)?.identity();
        match self.sorted.binary_search(&id) {
            Ok(_) => Err(ELOOP),
            Err(place) => {
                self.sorted.reserve(1, GFP_KERNEL)?;
                Ok(self
                    .sorted
                    .insert_within_capacity(place, id)
                    .map_err(|_| ENOMEM)?)
            }
        }
    }

    /// Whether `inode` is one of them. (C: `ovl_lookup_trap_inode`.)
    #[inline]
    pub(super) fn catch(&self, inode: &Inode<AnyFs>) -> bool {
        self.sorted.binary_search(&inode.identity()).is_ok()
    }
}
