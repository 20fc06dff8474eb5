// SPDX-License-Identifier: GPL-2.0-only

//! Many rounds of mounting, and of loading the module, after which nothing may be left.
//!
//! What the kernel holds is counted before and after, each time with all caches dropped: inodes,
//! dentries, the objects of every slab cache, and memory. A thing leaked once per round shows as
//! a slab cache that has grown by as many objects as there were rounds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use rovl_kit::ktap::Ktap;
use rovl_kit::ktap::Outcome;
use rovl_kit::ktap::Report;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::expect::content;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::kmod::Module;
use crate::layer::Layer;
use crate::registry::Backing;
use crate::sys;

/// What is done in each round.
struct Subject {
    name: &'static str,
    rows: &'static str,
    round: fn(&Fixture, &Trees, u32) -> Result,
}

const SUBJECTS: [Subject; 3] = [
    Subject {
        name: "leak_mounting_lowers",
        rows: "A1 A4 L8",
        round: |fx, trees, _| mount_and_read(fx, &trees.lowers()),
    },
    Subject {
        name: "leak_mounting_upper",
        rows: "A1 A4 L8 W4",
        round: |fx, trees, _| mount_and_read(fx, &trees.with_upper()),
    },
    Subject {
        name: "leak_loading",
        rows: "A1 P5",
        round: load,
    },
];

/// The layers of all rounds.
struct Trees {
    upper: Layer,
    work: Layer,
    top: Layer,
    bottom: Layer,
}

impl Trees {
    fn create(fx: &Fixture) -> Result<Self> {
        let trees = Trees {
            upper: fx.layer("upper")?,
            work: fx.layer("work")?,
            top: fx.layer("top")?,
            bottom: fx.layer("bottom")?,
        };
        trees.upper.dir("d")?.file("d/up", "upper")?;
        trees.top.dir("d/sub")?.file("d/t", "top")?;
        trees.top.whiteout("d/gone")?.opaque_dir("o")?;
        trees.bottom.dir("d/sub")?.file("d/b", "bottom")?;
        trees.bottom.file("d/gone", "")?.dir("o")?.file("o/x", "")?;
        trees
            .bottom
            .file("d/sub/deep", "deep")?
            .symlink("l", "d/b")?;
        Ok(trees)
    }

    fn lowers(&self) -> Options {
        Options::new().lowers(&[&self.top, &self.bottom])
    }

    fn with_upper(&self) -> Options {
        self.lowers().upper(&self.upper, &self.work)
    }
}

fn mount_and_read(fx: &Fixture, options: &Options) -> Result {
    let point = Path::new(crate::fixture::BASE).join("leak");
    fx.mount_at(&point, options).context("mount")?;
    sys::walk(&point).context("walk")?;
    for (name, text) in [("d/t", "top"), ("l", "bottom"), ("d/sub/deep", "deep")] {
        content(point.join(name), text)?;
    }
    check::ok(
        sys::lstat(point.join("d/gone")).is_err(),
        "a whiteout is seen",
    )?;
    fx.unmount(&point).context("unmount")
}

/// Unloads and loads, and mounts in every tenth round.
fn load(fx: &Fixture, trees: &Trees, round: u32) -> Result {
    fx.module().unload_soon().context("unload")?;
    fx.module().load().context("load")?;
    match round % 10 {
        0 => mount_and_read(fx, &trees.lowers()),
        _ => Ok(()),
    }
}

/// Runs every subject on every type.
pub fn run(rounds: u32, types: &[Module]) -> anyhow::Result<Ktap> {
    let mut ktap = Ktap::start(types.len() * SUBJECTS.len());
    for module in types {
        for subject in &SUBJECTS {
            let name = format!("{}.{}", module.fs_type(), subject.name);
            let start = Instant::now();
            let mut report = examine(subject, module, rounds);
            report.duration = start.elapsed();
            ktap.result(&name, subject.rows, &report);
        }
    }
    Ok(ktap)
}

fn examine(subject: &Subject, module: &Module, rounds: u32) -> Report {
    let mut diagnostics = Vec::new();
    let outcome = match try_examine(subject, module, rounds, &mut diagnostics) {
        Ok(()) => Outcome::Passed,
        Err(Failure::Skipped(reason)) => Outcome::Skipped(reason),
        Err(Failure::Failed { message, place }) => {
            diagnostics.push(format!("{}:{}: {message}", place.file(), place.line()));
            Outcome::Failed
        }
    };
    Report {
        outcome,
        diagnostics,
        duration: Duration::ZERO,
    }
}

fn try_examine(
    subject: &Subject,
    module: &Module,
    rounds: u32,
    diagnostics: &mut Vec<String>,
) -> Result {
    module
        .ensure_loaded()
        .map_err(|error| Failure::new(error.to_string()))?;
    if subject.name == "leak_loading" && !module.can_reload() {
        return Err(Failure::skip(format!(
            "type {} does not come from {}",
            module.fs_type(),
            module.file().display()
        )));
    }
    let fx = Fixture::new(module.clone(), Backing::Tmpfs)?;
    fx.place("leak")?;
    let trees = Trees::create(&fx)?;
    // The first rounds fill what is allocated once.
    for round in 0..rounds.min(20) {
        (subject.round)(&fx, &trees, round)?;
    }
    let before = Counts::take()?;
    for round in 0..rounds {
        (subject.round)(&fx, &trees, round).map_err(|failure| in_round(failure, round))?;
    }
    let after = Counts::take()?;
    let leaks = after.leaks_since(&before, i64::from(rounds), diagnostics);
    fx.finish()?;
    check::ok(leaks.is_empty(), leaks.join("\n"))
}

fn in_round(failure: Failure, round: u32) -> Failure {
    match failure {
        Failure::Failed { message, place } => Failure::Failed {
            message: format!("round {round}: {message}"),
            place,
        },
        skipped => skipped,
    }
}

/// What the kernel holds.
struct Counts {
    inodes: i64,
    dentries: i64,
    /// Objects in use by slab cache.
    slabs: BTreeMap<String, i64>,
    /// Objects in use in the modules' own caches.
    own: i64,
    /// Lines of /proc/meminfo, in KiB.
    memory: BTreeMap<&'static str, i64>,
}

/// How the names of the modules' own slab caches begin.
const OWN_CACHES: [&str; 3] = ["ovl", "overlay", "rovl"];

/// Memory that nothing but the kernel itself uses.
const MEMORY: [&str; 5] = ["Slab", "SUnreclaim", "Percpu", "VmallocUsed", "KernelStack"];

/// By how much memory may grow by itself, in KiB.
const MEMORY_SLACK: i64 = 2048;

impl Counts {
    fn take() -> Result<Self> {
        settle()?;
        let slabs = slab_objects()?;
        let is_own = |name: &str| OWN_CACHES.iter().any(|prefix| name.starts_with(prefix));
        let own = slabs.iter().filter(|(name, _)| is_own(name));
        Ok(Counts {
            inodes: inodes_in_use()?,
            dentries: first_numbers("/proc/sys/fs/dentry-state")?[0],
            own: own.map(|(_, objects)| objects).sum(),
            slabs,
            memory: memory()?,
        })
    }

    /// Notes all growth that counts, and returns what is too much.
    fn leaks_since(&self, before: &Counts, rounds: i64, notes: &mut Vec<String>) -> Vec<String> {
        let mut leaks = Vec::new();
        let mut compare = |what: &str, old: i64, new: i64, slack: i64| {
            let line = format!("{what}: {old} before, {new} after {rounds} rounds");
            if new - old > slack {
                leaks.push(format!("{line}, allowed are {slack} more"));
            } else {
                notes.push(line);
            }
        };
        // Other programs and the kernel itself add a few, but not one every other round.
        let few = (rounds / 10).max(64);
        compare("inodes", before.inodes, self.inodes, few);
        compare("dentries", before.dentries, self.dentries, few);
        compare(
            "objects in the modules' own caches",
            before.own,
            self.own,
            0,
        );
        for (name, old) in &before.memory {
            let new = self.memory.get(name).copied().unwrap_or(0);
            compare(&format!("{name} KiB"), *old, new, MEMORY_SLACK);
        }
        let many = (rounds / 2).max(256);
        for (name, new) in &self.slabs {
            let old = before.slabs.get(name).copied().unwrap_or(0);
            if new - old > many {
                compare(&format!("objects in slab cache {name}"), old, *new, many);
            }
        }
        leaks
    }
}

/// Drops every cache, and what waits to be freed.
fn settle() -> Result {
    for _ in 0..2 {
        sys::drop_caches().context("drop caches")?;
        // What RCU holds back is freed within this time.
        sleep(Duration::from_millis(200));
        shrink_slabs();
    }
    Ok(())
}

/// Gives back empty slabs. This also frees the objects that KASAN holds in quarantine.
fn shrink_slabs() {
    for cache in fs::read_dir("/sys/kernel/slab")
        .into_iter()
        .flatten()
        .flatten()
    {
        // Not every cache can be shrunk, and without this directory there is nothing to do.
        let _ = fs::write(cache.path().join("shrink"), "1");
    }
}

fn first_numbers(path: &str) -> Result<Vec<i64>> {
    let text = fs::read_to_string(path).context(path)?;
    let numbers: Vec<_> = text
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    match numbers.len() {
        0 | 1 => Err(Failure::new(format!("{path} holds {text:?}"))),
        _ => Ok(numbers),
    }
}

fn inodes_in_use() -> Result<i64> {
    let state = first_numbers("/proc/sys/fs/inode-state")?;
    // The second number counts those that are unused but kept.
    Ok(state[0] - state[1])
}

/// The second column of /proc/slabinfo, by name.
fn slab_objects() -> Result<BTreeMap<String, i64>> {
    let text = fs::read_to_string("/proc/slabinfo").context("/proc/slabinfo")?;
    let objects = text.lines().filter(|line| !line.starts_with('#'));
    Ok(objects
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        })
        .collect())
}

fn memory() -> Result<BTreeMap<&'static str, i64>> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let mut memory = BTreeMap::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else {
            continue;
        };
        let known = MEMORY.into_iter().find(|known| *known == name);
        let value = rest.split_whitespace().next().and_then(|v| v.parse().ok());
        if let (Some(known), Some(value)) = (known, value) {
            memory.insert(known, value);
        }
    }
    Ok(memory)
}
