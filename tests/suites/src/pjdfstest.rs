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
    let mut unknown = Vec::new();
    let (mut passed, mut skipped) = (0, 0);
    for (name, outcome) in &on_overlay {
        match outcome {
            Outcome::Ok => passed += 1,
            Outcome::Skipped => skipped += 1,
            Outcome::Failed(_) => match known::reason(KNOWN, place.fs_type(), name) {
                Some(reason) => *listed.entry(reason).or_insert(0) += 1,
                None => unknown.push(name.as_str()),
            },
        }
    }
    for (reason, count) in &listed {
        note(format_args!("{count} known to fail: {reason}"));
    }
    // What fails must fail on the upper layer's filesystem as well.
    let mut worse = 0;
    if !unknown.is_empty() {
        let on_bare = cases(&place.bare, &unknown)?;
        for name in &unknown {
            if let (Some(Outcome::Ok), Some(Outcome::Failed(why))) =
                (on_bare.get(*name), on_overlay.get(*name))
            {
                note(format_args!("{name} fails on the overlay alone: {why}"));
                worse += 1;
            } else {
                note(format_args!("{name} fails without an overlay as well"));
            }
        }
    }
    ensure!(worse == 0, "{worse} cases fail on the overlay alone");
    let listed: usize = listed.values().sum();
    Ok(Passed::Did(format!(
        "{passed} cases pass, {listed} are known to fail, {} fail without an overlay as well, {skipped} do not apply",
        unknown.len()
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
        command.arg("-e").args(names);
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
