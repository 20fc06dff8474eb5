// SPDX-License-Identifier: GPL-2.0-only

//! Output in the kernel's test format, KTAP version 1.

use std::io::Write;
use std::time::Duration;

pub struct Ktap {
    number: usize,
    planned: usize,
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// What became of one test.
pub enum Outcome {
    Passed,
    Failed,
    Skipped(String),
}

impl Ktap {
    /// Prints the version and the plan.
    pub fn start(planned: usize) -> Self {
        println!("KTAP version 1\n1..{planned}");
        Ktap {
            number: 0,
            planned,
            passed: 0,
            failed: 0,
            skipped: 0,
        }
    }

    /// Prints diagnostics and result of the next test.
    pub fn result(
        &mut self,
        name: &str,
        outcome: &Outcome,
        time: Duration,
        diagnostics: &[String],
    ) {
        self.number += 1;
        for line in diagnostics {
            println!("# {line}");
        }
        let number = self.number;
        let time = time.as_millis();
        match outcome {
            Outcome::Passed => {
                self.passed += 1;
                println!("ok {number} {name} # {time} ms");
            }
            Outcome::Failed => {
                self.failed += 1;
                println!("not ok {number} {name} # {time} ms");
            }
            Outcome::Skipped(reason) => {
                self.skipped += 1;
                println!("ok {number} {name} # SKIP {reason}");
            }
        }
        // A crash of the machine must not swallow what was found before it.
        let _ = std::io::stdout().flush();
    }

    /// Prints the totals. Returns whether nothing failed and all planned tests ran.
    pub fn finish(&self) -> bool {
        println!(
            "# Totals: pass:{} fail:{} xfail:0 xpass:0 skip:{} error:0",
            self.passed, self.failed, self.skipped
        );
        self.failed == 0 && self.number == self.planned
    }
}
