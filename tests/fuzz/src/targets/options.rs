// SPDX-License-Identifier: GPL-2.0-only

//! Mount options in any order, what becomes of them (section 1.2), and how they are printed.

extern crate std;

mod wanted;

use crate::source::model::options::fallback::Fallback;
use crate::source::model::options::resolve::Facts;
use crate::source::model::options::Defaults;
use crate::source::model::options::Filesystems;
use crate::source::model::options::Options;
use crate::source::model::options::RedirectDir;
use crate::source::model::options::Requested;
use crate::source::model::options::Uuid;
use crate::source::model::options::ValueError;
use crate::source::model::options::Xino;
use arbitrary::Result;
use arbitrary::Unstructured;
use std::vec;
use std::vec::Vec;
use wanted::Wanted;

/// All options with their values (section 1.1), in the order in which they are printed. A flag has
/// none.
const KNOWN: [(&str, &[&str]); 11] = [
    ("default_permissions", &[]),
    ("redirect_dir", &["on", "follow", "nofollow", "off"]),
    ("index", &["on", "off"]),
    ("uuid", &["off", "null", "auto", "on"]),
    ("nfs_export", &["on", "off"]),
    ("xino", &["on", "off", "auto"]),
    ("metacopy", &["on", "off"]),
    ("fsync", &["volatile", "auto", "strict"]),
    ("volatile", &[]),
    ("userxattr", &[]),
    ("verity", &["off", "on", "require"]),
];

pub(super) fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let now = defaults(input)?;
    let facts = facts(input)?;
    let mut requested = Requested::new(&now);
    let mut wanted = Wanted::default();

    for _ in 0..input.int_in_range(0..=12)? {
        let (key, value) = option(input)?;
        check_set(&mut requested, &key, value.as_deref(), &now, &mut wanted);
    }
    assert_eq!(requested.userxattr(), wanted.userxattr);

    let mut notes = vec![];
    let options = match requested.resolve(&facts, &mut |note| notes.push(note)) {
        Ok(options) => options,
        Err(conflict) => {
            wanted.check_conflict(conflict, &facts);
            return Ok(());
        }
    };
    wanted.check_options(&options, &facts, &now);
    for note in notes {
        wanted.check_note(note, &options, &facts);
    }
    check_named_again(&options, &facts, &now);
    check_fallbacks(input, options)
}

fn defaults(input: &mut Unstructured<'_>) -> Result<Defaults> {
    Ok(Defaults {
        redirect_dir: input.arbitrary()?,
        redirect_always_follow: input.arbitrary()?,
        xino_auto: input.arbitrary()?,
        index: input.arbitrary()?,
        nfs_export: input.arbitrary()?,
        metacopy: input.arbitrary()?,
    })
}

fn facts(input: &mut Unstructured<'_>) -> Result<Facts> {
    Ok(Facts {
        upper: input.arbitrary()?,
        workdir: input.arbitrary()?,
        data_only: input.arbitrary()?,
        capable: input.arbitrary()?,
    })
}

/// An option that is most often one that exists, with a value that often fits.
fn option(input: &mut Unstructured<'_>) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let (key, values) = *input.choose(&KNOWN)?;
    let text = |text: &str| text.as_bytes().to_vec();

    Ok(match input.int_in_range(0..=9)? {
        0 => (input.arbitrary()?, input.arbitrary()?),
        1 => (text(key), input.arbitrary()?),
        2 => (text(key), Some(text(input.choose(KNOWN[1].1)?))),
        _ if values.is_empty() => (text(key), None),
        _ => (text(key), Some(text(input.choose(values)?))),
    })
}

fn check_set(
    requested: &mut Requested,
    key: &[u8],
    value: Option<&[u8]>,
    now: &Defaults,
    wanted: &mut Wanted,
) {
    let before = *requested;
    let outcome = requested.set(key, value, now);
    let known = KNOWN.iter().find(|(name, _)| name.as_bytes() == key);

    let expected = match (known, value) {
        (None, _) => None,
        (Some((name, [])), None) => {
            wanted.set(name, "");
            Some(Ok(()))
        }
        (Some((_, [])), Some(_)) => Some(Err(ValueError::Unexpected)),
        (Some((name, values)), _) => {
            let found = values.iter().find(|text| Some(text.as_bytes()) == value);
            if let Some(text) = found {
                wanted.set(name, text);
            }
            Some(found.map(|_| ()).ok_or(ValueError::Bad))
        }
    };
    assert_eq!(outcome, expected);
    if outcome != Some(Ok(())) {
        assert_eq!(*requested, before);
    }
}

/// What is printed, in order.
fn shown(
    options: &Options,
    now: &Defaults,
    filesystems: Filesystems,
) -> Vec<(&'static str, Option<&'static str>)> {
    let mut shown = vec![];
    options.show(now, filesystems, &mut |key, value| shown.push((key, value)));

    let mut known = KNOWN.iter();
    for (key, value) in &shown {
        let found = known.find(|(name, _)| name == key);
        let (_, values) = found.expect("an option that comes later in the order");
        assert_eq!(value.is_none(), values.is_empty());
        if let Some(value) = value {
            assert!(values.contains(value));
            assert_ne!(*value, default(key, now));
        }
    }
    shown
}

/// The value of an option that was not named (section 1.1).
fn default(key: &str, now: &Defaults) -> &'static str {
    let switch = |on| if on { "on" } else { "off" };

    match key {
        "redirect_dir" if now.redirect_dir => "on",
        "redirect_dir" if now.redirect_always_follow => "follow",
        "redirect_dir" => "nofollow",
        "index" => switch(now.index),
        "nfs_export" => switch(now.nfs_export),
        "metacopy" => switch(now.metacopy),
        "xino" if now.xino_auto => "auto",
        "uuid" | "fsync" => "auto",
        _ => "off",
    }
}

/// A mount with the options that are printed is the same mount.
fn check_named_again(options: &Options, facts: &Facts, now: &Defaults) {
    let all = shown(options, now, Filesystems::Several);
    let mut again = Requested::new(now);
    let facts = Facts {
        // Features that were on by default may not be named without that.
        capable: true,
        ..*facts
    };

    for (key, value) in &all {
        let value = value.map(str::as_bytes);
        assert_eq!(again.set(key.as_bytes(), value, now), Some(Ok(())));
    }
    assert_eq!(again.resolve(&facts, &mut |_| ()).as_ref(), Ok(options));

    let mut without_xino = all;
    without_xino.retain(|(key, _)| *key != "xino");
    assert_eq!(shown(options, now, Filesystems::One), without_xino);
}

type FallBack = fn(&mut Options, &mut dyn FnMut(Fallback));
type Holds = fn(&Options) -> bool;

/// Everything that may be found out about layers, with what holds afterwards.
const FALL_BACKS: [(FallBack, Holds); 9] = [
    (Options::without_xattrs, |options| {
        options.redirect_dir == RedirectDir::NoFollow
            && !options.metacopy
            && !options.index
            && matches!(options.uuid, Uuid::Null | Uuid::Off)
            && options.xino != Xino::Auto
    }),
    (Options::without_upper_handles, |options| !options.index),
    (Options::upper_probed, |options| {
        options.index || !options.nfs_export
    }),
    (Options::without_lower_handles, |options| {
        !options.index && !options.nfs_export && options.xino != Xino::Auto
    }),
    (Options::without_handles, |options| !options.nfs_export),
    (Options::without_uuid, |options| {
        !options.index && !options.nfs_export && options.xino != Xino::Auto
    }),
    (
        |options, _| options.without_upper(),
        |options| !options.index,
    ),
    (Options::without_workdir, |options| {
        !options.index && !options.nfs_export
    }),
    (Options::layers_ready, |options| {
        !options.metacopy || !options.nfs_export
    }),
];

fn check_fallbacks(input: &mut Unstructured<'_>, mut options: Options) -> Result<()> {
    for _ in 0..input.int_in_range(0..=6)? {
        let (fall_back, holds) = *input.choose(&FALL_BACKS)?;
        let before = options;
        let mut told = vec![];

        fall_back(&mut options, &mut |warning| told.push(warning));
        assert!(holds(&options));
        check_change(&before, &options, &told);

        let after = options;
        fall_back(&mut options, &mut |warning| panic!("twice: {warning:?}"));
        assert_eq!(options, after);
        let _ = shown(&options, &defaults(input)?, Filesystems::Several);
    }
    Ok(())
}

/// Options are switched off, never on, and each but the index is told of.
fn check_change(before: &Options, after: &Options, told: &[Fallback]) {
    let expected = Options {
        redirect_dir: after.redirect_dir,
        metacopy: after.metacopy,
        index: after.index,
        uuid: after.uuid,
        xino: after.xino,
        nfs_export: after.nfs_export,
        ..*before
    };
    let has = |warnings: &[Fallback]| {
        let found = told.iter().filter(|warning| warnings.contains(warning));
        match found.count() {
            0 => false,
            1 => true,
            _ => panic!("told twice: {told:?}"),
        }
    };

    assert_eq!(*after, expected);
    for (changed, off, warnings) in [
        (
            before.redirect_dir != after.redirect_dir,
            after.redirect_dir == RedirectDir::NoFollow,
            &[Fallback::Redirect][..],
        ),
        (
            before.metacopy != after.metacopy,
            !after.metacopy,
            &[Fallback::Metacopy],
        ),
        (
            before.uuid != after.uuid,
            after.uuid == Uuid::Null && before.uuid != Uuid::Off,
            &[Fallback::Uuid],
        ),
        (
            before.xino != after.xino,
            after.xino == Xino::Off && before.xino == Xino::Auto,
            &[Fallback::Xino],
        ),
        (
            before.nfs_export != after.nfs_export,
            !after.nfs_export,
            &[
                Fallback::Export,
                Fallback::ExportNeedsIndex,
                Fallback::ExportNeedsIndexDir,
                Fallback::ExportExcludesMetacopy,
            ],
        ),
    ] {
        assert!(!changed || off);
        assert_eq!(changed, has(warnings), "{told:?}");
    }
    assert!(before.index || !after.index);
    assert!(!has(&[Fallback::Index]) || before.index != after.index);
    assert!(told.iter().all(|warning| !warning.text().is_empty()));
    assert!(!before.allow_offline_changes() || after.allow_offline_changes());
}
