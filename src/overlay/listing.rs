// SPDX-License-Identifier: GPL-2.0-only

//! What a change of names does to the listing of their directory, if one is kept.
//!
//! It is patched, since to read a directory of many names again would cost far more than the change did.
//! What cannot be patched is forgotten, and read again when it is wanted.

#![forbid(unsafe_code)]

use core::ptr;
use kernel::prelude::*;

use super::{
    fs::Overlay,
    leftover::is_pure_upper,
    lookup,
    node::{
        Node,
        Numbers, //
    },
    number, origin,
    readdir::{
        self,
        Listing, //
    },
};
use crate::{
    model::{
        merge::State,
        names::NAME_MAX, //
    },
    vfs::{
        dentry::Dentry,
        inode::Inode, //
    }, //
};

/// Says that `name` in `directory` stands for `object`, which is in upper, from now on. It may have stood for
/// something else.
///
/// The directory is locked, and no write access is held.
pub(super) fn added(directory: &Inode<Overlay>, name: &[u8], object: &Inode<Overlay>) {
    directory.node().changed_by(|listing| {
        let instance = directory.superblock().data();
        if instance.numbers().same_device() && !origin::is_told(instance, object) {
            // It has another number as soon as its inode is forgotten.
            return Err(ESTALE);
        }
        let number = number::listed(object)?;
        insert(listing, directory, name, object, number)
    });
}

/// As [`added`], where `name` is a further name for `object`. Who comes by it finds of where the object was
/// copied from only what upper tells, which may be less than its inode knows: of pipes and devices nothing
/// is kept in attributes of the user.
pub(super) fn linked(directory: &Inode<Overlay>, name: &[u8], object: &Inode<Overlay>) {
    directory.node().changed_by(|listing| {
        let instance = directory.superblock().data();
        let is_copied = object.node().origin().is_some();
        let number = if is_copied && instance.numbers().same_device() {
            lookup::listed_number(instance, directory.node(), name)?.ok_or(ESTALE)?
        } else {
            number::listed(object)?
        };
        insert(listing, directory, name, object, number)
    });
}

/// Puts `name`, which stands for `object` in upper, into the listing of `directory`.
fn insert(
    listing: &mut Listing,
    directory: &Inode<Overlay>,
    name: &[u8],
    object: &Inode<Overlay>,
    number: u64,
) -> Result {
    let at = with_key(directory, name, |key| {
        // Upper may have kept the name in the case that it was listed in.
        let listed = listing.find(key).and_then(|at| listing.get(at));
        if listed.is_some_and(|listed| listed.name != name) {
            return Err(ESTALE);
        }
        Ok(listing.insert(name, key, number, object.d_type())?)
    })?;
    if !may_lose_mark(directory.node()) {
        return Ok(());
    }
    if number != number::own(object)? {
        listing.set_state(at, State::Renumbered);
    }
    keeps_mark(listing)
}

/// Says that there is no `name` in `directory` any more.
///
/// The directory is locked, and no write access is held.
pub(super) fn removed(directory: &Inode<Overlay>, name: &[u8]) {
    directory.node().changed_by(|listing| {
        with_key(directory, name, |key| {
            // Where one name goes, more may follow, so that it pays to find them quickly.
            listing.reserve(0)?;
            listing.remove(key);
            Ok(())
        })?;
        if may_lose_mark(directory.node()) {
            keeps_mark(listing)?;
        }
        tidy(listing)
    });
}

/// Says that `object`, which `dentry` in `directory` stands for, was copied up, and is listed with another
/// number since then.
///
/// The directory need not be locked, but the object's node is. No write access is held.
pub(super) fn copied_up(
    directory: &Inode<Overlay>,
    dentry: &Dentry<Overlay>,
    object: &Inode<Overlay>,
) {
    directory.node().changed_by(|listing| {
        let number = number::listed(object)?;
        listing.reserve(0)?;
        dentry.with_name(|name| {
            with_key(directory, name, |key| {
                // Since it is in upper it can be renamed, so that what has the name now may be another one,
                // and the name one in another directory.
                if !is_in(dentry, directory) {
                    return Ok(());
                }
                let is_lower = |at: &usize| listing.get(*at).is_some_and(|entry| entry.layer != 0);
                if listing.find(key).filter(is_lower).is_some() {
                    listing.insert(name, key, number, object.d_type())?;
                }
                Ok(())
            })
        })
    });
}

/// Whether `dentry` is in `directory` now.
fn is_in(dentry: &Dentry<Overlay>, directory: &Inode<Overlay>) -> bool {
    let parent = dentry.parent();
    parent
        .inode()
        .is_some_and(|parent| ptr::eq(parent, directory))
}

/// Whether the directory stops being impure when nothing in it shows another number than upper lists.
fn may_lose_mark(directory: &Node) -> bool {
    directory.numbers() == Numbers::LookUp && is_pure_upper(directory)
}

/// Fails if nothing does: the mark goes when the directory is read anew.
fn keeps_mark(listing: &Listing) -> Result {
    match listing.renumbered() {
        0 => Err(ESTALE),
        _ => Ok(()),
    }
}

/// Calls `work` with what `name` is found by.
fn with_key<T>(
    directory: &Inode<Overlay>,
    name: &[u8],
    work: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    let instance = directory.superblock().data();
    let layer = instance.layers().upper().ok_or(EROFS)?;
    let mut room = [0; NAME_MAX + 1];
    let sb = layer.mount().superblock();
    work(readdir::key(instance, sb, name, &mut room))
}

/// Gives the memory of names that are gone back, once it is more than that of the others. As many have gone
/// since the last time as are now left, so that they pay for it.
fn tidy(listing: &mut Listing) -> Result {
    if listing.gone() > listing.len() / 2 {
        *listing = listing.compacted()?;
    }
    Ok(())
}
