// SPDX-License-Identifier: GPL-2.0-only

//! Output in the kernel's test format, KTAP version 1.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

/// What a test has to say when it has passed.
pub enum Passed {
    /// What it did, in numbers.
    Did(String),
    /// It could not run here, for this reason.
    Skipped(String),
}

/// What became of one test.
pub enum Outcome {
    Passed,
    Failed,
    TimedOut,
    /// It could not run here, for this reason.
    Skipped(String),
}

impl Outcome {
    /// Of a test that ran to its end.
    pub fn of(has_passed: bool) -> Self {
        if has_passed {
            Outcome::Passed
        } else {
            Outcome::Failed
        }
    }
}

/// What there is to tell of one test.
pub struct Report {
    pub outcome: Outcome,
    /// Lines that tell what was found.
    pub diagnostics: Vec<String>,
    pub duration: Duration,
}

impl Report {
    /// Of a test that did not run, for this reason.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Report {
            outcome: Outcome::Skipped(reason.into()),
            diagnostics: Vec::new(),
            duration: Duration::ZERO,
        }
    }
}

/// The results of one program.
pub struct Ktap {
    number: usize,
    planned: usize,
    failed: usize,
    skipped: usize,
}

impl Ktap {
    /// Prints the version and the plan.
    pub fn start(planned: usize) -> Self {
        println!("KTAP version 1\n1..{planned}");
        Ktap {
            number: 0,
            planned,
            failed: 0,
            skipped: 0,
        }
    }

    /// Runs the next test and prints how it went. Returns whether it did not fail.
    pub fn run(&mut self, name: &str, test: impl FnOnce() -> anyhow::Result<Passed>) -> bool {
        let start = Instant::now();
        let result = test();
        let has_passed = result.is_ok();
        let (outcome, remark, diagnostics) = match result {
            Ok(Passed::Did(what)) => (Outcome::Passed, what, Vec::new()),
            Ok(Passed::Skipped(reason)) => (Outcome::Skipped(reason), String::new(), Vec::new()),
            Err(error) => (Outcome::Failed, String::new(), vec![format!("{error:#}")]),
        };
        let report = Report {
            outcome,
            diagnostics,
            duration: start.elapsed(),
        };
        self.result(name, &remark, &report);
        has_passed
    }

    /// Prints diagnostics and result of the next test; `remark` is what else there is to say of it.
    pub fn result(&mut self, name: &str, remark: &str, report: &Report) {
        self.number += 1;
        report.diagnostics.iter().for_each(note);
        let number = self.number;
        let time = report.duration.as_millis();
        let separator = if remark.is_empty() { "" } else { ", " };
        match &report.outcome {
            Outcome::Passed => println!("ok {number} {name} # {remark}{separator}{time} ms"),
            Outcome::Failed => {
                self.failed += 1;
                println!("not ok {number} {name} # {remark}{separator}{time} ms");
            }
            Outcome::TimedOut => {
                self.failed += 1;
                println!("not ok {number} {name} # TIMEOUT {remark}{separator}{time} ms");
            }
            Outcome::Skipped(reason) => {
                self.skipped += 1;
                println!("ok {number} {name} # SKIP {reason}");
            }
        }
        // A crash of the machine must not swallow what was found before it.
        let _ = std::io::stdout().flush();
    }

    /// Prints the totals. The status says whether nothing failed and all planned tests ran.
    pub fn finish(self) -> ExitCode {
        let passed = self.number - self.failed - self.skipped;
        println!(
            "# Totals: pass:{passed} fail:{} xfail:0 xpass:0 skip:{} error:0",
            self.failed, self.skipped
        );
        if self.failed == 0 && self.number == self.planned {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Prints diagnostics of the test that runs.
pub fn note(text: impl Display) {
    for line in text.to_string().lines() {
        println!("# {line}");
    }
}
