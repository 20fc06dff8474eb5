// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's own selftests for overlayfs, as scripts/kselftests.sh builds them. Each program
//! prints KTAP of its own, which is read here.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::ktap::note;
use rovl_kit::ktap::Passed;

use crate::known;

/// What is known to fail, and why.
const KNOWN: &str = include_str!("../kselftests.known");

const FOLDER: &str = "/opt/kselftests";

pub fn run(fs_type: &str) -> Result<Passed> {
    if !Path::new(FOLDER).exists() {
        return Ok(Passed::Skipped(format!("there is no {FOLDER}")));
    }
    let mut programs: Vec<_> = fs::read_dir(FOLDER)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    programs.sort();
    let (mut passed, mut skipped, mut known_to_fail) = (0, 0, 0);
    let mut failed = Vec::new();
    for program in &programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let output = Command::new(program).output().context(name.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (mut bad, mut listed) = (0, 0);
        for line in text.lines().map(str::trim) {
            if line.starts_with("not ok ") {
                // The number, and the name.
                let test = line.split_whitespace().nth(3).unwrap_or_default();
                if let Some(reason) = known::reason(KNOWN, fs_type, test) {
                    note(format_args!("{test} is known to fail: {reason}"));
                    listed += 1;
                } else {
                    bad += 1;
                }
            } else if line.starts_with("ok ") && line.contains("# SKIP") {
                note(format_args!("{name}: {line}"));
                skipped += 1;
            } else if line.starts_with("ok ") {
                passed += 1;
            }
        }
        // A program that skips all says so by its status.
        let status = output.status.code();
        if bad > 0 || (listed == 0 && !matches!(status, Some(0 | 4))) {
            note(&text);
            note(String::from_utf8_lossy(&output.stderr));
            failed.push(format!("{name} ({bad} failed, {})", output.status));
        }
        known_to_fail += listed;
    }
    ensure!(failed.is_empty(), "{}", failed.join(", "));
    ensure!(passed > 0, "no test ran");
    Ok(Passed::Did(format!(
        "{} programs, {passed} tests pass, {known_to_fail} are known to fail, {skipped} are skipped",
        programs.len()
    )))
}
