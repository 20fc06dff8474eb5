// SPDX-License-Identifier: GPL-2.0-only

//! Renaming.
//!
//! The upper part is renamed; where lower layers have something under the old name, a whiteout stays
//! behind. Of a directory that lower layers have a part in, that part stays where it is. Unless the
//! directory may say so (`redirect`), it cannot be renamed. See D5 of the behaviour of overlayfs,
//! `ovl_rename` in [`fs/overlayfs/dir.c`](srctree/fs/overlayfs/dir.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    attr,
    copy_up,
    edit::{
        matches_upper,
        Edit, //
    },
    fs::{
        Instance,
        Overlay, //
    },
    impure,
    leftover::{
        is_pure_upper,
        Leftovers, //
    },
    listing,
    node::Node,
    redirect::{
        self,
        Move, //
    },
    whiteout,
    xattr, //
};
use crate::{
    model::{
        kind::Opaque,
        names::Xattr, //
    },
    vfs::{
        dentry::Dentry,
        dirop::{
            rename::Place,
            RenameFlags,
            Renaming, //
        },
        inode::Inode,
        locked_name::LockedName,
        vtable::inode_removal::RenameMode,
        AnyFs, //
    },
};

/// Renames what `old` stands for to `new`.
///
/// # Errors
///
/// `EXDEV` for a directory that lower layers have a part in, `ENOTEMPTY` if `new` is a directory and not
/// empty, `EROFS`, `EINTR`, `ESTALE` if upper is not what it was, and what the layers' filesystems say.
pub(crate) fn rename(
    old: &LockedName<'_, Overlay>,
    new: &LockedName<'_, Overlay>,
    mode: RenameMode,
) -> Result {
    let instance = old.dentry().superblock().data();
    let source = Party::of(old)?;
    let target = Party::of(new)?;
    let inode = source.inode.ok_or(ENOENT)?;
    check_movable(instance, inode)?;
    let mut leftovers = Leftovers::default();
    match (mode, target.inode) {
        (RenameMode::Exchange, Some(inode)) => check_movable(instance, inode)?,
        (RenameMode::Replace, Some(inode)) if inode.is_directory() => {
            if !is_pure_upper(inode.node()) {
                leftovers = Leftovers::of(instance, inode.node())?;
            }
        }
        _ => (),
    }
    let leaves_whiteout = mode == RenameMode::Replace && whiteout::is_due(instance, old)?;
    copy_up::copy_up(old.dentry())?;
    copy_up::copy_up(new.parent())?;
    if mode == RenameMode::Exchange {
        copy_up::copy_up(new.dentry())?;
    }
    let _names = match (mode, target.inode) {
        (RenameMode::Replace, Some(inode)) => Some(inode.node().lock_interruptible()?),
        _ => None,
    };
    let rename = Rename {
        edit: Edit::begin(instance)?,
        source,
        inode,
        target,
        mode,
        leaves_whiteout,
    };
    rename.run(&leftovers)?;
    rename.finish();
    Ok(())
}

/// Checks that all of the object can be moved, since all of it will be in upper. (C: `ovl_can_move`.)
fn check_movable(instance: &Instance, inode: &Inode<Overlay>) -> Result {
    if instance.makes_redirects() || !inode.is_directory() || !is_merged_or_lower(inode.node()) {
        Ok(())
    } else {
        Err(EXDEV)
    }
}

/// Whether lower layers have a part in the directory. (C: `ovl_type_merge_or_lower`.)
fn is_merged_or_lower(node: &Node) -> bool {
    !node.lower().is_empty()
}

/// One of the two places, and what is there.
struct Party<'a> {
    name: &'a LockedName<'a, Overlay>,
    inode: Option<&'a Inode<Overlay>>,
    directory: &'a Inode<Overlay>,
}

impl<'a> Party<'a> {
    fn of(name: &'a LockedName<'a, Overlay>) -> Result<Self> {
        Ok(Self {
            name,
            inode: name.inode(),
            directory: name.directory()?,
        })
    }

    /// Where that is in upper.
    fn place(&self, edit: &Edit<'_>) -> Result<Place<'a>> {
        Ok(Place {
            dir: edit.writable.upper(self.directory.node())?,
            name: self.name.name(),
        })
    }
}

/// What is found in upper at the place that something is renamed to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occupant {
    /// Nothing.
    Nothing,
    /// A whiteout, so that the overlay has nothing there.
    Whiteout,
    /// What the overlay has there.
    Object,
}

/// A rename of which everything is in upper.
struct Rename<'a> {
    edit: Edit<'a>,
    source: Party<'a>,
    /// What is renamed.
    inode: &'a Inode<Overlay>,
    target: Party<'a>,
    mode: RenameMode,
    /// Whether lower layers have something under the old name.
    leaves_whiteout: bool,
}

impl Rename<'_> {
    /// Carries it out. (C: `ovl_rename_upper`.)
    fn run(&self, leftovers: &Leftovers) -> Result {
        let target = self.target.inode.and_then(|inode| inode.node().upper());
        let cleared = match target {
            Some(dir) if !leftovers.is_empty() => {
                Some(leftovers.clear(&self.edit, dir, self.target.name)?)
            }
            _ => None,
        };
        self.mark_impure()?;
        let rubbish = self.rename()?;
        if let Some(cleared) = cleared {
            cleared.give_up();
        }
        if let Some(whiteout) = rubbish {
            let place = self.source.place(&self.edit)?;
            self.edit.clean_up(place.dir, &whiteout);
        }
        Ok(())
    }

    /// Marks directories into which something comes that was copied up (X4).
    fn mark_impure(&self) -> Result {
        if self.source.name.is_beside(self.target.name) {
            return Ok(());
        }
        if has_origin(self.inode) {
            impure::mark(&self.edit, self.target.directory.node())?;
        }
        if self.mode == RenameMode::Exchange && self.target.inode.is_some_and(has_origin) {
            impure::mark(&self.edit, self.source.directory.node())?;
        }
        Ok(())
    }

    /// Renames in upper. Returns a whiteout that has to be removed from the old place.
    fn rename(&self) -> Result<Option<ARef<Dentry<AnyFs>>>> {
        let (from, to) = (
            self.source.place(&self.edit)?,
            self.target.place(&self.edit)?,
        );
        let flags = match self.mode {
            RenameMode::Replace => RenameFlags::REPLACE,
            RenameMode::Exchange => RenameFlags::EXCHANGE,
        };
        let renaming = self.edit.access.start_renaming_names(from, to, flags)?;
        let occupant = self.check(&renaming)?;
        self.fix_lower(&renaming)?;

        let mut rubbish = None;
        let flags = match (self.mode, occupant) {
            (RenameMode::Exchange, _) => RenameFlags::EXCHANGE,
            (_, Occupant::Whiteout) if self.leaves_whiteout => RenameFlags::EXCHANGE,
            // A directory cannot replace what is none.
            (_, Occupant::Whiteout) if self.inode.is_directory() => {
                rubbish = Some(renaming.target().into());
                RenameFlags::EXCHANGE
            }
            _ if self.leaves_whiteout => RenameFlags::WHITEOUT,
            _ => RenameFlags::REPLACE,
        };
        renaming.rename_with(flags)?;
        Ok(rubbish)
    }

    /// Checks that what is in upper is what the overlay shows.
    fn check(&self, renaming: &Renaming<'_>) -> Result<Occupant> {
        let found = renaming.target();
        let upper = self.target.inode.map(|inode| (inode, inode.node().upper()));
        let is_named = self.target.name.dentry().is_marked();
        let occupant = match upper {
            Some((inode, Some(_))) if matches_upper(inode.node(), found) => Some(Occupant::Object),
            // It may be there by another name.
            Some((_, Some(_))) if !is_named && found.inode().is_none() => Some(Occupant::Nothing),
            Some((_, None)) | None if found.inode().is_none() => Some(Occupant::Nothing),
            None if self.edit.is_whiteout(found) => Some(Occupant::Whiteout),
            _ => None,
        };
        let is_source = matches_upper(self.inode.node(), renaming.object());
        let is_other = !Inode::same(renaming.object().inode(), found.inode());
        occupant.filter(|_| is_source && is_other).ok_or(ESTALE)
    }

    /// Makes directories say which part lower layers have in them, wherever they come to.
    fn fix_lower(&self, renaming: &Renaming<'_>) -> Result {
        self.fix(&self.source, renaming.object(), self.target.directory)?;
        match self.mode {
            RenameMode::Exchange => {
                self.fix(&self.target, renaming.target(), self.source.directory)
            }
            RenameMode::Replace => Ok(()),
        }
    }

    /// Makes `upper` say so, which comes to `directory`.
    fn fix(&self, party: &Party<'_>, upper: &Dentry<AnyFs>, directory: &Inode<Overlay>) -> Result {
        let how = match self.source.name.is_beside(self.target.name) {
            true => Move::InPlace,
            false => Move::ToAnother,
        };
        match party.inode {
            Some(inode) if !inode.is_directory() => Ok(()),
            Some(inode) if is_merged_or_lower(inode.node()) => {
                redirect::set(&self.edit, party.name.dentry(), upper, how)
            }
            _ => self.hide_lower(upper, directory),
        }
    }

    /// Says that `upper`, of upper alone, is not to be merged with what lower layers have in `directory`, if
    /// they have a part in that (X1).
    fn hide_lower(&self, upper: &Dentry<AnyFs>, directory: &Inode<Overlay>) -> Result {
        let namespace = self.edit.instance.namespace();
        if !directory.node().has_several()
            || xattr::opaque(&self.edit.path(upper), namespace) == Opaque::Yes
        {
            return Ok(());
        }
        self.edit.mark(upper, Xattr::Opaque, b"y", EXDEV)
    }

    /// Lets the overlay's own inodes follow, and the listings.
    fn finish(self) {
        // The locks of listings come before it.
        drop(self.edit);
        match (self.mode, self.target.inode) {
            (RenameMode::Replace, Some(inode)) if inode.is_directory() => {
                self.target.name.forget_directory();
            }
            (RenameMode::Replace, Some(_)) => self.target.name.forget_link(),
            _ => (),
        }
        for directory in [self.source.directory, self.target.directory] {
            attr::refresh(directory);
        }
        let (from, to) = (self.source.directory, self.target.directory);
        let (old, new) = (self.source.name.name(), self.target.name.name());
        match (self.mode, self.target.inode) {
            (RenameMode::Exchange, Some(inode)) => listing::added(from, old, inode),
            _ => listing::removed(from, old),
        }
        listing::added(to, new, self.inode);
        attr::refresh(self.inode);
        if let Some(inode) = self.target.inode {
            if inode.node().upper().is_some() {
                attr::refresh(inode);
            }
        }
    }
}

/// Whether the object has a number that is not its own in upper. (C: `ovl_type_origin`.)
fn has_origin(inode: &Inode<Overlay>) -> bool {
    inode.node().origin().is_some()
}
