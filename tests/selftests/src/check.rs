// SPDX-License-Identifier: GPL-2.0-only

//! What a test returns, and the comparisons it is made of.
//!
//! A failure carries the place of the comparison that failed: every function here is
//! `#[track_caller]`, and so is the conversion that `?` performs on an error of a system call.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::panic::Location;

use rustix::io::Errno;

/// Why a test did not pass.
#[derive(Debug)]
pub enum Failure {
    /// The behaviour differs from what was expected.
    Failed {
        message: String,
        place: &'static Location<'static>,
    },
    /// The test cannot run here, for this reason.
    Skipped(String),
}

pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    #[track_caller]
    pub fn new(message: impl Into<String>) -> Self {
        Failure::Failed {
            message: message.into(),
            place: Location::caller(),
        }
    }

    pub fn skip(reason: impl Into<String>) -> Self {
        Failure::Skipped(reason.into())
    }
}

impl<E: Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Failure::new(error.to_string())
    }
}

/// Says what was being done when a system call failed.
pub trait Context<T> {
    fn context(self, what: impl Display) -> Result<T>;
}

impl<T, E: Error> Context<T> for std::result::Result<T, E> {
    #[track_caller]
    fn context(self, what: impl Display) -> Result<T> {
        // No closure: `#[track_caller]` on closures is not stable.
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(Failure::new(format!("{what}: {error}"))),
        }
    }
}

/// Errors that hold an errno.
pub trait AsErrno: Display {
    fn as_errno(&self) -> Option<Errno>;
}

impl AsErrno for Errno {
    fn as_errno(&self) -> Option<Errno> {
        Some(*self)
    }
}

impl AsErrno for std::io::Error {
    fn as_errno(&self) -> Option<Errno> {
        Errno::from_io_error(self)
    }
}

/// Fails with `message` unless `condition` holds.
#[track_caller]
pub fn ok(condition: bool, message: impl Display) -> Result {
    if condition {
        Ok(())
    } else {
        Err(Failure::new(message.to_string()))
    }
}

/// Fails unless both values are equal; `what` names the value.
#[track_caller]
pub fn equal<A, B>(what: impl Display, actual: A, expected: B) -> Result
where
    A: Debug + PartialEq<B>,
    B: Debug,
{
    if actual == expected {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{what}: expected {}, got {}",
        short(&expected),
        short(&actual)
    )))
}

/// Fails unless both byte strings are equal, and says where the first difference is.
#[track_caller]
pub fn bytes(what: impl Display, actual: &[u8], expected: &[u8]) -> Result {
    if actual == expected {
        return Ok(());
    }
    let message = match actual.iter().zip(expected).position(|(a, b)| a != b) {
        Some(at) => format!(
            "first difference at byte {at}: expected {:#04x}, got {:#04x}",
            expected[at], actual[at]
        ),
        None => format!("expected {} bytes, got {}", expected.len(), actual.len()),
    };
    Err(Failure::new(format!("{what}: {message}")))
}

/// Fails unless the call failed with `expected`.
#[track_caller]
pub fn errno<T, E: AsErrno>(
    what: impl Display,
    result: std::result::Result<T, E>,
    expected: Errno,
) -> Result {
    match result {
        Ok(_) => Err(Failure::new(format!(
            "{what}: expected {expected}, but it succeeded"
        ))),
        Err(error) if error.as_errno() == Some(expected) => Ok(()),
        Err(error) => Err(Failure::new(format!(
            "{what}: expected {expected}, got {error}"
        ))),
    }
}

/// Says in what part of a test, which is run several times, a check failed.
pub fn within(part: impl Display, result: Result) -> Result {
    match result {
        Err(Failure::Failed { message, place }) => Err(Failure::Failed {
            message: format!("{part}: {message}"),
            place,
        }),
        other => other,
    }
}

/// Collects the differences of a table of checks, so that one run shows all of them.
#[derive(Default)]
pub struct Table {
    differences: Vec<String>,
    place: Option<&'static Location<'static>>,
}

impl Table {
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a failed check and goes on.
    pub fn note(&mut self, result: Result) -> Result {
        match result {
            Ok(()) => Ok(()),
            Err(Failure::Failed { message, place }) => {
                self.place.get_or_insert(place);
                self.differences.push(message);
                Ok(())
            }
            Err(skipped) => Err(skipped),
        }
    }

    /// Fails if any check failed.
    pub fn finish(self) -> Result {
        match self.place {
            None => Ok(()),
            Some(place) => Err(Failure::Failed {
                message: self.differences.join("\n"),
                place,
            }),
        }
    }
}

/// The debug form of a value, cut to what fits a line.
fn short(value: &dyn Debug) -> String {
    const LIMIT: usize = 400;
    let text = format!("{value:?}");
    if text.len() <= LIMIT {
        return text;
    }
    let cut = (0..=LIMIT).rev().find(|at| text.is_char_boundary(*at));
    format!("{}... ({} bytes)", &text[..cut.unwrap_or(0)], text.len())
}
