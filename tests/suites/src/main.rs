// SPDX-License-Identifier: GPL-2.0-only

//! Filesystem tests of others, on overlay filesystems: pjdfstest, fsx, the kernel's own selftests,
//! and stress-ng. Their programs come into the guest as scripts/posix.sh leaves them.

#![forbid(unsafe_code)]

mod direct;
mod fsx;
mod known;
mod kselftests;
mod pjdfstest;
mod place;
mod stress_ng;

use std::process::ExitCode;

use clap::Parser;
use clap::ValueEnum;
use rovl_kit::kmod;
use rovl_kit::ktap::Ktap;
use rovl_kit::ktap::Passed;
use rovl_kit::mounts;

use crate::place::Place;

/// Filesystem tests of others on overlay filesystems, with results as KTAP.
#[derive(Parser)]
#[command(name = "rovl-suites", version)]
struct Args {
    /// Filesystem type to test, repeatable
    #[arg(long = "type", value_name = "TYPE", default_value = "rovl")]
    types: Vec<String>,

    /// Filesystem of the upper layer, repeatable
    #[arg(long = "upper", value_name = "FS", default_values = ["tmpfs", "ext4", "xfs"])]
    uppers: Vec<String>,

    /// How many operations fsx does on each file
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    operations: u64,

    /// Do less of everything, on ext4 alone
    #[arg(long)]
    short: bool,

    /// What to run; everything unless named
    #[arg(value_enum)]
    suites: Vec<Suite>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Suite {
    /// What POSIX says of the calls
    Pjdfstest,
    /// Random reads and writes of one file
    Fsx,
    /// The same without mappings
    FsxPlain,
    /// The same past the page cache
    Direct,
    /// The kernel's own for overlayfs
    Kselftests,
    /// stress-ng's filesystem stressors, with what they verify
    StressNg,
}

fn main() -> anyhow::Result<ExitCode> {
    let mut args = Args::parse();
    if args.short {
        args.uppers = vec!["ext4".to_owned()];
        args.operations = 500;
    }
    if args.suites.is_empty() {
        args.suites = Suite::value_variants().to_vec();
    }
    mounts::enter()?;
    let uppers = |suite: &Suite| match suite {
        // They make their own layers.
        Suite::Kselftests => &args.uppers[..1],
        _ => &args.uppers,
    };
    let each: usize = args.suites.iter().map(|suite| uppers(suite).len()).sum();
    let mut ktap = Ktap::start(args.types.len() * each);
    for fs_type in &args.types {
        kmod::ensure_type(fs_type)?;
        for suite in &args.suites {
            for upper in uppers(suite) {
                let name = format!("{fs_type}.{}.{upper}", suite.name());
                ktap.run(&name, || suite.run(fs_type, upper, &args));
            }
        }
    }
    Ok(ktap.finish())
}

impl Suite {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().replace('-', "_"))
            .unwrap_or_default()
    }

    fn run(self, fs_type: &str, upper: &str, args: &Args) -> anyhow::Result<Passed> {
        // One that failed leaves its mounts.
        mounts::begin_anew()?;
        let place = Place::new(fs_type, upper)?;
        let said = match self {
            Suite::Pjdfstest => pjdfstest::run(&place)?,
            Suite::Fsx => fsx::run(&place, args.operations, true)?,
            Suite::FsxPlain => fsx::run(&place, args.operations, false)?,
            Suite::Direct => direct::run(&place, args.operations)?,
            Suite::Kselftests => kselftests::run(fs_type)?,
            Suite::StressNg => stress_ng::run(&place, args.short)?,
        };
        place.finish()?;
        Ok(said)
    }
}
