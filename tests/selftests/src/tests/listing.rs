// SPDX-License-Identifier: GPL-2.0-only

//! Listings of directories in which names come and go.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::create::make;
use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::check::Table;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("listing_shows_new_names", "D1 R3", listed_at_once),
    Test::new("listing_once_begun_stays", "R3", leaves_open_listing),
    Test::new("listing_follows_changes", "R3 D1 D4 D5", come_and_go),
    Test::new(
        "listing_shows_numbers_of_copies",
        "R4 1.10 C7",
        numbers_of_copies,
    ),
    Test::new("listing_is_patched", "R3 Q14", patches_listing)
        .rovl_only("overlayfs reads the whole directory again after each change"),
];

fn listed_at_once(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("merged")?.dir("pure")?.whiteout("merged/gone")?;
    lower
        .dir("merged")?
        .file("merged/low", "")?
        .file("merged/gone", "")?;
    let ov = fx.upper(&upper, &[&lower])?;
    lists(ov.join("merged"), &["low"])?;
    lists::<&str>(ov.join("pure"), &[])?;
    make("file", ov.join("merged/new"), 0o600)?;
    lists(ov.join("merged"), &["low", "new"])?;
    make("dir", ov.join("merged/gone"), 0o700)?;
    lists(ov.join("merged"), &["gone", "low", "new"])?;
    make("symlink", ov.join("pure/new"), 0)?;
    lists(ov.join("pure"), &["new"])
}

/// Who has begun to list goes on with what there was; from the start there is what there is now.
fn leaves_open_listing(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for n in 0..20 {
        upper.file(format!("u{n:02}"), "")?;
        lower.file(format!("l{n:02}"), "")?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    let whole = sys::list(ov.path())?;
    let dir = sys::open_dir(ov.path())?;
    let mut seen = sys::read_some(&dir, 200)?;
    check::ok(seen.len() < whole.len(), "not all fits")?;
    for n in 0..3 {
        make("file", ov.join(format!("new{n}")), 0o600)?;
        check::equal(
            "who opens it",
            sys::list(ov.path())?.len(),
            whole.len() + n + 1,
        )?;
    }
    seen.extend(sys::read_entries(&dir, 4096)?);
    check::equal("the open listing", seen, whole)?;
    rustix::fs::seek(&dir, rustix::fs::SeekFrom::Start(0))?;
    let names = sys::read_entries(&dir, 4096)?;
    check::equal("from the start", names, sys::list(ov.path())?)
}

/// Names that come and go in any order, in a directory that is listed all the time.
fn come_and_go(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let mut there = BTreeSet::new();
    for n in 0..60 {
        let name = format!("name {n}");
        match n % 3 {
            0 => lower.file(&name, "")?,
            1 => upper.file(&name, "")?,
            _ => continue,
        };
        there.insert(name);
    }
    let ov = fx.upper(&upper, &[&lower])?;
    let mut random = rovl_kit::random::Random::new(4);
    // Half of the readers stay for a while.
    let mut open = Vec::new();
    for round in 0..400 {
        // More of them go than come, and later the other way round.
        let makes = random.below(100) < if round < 200 { 30 } else { 70 };
        let (name, other) = (
            format!("name {}", random.below(100)),
            format!("name {}", random.below(100)),
        );
        let result = if makes {
            make("file", ov.join(&name), 0o600)
        } else if round % 4 == 0 {
            rustix::fs::rename(ov.join(&name), ov.join(&other))
        } else {
            rustix::fs::unlink(ov.join(&name))
        };
        match result {
            Ok(()) if makes => drop(there.insert(name)),
            Ok(()) => {
                there.remove(&name);
                if round % 4 == 0 {
                    there.insert(other);
                }
            }
            Err(Errno::EXIST) if makes && there.contains(&name) => (),
            Err(Errno::NOENT) if !makes && !there.contains(&name) => (),
            Err(error) => return Err(error).context(format_args!("round {round}: {name}")),
        }
        if round % 7 == 0 {
            let dir = sys::open_dir(ov.path())?;
            let some = sys::read_some(&dir, 100)?;
            open.push((dir, some.len(), there.len() + 2));
        }
        if round % 31 == 0 {
            for (dir, some, all) in open.drain(..) {
                let rest = sys::read_entries(dir, 4096)?.len();
                // Overlayfs leaves some out that are gone, if it has to look them up.
                check::ok(some + rest <= all, "an open listing gets no new names")?;
            }
        }
        if round % 3 == 0 {
            let expected: Vec<_> = there.iter().collect();
            lists(ov.path(), &expected)?;
        }
    }
    for entry in sys::list(ov.path())? {
        let stat = sys::lstat(ov.join(&entry.name))?;
        let number = format!("number of {:?}", entry.name);
        if entry.name != ".." {
            check::equal(number, entry.ino, stat.st_ino)?;
        }
    }
    Ok(())
}

/// Copies of files have other numbers if their links are broken, or if layers are on several filesystems.
fn numbers_of_copies(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let other = Layer::create(fx.tmpfs("other")?.join("lower"))?;
    for (n, lower) in [lower, other].into_iter().enumerate() {
        lower.file("a", "")?.link("a", "b")?.file("c", "")?;
        lower.file("d", "")?;
        let upper = Layer::create(upper.join(n.to_string()))?;
        let options = Options::new().lowers(&[&lower]).set("xino", "off");
        let ov = fx.mount(&options.upper(&upper, &fx.work()?));
        let ov = ov.context("mount")?;
        sys::list(ov.path())?;
        for name in ["a", "c"] {
            drop(sys::open(ov.join(name), OFlags::WRONLY)?);
        }
        rustix::fs::rename(ov.join("b"), ov.join("e"))?;
        let mut kept = sys::list(ov.path())?;
        sys::drop_caches()?;
        let mut anew = sys::list(ov.path())?;
        for list in [&mut kept, &mut anew] {
            list.sort_by(|one, other| one.name.cmp(&other.name));
            list.retain(|entry| !entry.is_dot());
        }
        let number = |list: &[sys::Entry]| list.iter().map(|entry| entry.ino).collect::<Vec<_>>();
        check::equal("numbers that are listed", number(&kept), number(&anew))?;
        lists(ov.path(), &["a", "c", "d", "e"])?;
    }
    Ok(())
}

/// A change of the name with a number in a directory.
type Change<'a> = &'a dyn Fn(&Path, usize) -> Result;

/// To change a name where many are listed, and to list them again, costs far less than to read the layers.
fn patches_listing(fx: &Fixture) -> Result {
    const NAMES: usize = 600;
    const ROUNDS: usize = 30;

    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for dir in ["many", "few"] {
        upper.dir(dir)?.file(format!("{dir}/upper name"), "")?;
        lower.dir(dir)?;
    }
    upper.dir("impure")?;
    lower.file("file", "")?;
    for n in 0..NAMES {
        lower.file(format!("many/lower name {n}"), "")?;
        upper.file(format!("impure/upper name {n}"), "")?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    rustix::fs::rename(ov.join("file"), ov.join("impure/file"))?;
    let (many, few, impure) = (ov.join("many"), ov.join("few"), ov.join("impure"));
    check::equal("names", sys::list(&few)?.len(), 3)?;
    let read = |path: &Path| -> Result<Duration> {
        let begin = Instant::now();
        check::equal("names", sys::list(path)?.len(), NAMES + 3)?;
        Ok(begin.elapsed())
    };

    let name = |path: &Path, what: &str, n: usize| path.join(format!("{what} {n}"));
    let makes = |path: &Path, n| make("file", name(path, "new", n), 0o600).context("make");
    let renames = |path: &Path, n| {
        rustix::fs::rename(name(path, "new", n), name(path, "other", n)).context("rename")
    };
    let replaces = |path: &Path, n| {
        makes(path, n)?;
        rustix::fs::rename(name(path, "new", n), name(path, "other", n)).context("replace")
    };
    let removes = |path: &Path, n| rustix::fs::unlink(name(path, "other", n)).context("remove");
    // What is done to a name, and how many more of them there are for it.
    let changes: [(&str, Change<'_>, isize); 4] = [
        ("made", &makes, 1),
        ("renamed", &renames, 0),
        ("replaced", &replaces, 0),
        ("removed", &removes, -1),
    ];
    let spend = |path: &Path, change: Change<'_>, more| -> Result<Duration> {
        let names = sys::list(path)?.len();
        // Each of them stays open, so that what it lists must not change.
        let mut open = Vec::new();
        let begin = Instant::now();
        for n in 0..ROUNDS {
            change(path, n)?;
            let dir = sys::open_dir(path)?;
            let some = sys::read_some(&dir, 200)?.len();
            open.push((dir, some));
        }
        let spent = begin.elapsed();
        for (n, (dir, some)) in open.into_iter().enumerate() {
            let rest = sys::read_entries(dir, 32768)?.len();
            let expected = names.wrapping_add_signed(more * (n as isize + 1));
            check::equal("names that are seen", some + rest, expected)?;
        }
        Ok(spent)
    };
    let whole = [read(&many)?, read(&impure)?];
    let mut table = Table::new();
    for (what, change, more) in changes {
        let few = spend(&few, change, more)?;
        for (kind, path, whole) in [("merged", &many, whole[0]), ("impure", &impure, whole[1])] {
            let many = spend(path, change, more)?;
            table.note(check::ok(
                many < few + whole * ROUNDS as u32 / 3,
                format_args!(
                    "{kind}, {what}: {many:?} instead of {few:?}, and {whole:?} to read them all"
                ),
            ))?;
        }
    }
    table.finish()
}
