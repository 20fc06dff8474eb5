// SPDX-License-Identifier: GPL-2.0-only

//! pjdfstest: what passes on the filesystem of the upper layer has to pass on the overlay.

use std::collections::BTreeMap;
use std::fmt;
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

/// What is known to be skipped on an overlay alone, in the same form.
const SKIPPED: &str =
    "link::link_count_max asks the C library for the most links of a file, which knows it of ext4 but not of an overlay";

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

/// What is in the names of cases that make the filesystem read-only.
const REMOUNTING: &str = "::erofs_";

enum Outcome {
    Ok,
    Skipped,
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Ok => write!(f, "passes"),
            Outcome::Skipped => write!(f, "is skipped"),
            Outcome::Failed(why) => write!(f, "fails: {why}"),
        }
    }
}

type Cases = BTreeMap<String, Outcome>;

pub fn run(place: &Place) -> Result<Passed> {
    prepare()?;
    place.mount()?;
    let mut on_overlay = cases(&place.point, &[])?;
    // Other cases leave files open, and the overlay cannot be made read-only then. These are tried by themselves.
    let remounting = names(&on_overlay, |name, _| name.contains(REMOUNTING));
    on_overlay.extend(cases(&place.point, &remounting)?);
    place.unmount()?;
    let skips = |name: &str| known::reason(SKIPPED, place.fs_type(), name);
    let apart = names(&on_overlay, |name, outcome| {
        !matches!(outcome, Outcome::Ok) && skips(name).is_none()
    });
    let on_bare = cases(&place.bare, &apart)?;

    // What is known has to pass on the upper layer's filesystem, and all else that fails, or does not apply, has to do so there.
    let mut listed = BTreeMap::new();
    let mut wrong = Vec::new();
    let (mut passed, mut skipped, mut as_bare) = (0, 0, 0);
    for (name, outcome) in &on_overlay {
        let reason = known::reason(KNOWN, place.fs_type(), name);
        if let (Outcome::Skipped, Some(reason)) = (outcome, skips(name)) {
            note(format_args!("{name} is known to be skipped: {reason}"));
            skipped += 1;
            continue;
        }
        match (outcome, on_bare.get(name), reason) {
            (Outcome::Ok, _, None) => passed += 1,
            (Outcome::Skipped, Some(Outcome::Skipped), None) => skipped += 1,
            (Outcome::Failed(_), Some(Outcome::Ok), Some(reason)) => {
                *listed.entry(reason).or_insert(0) += 1;
            }
            (Outcome::Failed(_), Some(Outcome::Failed(_)), None) => {
                note(format_args!("{name} fails without an overlay as well"));
                as_bare += 1;
            }
            (_, bare, _) => {
                let known = reason.map_or("", |_| ", known to fail");
                let bare = bare.map_or("not tried".to_owned(), Outcome::to_string);
                wrong.push(format!(
                    "{name}{known}: {outcome}; without an overlay: {bare}"
                ));
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

/// The names of the cases of which this is true.
fn names(cases: &Cases, wanted: impl Fn(&str, &Outcome) -> bool) -> Vec<String> {
    let chosen = cases.iter().filter(|(name, outcome)| wanted(name, outcome));
    chosen.map(|(name, _)| name.clone()).collect()
}

/// Runs all cases, or those of these names, in a directory.
fn cases(dir: &Path, names: &[String]) -> Result<Cases> {
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
    let cases = parse(&text);
    // The last line counts them.
    let total = text.lines().find(|line| line.starts_with("Summary: "));
    let total = total.and_then(|line| line.split_whitespace().nth_back(1)?.parse().ok());
    ensure!(
        total == Some(cases.len()) && (names.is_empty() || cases.len() == names.len()),
        "pjdfstest says of {} cases what became of them, of {} that were named, and counts {total:?}: {}",
        cases.len(),
        names.len(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(cases)
}

/// A line has a name, blanks and a word; the reason of a failure follows, indented.
fn parse(text: &str) -> Cases {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read() {
        let text =
            "a::b     ok\na::c     FAILED\n\tno such file\na::d     skipped\n\tno reason\n\n\
                    Summary: 1 failed, 1 skipped, 1 passed, 0 expected failures, 3 total\n";
        let told: Vec<_> = parse(text)
            .iter()
            .map(|(name, what)| format!("{name} {what}"))
            .collect();
        assert_eq!(
            told,
            ["a::b passes", "a::c fails: no such file", "a::d is skipped"]
        );
    }
}
