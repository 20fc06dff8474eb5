// SPDX-License-Identifier: GPL-2.0-only

//! Inode numbers: making those of several filesystems unique, and keeping them over copy-up.
//!
//! See 1.10 of the behaviour of overlayfs, `ovl_map_dev_ino` and `ovl_map_ino` in
//! [`fs/overlayfs/inode.c`](srctree/fs/overlayfs/inode.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        SetOnce, //
    },
};

use super::{
    fs::{
        Instance,
        Overlay, //
    },
    layer::{
        FsId,
        Layers, //
    },
    stack::LowerObject,
};
use crate::{
    model::{
        options::Xino,
        xino::{
            CopiedUp,
            Mapping,
            Reported, //
        },
    },
    vfs::{
        attr::{
            Stat,
            StatRequest, //
        },
        inode::Inode,
        path::PathRef,
        AnyFs, //
    },
};

/// The inode numbers of an instance.
pub(crate) struct NumberSpace {
    mapping: Mapping,
    /// The last number that was made up for a directory.
    last: Atomic<u64>,
    /// Whether the mounter has promised that all numbers leave room (`xino=on`).
    promised: bool,
    /// Set when it was said that one does not.
    told: SetOnce<()>,
}

impl NumberSpace {
    /// Chooses the mapping.
    pub(super) fn new(xino: Xino, layers: &Layers) -> Self {
        let mapping = Mapping::new(xino, &layers.number_facts());
        match mapping {
            Mapping::Same if xino == Xino::On => {
                pr_info!("\"xino=on\" is useless with all layers on same fs, ignore.\n");
            }
            Mapping::Bits(bits) => pr_info!(
                "\"xino\" feature enabled using {} upper inode bits.\n",
                bits.count()
            ),
            _ => (),
        }
        Self {
            mapping,
            last: Atomic::new(1),
            promised: xino == Xino::On,
            told: SetOnce::new(),
        }
    }

    /// Whether all objects show the overlay's device, but for those whose numbers are too big.
    #[inline]
    pub(crate) fn same_device(&self) -> bool {
        self.mapping.same_device()
    }

    /// Whether all layers are on one filesystem.
    pub(crate) fn is_one_filesystem(&self) -> bool {
        self.mapping == Mapping::Same
    }

    /// Whether numbers in listings of layers are not those that are shown.
    pub(super) fn remaps(&self) -> bool {
        matches!(self.mapping, Mapping::Bits(_))
    }

    /// The number that a listing shows for an object on the filesystem `fs`, which numbers it `number`.
    /// (C: `ovl_remap_lower_ino`.)
    pub(super) fn listed(&self, number: u64, fs: FsId) -> u64 {
        if self.mapping == Mapping::None {
            return number;
        }
        let mapped = self.mapping.map(number, fs.number());
        mapped.unwrap_or_else(|| {
            self.warn_of_overflow(number);
            number
        })
    }

    /// The number for a new inode that has the identity of `key`, on the filesystem `fs`.
    /// (C: `ovl_map_ino`.)
    pub(super) fn of_new_inode(&self, key: &Inode<AnyFs>, fs: FsId) -> u64 {
        match self.mapping.map(key.number(), fs.number()) {
            Some(number) => number,
            // Directories show the overlay's device, on which no two may have the same number.
            None if key.is_directory() => self.mapping.own(self.next()),
            None => key.number(),
        }
    }

    /// A number that no other directory of this instance has. It lasts as long as the inode.
    fn next(&self) -> u64 {
        // Zero stands for no inode at all; a counter of 64 bits does not come round to it.
        self.last.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// What `stat(2)` shows for `inode`, which is numbered `number` on the filesystem `fs`.
    fn report(&self, inode: &Inode<Overlay>, number: u64, fs: FsId) -> Reported {
        let fs = fs.number();
        if self.remaps() && self.mapping.map(number, fs).is_none() {
            self.warn_of_overflow(number);
        }
        if inode.is_directory() {
            self.mapping.directory(number, fs)
        } else {
            self.mapping.file(number, fs)
        }
    }

    /// Says that the promise was not kept. Once is enough: there will be more of them.
    fn warn_of_overflow(&self, number: u64) {
        if self.promised && self.told.populate(()) {
            pr_warn!("inode number {number} is too big for xino=on\n");
        }
    }
}

/// Puts the device and the number of `inode` into `stat`, which has those of the object `real`. That was the
/// uppermost one, but may have been copied up since.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(super) fn fill(
    inode: &Inode<Overlay>,
    real: &PathRef<'_>,
    stat: &mut Stat,
    request: StatRequest,
) -> Result {
    let sb = inode.superblock();
    let instance = sb.data();
    let space = instance.numbers();
    let (number, fs) = if inode.is_directory() && !space.same_device() {
        // It gets a number that is made up, in any case.
        (stat.number(), FsId::UPPER)
    } else {
        persistent(instance, inode, real, stat.number(), request)?
    };
    let (number, device) = match space.report(inode, number, fs) {
        Reported::Number(number) => (number, sb.device()),
        Reported::Own => (inode.number(), sb.device()),
        Reported::Layer => (number, instance.layers().device_of(fs)?),
    };
    stat.set_number(number);
    stat.set_device(device);
    Ok(())
}

/// The number that stays the same over copy-up, and the filesystem that it is unique on. The object `real`,
/// which was the uppermost one, has the number `own`.
fn persistent(
    instance: &Instance,
    inode: &Inode<Overlay>,
    real: &PathRef<'_>,
    own: u64,
    request: StatRequest,
) -> Result<(u64, FsId)> {
    let layers = instance.layers();
    let node = inode.node();
    if !layers.is_upper(real) {
        let lower = node.lower().first().ok_or(EIO)?;
        return Ok((own, layers.get(lower.layer())?.fs()));
    }
    let origin = node.origin();
    of_upper(instance, inode.is_directory(), own, origin, request)
}

/// As `persistent`, of an object in upper that was copied from `origin`.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(super) fn of_upper(
    instance: &Instance,
    is_directory: bool,
    own: u64,
    origin: Option<&LowerObject>,
    request: StatRequest,
) -> Result<(u64, FsId)> {
    let Some(origin) = origin else {
        return Ok((own, FsId::UPPER));
    };
    let layer = instance.layers().get(origin.layer())?;
    let path = layer.path(origin.dentry().ok_or(EIO)?);
    let mut stat = Stat::empty();
    stat.fill_from(&path, request.number_and_links())?;
    // TODO: Origins that the index holds count in any case, and with `nfs_export` no others. There is no
    // index yet.
    let copied_up = CopiedUp {
        indexed: false,
        verify_lower: false,
        directory: is_directory,
        lower_nlink: stat.links(),
    };
    Ok(match copied_up.reports_origin() {
        true => (stat.number(), layer.fs()),
        false => (own, FsId::UPPER),
    })
}

/// The number of an object of a layer, as its filesystem has it.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(super) fn of_object(path: &PathRef<'_>) -> Result<u64> {
    let mut stat = Stat::empty();
    stat.fill_from(path, StatRequest::NUMBER)?;
    Ok(stat.number())
}

/// The number that `stat(2)` shows for `inode`.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(super) fn shown(inode: &Inode<Overlay>) -> Result<u64> {
    let instance = inode.superblock().data();
    if inode.is_directory() && !instance.numbers().same_device() {
        return Ok(inode.number());
    }
    let real = inode.node().real(instance.layers());
    let real = real.ok_or(EIO)?;
    let mut stat = Stat::empty();
    stat.fill_from(&real, StatRequest::NUMBER)?;
    fill(inode, &real, &mut stat, StatRequest::NUMBER)?;
    Ok(stat.number())
}

/// The number that a listing shows for `inode`, which is in upper.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(super) fn listed(inode: &Inode<Overlay>) -> Result<u64> {
    let instance = inode.superblock().data();
    if instance.numbers().same_device() {
        return shown(inode);
    }
    // Where they cannot agree with what is shown, they are those of the layer.
    own(inode)
}

/// The number that the layer's filesystem has for `inode`.
///
/// # Errors
///
/// What the layer's filesystem says.
pub(super) fn own(inode: &Inode<Overlay>) -> Result<u64> {
    let real = inode.node().real(inode.superblock().data().layers());
    of_object(&real.ok_or(EIO)?)
}
