// SPDX-License-Identifier: GPL-2.0-only

//! Compares two types of overlay filesystem, step by step.
//!
//! Scripts of layers and steps are made from seeds. Each runs on a mount of either type, made from
//! equal layers, and whatever can be seen has to be equal: what came of each step, the merged tree
//! at the end, the layers on disk, and the tree after a mount of each side's layers with the other
//! type. A script that shows a difference is made smaller and printed. The results are KTAP.

#![deny(unsafe_code)]

mod batch;
mod build;
mod data;
mod exec;
mod failing;
mod generate;
mod plan;
mod random;
mod run;
mod scan;
mod script;
mod shrink;
mod side;
mod stat;
mod step;
mod sys;
mod text;
mod wanted;
mod yard;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use anyhow::Context;
use clap::Parser;
use rovl_kit::sys::Patient;
use rustix::io::Errno;

use crate::generate::Choices;
use crate::run::Fault;
use crate::run::Sides;
use crate::script::Backing;

#[global_allocator]
static ALLOCATOR: Patient = Patient;

/// Compares two types of overlay filesystem, step by step.
#[derive(Parser, Debug, Clone)]
#[command(name = "rovl-oracle", version)]
struct Args {
    /// The type that is right
    #[arg(long, value_name = "TYPE", default_value = "overlay")]
    type_a: String,

    /// The type that is compared with it
    #[arg(long, value_name = "TYPE", default_value = "rovl")]
    type_b: String,

    /// How many scripts to run
    #[arg(long, value_name = "N", default_value_t = 200)]
    count: u64,

    /// How many steps each has
    #[arg(long, value_name = "N", default_value_t = 50)]
    steps: usize,

    /// The seed of the first script; each further one has the next number
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Filesystems for layers, of tmpfs, tmpfs2, ext4, xfs and small; by default all that are there
    #[arg(long, value_name = "FS", value_delimiter = ',')]
    backing: Vec<String>,

    /// A set of mount options, repeatable; empty for none
    #[arg(long, value_name = "OPTIONS")]
    options: Vec<String>,

    /// Run this script and no others, repeatable
    #[arg(long, value_name = "FILE")]
    replay: Vec<PathBuf>,

    /// How many processes run scripts; by default one for each processor
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,

    /// How many scripts a process runs, and one line of the results stands for
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: u64,

    /// Print the script that has the seed, and run nothing
    #[arg(long)]
    print: bool,

    /// Leave out the kept regressions, and the trial of the comparison itself
    #[arg(long)]
    scripts_only: bool,

    /// Run scripts on the second side alone, while allocations fail, and look at what they leave
    #[arg(long)]
    fail_allocations: bool,

    /// Make a fault on the second side: skip-step, or mount options
    #[arg(long, hide = true, value_name = "FAULT")]
    fault: Option<String>,

    /// Be the process of a batch
    #[arg(long, hide = true)]
    child: bool,

    /// Directory of the modules, <TYPE>.ko
    #[arg(long, value_name = "DIR", default_value = "/lib/modules")]
    modules: PathBuf,
}

impl Args {
    fn sides(&self) -> Sides {
        Sides {
            type_a: self.type_a.clone(),
            type_b: self.type_b.clone(),
            fault: match self.fault.as_deref() {
                None => Fault::None,
                Some("skip-step") => Fault::SkipStep,
                Some(options) => Fault::Options(options.to_owned()),
            },
        }
    }

    fn choices(&self) -> anyhow::Result<Choices> {
        let mut backings = Vec::new();
        for name in &self.backing {
            let found = Backing::ALL
                .into_iter()
                .find(|backing| backing.name() == name);
            backings.push(found.with_context(|| format!("there is no backing {name}"))?);
        }
        // Under such faults, filesystems on disks shut themselves down.
        if self.fail_allocations {
            backings = vec![Backing::Tmpfs];
        }
        if backings.is_empty() {
            backings.extend(
                Backing::ALL
                    .into_iter()
                    .filter(|backing| yard::is_there(*backing)),
            );
        }
        let options = if self.options.is_empty() {
            plan::OPTIONS.map(str::to_owned).to_vec()
        } else {
            self.options.clone()
        };
        Ok(Choices {
            steps: self.steps,
            backings,
            options,
        })
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let sides = args.sides();
    let mut choices = args.choices()?;
    if args.print {
        print!("{}", generate::script(args.seed, &choices));
        return Ok(ExitCode::SUCCESS);
    }
    if !rustix::process::geteuid().is_root() {
        bail!("root is needed");
    }
    if !args.child {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        for fs_type in [&args.type_a, &args.type_b] {
            load(fs_type, &args.modules)?;
        }
        return plan::run(&args, &mut choices, &sides);
    }
    let is_equal = if args.fail_allocations {
        failing::child(args.seed, args.count, &choices, &sides)?
    } else if args.replay.is_empty() {
        batch::child(args.seed, args.count, &choices, &sides)?
    } else {
        plan::replay(&args.replay, &sides)?
    };
    Ok(if is_equal {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Loads the module that has the type, unless it is there.
fn load(fs_type: &str, modules: &std::path::Path) -> anyhow::Result<()> {
    let types = std::fs::read_to_string("/proc/filesystems")?;
    if types
        .lines()
        .any(|line| line.split_whitespace().last() == Some(fs_type))
    {
        return Ok(());
    }
    let path = modules.join(format!("{fs_type}.ko"));
    let file = std::fs::File::open(&path).with_context(|| {
        format!(
            "type {fs_type} is not registered, and no {}",
            path.display()
        )
    })?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("load {}", path.display())),
    }
}
