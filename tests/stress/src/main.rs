// SPDX-License-Identifier: GPL-2.0-only

//! Load on overlay filesystems: many threads at once, for a given time, with every result checked.
//!
//! The same runs on type `overlay` and on type `rovl`. What a thread does comes from a seed; when
//! it comes to its turn does not, so a failure need not come again with its seed. The program
//! needs root and a machine of its own: it loads modules and drops caches.

#![forbid(unsafe_code)]

mod actions;
mod churn;
mod crew;
mod flakey;
mod readers;
mod tally;
mod tree;
mod writers;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::ValueEnum;
use rovl_kit::kmod;
use rovl_kit::ktap::Ktap;
use rovl_kit::ktap::Passed;
use rovl_kit::mounts;
use rovl_kit::sys::Patient;

#[global_allocator]
static ALLOCATOR: Patient = Patient;

/// Load on overlay filesystems, with results as KTAP.
#[derive(Parser)]
#[command(name = "rovl-stress", version)]
struct Args {
    /// Filesystem type to test, repeatable
    #[arg(long = "type", value_name = "TYPE", default_value = "rovl")]
    types: Vec<String>,

    /// How long each part runs
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    seconds: u64,

    /// Run each part for some seconds, and writers on ext4 alone
    #[arg(long)]
    short: bool,

    /// How many threads do the work
    #[arg(long, value_name = "N", default_value_t = 8)]
    threads: usize,

    /// What the threads' actions are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Filesystem of the writers' upper layer, repeatable
    #[arg(long = "upper", value_name = "FS", default_values = ["tmpfs", "ext4", "xfs"])]
    uppers: Vec<String>,

    /// What to do; everything unless named
    #[arg(value_enum)]
    parts: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Walk, read, map and stat one tree, while mounts of the same layers come and go and caches are dropped
    Readers,
    /// Create, rename, copy up, list and remove in the same few directories, with mounts beside
    Writers,
    /// The same, while allocations fail
    Faults,
    /// Write and sync, while the disk under the upper layer fails
    Flakey,
}

/// The size of a load.
#[derive(Clone, Copy)]
struct Load {
    time: Duration,
    threads: usize,
    seed: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    let mut args = Args::parse();
    if args.parts.is_empty() {
        args.parts = Part::value_variants().to_vec();
    }
    if args.short {
        args.seconds = 5;
        args.uppers = vec!["ext4".to_owned()];
    }
    mounts::enter()?;
    let load = Load {
        time: Duration::from_secs(args.seconds),
        threads: args.threads,
        seed: args.seed,
    };
    let cases = cases(&args);
    let mut ktap = Ktap::start(cases.len());
    for case in &cases {
        kmod::ensure_type(&case.fs_type)?;
        ktap.run(&case.name(), || case.run(load));
    }
    Ok(ktap.finish())
}

/// One part on one type, and for what writes, with one kind of upper layer.
struct Case {
    fs_type: String,
    part: Part,
    upper: String,
}

fn cases(args: &Args) -> Vec<Case> {
    let mut cases = Vec::new();
    for fs_type in &args.types {
        for part in &args.parts {
            let uppers = match part {
                Part::Readers => &["".to_owned()][..],
                // Under such faults, filesystems on disks shut themselves down.
                Part::Faults => &["tmpfs".to_owned()],
                Part::Writers | Part::Flakey => &args.uppers,
            };
            // Memory has no disk that could fail.
            let wanted = |upper: &&String| *part != Part::Flakey || *upper != "tmpfs";
            cases.extend(uppers.iter().filter(wanted).map(|upper| Case {
                fs_type: fs_type.clone(),
                part: *part,
                upper: upper.clone(),
            }));
        }
    }
    cases
}

impl Case {
    fn name(&self) -> String {
        let Case { fs_type, upper, .. } = self;
        match self.part {
            Part::Readers => format!("{fs_type}.stress_readers"),
            Part::Writers => format!("{fs_type}.stress_writers.{upper}"),
            Part::Faults => format!("{fs_type}.stress_faults.{upper}"),
            Part::Flakey => format!("{fs_type}.stress_flakey.{upper}"),
        }
    }

    fn run(&self, load: Load) -> anyhow::Result<Passed> {
        // One that failed leaves its mounts.
        mounts::begin_anew()?;
        match self.part {
            Part::Readers => readers::run(&self.fs_type, load),
            Part::Writers => writers::run(&self.fs_type, load, &self.upper, false),
            Part::Faults => writers::run(&self.fs_type, load, &self.upper, true),
            Part::Flakey => flakey::run(&self.fs_type, load, &self.upper),
        }
    }
}
