// SPDX-License-Identifier: GPL-2.0-only

//! Scripts whose steps meet allocations that fail.
//!
//! They run on one side alone, since what comes of a step is up to chance. What they leave is not:
//! it is the same with caches and without, after mounting again, and for the other type.

use anyhow::ensure;
use anyhow::Context;
use rovl_kit::faults::Failing;
use rustix::io::Errno;

use crate::batch::AT;
use crate::batch::END;
use crate::exec::Session;
use crate::generate;
use crate::generate::Choices;
use crate::run::Sides;
use crate::run::Tally;
use crate::scan;
use crate::scan::Entry;
use crate::script::Script;
use crate::side::Side;
use crate::step::Ask;
use crate::step::Queue;
use crate::step::Step;
use crate::sys::SysResult;
use crate::wanted;
use crate::wanted::Place;
use crate::yard::Yard;
use crate::yard::SIDES;

/// The type of the second side, on layers that the first has to read as well.
struct Run<'a> {
    side: Side<'a>,
    yard: &'a Yard,
    sides: &'a Sides,
    tally: Tally,
    /// How many steps were told that there is no memory.
    refused: u64,
}

/// What a step may be told: that there is no memory, for which the kernel has the first three names, and what is
/// wrong with the step itself. Anything else means that something was broken, or taken for broken.
const MAY_BE_TOLD: &[Errno] = &[
    Errno::NOMEM,
    Errno::NFILE,
    Errno::AGAIN,
    Errno::ACCESS,
    Errno::BADF,
    Errno::BUSY,
    Errno::EXIST,
    Errno::FAULT,
    Errno::FBIG,
    Errno::INVAL,
    Errno::ISDIR,
    Errno::LOOP,
    Errno::NAMETOOLONG,
    Errno::NODATA,
    Errno::NODEV,
    Errno::NOENT,
    Errno::NOSPC,
    Errno::NOTDIR,
    Errno::NOTEMPTY,
    Errno::NOTTY,
    Errno::NXIO,
    Errno::OPNOTSUPP,
    Errno::OVERFLOW,
    Errno::PERM,
    Errno::RANGE,
    Errno::ROFS,
    Errno::SPIPE,
    Errno::TXTBSY,
    Errno::XDEV,
];

/// What is wrong, in lines.
type Verdict = Result<(), Vec<String>>;

/// Runs the batch in this process, and prints what it finds.
pub fn child(first: u64, count: u64, choices: &Choices, sides: &Sides) -> anyhow::Result<bool> {
    let yard = Yard::new()?;
    let (mut total, mut refused, mut failed) = (Tally::default(), 0, 0);
    for seed in first..first + count {
        println!("{AT}{seed}");
        let script = script(seed, choices);
        yard.prepare(&script)?;
        let result = Side::new(&yard, SIDES[1], &script).and_then(|side| {
            let (yard, tally) = (&yard, Tally::default());
            let mut run = Run {
                side,
                yard,
                sides,
                tally,
                refused: 0,
            };
            let verdict = run.everything()?;
            Ok((verdict, run.tally, run.refused))
        });
        yard.clear(&script)?;
        let (verdict, tally, told) = result.with_context(|| format!("seed {seed}"))?;
        total.merge(&tally);
        refused += told;
        if let Err(lines) = verdict {
            failed += 1;
            println!("seed {seed}:");
            for line in lines.iter().take(12) {
                println!("  {line}");
            }
            // It need not come again, but tells what there was.
            println!("---- script");
            print!("{script}");
            println!("---- end");
        }
    }
    ensure!(refused > 0, "no step was told that there is no memory");
    println!("{END}{total}");
    Ok(failed == 0)
}

/// The script of the seed, without what this cannot be tried on.
fn script(seed: u64, choices: &Choices) -> Script {
    let mut script = generate::script(seed, choices);
    // A ring that could not be told of a request keeps it, and the buffer is gone by then. Requests to allocate
    // go by a ring, whatever queue the step names.
    let is_ring = |step: &Step| {
        matches!(
            step,
            Step::Queued {
                by: Queue::Uring,
                ..
            } | Step::Queued {
                ask: Ask::Allocate(_),
                ..
            }
        )
    };
    script.steps.retain(|(_, step)| !is_ring(step));
    script.setup.watch = false;
    script.setup.processes = false;
    script
}

impl Run<'_> {
    fn everything(&mut self) -> anyhow::Result<Verdict> {
        let (other, own) = (&self.sides.type_a, &self.sides.type_b);
        if let Err(error) = self.mount(own) {
            return Ok(Err(error));
        }
        if let Err(error) = self.steps(own)? {
            return Ok(Err(error));
        }
        let warm = self.side.merged();
        rustix::fs::sync();
        rovl_kit::sys::drop_caches(3).context("drop caches")?;
        let cold = self.side.merged();
        Ok(compare("without caches", &warm, &cold, is_phantom)
            .and_then(|()| self.mounted_again(own, other, &cold)))
    }

    /// Lets allocations fail in all steps, and in nothing else.
    fn steps(&mut self, own: &str) -> anyhow::Result<Verdict> {
        let script = self.side.script;
        let mut session = Session::new(&self.side, &self.yard.queues);
        for (index, (_, step)) in script.steps.iter().enumerate() {
            if *step == Step::Remount {
                session.close();
                if let Err(error) = self.unmount().and_then(|()| self.mount(own)) {
                    return Ok(Err(error));
                }
                continue;
            }
            let failing = Failing::begin()?;
            let outcome = session.run(script, index);
            drop(failing);
            self.tally.count(step, &outcome);
            self.refused += u64::from(outcome.result == Err(Errno::NOMEM));
            if let Err(error) = outcome.result {
                if !MAY_BE_TOLD.contains(&error) {
                    return Ok(Err(vec![format!("{step:?}: {error:?}")]));
                }
            }
        }
        session.close();
        Ok(Ok(()))
    }

    /// The layers as they are after a mount, for the same type and for the other.
    fn mounted_again(&mut self, own: &str, other: &str, cold: &SysResult<Vec<Entry>>) -> Verdict {
        self.unmount()?;
        self.mount(own)?;
        let mut left = self.side.leftovers();
        // A volatile mount says here that it is one.
        left.retain(|name| name != "work/incompat");
        if !left.is_empty() {
            return Err(vec![format!("left in the work directory: {left:?}")]);
        }
        let again = self.side.merged();
        compare("after mounting again", cold, &again, is_phantom)?;
        self.unmount()?;
        self.mount(other)?;
        let setup = &self.side.script.setup;
        let theirs = self.side.merged();
        compare("for the other type", &theirs, &again, |found| {
            wanted::deviation(setup, Place::Crossed, found).is_some()
        })?;
        self.unmount()
    }

    fn mount(&mut self, fs_type: &str) -> Verdict {
        let mounted = self.side.mount(fs_type, &self.side.script.setup.options);
        mounted.map_err(|error| vec![format!("cannot be mounted as {fs_type}: {error:?}")])
    }

    fn unmount(&mut self) -> Verdict {
        let unmounted = self.side.unmount();
        unmounted.map_err(|error| vec![format!("cannot be unmounted: {error:?}")])
    }
}

/// Names that cannot be found may be listed or not, as there happen to be listings kept.
fn is_phantom(found: &scan::Deviation) -> bool {
    found.field == "name" && matches!(found.kind, '~' | '?')
}

fn compare(
    when: &str,
    before: &SysResult<Vec<Entry>>,
    after: &SysResult<Vec<Entry>>,
    is_wanted: impl Fn(&scan::Deviation) -> bool,
) -> Verdict {
    let deviations = match (before, after) {
        (Ok(before), Ok(after)) => scan::compare(before, after),
        (Err(before), Err(after)) if before == after => return Ok(()),
        (before, after) => {
            let (before, after) = (before.as_ref().err(), after.as_ref().err());
            return Err(vec![format!("{when}: {before:?} | {after:?}")]);
        }
    };
    let lines: Vec<_> = deviations
        .iter()
        // To look at a tree changes its times of access.
        .filter(|found| found.field != "atime" && !is_wanted(found))
        .map(|found| format!("{when}: {found}"))
        .collect();
    if lines.is_empty() {
        Ok(())
    } else {
        Err(lines)
    }
}
