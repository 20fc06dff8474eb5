// SPDX-License-Identifier: GPL-2.0-only

//! Changes of mode, owner, size and times: those of an object in upper, after it was copied up.
//!
//! See F14 and F18 of the behaviour of overlayfs, `ovl_setattr` and `ovl_update_time` in
//! [`fs/overlayfs/inode.c`](srctree/fs/overlayfs/inode.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    attr,
    copy_up::{
        copy_up,
        copy_up_changed, //
    },
    fs::Overlay,
    io, //
};
use crate::vfs::{
    dentry::Dentry,
    file::File,
    inode::Inode,
    setattr::{
        Change,
        TimeUpdate, //
    }, //
};

/// Carries out `change`. Whether the task may has been checked, and the inode is locked.
///
/// # Errors
///
/// Those of copying up, `ETXTBSY` if the size is to change and the file is being executed, `EOVERFLOW` if
/// upper has no number for the owner, and what its filesystem says.
pub(crate) fn setattr(dentry: &Dentry<Overlay>, change: &mut Change) -> Result {
    let inode = dentry.inode().ok_or(ESTALE)?;
    let by_file = change.file(inode);
    apply(dentry, inode, change)?;
    // A file that is opened to read it, and is emptied by that, is one of upper from the beginning.
    if let Some((file, files)) = by_file {
        io::latest(file, files)?;
    }
    Ok(())
}

/// Carries out `change` in upper.
fn apply(dentry: &Dentry<Overlay>, inode: &Inode<Overlay>, change: &mut Change) -> Result {
    match change.size() {
        Some(0) if inode.node().upper().is_none() && inode.size() != 0 => {
            // The copy has lost its data before upper's filesystem could see that.
            change.touch();
            if copy_up_changed(dentry, change)? {
                return Ok(());
            }
        }
        _ => copy_up(dentry)?,
    }
    let writable = inode.superblock().data().writable()?;
    let upper = writable.upper(inode.node())?;
    let _writer = match change.size() {
        Some(_) => Some(upper.inode().ok_or(ESTALE)?.begin_write()?),
        None => None,
    };
    writable.access()?.change(upper, change)?;
    attr::refresh(inode);
    Ok(())
}

/// Brings the time of the last access up to date. Lower layers do not keep any, and the other times are
/// those that upper's filesystem sets by itself.
///
/// No credentials matter to that.
///
/// # Errors
///
/// `EAGAIN` if the caller does not want to wait.
pub(crate) fn update_time(inode: &Inode<Overlay>, update: TimeUpdate) -> Result {
    let node = inode.node();
    let (Some(upper), true) = (node.upper(), update.is_of_access()) else {
        return Ok(());
    };
    if !update.may_block() {
        return Err(EAGAIN);
    }
    let layer = inode.superblock().data().layers().upper().ok_or(EIO)?;
    layer.path(upper).touch();
    inode.take_access_time_of(upper.inode().ok_or(EIO)?);
    Ok(())
}

/// Notes that `file` was read. (C: `ovl_file_accessed`.)
pub(crate) fn accessed(file: &File<Overlay>) {
    let inode = file.inode();
    let Some(upper) = inode.node().upper().and_then(Dentry::inode) else {
        return;
    };
    if file.keeps_access_time() {
        return;
    }
    // Whether the time is too old depends on the times of changes, which writing does not set in our inode.
    inode.take_change_times_of(upper);
    file.touch();
}
