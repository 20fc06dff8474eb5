// SPDX-License-Identifier: GPL-2.0-only

//! The lower objects that an inode stands for, from the uppermost down.
//!
//! Most inodes have one, which is kept inline.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::layer::LayerId;
use crate::vfs::{
    dentry::Dentry,
    slot::Slot,
    AnyFs, //
};

/// One object of a lower layer.
pub(crate) struct LowerObject {
    dentry: Slot<Dentry<AnyFs>>,
    layer: LayerId,
}

impl LowerObject {
    /// The object. `None` only under the RCU read lock, when the inode is dying.
    #[inline]
    pub(crate) fn dentry(&self) -> Option<&Dentry<AnyFs>> {
        self.dentry.get()
    }

    /// The layer that it is in.
    #[inline]
    pub(crate) fn layer(&self) -> LayerId {
        self.layer
    }
}

/// The lower objects of an inode. It has to be released before it is dropped.
#[derive(Default)]
pub(crate) enum LowerStack {
    /// The inode exists in upper only.
    #[default]
    Empty,
    /// One object.
    One(LowerObject),
    /// Directories that are merged.
    Many(KVVec<LowerObject>),
}

impl LowerStack {
    /// The objects, from the uppermost.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[LowerObject] {
        match self {
            Self::Empty => &[],
            Self::One(object) => core::slice::from_ref(object),
            Self::Many(objects) => objects,
        }
    }

    /// Gives all references back. May sleep.
    pub(super) fn release(&self) {
        for object in self.as_slice() {
            object.dentry.release();
        }
    }
}

/// A stack that is being collected.
///
/// Dropped without having been finished, it gives its references back.
#[derive(Default)]
pub(super) struct StackBuilder(LowerStack);

impl StackBuilder {
    /// Adds an object, below those that are there.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn push(&mut self, dentry: ARef<Dentry<AnyFs>>, layer: LayerId) -> Result {
        // Room is made first, so that no reference can be lost.
        self.grow()?;
        let object = LowerObject {
            dentry: Slot::new(Some(dentry)),
            layer,
        };
        match &mut self.0 {
            LowerStack::Many(objects) => objects.push(object, GFP_KERNEL)?,
            empty => *empty = LowerStack::One(object),
        }
        Ok(())
    }

    /// Makes sure that one more object fits.
    fn grow(&mut self) -> Result {
        match &mut self.0 {
            LowerStack::Empty => Ok(()),
            LowerStack::Many(objects) => Ok(objects.reserve(1, GFP_KERNEL_ACCOUNT)?),
            LowerStack::One(_) => {
                let mut objects = KVVec::with_capacity(4, GFP_KERNEL_ACCOUNT)?;
                if let LowerStack::One(first) = core::mem::take(&mut self.0) {
                    objects.push(first, GFP_KERNEL_ACCOUNT)?;
                }
                self.0 = LowerStack::Many(objects);
                Ok(())
            }
        }
    }

    /// The objects so far.
    pub(super) fn as_slice(&self) -> &[LowerObject] {
        self.0.as_slice()
    }

    /// The stack.
    pub(super) fn finish(mut self) -> LowerStack {
        core::mem::take(&mut self.0)
    }
}

impl Drop for StackBuilder {
    fn drop(&mut self) {
        self.0.release();
    }
}
