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
    layer::Layers,
    number::NumberSpace, //
};
use crate::{
    model::{
        hash::Seed,
        names::Namespace,
        options::Options, //
    },
    vfs::{
        cred::Override,
        random, //
    }, //
};

/// The filesystem type. `ops` says what its callbacks are.
pub(crate) struct Overlay;

/// The paths that an overlay was mounted with, as the mounter wrote them.
pub(crate) struct Paths {
    /// The value of `lowerdir=`, escapes included.
    pub(crate) lowerdir: CString,
    /// The values of `upperdir=` and `workdir=`, if there is an upper layer.
    pub(crate) upper: Option<UpperPaths>,
}

/// The paths of the writable part.
pub(crate) struct UpperPaths {
    /// The value of `upperdir=`.
    pub(crate) upperdir: CString,
    /// The value of `workdir=`.
    pub(crate) workdir: CString,
}

/// A mounted overlay.
pub(crate) struct Instance {
    layers: Layers,
    paths: Paths,
    options: Options,
    mounter: ARef<Credential>,
    listings: Arc<ListingCache>,
    seed: Seed,
    numbers: NumberSpace,
    case: Case,
}

impl Instance {
    /// Puts an instance together.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        layers: Layers,
        paths: Paths,
        options: Options,
        mounter: ARef<Credential>,
    ) -> Result<Self> {
        let numbers = NumberSpace::new(options.xino, &layers);
        let case = Case::of(layers.top()?.root());
        Ok(Self {
            layers,
            paths,
            options,
            mounter,
            listings: ListingCache::new()?,
            seed: Seed::new(random::number(), random::number()),
            numbers,
            case,
        })
    }

    /// The layers.
    #[inline]
    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The paths that it was mounted with.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Where the overlay keeps its extended attributes.
    #[inline]
    pub(crate) fn namespace(&self) -> Namespace {
        Namespace::Trusted
    }

    /// The options that are in force.
    pub(crate) fn options(&self) -> &Options {
        &self.options
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

impl Drop for Instance {
    fn drop(&mut self) {
        self.listings.clear();
    }
}
