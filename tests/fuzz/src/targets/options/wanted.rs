// SPDX-License-Identifier: GPL-2.0-only

//! What was asked for by name, and what section 1.2 says of the result.

extern crate std;

use crate::source::model::options::resolve::Class;
use crate::source::model::options::resolve::Conflict;
use crate::source::model::options::resolve::Facts;
use crate::source::model::options::resolve::Note;
use crate::source::model::options::Defaults;
use crate::source::model::options::Options;
use crate::source::model::options::RedirectDir;
use std::collections::BTreeMap;

/// The last value of each option that was named; `volatile` is one of `fsync`.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    values: BTreeMap<&'static str, &'static str>,
    pub(super) userxattr: bool,
}

impl Wanted {
    pub(super) fn set(&mut self, key: &'static str, value: &'static str) {
        match key {
            "userxattr" => self.userxattr = true,
            "volatile" => {
                self.values.insert("fsync", "volatile");
            }
            _ => {
                self.values.insert(key, value);
            }
        }
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.values.get(key) == Some(&value)
    }

    /// `redirect_dir=` was named, with another value than `nofollow`. What `off` means depends.
    fn redirects(&self, redirect_dir: RedirectDir) -> bool {
        self.values.contains_key("redirect_dir") && redirect_dir != RedirectDir::NoFollow
    }

    /// An error comes only of what was named.
    pub(super) fn check_conflict(&self, conflict: Conflict, facts: &Facts) {
        let untrusted = !self.userxattr && !facts.capable;
        let named = |key| self.values.contains_key(key);

        let (class, justified) = match conflict {
            Conflict::MetacopyRedirect(redirect_dir) => (
                Class::Invalid,
                self.is("metacopy", "on")
                    && named("redirect_dir")
                    && redirect_dir != RedirectDir::On,
            ),
            Conflict::ExportIndex => (
                Class::Invalid,
                self.is("nfs_export", "on") && self.is("index", "off"),
            ),
            Conflict::ExportMetacopy => (
                Class::Invalid,
                self.is("nfs_export", "on") && self.is("metacopy", "on"),
            ),
            Conflict::UserxattrRedirect(redirect_dir) => (
                Class::Invalid,
                self.userxattr && self.redirects(redirect_dir),
            ),
            Conflict::UserxattrMetacopy => {
                (Class::Invalid, self.userxattr && self.is("metacopy", "on"))
            }
            Conflict::RedirectUntrusted => (Class::Permission, untrusted && named("redirect_dir")),
            Conflict::MetacopyUntrusted => {
                (Class::Permission, untrusted && self.is("metacopy", "on"))
            }
            Conflict::VerityUntrusted => (
                Class::Permission,
                untrusted && named("verity") && !self.is("verity", "off"),
            ),
            Conflict::DataOnlyUntrusted => (Class::Permission, untrusted && facts.data_only),
        };
        assert_eq!(conflict.class(), class);
        assert!(justified, "{conflict:?} of {self:?}");
        assert!(!conflict.reason().is_empty());
    }

    /// What goes together, and what was named and not given up.
    pub(super) fn check_options(&self, options: &Options, facts: &Facts, now: &Defaults) {
        let Options {
            redirect_dir,
            index,
            nfs_export,
            metacopy,
            ..
        } = *options;

        // Features that need each other.
        assert!(!metacopy || redirect_dir == RedirectDir::On);
        assert!(!nfs_export || index);
        assert!(!nfs_export || !metacopy);
        assert!(!self.userxattr || (redirect_dir == RedirectDir::NoFollow && !metacopy));
        if !facts.upper {
            assert_ne!(redirect_dir, RedirectDir::Follow);
            assert!(!nfs_export || redirect_dir == RedirectDir::NoFollow);
            assert_eq!(index, nfs_export);
            assert_ne!(options.fsync.name(), "volatile");
            assert_ne!(options.uuid.name(), "on");
        }
        if !self.userxattr && !facts.capable {
            assert!(!self.redirects(redirect_dir));
            assert!(!facts.data_only && options.verity.name() == "off");
            assert!(!self.is("metacopy", "on"));
        }

        // An option that was named is given up for a reason alone.
        assert_eq!(options.userxattr, self.userxattr);
        assert_eq!(
            options.default_permissions,
            self.values.contains_key("default_permissions")
        );
        assert!(!self.is("index", "off") || !index);
        assert!(!self.is("index", "on") || index || !facts.upper);
        assert!(!self.is("metacopy", "on") || metacopy);
        assert!(!self.is("metacopy", "off") || !metacopy);
        assert!(!self.is("nfs_export", "off") || !nfs_export);
        self.check_redirect(redirect_dir, facts, now);
        self.check_rest(options, facts, now);
    }

    fn check_redirect(&self, redirect_dir: RedirectDir, facts: &Facts, now: &Defaults) {
        let off = if now.redirect_always_follow {
            "follow"
        } else {
            "nofollow"
        };
        let Some(&named) = self.values.get("redirect_dir") else {
            return;
        };
        let named = if named == "off" { off } else { named };
        let expected = if named == "follow" && !facts.upper {
            "on"
        } else {
            named
        };

        assert_eq!(redirect_dir.name(), expected);
    }

    /// The options that nothing but the lack of an upper layer has a part in.
    fn check_rest(&self, options: &Options, facts: &Facts, now: &Defaults) {
        let value = |key, default| self.values.get(key).copied().unwrap_or(default);
        let xino = if now.xino_auto { "auto" } else { "off" };

        assert_eq!(options.xino.name(), value("xino", xino));
        assert_eq!(options.verity.name(), value("verity", "off"));
        match (options.fsync.name(), value("fsync", "auto")) {
            ("auto", "volatile") => assert!(!facts.upper),
            (fsync, named) => assert_eq!(fsync, named),
        }
        match (options.uuid.name(), value("uuid", "auto")) {
            ("null", "on") => assert!(!facts.upper),
            (uuid, named) => assert_eq!(uuid, named),
        }
    }

    /// What is told of is so, and was not asked for in vain without a reason.
    pub(super) fn check_note(&self, note: Note, options: &Options, facts: &Facts) {
        let justified = match note {
            Note::WorkdirUseless => facts.workdir && !facts.upper,
            Note::IndexUseless => self.is("index", "on") && !facts.upper,
            Note::VolatileUseless => self.is("fsync", "volatile") && !facts.upper,
            Note::UuidNeedsUpper => self.is("uuid", "on") && !facts.upper,
            Note::MetacopyOffByRedirect(_) => {
                !options.metacopy && self.values.contains_key("redirect_dir")
            }
            Note::ExportNeedsNoFollow => !options.nfs_export && !facts.upper,
            Note::ExportOffByIndex => !options.nfs_export && self.is("index", "off"),
            Note::ExportOffByMetacopy => !options.nfs_export && self.is("metacopy", "on"),
            Note::ExportOffByVerity(verity) => {
                !options.nfs_export && self.is("verity", verity.name())
            }
            Note::MetacopyOffByExport => options.nfs_export && !options.metacopy,
        };

        assert!(justified, "{note:?} of {self:?}");
        assert!(!note.text().is_empty());
    }
}
