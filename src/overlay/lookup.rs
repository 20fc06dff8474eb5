// SPDX-License-Identifier: GPL-2.0-only

//! Looking a name up in all layers of a directory, and the inode that stands for what was found.
//!
//! See L1 to L8 of the behaviour of overlayfs, `ovl_lookup_layers` and `ovl_get_inode` in
//! [`fs/overlayfs/namei.c`](srctree/fs/overlayfs/namei.c) and
//! [`inode.c`](srctree/fs/overlayfs/inode.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    fileattr,
    fs::{
        Instance,
        Overlay, //
    },
    layer::{
        Layer,
        LayerId, //
    },
    node::{
        DirKind,
        KeptBy,
        Node,
        Numbers,
        Objects, //
    },
    number,
    origin,
    search::{
        search,
        Finding,
        WhiteoutForm, //
    },
    stack::{
        LowerObject,
        StackBuilder, //
    },
    xattr, //
};
use crate::{
    model::kind::Opaque,
    vfs::{
        attr::StatRequest,
        dentry::Dentry,
        inode::{
            FileType,
            Inode, //
        },
        superblock::{
            Found,
            SuperBlock, //
        },
        AnyFs, //
    }, //
};

/// What a name stands for.
pub(crate) struct Named {
    /// `None` is a name that does not exist.
    pub(crate) inode: Option<ARef<Inode<Overlay>>>,
    /// Whether upper has the name, be it for a whiteout. The object may be there by other names alone.
    pub(crate) is_named_in_upper: bool,
}

/// Looks `name` up in the directory that `parent` is the node of.
///
/// # Errors
///
/// `ENAMETOOLONG`; `EREMOTE` for an object that cannot be stacked on; `EPERM` for one that stands for
/// another by a metacopy, or by a redirect that is not to be followed; `EINVAL` and `EIO` for one that
/// says so in a way that means nothing; `ESTALE` if the layers have changed; and what the layers'
/// filesystems say.
pub(crate) fn lookup(sb: &SuperBlock<Overlay>, parent: &Node, name: &[u8]) -> Result<Named> {
    let instance = sb.data();
    if u64::try_from(name.len())? > instance.layers().name_length() {
        return Err(ENAMETOOLONG);
    }
    let finding = search(instance, parent, name)?;
    if finding.top().is_none() {
        return Ok(Named {
            inode: None,
            is_named_in_upper: finding.is_covered,
        });
    }
    let lower = finding.lower.as_slice().first();
    let lower = lower.and_then(LowerObject::dentry);
    if let (Some(upper), Some(lower), true) = (&finding.upper, lower, finding.is_directory) {
        origin::mend(instance, parent, upper, lower)?;
    }
    Ok(Named {
        is_named_in_upper: finding.upper.is_some(),
        inode: Some(inode(sb, finding)?),
    })
}

/// The object whose address identifies an inode, so that all names of one file have one inode.
#[derive(Clone, Copy)]
enum Identity<'a> {
    /// The lower one, whether it has been copied up or not.
    Lower(&'a Inode<AnyFs>),
    /// The upper one.
    Upper(&'a Inode<AnyFs>),
    /// Each name needs an inode of its own.
    None,
}

/// What identifies the inode. (C: `ovl_hash_bylower`.)
fn identity<'a>(instance: &Instance, finding: &'a Finding) -> Identity<'a> {
    let upper = finding.upper.as_ref().and_then(|upper| upper.inode());
    let lower = finding.lower.as_slice().first();
    let lower = lower.and_then(LowerObject::dentry).and_then(Dentry::inode);
    let is_broken = |lower: &Inode<AnyFs>| {
        // A hard link in a lower layer is broken when it is copied up.
        instance.layers().upper().is_some() && !lower.is_directory() && lower.links() > 1
    };
    match (upper, lower) {
        (_, Some(lower)) if !is_broken(lower) => Identity::Lower(lower),
        (Some(upper), _) => Identity::Upper(upper),
        (None, _) => Identity::None,
    }
}

/// The inode that stands for what was found. (C: `ovl_get_inode`.)
fn inode(sb: &SuperBlock<Overlay>, finding: Finding) -> Result<ARef<Inode<Overlay>>> {
    let instance = sb.data();
    let identity = identity(instance, &finding);
    let new = match identity {
        Identity::None => sb.anonymous_inode()?,
        Identity::Lower(key) | Identity::Upper(key) => match sb.inode_for(key)? {
            Found::New(new) => new,
            Found::Existing(inode) => {
                let lower = finding.lower.as_slice().first();
                let fits = inode.node().fits(
                    inode.is_directory(),
                    finding.upper.as_deref(),
                    lower.and_then(LowerObject::dentry),
                );
                return if fits { Ok(inode) } else { Err(ESTALE) };
            }
        },
    };
    let (id, real) = finding.top().ok_or(EIO)?;
    let layer = instance.layers().get(id)?;
    let real: ARef<_> = real.into();
    let (number, kept_by) = match identity {
        Identity::Lower(key) => {
            let lower = finding.lower.as_slice().first().ok_or(EIO)?;
            let fs = instance.layers().get(lower.layer())?.fs();
            (instance.numbers().of_new_inode(key, fs), KeptBy::Lower)
        }
        Identity::Upper(_) | Identity::None => {
            let inode = real.inode().ok_or(ESTALE)?;
            let number = instance.numbers().of_new_inode(inode, layer.fs());
            (number, KeptBy::Other)
        }
    };
    let (kind, numbers) = dir_kind(instance, layer, &finding, &real);
    if id == LayerId::Upper {
        fileattr::protect(&new, &layer.path(&real), instance.namespace());
    }
    let objects = Objects::new(finding.upper, finding.lower.finish(), kind, numbers);
    new.node().set(objects.kept_by(kept_by));
    new.finish_like(&layer.path(&real), number)
}

/// The inode number that `stat(2)` shows for `name` in the directory that `parent` is the node of. `None`
/// is a name that does not exist.
///
/// # Errors
///
/// As [`lookup`].
pub(super) fn listed_number(
    instance: &Instance,
    parent: &Node,
    name: &[u8],
) -> Result<Option<u64>> {
    let finding = search(instance, parent, name)?;
    let Some((id, top)) = finding.top() else {
        return Ok(None);
    };
    let layer = instance.layers().get(id)?;
    let own = number::of_object(&layer.path(top))?;
    let origin = match identity(instance, &finding) {
        Identity::Lower(_) => finding.lower.as_slice().first(),
        Identity::Upper(_) | Identity::None => None,
    };
    let (number, fs) = match id {
        LayerId::Lower(_) => (own, layer.fs()),
        LayerId::Upper => number::of_upper(
            instance,
            finding.is_directory,
            own,
            origin,
            StatRequest::NUMBER,
        )?,
    };
    Ok(Some(instance.numbers().listed(number, fs)))
}

/// Whether something in the directory `upper` shows another number than upper lists. Where numbers are not
/// unique as they are, they cannot agree anyway. (C: `ovl_is_impuredir`.)
fn numbers(instance: &Instance, layer: &Layer, upper: Option<&Dentry<AnyFs>>) -> Numbers {
    match upper {
        Some(upper)
            if instance.numbers().same_device()
                && xattr::is_impure(&layer.path(upper), instance.namespace()) =>
        {
            Numbers::LookUp
        }
        _ => Numbers::AsListed,
    }
}

/// How names, and their numbers, will have to be found, if what was found is a directory.
fn dir_kind(
    instance: &Instance,
    layer: &Layer,
    finding: &Finding,
    top: &Dentry<AnyFs>,
) -> (DirKind, Numbers) {
    let is_directory = top
        .inode()
        .is_some_and(|i| i.file_type() == FileType::Directory);
    if !is_directory {
        return (DirKind::Plain, Numbers::AsListed);
    }
    let numbers = numbers(instance, layer, finding.upper.as_deref());
    let lower = finding.lower.as_slice().len();
    let several = lower > 1 || (lower == 1 && finding.upper.is_some());
    let kind = match finding.whiteouts {
        WhiteoutForm::Xattr => DirKind::MergedWithXattrs,
        _ if several => DirKind::Merged,
        _ if xattr::has_origin(&layer.path(top), instance.namespace()) => DirKind::Merged,
        _ => DirKind::Plain,
    };
    (kind, numbers)
}

/// The inode of the root directory: all layers' roots, merged.
///
/// # Errors
///
/// `ENOMEM`, `ESTALE`.
pub(super) fn root(sb: &SuperBlock<Overlay>) -> Result<ARef<Inode<Overlay>>> {
    let instance = sb.data();
    let layers = instance.layers();
    let upper: Option<ARef<_>> = layers.upper().map(|layer| layer.root().into());
    let mut lower = StackBuilder::default();
    let mut kind = DirKind::Merged;
    let last = layers.lower().len().saturating_sub(1);
    for (index, layer) in layers.lower().iter().enumerate() {
        let id = LayerId::Lower(u16::try_from(index)?);
        lower.push(layer.root().into(), id)?;
        let root = layer.path(layer.root());
        let marked = xattr::opaque(&root, instance.namespace()) == Opaque::XWhiteouts;
        if marked && index < last {
            kind = DirKind::MergedWithXattrs;
        }
    }
    let top = layers.top()?;
    let numbers = numbers(instance, top, upper.as_deref());
    let new = sb.anonymous_inode()?;
    let number = instance
        .numbers()
        .of_new_inode(top.root().inode().ok_or(ESTALE)?, top.fs());
    new.node()
        .set(Objects::new(upper, lower.finish(), kind, numbers));
    new.finish_like(&top.path(top.root()), number)
}
