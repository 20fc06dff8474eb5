// SPDX-License-Identifier: GPL-2.0-only

//! The mark of directories in upper in which something shows the number of where it was copied from (X4).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    fs::{
        Instance,
        Writable, //
    },
    node::{
        Node,
        Numbers, //
    },
};
use crate::{
    model::names::Xattr,
    vfs::dirop::WriteAccess, //
};

/// Marks the directory that `node` stands for, which is in upper, before something that was copied up
/// comes into it. (C: `ovl_set_impure`.)
///
/// # Errors
///
/// `EIO` if it is not in upper, and what upper's filesystem says. That it has no attributes is no error.
pub(super) fn mark(
    instance: &Instance,
    writable: &Writable<'_>,
    access: &WriteAccess<'_>,
    node: &Node,
) -> Result {
    if node.is_impure() || !writable.abilities.xattrs {
        return Ok(());
    }
    let name = Xattr::Impure.name(instance.namespace());
    match access.set_xattr(writable.upper(node)?, name, b"y") {
        Err(error) if error == EOPNOTSUPP => return Ok(()),
        result => result?,
    }
    node.set_impure(match instance.numbers().same_device() {
        true => Numbers::LookUp,
        false => Numbers::AsListed,
    });
    Ok(())
}
