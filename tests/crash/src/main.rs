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

    /// At how many points the power is cut, on each filesystem
    #[arg(long, value_name = "N", default_value_t = 250)]
    points: usize,

    /// How many changes are made to the tree
    #[arg(long, value_name = "N", default_value_t = 400)]
    steps: usize,

    /// What the changes and the points are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Few changes, and 10 points on each filesystem
    #[arg(long)]
    short: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let mut args = Args::parse();
    if args.short {
        args.points = 10;
        args.steps = 40;
    }
    mounts::enter()?;
    // Modes of new files shall not depend on who starts this.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut ktap = Ktap::start(args.types.len() * args.uppers.len());
    for fs_type in &args.types {
        kmod::ensure_type(fs_type)?;
        for upper in &args.uppers {
            ktap.run(&format!("{fs_type}.power_cuts.{upper}"), || {
                mounts::begin_anew()?;
                replay::run(fs_type, upper, &args)
            });
        }
    }
    Ok(ktap.finish())
}
