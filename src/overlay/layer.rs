// SPDX-License-Identifier: GPL-2.0-only

//! The layers of an overlay, and the filesystems that they are on.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::vfs::{
    dentry::Dentry,
    mount::{
        Mount,
        PrivateMount, //
    },
    path::PathRef,
    superblock::{
        AnonymousDevice,
        SuperBlockId, //
    },
    AnyFs, //
};

/// Which layer of an overlay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerId {
    /// The writable one.
    Upper,
    /// The lower layer of that index, counted from the uppermost.
    Lower(u16),
}

impl LayerId {
    /// The number that listings know it by: zero is upper.
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Upper => 0,
            Self::Lower(index) => index.saturating_add(1),
        }
    }
}

/// Which of the filesystems that the layers are on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FsId(u16);

/// One layer.
pub(crate) struct Layer {
    mount: PrivateMount,
    fs: FsId,
}

impl Layer {
    /// The mount through which all of it is reached.
    #[inline]
    pub(crate) fn mount(&self) -> &Mount {
        &self.mount
    }

    /// The filesystem that it is on.
    #[inline]
    pub(crate) fn fs(&self) -> FsId {
        self.fs
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> &Dentry<AnyFs> {
        self.mount.root()
    }

    /// The object `dentry` of this layer.
    #[inline]
    pub(crate) fn path<'a>(&'a self, dentry: &'a Dentry<AnyFs>) -> PathRef<'a> {
        PathRef {
            mount: self.mount(),
            dentry,
        }
    }
}

/// A filesystem that some layer is on.
struct RealFs {
    id: SuperBlockId,
    /// Stands for the filesystem in `st_dev` where inode numbers cannot be made unique otherwise.
    device: AnonymousDevice,
}

/// All layers of an overlay.
pub(crate) struct Layers {
    upper: Option<Layer>,
    lower: KVVec<Layer>,
    filesystems: KVec<RealFs>,
    name_length: u64,
}

impl Layers {
    /// Begins with the upper layer, if there is one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EMFILE` if there is no device number left.
    pub(super) fn new(upper: Option<PrivateMount>) -> Result<Self> {
        let mut this = Self {
            upper: None,
            lower: KVVec::new(),
            filesystems: KVec::new(),
            name_length: 0,
        };
        if let Some(mount) = upper {
            let fs = this.filesystem_of(&mount)?;
            this.upper = Some(Layer { mount, fs });
        }
        Ok(this)
    }

    /// Adds a lower layer, below those that are there.
    ///
    /// # Errors
    ///
    /// As [`Layers::new`].
    pub(super) fn add_lower(&mut self, mount: PrivateMount) -> Result {
        let fs = self.filesystem_of(&mount)?;
        self.lower.push(Layer { mount, fs }, GFP_KERNEL)?;
        Ok(())
    }

    /// Takes into account that names may be `length` bytes long on some layer.
    pub(super) fn admit_name_length(&mut self, length: u64) {
        self.name_length = self.name_length.max(length);
    }

    /// Finds, or adds, the filesystem. The identity of a superblock is good because the layer's mount
    /// holds it. (C: `ovl_get_fsid`.)
    fn filesystem_of(&mut self, mount: &Mount) -> Result<FsId> {
        let id = mount.superblock().identity();
        let known = self.filesystems.iter().position(|fs| fs.id == id);
        let index = match known {
            Some(index) => index,
            None => {
                let device = AnonymousDevice::allocate()?;
                self.filesystems.push(RealFs { id, device }, GFP_KERNEL)?;
                self.filesystems.len().saturating_sub(1)
            }
        };
        Ok(FsId(u16::try_from(index)?))
    }

    /// The upper layer.
    #[inline]
    pub(crate) fn upper(&self) -> Option<&Layer> {
        self.upper.as_ref()
    }

    /// All lower layers, from the uppermost.
    pub(crate) fn lower(&self) -> &[Layer] {
        &self.lower
    }

    /// The layer `id`.
    ///
    /// # Errors
    ///
    /// `EIO` if there is none, which cannot be.
    #[inline]
    pub(crate) fn get(&self, id: LayerId) -> Result<&Layer> {
        match id {
            LayerId::Upper => self.upper.as_ref(),
            LayerId::Lower(index) => self.lower.get(usize::from(index)),
        }
        .ok_or(EIO)
    }

    /// The uppermost layer of all.
    ///
    /// # Errors
    ///
    /// `EIO` if there is none, which cannot be.
    pub(crate) fn top(&self) -> Result<&Layer> {
        self.upper.as_ref().or(self.lower.first()).ok_or(EIO)
    }

    /// Whether all layers are on one filesystem, so that inode numbers are unique as they are.
    #[inline]
    pub(crate) fn same_filesystem(&self) -> bool {
        self.filesystems.len() == 1
    }

    /// The device number that stands for the filesystem.
    ///
    /// # Errors
    ///
    /// `EIO` if there is none such, which cannot be.
    pub(crate) fn device_of(&self, fs: FsId) -> Result<u32> {
        let fs = self.filesystems.get(usize::from(fs.0)).ok_or(EIO)?;
        Ok(fs.device.number())
    }

    /// The length of the longest name, in bytes.
    #[inline]
    pub(crate) fn name_length(&self) -> u64 {
        self.name_length
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        let lower = core::mem::take(&mut self.lower);
        let mut mounts = KVVec::new();
        if mounts
            .reserve(lower.len().saturating_add(1), GFP_KERNEL)
            .is_err()
        {
            // Each then waits for a grace period of its own, when it is dropped.
            return;
        }
        for layer in Iterator::chain(self.upper.take().into_iter(), lower) {
            // There is room, it was just reserved.
            let _ = mounts.push_within_capacity(layer.mount);
        }
        PrivateMount::release_all(mounts);
    }
}
