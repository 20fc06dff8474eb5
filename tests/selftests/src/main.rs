// SPDX-License-Identifier: GPL-2.0-only

//! Behaviour tests of overlay filesystems.
//!
//! Every test runs by the same code on type `overlay` (overlayfs, which shows what is right) and
//! on type `rovl`. The results are printed as KTAP. The program needs root and wants a machine of
//! its own: it loads and unloads modules and drops caches.

#![deny(unsafe_code)]

mod alike;
mod check;
mod disk;
mod expect;
mod fixture;
mod fuse;
mod helper;
mod image;
mod kmod;
mod layer;
mod leak;
mod quota;
mod raw;
mod rawsys;
mod registry;
mod runner;
mod selinux;
mod stack;
mod sys;
mod tests;
mod trace;
mod userns;
mod victim;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use rovl_kit::ktap::Ktap;
use rovl_kit::ktap::Report;

use crate::kmod::Module;
use crate::registry::Backing;
use crate::registry::Case;
use crate::registry::Runs;

/// Behaviour tests of overlay filesystems, printed as KTAP.
#[derive(Parser)]
#[command(name = "rovl-selftests", version)]
struct Args {
    /// Filesystem type to test, repeatable; by default all of overlay and rovl that are there
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,

    /// Run only tests whose full name contains this, repeatable
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,

    /// Print the names of the tests and the rows they check, and run nothing
    #[arg(long)]
    list: bool,

    /// Directory of the modules, <TYPE>.ko
    #[arg(long, value_name = "DIR", default_value = "/lib/modules")]
    modules: PathBuf,

    /// Instead of the tests, mount, unmount, load and unload this often and look for leaks
    #[arg(long, value_name = "N")]
    leak_rounds: Option<u32>,

    /// Run only tests whose layers are on this filesystem: tmpfs, ext4 or xfs; repeatable
    #[arg(long, value_name = "FS")]
    backing: Vec<Backing>,

    /// Run only tests that repeat on a disk what an overlay does in tmpfs (true), or only the others
    #[arg(long, value_name = "true|false")]
    repeated: Option<bool>,

    /// Do not fail where none of the tests is to run here
    #[arg(long)]
    allow_none: bool,

    /// Fail unless rovl provides the types, under whichever name
    #[arg(long)]
    expect_rovl: bool,

    /// Be one of the small programs that tests run
    #[arg(long, hide = true, value_name = "NAME")]
    helper: Option<String>,
}

const KNOWN_TYPES: [&str; 2] = ["overlay", "rovl"];

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(name) = &args.helper {
        return helper::run(name);
    }

    let types = chosen_types(&args)?;
    if args.list {
        list(&args, &types);
        return Ok(ExitCode::SUCCESS);
    }
    if !rustix::process::geteuid().is_root() {
        bail!("root is needed");
    }
    let ktap = match args.leak_rounds {
        Some(rounds) => leak::run(rounds, &types)?,
        None => run(&args, &types)?,
    };
    Ok(ktap.finish())
}

/// The types to test, each with its module.
fn chosen_types(args: &Args) -> anyhow::Result<Vec<Module>> {
    let module = |fs_type: &str| Module::new(fs_type, &args.modules);
    if args.types.is_empty() {
        let found: Vec<_> = KNOWN_TYPES
            .iter()
            .map(|fs_type| module(fs_type))
            .filter(|module| args.list || module.is_available())
            .collect();
        if found.is_empty() {
            bail!("neither of the types overlay and rovl is here");
        }
        return Ok(found);
    }
    let chosen: Vec<_> = args.types.iter().map(|fs_type| module(fs_type)).collect();
    if let Some(missing) = chosen.iter().find(|m| !args.list && !m.is_available()) {
        bail!(
            "type {} is not registered and {} is not there",
            missing.fs_type(),
            missing.file().display()
        );
    }
    Ok(chosen)
}

/// All cases that the arguments ask for, all of one type before those of the next.
fn cases(args: &Args, types: &[Module]) -> Vec<Case> {
    let wanted = |case: &Case| {
        let name = case.name();
        (args.filter.is_empty() || args.filter.iter().any(|text| name.contains(text)))
            && (args.backing.is_empty() || args.backing.contains(&case.backing))
            && args
                .repeated
                .is_none_or(|wanted| wanted == case.is_repeated())
    };
    let mut cases = Vec::new();
    for module in types {
        for test in tests::ALL.iter().copied().flatten() {
            for backing in test.backings.iter().copied() {
                let case = Case {
                    test,
                    module: module.clone(),
                    is_rovl: module.is_rovl(),
                    backing,
                };
                if case.applies() && wanted(&case) {
                    cases.push(case);
                }
            }
        }
    }
    cases
}

fn list(args: &Args, types: &[Module]) {
    for case in cases(args, types) {
        let note = match case.test.runs {
            Runs::OnBoth => String::new(),
            Runs::OnRovl(reason) => format!(" ({reason})"),
        };
        println!("{} # {}{note}", case.name(), case.test.rows);
    }
}

/// The cases that this machine is made for. That there is none is an error, unless it is allowed.
fn cases_here(args: &Args, types: &[Module]) -> anyhow::Result<Vec<Case>> {
    let has_one_processor = std::thread::available_parallelism()?.get() == 1;
    let (mut without_selinux, mut without_one_processor) = (0, 0);
    let mut cases = cases(args, types);
    cases.retain(|case| {
        let lacks_selinux = case.test.needs_selinux && !selinux::is_on();
        let lacks_one_processor = case.test.needs_one_processor && !has_one_processor;
        without_selinux += usize::from(lacks_selinux);
        without_one_processor += usize::from(lacks_one_processor);
        !lacks_selinux && !lacks_one_processor
    });
    if cases.is_empty() && !args.allow_none {
        bail!(
            "no test is to run here: {without_selinux} that were asked for need SELinux, \
             {without_one_processor} a machine of one processor"
        );
    }
    Ok(cases)
}

fn run(args: &Args, types: &[Module]) -> anyhow::Result<Ktap> {
    for module in types {
        module.ensure_loaded()?;
        // A kernel may have overlayfs built in, so that nothing was loaded.
        if args.expect_rovl && !module.is_rovl() {
            bail!("type {} is the kernel's own", module.fs_type());
        }
    }
    let cases = cases_here(args, types)?;
    let mut ktap = Ktap::start(cases.len());
    let mut disks = disk::Kept::default();
    for case in &cases {
        disks.prepare(case.test, case.backing);
        let report = match case.obstacle() {
            Some(reason) => Report::skipped(reason),
            None => runner::run(case)?,
        };
        ktap.result(&case.name(), case.test.rows, &report);
    }
    Ok(ktap)
}
