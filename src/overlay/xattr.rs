// SPDX-License-Identifier: GPL-2.0-only

//! The overlay's own extended attributes on objects of the layers.

#![forbid(unsafe_code)]

pub(crate) mod view;

use kernel::prelude::*;

use crate::{
    model::{
        handle,
        kind::{
            self,
            Opaque,
            Whiteout, //
        },
        metacopy,
        names::{
            Namespace,
            Xattr, //
        },
    },
    vfs::{
        inode::Inode,
        path::PathRef, //
    }, //
};

/// Whether the attribute is there, whatever its value.
fn is_set(path: &PathRef<'_>, namespace: Namespace, xattr: Xattr) -> Result<bool> {
    let mut value = [0; 1];
    match path.xattr(xattr.name(namespace), &mut value) {
        Ok(value) => Ok(value.is_some()),
        // There is more of it than fits.
        Err(error) if error == ERANGE => Ok(true),
        Err(error) => Err(error),
    }
}

/// What the directory `path` says about the directories below it. (C: `ovl_get_opaquedir_val`.)
pub(super) fn opaque(path: &PathRef<'_>, namespace: Namespace) -> Opaque {
    let mut value = [0; 1];
    // An attribute that cannot be read counts as none, as does one that is too long.
    match path.xattr(Xattr::Opaque.name(namespace), &mut value) {
        Ok(Some(value)) => Opaque::parse(value),
        _ => Opaque::No,
    }
}

/// Whether `path` is a whiteout, in either form. (C: `ovl_path_is_whiteout`.)
pub(super) fn is_whiteout(path: &PathRef<'_>, namespace: Namespace) -> bool {
    let Some(inode) = path.dentry.inode() else {
        return false;
    };
    match kind::whiteout(inode.mode_bits(), inode.device(), inode.size()) {
        Whiteout::Yes => true,
        Whiteout::No => false,
        Whiteout::IfXattr => is_set(path, namespace, Xattr::Whiteout).unwrap_or(false),
    }
}

/// Whether `inode` is a whiteout of the form of a device node. (C: `ovl_is_whiteout`.)
pub(super) fn is_whiteout_node(inode: &Inode<crate::vfs::AnyFs>) -> bool {
    kind::whiteout(inode.mode_bits(), inode.device(), inode.size()) == Whiteout::Yes
}

/// Whether the directory `path` was copied up once, so that it may hold whiteouts though there is nothing
/// below it now. (C: `ovl_path_check_origin_xattr`.)
pub(super) fn has_origin(path: &PathRef<'_>, namespace: Namespace) -> bool {
    is_set(path, namespace, Xattr::Origin).unwrap_or(false)
}

/// Whether the upper directory `path` has something in it that was copied up. (C: `ovl_is_impuredir`.)
pub(super) fn is_impure(path: &PathRef<'_>, namespace: Namespace) -> bool {
    let mut value = [0; 1];
    matches!(
        path.xattr(Xattr::Impure.name(namespace), &mut value),
        Ok(Some(b"y"))
    )
}

/// The length of the longest origin that can be of use.
pub(super) const ORIGIN_MAX: usize = handle::SIZE_MAX;

/// The length of the longest value that an attribute can have (`XATTR_SIZE_MAX`).
const VALUE_MAX: usize = 65536;

/// The file handle of what the object `path` was copied from, as it is stored: in `short`, or in `long` if
/// there is something behind it.
///
/// # Errors
///
/// `ENOMEM`, and what the filesystem says.
pub(super) fn origin<'b>(
    path: &PathRef<'_>,
    namespace: Namespace,
    short: &'b mut [u8; ORIGIN_MAX],
    long: &'b mut KVVec<u8>,
) -> Result<Option<&'b [u8]>> {
    let name = Xattr::Origin.name(namespace);
    match path.xattr(name, short) {
        Err(e) if e == ERANGE => {
            long.resize(VALUE_MAX, 0, GFP_KERNEL)?;
            path.xattr(name, long)
        }
        result => result,
    }
}

/// Whether the file `path` has its data elsewhere. (C: `ovl_check_metacopy_xattr`.)
///
/// # Errors
///
/// `EIO` for a value that means nothing, and what the filesystem says.
pub(super) fn is_metacopy(path: &PathRef<'_>, namespace: Namespace) -> Result<bool> {
    let mut value = [0; metacopy::SIZE_MAX];
    match path.xattr(Xattr::Metacopy.name(namespace), &mut value) {
        Ok(None) => Ok(false),
        Ok(Some(value)) => match metacopy::check_size(value.len()) {
            Ok(()) => Ok(true),
            Err(invalid) => {
                pr_debug!("{}\n", invalid.reason());
                Err(EIO)
            }
        },
        // There is more of it than fits.
        Err(e) if e == ERANGE => Ok(true),
        // Such attributes of a file that the mounter may not read cannot be read either. That it can
        // still be looked up counts for more.
        Err(e) if e == EACCES && namespace == Namespace::User => Ok(false),
        Err(e) => Err(e),
    }
}

/// What `path` says about where it is found in the layers below (X2), as it is stored.
/// (C: `ovl_get_redirect_xattr`.)
///
/// # Errors
///
/// `ENOMEM`, and what the filesystem says.
pub(super) fn redirect<'b>(
    path: &PathRef<'_>,
    namespace: Namespace,
    buffer: &'b mut KVVec<u8>,
) -> Result<Option<&'b [u8]>> {
    let name = Xattr::Redirect.name(namespace);
    if path.xattr(name, &mut [])?.is_none() {
        return Ok(None);
    }
    match path.whole_xattr(name, buffer) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error == ENODATA => Ok(None),
        Err(error) => Err(error),
    }
}
