// SPDX-License-Identifier: GPL-2.0-only

//! The differences that are wanted: where rovl does better than overlayfs on purpose.
//!
//! Each has its reason here. Nothing is on this list for being hard to make equal.

use rustix::io::Errno;

use crate::data;
use crate::exec::Outcome;
use crate::scan::Deviation;
use crate::script::Backing;
use crate::script::Kind;
use crate::script::Script;
use crate::script::Setup;
use crate::step::Ask;
use crate::step::From;
use crate::step::Open;
use crate::step::Step;

/// Where trees are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Merged,
    Upper,
    Lower,
    Crossed,
}

/// Says why the two sides may part, so that nothing that comes after it can be compared.
pub fn parting(script: &Script, step: &Step, a: &Outcome, b: &Outcome) -> Option<&'static str> {
    // Row C4. Where a copy has data and where a hole is seen here: only data has to be aligned.
    let reads = matches!(
        step,
        Step::Read { .. }
            | Step::ReadAt { .. }
            | Step::ReadParts { .. }
            | Step::Queued { ask: Ask::Read, .. }
            | Step::Splice { .. }
            | Step::SendFile { .. }
            | Step::CopyRange { .. }
    );
    // Row C4. Pages go by reference, so that what is written changes what is still to be written, but for holes.
    let is_within = |of: &Outcome| matches!(&of.result, Ok(moved) if moved.ends_with(data::WITHIN));
    if is_within(a) && is_within(b) && has_holes(script) {
        return Some("a copy has all holes of its original");
    }
    let is_refused = a.result == Err(Errno::INVAL) && b.result.is_ok();
    if reads && is_refused && has_holes(script) && is_direct(script) {
        return Some("a copy has all holes of its original");
    }
    let is_full = a.result == Err(Errno::NOSPC) && b.result.is_ok();
    if !is_full || script.setup.upper_on != Backing::Small {
        return None;
    }
    match step {
        // Row D5. Overlayfs puts a new directory in the place of one whose names are all hidden.
        Step::Rmdir { .. } | Step::Rename { .. } => Some("it takes no room to remove a directory"),
        // Row C1. Overlayfs copies what it then cuts off.
        Step::Truncate { len: 0, .. } => Some("it takes no room to make a file empty"),
        _ => None,
    }
}

/// Says why a difference in what came of a step is wanted, if it is.
pub fn step(script: &Script, step: &Step, a: &Outcome, b: &Outcome) -> Option<&'static str> {
    // Rows F5 and Q7. Overlayfs goes on mapping the file that was opened, whatever became of it.
    let is_unlike =
        |of: &Outcome| matches!(&of.result, Ok(mapped) if mapped.ends_with(data::UNLIKE));
    let has_no_page = |of: &Outcome| of.result == Err(Errno::FAULT);
    let is_right = (b.result.is_ok() && !is_unlike(b)) || has_no_page(b);
    let maps = match step {
        Step::MapRead { .. } | Step::MapPeek { .. } => is_right,
        // There may be no page to write to in the one that is mapped.
        Step::MapPoke { .. } => is_right && (is_unlike(a) || has_no_page(a) || has_no_page(b)),
        _ => false,
    };
    if maps && a.seen == b.seen {
        return Some("a mapping made after copy-up shows the file as it is now");
    }
    // Row C4. Overlayfs fills the holes that come after data in the same mebibyte.
    let seeks = matches!(
        step,
        Step::Seek {
            from: From::Data | From::Hole,
            ..
        }
    );
    let is_found = |of: &Outcome| of.result.is_ok() || of.result == Err(Errno::NXIO);
    if seeks && has_holes(script) && is_found(a) && is_found(b) && a.seen == b.seen {
        return Some("a copy has all holes of its original");
    }
    // Row R6. Rovl merges directories that are marked as impure, which overlayfs reads as they are.
    let to_end = matches!(
        step,
        Step::Seek {
            from: From::End,
            ..
        }
    );
    let has_no_position = matches!(&b.result, Ok(found) if found == data::NO_POSITION);
    if (seeks || to_end) && has_no_position && a.seen == b.seen {
        return Some("there are no other positions in a directory than those that were given out");
    }
    if let (Step::List { .. } | Step::FList { .. }, Ok(a), Ok(b)) = (step, &a.result, &b.result) {
        let (a, b): (Vec<_>, Vec<_>) = (a.split(' ').collect(), b.split(' ').collect());
        let is_phantom = |name: &&str| name.ends_with(data::PHANTOM);
        let is_file = |name: &&str| is_phantom(name) && name.contains(":RegularFile:");
        let missing = a.iter().all(|name| is_phantom(name) || b.contains(name));
        if missing && b.iter().all(|name| is_file(name) || a.contains(name)) {
            return Some(PHANTOMS);
        }
    }
    None
}

fn has_holes(script: &Script) -> bool {
    let mut kinds = script.objects.iter().map(|(_, object)| &object.kind);
    kinds.any(|kind| matches!(kind, Kind::Sparse { .. }))
}

/// Whether anything is read or written past the page cache.
fn is_direct(script: &Script) -> bool {
    script.has_step(|step| {
        matches!(
            step,
            Step::Open { flags, .. } | Step::Reopen { flags, .. } | Step::SetFl { flags, .. }
                if flags.contains(&Open::Direct)
        )
    })
}

/// Rows R1 and X10. Some names of whiteouts are listed, though they cannot be found: those of device
/// nodes in a directory that is not merged, those of attributes where no lower directory says that there
/// are any. Either side finds out as it happens to look names up for their numbers: overlayfs in all
/// directories with `xino=on` and in those that are marked as impure, rovl as well in some that are not
/// merged, but not in a listing that it has kept.
const PHANTOMS: &str = "nobody relies on names that cannot be found";

/// Says why a difference between two trees is wanted, if it is.
pub fn deviation(setup: &Setup, _place: Place, found: &Deviation) -> Option<&'static str> {
    // Row 1.10. What a directory has is then a counter's value, or a lower one's own.
    if found.field == "listed_number" && !setup.has_stable_numbers() {
        return Some("layers on several filesystems have numbers that nothing is said about");
    }
    // Row 1.10. Overlayfs knows which number to list only once it has given a directory its origin, and
    // misses some changes afterwards.
    if found.field == "listed_number" && found.a == "false" {
        return Some("what is listed has the number that it shows");
    }
    let is_phantom = found.field == "name" && matches!(found.kind, '~' | '?');
    if is_phantom && (found.b == "missing" || found.kind == '~') {
        return Some(PHANTOMS);
    }
    None
}
