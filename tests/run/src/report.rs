// SPDX-License-Identifier: GPL-2.0-only
//! The one screen that `make run` prints from the guest: a line for each step, with what it did and how long it took.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;

#[derive(Default)]
pub struct Report {
    failures: usize,
}

impl Report {
    /// Runs a step and prints its line. `None` says that it failed; what builds on it cannot go on.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<(T, String)>) -> Option<T> {
        let begun = Instant::now();
        let result = work();
        self.line(name, result, begun.elapsed())
    }

    /// Prints the line of a step that was done elsewhere.
    pub fn line<T>(
        &mut self,
        name: &str,
        result: Result<(T, String)>,
        elapsed: Duration,
    ) -> Option<T> {
        let seconds = elapsed.as_secs_f64();
        let (value, text) = match result {
            Ok((value, text)) => (Some(value), text),
            Err(error) => {
                self.failures += 1;
                (None, format!("FAILED: {error:#}"))
            }
        };
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let mut out = io::stdout().lock();
        // Nobody is left to tell when the console is gone.
        let _ = writeln!(out, "{name:<10} {seconds:>6.1} s  {first}");
        for line in lines {
            let _ = writeln!(out, "{:20} {line}", "");
        }
        let _ = out.flush();
        value
    }

    pub fn passed(&self) -> bool {
        self.failures == 0
    }
}
