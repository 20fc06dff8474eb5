// SPDX-License-Identifier: GPL-2.0-only

//! Directories that look empty, and hold whiteouts.
//!
//! See D4 of the behaviour of overlayfs, `ovl_check_empty_dir` and `ovl_cleanup_whiteouts` in
//! [`fs/overlayfs/readdir.c`](srctree/fs/overlayfs/readdir.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    edit::Edit,
    fs::{
        Instance,
        Overlay, //
    },
    layer::LayerId,
    node::Node,
    readdir,
    whiteout,
    xattr, //
};
use crate::{
    model::{
        kind::Opaque,
        merge::State,
        names::Xattr, //
    },
    vfs::{
        dentry::Dentry,
        locked_name::LockedName,
        AnyFs, //
    }, //
};

/// The names of the whiteouts in the upper part of a directory in which there is nothing else to be seen.
#[derive(Default)]
pub(super) struct Leftovers(KVVec<KVec<u8>>);

impl Leftovers {
    /// Checks that nothing is to be seen in the directory.
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY` if something is, and what the layers' filesystems say.
    pub(super) fn of(instance: &Instance, node: &Node) -> Result<Self> {
        let mut names = KVVec::new();
        let listing = readdir::merge(instance, node)?;
        for (_, entry) in listing.entries_from(0) {
            match entry.state {
                State::Whiteout if LayerId::from_number(entry.layer) == LayerId::Upper => {
                    let mut name = KVec::with_capacity(entry.name.len(), GFP_KERNEL)?;
                    name.extend_from_slice(entry.name, GFP_KERNEL)?;
                    names.push(name, GFP_KERNEL)?;
                }
                State::Whiteout | State::Gone => (),
                // A file that may be a whiteout by an attribute counts as one that is none, as there.
                State::Shown | State::Renumbered | State::Unchecked => {
                    if !matches!(entry.name, b"." | b"..") {
                        return Err(ENOTEMPTY);
                    }
                }
            }
        }
        Ok(Self(names))
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the whiteouts from `dir`, which `name` stands for, so that something can be renamed over it.
    ///
    /// The directory goes on looking empty all the while, after a crash too: before, it is made to hide
    /// what is below it altogether. That takes no other directory in its place, as in `ovl_clear_empty`,
    /// and keeps it as it is if nothing is renamed over it in the end.
    ///
    /// # Errors
    ///
    /// `EIO` if the filesystem cannot keep the mark that it takes, and what else it says.
    pub(super) fn clear<'a>(
        &'a self,
        edit: &'a Edit<'a>,
        dir: &'a Dentry<AnyFs>,
        name: &'a LockedName<'a, Overlay>,
    ) -> Result<Cleared<'a>> {
        let before = xattr::opaque(&edit.path(dir), edit.instance.namespace());
        if before != Opaque::Yes {
            edit.mark(dir, Xattr::Opaque, b"y", EIO)?;
        }
        self.remove(edit, dir);
        Ok(Cleared {
            leftovers: self,
            edit,
            dir,
            name,
            before,
        })
    }

    /// Removes the directory `dir`, which has been moved to the work directory.
    pub(super) fn discard(&self, edit: &Edit<'_>, dir: &Dentry<AnyFs>) {
        self.remove(edit, dir);
        edit.clean_up(edit.work(), dir);
    }

    /// Removes them from the directory `dir`, which nobody can see any more.
    fn remove(&self, edit: &Edit<'_>, dir: &Dentry<AnyFs>) {
        for name in &self.0 {
            match edit.find(dir, name) {
                Ok(Some(object)) => edit.clean_up(dir, &object),
                Ok(None) => (),
                Err(error) => pr_err!("lookup of a whiteout failed ({error:?})\n"),
            }
        }
    }
}

/// A directory without its whiteouts, which come back unless it is of no use any more.
pub(super) struct Cleared<'a> {
    leftovers: &'a Leftovers,
    edit: &'a Edit<'a>,
    dir: &'a Dentry<AnyFs>,
    name: &'a LockedName<'a, Overlay>,
    /// Whether it hid what is below before.
    before: Opaque,
}

impl Cleared<'_> {
    /// The directory is gone.
    pub(super) fn give_up(self) {
        core::mem::forget(self);
    }

    /// Makes the directory what it was.
    fn restore(&self) -> Result {
        let mut outcome = Ok(());
        for name in &self.leftovers.0 {
            match whiteout::make(self.edit, self.dir, name) {
                // It could not be removed.
                Err(error) if error == EEXIST => (),
                // The others still hide what they hid.
                Err(error) => outcome = outcome.and(Err(error)),
                Ok(_) => (),
            }
        }
        outcome?;
        match self.before {
            Opaque::Yes => Ok(()),
            Opaque::XWhiteouts => self.edit.mark(self.dir, Xattr::Opaque, b"x", EIO),
            Opaque::No => {
                let name = Xattr::Opaque.name(self.edit.instance.namespace());
                self.edit.access.remove_xattr(self.dir, name)
            }
        }
    }
}

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            // The mark stays, so that it is empty when it is found the next time, which is soon.
            self.name.forget();
            pr_err!("failed to put whiteouts back ({error:?})\n");
        }
    }
}

/// Whether the directory is one of upper alone, in which nothing can be hidden. (C: `ovl_pure_upper`.)
pub(super) fn is_pure_upper(node: &Node) -> bool {
    node.lower().is_empty() && !node.may_hide()
}
