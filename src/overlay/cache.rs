// SPDX-License-Identifier: GPL-2.0-only

//! Listings that are kept between two openings of a directory, until memory is short.
//!
//! Each inode of a directory that was read has a place for its listing. The places of one instance are
//! also known to the instance, which empties them when the VFS asks its superblock to shrink: those that
//! were not used since the last time first.
//!
//! When a name comes or goes, the listing is patched, in place as long as nobody reads it. Who does goes on
//! with what there was.

#![forbid(unsafe_code)]

use core::ops::Deref;
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        new_mutex,
        Arc,
        Mutex,
        SetOnce,
        UniqueArc, //
    },
};

use super::readdir::Listing;
use crate::vfs::lock;

/// How many places of dead inodes are put up with before they are cleared away.
const SLACK: usize = 64;

/// A listing, and how many there are who read it.
struct Shared {
    listing: Listing,
    /// Changed without any order: what nobody reads is still only patched by who owns it alone.
    readers: Atomic<usize>,
}

impl Shared {
    fn new(listing: Listing) -> Self {
        Self {
            listing,
            readers: Atomic::new(0),
        }
    }

    /// Makes it one that nobody else knows: itself if possible, or else a copy. `None` if there is no
    /// memory for that, or if the last reader is just about to go.
    fn unshared(this: Arc<Self>) -> Option<Pin<UniqueArc<Self>>> {
        if this.readers.load(Relaxed) == 0 {
            return Arc::into_unique_or_drop(this);
        }
        let copy = Self::new(this.listing.copied().ok()?);
        Some(UniqueArc::new(copy, GFP_KERNEL_ACCOUNT).ok()?.into())
    }
}

/// A listing as it was when somebody began to read it.
pub(super) struct Snapshot(Arc<Shared>);

impl Snapshot {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.readers.add(1, Relaxed);
        Self(shared.clone())
    }
}

impl Deref for Snapshot {
    type Target = Listing;

    fn deref(&self) -> &Listing {
        &self.0.listing
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.0.readers.add(usize::MAX, Relaxed);
    }
}

/// A new listing.
pub(super) enum Made {
    /// It stays right as long as no name changes.
    Lasting(Listing),
    /// It is for one who reads it now, no longer.
    Fleeting(Listing),
}

/// A place for the listing of one directory.
#[pin_data]
pub(super) struct Place {
    /// The listing, if there is one. The lock makes readers that come at once wait for one to make it.
    #[pin]
    listing: Mutex<Option<Arc<Shared>>>,
    /// The cache that counts it.
    cache: Arc<ListingCache>,
    /// Whether somebody has used the listing since the cache looked at it.
    used: Atomic<bool>,
    /// Whether the inode is dead.
    dead: Atomic<bool>,
}

impl Place {
    /// The listing, made by `make` if there is none.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub(super) fn get(&self, make: impl FnOnce() -> Result<Made>) -> Result<Snapshot> {
        self.used.store(true, Relaxed);
        let mut kept = self.listing.lock();
        if let Some(shared) = &*kept {
            return Ok(Snapshot::new(shared));
        }
        let (listing, lasts) = match make()? {
            Made::Lasting(listing) => (listing, true),
            Made::Fleeting(listing) => (listing, false),
        };
        let shared = Arc::new(Shared::new(listing), GFP_KERNEL_ACCOUNT)?;
        if !lasts {
            return Ok(Snapshot::new(&shared));
        }
        self.count(&shared);
        let snapshot = Snapshot::new(&shared);
        *kept = Some(shared);
        Ok(snapshot)
    }

    /// Lets `change` change the listing, if there is one. If that fails the place is empty.
    pub(super) fn patch(&self, change: impl FnOnce(&mut Listing) -> Result) {
        let mut kept = self.listing.lock();
        let Some(shared) = kept.take() else {
            return;
        };
        self.uncount(&shared);
        let Some(mut own) = Shared::unshared(shared) else {
            return;
        };
        if change(&mut own.listing).is_ok() {
            let shared = Arc::from(own);
            self.count(&shared);
            *kept = Some(shared);
        }
    }

    /// Empties the place for good.
    pub(super) fn retire(&self) {
        self.dead.store(true, Relaxed);
        // This may run on behalf of an allocation, where lockdep would take offence at waiting for a lock
        // that is held over others. Nobody can hold it now but one who empties the place as well.
        self.evict();
    }

    /// Empties the place, since the directory has changed.
    pub(super) fn empty(&self) {
        if let Some(shared) = self.listing.lock().take() {
            self.uncount(&shared);
        }
    }

    /// Empties the place unless somebody is at work on it. Returns how many pages that frees.
    fn evict(&self) -> usize {
        let shared = self.listing.try_lock().and_then(|mut kept| kept.take());
        shared.map_or(0, |shared| self.uncount(&shared))
    }

    fn count(&self, shared: &Shared) {
        self.cache.pages.add(pages(&shared.listing), Relaxed);
    }

    fn uncount(&self, shared: &Shared) -> usize {
        let pages = pages(&shared.listing);
        self.cache.pages.add(pages.wrapping_neg(), Relaxed);
        pages
    }
}

/// The memory of a listing, in pages and at least one.
fn pages(listing: &Listing) -> usize {
    listing.bytes().div_ceil(PAGE_SIZE).max(1)
}

/// All places of one instance.
#[pin_data]
pub(super) struct ListingCache {
    #[pin]
    places: Mutex<Places>,
    /// How many pages the listings take, all together.
    pages: Atomic<usize>,
}

struct Places {
    all: KVVec<Arc<Place>>,
    /// Where the next search for a listing that is not used begins.
    hand: usize,
    /// With how many places the dead ones are cleared away again.
    limit: usize,
}

impl ListingCache {
    /// Makes an empty cache.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Arc<Self>> {
        let init = pin_init!(Self {
            places <- new_mutex!(
                Places {
                    all: KVVec::new(),
                    hand: 0,
                    limit: SLACK,
                },
                "rovl::ListingCache::places"
            ),
            pages: Atomic::new(0),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Makes a place for a directory of an instance that is stacked `depth` deep, and puts it into `of`,
    /// unless somebody has been faster.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn make_place(this: &Arc<Self>, depth: u32, of: &SetOnce<Arc<Place>>) -> Result {
        let init = pin_init!(Place {
            listing <- Mutex::new(None, c"rovl::Place::listing", lock::node_class(depth)),
            cache: this.clone(),
            used: Atomic::new(true),
            dead: Atomic::new(false),
        });
        let place = Arc::pin_init(init, GFP_KERNEL_ACCOUNT)?;
        // All places are made under this lock, so that nobody sees one half set.
        let mut places = this.places.lock();
        if of.as_ref().is_none() {
            places.add(place.clone())?;
            of.populate(place);
        }
        Ok(())
    }

    /// How many pages the listings take.
    pub(super) fn pages(&self) -> usize {
        self.pages.load(Relaxed)
    }

    /// Frees at least `wanted` pages if that is possible. Returns how many were freed.
    ///
    /// Called when memory is short: it allocates nothing, and waits for nobody.
    pub(super) fn shrink(&self, wanted: usize) -> usize {
        match self.places.try_lock() {
            Some(mut places) => places.shrink(wanted),
            None => 0,
        }
    }

    /// Forgets all places. Each of them knows the cache, so this ends that circle.
    pub(super) fn clear(&self) {
        let mut places = self.places.lock();
        places.all.clear();
    }
}

impl Places {
    fn add(&mut self, place: Arc<Place>) -> Result {
        if self.all.len() >= self.limit {
            self.forget_dead();
        }
        self.all.push(place, GFP_KERNEL_ACCOUNT)?;
        Ok(())
    }

    fn forget_dead(&mut self) {
        self.all.retain(|place| !place.dead.load(Relaxed));
        // At twice the number that is alive, clearing up costs each new place no more than a constant.
        self.limit = self.all.len().saturating_mul(2).saturating_add(SLACK);
        self.hand = 0;
    }

    fn shrink(&mut self, wanted: usize) -> usize {
        let mut freed = 0usize;
        // Twice around: what was used lately is spared once.
        for _ in 0..self.all.len().saturating_mul(2) {
            if freed >= wanted {
                break;
            }
            if self.hand >= self.all.len() {
                self.hand = 0;
            }
            if let Some(place) = self.all.get(self.hand) {
                if place.used.load(Relaxed) {
                    place.used.store(false, Relaxed);
                } else {
                    freed = freed.saturating_add(place.evict());
                }
            }
            self.hand = self.hand.wrapping_add(1);
        }
        freed
    }
}
