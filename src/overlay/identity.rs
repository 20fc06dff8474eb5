// SPDX-License-Identifier: GPL-2.0-only

//! The identity of an overlay, which `statfs(2)` makes its filesystem id of (M9, X7).
//!
//! It is kept in an attribute of the root of upper. See `ovl_init_uuid_xattr` in
//! [`fs/overlayfs/util.c`](srctree/fs/overlayfs/util.c).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::layer::Layer;
use crate::{
    model::{
        names::{
            Namespace,
            Xattr, //
        },
        options::{
            Options,
            Uuid, //
        },
    },
    vfs::{
        context::{
            Errno,
            Log, //
        },
        random, //
    },
};

/// An identity.
pub(crate) type Id = [u8; 16];

/// Finds the identity of the overlay that `upper` belongs to, or gives it one. `None` if it has none, as
/// `options` then say.
pub(super) fn establish(
    log: &Log<'_>,
    options: &mut Options,
    namespace: Namespace,
    upper: &Layer,
) -> Option<Id> {
    if !matches!(options.uuid, Uuid::On | Uuid::Auto) {
        return None;
    }
    match read_or_make(options, namespace, upper) {
        Ok(id) => id,
        Err(error) => {
            options.uuid = Uuid::Null;
            log.warn(fmt!(
                "uuid: failed to get or set the uuid of upperdir ({}), falling back to uuid=null",
                Errno(error)
            ));
            None
        }
    }
}

fn read_or_make(options: &mut Options, namespace: Namespace, upper: &Layer) -> Result<Option<Id>> {
    let name = Xattr::Uuid.name(namespace);
    let root = upper.path(upper.root());
    let mut id = Id::default();
    if let Some(found) = root.xattr(name, &mut id)? {
        let whole = found.len() == id.len();
        return if whole { Ok(Some(id)) } else { Err(EINVAL) };
    }
    if options.uuid == Uuid::Auto {
        // Only a new overlay gets an identity. An upper directory is marked as soon as something is
        // copied up into it.
        if is_used(&root, namespace)? {
            options.uuid = Uuid::Null;
            return Ok(None);
        }
        options.uuid = Uuid::On;
    }
    id = random::uuid();
    upper
        .mount()
        .want_write()?
        .set_xattr(upper.root(), name, &id)?;
    Ok(Some(id))
}

/// Whether something was copied up into the directory.
fn is_used(root: &crate::vfs::path::PathRef<'_>, namespace: Namespace) -> Result<bool> {
    let mut value = [0; 1];
    match root.xattr(Xattr::Impure.name(namespace), &mut value) {
        Ok(value) => Ok(value.is_some()),
        // It is longer than it should be, but it is there.
        Err(error) if error == ERANGE => Ok(true),
        Err(error) => Err(error),
    }
}
