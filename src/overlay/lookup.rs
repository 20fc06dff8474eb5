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
    casefold::Case,
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
    number, origin,
    stack::{
        LowerObject,
        StackBuilder, //
    },
    xattr,
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
        lookup::Negative,
        superblock::{
            Found,
            SuperBlock, //
        },
        AnyFs, //
    }, //
};

/// What was found in the layers.
#[derive(Default)]
struct Finding {
    upper: Option<ARef<Dentry<AnyFs>>>,
    lower: StackBuilder,
    /// Only directories are merged: a file below one is hidden, and so is all below a file.
    is_directory: bool,
    /// A lower directory says that whiteouts in it may have the form of an attribute.
    whiteouts: WhiteoutForm,
}

/// Which whiteouts a directory may hold.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum WhiteoutForm {
    #[default]
    Node,
    Xattr,
}

impl Finding {
    /// The uppermost object, with its layer.
    fn top(&self) -> Option<(LayerId, &Dentry<AnyFs>)> {
        if let Some(upper) = &self.upper {
            return Some((LayerId::Upper, upper));
        }
        let lower = self.lower.as_slice().first()?;
        Some((lower.layer(), lower.dentry()?))
    }
}

/// Whether layers below have to be searched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Search {
    GoOn,
    Stop,
}

/// What one layer has under a name.
enum Hit {
    /// Nothing.
    Nothing,
    /// Something that hides the name in layers below, and is not to be seen itself.
    Hidden,
    /// An object.
    Object(ARef<Dentry<AnyFs>>, Search, WhiteoutForm),
}

/// Whether there is a layer below, in which the name could be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    Nothing,
    Something,
}

/// Where to look in one layer.
#[derive(Clone, Copy)]
struct Place<'a> {
    layer: &'a Layer,
    id: LayerId,
    directory: &'a Dentry<AnyFs>,
    below: Below,
}

/// Looks `name` up in the directory that `parent` is the node of. `None` is a name that does not exist.
///
/// # Errors
///
/// `ENAMETOOLONG`; `EREMOTE` for an object that cannot be stacked on; `EPERM` for one that stands for
/// another by a redirect or a metacopy, which are not followed; `EINVAL` and `EIO` for one that says so in a
/// way that means nothing; `ESTALE` if the layers have changed; and
/// what the layers' filesystems say.
pub(crate) fn lookup(
    sb: &SuperBlock<Overlay>,
    parent: &Node,
    name: &[u8],
) -> Result<Option<ARef<Inode<Overlay>>>> {
    let instance = sb.data();
    if u64::try_from(name.len())? > instance.layers().name_length() {
        return Err(ENAMETOOLONG);
    }
    let finding = search(instance, parent, name)?;
    if finding.top().is_none() {
        return Ok(None);
    }
    let lower = finding.lower.as_slice().first();
    let lower = lower.and_then(LowerObject::dentry);
    if let (Some(upper), Some(lower), true) = (&finding.upper, lower, finding.is_directory) {
        origin::mend(instance, parent, upper, lower)?;
    }
    inode(sb, finding).map(Some)
}

/// Searches the layers from the uppermost, until one decides.
fn search(instance: &Instance, parent: &Node, name: &[u8]) -> Result<Finding> {
    let mut finding = Finding::default();
    let mut directories = parent.all().peekable();
    while let Some((id, directory)) = directories.next() {
        let below = match directories.peek() {
            Some(_) => Below::Something,
            None => Below::Nothing,
        };
        let layer = instance.layers().get(id)?;
        let place = Place {
            layer,
            id,
            directory,
            below,
        };
        match search_layer(instance, &place, name, &finding)? {
            Hit::Nothing => (),
            Hit::Hidden => break,
            Hit::Object(object, search, form) => {
                if form == WhiteoutForm::Xattr {
                    finding.whiteouts = form;
                }
                finding.is_directory = object.can_lookup();
                match id {
                    LayerId::Upper => finding.upper = Some(object),
                    LayerId::Lower(_) => finding.lower.push(object, id)?,
                }
                if search == Search::Stop {
                    break;
                }
            }
        }
    }
    find_origin(instance, &mut finding)?;
    Ok(finding)
}

/// Adds what an upper file was copied from, which is not found by its name since upper hides it.
fn find_origin(instance: &Instance, finding: &mut Finding) -> Result {
    let (Some(upper), false) = (&finding.upper, finding.is_directory) else {
        return Ok(());
    };
    let layer = instance.layers().get(LayerId::Upper)?;
    if let Some((origin, id)) = origin::of_file(instance, &layer.path(upper))? {
        finding.lower.push(origin, id)?;
    }
    Ok(())
}

/// Searches one layer. (C: `ovl_lookup_single`.)
fn search_layer(
    instance: &Instance,
    place: &Place<'_>,
    name: &[u8],
    above: &Finding,
) -> Result<Hit> {
    let Place {
        layer,
        id,
        directory,
        below,
    } = *place;
    let case = instance.case();
    if Case::of(directory) != case {
        pr_debug!("a directory of a layer has changed how case counts\n");
        return Err(ESTALE);
    }
    // What upper does not have is remembered by the overlay's own dentry, and may be created any time.
    let negative = match id {
        LayerId::Upper => Negative::Drop,
        LayerId::Lower(_) => Negative::Keep,
    };
    let found = match layer.path(directory).lookup(name, negative) {
        Ok(found) => found,
        // Another layer may have longer names.
        Err(e) if e == ENAMETOOLONG => None,
        Err(e) => return Err(e),
    };
    let Some(object) = found else {
        return Ok(Hit::Nothing);
    };
    let is_directory = object.inode().is_some_and(Inode::is_directory);
    if is_directory && Case::of(&object) != case {
        pr_debug!("case does not count as it does in the directory above\n");
        return Err(EREMOTE);
    }
    if object.is_weird() || (id == LayerId::Upper && object.is_stacked()) {
        pr_debug!("an object of a layer cannot be stacked on\n");
        return Err(EREMOTE);
    }
    let path = layer.path(&object);
    let namespace = instance.namespace();
    if xattr::is_whiteout(&path, namespace) {
        return Ok(Hit::Hidden);
    }
    if !object.can_lookup() {
        if above.is_directory {
            return Ok(Hit::Hidden);
        }
        if object.is_regular() && xattr::is_metacopy(&path, namespace)? {
            pr_debug!("refusing to follow a metacopy\n");
            return Err(EPERM);
        }
        return Ok(Hit::Object(object, Search::Stop, WhiteoutForm::Node));
    }
    if object
        .inode()
        .is_some_and(|inode| instance.traps().catch(inode))
    {
        pr_debug!("a layer lies inside of another\n");
        return Err(ELOOP);
    }
    if below == Below::Nothing {
        return Ok(Hit::Object(object, Search::Stop, WhiteoutForm::Node));
    }
    let form = match (xattr::opaque(&path, namespace), id) {
        (Opaque::Yes, _) => return Ok(Hit::Object(object, Search::Stop, WhiteoutForm::Node)),
        (Opaque::XWhiteouts, LayerId::Lower(_)) => WhiteoutForm::Xattr,
        _ => WhiteoutForm::Node,
    };
    if xattr::has_redirect(&path, namespace)? {
        pr_debug!("refusing to follow a redirect\n");
        return Err(EPERM);
    }
    Ok(Hit::Object(object, Search::GoOn, form))
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
        _ if several || numbers == Numbers::LookUp => DirKind::Merged,
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
