// SPDX-License-Identifier: GPL-2.0-only

//! What an inode of an overlay stands for, and the locks that guard it.
//!
//! # Lock order
//!
//! From the outside in. Where one overlay is a layer of another, all locks of the upper one come before
//! those of the one below; lockdep has classes for each depth.
//!
//! 1. the inode's `i_rwsem`, taken by the VFS;
//! 2. the lock of its node, by [`Node::lock`], never those of two inodes at once;
//! 3. the lock of the place of its listing (`cache`);
//! 4. the instance's list of all such places;
//! 5. write access to upper, which is given back before a lock further out is taken;
//! 6. the lock of the shared whiteout (`whiteout`);
//! 7. locks of the layers' filesystems.
//!
//! The second is held while an object is copied up, which may take long, and while its names are
//! counted. The third is held while a directory of the layers is read, and memory is allocated. Whoever
//! may run on behalf of an allocation only tries to take the third and the fourth.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            ordering::{
                Acquire,
                Full,
                Relaxed,
                Release, //
            },
            Atomic, //
        },
        Arc,
        SetOnce, //
    },
};

use super::{
    cache::{
        ListingCache,
        Made,
        Place,
        Snapshot, //
    },
    fs::{
        Instance,
        Overlay, //
    },
    layer::{
        LayerId,
        Layers, //
    },
    readdir::Listing,
    stack::{
        LowerObject,
        LowerStack, //
    },
};
use crate::vfs::{
    self,
    dentry::Dentry,
    inode::Inode,
    lock::{
        NodeLock,
        NodeLocked, //
    },
    path::PathRef,
    slot::Slot,
    AnyFs, //
};

/// How the names in a directory are found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirKind {
    /// It is one directory of one layer, with nothing in it that could hide a name.
    Plain,
    /// It has to be merged from several, may hold whiteouts, or lists other numbers than are shown.
    Merged,
    /// As `Merged`, and whiteouts may also have the form of an attribute (X10).
    MergedWithXattrs,
}

/// Whether a directory in upper lists the inode numbers that `stat(2)` shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// It does.
    AsListed,
    /// Something in it was copied up, and shows the number of where it came from (X4).
    LookUp,
}

/// By which of its objects an inode is found again, so that all names of one file have one inode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeptBy {
    /// By the uppermost lower one: copying it up does not change what the inode is. (C: `OVL_CONST_INO`.)
    Lower,
    /// By the upper one, or by none.
    Other,
}

/// What is known of a directory, as bits. Only what is said of numbers is ever taken back.
struct DirState(Atomic<u32>);

impl DirState {
    const MERGED: u32 = 1 << 0;
    const WITH_XATTRS: u32 = 1 << 1;
    const LOOK_UP: u32 = 1 << 2;
    const IMPURE: u32 = 1 << 3;

    fn new(kind: DirKind, numbers: Numbers) -> Self {
        let kind = match kind {
            DirKind::Plain => 0,
            DirKind::Merged => Self::MERGED,
            DirKind::MergedWithXattrs => Self::MERGED | Self::WITH_XATTRS,
        };
        let numbers = match numbers {
            Numbers::AsListed => 0,
            Numbers::LookUp => Self::LOOK_UP | Self::IMPURE,
        };
        Self(Atomic::new(kind | numbers))
    }

    fn has(&self, bits: u32) -> bool {
        self.0.load(Acquire) & bits != 0
    }

    fn set(&self, bits: u32) {
        let mut old = self.0.load(Relaxed);
        while let Err(now) = self.0.cmpxchg(old, old | bits, Full) {
            old = now;
        }
    }

    fn clear(&self, bits: u32) {
        let mut old = self.0.load(Relaxed);
        while let Err(now) = self.0.cmpxchg(old, old & !bits, Full) {
            old = now;
        }
    }

    fn kind(&self) -> DirKind {
        if self.has(Self::WITH_XATTRS) {
            DirKind::MergedWithXattrs
        } else if self.has(Self::MERGED | Self::LOOK_UP) {
            DirKind::Merged
        } else {
            DirKind::Plain
        }
    }

    fn numbers(&self) -> Numbers {
        if self.has(Self::LOOK_UP) {
            Numbers::LookUp
        } else {
            Numbers::AsListed
        }
    }
}

/// The objects that an inode stands for. Set once, when the inode is made; only the upper one may come
/// later.
pub(super) struct Objects {
    upper: Slot<Dentry<AnyFs>>,
    lower: LowerStack,
    dir: DirState,
    kept_by: KeptBy,
}

impl Objects {
    /// Collects the objects. There has to be at least one.
    pub(super) fn new(
        upper: Option<ARef<Dentry<AnyFs>>>,
        lower: LowerStack,
        kind: DirKind,
        numbers: Numbers,
    ) -> Self {
        Self {
            upper: Slot::new(upper),
            lower,
            dir: DirState::new(kind, numbers),
            kept_by: KeptBy::Other,
        }
    }

    /// Says by which of the objects the inode is found again.
    pub(super) fn kept_by(mut self, kept_by: KeptBy) -> Self {
        self.kept_by = kept_by;
        self
    }

    /// Gives all references back. May sleep.
    fn release(&self) {
        self.upper.release();
        self.lower.release();
    }
}

/// The state of an inode.
#[pin_data]
pub(crate) struct Node {
    objects: SetOnce<Objects>,
    /// Where the merged listing of a directory is kept, once somebody has read it.
    listing: SetOnce<Arc<Place>>,
    /// How often the names in the directory have changed.
    version: Atomic<u64>,
    /// Held while the object is copied up, and while its names are counted.
    #[pin]
    lock: NodeLock,
    /// How deep the instance is stacked.
    depth: u32,
}

impl vfs::inode::Node for Node {
    type Fs = Overlay;

    fn vacant(depth: u32) -> impl PinInit<Self> {
        pin_init!(Self {
            objects: SetOnce::new(),
            listing: SetOnce::new(),
            version: Atomic::new(0),
            lock <- NodeLock::new(depth),
            depth,
        })
    }

    fn release(&self) {
        if let Some(objects) = self.objects.as_ref() {
            objects.release();
        }
        if let Some(place) = self.listing.as_ref() {
            place.retire();
        }
    }
}

impl Node {
    /// Says what the inode stands for.
    pub(super) fn set(&self, objects: Objects) {
        let taken = self.objects.populate(objects);
        debug_assert!(taken);
    }

    /// Keeps others from copying the object up, and from changing how many names it has.
    pub(super) fn lock(&self) -> NodeLocked<'_> {
        self.lock.lock()
    }

    /// As [`Node::lock`], unless a signal comes first.
    ///
    /// # Errors
    ///
    /// `EINTR`.
    pub(super) fn lock_interruptible(&self) -> Result<NodeLocked<'_>> {
        self.lock.lock_interruptible()
    }

    /// Says that the object is now also, or only, in upper, as `upper`. From here on everybody uses that
    /// one. `_held` is the lock of this node.
    ///
    /// # Errors
    ///
    /// `EIO` if there is an upper object already, which cannot be.
    pub(super) fn set_upper(&self, upper: ARef<Dentry<AnyFs>>, _held: &NodeLocked<'_>) -> Result {
        let objects = self.objects.as_ref().ok_or(EIO)?;
        // Before the object can be seen: names may now come to it, and whiteouts.
        if upper.can_lookup() {
            objects.dir.set(DirState::MERGED);
        }
        objects.upper.fill(upper).map_err(|_| EIO)
    }

    /// Whether the directory in upper is known to be marked as one in which something was copied up, or
    /// renamed (X4).
    pub(super) fn is_impure(&self) -> bool {
        self.objects
            .as_ref()
            .is_some_and(|objects| objects.dir.has(DirState::IMPURE))
    }

    /// Says that the directory in upper is marked so. With `numbers` the numbers that it lists are not
    /// those that are shown, from now on.
    pub(super) fn set_impure(&self, numbers: Numbers) {
        let Some(objects) = self.objects.as_ref() else {
            return;
        };
        objects.dir.set(match numbers {
            Numbers::AsListed => DirState::IMPURE,
            Numbers::LookUp => DirState::IMPURE | DirState::LOOK_UP,
        });
    }

    /// Says that the directory in upper is not marked any more, and that the numbers that it lists are those
    /// that are shown.
    pub(super) fn set_pure(&self) {
        if let Some(objects) = self.objects.as_ref() {
            objects.dir.clear(DirState::LOOK_UP | DirState::IMPURE);
        }
    }

    /// Says that a name in the directory has come, gone, or stands for something else, and lets `patch` tell
    /// the listing, if there is one. One that somebody reads stays as it is; who comes next sees another.
    ///
    /// No write access is held.
    pub(super) fn changed_by(&self, patch: impl FnOnce(&mut Listing) -> Result) {
        if let Some(place) = self.listing.as_ref() {
            place.patch(patch);
        }
        self.count_change();
    }

    /// As [`Node::changed_by`], if it is not known what the listing should be told. The next one is made
    /// anew. If all names stay, and only what they stand for is another object, the directory need not be
    /// locked: one that is being made meanwhile is waited for.
    pub(crate) fn changed(&self) {
        if let Some(place) = self.listing.as_ref() {
            place.empty();
        }
        self.count_change();
    }

    /// Counts a change of which the listing knows: who sees the new number also sees that listing, and who
    /// does not looks again.
    fn count_change(&self) {
        self.version.fetch_add(1, Release);
    }

    /// How often the names in the directory have changed. To be asked before the listing is.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// The object in upper.
    #[inline]
    pub(crate) fn upper(&self) -> Option<&Dentry<AnyFs>> {
        self.objects.as_ref()?.upper.get()
    }

    /// The objects in lower layers, from the uppermost.
    ///
    /// If there is one in upper too, and it is no directory, these are no part of what the inode looks
    /// like: there is at most one, from which the upper one was copied.
    #[inline]
    pub(crate) fn lower(&self) -> &[LowerObject] {
        self.objects
            .as_ref()
            .map_or(&[], |objects| objects.lower.as_slice())
    }

    /// The lower object from which the one in upper was copied, and whose number is shown for it.
    /// (C: `OVL_TYPE_ORIGIN`.)
    pub(super) fn origin(&self) -> Option<&LowerObject> {
        let objects = self.objects.as_ref()?;
        if objects.kept_by == KeptBy::Other || objects.upper.get().is_none() {
            return None;
        }
        objects.lower.as_slice().first()
    }

    /// How names in it are found, if it is a directory.
    pub(crate) fn dir_kind(&self) -> DirKind {
        self.objects
            .as_ref()
            .map_or(DirKind::Plain, |objects| objects.dir.kind())
    }

    /// Whether something may be hidden in it, if it is a directory. (C: `OVL_WHITEOUTS`.)
    pub(super) fn may_hide(&self) -> bool {
        self.objects
            .as_ref()
            .is_some_and(|objects| objects.dir.has(DirState::MERGED))
    }

    /// Whether the numbers that upper lists have to be looked up.
    pub(super) fn numbers(&self) -> Numbers {
        self.objects
            .as_ref()
            .map_or(Numbers::AsListed, |objects| objects.dir.numbers())
    }

    /// Whether it is made of more than one object, if it is a directory. (C: `OVL_TYPE_MERGE`.)
    pub(crate) fn has_several(&self) -> bool {
        let lower = self.lower().len();
        lower > 1 || (lower == 1 && self.upper().is_some())
    }

    /// The uppermost object: what the inode looks like. (C: `ovl_path_real`.)
    ///
    /// `None` only under the RCU read lock, when the inode is dying.
    #[inline]
    pub(crate) fn real<'a>(&'a self, layers: &'a Layers) -> Option<PathRef<'a>> {
        if let Some(upper) = self.upper() {
            return Some(layers.upper()?.path(upper));
        }
        let lower = self.lower().first()?;
        Some(layers.get(lower.layer()).ok()?.path(lower.dentry()?))
    }

    /// All objects with their layers, from the uppermost.
    pub(super) fn all(&self) -> impl Iterator<Item = (LayerId, &Dentry<AnyFs>)> {
        let upper = self.upper().map(|dentry| (LayerId::Upper, dentry));
        let lower = self
            .lower()
            .iter()
            .filter_map(|object| Some((object.layer(), object.dentry()?)));
        Iterator::chain(upper.into_iter(), lower)
    }

    /// Whether the inode may stand for an entry for which these objects were found.
    /// (C: `ovl_verify_inode`.)
    pub(super) fn fits(
        &self,
        is_directory: bool,
        upper: Option<&Dentry<AnyFs>>,
        lower: Option<&Dentry<AnyFs>>,
    ) -> bool {
        let own_lower = self.lower().first().and_then(LowerObject::dentry);
        if is_directory && (lower.is_none() != own_lower.is_none()) {
            return false;
        }
        if is_directory && (upper.is_none() != self.upper().is_none()) {
            return false;
        }
        let same = |found: Option<&Dentry<AnyFs>>, own: Option<&Dentry<AnyFs>>| match found {
            None => true,
            Some(found) => own.is_some_and(|own| Inode::same(found.inode(), own.inode())),
        };
        same(lower, own_lower) && same(upper, self.upper())
    }

    /// The listing, made by `make` if there is none yet.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub(super) fn listing(
        &self,
        instance: &Instance,
        make: impl FnOnce() -> Result<Made>,
    ) -> Result<Snapshot> {
        self.place(instance)?.get(make)
    }

    /// The place for the listing.
    fn place(&self, instance: &Instance) -> Result<&Place> {
        if let Some(place) = self.listing.as_ref() {
            return Ok(place);
        }
        ListingCache::make_place(instance.listings(), self.depth, &self.listing)?;
        self.listing.as_ref().map(|place| &**place).ok_or(EIO)
    }
}
