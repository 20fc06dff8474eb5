// SPDX-License-Identifier: GPL-2.0-only

//! How often each kind of step was tried, and what came of it.

use std::collections::BTreeMap;

use anyhow::ensure;
use anyhow::Result;

/// Kinds of which most steps succeed, or every third where allocations fail.
const COMMON: [&str; 6] = ["copy within", "list", "look", "map", "unlink", "write"];

/// How often one of them is tried until one step must have succeeded, and one of the others, of which
/// one in twenty does.
const ENOUGH_COMMON: u64 = 40;
const ENOUGH: u64 = 300;

/// What came of one kind of step.
#[derive(Clone, Copy, Default)]
pub struct Tried {
    pub steps: u64,
    pub succeeded: u64,
    /// How many were refused for want of memory.
    pub without_memory: u64,
}

/// By kind.
#[derive(Default)]
pub struct Tally(pub BTreeMap<&'static str, Tried>);

impl Tally {
    pub fn add(&mut self, more: &Tally) {
        for (kind, tried) in &more.0 {
            let sum = self.0.entry(kind).or_default();
            sum.steps += tried.steps;
            sum.succeeded += tried.succeeded;
            sum.without_memory += tried.without_memory;
        }
    }

    /// Fails unless enough of what was tried has succeeded. Less is asked of short runs, which try less.
    pub fn check(&self) -> Result<()> {
        ensure!(self.total().succeeded > 0, "no step succeeded");
        for (kind, tried) in &self.0 {
            let enough = if COMMON.contains(kind) {
                ENOUGH_COMMON
            } else {
                ENOUGH
            };
            ensure!(
                tried.succeeded > 0 || tried.steps < enough,
                "none of {} steps of the kind {kind} succeeded",
                tried.steps
            );
        }
        Ok(())
    }

    /// Over all kinds.
    pub fn total(&self) -> Tried {
        let mut all = Tried::default();
        for tried in self.0.values() {
            all.steps += tried.steps;
            all.succeeded += tried.succeeded;
            all.without_memory += tried.without_memory;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(steps: u64, succeeded: u64) -> Tally {
        of("link", steps, succeeded)
    }

    fn of(kind: &'static str, steps: u64, succeeded: u64) -> Tally {
        let tried = Tried {
            steps,
            succeeded,
            without_memory: 0,
        };
        let read = Tried {
            steps: 10,
            succeeded: 2,
            without_memory: 1,
        };
        Tally([(kind, tried), ("read", read)].into())
    }

    #[test]
    fn what_was_tried_often_must_succeed() {
        assert!(tally(ENOUGH, 1).check().is_ok());
        assert!(tally(ENOUGH - 1, 0).check().is_ok());
        let none = tally(ENOUGH, 0).check().map_err(|error| error.to_string());
        assert_eq!(
            none,
            Err("none of 300 steps of the kind link succeeded".to_owned())
        );
        assert!(of("list", ENOUGH_COMMON, 0).check().is_err());
        assert!(of("list", ENOUGH_COMMON, 1).check().is_ok());
        assert!(Tally::default().check().is_err());
    }

    #[test]
    fn sums_are_over_kinds_and_runs() {
        let mut all = tally(5, 3);
        all.add(&tally(ENOUGH, 0));
        let total = all.total();
        assert_eq!((total.steps, total.succeeded), (ENOUGH + 25, 7));
        assert_eq!(total.without_memory, 2);
        assert!(all.check().is_ok());
    }
}
