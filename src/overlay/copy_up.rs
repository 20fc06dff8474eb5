// SPDX-License-Identifier: GPL-2.0-only

//! Copying an object up: making it anew in upper, before the first change.
//!
//! It goes through stages, each of which is a type. A [`Plan`] says what is to be copied, and to where. A
//! [`Temporary`](install::Temporary) is an object in the making that nobody can see. When its data is
//! there it is [`Filled`](install::Filled), and when it has got its attributes and its name it is in
//! upper, whole. Whatever fails on the way, dropping the stage takes away what was made, and the lower
//! object stays in view.
//!
//! Objects are copied one by one, a directory before what is in it. Each has the lock of its node held
//! meanwhile, so that all who want one file wait for one copy, while others are copied beside it. Write
//! access to upper is taken for single steps, and never held while data is copied.
//!
//! See C1 to C7 of the behaviour of overlayfs, and
//! [`fs/overlayfs/copy_up.c`](srctree/fs/overlayfs/copy_up.c).

#![forbid(unsafe_code)]

mod data;
mod install;
mod metadata;

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    attr,
    casefold::Case,
    fs::{
        Instance,
        Overlay,
        Writable, //
    },
    listing, origin,
    stack::LowerObject,
};
use crate::{
    model::options::Fsync,
    vfs::{
        attr::Stat,
        dentry::Dentry,
        inode::{
            FileType,
            Inode, //
        },
        path::PathRef,
        setattr::Change, //
    },
};

/// Makes sure that the object, and all directories above it, are in upper, with all their data.
///
/// The mounter's credentials are in force, and no write access is held.
///
/// # Errors
///
/// `EROFS` if nothing can be written, `EOVERFLOW` if the owner has no number here, `EINTR`, `EEXIST` if
/// somebody has put something else into upper, and what the layers' filesystems say.
pub(crate) fn copy_up(dentry: &Dentry<Overlay>) -> Result {
    with_parents(dentry, &mut Extent::Whole)
}

/// As [`copy_up`], of a regular file that is about to lose all its data, so that none is copied.
///
/// # Errors
///
/// As [`copy_up`].
pub(crate) fn copy_up_truncated(dentry: &Dentry<Overlay>) -> Result {
    with_parents(dentry, &mut Extent::Empty(None))
}

/// As [`copy_up_truncated`], and carries out `change` before the copy can be seen, so that the file keeps its data
/// if that fails. Returns whether this was done: else somebody has copied it up before, with its data.
///
/// # Errors
///
/// As [`copy_up`].
pub(crate) fn copy_up_changed(dentry: &Dentry<Overlay>, change: &mut Change) -> Result<bool> {
    let mut extent = Extent::Empty(Some(change));
    with_parents(dentry, &mut extent)?;
    Ok(matches!(extent, Extent::Empty(None)))
}

/// How much data a copy of a regular file gets.
enum Extent<'a> {
    /// All that there is.
    Whole,
    /// None. If there is a change, it is still to be carried out on the copy.
    Empty(Option<&'a mut Change>),
}

impl<'a> Extent<'a> {
    /// The change that is still to be carried out, which from now on is the caller's to do.
    fn take_change(&mut self) -> Option<&'a mut Change> {
        match self {
            Self::Whole => None,
            Self::Empty(change) => change.take(),
        }
    }
}

/// Whether the object is in upper, by the name by which it is known here. Lower layers may have a file by several
/// names, one of which is copied up and not the others: where two directories stand for one, or the filesystem
/// does not count links. (C: `ovl_already_copied_up`.)
fn is_up(dentry: &Dentry<Overlay>) -> Result<bool> {
    let inode = dentry.inode().ok_or(ESTALE)?;
    // A name that is gone needs none.
    let has_name = || inode.is_directory() || dentry.is_marked() || !dentry.is_cached();
    Ok(inode.node().upper().is_some() && has_name())
}

/// Whether `inode` has lost its only name, and is known by a descriptor alone.
///
/// A whiteout takes that name in upper, but not for ever: it goes before its directory does, when something is
/// renamed over that. That rename has the directory in upper locked, as is the case when a copy gets its name;
/// an unlink makes the whiteout while it has the node's lock.
fn is_removed(dentry: &Dentry<Overlay>, inode: &Inode<Overlay>) -> bool {
    !dentry.is_cached() && inode.links() == 0
}

/// Copies up the object, and what is above it. (C: `ovl_copy_up_flags`.)
fn with_parents(dentry: &Dentry<Overlay>, extent: &mut Extent<'_>) -> Result {
    if is_up(dentry)? {
        return Ok(());
    }
    let instance = dentry.superblock().data();
    let writable = instance.writable()?;
    // Once one is done, others may have been renamed or copied, so that the search begins anew.
    while !is_up(dentry)? {
        let mut next: ARef<_> = dentry.into();
        let mut parent = next.parent();
        while !is_up(&parent)? {
            let above = parent.parent();
            if core::ptr::eq(&*above, &*parent) {
                // The root is in upper, and nothing else is in no directory.
                return Err(EIO);
            }
            next = core::mem::replace(&mut parent, above);
        }
        let is_parent = !core::ptr::eq(&*next, dentry);
        let extent = match is_parent {
            true => &mut Extent::Whole,
            false => &mut *extent,
        };
        one(instance, writable, &parent, &next, extent)?;
    }
    Ok(())
}

/// Copies one object up, whose parent is in upper.
fn one(
    instance: &Instance,
    writable: Writable<'_>,
    parent: &Dentry<Overlay>,
    dentry: &Dentry<Overlay>,
    extent: &mut Extent<'_>,
) -> Result {
    let inode = dentry.inode().ok_or(ESTALE)?;
    let held = inode.node().lock_interruptible()?;
    if is_up(dentry)? {
        return Ok(());
    }
    let _stays_writable = writable.layer.mount().stay_writable()?;
    let plan = Plan::new(instance, writable, parent, dentry, extent)?;
    match inode.node().upper() {
        None => plan
            .prepare()?
            .fill()?
            .install(&held, extent.take_change())?,
        Some(upper) => plan.add_name(upper)?,
    }
    dentry.mark();
    // It looks the same as before, but for its size, if that was not copied.
    attr::refresh(inode);
    if !plan.keeps_origin() || !instance.numbers().same_device() {
        // It has a number of its own now, or one of another layer, which is not the one that is listed.
        listing::copied_up(plan.directory, dentry, inode);
    } else if !origin::is_told(instance, inode) || instance.case() == Case::Folded {
        // It has another number as soon as its inode is forgotten, or a name in another case.
        plan.directory.node().changed();
    }
    Ok(())
}

/// What is to be copied, and to where.
struct Plan<'a> {
    instance: &'a Instance,
    writable: Writable<'a>,
    /// The directory.
    directory: &'a Inode<Overlay>,
    dentry: &'a Dentry<Overlay>,
    inode: &'a Inode<Overlay>,
    /// The lower object.
    source: PathRef<'a>,
    /// Its attributes. The size is that of the copy.
    stat: Stat,
}

impl<'a> Plan<'a> {
    /// Looks at the object.
    ///
    /// # Errors
    ///
    /// `EOVERFLOW` if the current user namespace has no number for the owner, and what the layers'
    /// filesystems say.
    fn new(
        instance: &'a Instance,
        writable: Writable<'a>,
        parent: &'a Dentry<Overlay>,
        dentry: &'a Dentry<Overlay>,
        extent: &Extent<'_>,
    ) -> Result<Self> {
        let inode = dentry.inode().ok_or(ESTALE)?;
        let lower = inode.node().lower().first().ok_or(EIO)?;
        let layer = instance.layers().get(lower.layer())?;
        let source = layer.path(LowerObject::dentry(lower).ok_or(EIO)?);
        let mut stat = Stat::empty();
        stat.ask_for(&source)?;
        if !stat.has_mapped_owner() {
            return Err(EOVERFLOW);
        }
        if !matches!(extent, Extent::Whole) {
            stat.set_size(0);
        }
        Ok(Self {
            instance,
            writable,
            directory: parent.inode().ok_or(ESTALE)?,
            dentry,
            inode,
            source,
            stat,
        })
    }

    /// What kind of object it is.
    fn file_type(&self) -> FileType {
        self.inode.file_type()
    }

    /// When the copy is to be written to the disk. (C: `ovl_should_sync`, `metadata_fsync`.)
    fn syncing(&self) -> Syncing {
        let is_ordered = matches!(self.file_type(), FileType::Regular | FileType::Directory);
        match self.instance.options().fsync {
            Fsync::Volatile => Syncing::Never,
            Fsync::Strict if is_ordered => Syncing::Complete,
            Fsync::Strict | Fsync::Auto => Syncing::WithData,
        }
    }
}

/// When a copy is written to the disk, before it can be seen (M15).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Syncing {
    /// The mounter does not want it.
    Never,
    /// When its data has been copied, if there is any. Its attributes may be older after a crash.
    WithData,
    /// When all of it is there.
    Complete,
}
