// SPDX-License-Identifier: GPL-2.0-only

//! What the filesystem of upper can do, found out by trying it in the work directory (W2).
//!
//! What is missing is warned of, and the options that need it are switched off; see `ovl_make_workdir` in
//! [`fs/overlayfs/super.c`](srctree/fs/overlayfs/super.c).

#![forbid(unsafe_code)]

use kernel::{
    cred::Credential,
    prelude::*,
    str::BStr,
    sync::aref::ARef, //
};

use super::{
    temp::TempName,
    xattr, //
};
use crate::{
    model::{
        names::{
            Namespace,
            Xattr, //
        },
        options, //
    },
    vfs::{
        context::{
            Errno,
            Log, //
        },
        cred::Capability,
        dentry::Dentry,
        dirop::{
            Name,
            RenameFlags,
            WriteAccess, //
        },
        file::{
            LayerFile,
            OpenFlags, //
        },
        handle::HandleSupport,
        lookup::Negative,
        path::PathRef,
        superblock::SuperBlock,
        AnyFs, //
    },
};

/// `DT_UNKNOWN`.
const TYPE_UNKNOWN: u8 = 0;

/// Whether we may, and the filesystem can, turn file handles back into files.
/// (C: `ovl_can_decode_fh`.)
pub(super) fn decodes_handles(sb: &SuperBlock<AnyFs>) -> bool {
    Capability::DacReadSearch.is_held() && sb.handle_support() != HandleSupport::None
}

/// What the filesystem of upper can do.
pub(crate) struct Abilities {
    /// Making files that have no name (C: `O_TMPFILE`).
    pub(crate) unnamed_files: bool,
    /// Renaming so that a whiteout stays behind.
    pub(crate) whiteout_renames: bool,
    /// Keeping the overlay's own attributes.
    pub(crate) xattrs: bool,
}

/// What it takes to try things out.
pub(super) struct Probe<'a> {
    pub(super) log: &'a Log<'a>,
    /// The base of the work directory as it was named.
    pub(super) name: &'a BStr,
    /// The base of the work directory, with something in it.
    pub(super) base: &'a Dentry<AnyFs>,
    /// The work directory, empty.
    pub(super) work: &'a Dentry<AnyFs>,
    /// To the mount of upper.
    pub(super) access: &'a WriteAccess<'a>,
    pub(super) mounter: &'a Credential,
    pub(super) namespace: Namespace,
}

impl Probe<'_> {
    /// Tries everything, and switches off in `options` what does not work.
    ///
    /// # Errors
    ///
    /// `EINVAL` if things are missing that a filesystem of this kind must have (E15), and what the
    /// filesystem says.
    pub(super) fn run(&self, options: &mut options::Options) -> Result<Abilities> {
        let types = self.tells_types().inspect_err(|e| self.explain(*e))?;
        if !types {
            self.log.warn(fmt!(
                "upperdir: filesystem does not tell file types in directories (d_type), whiteouts will show"
            ));
        }
        let unnamed_files = self.access.can_make_unnamed_file(self.work);
        if !unnamed_files {
            self.log
                .warn(fmt!("upperdir: filesystem does not support O_TMPFILE"));
        }
        let whiteouts = self
            .renames_with_whiteout()
            .inspect_err(|e| self.explain(*e))?;
        if !whiteouts {
            self.log.warn(fmt!(
                "upperdir: filesystem does not support RENAME_WHITEOUT"
            ));
        }
        let xattrs = self.sets_xattrs(options);
        // Filesystems whose names change on their own have never been let in with less, while others
        // were before these things were asked for.
        if self.work.is_remote() && !(types && whiteouts && xattrs) {
            return Err(self.log.refuse(fmt!(
                "workdir: filesystem on {} lacks features that a remote one must have",
                self.name
            )));
        }
        Ok(Abilities {
            unnamed_files,
            whiteout_renames: whiteouts,
            xattrs,
        })
    }

    /// Says that trying did not work out.
    fn explain(&self, error: Error) {
        self.log.refuse(fmt!(
            "workdir: failed to find out what the filesystem on {} can do ({})",
            self.name,
            Errno(error)
        ));
    }

    /// Switches off in `options` what needs file handles, if there are none.
    pub(super) fn check_handles(&self, options: &mut options::Options) {
        if !decodes_handles(self.access.mount().superblock()) {
            options.without_upper_handles(&mut |fallback| {
                self.log.warn(fmt!(
                    "upperdir: filesystem does not support file handles, {}",
                    fallback.text()
                ));
            });
        }
        options.upper_probed(&mut |fallback| self.log.warn(fmt!("{}", fallback.text())));
    }

    /// Whether a listing tells what kind of file a name is.
    fn tells_types(&self) -> Result<bool> {
        let mut known = false;
        let path = self.path(self.base);
        let file = LayerFile::open_to_read(&path, OpenFlags::LARGE_FILE, self.mounter)?;
        file.for_each_entry(&mut |entry| {
            // These two are always known to be directories.
            if !matches!(entry.name, b"." | b"..") {
                known |= entry.d_type != TYPE_UNKNOWN;
            }
            Ok(())
        })?;
        Ok(known)
    }

    /// Whether a rename can leave a whiteout behind. (C: `ovl_check_rename_whiteout`.)
    fn renames_with_whiteout(&self) -> Result<bool> {
        let (old, new) = (TempName::next(), TempName::next());
        let temp = self.temporary(&old)?;
        let renaming = self.access.start_renaming(
            self.work,
            &temp,
            self.work,
            new.as_bytes(),
            RenameFlags::WHITEOUT,
        )?;
        let can = match renaming.rename() {
            Ok(()) => self.took_whiteout(&old),
            Err(error) if error == EINVAL => Ok(false),
            Err(error) => Err(error),
        };
        self.remove(&temp);
        can
    }

    /// Whether there is a whiteout of this name. If so, it is removed.
    fn took_whiteout(&self, name: &TempName) -> Result<bool> {
        let path = self.path(self.work);
        let Some(found) = path.lookup(name.as_bytes(), Negative::Drop)? else {
            return Ok(false);
        };
        let is_whiteout = xattr::is_whiteout(&self.path(&found), self.namespace);
        if is_whiteout {
            self.remove(&found);
        }
        Ok(is_whiteout)
    }

    fn temporary(&self, name: &TempName) -> Result<ARef<Dentry<AnyFs>>> {
        match self.access.start_creating(self.work, name.as_bytes())? {
            Name::Free(free) => {
                self.access
                    .keep_cached(self.work, name.as_bytes(), free.create(0)?)
            }
            // The directory was empty.
            Name::Taken(_) => Err(ESTALE),
        }
    }

    fn remove(&self, child: &Dentry<AnyFs>) {
        let removing = self.access.start_removing(self.work, child);
        if let Err(error) = removing.and_then(|removing| removing.remove()) {
            self.log.warn(fmt!(
                "workdir: failed to remove a temporary file ({})",
                Errno(error)
            ));
        }
    }

    /// Whether the overlay's own attributes can be set.
    fn sets_xattrs(&self, options: &mut options::Options) -> bool {
        let name = Xattr::Opaque.name(self.namespace);
        let Err(error) = self.access.set_xattr(self.work, name, b"0") else {
            if let Err(error) = self.access.remove_xattr(self.work, name) {
                self.log.warn(fmt!(
                    "upperdir: failed to remove an xattr ({})",
                    Errno(error)
                ));
            }
            return true;
        };
        self.log.warn(fmt!(
            "upperdir: failed to set xattr {} ({})",
            kernel::str::BStr::from_bytes(name.to_bytes()),
            Errno(error)
        ));
        options.without_xattrs(&mut |fallback| {
            self.log.warn(fmt!("...{}", fallback.text()));
        });
        if error == EPERM && self.namespace == Namespace::Trusted {
            self.log
                .inform(fmt!("try mounting with 'userxattr' option"));
        }
        false
    }

    fn path<'b>(&'b self, dentry: &'b Dentry<AnyFs>) -> PathRef<'b> {
        PathRef {
            mount: self.access.mount(),
            dentry,
        }
    }
}
