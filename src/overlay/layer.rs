// SPDX-License-Identifier: GPL-2.0-only

//! The layers of an overlay, and the filesystems that they are on.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::{
    model::{
        options::{
            self,
            fallback::Fallback,
            Options, //
        },
        xino,
    },
    vfs::{
        cred::Capability,
        dentry::Dentry,
        handle::HandleSupport,
        mount::{
            Mount,
            PrivateMount, //
        },
        path::PathRef,
        superblock::{
            AnonymousDevice,
            SuperBlock,
            SuperBlockId, //
        },
        AnyFs, //
    },
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

    /// The layer that listings know by this number.
    pub(super) fn from_number(number: u16) -> Self {
        match number.checked_sub(1) {
            Some(index) => Self::Lower(index),
            None => Self::Upper,
        }
    }
}

/// Which of the filesystems that the layers are on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FsId(u16);

impl FsId {
    /// That of the upper layer. It is set aside also if there is no upper layer, so that a lower layer has
    /// the same number with and without one.
    pub(crate) const UPPER: Self = Self(0);

    /// The number that goes into inode numbers.
    pub(super) fn number(self) -> u32 {
        u32::from(self.0)
    }
}

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
    /// `None` if no layer is on it, as there is no upper layer.
    id: Option<SuperBlockId>,
    /// Stands for the filesystem in `st_dev` where inode numbers cannot be made unique otherwise.
    device: AnonymousDevice,
    /// The identity by which stored handles of lower objects tell it.
    uuid: Uuid,
    /// Whether a lower layer is on it.
    lower: bool,
    /// Whether stored handles of its objects can be told from those of others.
    told_apart: bool,
}

/// What a stored handle says about the filesystem that it is for.
pub(super) type Uuid = [u8; 16];

const NULL_UUID: Uuid = [0; 16];

/// What a lower layer's filesystem lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// It cannot find an object by a handle.
    Handles,
    /// It has no identity.
    Uuid,
    /// It has the identity of another one.
    UniqueUuid,
}

impl Lack {
    /// The beginning of the sentence for the log.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Handles => "the filesystem does not support file handles",
            Self::Uuid => "null uuid in non-single lower fs",
            Self::UniqueUuid => "conflicting uuid in non-single lower fs",
        }
    }
}

/// What all layers' filesystems can do with file handles.
#[derive(Clone, Copy)]
struct Handles {
    /// They can find objects by them.
    decode: bool,
    /// They hold inode numbers of 32 bits.
    ino32: bool,
}

/// All layers of an overlay.
pub(crate) struct Layers {
    upper: Option<Layer>,
    lower: KVVec<Layer>,
    filesystems: KVec<RealFs>,
    handles: Handles,
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
            handles: Handles {
                decode: true,
                ino32: true,
            },
            name_length: 0,
        };
        let id = upper.as_ref().map(|mount| mount.superblock().identity());
        this.add_filesystem(id, NULL_UUID, true)?;
        if let Some(mount) = upper {
            this.admit_handles(mount.superblock());
            this.upper = Some(Layer {
                mount,
                fs: FsId::UPPER,
            });
        }
        Ok(this)
    }

    /// Adds a lower layer, below those that are there. Options that its filesystem cannot serve are
    /// switched off, of which `warn` is told.
    ///
    /// # Errors
    ///
    /// As [`Layers::new`].
    pub(super) fn add_lower(
        &mut self,
        mount: PrivateMount,
        options: &mut Options,
        warn: &mut dyn FnMut(Lack, Fallback),
    ) -> Result {
        let fs = self.filesystem_of(&mount, options, warn)?;
        self.lower.push(Layer { mount, fs }, GFP_KERNEL)?;
        Ok(())
    }

    /// Takes into account what the filesystem `sb` of a lower layer can do with handles. Options that
    /// take more are switched off, of which `warn` is told. To be called for all lower layers before one
    /// is added.
    pub(super) fn check_handles(
        &mut self,
        sb: &SuperBlock<AnyFs>,
        options: &mut Options,
        warn: &mut dyn FnMut(Fallback),
    ) {
        if self.admit_handles(sb) == HandleSupport::None {
            match self.upper {
                Some(_) => options.without_lower_handles(warn),
                None => options.without_handles(warn),
            }
        }
    }

    /// Takes into account what the filesystem can do with handles, and the mounter may do.
    /// (C: `ovl_can_decode_fh`.)
    fn admit_handles(&mut self, sb: &SuperBlock<AnyFs>) -> HandleSupport {
        let support = match Capability::DacReadSearch.is_held() {
            true => sb.handle_support(),
            false => HandleSupport::None,
        };
        self.handles.decode &= support != HandleSupport::None;
        self.handles.ino32 &= support == HandleSupport::Ino32;
        support
    }

    /// Takes into account that names may be `length` bytes long on some layer.
    pub(super) fn admit_name_length(&mut self, length: u64) {
        self.name_length = self.name_length.max(length);
    }

    /// Finds, or adds, the filesystem of a lower layer. The identity of a superblock is good because the
    /// layer's mount holds it. (C: `ovl_get_fsid`.)
    fn filesystem_of(
        &mut self,
        mount: &Mount,
        options: &mut Options,
        warn: &mut dyn FnMut(Lack, Fallback),
    ) -> Result<FsId> {
        let sb = mount.superblock();
        let id = Some(sb.identity());
        let known = self.filesystems.iter().position(|fs| fs.id == id);
        if let Some(index) = known {
            if let Some(fs) = self.filesystems.get_mut(index) {
                fs.lower = true;
                fs.uuid = sb.uuid();
            }
            return Ok(FsId(u16::try_from(index)?));
        }
        let lack = self.uuid_lack(sb.uuid(), options);
        if let Some(lack) = lack {
            options.without_uuid(&mut |fallback| warn(lack, fallback));
        }
        let fs = self.add_filesystem(id, sb.uuid(), lack.is_none())?;
        if let Some(fs) = self.filesystems.last_mut() {
            fs.lower = true;
        }
        Ok(fs)
    }

    fn add_filesystem(
        &mut self,
        id: Option<SuperBlockId>,
        uuid: Uuid,
        told_apart: bool,
    ) -> Result<FsId> {
        let fs = RealFs {
            id,
            device: AnonymousDevice::allocate()?,
            uuid,
            lower: false,
            told_apart,
        };
        let index = u16::try_from(self.filesystems.len())?;
        self.filesystems.push(fs, GFP_KERNEL)?;
        Ok(FsId(index))
    }

    /// Why stored handles for a further lower filesystem with this `uuid` cannot be told from others. If
    /// another one has the same, this takes away the use of its own handles too.
    /// (C: `ovl_lower_uuid_ok`.)
    fn uuid_lack(&mut self, uuid: Uuid, options: &Options) -> Option<Lack> {
        if !options.nfs_export && self.upper.is_none() {
            return None;
        }
        let stored = options.uuid != options::Uuid::Off;
        let uuid = if stored { uuid } else { NULL_UUID };
        let lack = match uuid {
            NULL_UUID => Lack::Uuid,
            _ => Lack::UniqueUuid,
        };
        if uuid == NULL_UUID && options.allow_offline_changes() {
            // A filesystem without identity may have been made anew since the handles were stored.
            return Some(lack);
        }
        // With `uuid=off` none of them has an identity.
        let same = |fs: &&mut RealFs| fs.lower && (!stored || fs.uuid == uuid);
        let other = self.filesystems.iter_mut().find(same)?;
        other.told_apart = false;
        Some(lack)
    }

    /// The upper layer.
    #[inline]
    pub(crate) fn upper(&self) -> Option<&Layer> {
        self.upper.as_ref()
    }

    /// Whether the object is in the upper layer.
    #[inline]
    pub(crate) fn is_upper(&self, object: &PathRef<'_>) -> bool {
        let upper = self.upper.as_ref();
        upper.is_some_and(|upper| object.mount.is(upper.mount()))
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

    /// What the mapping of inode numbers depends on.
    pub(super) fn number_facts(&self) -> xino::Layers {
        xino::Layers {
            count: u32::try_from(self.filesystems.len()).unwrap_or(u32::MAX),
            upper: self.upper.is_some(),
            ino32: self.handles.ino32,
        }
    }

    /// Whether all layers' objects have handles that can be found again.
    pub(crate) fn have_handles(&self) -> bool {
        self.handles.decode
    }

    /// Whether a stored handle can be told to be one of this filesystem. (C: `bad_uuid`.)
    pub(super) fn is_told_apart(&self, fs: FsId) -> bool {
        let fs = self.filesystems.get(usize::from(fs.0));
        fs.is_some_and(|fs| fs.told_apart)
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
