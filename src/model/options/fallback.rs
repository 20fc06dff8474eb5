// SPDX-License-Identifier: GPL-2.0-only

//! What becomes of options when a layer turns out not to be able to do what they need (end of
//! section 1.2).
//!
//! Follows `ovl_make_workdir()`, `ovl_lower_dir()`, `ovl_get_fsid()` and `ovl_fill_super_creds()`
//! in `fs/overlayfs/super.c`, in whose order the methods are called.

#![forbid(unsafe_code)]

use super::Options;
use super::RedirectDir;
use super::Uuid;
use super::Xino;

/// An option that was switched off, with the reason where one option is the reason for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// `redirect_dir=nofollow`.
    Redirect,
    /// `metacopy=off`.
    Metacopy,
    /// `index=off`.
    Index,
    /// `uuid=null`.
    Uuid,
    /// `xino=off`.
    Xino,
    /// `nfs_export=off`.
    Export,
    /// NFS export without an index.
    ExportNeedsIndex,
    /// NFS export, while the index directory could not be made.
    ExportNeedsIndexDir,
    /// NFS export together with metacopy.
    ExportExcludesMetacopy,
}

impl Fallback {
    /// Returns the end of the sentence for the log. The caller knows the layer and what it lacks.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Redirect => "falling back to redirect_dir=nofollow",
            Self::Metacopy => "falling back to metacopy=off",
            Self::Index => "falling back to index=off",
            Self::Uuid => "falling back to uuid=null",
            Self::Xino => "falling back to xino=off",
            Self::Export => "falling back to nfs_export=off",
            Self::ExportNeedsIndex => {
                "NFS export requires \"index=on\", falling back to nfs_export=off"
            }
            Self::ExportNeedsIndexDir => {
                "NFS export requires an index dir, falling back to nfs_export=off"
            }
            Self::ExportExcludesMetacopy => {
                "NFS export is not supported with metadata only copy up, \
                 falling back to nfs_export=off"
            }
        }
    }
}

impl Options {
    /// The upper layer has no extended attributes, or none that the mounter may set.
    pub(crate) fn without_xattrs(&mut self, warn: &mut dyn FnMut(Fallback)) {
        if self.redirect_dir != RedirectDir::NoFollow {
            self.redirect_dir = RedirectDir::NoFollow;
            warn(Fallback::Redirect);
        }
        if self.metacopy {
            self.metacopy = false;
            warn(Fallback::Metacopy);
        }
        self.drop_index(warn);
        if matches!(self.uuid, Uuid::On | Uuid::Auto) {
            self.uuid = Uuid::Null;
            warn(Fallback::Uuid);
        }
        self.drop_xino(warn);
    }

    /// The upper layer cannot decode file handles.
    pub(crate) fn without_upper_handles(&mut self, warn: &mut dyn FnMut(Fallback)) {
        self.drop_index(warn);
    }

    /// The probes of the upper layer have been made.
    pub(crate) fn upper_probed(&mut self, warn: &mut dyn FnMut(Fallback)) {
        if self.nfs_export && !self.index {
            self.nfs_export = false;
            warn(Fallback::ExportNeedsIndex);
        }
    }

    /// A lower layer below an upper one cannot decode file handles.
    pub(crate) fn without_lower_handles(&mut self, warn: &mut dyn FnMut(Fallback)) {
        self.drop_index(warn);
        self.drop_export(warn);
        // Numbers would not outlive the copy-up.
        self.drop_xino(warn);
    }

    /// A lower layer of an overlay without upper cannot decode file handles.
    pub(crate) fn without_handles(&mut self, warn: &mut dyn FnMut(Fallback)) {
        if self.nfs_export {
            self.drop_index(warn);
            self.drop_export(warn);
        }
    }

    /// File handles of a lower layer cannot be told from those of another one: its uuid is null or
    /// not unique.
    pub(crate) fn without_uuid(&mut self, warn: &mut dyn FnMut(Fallback)) {
        self.drop_xino(warn);
        self.drop_index(warn);
        self.drop_export(warn);
    }

    /// There is no upper layer, so there is nothing to index.
    pub(crate) fn without_upper(&mut self) {
        // The list of mounts shows it, but it is no news.
        self.index = false;
    }

    /// There is an upper layer, but no working or index directory: the overlay is read-only.
    pub(crate) fn without_workdir(&mut self, warn: &mut dyn FnMut(Fallback)) {
        self.index = false;
        if self.nfs_export {
            self.nfs_export = false;
            warn(Fallback::ExportNeedsIndexDir);
        }
    }

    /// All layers are there.
    pub(crate) fn layers_ready(&mut self, warn: &mut dyn FnMut(Fallback)) {
        if self.metacopy && self.nfs_export {
            self.nfs_export = false;
            warn(Fallback::ExportExcludesMetacopy);
        }
    }

    fn drop_index(&mut self, warn: &mut dyn FnMut(Fallback)) {
        if self.index {
            self.index = false;
            warn(Fallback::Index);
        }
    }

    fn drop_export(&mut self, warn: &mut dyn FnMut(Fallback)) {
        if self.nfs_export {
            self.nfs_export = false;
            warn(Fallback::Export);
        }
    }

    /// Without persistent numbers `auto` means off, while `on` is what the mounter answers for.
    fn drop_xino(&mut self, warn: &mut dyn FnMut(Fallback)) {
        if self.xino == Xino::Auto {
            self.xino = Xino::Off;
            warn(Fallback::Xino);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::super::Defaults;
    use super::super::Requested;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const ALL: &[(&str, &str)] = &[
        ("redirect_dir", "on"),
        ("index", "on"),
        ("nfs_export", "on"),
        ("metacopy", "on"),
        ("uuid", "on"),
        ("xino", "auto"),
    ];

    fn options(named: &[(&str, &str)]) -> Options {
        let mut requested = Requested::new(&Defaults::LOADED);

        for (key, value) in named {
            let set = requested.set(key.as_bytes(), Some(value.as_bytes()), &Defaults::LOADED);
            assert_eq!(set, Some(Ok(())));
        }
        requested.options
    }

    fn warnings(
        options: &mut Options,
        fall_back: impl FnOnce(&mut Options, &mut dyn FnMut(Fallback)),
    ) -> Vec<Fallback> {
        let mut warnings = vec![];

        fall_back(options, &mut |warning| warnings.push(warning));
        warnings
    }

    #[test]
    fn an_upper_without_xattrs_has_no_feature_left() {
        let mut all = options(ALL);
        let told = warnings(&mut all, |options, warn| {
            options.without_xattrs(warn);
            options.without_upper_handles(warn);
            options.upper_probed(warn);
        });

        assert_eq!(
            told,
            [
                Fallback::Redirect,
                Fallback::Metacopy,
                Fallback::Index,
                Fallback::Uuid,
                Fallback::Xino,
                Fallback::ExportNeedsIndex,
            ]
        );
        assert_eq!(all.redirect_dir, RedirectDir::NoFollow);
        assert_eq!((all.uuid, all.xino), (Uuid::Null, Xino::Off));
        assert!(!all.metacopy && !all.index && !all.nfs_export);
    }

    #[test]
    fn defaults_lose_redirects_and_uuid_alone() {
        let told = warnings(&mut options(&[]), |options, warn| {
            options.without_xattrs(warn);
            options.upper_probed(warn);
        });

        assert_eq!(told, [Fallback::Redirect, Fallback::Uuid]);
    }

    #[test]
    fn xino_on_is_never_given_up() {
        let mut on = options(&[("xino", "on")]);
        let _ = warnings(&mut on, |options, warn| {
            options.without_xattrs(warn);
            options.without_lower_handles(warn);
            options.without_uuid(warn);
        });

        assert_eq!(on.xino, Xino::On);
    }

    #[test]
    fn handles_and_uuids_carry_index_and_export() {
        for fall_back in [Options::without_lower_handles, Options::without_uuid] {
            let mut all = options(ALL);
            let mut told = warnings(&mut all, fall_back);

            told.sort_by_key(|warning| *warning as u8);
            assert_eq!(told, [Fallback::Index, Fallback::Xino, Fallback::Export]);
            assert!(!all.index && !all.nfs_export && all.metacopy);
        }
    }

    #[test]
    fn without_upper_only_export_needs_handles() {
        let told = |named| warnings(&mut options(named), Options::without_handles);

        assert_eq!(told(&[("index", "on"), ("xino", "auto")]), []);
        assert_eq!(
            told(&[("index", "on"), ("nfs_export", "on")]),
            [Fallback::Index, Fallback::Export]
        );
    }

    #[test]
    fn a_read_only_overlay_has_no_index() {
        let mut all = options(ALL);
        all.without_upper();
        assert!(!all.index && all.nfs_export);

        let mut all = options(ALL);
        let told = warnings(&mut all, Options::without_workdir);
        assert_eq!(told, [Fallback::ExportNeedsIndexDir]);
        assert!(!all.index && !all.nfs_export);
    }

    #[test]
    fn export_gives_way_to_metacopy_at_last() {
        let mut all = options(ALL);

        assert_eq!(
            warnings(&mut all, Options::layers_ready),
            [Fallback::ExportExcludesMetacopy]
        );
        assert!(all.metacopy && !all.nfs_export);
    }
}
