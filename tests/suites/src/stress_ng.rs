// SPDX-License-Identifier: GPL-2.0-only

//! stress-ng's class of filesystem stressors, with what it verifies, in a root of its own.

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

/// More stressors than that run everywhere.
const LEAST: usize = 10;

/// All run at once, on a disk of 1 GiB. Some would write as much each.
const SIZES: [&str; 6] = [
    "--fallocate-bytes",
    "32m",
    "--hdd-bytes",
    "32m",
    "--iomix-bytes",
    "32m",
];

pub fn run(place: &Place, seconds: u64) -> Result<Passed> {
    let root = Path::new(ROOT);
    if !root.exists() {
        return Ok(Passed::Skipped(format!("there is no {ROOT}")));
    }
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
    let output = Command::new("chroot")
        .args([ROOT, "/usr/bin/stress-ng", "--class", "filesystem"])
        .args(["--all", "1", "--verify", "--temp-path", "/mnt"])
        .args(["--exclude", EXCLUDED, "--timeout", &format!("{seconds}s")])
        .args(SIZES)
        .args(["--oomable", "--no-rand-seed", "--metrics-brief"])
        .output()
        .context("stress-ng")?;
    for name in inside {
        mounts::unmount(&root.join(name))?;
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    // 3 and 4: a stressor lacked something, or is not for this kernel.
    let good = matches!(output.status.code(), Some(0 | 3 | 4)) && !text.contains(" fail: ");
    if !good {
        note(&text);
    }
    ensure!(good, "stress-ng ended with {}", output.status);
    let stressors = text
        .lines()
        .filter(|line| line.contains(" metrc: ") || line.contains(" info: "))
        .filter(|line| {
            let mut words = line.split_whitespace().rev();
            words.next().is_some_and(|word| word.parse::<f64>().is_ok())
        })
        .count();
    ensure!(stressors > LEAST, "only {stressors} stressors ran");
    place.unmount()?;
    Ok(Passed::Did(format!(
        "{stressors} stressors for {seconds} s"
    )))
}
