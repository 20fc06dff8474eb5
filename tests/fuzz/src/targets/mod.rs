// SPDX-License-Identifier: GPL-2.0-only

//! What holds for the parsers of untrusted bytes in `src/model`, whatever the bytes are.
//!
//! Each check takes the values that it needs from the input and panics where the model is wrong.
//! The fuzzer and the host tests include these files; the former chooses its inputs by what code
//! they reach, the latter replay those that once were found, and a few of their own.

mod handle;
mod lowerdir;
mod merge;
mod metacopy;
mod names;
mod nlink;
mod options;
mod protattr;
mod redirect;
mod xino;

use arbitrary::Result;
use arbitrary::Unstructured;

/// A check of one parser. An error means that the input was too short, which is no failure.
pub(crate) type Check = fn(&mut Unstructured<'_>) -> Result<()>;

/// All checks with their names, each of which is that of a binary in `fuzz_targets` too.
pub(crate) const TARGETS: [(&str, Check); 10] = [
    ("handle", handle::check),
    ("lowerdir", lowerdir::check),
    ("merge", merge::check),
    ("metacopy", metacopy::check),
    ("names", names::check),
    ("nlink", nlink::check),
    ("options", options::check),
    ("protattr", protattr::check),
    ("redirect", redirect::check),
    ("xino", xino::check),
];

/// Runs the check of this name on an input.
///
/// # Panics
///
/// If the check fails, or if there is none of this name.
pub fn run(target: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    let (_, check) = found.expect("a check of this name");

    // What the input was long enough for has been checked.
    let _ = check(&mut Unstructured::new(bytes));
}

/// Takes all that is left of the input.
fn rest<'a>(input: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    input.bytes(input.len())
}
