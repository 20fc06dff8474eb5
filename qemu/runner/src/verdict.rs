// SPDX-License-Identifier: GPL-2.0-only

//! What an outcome means: the exit status, and the few lines a person needs when something failed.

use std::fmt::Write;
use std::time::Duration;

use crate::session::{Ending, Outcome};

/// The kernel complained.
pub const SPLAT: u8 = 120;
/// The time limit struck.
pub const TIMED_OUT: u8 = 121;
/// The guest ended without a status.
pub const DIED: u8 = 122;
/// The runner or QEMU failed.
pub const RUNNER: u8 = 123;

/// The greatest status that a command can have here; those above are the runner's.
const COMMAND_MAX: u8 = 119;

/// The exit status for an outcome. A complaint of the kernel counts more than how the guest ended.
pub fn exit_status(outcome: &Outcome) -> u8 {
    if outcome.splat.is_some() {
        return SPLAT;
    }
    match outcome.ending {
        Ending::Exited(status) => status.min(COMMAND_MAX),
        Ending::Escaped => 0,
        Ending::TimedOut => TIMED_OUT,
        Ending::Died => DIED,
        Ending::Failed(_) | Ending::NotStarted(_) | Ending::Interrupted(_) => RUNNER,
    }
}

/// What to tell a person, or nothing when all went well.
pub fn message(outcome: &Outcome, limit: Option<Duration>, log: &str) -> Option<String> {
    let mut text = String::new();
    if let Some(splat) = &outcome.splat {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "the kernel complained: {}", splat.title);
        for line in &splat.lines {
            let _ = writeln!(text, "  {line}");
        }
        text.push_str("rovl-guest: ");
    }
    let booted = if outcome.boot.is_some() {
        ""
    } else {
        " before the command began"
    };
    match &outcome.ending {
        Ending::Exited(0) | Ending::Escaped if outcome.splat.is_none() => return None,
        Ending::Exited(status) => text.push_str(&describe_status(*status)),
        Ending::Escaped => text.push_str("the guest was ended by its user"),
        Ending::Failed(reason) => text.push_str(reason),
        Ending::TimedOut => {
            let _ = write!(
                text,
                "the time limit of {} s struck{booted}",
                limit.unwrap_or_default().as_secs()
            );
        }
        Ending::Died => {
            let _ = write!(text, "the guest died{booted}");
        }
        Ending::NotStarted(errors) => {
            let _ = write!(text, "QEMU failed: {errors}");
            return Some(text);
        }
        Ending::Interrupted(signal) => {
            let _ = write!(text, "ended by signal {signal}");
        }
    }
    let _ = write!(text, "; the kernel's log is {log}");
    Some(text)
}

fn describe_status(status: u8) -> String {
    match status {
        0 => "the command ended well".into(),
        126 => "a command cannot be executed in the guest".into(),
        127 => "a command was not found in the guest".into(),
        129.. => format!("the command was ended by signal {}", status - 128),
        _ => format!("the command ended with status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::splat::Splat;

    fn outcome(ending: Ending, splat: Option<Splat>) -> Outcome {
        Outcome {
            ending,
            splat,
            boot: Some(Duration::from_secs(1)),
            total: Duration::from_secs(2),
        }
    }

    #[test]
    fn statuses() {
        for (ending, status) in [
            (Ending::Exited(0), 0),
            (Ending::Exited(7), 7),
            (Ending::Exited(119), 119),
            (Ending::Exited(120), 119),
            (Ending::Exited(139), 119),
            (Ending::TimedOut, 121),
            (Ending::Died, 122),
            (Ending::Failed("x".into()), 123),
            (Ending::NotStarted("x".into()), 123),
            (Ending::Escaped, 0),
        ] {
            assert_eq!(exit_status(&outcome(ending, None)), status);
        }
        for ending in [Ending::Exited(0), Ending::TimedOut, Ending::Died] {
            assert_eq!(exit_status(&outcome(ending, Some(Splat::default()))), SPLAT);
        }
    }

    #[test]
    fn success_is_silent() {
        assert_eq!(
            message(&outcome(Ending::Exited(0), None), None, "LOG"),
            None
        );
    }

    #[test]
    fn failures_name_the_log() {
        let limit = Some(Duration::from_secs(5));
        for ending in [
            Ending::Exited(1),
            Ending::TimedOut,
            Ending::Died,
            Ending::Failed("x".into()),
        ] {
            assert!(message(&outcome(ending, None), limit, "LOG")
                .unwrap()
                .contains("LOG"));
        }
        let splat = Splat {
            title: "BUG: x".into(),
            lines: vec!["BUG: x".into()],
        };
        let text = message(&outcome(Ending::Exited(0), Some(splat)), limit, "LOG").unwrap();
        assert!(
            text.contains("  BUG: x\n")
                && text.ends_with("the command ended well; the kernel's log is LOG")
        );
    }
}
