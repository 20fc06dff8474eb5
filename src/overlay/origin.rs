// SPDX-License-Identifier: GPL-2.0-only

//! Where an object in upper was copied from: the lower object whose file handle it keeps.
//!
//! See X3 and L3 of the behaviour of overlayfs, `ovl_check_origin` and `ovl_decode_real_fh` in
//! [`fs/overlayfs/namei.c`](srctree/fs/overlayfs/namei.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    edit::Edit,
    fs::{
        Instance,
        Overlay,
        Writable, //
    },
    impure,
    layer::{
        FsId,
        Layer,
        LayerId, //
    },
    node::Node,
    probe::decodes_handles,
    xattr,
};
use crate::{
    model::{
        handle::{
            Handle,
            Side,
            Unusable,
            SIZE_MAX, //
        },
        names::{
            Namespace,
            Xattr, //
        },
        options::Uuid,
    },
    vfs::{
        cred::Capability,
        dentry::Dentry,
        handle::FileHandle,
        inode::{
            FileType,
            Inode, //
        },
        path::PathRef,
        AnyFs, //
    },
};

/// The lower object that `upper`, which is no directory, was copied from.
///
/// It may have no name, or one that is in none of the layers. That does not matter, since no more than its
/// inode number is used. (C: `ovl_check_origin`.)
///
/// # Errors
///
/// `ENOMEM`. An origin that cannot be found, for whatever reason, is none.
pub(super) fn of_file(
    instance: &Instance,
    upper: &PathRef<'_>,
) -> Result<Option<(ARef<Dentry<AnyFs>>, LayerId)>> {
    let mut long = KVVec::new();
    let mut short = [0; xattr::ORIGIN_MAX];
    let stored = match xattr::origin(upper, instance.namespace(), &mut short, &mut long) {
        Ok(Some(stored)) => stored,
        Ok(None) => return Ok(None),
        Err(e) if e == ENOMEM => return Err(e),
        Err(e) => {
            pr_debug!("failed to get origin ({e:?})\n");
            return Ok(None);
        }
    };
    // What was copied up from a filesystem without handles keeps an empty one.
    if stored.is_empty() {
        return Ok(None);
    }
    let handle = match Handle::parse(stored) {
        Ok(handle) => handle,
        Err(Unusable::Unknown) => return Ok(None),
        Err(Unusable::Invalid) => {
            pr_debug!("invalid origin\n");
            return Ok(None);
        }
    };
    let Some((origin, layer)) = find(instance, &handle)? else {
        return Ok(None);
    };
    let types = (upper.dentry.inode(), origin.inode());
    if !matches!(types, (Some(upper), Some(origin)) if upper.is_same_type(origin)) {
        pr_debug!("invalid origin, of another type\n");
        return Ok(None);
    }
    Ok(Some((origin, layer)))
}

/// Whether where `inode`, which is in upper, was copied from can still be told when the inode is forgotten.
pub(super) fn is_told(instance: &Instance, inode: &Inode<Overlay>) -> bool {
    if inode.is_directory() {
        // It is found by its name.
        return true;
    }
    let Some(origin) = inode.node().origin() else {
        return true;
    };
    // With `userxattr` only regular files and directories have attributes for that.
    let has_attributes =
        inode.file_type() == FileType::Regular || instance.namespace() == Namespace::Trusted;
    let is_kept = |writable: Writable<'_>| writable.abilities.xattrs;
    has_attributes
        // Where nothing can be copied, it was found by what upper tells.
        && instance.writable().map_or(true, is_kept)
        && instance.layers().get(origin.layer()).is_ok_and(|layer| {
            decodes_handles(layer.mount().superblock()) && is_told_apart(instance, layer)
        })
}

/// Whether stored handles of objects of the lower `layer` can be told from those of others.
fn is_told_apart(instance: &Instance, layer: &Layer) -> bool {
    layer.fs() == FsId::UPPER || instance.layers().is_told_apart(layer.fs())
}

/// Finds the object in the uppermost lower layer that is on the filesystem of the handle.
/// (C: `ovl_check_origin_fh`.)
fn find(
    instance: &Instance,
    handle: &Handle<'_>,
) -> Result<Option<(ARef<Dentry<AnyFs>>, LayerId)>> {
    if !Capability::DacReadSearch.is_held() {
        return Ok(None);
    }
    let Some(raw) = FileHandle::new(handle.kind, handle.fid) else {
        return Ok(None);
    };
    let layers = instance.layers();
    for (index, layer) in layers.lower().iter().enumerate() {
        if !is_told_apart(instance, layer) {
            continue;
        }
        let mount = layer.mount();
        if handle.uuid != stored_uuid(instance, mount.superblock().uuid()) {
            continue;
        }
        match mount.decode(&raw)? {
            Some(found) if !found.is_weird() => {
                return Ok(Some((found, LayerId::Lower(u16::try_from(index)?))));
            }
            _ => (),
        }
    }
    Ok(None)
}

/// What a copy is to keep of where it comes from: a handle, if that can be found again.
pub(super) struct Origin(Option<RealHandle>);

impl Origin {
    /// Asks the filesystem of `source`. No write access is held: another overlay may have to copy its object up
    /// before it can give out a handle. (C: `ovl_get_origin_fh`.)
    ///
    /// # Errors
    ///
    /// What the filesystem says.
    pub(super) fn of(instance: &Instance, source: &Inode<AnyFs>) -> Result<Self> {
        let decodes = decodes_handles(source.filesystem());
        let handle = decodes.then(|| RealHandle::of(instance, source));
        Ok(Self(handle.transpose()?))
    }

    /// Says on `upper` that it was copied from there. (C: `ovl_set_origin_fh`.)
    ///
    /// # Errors
    ///
    /// What upper's filesystem says. That it has no such attributes is no error.
    pub(super) fn store(&self, edit: &Edit<'_>, upper: &Dentry<AnyFs>) -> Result {
        let mut stored = [0; SIZE_MAX];
        let origin = match &self.0 {
            Some(handle) => {
                let handle = handle.as_handle(Side::Lower);
                handle.encode(&mut stored).ok_or(EIO)?
            }
            // That it was copied is worth knowing, also if nobody can tell from where.
            None => &[],
        };
        match edit.mark(upper, Xattr::Origin, origin, EOPNOTSUPP) {
            // Symlinks and device nodes cannot have the attributes of `userxattr`.
            Err(error) if error == EOPNOTSUPP || error == EPERM => Ok(()),
            result => result,
        }
    }
}

/// Gives an upper directory that is merged with a lower one by its name only, as is one that somebody has
/// put into the layer, the lower one as its origin, so that it shows the same number wherever it is renamed
/// to. `parent` is the node of the directory that it was found in. (C: `ovl_fix_origin`.)
///
/// # Errors
///
/// `ENOMEM`, `EINTR`. Where nothing can be written the directory is as good without.
pub(super) fn mend(
    instance: &Instance,
    parent: &Node,
    upper: &Dentry<AnyFs>,
    lower: &Dentry<AnyFs>,
) -> Result {
    let Ok(writable) = instance.writable() else {
        return Ok(());
    };
    let path = writable.layer.path(upper);
    if !writable.abilities.xattrs || xattr::has_origin(&path, instance.namespace()) {
        return Ok(());
    }
    let source = lower.inode().ok_or(ESTALE)?;
    let mend = || -> Result {
        let origin = Origin::of(instance, source)?;
        let edit = Edit::begin(instance)?;
        // The mark comes first: without it nobody would look for the origin.
        impure::mark(&edit, parent)?;
        origin.store(&edit, upper)
    };
    match mend() {
        Err(error) if error != ENOMEM && error != EINTR => {
            pr_debug!("failed to set the origin of a directory ({error:?})\n");
            Ok(())
        }
        result => result,
    }
}

/// The identity that handles of a filesystem with `uuid` are stored with.
fn stored_uuid(instance: &Instance, uuid: [u8; 16]) -> [u8; 16] {
    match instance.options().uuid {
        Uuid::Off => [0; 16],
        _ => uuid,
    }
}

/// The bytes that make up the handle of an object of a layer, before they are stored or given out.
pub(super) struct RealHandle {
    raw: FileHandle,
    uuid: [u8; 16],
}

impl RealHandle {
    /// Asks the layer's filesystem for the handle of `inode`. (C: `ovl_encode_real_fh`.)
    ///
    /// # Errors
    ///
    /// `EIO` if the filesystem makes none.
    pub(super) fn of(instance: &Instance, inode: &Inode<AnyFs>) -> Result<Self> {
        Ok(Self {
            raw: FileHandle::of(inode)?,
            uuid: stored_uuid(instance, inode.filesystem().uuid()),
        })
    }

    /// The handle, to be encoded for a place in the layer `side`.
    pub(super) fn as_handle(&self, side: Side) -> Handle<'_> {
        Handle {
            side,
            uuid: self.uuid,
            kind: self.raw.kind(),
            fid: self.raw.bytes(),
        }
    }
}
