// SPDX-License-Identifier: GPL-2.0-only
//! The reading part: mounts the layers twice, and asks both mounts for what the host worked out.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{bail, ensure, Context, Result};
use rustix::mount::MountFlags;

use crate::image::{self, expectation, keep_unless_same, IMAGE};
use crate::report::Report;
use crate::stage::{self, Options};
use crate::walk::{walk, EntryNumbers, View};

const ONE: &str = "/one";
const TWO: &str = "/two";
/// Holds upper and work directory of the second mount.
const SCRATCH: &str = "/scratch";

/// Prints a line for each thing that is tried.
pub fn run(options: &Options, report: &mut Report) {
    if set_up(options, report).is_some() {
        walks(options, report);
        programs(options, report);
        report.step("read-only", || read_only().map(|text| ((), text)));
        report.step("unmount", || take_down().map(|text| ((), text)));
    }
}

fn set_up(options: &Options, report: &mut Report) -> Option<()> {
    report.step("mount one", || {
        let data = stage::overlay(options, ONE, &image::stack()?, None)?;
        Ok(((), format!("{ONE}, type {}: {data}", options.fs_type)))
    })?;
    report.step("mount two", || {
        stage::mount_at("scratch", SCRATCH, "tmpfs", MountFlags::empty(), "")?;
        let store = image::store(SCRATCH)?;
        stage::overlay(options, TWO, &image::stack()?, Some(&store))?;
        let text = format!("{TWO}, the same with upper and work directory on a tmpfs");
        Ok(((), text))
    })
}

/// Walks the first mount alone, then both at the same time.
fn walks(options: &Options, report: &mut Report) {
    // Layers of one file system keep its inode numbers everywhere. The second mount has its upper directory on another one.
    let one = || merged(options, ONE, "one", EntryNumbers::All);
    let two = || merged(options, TWO, "two", EntryNumbers::NonDirectories);
    report.step("walk one", || {
        one().map(|text| ((), format!("{text}, as the host worked out")))
    });
    let begun = Instant::now();
    let (again, both) = std::thread::scope(|scope| {
        let again = scope.spawn(one);
        let both = two();
        (again.join(), both)
    });
    let result = again
        .unwrap_or_else(|_| bail!("the walk of {ONE} panicked"))
        .and(both)
        .map(|text| ((), format!("{text} in each, at the same time")));
    report.line("walk both", result, begun.elapsed());
}

fn merged(options: &Options, root: &str, name: &str, numbers: EntryNumbers) -> Result<String> {
    let walked = walk(Path::new(root), View::Tree, numbers)?;
    ensure!(
        walked.problems.is_empty(),
        "{} contradictions: {}",
        walked.problems.len(),
        walked.problems[..walked.problems.len().min(8)].join("\n")
    );
    let found = walked.listing.lines();
    keep_unless_same(
        options,
        &format!("merged-{name}"),
        &expectation("merged")?,
        &found,
    )?;
    let megabytes = walked.listing.file_bytes() / 1_000_000;
    Ok(format!(
        "{} objects, {megabytes} MB read",
        walked.listing.objects.len()
    ))
}

/// Runs the tree's own programs: half of them in each mount, both halves at the same time, for there are two processors.
fn programs(options: &Options, report: &mut Report) {
    let prepared = [ONE, TWO].iter().try_for_each(|root| stage::enter(root));
    if report
        .step("chroot", || {
            prepared.map(|()| ((), "/proc, /dev, /tmp and /run of both mounted".to_owned()))
        })
        .is_none()
    {
        return;
    }
    let names = match program_names() {
        Ok(names) => names,
        Err(error) => {
            report.step::<()>("programs", || Err(error));
            return;
        }
    };
    let chain = |root: &'static str, parity: usize| {
        let names = names.iter().skip(parity).step_by(2).cloned();
        names
            .map(move |name| {
                let begun = Instant::now();
                let result = program(options, root, &name);
                (name, root, result, begun.elapsed())
            })
            .collect::<Vec<_>>()
    };
    let results = std::thread::scope(|scope| {
        let one = scope.spawn(|| chain(ONE, 0));
        let mut results = chain(TWO, 1);
        results.extend(one.join().unwrap_or_default());
        results
    });
    let missing = names.len() - results.len();
    for (name, root, result, elapsed) in results {
        let result = result.map(|text| ((), format!("{text}, in {root}")));
        report.line(&name, result, elapsed);
    }
    if missing > 0 {
        report.step::<()>("programs", || bail!("{missing} programs did not end"));
    }
}

fn program_names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(IMAGE).join("expect/programs"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    ensure!(!names.is_empty(), "the image expects no programs");
    Ok(names)
}

/// Runs one program in the mount. Returns the last line that it printed, which sums up the others.
fn program(options: &Options, root: &str, name: &str) -> Result<String> {
    let output = Command::new("/proc/self/exe")
        .args(["chroot", root, &format!("/srv/audit/{name}")])
        .env_clear()
        .output()
        .context("run the program")?;
    let found = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let expected = expectation(&format!("programs/{name}"))?;
    keep_unless_same(options, &format!("programs/{name}"), &expected, &found)
        .with_context(|| format!("{} [{}]", output.status, errors.trim()))?;
    Ok(found.lines().last().unwrap_or("no output").to_owned())
}

/// A mount without an upper directory refuses every change.
fn read_only() -> Result<String> {
    let inside = |name: &str| Path::new(ONE).join(name);
    let attempts: [(&str, io::Result<()>); 4] = [
        ("create a file", fs::write(inside("etc/new"), "")),
        ("append to a file", {
            let mut options = File::options();
            options.append(true).open(inside("etc/passwd")).map(drop)
        }),
        ("remove a file", fs::remove_file(inside("etc/passwd"))),
        ("make a directory", fs::create_dir(inside("etc/new"))),
    ];
    for (what, result) in attempts {
        match result {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            other => bail!("{ONE}: an attempt to {what} gave {other:?}"),
        }
    }
    Ok(format!("{ONE} refuses four kinds of change with EROFS"))
}

/// Unmounts everything, and checks that nothing was written.
fn take_down() -> Result<String> {
    for root in [ONE, TWO] {
        stage::leave(root);
        stage::unmount_at(root)?;
    }
    let changed = fs::read_dir(Path::new(SCRATCH).join("upper"))?.count();
    ensure!(changed == 0, "{changed} objects were copied up by reading");
    stage::unmount_at(SCRATCH)?;
    Ok("both mounts; reading copied nothing up".to_owned())
}
