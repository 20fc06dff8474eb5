// SPDX-License-Identifier: GPL-2.0-only

//! Redirects: what a renamed directory of upper says about where lower layers have their part of it (X2).
//!
//! One that stays in its directory says what it was called. One that comes to another directory says
//! where it was, from the root of the overlay on, in the names that lower layers know: where a directory
//! on the way has a redirect itself, that counts and not its name.
//!
//! See `ovl_set_redirect` and `ovl_get_redirect` in [`fs/overlayfs/dir.c`](srctree/fs/overlayfs/dir.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    edit::Edit,
    fs::Overlay,
    xattr, //
};
use crate::{
    model::{
        names::{
            Namespace,
            Xattr, //
        },
        redirect::{
            Builder,
            Component,
            Progress,
            Redirect, //
        },
    },
    vfs::{
        dentry::Dentry,
        param,
        path::PathRef,
        AnyFs, //
    }, //
};

/// What to look for in the layers below, if `object` says so, which was found at `part` of what was looked
/// for.
///
/// # Errors
///
/// `EINVAL` if what it says is no redirect, `ENOMEM`, and what the filesystem says.
pub(super) fn follow(
    object: &PathRef<'_>,
    namespace: Namespace,
    part: &Component<'_>,
) -> Result<Option<KVec<u8>>> {
    let mut value = KVVec::new();
    let Some(value) = xattr::redirect(object, namespace, &mut value)? else {
        return Ok(None);
    };
    let redirect = Redirect::parse(value).map_err(|_| {
        pr_debug!("invalid redirect\n");
        EINVAL
    })?;
    let length = [part.before, value, part.after]
        .iter()
        .try_fold(0_usize, |sum, text| sum.checked_add(text.len()));
    let mut path = KVec::new();
    path.resize(length.ok_or(ENAMETOOLONG)?, 0, GFP_KERNEL)?;
    let length = redirect.apply(part, &mut path).ok_or(EIO)?.len();
    path.truncate(length);
    Ok(Some(path))
}

/// How far a directory moves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// It gets another name.
    InPlace,
    /// It comes to another directory.
    ToAnother,
}

/// Says at `upper` where lower layers have their part of the directory `dentry`, which is about to move.
///
/// The VFS lets no directory change its parent while one comes to another directory, so that those above
/// stay above.
///
/// # Errors
///
/// `EXDEV` if that cannot be said, so that the caller copies the directory instead; and what the filesystem
/// says.
pub(super) fn set(
    edit: &Edit<'_>,
    dentry: &Dentry<Overlay>,
    upper: &Dentry<AnyFs>,
    how: Move,
) -> Result {
    let mut buffer = KVVec::new();
    let namespace = edit.instance.namespace();
    let present = xattr::redirect(&edit.path(upper), namespace, &mut buffer)?;
    match (present, how) {
        (Some(_), Move::InPlace) | (Some([b'/', ..]), _) => return Ok(()),
        _ => (),
    }
    let value = match how {
        Move::InPlace => dentry.with_name(|name| {
            let mut value = KVec::new();
            value.extend_from_slice(name, GFP_KERNEL)?;
            Ok::<_, Error>(value)
        })?,
        Move::ToAnother => path_to(edit, dentry)?,
    };
    let set = edit.mark(upper, Xattr::Redirect, &value, EXDEV);
    set.map_err(|error| {
        pr_warn!("failed to set a redirect ({error:?})\n");
        EXDEV
    })
}

/// Where lower layers have their part of the directory `dentry`, from the root on.
///
/// # Errors
///
/// `EXDEV` if that is longer than a redirect may be, and what the filesystem says.
fn path_to(edit: &Edit<'_>, dentry: &Dentry<Overlay>) -> Result<KVec<u8>> {
    let mut buffer = KVec::new();
    buffer.resize(param::redirect_max().into(), 0, GFP_KERNEL)?;
    let mut path = Builder::new(&mut buffer);
    let mut current: ARef<Dentry<Overlay>> = dentry.into();
    loop {
        let parent = current.parent();
        if core::ptr::eq(&*parent, &*current) {
            break;
        }
        if current.with_name(|name| put_in_front(edit, &mut path, &current, name))?
            == Progress::Complete
        {
            break;
        }
        current = parent;
    }
    let mut value = KVec::new();
    value.extend_from_slice(path.path(), GFP_KERNEL)?;
    Ok(value)
}

/// Puts the directory's redirect in front of `path`, or else its `name`.
///
/// The name was read first. One that another task renames in its place gets the redirect before the name, so
/// that without a redirect by now the name that was read is what lower layers know.
fn put_in_front(
    edit: &Edit<'_>,
    path: &mut Builder<'_>,
    dentry: &Dentry<Overlay>,
    name: &[u8],
) -> Result<Progress> {
    let upper = dentry.inode().and_then(|inode| inode.node().upper());
    let upper = edit.path(upper.ok_or(EIO)?);
    let mut buffer = KVVec::new();
    let redirect = match xattr::redirect(&upper, edit.instance.namespace(), &mut buffer)? {
        Some(value) => Redirect::parse(value).map_err(|_| EXDEV)?.text(),
        None => name,
    };
    path.prepend(redirect).map_err(|_| EXDEV)
}
