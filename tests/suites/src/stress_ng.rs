// SPDX-License-Identifier: GPL-2.0-only

//! stress-ng's class of filesystem stressors, with what it verifies, in a root of its own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::ktap::note;
use rovl_kit::ktap::Passed;
use rovl_kit::mounts;

use crate::place::Place;

const ROOT: &str = "/opt/stress-ng";

/// Stressors that measure the machine, or whose one round takes longer than all others together.
const EXCLUDED: &str = "binderfs,dirdeep,dirmany,filename,sync-file,sysfs,procfs,verity";

/// Stressors that get through several rounds within seconds, wherever they run: all there are in the
/// short form.
const FAST: [&str; 12] = [
    "access", "chown", "dir", "fiemap", "flock", "getdent", "handle", "hdd", "lease", "open",
    "rename", "utime",
];

/// How many get through a round in the long form, of some 40. Where there is little time for each, others do not.
const LEAST: usize = 25;

/// What skips itself on the upper layer's filesystem, with the reason.
const SKIPPED: [(&str, &str, &str); 1] = [("tmpfs", "fiemap", "maps no files")];

/// How it says so.
const SKIPPING: [&str; 6] = [
    "skipping stress",
    "skipping the stress",
    "skipping this stress",
    "skipping test",
    "be skipped",
    "not implemented",
];

/// All run at once, on a disk of 1 GiB. Some would write as much each.
const SIZES: [&str; 6] = [
    "--fallocate-bytes",
    "32m",
    "--hdd-bytes",
    "32m",
    "--iomix-bytes",
    "32m",
];

pub fn run(place: &Place, short: bool) -> Result<Passed> {
    let root = Path::new(ROOT);
    let seconds = if short { 5 } else { 60 };
    place.mount()?;
    let inside = ["proc", "dev", "sys", "mnt"];
    for name in inside {
        let outside = Path::new("/").join(name);
        let from = if name == "mnt" {
            &place.point
        } else {
            &outside
        };
        rustix::mount::mount_bind(from, root.join(name))
            .with_context(|| format!("bind {}", from.display()))?;
    }
    let mut command = Command::new("chroot");
    command.args([ROOT, "/usr/bin/stress-ng"]);
    if short {
        command.args(
            FAST.iter()
                .flat_map(|name| [format!("--{name}"), "1".to_owned()]),
        );
    } else {
        command.args(["--class", "filesystem", "--all", "1", "--exclude", EXCLUDED]);
    }
    let output = command
        .args([
            "--verify",
            "--temp-path",
            "/mnt",
            "--timeout",
            &format!("{seconds}s"),
        ])
        .args(SIZES)
        .args(["--oomable", "--no-rand-seed", "--metrics"])
        .output()
        .context("stress-ng")?;
    for name in inside {
        mounts::unmount(&root.join(name))?;
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    let found = Found::read(&text);
    let wrong = found.wrong(place.kind(), short, output.status.code());
    if !wrong.is_empty() {
        note(&text);
    }
    ensure!(wrong.is_empty(), "{}: {}", output.status, wrong.join(", "));
    place.unmount()?;
    let (passed, skipped) = (found.passed().count(), found.skipped.len());
    Ok(Passed::Did(format!(
        "{passed} of {} stressors for {seconds} s, {skipped} are skipped",
        found.started.len()
    )))
}

/// What stress-ng says of its stressors.
#[derive(Default)]
struct Found {
    started: BTreeSet<String>,
    /// How many rounds each did.
    rounds: BTreeMap<String, u64>,
    skipped: BTreeSet<String>,
    failures: Vec<String>,
}

impl Found {
    /// A line has the program, the kind, a number in brackets, and the text.
    fn read(text: &str) -> Self {
        let mut found = Found::default();
        for line in text.lines() {
            let Some((start, text)) = line.split_once("] ") else {
                continue;
            };
            let mut words = text.split_whitespace();
            let first = words.next().unwrap_or_default().trim_end_matches(':');
            if start.contains(" fail: ") {
                found.failures.push(text.to_owned());
            } else if start.contains(" metrc: ") {
                // What comes later is measured, and no round.
                if let Some(Ok(rounds)) = words.next().map(str::parse) {
                    found.rounds.entry(first.to_owned()).or_insert(rounds);
                }
            } else if let Some(names) = text.strip_prefix("dispatching hogs: ") {
                let names = names.split(", ").filter_map(|name| name.split(' ').nth(1));
                found.started.extend(names.map(str::to_owned));
            } else if text.contains(" aborted early") {
                let name = text.split(['(', ')']).nth(1).unwrap_or(text);
                found.skipped.insert(name.to_owned());
            } else if SKIPPING.iter().any(|words| text.contains(words)) {
                found.skipped.insert(first.to_owned());
            }
        }
        found
    }

    /// Those that got through a round.
    fn passed(&self) -> impl Iterator<Item = &str> {
        let done = self.rounds.iter().filter(|(name, rounds)| {
            **rounds > 0 && self.started.contains(*name) && !self.skipped.contains(*name)
        });
        done.map(|(name, _)| name.as_str())
    }

    /// What is not as it should be on an upper layer of this kind. Notes what is skipped or idle.
    fn wrong(&self, kind: &str, short: bool, status: Option<i32>) -> Vec<String> {
        let mut wrong = self.failures.clone();
        for name in &self.skipped {
            match SKIPPED
                .iter()
                .find(|(on, known, _)| (*on, *known) == (kind, name))
            {
                Some((_, _, reason)) => note(format_args!("{name} is skipped: {kind} {reason}")),
                None => wrong.push(format!("{name} is skipped")),
            }
        }
        let passed: BTreeSet<&str> = self.passed().collect();
        for name in &self.started {
            if self.skipped.contains(name) || passed.contains(name.as_str()) {
                continue;
            }
            if self.rounds.contains_key(name) && !FAST.contains(&name.as_str()) {
                note(format_args!("{name} did not get through a round"));
            } else {
                wrong.push(format!("{name} did nothing"));
            }
        }
        let missing = FAST.iter().filter(|name| !self.started.contains(**name));
        wrong.extend(missing.map(|name| format!("{name} did not start")));
        if !short && passed.len() < LEAST {
            wrong.push(format!("only {} did a round", passed.len()));
        }
        // 3 and 4: a stressor lacked something, or is not for this kernel.
        let good = match status {
            Some(0) => true,
            Some(3 | 4) => !self.skipped.is_empty(),
            _ => false,
        };
        if !good {
            wrong.push("it failed".to_owned());
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stress-ng prints of those that run in the short form, and of two more.
    fn text(rounds: &str, more: &str) -> String {
        let names: Vec<_> = FAST.iter().chain(["fpunch", "verity"].iter()).collect();
        let hogs: Vec<_> = names.iter().map(|name| format!("1 {name}")).collect();
        let mut text = format!(
            "stress-ng: info:  [1] dispatching hogs: {}\nstress-ng: metrc: [1] stressor       bogo ops\n",
            hogs.join(", ")
        );
        for name in names {
            text += &format!("stress-ng: metrc: [1] {name}  {rounds}  1.05  0.08  0.44\n");
        }
        text + more + "stress-ng: metrc: [1] dir   9.00 MB/sec\nstress-ng: info:  [1] done: 7\n"
    }

    fn wrong(rounds: &str, more: &str, status: i32) -> Vec<String> {
        Found::read(&text(rounds, more)).wrong("ext4", true, Some(status))
    }

    #[test]
    fn rounds_are_counted() {
        assert_eq!(Found::read(&text("3", "")).passed().count(), FAST.len() + 2);
        assert!(wrong("3", "", 0).is_empty());
        assert_eq!(wrong("0", "", 0).len(), FAST.len());
        assert_eq!(wrong("3", "", 2), ["it failed"]);
        assert_eq!(wrong("3", "", 3), ["it failed"]);
        assert_eq!(
            Found::read("").wrong("ext4", true, Some(0)).len(),
            FAST.len()
        );
    }

    #[test]
    fn what_is_skipped_has_to_be_known() {
        let skipped =
            "stress-ng: info:  [2] verity: verity is not supported, skipping stress test\n";
        assert_eq!(wrong("3", skipped, 3), ["verity is skipped"]);
        let aborted =
            "stress-ng: warn:  [1] process [2] (verity) aborted early, out of resources\n";
        assert_eq!(wrong("3", aborted, 3), ["verity is skipped"]);
        let known = "stress-ng: info:  [2] fiemap: not supported on tmpfs, skipping stressor\n";
        let found = Found::read(&text("3", known));
        assert!(found.wrong("tmpfs", true, Some(4)).is_empty());
    }

    #[test]
    fn failures_are_told() {
        let failed = "stress-ng: fail:  [2] dir: mkdir failed\n";
        assert_eq!(wrong("3", failed, 0), ["dir: mkdir failed"]);
    }
}
