// SPDX-License-Identifier: GPL-2.0-only

//! Runs one script on both sides and compares whatever can be seen.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::Context;
use rustix::io::Errno;

use crate::exec::Outcome;
use crate::exec::Session;
use crate::scan;
use crate::scan::Deviation;
use crate::scan::Entry;
use crate::script::Backing;
use crate::script::Layer;
use crate::script::Script;
use crate::side::Side;
use crate::step::Step;
use crate::step::User;
use crate::sys;
use crate::sys::SysResult;
use crate::wanted;
use crate::wanted::Place;
use crate::yard::Yard;
use crate::yard::SIDES;

/// The two sides of a comparison.
#[derive(Debug, Clone)]
pub struct Sides {
    pub type_a: String,
    pub type_b: String,
    /// Faults of the second side, by which the comparison itself is tried.
    pub fault: Fault,
}

/// A fault that is made on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    None,
    /// A step in the second half that changes something is left out on the second side.
    SkipStep,
    /// The second side has these mount options besides.
    Options(String),
}

/// The first difference between the sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What was being done.
    pub stage: Stage,
    pub lines: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Mount,
    Step(usize),
    Unmount,
    Merged,
    Upper,
    Work,
    Lower,
    /// The layers of each side, mounted with the other's type.
    Crossed,
    Numbers,
}

impl Stage {
    /// Whether a smaller script that differs here shows the same fault.
    pub fn is_like(self, other: Stage) -> bool {
        matches!((self, other), (Stage::Step(_), Stage::Step(_))) || self == other
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Mount => f.write_str("mounting"),
            Stage::Step(index) => write!(f, "step {}", index + 1),
            Stage::Unmount => f.write_str("unmounting"),
            Stage::Merged => f.write_str("the merged tree at the end"),
            Stage::Upper => f.write_str("the upper layer on disk"),
            Stage::Work => f.write_str("the work directory"),
            Stage::Lower => f.write_str("a lower layer on disk"),
            Stage::Crossed => f.write_str("the tree mounted with the other type"),
            Stage::Numbers => f.write_str("inode numbers over a new mount"),
        }
    }
}

/// How much of what was tried has worked.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How many steps of each kind were tried, and how many succeeded.
    kinds: BTreeMap<String, (u64, u64)>,
}

impl Tally {
    pub fn count(&mut self, step: &Step, outcome: &Outcome) {
        let name = format!("{step:?}");
        let name = name.split(' ').next().unwrap_or_default();
        self.add(name, 1, u64::from(outcome.result.is_ok()));
    }

    fn add(&mut self, name: &str, steps: u64, succeeded: u64) {
        let kind = self.kinds.entry(name.to_owned()).or_default();
        *kind = (kind.0 + steps, kind.1 + succeeded);
    }

    pub fn merge(&mut self, other: &Self) {
        for (name, (steps, succeeded)) in &other.kinds {
            self.add(name, *steps, *succeeded);
        }
    }

    pub fn steps(&self) -> u64 {
        self.kinds.values().map(|(steps, _)| steps).sum()
    }

    pub fn succeeded(&self) -> u64 {
        self.kinds.values().map(|(_, succeeded)| succeeded).sum()
    }

    /// The kinds of step that were tried so many times, and have never worked.
    pub fn idle(&self, often: u64) -> impl Iterator<Item = &str> {
        let idle = move |(_, (steps, succeeded)): &(&String, &(u64, u64))| {
            *steps >= often && *succeeded == 0
        };
        self.kinds.iter().filter(idle).map(|(name, _)| &**name)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, (steps, succeeded)) in &self.kinds {
            write!(f, "{name}:{steps}:{succeeded} ")?;
        }
        Ok(())
    }
}

impl FromStr for Tally {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut tally = Tally::default();
        for kind in text.split_whitespace() {
            let mut parts = kind.split(':');
            let mut next = || parts.next().context("a kind of step has three parts");
            let name = next()?;
            tally.add(name, next()?.parse()?, next()?.parse()?);
        }
        Ok(tally)
    }
}

/// How the steps have ended.
enum End {
    Mounted,
    /// A full filesystem could not be mounted again.
    Unmounted,
    /// The two sides have parted, as they may.
    Parted,
}

/// A difference ends the run.
type Verdict = Result<(), Difference>;

struct Run<'a> {
    yard: &'a Yard,
    script: &'a Script,
    sides: &'a Sides,
    a: Side<'a>,
    b: Side<'a>,
    tally: Tally,
}

/// Runs the script. An error is a failure of this program and not of a filesystem.
pub fn run(
    yard: &Yard,
    script: &Script,
    sides: &Sides,
) -> anyhow::Result<(Option<Difference>, Tally)> {
    yard.prepare(script)?;
    let result = (|| {
        let a = Side::new(yard, SIDES[0], script)?;
        let b = Side::new(yard, SIDES[1], script)?;
        if script.setup.watch {
            sys::wait_for_tick();
        }
        let mut run = Run {
            yard,
            script,
            sides,
            a,
            b,
            tally: Tally::default(),
        };
        let difference = run.everything().err();
        anyhow::Ok((difference, run.tally))
    })();
    yard.clear(script)?;
    result
}

/// Finds out whether a type accepts options, by an empty script.
pub fn accepts(yard: &Yard, script: &Script, fs_type: &str) -> anyhow::Result<Option<Errno>> {
    yard.prepare(script)?;
    let result = (|| {
        let mut side = Side::new(yard, SIDES[0], script)?;
        let result = side.mount(fs_type, &script.setup.options);
        if result.is_ok() {
            side.unmount()?;
        }
        anyhow::Ok(result.err())
    })();
    yard.clear(script)?;
    result
}

impl Run<'_> {
    fn everything(&mut self) -> Verdict {
        let (type_a, type_b) = (&self.sides.type_a, &self.sides.type_b);
        let options = &self.script.setup.options;
        if !self.mount(type_a, type_b)? {
            return Ok(());
        }
        match self.steps()? {
            End::Mounted => {}
            End::Unmounted => return self.on_disk(),
            End::Parted => return Ok(()),
        }
        let live_a = self.a.merged();
        let live_b = self.b.merged();
        self.trees(Stage::Merged, Place::Merged, &live_a, &live_b)?;
        self.unmount()?;
        self.on_disk()?;

        if self.sides.fault != Fault::None {
            return Ok(());
        }
        let crossed = (self.a.mount(type_b, options), self.b.mount(type_a, options));
        let is_full = self.script.setup.upper_on == Backing::Small;
        if is_full && crossed == (Err(Errno::NOSPC), Err(Errno::NOSPC)) {
            return Ok(());
        }
        if crossed != (Ok(()), Ok(())) {
            let line = format!("{:?} | {:?}", crossed.0, crossed.1);
            return differ(Stage::Crossed, vec![line]);
        }
        let crossed_a = self.a.merged();
        let crossed_b = self.b.merged();
        self.trees(Stage::Crossed, Place::Crossed, &crossed_b, &crossed_a)?;
        if let (Ok(a), Ok(b), Ok(other_a), Ok(other_b)) = (&live_a, &live_b, &crossed_a, &crossed_b)
        {
            self.numbers(a, b, other_a, other_b)?;
        }
        self.unmount()
    }

    /// Returns whether there is a mount to go on with.
    fn mount(&mut self, type_a: &str, type_b: &str) -> Result<bool, Difference> {
        let options = &self.script.setup.options;
        let options_b = match &self.sides.fault {
            Fault::Options(more) => format!("{options},{more}"),
            _ => options.clone(),
        };
        let a = self.a.mount(type_a, options);
        let b = self.b.mount(type_b, options_b.trim_start_matches(','));
        let is_full = self.script.setup.upper_on == Backing::Small && a == Err(Errno::NOSPC);
        if a != b || (a.is_err() && !is_full) {
            differ(Stage::Mount, vec![format!("{a:?} | {b:?}")])?;
        }
        Ok(a.is_ok())
    }

    fn unmount(&mut self) -> Verdict {
        let (a, b) = (self.a.unmount(), self.b.unmount());
        if (a, b) == (Ok(()), Ok(())) {
            return Ok(());
        }
        differ(Stage::Unmount, vec![format!("{a:?} | {b:?}")])
    }

    fn steps(&mut self) -> Result<End, Difference> {
        let mut a = Session::new(&self.a, &self.yard.queues);
        let mut b = Session::new(&self.b, &self.yard.queues);
        a.start_processes(&self.a);
        b.start_processes(&self.b);
        let script = self.script;
        let mut skips = self.sides.fault == Fault::SkipStep;
        for (index, (user, step)) in script.steps.iter().enumerate() {
            if *step == Step::Remount {
                a.close();
                b.close();
                self.unmount()?;
                if !self.mount(&self.sides.type_a, &self.sides.type_b)? {
                    return Ok(End::Unmounted);
                }
                a.start_processes(&self.a);
                b.start_processes(&self.b);
                continue;
            }
            let outcome_a = a.run(script, index);
            self.tally.count(step, &outcome_a);
            if skips
                && index >= script.steps.len() / 2
                && step.changes()
                && outcome_a.result.is_ok()
            {
                skips = false;
                continue;
            }
            let outcome_b = b.run(script, index);
            if wanted::parting(script, step, &outcome_a, &outcome_b).is_some() {
                return Ok(End::Parted);
            }
            if outcome_a != outcome_b {
                self.step_differs(index, *user, step, &outcome_a, &outcome_b)?;
            }
        }
        Ok(End::Mounted)
    }

    fn step_differs(
        &self,
        index: usize,
        user: User,
        step: &Step,
        a: &Outcome,
        b: &Outcome,
    ) -> Verdict {
        if wanted::step(self.script, step, a, b).is_some() {
            return Ok(());
        }
        let lines = vec![
            format!("{user:?} {step:?}"),
            format!("{}: {a}", self.sides.type_a),
            format!("{}: {b}", self.sides.type_b),
        ];
        differ(Stage::Step(index), lines)
    }

    fn trees(
        &self,
        stage: Stage,
        place: Place,
        a: &SysResult<Vec<Entry>>,
        b: &SysResult<Vec<Entry>>,
    ) -> Verdict {
        let deviations = match (a, b) {
            (Ok(a), Ok(b)) => scan::compare(a, b),
            (Err(a), Err(b)) if a == b => Vec::new(),
            _ => {
                let short = |tree: &SysResult<Vec<Entry>>| match tree {
                    Ok(tree) => format!("{} objects", tree.len()),
                    Err(error) => format!("{error:?}"),
                };
                return differ(stage, vec![format!("{} | {}", short(a), short(b))]);
            }
        };
        let is_unwanted =
            |found: &Deviation| wanted::deviation(&self.script.setup, place, found).is_none();
        let lines: Vec<_> = deviations
            .iter()
            .filter(|found| is_unwanted(found))
            .map(ToString::to_string)
            .collect();
        if lines.is_empty() {
            return Ok(());
        }
        differ(stage, lines)
    }

    fn on_disk(&self) -> Verdict {
        let layer = |layer| (self.a.layer(layer), self.b.layer(layer));
        let (a, b) = layer(Layer::Upper);
        self.trees(Stage::Upper, Place::Upper, &a, &b)?;
        let (a, b) = (self.a.leftovers(), self.b.leftovers());
        if a != b {
            differ(Stage::Work, vec![format!("{a:?} | {b:?}")])?;
        }
        for number in 1..=self.script.setup.lowers {
            let (a, b) = layer(Layer::Lower(number));
            self.trees(Stage::Lower, Place::Lower, &a, &b)?;
        }
        Ok(())
    }

    /// An inode number that overlayfs keeps is kept by the other side as well.
    fn numbers(&self, a: &[Entry], b: &[Entry], other_a: &[Entry], other_b: &[Entry]) -> Verdict {
        let setup = &self.script.setup;
        if !setup.has_stable_numbers() {
            return Ok(());
        }
        let a = scan::kept_numbers(a, other_a);
        let b = scan::kept_numbers(b, other_b);
        let lines: Vec<_> = a
            .iter()
            .filter_map(|(path, kept)| {
                let other = b.get(path)?;
                (kept != other).then(|| format!("{path}: kept {kept} | {other}"))
            })
            .collect();
        if lines.is_empty() {
            return Ok(());
        }
        differ(Stage::Numbers, lines)
    }
}

fn differ(stage: Stage, lines: Vec<String>) -> Verdict {
    Err(Difference { stage, lines })
}
