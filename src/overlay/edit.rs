// SPDX-License-Identifier: GPL-2.0-only

//! What changes of names in upper have in common.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    fs::{
        Instance,
        Writable, //
    },
    node::Node,
    xattr, //
};
use crate::{
    model::names::Xattr,
    vfs::{
        dentry::Dentry,
        dirop::WriteAccess,
        inode::Inode,
        lookup::Negative,
        path::PathRef,
        AnyFs, //
    }, //
};

/// A change of names that is being made in upper.
///
/// No data is copied, and nothing is copied up, as long as this lives.
pub(super) struct Edit<'a> {
    pub(super) instance: &'a Instance,
    pub(super) writable: Writable<'a>,
    pub(super) access: WriteAccess<'a>,
}

impl<'a> Edit<'a> {
    /// Begins a change.
    ///
    /// # Errors
    ///
    /// `EROFS`.
    pub(super) fn begin(instance: &'a Instance) -> Result<Self> {
        let writable = instance.writable()?;
        Ok(Self {
            instance,
            writable,
            access: writable.access()?,
        })
    }

    /// The directory in which things are prepared.
    pub(super) fn work(&self) -> &'a Dentry<AnyFs> {
        self.writable.work
    }

    /// The object `dentry` of upper, or in the work directory.
    pub(super) fn path<'b>(&'b self, dentry: &'b Dentry<AnyFs>) -> PathRef<'b> {
        self.writable.layer.path(dentry)
    }

    /// What `name` stands for in the directory `dir` of upper.
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(super) fn find(
        &self,
        dir: &Dentry<AnyFs>,
        name: &[u8],
    ) -> Result<Option<ARef<Dentry<AnyFs>>>> {
        self.path(dir).lookup(name, Negative::Keep)
    }

    /// Whether `dentry`, which is in upper or in the work directory, is a whiteout.
    pub(super) fn is_whiteout(&self, dentry: &Dentry<AnyFs>) -> bool {
        xattr::is_whiteout(&self.path(dentry), self.instance.namespace())
    }

    /// Sets one of the overlay's own attributes.
    ///
    /// # Errors
    ///
    /// `lacking` if the filesystem has none such (C: `ovl_check_setxattr`), and what else it says.
    pub(super) fn mark(
        &self,
        dentry: &Dentry<AnyFs>,
        attribute: Xattr,
        value: &[u8],
        lacking: Error,
    ) -> Result {
        if !self.writable.abilities.xattrs {
            return Err(lacking);
        }
        let name = attribute.name(self.instance.namespace());
        match self.access.set_xattr(dentry, name, value) {
            Err(error) if error == EOPNOTSUPP => Err(lacking),
            result => result,
        }
    }

    /// Removes what is of no use any more. That this fails does no harm but that it stays, if it is in the
    /// work directory until the next mount. (C: `ovl_cleanup`.)
    pub(super) fn clean_up(&self, dir: &Dentry<AnyFs>, object: &Dentry<AnyFs>) {
        let removing = self.access.start_removing(dir, object);
        if let Err(error) = removing.and_then(|removing| removing.remove()) {
            pr_err!("cleanup in upper failed ({error:?})\n");
        }
    }
}

/// Whether `object` is what `node` stands for in upper. (C: `ovl_matches_upper`.)
pub(super) fn matches_upper(node: &Node, object: &Dentry<AnyFs>) -> bool {
    Inode::same(node.upper().and_then(Dentry::inode), object.inode())
}
