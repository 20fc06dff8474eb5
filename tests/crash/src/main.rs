// SPDX-License-Identifier: GPL-2.0-only

//! Power cuts under an overlay: every write to the disk of the upper layer is logged while the
//! tree changes. Afterwards the disk is made as it was at many points of the log, and mounted.
//!
//! At each point the overlay mounts, each file is wholly old or wholly new, with the owner and the
//! attributes that it was born with, what was synced is there, and the work directory is clean. The
//! program needs root and a machine of its own.

#![forbid(unsafe_code)]

mod history;
mod image;
mod log;
mod replay;
mod workload;

use std::process::ExitCode;

use clap::Parser;
use rovl_kit::kmod;
use rovl_kit::ktap::Ktap;
use rovl_kit::mounts;

use crate::replay::Run;

/// Power cuts under overlay filesystems, with results as KTAP.
#[derive(Parser)]
#[command(name = "rovl-crash", version)]
struct Args {
    /// Filesystem type to test, repeatable
    #[arg(long = "type", value_name = "TYPE", default_value = "rovl")]
    types: Vec<String>,

    /// Filesystem of the upper layer, repeatable
    #[arg(long = "upper", value_name = "FS", default_values = ["ext4", "xfs"])]
    uppers: Vec<String>,

    /// At how many points the power is cut, in all; more if there are more flushes, which are all among them
    #[arg(long, value_name = "N", default_value_t = 500)]
    points: usize,

    /// How many changes are made to each tree; by default as many as make most of the points flushes
    #[arg(long, value_name = "N")]
    steps: Option<usize>,

    /// What the changes and the points are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Few changes, and 20 points
    #[arg(long)]
    short: bool,
}

/// How overlays are mounted, each with a name; the first is as engines do it.
const VARIANTS: [(&str, &[(&str, &str)]); 3] = [
    ("default", &[]),
    ("redirect_dir", &[("redirect_dir", "on")]),
    ("strict", &[("fsync", "strict")]),
];

/// How many changes are made to a tree by default, however few points there are: some are synced.
const LEAST: usize = 10;

/// The trees that are changed, with the names of their tests.
fn runs(args: &Args) -> Vec<(String, Run)> {
    let mut runs = Vec::new();
    for (number, kind) in args.uppers.iter().enumerate() {
        for (at, (name, options)) in VARIANTS.into_iter().enumerate() {
            // The short form has one on each filesystem.
            if !args.short || at == number % VARIANTS.len() {
                let run = Run {
                    kind: kind.clone(),
                    options,
                    steps: 0,
                    points: 0,
                    is_every_flush: !args.short,
                    seed: args.seed.wrapping_add(at as u64),
                };
                runs.push((format!("{kind}.{name}"), run));
            }
        }
    }
    let count = runs.len();
    for (_, run) in &mut runs {
        run.points = args.points.div_ceil(count);
        // Three flushes in two steps or fewer, and two points for each.
        run.steps = args.steps.unwrap_or((run.points / 3).max(LEAST));
    }
    runs
}

fn main() -> anyhow::Result<ExitCode> {
    let mut args = Args::parse();
    if args.short {
        args.points = 20;
        args.steps = Some(40);
    }
    mounts::enter()?;
    // Modes of new files shall not depend on who starts this.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let runs = runs(&args);
    let mut ktap = Ktap::start(args.types.len() * runs.len());
    for fs_type in &args.types {
        kmod::ensure_type(fs_type)?;
        for (name, run) in &runs {
            ktap.run(&format!("{fs_type}.power_cuts.{name}"), || {
                mounts::begin_anew()?;
                replay::run(fs_type, run)
            });
        }
    }
    Ok(ktap.finish())
}
