// SPDX-License-Identifier: GPL-2.0-only

//! Searching the layers for what stands under a name.
//!
//! Each layer is searched in turn, until one decides. A directory can say that what is merged with it has
//! another name in the layers below, or is found there by a path from the root (X2).
//!
//! See L1 to L4 of the behaviour of overlayfs, `ovl_lookup_layers`, `ovl_lookup_layer` and
//! `ovl_lookup_single` in [`fs/overlayfs/namei.c`](srctree/fs/overlayfs/namei.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    casefold::Case,
    fs::Instance,
    layer::{
        Layer,
        LayerId, //
    },
    node::Node,
    origin,
    redirect,
    stack::StackBuilder,
    xattr, //
};
use crate::{
    model::{
        kind::Opaque,
        redirect::{
            Component,
            Walk, //
        },
    },
    vfs::{
        dentry::Dentry,
        inode::Inode,
        lookup::Negative,
        path::PathRef,
        AnyFs, //
    }, //
};

/// What was found in the layers.
#[derive(Default)]
pub(super) struct Finding {
    pub(super) upper: Option<ARef<Dentry<AnyFs>>>,
    pub(super) lower: StackBuilder,
    /// Only directories are merged: a file below one is hidden, and so is all below a file.
    pub(super) is_directory: bool,
    /// A lower directory says that whiteouts in it may have the form of an attribute.
    pub(super) whiteouts: WhiteoutForm,
    /// Upper has a whiteout under the name.
    pub(super) is_covered: bool,
}

/// Which whiteouts a directory may hold.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum WhiteoutForm {
    #[default]
    Node,
    Xattr,
}

impl Finding {
    /// The uppermost object, with its layer.
    pub(super) fn top(&self) -> Option<(LayerId, &Dentry<AnyFs>)> {
        if let Some(upper) = &self.upper {
            return Some((LayerId::Upper, upper));
        }
        let lower = self.lower.as_slice().first()?;
        Some((lower.layer(), lower.dentry()?))
    }
}

/// Searches the layers of the directory that `parent` is the node of for `name`.
///
/// # Errors
///
/// `EREMOTE` for an object that cannot be stacked on; `EPERM` for one that stands for another by a redirect
/// or a metacopy, which are not followed; `EINVAL` for a redirect that is none; `ESTALE` if the layers have
/// changed; and what the layers' filesystems say.
pub(super) fn search(instance: &Instance, parent: &Node, name: &[u8]) -> Result<Finding> {
    let mut search = Search {
        instance,
        finding: Finding::default(),
        name,
        redirect: None,
        next: Next::Search,
    };
    search.layers(parent)?;
    let mut finding = search.finding;
    add_origin(instance, &mut finding)?;
    Ok(finding)
}

/// Adds what an upper file was copied from, which is not found by its name since upper hides it.
fn add_origin(instance: &Instance, finding: &mut Finding) -> Result {
    let (Some(upper), false) = (&finding.upper, finding.is_directory) else {
        return Ok(());
    };
    let layer = instance.layers().get(LayerId::Upper)?;
    if let Some((origin, id)) = origin::of_file(instance, &layer.path(upper))? {
        finding.lower.push(origin, id)?;
    }
    Ok(())
}

/// Whether the next layer below has to be searched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Search,
    Stop,
}

/// Whether there is a layer below, in which something could be found.
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

/// What one name in one directory leads to.
#[derive(Default)]
struct Step {
    object: Option<ARef<Dentry<AnyFs>>>,
    /// What to look for in the layers below.
    redirect: Option<KVec<u8>>,
}

impl Step {
    fn to(object: ARef<Dentry<AnyFs>>) -> Self {
        Self {
            object: Some(object),
            redirect: None,
        }
    }
}

/// A search under way.
struct Search<'a> {
    instance: &'a Instance,
    finding: Finding,
    /// What is looked for in the directories of the parent.
    name: &'a [u8],
    /// What is looked for instead from here on: another name, or a path in the roots of the layers.
    redirect: Option<KVec<u8>>,
    next: Next,
}

impl Search<'_> {
    /// Searches from the uppermost layer on.
    fn layers(&mut self, parent: &Node) -> Result {
        let layers = self.instance.layers();
        let mut lower = parent.lower().iter();
        if let Some(directory) = parent.upper() {
            let last = !self.instance.follows_redirects() && lower.as_slice().is_empty();
            let found = self.layer(LayerId::Upper, directory, last)?;
            self.finding.upper = found;
        }
        let mut root = 0;
        while self.next == Next::Search && !self.has_path() {
            let Some(directory) = lower.next() else {
                return Ok(());
            };
            let (id, directory) = (directory.layer(), directory.dentry().ok_or(EIO)?);
            let LayerId::Lower(index) = id else {
                return Err(EIO);
            };
            root = usize::from(index).checked_add(1).ok_or(EIO)?;
            let last = match self.instance.follows_redirects() {
                // What is found may lead to a layer in which the parent has no part.
                true => layers.lower().len() == root,
                false => lower.as_slice().is_empty(),
            };
            self.lower(id, directory, last)?;
        }
        // A path is looked for in all layers that have not been searched.
        for (index, layer) in layers.lower().iter().enumerate().skip(root) {
            if self.next == Next::Stop {
                break;
            }
            let id = LayerId::Lower(u16::try_from(index)?);
            let last = index.checked_add(1) == Some(layers.lower().len());
            self.lower(id, layer.root(), last)?;
        }
        Ok(())
    }

    fn has_path(&self) -> bool {
        let path = self.redirect.as_ref();
        path.is_some_and(|path| path.first() == Some(&b'/'))
    }

    fn lower(&mut self, id: LayerId, directory: &Dentry<AnyFs>, last: bool) -> Result {
        match self.layer(id, directory, last)? {
            Some(object) => self.finding.lower.push(object, id),
            None => Ok(()),
        }
    }

    /// Searches one layer. (C: `ovl_lookup_layer`.)
    fn layer(
        &mut self,
        id: LayerId,
        directory: &Dentry<AnyFs>,
        last: bool,
    ) -> Result<Option<ARef<Dentry<AnyFs>>>> {
        let root = Place {
            layer: self.instance.layers().get(id)?,
            id,
            directory,
            below: match last {
                true => Below::Nothing,
                false => Below::Something,
            },
        };
        // Taken out while it is walked: something on the way may replace it.
        let Some(mut path) = self.redirect.take() else {
            let step = self.step(&root, &whole(self.name))?;
            self.redirect = step.redirect;
            return Ok(step.object);
        };
        let mut walk = Walk::new(&path);
        let mut above: Option<ARef<Dentry<AnyFs>>> = None;
        loop {
            let part = walk.step(&path).unwrap_or(whole(&path));
            let is_end = part.after.is_empty();
            let place = Place {
                directory: above.as_deref().unwrap_or(directory),
                ..root
            };
            let step = self.step(&place, &part)?;
            path = step.redirect.unwrap_or(path);
            match step.object {
                Some(object) if !is_end => above = Some(object),
                found => {
                    self.redirect = Some(path);
                    return Ok(found);
                }
            }
        }
    }

    /// Looks one name up in one directory. If what is found there says that the layers below have it
    /// elsewhere, returns what to look for. (C: `ovl_lookup_single`.)
    fn step(&mut self, place: &Place<'_>, part: &Component<'_>) -> Result<Step> {
        let Some(object) = self.find(place, part.name)? else {
            return Ok(Step::default());
        };
        let path = place.layer.path(&object);
        let namespace = self.instance.namespace();
        let is_end = part.after.is_empty();
        if xattr::is_whiteout(&path, namespace) {
            self.finding.is_covered |= place.id == LayerId::Upper;
            self.next = Next::Stop;
            return Ok(Step::default());
        }
        if !object.can_lookup() {
            self.next = Next::Stop;
            if self.finding.is_directory || !is_end {
                return Ok(Step::default());
            }
            if object.is_regular() && xattr::is_metacopy(&path, namespace)? {
                if place.below == Below::Something {
                    self.redirected(&path, part)?;
                }
                pr_debug!("refusing to follow a metacopy\n");
                return Err(EPERM);
            }
            return Ok(Step::to(object));
        }
        let inode = object.inode();
        if inode.is_some_and(|inode| self.instance.traps().catch(inode)) {
            pr_debug!("a layer lies inside of another\n");
            return Err(ELOOP);
        }
        self.finding.is_directory |= is_end;
        if place.below == Below::Nothing {
            return Ok(Step::to(object));
        }
        match xattr::opaque(&path, namespace) {
            Opaque::Yes => {
                self.next = Next::Stop;
                return Ok(Step::to(object));
            }
            Opaque::XWhiteouts if is_end && place.id != LayerId::Upper => {
                self.finding.whiteouts = WhiteoutForm::Xattr;
            }
            _ => (),
        }
        let redirect = self.redirected(&path, part)?;
        Ok(Step {
            redirect,
            ..Step::to(object)
        })
    }

    /// What stands under `name` in one directory, if that can be stacked on.
    fn find(&self, place: &Place<'_>, name: &[u8]) -> Result<Option<ARef<Dentry<AnyFs>>>> {
        let case = self.instance.case();
        if Case::of(place.directory) != case {
            pr_debug!("a directory of a layer has changed how case counts\n");
            return Err(ESTALE);
        }
        // What upper does not have is remembered by the overlay's own dentry, and may be created any time.
        let negative = match place.id {
            LayerId::Upper => Negative::Drop,
            LayerId::Lower(_) => Negative::Keep,
        };
        let found = match place.layer.path(place.directory).lookup(name, negative) {
            Ok(found) => found,
            // Another layer may have longer names, or still have the directory.
            Err(e) if e == ENAMETOOLONG || e == ENOENT => None,
            Err(e) => return Err(e),
        };
        let Some(object) = found else {
            return Ok(None);
        };
        let is_directory = object.inode().is_some_and(Inode::is_directory);
        if is_directory && Case::of(&object) != case {
            pr_debug!("case does not count as it does in the directory above\n");
            return Err(EREMOTE);
        }
        if object.is_weird() || (place.id == LayerId::Upper && object.is_stacked()) {
            pr_debug!("an object of a layer cannot be stacked on\n");
            return Err(EREMOTE);
        }
        Ok(Some(object))
    }

    /// What to look for in the layers below, if the object at `part` of what was looked for so far says so.
    /// (C: `ovl_check_redirect`.)
    fn redirected(&mut self, path: &PathRef<'_>, part: &Component<'_>) -> Result<Option<KVec<u8>>> {
        let Some(new) = redirect::follow(path, self.instance.namespace(), part)? else {
            return Ok(None);
        };
        // It is a way into lower layers without a check of permissions, for whoever made upper.
        if !self.instance.follows_redirects() {
            pr_debug!("refusing to follow a redirect\n");
            return Err(EPERM);
        }
        if new.first() == Some(&b'/') {
            // An opaque directory on the way here hides what is merged with it, and not what is
            // somewhere else.
            self.next = Next::Search;
        }
        Ok(Some(new))
    }
}

/// The name of an object as all of what is looked for.
fn whole(name: &[u8]) -> Component<'_> {
    Component {
        before: &[],
        name,
        after: &[],
    }
}
