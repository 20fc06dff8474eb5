// SPDX-License-Identifier: GPL-2.0-only

//! The mark of directories in upper in which something shows the number of where it was copied from (X4).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    edit::Edit,
    fs::Instance,
    leftover::is_pure_upper,
    node::{
        Node,
        Numbers, //
    }, //
};
use crate::model::names::Xattr;

/// Marks the directory that `node` stands for, which is in upper, before something that was copied up
/// comes into it. (C: `ovl_set_impure`.)
///
/// # Errors
///
/// `EIO` if it is not in upper, and what upper's filesystem says. That it has no attributes is no error: then
/// as long as the inodes are in use they still show other numbers than those in upper.
pub(super) fn mark(edit: &Edit<'_>, node: &Node) -> Result {
    if node.is_impure() {
        return Ok(());
    }
    match edit.mark(edit.writable.upper(node)?, Xattr::Impure, b"y", EOPNOTSUPP) {
        Err(error) if error == EOPNOTSUPP => (),
        result => result?,
    }
    node.set_impure(match edit.instance.numbers().same_device() {
        true => Numbers::LookUp,
        false => Numbers::AsListed,
    });
    Ok(())
}

/// Takes the mark away from the directory that `node` stands for, in which nothing was found that it is for.
/// Only directories that are in upper alone lose it: nobody puts anything into one while somebody else reads
/// it, since both have it locked.
///
/// That nothing can be written is no error: the mark may be there in vain. (C: `ovl_cache_get_impure`.)
pub(super) fn clear(instance: &Instance, node: &Node) {
    if node.numbers() != Numbers::LookUp || !is_pure_upper(node) {
        return;
    }
    let Ok(writable) = instance.writable() else {
        return;
    };
    let Ok(upper) = writable.upper(node) else {
        return;
    };
    let name = Xattr::Impure.name(instance.namespace());
    if let Ok(access) = writable.access() {
        if let Err(error) = access.remove_xattr(upper, name) {
            pr_debug!("failed to remove the impure mark ({error:?})\n");
        }
    }
    node.set_pure();
}
