// SPDX-License-Identifier: GPL-2.0-only

//! pjdfstest: what passes on the filesystem of the upper layer has to pass on the overlay.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::ktap::note;
use rovl_kit::ktap::Passed;
use rovl_kit::mounts;

use crate::known;
use crate::place::Place;

const PROGRAM: &str = "/bin/pjdfstest";

/// What is known to fail, and why.
const KNOWN: &str = include_str!("../pjdfstest.known");

const CONFIG: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
allow_remount = true
[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
"#;

const PASSWD: &str =
    "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\ntests:x:1001:1001::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\ntests:x:1001:\n";

/// What the names of all cases begin with, which is not printed.
const MODULE: &str = "pjdfstest::tests::";

/// More cases than that pass everywhere, of some 400.
const LEAST: usize = 300;

enum Outcome {
    Ok,
    Skipped,
    Failed(String),
}

pub fn run(place: &Place) -> Result<Passed> {
    if !Path::new(PROGRAM).exists() {
        return Ok(Passed::Skipped(format!("there is no {PROGRAM}")));
    }
    prepare()?;
    place.mount()?;
    let on_overlay = cases(&place.point, &[])?;
    place.unmount()?;

    let mut listed = BTreeMap::new();
    let (mut failed, mut wrong) = (Vec::new(), Vec::new());
    let (mut passed, mut skipped) = (0, 0);
    for (name, outcome) in &on_overlay {
        let reason = known::reason(KNOWN, place.fs_type(), name);
        match outcome {
            Outcome::Ok => passed += 1,
            Outcome::Skipped => skipped += 1,
            Outcome::Failed(why) => failed.push((name.as_str(), why, reason)),
        }
        if let (Outcome::Ok, Some(_)) = (outcome, reason) {
            wrong.push(format!("{name} is known to fail, and passes"));
        }
    }
    // What is known has to pass on the upper layer's filesystem, and all else that fails to fail there.
    let mut as_bare = 0;
    let names: Vec<&str> = failed.iter().map(|(name, ..)| *name).collect();
    let on_bare = match names.is_empty() {
        true => BTreeMap::new(),
        false => cases(&place.bare, &names)?,
    };
    for (name, why, reason) in failed {
        match (on_bare.get(name), reason) {
            (Some(Outcome::Ok), Some(reason)) => *listed.entry(reason).or_insert(0) += 1,
            (Some(Outcome::Ok), None) => {
                wrong.push(format!("{name} fails on the overlay alone: {why}"));
            }
            (Some(_), Some(_)) => wrong.push(format!("{name} fails without an overlay as well")),
            (None, _) => wrong.push(format!("{name} was not tried without an overlay")),
            (Some(_), None) => {
                note(format_args!("{name} fails without an overlay as well"));
                as_bare += 1;
            }
        }
    }
    for (reason, count) in &listed {
        note(format_args!("{count} known to fail: {reason}"));
    }
    wrong.iter().for_each(note);
    ensure!(
        wrong.is_empty(),
        "{} cases are not as they should",
        wrong.len()
    );
    ensure!(passed > LEAST, "only {passed} cases pass");
    let listed: usize = listed.values().sum();
    Ok(Passed::Did(format!(
        "{passed} cases pass, {listed} are known to fail, {as_bare} fail without an overlay as well, {skipped} do not apply"
    )))
}

/// Users, and another filesystem, that the cases ask for.
fn prepare() -> Result<()> {
    fs::create_dir_all("/etc")?;
    fs::write("/etc/passwd", PASSWD)?;
    fs::write("/etc/group", GROUP)?;
    fs::write("/tmp/pjdfstest.toml", CONFIG)?;
    Ok(fs::create_dir_all("/tmp/secondary")?)
}

/// Runs all cases, or those of these names, in a directory.
fn cases(dir: &Path, names: &[&str]) -> Result<BTreeMap<String, Outcome>> {
    // Users of every kind have to get there.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(mounts::BASE, mode)?;
    let mut command = Command::new(PROGRAM);
    command.args(["-c", "/tmp/pjdfstest.toml", "-s", "/tmp/secondary", "-p"]);
    command.arg(dir);
    if !names.is_empty() {
        // It compares whole names, of which it prints the end.
        command.arg("-e");
        command.args(names.iter().map(|name| format!("{MODULE}{name}")));
    }
    let output = command.output().context(PROGRAM)?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        text.contains("Summary: "),
        "pjdfstest did not come to its end: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(parse(&text))
}

/// A line has a name, blanks and a word; the reason of a failure follows, indented.
fn parse(text: &str) -> BTreeMap<String, Outcome> {
    let mut cases = BTreeMap::new();
    let mut last: Option<String> = None;
    for line in text.lines() {
        if let Some(more) = line.strip_prefix('\t') {
            let outcome = last.take().and_then(|name| cases.get_mut(&name));
            if let Some(Outcome::Failed(why)) = outcome {
                more.trim().clone_into(why);
            }
            continue;
        }
        let mut words = line.split_whitespace();
        let (Some(name), Some(word), None) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let outcome = match word {
            "ok" => Outcome::Ok,
            "skipped" => Outcome::Skipped,
            "FAILED" => Outcome::Failed(String::new()),
            _ => continue,
        };
        last = Some(name.to_owned());
        cases.insert(name.to_owned(), outcome);
    }
    cases
}
