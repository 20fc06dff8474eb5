// SPDX-License-Identifier: GPL-2.0-only

//! Output in the kernel's test format, KTAP version 1.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// What a test has to say when it has passed.
pub enum Passed {
    /// What it did, in numbers.
    Did(String),
    /// It could not run here, for this reason.
    Skipped(String),
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
        let time = start.elapsed().as_millis();
        self.number += 1;
        let number = self.number;
        match &result {
            Ok(Passed::Did(what)) => println!("ok {number} {name} # {what}, {time} ms"),
            Ok(Passed::Skipped(reason)) => {
                self.skipped += 1;
                println!("ok {number} {name} # SKIP {reason}");
            }
            Err(error) => {
                self.failed += 1;
                note(format_args!("{error:#}"));
                println!("not ok {number} {name} # {time} ms");
            }
        }
        // A crash of the machine must not swallow what was found before it.
        let _ = std::io::stdout().flush();
        result.is_ok()
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
