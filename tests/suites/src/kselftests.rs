// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's own selftests for overlayfs, as scripts/kselftests.sh builds them. Each program
//! prints KTAP of its own, which is read here.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::ktap::note;
use rovl_kit::ktap::Passed;

use crate::known;

/// What is known to fail, and why.
const KNOWN: &str = include_str!("../kselftests.known");

/// What is known to skip itself, in the same form.
const SKIPPED: &str =
    "rovl:idmapped_overlay.nfs_export_handles mounts with nfs_export=on, which rovl does not have yet";

const FOLDER: &str = "/opt/kselftests";

pub fn run(fs_type: &str) -> Result<Passed> {
    let mut programs: Vec<_> = fs::read_dir(FOLDER)
        .context(FOLDER)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    programs.sort();
    let (mut passed, mut failed, mut skipped) = (0, BTreeSet::new(), BTreeSet::new());
    let mut wrong = Vec::new();
    for program in &programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let output = Command::new(program).output().context(name.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let results = Results::read(&text);
        let mut bad = results.unknown(fs_type);
        if results.planned != Some(results.count()) {
            let count = results.count();
            bad.push(format!("{count} results, planned: {:?}", results.planned));
        }
        // One that is known to fail makes the program fail.
        if output.status.code() != Some(i32::from(!results.failed.is_empty())) {
            bad.push(output.status.to_string());
        }
        if !bad.is_empty() {
            note(&text);
            note(String::from_utf8_lossy(&output.stderr));
            wrong.push(format!("{name}: {}", bad.join(", ")));
        }
        passed += results.passed;
        failed.extend(results.failed);
        skipped.extend(results.skipped);
    }
    for (list, seen, what) in [(KNOWN, &failed, "fail"), (SKIPPED, &skipped, "be skipped")] {
        for test in known::names(list, fs_type).filter(|test| !seen.contains(*test)) {
            wrong.push(format!("{test} is known to {what}, and was not seen to"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    ensure!(passed > 0, "no test passed");
    Ok(Passed::Did(format!(
        "{} programs, {passed} tests pass, {} are known to fail, {} to be skipped",
        programs.len(),
        failed.len(),
        skipped.len()
    )))
}

/// What a program says of its tests.
#[derive(Default)]
struct Results {
    planned: Option<usize>,
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Results {
    fn read(text: &str) -> Self {
        let mut results = Results::default();
        for line in text.lines().map(str::trim) {
            // The number comes before the name.
            let name = |result: &str| {
                let name = result.split_whitespace().nth(1);
                name.unwrap_or_default().to_owned()
            };
            if let Some(plan) = line.strip_prefix("1..") {
                results.planned = plan.parse().ok();
            } else if let Some(result) = line.strip_prefix("not ok ") {
                results.failed.push(name(result));
            } else if let Some(result) = line.strip_prefix("ok ") {
                if result.contains("# SKIP") {
                    results.skipped.push(name(result));
                } else {
                    results.passed += 1;
                }
            }
        }
        results
    }

    fn count(&self) -> usize {
        self.passed + self.failed.len() + self.skipped.len()
    }

    /// Notes what is known to fail or to be skipped, and returns what is not.
    fn unknown(&self, fs_type: &str) -> Vec<String> {
        let mut unknown = Vec::new();
        for (tests, list, what) in [
            (&self.failed, KNOWN, "fail"),
            (&self.skipped, SKIPPED, "be skipped"),
        ] {
            for test in tests {
                match known::reason(list, fs_type, test) {
                    Some(reason) => note(format_args!("{test} is known to {what}: {reason}")),
                    None => unknown.push(format!("{test} is not known to {what}")),
                }
            }
        }
        unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read() {
        let text = "TAP version 13\n1..3\n# Starting 3 tests\nok 1 a.b\nnot ok 2 a.c\n\
                    ok 3 a.d # SKIP no reason\n# Totals: pass:1 fail:1\n";
        let results = Results::read(text);
        assert_eq!((results.planned, results.count()), (Some(3), 3));
        assert_eq!(results.passed, 1);
        assert_eq!(
            (results.failed, results.skipped),
            (vec!["a.c".to_owned()], vec!["a.d".to_owned()])
        );
    }

    #[test]
    fn what_is_not_listed_is_told() {
        let known = "layer.automount_below_the_clone_is_refused";
        let results = Results::read(&format!("1..2\nnot ok 1 {known}\nok 2 # SKIP no mount\n"));
        assert_eq!(results.unknown("rovl"), ["# is not known to be skipped"]);
        let results = Results::read(&format!("1..1\nok 1 {known} # SKIP\n"));
        assert_eq!(results.unknown("rovl").len(), 1);
    }
}
