// SPDX-License-Identifier: GPL-2.0-only

//! Removing names.
//!
//! What upper alone has is removed there; for what lower layers have, a whiteout stays behind. See D4 of
//! the behaviour of overlayfs, `ovl_do_remove` in [`fs/overlayfs/dir.c`](srctree/fs/overlayfs/dir.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    attr,
    copy_up,
    edit::{
        matches_upper,
        Edit, //
    },
    fs::Overlay,
    leftover::{
        is_pure_upper,
        Leftovers, //
    },
    listing,
    temp::TempName,
    whiteout, //
};
use crate::vfs::{
    dentry::Dentry,
    dirop::{
        rename::Place,
        RenameFlags, //
    },
    inode::Inode,
    locked_name::LockedName,
    AnyFs, //
};

/// What stays where a name was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trace {
    /// Nothing.
    Nothing,
    /// A whiteout.
    Whiteout,
}

impl Trace {
    fn of(name: &LockedName<'_, Overlay>) -> Result<Self> {
        let instance = name.dentry().superblock().data();
        Ok(match whiteout::is_due(instance, name)? {
            true => Self::Whiteout,
            false => Self::Nothing,
        })
    }
}

/// Removes a name of something that is no directory.
///
/// # Errors
///
/// `EROFS`, `ESTALE` if upper is not what it was, and what the layers' filesystems say.
pub(crate) fn unlink(name: &LockedName<'_, Overlay>) -> Result {
    let trace = Trace::of(name)?;
    remove(name, trace, &Leftovers::default())?;
    name.forget_link();
    refresh(name)
}

/// Removes a directory.
///
/// # Errors
///
/// `ENOTEMPTY` if something is to be seen in it, and as [`unlink`].
pub(crate) fn rmdir(name: &LockedName<'_, Overlay>) -> Result {
    let trace = Trace::of(name)?;
    let node = name.inode().ok_or(ENOENT)?.node();
    let leftovers = match trace {
        // The filesystem of upper will look.
        Trace::Nothing if is_pure_upper(node) => Leftovers::default(),
        _ => Leftovers::of(name.dentry().superblock().data(), node)?,
    };
    remove(name, trace, &leftovers)?;
    name.forget_directory();
    refresh(name)
}

/// Takes over the times of what the name stood for: that it lost a name changes them.
fn refresh(name: &LockedName<'_, Overlay>) -> Result {
    let inode = name.inode().ok_or(ENOENT)?;
    if inode.node().upper().is_some() {
        attr::refresh(inode);
    }
    Ok(())
}

fn remove(name: &LockedName<'_, Overlay>, trace: Trace, leftovers: &Leftovers) -> Result {
    copy_up::copy_up(name.parent())?;
    let inode = name.inode().ok_or(ENOENT)?;
    let directory = name.directory()?;
    let _names = inode.node().lock_interruptible()?;
    {
        let edit = Edit::begin(inode.superblock().data())?;
        let upper = edit.writable.upper(directory.node())?;
        match trace {
            Trace::Nothing => remove_upper(&edit, upper, name, leftovers)?,
            Trace::Whiteout => cover(&edit, upper, name, leftovers)?,
        }
    }
    attr::refresh(directory);
    listing::removed(directory, name.name());
    Ok(())
}

/// Removes a name that lower layers do not have from the directory `dir` of upper.
/// (C: `ovl_remove_upper`.)
fn remove_upper(
    edit: &Edit<'_>,
    dir: &Dentry<AnyFs>,
    name: &LockedName<'_, Overlay>,
    leftovers: &Leftovers,
) -> Result {
    let node = name.inode().ok_or(ENOENT)?.node();
    if !leftovers.is_empty() {
        return remove_with_leftovers(edit, dir, name, leftovers);
    }
    let removing = edit.access.start_removing_name(dir, name.name())?;
    if !matches_upper(node, removing.object()) {
        return Err(ESTALE);
    }
    removing.remove()
}

/// Moves a directory out of sight before its whiteouts are removed. Where it was, lower layers have nothing,
/// so that there is no need for an empty one in its place meanwhile, as in `ovl_clear_empty`.
fn remove_with_leftovers(
    edit: &Edit<'_>,
    dir: &Dentry<AnyFs>,
    name: &LockedName<'_, Overlay>,
    leftovers: &Leftovers,
) -> Result {
    let node = name.inode().ok_or(ENOENT)?.node();
    let temp = TempName::next();
    let from = Place {
        dir,
        name: name.name(),
    };
    let to = Place {
        dir: edit.work(),
        name: temp.as_bytes(),
    };
    let renaming = edit
        .access
        .start_renaming_names(from, to, RenameFlags::REPLACE)?;
    if !matches_upper(node, renaming.object()) {
        return Err(ESTALE);
    }
    if renaming.target().inode().is_some() {
        return Err(EEXIST);
    }
    renaming.rename()?;
    leftovers.discard(edit, edit.writable.upper(node)?);
    Ok(())
}

/// Puts a whiteout where the name is in the directory `dir` of upper. (C: `ovl_remove_and_whiteout`.)
fn cover(
    edit: &Edit<'_>,
    dir: &Dentry<AnyFs>,
    name: &LockedName<'_, Overlay>,
    leftovers: &Leftovers,
) -> Result {
    let inode = name.inode().ok_or(ENOENT)?;
    let found = edit.find(dir, name.name())?;
    let object = match (found, inode.node().upper()) {
        // Where nothing is to be replaced, it takes no rename, as it does there. The object may be in upper by
        // another name.
        (None, upper) if upper.is_none() || !name.dentry().is_marked() => {
            return whiteout::make(edit, dir, name.name()).map(drop)
        }
        (Some(object), Some(_)) if matches_upper(inode.node(), &object) => object,
        // Something has come, or gone, behind the overlay's back.
        _ => return Err(ESTALE),
    };
    whiteout::replace(edit, dir, &object)?;
    if object.inode().is_some_and(Inode::is_directory) {
        leftovers.discard(edit, &object);
    }
    Ok(())
}
