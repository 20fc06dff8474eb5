// SPDX-License-Identifier: GPL-2.0-only

//! The differences that are wanted: where rovl does better than overlayfs on purpose.
//!
//! Each has its reason here. Nothing is on this list for being hard to make equal.

use crate::exec::Outcome;
use crate::scan::Deviation;
use crate::script::Setup;
use crate::step::Step;

/// Where trees are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Merged,
    Upper,
    Lower,
    Crossed,
}

/// Says why a difference in what came of a step is wanted, if it is.
pub fn step(_setup: &Setup, step: &Step, a: &Outcome, b: &Outcome) -> Option<&'static str> {
    // Rows F5 and Q7. Overlayfs goes on mapping the file that was opened, whatever became of it.
    let maps = matches!(step, Step::MapRead { .. } | Step::MapPeek { .. });
    if maps && a.seen == b.seen && a.result != b.result {
        return Some("a mapping made after copy-up shows the file as it is now");
    }
    None
}

/// Says why a difference between two trees is wanted, if it is.
pub fn deviation(setup: &Setup, _place: Place, found: &Deviation) -> Option<&'static str> {
    // Row 1.10. What a directory has is then a counter's value, or a lower one's own.
    if found.field == "listed_number" && !setup.has_stable_numbers() {
        return Some("layers on several filesystems have numbers that nothing is said about");
    }
    None
}
