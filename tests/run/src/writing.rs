// SPDX-License-Identifier: GPL-2.0-only
//! The writing part: two containers over the same layers, at work at the same time. What they leave is checked against the rules
//! of layers, listed as a layer's changes, and then used as a layer itself.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure, Context, Result};
use rustix::mount::MountFlags;

use crate::changes::{changes, Change};
use crate::compare;
use crate::image::{self, expectation, keep_unless_same, Layers};
use crate::listing::Listing;
use crate::merge::merge;
use crate::report::Report;
use crate::stage::{self, Options, Store};
use crate::steps::Container;
use crate::walk::{walk, EntryNumbers, View};

const CONTAINERS: [Container; 2] = [Container::Left, Container::Right];

impl Container {
    /// Where its root is.
    fn root(self) -> String {
        format!("/{}", self.name())
    }

    /// What its directories for changes lie in.
    fn place(self) -> String {
        format!("/{}-changes", self.name())
    }
}

/// Prints a line for each thing that is tried.
pub fn run(options: &Options, layers: &Layers, report: &mut Report) {
    let Some(stores) = report.step("containers", || set_up(options)) else {
        return;
    };
    let worked = work(options, report);
    for container in CONTAINERS {
        stage::leave(&container.root());
    }
    if worked {
        let trees = report.step("walk both", || trees(options, layers, &stores));
        if let Some(trees) = trees {
            report.step("changes", || list(options, layers, &trees));
            report.step("as layers", || stack_up(options, &stores, &trees));
        }
    }
    report.step("layers", || {
        take_down()?;
        layers.read_again().map(|text| ((), text))
    });
}

/// One container has its changes on a disk, the other in memory.
fn set_up(options: &Options) -> Result<(Vec<Store>, String)> {
    image::make_writable(options)?;
    let [left, right] = CONTAINERS.map(Container::place);
    let disk = options.changes.to_string_lossy();
    stage::mount_at(&disk, &left, "ext4", MountFlags::empty(), "")?;
    stage::mount_at("changes", &right, "tmpfs", MountFlags::empty(), "")?;
    let mut stores = Vec::new();
    for container in CONTAINERS {
        let root = container.root();
        let store = image::store(&container.place())?;
        stage::overlay(options, &root, &image::stack()?, Some(&store))?;
        stage::enter(&root)?;
        image::copy_packages(Path::new(&root))?;
        stores.push(store);
    }
    let text =
        "left with its changes on ext4, right on tmpfs, over the same three layers".to_owned();
    Ok((stores, text))
}

/// What became of a step, and how long it took.
type Done = (&'static str, Result<String>, Duration);

/// Both containers at the same time. Returns whether all went well.
fn work(options: &Options, report: &mut Report) -> bool {
    let [left, right] = CONTAINERS;
    let results = std::thread::scope(|scope| {
        let left = scope.spawn(|| chain(options, left));
        let right = chain(options, right);
        let panicked = |_| {
            let error = anyhow!("its thread panicked");
            vec![(Container::Left.name(), Err(error), Duration::ZERO)]
        };
        [left.join().unwrap_or_else(panicked), right]
    });
    let mut good = true;
    for (container, done) in CONTAINERS.into_iter().zip(results) {
        let name = container.name();
        good &= done.len() == container.steps().len();
        for (step, result, elapsed) in done {
            let result = result.map(|text| ((), format!("{name}: {text}")));
            good &= report.line(step, result, elapsed).is_some();
        }
    }
    good
}

/// Each step builds on the one before.
fn chain(options: &Options, container: Container) -> Vec<Done> {
    let mut done = Vec::new();
    for step in container.steps() {
        let begun = Instant::now();
        let log = format!("{}-{}.log", container.name(), step.name);
        let result = step.run(Path::new(&container.root()), &options.out.join(log));
        let failed = result.is_err();
        done.push((step.name, result, begun.elapsed()));
        if failed {
            break;
        }
    }
    done
}

/// A container's tree and the layer of its changes.
struct Tree {
    lines: String,
    upper: Listing,
}

/// Walks both at the same time. What a container shows has to be what the layers and its own changes merge to: so it sees
/// nothing of the other one's.
fn trees(options: &Options, layers: &Layers, stores: &[Store]) -> Result<(Vec<Tree>, String)> {
    let trees = at_the_same_time(|number, container| {
        let walked = seen(&container.root())?;
        let name = container.name();
        let upper = walk(
            Path::new(&stores[number].upper),
            View::Layer,
            EntryNumbers::All,
        )?;
        let mut all = layers.0.clone();
        all.push(upper.listing.clone());
        let lines = walked.lines();
        let expected = merge(&all).lines();
        keep_unless_same(options, &format!("{name}-merged"), &expected, &lines)?;
        let text = format!("{name} {} objects", walked.objects.len());
        let upper = upper.listing;
        Ok((Tree { lines, upper }, text))
    })?;
    let (trees, texts): (Vec<_>, Vec<_>) = trees.into_iter().unzip();
    let left = trees.first().context("there is a left container")?;
    let expected = without_chance(&expectation("left")?);
    let found = without_chance(&left.lines);
    keep_unless_same(options, "left", &expected, &found)?;
    let text = format!(
        "{}: each is its own changes over the layers\nleft is what the same work leaves in a plain copy of the tree",
        texts.join(", ")
    );
    Ok((trees, text))
}

/// A tree as its users see it.
fn seen(root: &str) -> Result<Listing> {
    let walked = walk(Path::new(root), View::Tree, EntryNumbers::Unchecked)?;
    let problems = walked.problems;
    ensure!(
        problems.is_empty(),
        "{root}: {} contradictions: {}",
        problems.len(),
        problems[..problems.len().min(8)].join("\n")
    );
    Ok(walked.listing)
}

/// A listing without what differs from one run of the same work to the next: times, and files that hold times; and without the
/// counts of links, which an overlay cannot keep for directories nor over layers.
fn without_chance(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let timed = ["var/log/", "var/cache/ldconfig/aux-cache"];
        if timed.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        let kept = fields.iter().enumerate().filter(|(column, field)| {
            let time_or_links = *column == 4 || *column == 5;
            !time_or_links && !field.starts_with("link to ")
        });
        let kept: Vec<_> = kept.map(|(_, field)| *field).collect();
        text.push_str(&kept.join("\t"));
        text.push('\n');
    }
    text
}

/// Lists what each container changed. The whole lists are left for the user.
fn list(options: &Options, layers: &Layers, trees: &[Tree]) -> Result<((), String)> {
    let below = merge(&layers.0);
    let mut texts = Vec::new();
    for (container, tree) in CONTAINERS.into_iter().zip(trees) {
        let changes = changes(&below, &tree.upper);
        let name = container.name();
        fs::write(options.out.join(format!("{name}.changes")), changes.lines())?;
        let [added, changed, deleted] =
            [Change::Added, Change::Changed, Change::Deleted].map(|change| changes.count(change));
        ensure!(
            added > 0 && changed > 0 && deleted > 0,
            "{name}: {added} added, {changed} changed, {deleted} deleted"
        );
        texts.push(format!(
            "{name}: {added} added, {changed} changed, {deleted} deleted: {}",
            changes.examples().join(", ")
        ));
    }
    Ok(((), texts.join("\n")))
}

/// Mounts each container's changes as one more layer, under fresh changes, and finds the same tree.
fn stack_up(options: &Options, stores: &[Store], trees: &[Tree]) -> Result<((), String)> {
    for container in CONTAINERS {
        stage::unmount_at(&container.root())?;
    }
    let texts = at_the_same_time(|number, container| {
        let root = container.root();
        let fresh = Store::make(
            &format!("{}/fresh", container.place()),
            Path::new(&stores[number].upper),
        )?;
        let mut stack = image::stack()?;
        stack.insert(0, stores[number].upper.clone());
        stage::overlay(options, &root, &stack, Some(&fresh))?;
        let again = seen(&root)?.lines();
        let name = format!("{}-as-layer", container.name());
        keep_unless_same(options, &name, &trees[number].lines, &again)?;
        change(&root, &stores[number])?;
        stage::unmount_at(&root)?;
        Ok(again.lines().count().to_string())
    })?;
    let text = format!(
        "stacked as a fourth layer under fresh changes, both show the same trees: {} objects",
        texts.join(" and ")
    );
    Ok(((), text))
}

/// What was written as an upper layer is read-only as a lower one.
fn change(root: &str, store: &Store) -> Result<()> {
    let name = "etc/hostname";
    let layer = Path::new(&store.upper).join(name);
    let before = fs::read_to_string(&layer)?;
    let inside = Path::new(root).join(name);
    fs::write(&inside, "another\n").with_context(|| format!("write {}", inside.display()))?;
    compare::same("another\n", &fs::read_to_string(&inside)?)?;
    compare::same(&before, &fs::read_to_string(&layer)?)
}

fn at_the_same_time<T: Send>(
    work: impl Fn(usize, Container) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = CONTAINERS
            .into_iter()
            .enumerate()
            .map(|(number, container)| {
                let work = &work;
                scope.spawn(move || work(number, container).context(container.name()))
            })
            .collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a thread panicked"),
        });
        // All of them end before an error is told.
        let results: Vec<_> = results.collect();
        results.into_iter().collect()
    })
}

/// Unmounts what is left.
fn take_down() -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    for container in CONTAINERS {
        for target in [container.root(), container.place()] {
            if mounts.contains(&format!(" {target} ")) {
                stage::unmount_at(&target)?;
            }
        }
    }
    Ok(())
}
