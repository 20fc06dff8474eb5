// SPDX-License-Identifier: GPL-2.0-only

//! The work directory, in which what is to appear in upper is prepared.
//!
//! What is named as `workdir=` is only the base. In it each mount makes a directory `work` that nobody
//! else can look into, and throws away what an earlier mount may have left there. See W1, W5, E13 and E14
//! of the behaviour of overlayfs, `ovl_workdir_create` in
//! [`fs/overlayfs/super.c`](srctree/fs/overlayfs/super.c) and `ovl_workdir_cleanup` in
//! [`readdir.c`](srctree/fs/overlayfs/readdir.c).

#![forbid(unsafe_code)]

use kernel::{
    cred::Credential,
    prelude::*,
    str::BStr,
    sync::aref::ARef, //
};

use super::probe::Abilities;
use crate::vfs::{
    acl::AclKind,
    context::{
        Errno,
        Log, //
    },
    dentry::Dentry,
    dirop::{
        Name,
        WriteAccess, //
    },
    exclusive::ExclusiveUse,
    file::{
        LayerFile,
        OpenFlags, //
    },
    inode::Inode,
    lookup::Negative,
    path::PathRef,
    AnyFs, //
};

/// What stays of a work directory while the overlay is mounted.
pub(crate) struct WorkDir {
    /// `None` if it could not be made, so that nothing can be written.
    prepared: Option<Prepared>,
    /// The base, which may not turn up inside of a layer.
    _base: ARef<Dentry<AnyFs>>,
    /// That no other overlay may use the base; `None` if another one does.
    _exclusive: Option<ExclusiveUse>,
}

/// A work directory in which something can be prepared.
pub(super) struct Prepared {
    /// `work`.
    pub(super) dir: ARef<Dentry<AnyFs>>,
    /// What was found out in it.
    pub(super) abilities: Abilities,
}

impl WorkDir {
    pub(super) fn new(
        prepared: Option<Prepared>,
        base: &Dentry<AnyFs>,
        exclusive: Option<ExclusiveUse>,
    ) -> Self {
        Self {
            prepared,
            _base: base.into(),
            _exclusive: exclusive,
        }
    }

    /// Whether nothing can be prepared, so that the overlay has to be read-only (E14).
    pub(super) fn is_missing(&self) -> bool {
        self.prepared.is_none()
    }

    /// What can be worked with.
    #[inline]
    pub(super) fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_ref()
    }
}

/// Why `work` could not be made.
enum Failure {
    /// There is a mark in it of a feature that has to be known to mount the layers, and is not (E13).
    Incompatible,
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<kernel::alloc::AllocError> for Failure {
    fn from(error: kernel::alloc::AllocError) -> Self {
        Self::Other(error.into())
    }
}

/// How deep below the base something is.
type Level = u8;

/// What it takes to prepare a work directory.
pub(super) struct Preparation<'a> {
    pub(super) log: &'a Log<'a>,
    /// The base, as it was named.
    pub(super) name: &'a BStr,
    pub(super) base: &'a Dentry<AnyFs>,
    /// To the mount of upper.
    pub(super) access: &'a WriteAccess<'a>,
    pub(super) mounter: &'a Credential,
}

const WORK: &[u8] = b"work";
const INCOMPAT: &[u8] = b"incompat";

impl Preparation<'_> {
    /// Makes `work`, or makes it anew. `None` if that cannot be done, and the overlay has to be
    /// read-only.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the layers use a feature that is not known.
    pub(super) fn make(&self) -> Result<Option<ARef<Dentry<AnyFs>>>> {
        match self.try_make() {
            Ok(dir) => Ok(Some(dir)),
            Err(Failure::Incompatible) => Err(EINVAL),
            Err(Failure::Other(error)) => {
                self.log.warn(fmt!(
                    "workdir: failed to create directory {}/work ({}); mounting read-only",
                    self.name,
                    Errno(error)
                ));
                Ok(None)
            }
        }
    }

    fn try_make(&self) -> Result<ARef<Dentry<AnyFs>>, Failure> {
        if let Name::Taken(old) = self.access.start_creating(self.base, WORK)? {
            match self.clear(self.base, &old.keep(), WORK, 0) {
                Err(Failure::Incompatible) => return Err(Failure::Incompatible),
                // Whether it is gone is what counts.
                Ok(()) | Err(Failure::Other(_)) => (),
            }
        }
        match self.access.start_creating(self.base, WORK)? {
            Name::Taken(_) => Err(Failure::Other(EEXIST)),
            Name::Free(name) => {
                let dir = name.mkdir(0)?.keep();
                self.strip(&dir)?;
                Ok(dir)
            }
        }
    }

    /// Takes from a new directory what it inherited from its parent.
    fn strip(&self, dir: &Dentry<AnyFs>) -> Result {
        self.access.remove_acl(dir, AclKind::Default)?;
        self.access.remove_acl(dir, AclKind::Access)?;
        self.access.set_permissions(dir, 0)
    }

    /// Removes `child`, which is `level` deep below the base, with what is in it down to level 2.
    /// (C: `ovl_workdir_cleanup`.)
    fn clear(
        &self,
        parent: &Dentry<AnyFs>,
        child: &Dentry<AnyFs>,
        name: &[u8],
        level: Level,
    ) -> Result<(), Failure> {
        if level > 1 || !child.inode().is_some_and(Inode::is_directory) {
            return Ok(self.remove(parent, child)?);
        }
        if self.access.start_removing(parent, child)?.remove().is_ok() {
            return Ok(());
        }
        self.clear_below(child, name, level.saturating_add(1))?;
        Ok(self.remove(parent, child)?)
    }

    /// Clears the directory `dir`, what is in it is `level` deep.
    fn clear_below(&self, dir: &Dentry<AnyFs>, name: &[u8], level: Level) -> Result<(), Failure> {
        let path = self.path(dir);
        for name_below in self.names(dir)? {
            if level == 2 && name == INCOMPAT {
                self.log.refuse(fmt!(
                    "workdir: {} has incompat feature '{}', which is not supported",
                    self.name,
                    BStr::from_bytes(&name_below)
                ));
                return Err(Failure::Incompatible);
            }
            if let Ok(Some(child)) = path.lookup(&name_below, Negative::Keep) {
                self.clear(dir, &child, &name_below, level)?;
            }
        }
        Ok(())
    }

    /// All names in the directory.
    fn names(&self, dir: &Dentry<AnyFs>) -> Result<KVVec<KVec<u8>>> {
        let mut names = KVVec::new();
        let path = self.path(dir);
        let file = LayerFile::open_to_read(&path, OpenFlags::LARGE_FILE, self.mounter)?;
        file.for_each_entry(&mut |entry| {
            if !matches!(entry.name, b"." | b"..") {
                let mut name = KVec::with_capacity(entry.name.len(), GFP_KERNEL)?;
                name.extend_from_slice(entry.name, GFP_KERNEL)?;
                names.push(name, GFP_KERNEL)?;
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// Removes one object. That the filesystem refuses is no error: if it matters, what comes next
    /// will fail. (C: `ovl_cleanup`.)
    fn remove(&self, parent: &Dentry<AnyFs>, child: &Dentry<AnyFs>) -> Result {
        let removing = self.access.start_removing(parent, child)?;
        if let Err(error) = removing.remove() {
            self.log.warn(fmt!(
                "workdir: failed to clean up in {} ({})",
                self.name,
                Errno(error)
            ));
        }
        Ok(())
    }

    /// Leaves a mark below `work` that says that upper may be broken after a crash, and is not to be
    /// mounted then. (C: `ovl_create_volatile_dirty`.)
    ///
    /// # Errors
    ///
    /// `ENOTDIR` and what the filesystem says.
    pub(super) fn mark_volatile(&self, work: &Dentry<AnyFs>) -> Result {
        let incompat = self.enter(work, INCOMPAT)?;
        let volatile = self.enter(&incompat, b"volatile")?;
        if let Name::Free(name) = self.access.start_creating(&volatile, b"dirty")? {
            name.create(0)?;
        }
        Ok(())
    }

    /// The directory `name`, made if it is not there.
    fn enter(&self, parent: &Dentry<AnyFs>, name: &[u8]) -> Result<ARef<Dentry<AnyFs>>> {
        let dir = match self.access.start_creating(parent, name)? {
            Name::Free(name) => name.mkdir(0)?.keep(),
            Name::Taken(name) => name.keep(),
        };
        if dir.can_lookup() {
            Ok(dir)
        } else {
            Err(ENOTDIR)
        }
    }

    fn path<'b>(&'b self, dentry: &'b Dentry<AnyFs>) -> PathRef<'b> {
        PathRef {
            mount: self.access.mount(),
            dentry,
        }
    }
}
