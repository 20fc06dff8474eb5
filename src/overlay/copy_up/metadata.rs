// SPDX-License-Identifier: GPL-2.0-only

//! What a copy gets beside its data: attributes of all kinds, and where it was copied from (C5).

#![forbid(unsafe_code)]

use kernel::{
    pr_warn_once,
    prelude::*, //
};

use super::Plan;
use crate::{
    overlay::{
        edit::Edit,
        fileattr::store_protection,
        origin::Origin, //
    },
    vfs::{
        acl::AclKind,
        dentry::Dentry,
        fileattr::FileAttr,
        inode::FileType,
        path::PathRef,
        replicate::Verdict,
        AnyFs, //
    },
};

/// A copy that is to get what it lacks beside its data.
pub(super) struct Target<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) edit: &'a Edit<'a>,
    pub(super) object: &'a Dentry<AnyFs>,
    /// What it keeps of where it comes from, if it is to be known as a copy.
    pub(super) origin: Option<&'a Origin>,
}

impl Target<'_> {
    /// Gives it all. (C: `ovl_copy_up_metadata`.)
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `EDQUOT`, `EPERM` and what else the layers' filesystems and security modules say.
    pub(super) fn complete(&self) -> Result {
        self.copy_xattrs()?;
        let has_flags = matches!(
            self.plan.file_type(),
            FileType::Regular | FileType::Directory
        );
        if has_flags && self.plan.inode.has_lasting_flags() {
            self.copy_flags()?;
        }
        if let Some(origin) = self.origin {
            origin.store(self.edit, self.object)?;
        }
        self.edit
            .access
            .give_attributes(self.object, &self.plan.stat)
    }

    fn path(&self) -> PathRef<'_> {
        self.edit.path(self.object)
    }

    /// Copies extended attributes, ACLs among them, but for those that belong to the overlay.
    /// (C: `ovl_copy_xattr`.)
    fn copy_xattrs(&self) -> Result {
        let source = &self.plan.source;
        if !source.dentry.lists_xattrs() || !self.object.lists_xattrs() {
            return Ok(());
        }
        let names = source.all_xattrs()?;
        let namespace = self.plan.instance.namespace();
        let mut value = KVVec::new();
        for name in names.split_inclusive(|&byte| byte == 0) {
            // A list that does not end with a NUL is broken.
            let name = CStr::from_bytes_with_nul(name).map_err(|_| EIO)?;
            if namespace.is_private(name.to_bytes())
                || source.dentry.judge_xattr_copy(name)? == Verdict::Discard
            {
                continue;
            }
            match AclKind::of_xattr(name) {
                Some(kind) => self.copy_acl(kind)?,
                None => self.copy_xattr(name, &mut value)?,
            }
        }
        Ok(())
    }

    fn copy_xattr(&self, name: &CStr, value: &mut KVVec<u8>) -> Result {
        let value = match self.plan.source.whole_xattr(name, value) {
            Ok(value) => value,
            Err(error) if is_no_capability(name, error) => return Ok(()),
            Err(error) => return Err(error),
        };
        match self.edit.access.set_xattr(self.object, name, value) {
            // Attributes that upper does not know are left behind, if nobody's security depends on them.
            Err(error) if error == EOPNOTSUPP && !name.to_bytes().starts_with(b"security.") => {
                Ok(())
            }
            result => result,
        }
    }

    fn copy_acl(&self, kind: AclKind) -> Result {
        let source = &self.plan.source;
        let acl = match source.acl(kind) {
            Ok(Some(acl)) => acl,
            Ok(None) => return Ok(()),
            Err(error) if error == ENODATA || error == EOPNOTSUPP => return Ok(()),
            Err(error) => return Err(error),
        };
        let inode = source.dentry.inode().ok_or(ESTALE)?;
        // Users and groups are those that the layer's mount shows.
        let acl = acl.mapped(source.mount.idmap(), inode)?;
        self.edit.access.set_acl(self.object, kind, Some(&acl))
    }

    /// Copies the flags that `chattr(1)` sets. (C: `ovl_copy_fileattr`.)
    fn copy_flags(&self) -> Result {
        let plan = self.plan;
        let cred = plan.instance.mounter();
        let mut old = FileAttr::empty();
        match old.fill_from(&plan.source, cred) {
            Err(error) if is_no_flags(error) => return Ok(()),
            result => result?,
        }
        // What was set on the lower object is kept beside the upper one, so that that stays changeable.
        match store_protection(self.edit, plan.inode, self.object, &mut old) {
            Err(error) if error == EPERM => {
                pr_warn_once!("copying file attributes: no xattrs on upper\n");
            }
            result => result?,
        }
        if !old.has_inherited() {
            return Ok(());
        }
        let path = self.path();
        let mut new = FileAttr::empty();
        match new.fill_from(&path, cred) {
            Err(error) if is_no_flags(error) => {
                pr_warn_once!("copying file attributes: no support on upper\n");
                return Ok(());
            }
            result => result?,
        }
        new.inherit(&old);
        new.may_be_set(&path, cred)?;
        self.edit.access.set_fileattr(self.object, &mut new)
    }
}

impl Plan<'_> {
    /// Whether the copy is to be known as such. One of several names of a lower file is not: the others
    /// go on standing for the lower file, so that the copy is a new one (C7).
    pub(super) fn keeps_origin(&self) -> bool {
        self.file_type() == FileType::Directory || self.stat.links() == 1
    }
}

/// Whether reading the attribute has failed as there is no capability in it. Anybody can store an empty
/// one, that cannot be read; it grants nothing. (C: `ovl_no_fscap`.)
fn is_no_capability(name: &CStr, error: Error) -> bool {
    name == c"security.capability" && (error == ENODATA || error == EOPNOTSUPP || error == EINVAL)
}

/// Whether asking for flags has failed as the filesystem has none. Some say so in a way of their own.
fn is_no_flags(error: Error) -> bool {
    error == ENOTTY || error == EINVAL
}
