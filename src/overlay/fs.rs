// SPDX-License-Identifier: GPL-2.0-only

//! An instance of the filesystem: what a mounted overlay owns.

#![forbid(unsafe_code)]

use kernel::{
    cred::Credential,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    cache::ListingCache,
    casefold::Case,
    identity::Id,
    layer::{
        Layer,
        Layers, //
    },
    node::Node,
    number::NumberSpace,
    options::defaults,
    probe::Abilities,
    trap::Traps,
    whiteout::SharedWhiteout,
    workdir::WorkDir, //
};
use crate::{
    model::{
        hash::Seed,
        names::Namespace,
        options::{
            Filesystems,
            Options,
            RedirectDir, //
        },
    },
    vfs::{
        cred::Override,
        dentry::Dentry,
        dirop::WriteAccess,
        exclusive::ExclusiveUse,
        features::ErrorCursor,
        random,
        seq::OptionWriter,
        AnyFs, //
    }, //
};

/// The filesystem type. `ops` says what its callbacks are.
pub(crate) struct Overlay;

/// The paths that an overlay was mounted with, as the mounter wrote them.
pub(crate) struct Paths {
    /// The lower layers.
    pub(crate) lower: LowerPaths,
    /// The values of `upperdir=` and `workdir=`, if there is an upper layer.
    pub(crate) upper: Option<UpperPaths>,
}

/// The paths of the lower layers.
pub(crate) enum LowerPaths {
    /// The value of `lowerdir=`, escapes included.
    List(CString),
    /// The values of each `lowerdir+=`.
    Each(KVVec<CString>),
}

/// The paths of the writable part.
pub(crate) struct UpperPaths {
    /// The value of `upperdir=`.
    pub(crate) upperdir: CString,
    /// The value of `workdir=`.
    pub(crate) workdir: CString,
}

/// What an overlay is made of.
pub(super) struct Parts {
    pub(super) work: Option<WorkDir>,
    pub(super) upper_use: Option<ExclusiveUse>,
    pub(super) traps: Traps,
    pub(super) layers: Layers,
    pub(super) options: Options,
    pub(super) id: Option<Id>,
}

/// A mounted overlay.
///
/// The mounts in `layers` keep the filesystems below alive, so that what else holds on to those comes
/// before them, to be dropped first.
pub(crate) struct Instance {
    work: Option<WorkDir>,
    whiteout: Pin<KBox<SharedWhiteout>>,
    /// Upper, which no other overlay may use; `None` if another one does, or there is no upper.
    _upper_use: Option<ExclusiveUse>,
    traps: Traps,
    layers: Layers,
    options: Options,
    id: Option<Id>,
    paths: Paths,
    mounter: ARef<Credential>,
    listings: Arc<ListingCache>,
    seed: Seed,
    numbers: NumberSpace,
    case: Case,
    /// Where the record of upper's errors in writing stood when the overlay was mounted.
    errors: Option<ErrorCursor>,
}

impl Instance {
    /// Puts an instance together.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(parts: Parts, paths: Paths, mounter: ARef<Credential>) -> Result<Self> {
        let numbers = NumberSpace::new(parts.options.xino, &parts.layers);
        let case = Case::of(parts.layers.top()?.root());
        let upper = parts.layers.upper();
        let errors = upper.map(|layer| layer.mount().superblock().error_cursor());
        Ok(Self {
            work: parts.work,
            whiteout: SharedWhiteout::new()?,
            _upper_use: parts.upper_use,
            traps: parts.traps,
            layers: parts.layers,
            options: parts.options,
            id: parts.id,
            paths,
            mounter,
            listings: ListingCache::new()?,
            seed: Seed::new(random::number(), random::number()),
            numbers,
            case,
            errors,
        })
    }

    /// What it takes to change something.
    ///
    /// # Errors
    ///
    /// `EROFS` if there is no upper layer, or nothing can be prepared for it.
    #[inline]
    pub(crate) fn writable(&self) -> Result<Writable<'_>> {
        let prepared = self.work.as_ref().and_then(WorkDir::prepared);
        let prepared = prepared.ok_or(EROFS)?;
        Ok(Writable {
            layer: self.layers.upper().ok_or(EROFS)?,
            work: &prepared.dir,
            abilities: &prepared.abilities,
        })
    }

    /// Checks that nothing failed to be written to upper since the overlay was mounted.
    ///
    /// # Errors
    ///
    /// The last error.
    pub(super) fn check_upper_errors(&self) -> Result {
        match (self.layers.upper(), self.errors) {
            (Some(upper), Some(since)) => upper.mount().superblock().check_errors_since(since),
            _ => Ok(()),
        }
    }

    /// Whether redirects are followed.
    pub(super) fn follows_redirects(&self) -> bool {
        self.options.redirect_dir != RedirectDir::NoFollow
    }

    /// Whether redirects are made, so that merged directories can be renamed.
    pub(super) fn makes_redirects(&self) -> bool {
        self.options.redirect_dir == RedirectDir::On
    }

    /// The whiteout that all others are names of.
    pub(super) fn whiteout(&self) -> &SharedWhiteout {
        &self.whiteout
    }

    /// The layers.
    #[inline]
    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The scalar options, as they turned out.
    #[inline]
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Where the overlay's own attributes are kept.
    #[inline]
    pub(crate) fn namespace(&self) -> Namespace {
        if self.options().userxattr {
            Namespace::User
        } else {
            Namespace::Trusted
        }
    }

    /// The directories that may not turn up inside of a layer.
    #[inline]
    pub(super) fn traps(&self) -> &Traps {
        &self.traps
    }

    /// The identity, if it has one.
    pub(super) fn id(&self) -> Option<&Id> {
        self.id.as_ref()
    }

    /// Prints the options (P1, P2). (C: `ovl_show_options`.)
    pub(crate) fn show(&self, to: &OptionWriter) {
        match &self.paths.lower {
            LowerPaths::List(list) => to.option(c"lowerdir", list),
            LowerPaths::Each(names) => names.iter().for_each(|name| to.option(c"lowerdir+", name)),
        }
        if let Some(upper) = &self.paths.upper {
            to.option(c"upperdir", &upper.upperdir);
            to.option(c"workdir", &upper.workdir);
        }
        let filesystems = if self.numbers.is_one_filesystem() {
            Filesystems::One
        } else {
            Filesystems::Several
        };
        let mut print = |name, value| to.word(name, value);
        self.options.show(&defaults(), filesystems, &mut print);
    }

    /// The inode numbers.
    #[inline]
    pub(crate) fn numbers(&self) -> &NumberSpace {
        &self.numbers
    }

    /// Whether case counts in names.
    #[inline]
    pub(super) fn case(&self) -> Case {
        self.case
    }

    /// Checks that case counts in a new directory as it does in all others.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it has inherited another way.
    pub(super) fn check_case(&self, dir: &Dentry<AnyFs>) -> Result {
        if Case::of(dir) == self.case {
            return Ok(());
        }
        pr_debug!("a new directory inherits another way how case counts\n");
        Err(EINVAL)
    }

    /// The credentials under which layers are touched.
    #[inline]
    pub(crate) fn mounter(&self) -> &Credential {
        &self.mounter
    }

    /// Puts the mounter's credentials in force.
    #[inline]
    pub(crate) fn as_mounter(&self) -> Override<'_> {
        Override::enter(&self.mounter)
    }

    /// The listings that are kept.
    pub(super) fn listings(&self) -> &Arc<ListingCache> {
        &self.listings
    }

    /// How much memory could be freed, in pages.
    pub(crate) fn reclaimable(&self) -> usize {
        self.listings.pages()
    }

    /// Frees at least `pages` if that is possible. Returns how many were freed.
    pub(crate) fn reclaim(&self, pages: usize) -> usize {
        self.listings.shrink(pages)
    }

    /// The key of the hash of names in listings.
    pub(super) fn seed(&self) -> Seed {
        self.seed
    }
}

/// The part of an overlay that changes are made in.
#[derive(Clone, Copy)]
pub(crate) struct Writable<'a> {
    /// The upper layer.
    pub(super) layer: &'a Layer,
    /// Where objects are prepared before they appear in the upper layer. On the same mount.
    pub(super) work: &'a Dentry<AnyFs>,
    /// What the filesystem of both can do.
    pub(super) abilities: &'a Abilities,
}

impl<'a> Writable<'a> {
    /// Asks for the right to change the upper layer. No data is to be copied while it is held.
    ///
    /// # Errors
    ///
    /// `EROFS` if its filesystem has become read-only.
    pub(super) fn access(&self) -> Result<WriteAccess<'a>> {
        self.layer.mount().want_write()
    }

    /// The object that `node` stands for in the upper layer.
    ///
    /// # Errors
    ///
    /// `EIO` if it was not copied up, which should have been seen to.
    pub(super) fn upper<'n>(&self, node: &'n Node) -> Result<&'n Dentry<AnyFs>> {
        node.upper().ok_or(EIO)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.listings.clear();
    }
}
