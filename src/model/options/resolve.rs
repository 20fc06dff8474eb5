// SPDX-License-Identifier: GPL-2.0-only

//! What becomes of options that do not go together (section 1.2, E6): `ovl_fs_params_verify()` in
//! `fs/overlayfs/params.c`.
//!
//! An option that was named wins over one that was not; two that were named and exclude each other
//! are an error.

#![forbid(unsafe_code)]

use super::Fsync;
use super::Named;
use super::Options;
use super::RedirectDir;
use super::Requested;
use super::Uuid;
use super::Verity;

/// What the resolution has to know of the mount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// `upperdir=` was given.
    pub(crate) upper: bool,
    /// `workdir=` was given.
    pub(crate) workdir: bool,
    /// There are data-only layers.
    pub(crate) data_only: bool,
    /// The mounter has CAP_SYS_ADMIN in the initial user namespace, so that trusted.* attributes
    /// can be used. Only looked at without `userxattr`, as the question itself may leave a trace in
    /// the audit log.
    pub(crate) capable: bool,
}

/// An option that is not what was asked for, or not what the default is, which the log has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// `workdir=` without upper. The caller drops it.
    WorkdirUseless,
    /// `index=on` without upper.
    IndexUseless,
    /// `volatile` without upper.
    VolatileUseless,
    /// `uuid=on` without upper became `null`.
    UuidNeedsUpper,
    /// `redirect_dir=` was named, and does not go with the default of `metacopy`.
    MetacopyOffByRedirect(RedirectDir),
    /// NFS export without upper, while redirects are followed.
    ExportNeedsNoFollow,
    /// `index=off` was named.
    ExportOffByIndex,
    /// `metacopy=on` was named.
    ExportOffByMetacopy,
    /// `verity=` was named, which metacopy is needed for.
    ExportOffByVerity(Verity),
    /// NFS export excludes metacopy.
    MetacopyOffByExport,
}

impl Note {
    /// Returns the sentence for the log.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::WorkdirUseless => "option \"workdir\" is useless in a non-upper mount, ignore",
            Self::IndexUseless => "option \"index=on\" is useless in a non-upper mount, ignore",
            Self::VolatileUseless => {
                "option \"volatile\" is meaningless in a non-upper mount, ignoring it"
            }
            Self::UuidNeedsUpper => {
                "option \"uuid=on\" requires an upper fs, falling back to uuid=null"
            }
            Self::MetacopyOffByRedirect(RedirectDir::NoFollow) => {
                "disabling metacopy due to redirect_dir=nofollow"
            }
            Self::MetacopyOffByRedirect(_) => "disabling metacopy due to redirect_dir=follow",
            Self::ExportNeedsNoFollow => {
                "NFS export requires \"redirect_dir=nofollow\" on non-upper mount, \
                 falling back to nfs_export=off"
            }
            Self::ExportOffByIndex => "disabling nfs_export due to index=off",
            Self::ExportOffByMetacopy => "disabling nfs_export due to metacopy=on",
            Self::ExportOffByVerity(Verity::Require) => {
                "disabling nfs_export due to verity=require"
            }
            Self::ExportOffByVerity(_) => "disabling nfs_export due to verity=on",
            Self::MetacopyOffByExport => "disabling metacopy due to nfs_export=on",
        }
    }
}

/// Options that were named and exclude each other (EINVAL), or that the mounter may not use
/// (EPERM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// Metacopy needs redirects to be made.
    MetacopyRedirect(RedirectDir),
    /// NFS export needs the index.
    ExportIndex,
    /// NFS export excludes metacopy.
    ExportMetacopy,
    /// Users could forge redirects.
    UserxattrRedirect(RedirectDir),
    /// Users could forge metacopy files.
    UserxattrMetacopy,
    /// Redirects are kept in `trusted.*`.
    RedirectUntrusted,
    /// Metacopy is kept in `trusted.*`.
    MetacopyUntrusted,
    /// Digests are kept in `trusted.*`.
    VerityUntrusted,
    /// What refers to data-only layers is kept in `trusted.*`.
    DataOnlyUntrusted,
}

/// The errno of a [`Conflict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// EINVAL.
    Invalid,
    /// EPERM.
    Permission,
}

impl Conflict {
    /// Tells which errno it is.
    pub(crate) const fn class(self) -> Class {
        match self {
            Self::MetacopyRedirect(_)
            | Self::ExportIndex
            | Self::ExportMetacopy
            | Self::UserxattrRedirect(_)
            | Self::UserxattrMetacopy => Class::Invalid,
            Self::RedirectUntrusted
            | Self::MetacopyUntrusted
            | Self::VerityUntrusted
            | Self::DataOnlyUntrusted => Class::Permission,
        }
    }

    /// Returns the sentence for the log of the mount context.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::MetacopyRedirect(RedirectDir::NoFollow) => {
                "conflicting options: metacopy=on,redirect_dir=nofollow"
            }
            Self::MetacopyRedirect(_) => "conflicting options: metacopy=on,redirect_dir=follow",
            Self::ExportIndex => "conflicting options: nfs_export=on,index=off",
            Self::ExportMetacopy => "conflicting options: nfs_export=on,metacopy=on",
            Self::UserxattrRedirect(RedirectDir::Follow) => {
                "conflicting options: userxattr,redirect_dir=follow"
            }
            Self::UserxattrRedirect(_) => "conflicting options: userxattr,redirect_dir=on",
            Self::UserxattrMetacopy => "conflicting options: userxattr,metacopy=on",
            Self::RedirectUntrusted => "redirect_dir requires permission to access trusted xattrs",
            Self::MetacopyUntrusted => "metacopy requires permission to access trusted xattrs",
            Self::VerityUntrusted => "verity requires permission to access trusted xattrs",
            Self::DataOnlyUntrusted => {
                "lower data-only dirs require permission to access trusted xattrs"
            }
        }
    }
}

impl Requested {
    /// Makes the options go together. `note` is told what was given up for what.
    pub(crate) fn resolve(
        &self,
        facts: &Facts,
        note: &mut dyn FnMut(Note),
    ) -> Result<Options, Conflict> {
        let mut resolution = Resolution {
            options: self.options,
            named: self.named,
            upper: facts.upper,
            note,
        };

        if !facts.upper {
            resolution.drop_useless(facts);
        }
        resolution.metacopy_needs_redirect()?;
        resolution.export_needs_index()?;
        resolution.export_excludes_metacopy()?;
        if resolution.options.userxattr {
            resolution.userxattr_excludes()?;
        } else if !facts.capable {
            resolution.untrusted_excludes(facts)?;
        }
        Ok(resolution.options)
    }
}

struct Resolution<'a> {
    options: Options,
    named: Named,
    upper: bool,
    note: &'a mut dyn FnMut(Note),
}

impl Resolution<'_> {
    /// Steps 1 and 2: what only an upper layer gives a meaning to.
    fn drop_useless(&mut self, facts: &Facts) {
        let options = &mut self.options;

        if facts.workdir {
            (self.note)(Note::WorkdirUseless);
        }
        if options.index && self.named.index {
            (self.note)(Note::IndexUseless);
            self.named.index = false;
        }
        options.index = false;
        if options.fsync == Fsync::Volatile {
            (self.note)(Note::VolatileUseless);
            options.fsync = Fsync::Auto;
        }
        if options.uuid == Uuid::On {
            (self.note)(Note::UuidNeedsUpper);
            options.uuid = Uuid::Null;
        }
        // Nothing can be renamed, so the two mean the same; but the list of mounts shows it.
        if options.redirect_dir == RedirectDir::Follow {
            options.redirect_dir = RedirectDir::On;
        }
    }

    /// Step 3.
    fn metacopy_needs_redirect(&mut self) -> Result<(), Conflict> {
        let options = &mut self.options;
        let redirect_dir = options.redirect_dir;

        if !options.metacopy || redirect_dir == RedirectDir::On {
            return Ok(());
        }
        match (self.named.metacopy, self.named.redirect_dir) {
            (true, true) => return Err(Conflict::MetacopyRedirect(redirect_dir)),
            (false, true) => {
                (self.note)(Note::MetacopyOffByRedirect(redirect_dir));
                options.metacopy = false;
            }
            (_, false) => options.redirect_dir = RedirectDir::On,
        }
        Ok(())
    }

    /// Step 4.
    fn export_needs_index(&mut self) -> Result<(), Conflict> {
        let options = &mut self.options;

        if !options.nfs_export || options.index {
            return Ok(());
        }
        if !self.upper && options.redirect_dir != RedirectDir::NoFollow {
            (self.note)(Note::ExportNeedsNoFollow);
            options.nfs_export = false;
            return Ok(());
        }
        match (self.named.nfs_export, self.named.index) {
            (true, true) => return Err(Conflict::ExportIndex),
            (false, true) => {
                (self.note)(Note::ExportOffByIndex);
                options.nfs_export = false;
            }
            (_, false) => options.index = true,
        }
        Ok(())
    }

    /// Step 5.
    fn export_excludes_metacopy(&mut self) -> Result<(), Conflict> {
        let options = &mut self.options;

        if !options.nfs_export || !options.metacopy {
            return Ok(());
        }
        if self.named.nfs_export && self.named.metacopy {
            return Err(Conflict::ExportMetacopy);
        }
        if self.named.metacopy {
            (self.note)(Note::ExportOffByMetacopy);
            options.nfs_export = false;
        } else if options.verity != Verity::Off {
            (self.note)(Note::ExportOffByVerity(options.verity));
            options.nfs_export = false;
        } else {
            (self.note)(Note::MetacopyOffByExport);
            options.metacopy = false;
        }
        Ok(())
    }

    /// Step 6: users could forge what redirects and metacopy files point to. Defaults are switched
    /// off silently.
    fn userxattr_excludes(&mut self) -> Result<(), Conflict> {
        let options = &mut self.options;

        if self.named.redirect_dir && options.redirect_dir != RedirectDir::NoFollow {
            return Err(Conflict::UserxattrRedirect(options.redirect_dir));
        }
        if self.named.metacopy && options.metacopy {
            return Err(Conflict::UserxattrMetacopy);
        }
        options.redirect_dir = RedirectDir::NoFollow;
        options.metacopy = false;
        Ok(())
    }

    /// Step 7. Features that were not named are switched off when the upper layer turns out to have
    /// no attributes.
    fn untrusted_excludes(&self, facts: &Facts) -> Result<(), Conflict> {
        let options = &self.options;

        if self.named.redirect_dir && options.redirect_dir != RedirectDir::NoFollow {
            Err(Conflict::RedirectUntrusted)
        } else if self.named.metacopy && options.metacopy {
            Err(Conflict::MetacopyUntrusted)
        } else if options.verity != Verity::Off {
            Err(Conflict::VerityUntrusted)
        } else if facts.data_only {
            Err(Conflict::DataOnlyUntrusted)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
