// SPDX-License-Identifier: GPL-2.0-only

//! The resolution of options against the C code, written down once more with its own kind of
//! variables.

#![forbid(unsafe_code)]

extern crate std;

use super::super::Defaults;
use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const WITH_UPPER: Facts = Facts {
    upper: true,
    workdir: true,
    data_only: false,
    capable: true,
};

const LOWER_ONLY: Facts = Facts {
    upper: false,
    workdir: false,
    ..WITH_UPPER
};

type Outcome = (Result<Options, Conflict>, Vec<Note>);

fn resolve(defaults: &Defaults, facts: &Facts, named: &[(&str, &str)]) -> Outcome {
    let mut requested = Requested::new(defaults);
    let mut notes = vec![];

    for (key, value) in named {
        let value = (!value.is_empty()).then_some(value.as_bytes());
        assert_eq!(
            requested.set(key.as_bytes(), value, defaults),
            Some(Ok(())),
            "{key}"
        );
    }
    let result = requested.resolve(facts, &mut |note| notes.push(note));
    for note in &notes {
        assert!(!note.text().is_empty());
    }
    (result, notes)
}

fn loaded(facts: &Facts, named: &[(&str, &str)]) -> Outcome {
    resolve(&Defaults::LOADED, facts, named)
}

fn conflict(facts: &Facts, named: &[(&str, &str)]) -> (Class, &'static str) {
    let conflict = loaded(facts, named).0.expect_err("a conflict");
    (conflict.class(), conflict.reason())
}

#[test]
fn a_mount_that_names_nothing_has_the_defaults() {
    let (options, notes) = loaded(&WITH_UPPER, &[]);

    assert_eq!(options, Ok(Defaults::LOADED.options()));
    assert_eq!(notes, []);
}

#[test]
fn without_upper_follow_is_on() {
    let (options, notes) = loaded(&LOWER_ONLY, &[]);

    assert_eq!(options.unwrap().redirect_dir, RedirectDir::On);
    assert_eq!(notes, []);
}

#[test]
fn without_upper_useless_options_are_told() {
    let facts = Facts {
        workdir: true,
        ..LOWER_ONLY
    };
    let named = [("index", "on"), ("volatile", ""), ("uuid", "on")];
    let (options, notes) = loaded(&facts, &named);
    let options = options.unwrap();

    assert_eq!(
        notes,
        [
            Note::WorkdirUseless,
            Note::IndexUseless,
            Note::VolatileUseless,
            Note::UuidNeedsUpper
        ]
    );
    assert_eq!(
        (options.index, options.fsync, options.uuid),
        (false, Fsync::Auto, Uuid::Null)
    );
}

#[test]
fn metacopy_brings_redirects() {
    let options = loaded(&WITH_UPPER, &[("metacopy", "on")]).0.unwrap();

    assert!(options.metacopy);
    assert_eq!(options.redirect_dir, RedirectDir::On);
}

#[test]
fn named_options_that_exclude_each_other_are_refused() {
    let refused = |named: &[(&str, &str)]| {
        let (class, reason) = conflict(&WITH_UPPER, named);
        assert_eq!(class, Class::Invalid);
        reason.strip_prefix("conflicting options: ").unwrap()
    };

    assert_eq!(
        refused(&[("metacopy", "on"), ("redirect_dir", "nofollow")]),
        "metacopy=on,redirect_dir=nofollow"
    );
    assert_eq!(
        refused(&[("metacopy", "on"), ("redirect_dir", "off")]),
        "metacopy=on,redirect_dir=follow"
    );
    assert_eq!(
        refused(&[("nfs_export", "on"), ("index", "off")]),
        "nfs_export=on,index=off"
    );
    assert_eq!(
        refused(&[("nfs_export", "on"), ("metacopy", "on")]),
        "nfs_export=on,metacopy=on"
    );
    assert_eq!(
        refused(&[("userxattr", ""), ("redirect_dir", "on")]),
        "userxattr,redirect_dir=on"
    );
    assert_eq!(
        refused(&[("userxattr", ""), ("redirect_dir", "follow")]),
        "userxattr,redirect_dir=follow"
    );
    assert_eq!(
        refused(&[("userxattr", ""), ("metacopy", "on")]),
        "userxattr,metacopy=on"
    );
}

#[test]
fn userxattr_switches_defaults_off_silently() {
    let defaults = Defaults {
        redirect_dir: true,
        metacopy: true,
        ..Defaults::LOADED
    };
    let (options, notes) = resolve(&defaults, &WITH_UPPER, &[("userxattr", "")]);
    let options = options.unwrap();

    assert_eq!(notes, []);
    assert_eq!(options.redirect_dir, RedirectDir::NoFollow);
    assert!(!options.metacopy);
}

#[test]
fn the_unprivileged_are_refused_what_needs_trusted_attributes() {
    let facts = Facts {
        capable: false,
        ..WITH_UPPER
    };
    let refused = |facts: &Facts, named: &[(&str, &str)]| {
        let (class, reason) = conflict(facts, named);
        assert_eq!(class, Class::Permission);
        reason.split(' ').next().unwrap()
    };

    assert_eq!(refused(&facts, &[("redirect_dir", "on")]), "redirect_dir");
    assert_eq!(refused(&facts, &[("metacopy", "on")]), "metacopy");
    assert_eq!(refused(&facts, &[("verity", "on")]), "verity");
    assert!(loaded(&facts, &[]).0.is_ok());
    assert!(loaded(&facts, &[("redirect_dir", "nofollow")]).0.is_ok());

    let data = Facts {
        data_only: true,
        ..facts
    };
    assert_eq!(refused(&data, &[]), "lower");
    assert!(loaded(&data, &[("userxattr", "")]).0.is_ok());
}

const ON: i32 = 3;
const NOFOLLOW: i32 = 2;
const FOLLOW: i32 = 1;

/// `struct ovl_config` and `struct ovl_opt_set` as C has them.
struct C {
    redirect: i32,
    metacopy: bool,
    index: bool,
    nfs_export: bool,
    set: Named,
}

impl C {
    fn new(options: &Options, set: Named) -> Self {
        Self {
            redirect: match options.redirect_dir {
                RedirectDir::On => ON,
                RedirectDir::NoFollow => NOFOLLOW,
                RedirectDir::Follow => FOLLOW,
            },
            metacopy: options.metacopy,
            index: options.index,
            nfs_export: options.nfs_export,
            set,
        }
    }

    /// `ovl_fs_params_verify()`, as to these four options, and the errno.
    fn verify(
        mut self,
        facts: &Facts,
        options: &Options,
    ) -> Result<(i32, bool, bool, bool), Class> {
        let set = &mut self.set;
        if !facts.upper {
            if self.index && set.index {
                set.index = false;
            }
            self.index = false;
            if self.redirect == FOLLOW {
                self.redirect = ON;
            }
        }
        if self.metacopy && self.redirect != ON {
            if set.metacopy && set.redirect_dir {
                return Err(Class::Invalid);
            }
            if set.redirect_dir {
                self.metacopy = false;
            } else {
                self.redirect = ON;
            }
        }
        if self.nfs_export && !self.index {
            if !facts.upper && self.redirect != NOFOLLOW {
                self.nfs_export = false;
            } else if set.nfs_export && set.index {
                return Err(Class::Invalid);
            } else if set.index {
                self.nfs_export = false;
            } else {
                self.index = true;
            }
        }
        if self.nfs_export && self.metacopy {
            if set.nfs_export && set.metacopy {
                return Err(Class::Invalid);
            }
            if set.metacopy || options.verity != Verity::Off {
                self.nfs_export = false;
            } else {
                self.metacopy = false;
            }
        }
        self.verify_xattrs(facts, options)
    }

    fn verify_xattrs(
        mut self,
        facts: &Facts,
        options: &Options,
    ) -> Result<(i32, bool, bool, bool), Class> {
        let redirect = self.set.redirect_dir && self.redirect != NOFOLLOW;
        let metacopy = self.metacopy && self.set.metacopy;

        if options.userxattr {
            if redirect || metacopy {
                return Err(Class::Invalid);
            }
            self.redirect = NOFOLLOW;
            self.metacopy = false;
        }
        let verity = options.verity != Verity::Off;
        if !options.userxattr
            && !facts.capable
            && (redirect || metacopy || verity || facts.data_only)
        {
            return Err(Class::Permission);
        }
        Ok((self.redirect, self.metacopy, self.index, self.nfs_export))
    }
}

fn defaults() -> impl Strategy<Value = Defaults> {
    any::<[bool; 6]>().prop_map(
        |[redirect_dir, redirect_always_follow, xino_auto, index, nfs_export, metacopy]| Defaults {
            redirect_dir,
            redirect_always_follow,
            xino_auto,
            index,
            nfs_export,
            metacopy,
        },
    )
}

fn facts() -> impl Strategy<Value = Facts> {
    any::<[bool; 4]>().prop_map(|[upper, workdir, data_only, capable]| Facts {
        upper,
        workdir,
        data_only,
        capable,
    })
}

fn named() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let option = prop::sample::select(vec![
        ("redirect_dir", "on"),
        ("redirect_dir", "off"),
        ("redirect_dir", "follow"),
        ("redirect_dir", "nofollow"),
        ("index", "on"),
        ("index", "off"),
        ("nfs_export", "on"),
        ("nfs_export", "off"),
        ("metacopy", "on"),
        ("metacopy", "off"),
        ("uuid", "on"),
        ("uuid", "off"),
        ("xino", "auto"),
        ("verity", "on"),
        ("verity", "require"),
        ("fsync", "strict"),
        ("volatile", ""),
        ("userxattr", ""),
    ]);
    prop::collection::vec(option, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn resolves_like_the_c_code(defaults in defaults(), facts in facts(), named in named()) {
        let mut requested = Requested::new(&defaults);
        for (key, value) in &named {
            let value = (!value.is_empty()).then_some(value.as_bytes());
            prop_assert_eq!(requested.set(key.as_bytes(), value, &defaults), Some(Ok(())));
        }
        let before = requested.options;
        let expected = C::new(&before, requested.named).verify(&facts, &before);

        match resolve(&defaults, &facts, &named).0 {
            Err(conflict) => prop_assert_eq!(expected, Err(conflict.class())),
            Ok(after) => {
                let c = C::new(&after, Named::default());
                prop_assert_eq!(
                    expected,
                    Ok((c.redirect, c.metacopy, c.index, c.nfs_export))
                );
                let rest = |options: Options| Options {
                    redirect_dir: RedirectDir::On,
                    metacopy: false,
                    index: false,
                    nfs_export: false,
                    ..options
                };
                let fsync = before.fsync == Fsync::Volatile && !facts.upper;
                let uuid = before.uuid == Uuid::On && !facts.upper;
                prop_assert_eq!(rest(after), Options {
                    fsync: if fsync { Fsync::Auto } else { before.fsync },
                    uuid: if uuid { Uuid::Null } else { before.uuid },
                    ..rest(before)
                });
            }
        }
    }

    #[test]
    fn reasons_name_an_option(defaults in defaults(), facts in facts(), named in named()) {
        if let Err(conflict) = resolve(&defaults, &facts, &named).0 {
            let names = ["redirect_dir", "index", "metacopy", "verity", "data-only"];
            prop_assert!(names.iter().any(|name| conflict.reason().contains(name)));
        }
    }
}
