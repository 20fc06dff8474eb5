// SPDX-License-Identifier: GPL-2.0-only

//! What a whole run consists of: option sets that are tried first, the kept regressions, a trial
//! of the comparison itself, and batches of scripts on all processors.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use rovl_kit::faults::Faults;
use rovl_kit::ktap;
use rovl_kit::ktap::Ktap;
use rovl_kit::ktap::Outcome;

use crate::batch;
use crate::batch::Report;
use crate::generate::Choices;
use crate::run;
use crate::run::Sides;
use crate::run::Tally;
use crate::script::Backing;
use crate::script::Script;
use crate::script::Setup;
use crate::yard::Yard;
use crate::Args;

include!(concat!(env!("OUT_DIR"), "/regressions.rs"));

/// Sets of mount options to choose from; one that stands twice is chosen twice as often.
pub const OPTIONS: [&str; 8] = [
    "",
    "",
    "",
    "redirect_dir=on",
    "redirect_dir=on,xino=on",
    "userxattr",
    "volatile",
    "xino=on,fsync=strict",
];

/// How many scripts the trial runs with each fault.
const TRIAL: u64 = 10;
/// The faults, each with the number of scripts it has to be seen in.
const FAULTS: [(&str, usize); 2] = [("skip-step", 4), ("redirect_dir=on", 1)];

/// One line of the results.
enum Job {
    /// Scripts with these seeds.
    Batch { first: u64, count: u64 },
    /// Scripts with these seeds, while allocations fail.
    Failing { first: u64, count: u64 },
    /// A kept regression.
    Kept { name: &'static str },
    /// A script from a file.
    File(PathBuf),
    /// Scripts with a fault made on purpose.
    Trial { fault: &'static str, least: usize },
}

impl Job {
    fn name(&self) -> String {
        match self {
            Job::Batch { first, count } => format!("oracle.seeds {first}..{}", first + count - 1),
            Job::Failing { first, count } => {
                format!("oracle.failing_seeds {first}..{}", first + count - 1)
            }
            Job::Kept { name } => format!("oracle.regression {name}"),
            Job::File(path) => format!("oracle.replay {}", path.display()),
            Job::Trial { fault, .. } => format!("oracle.sees {fault}"),
        }
    }

    fn run(&self, args: &Args, choices: &Choices) -> anyhow::Result<Report> {
        let mut arguments = vec!["--child".to_owned()];
        if matches!(self, Job::Failing { .. }) {
            arguments.push("--fail-allocations".to_owned());
        }
        let mut add = |name: &str, value: &str| arguments.push(format!("--{name}={value}"));
        add("type-a", &args.type_a);
        add(
            "type-b",
            if matches!(self, Job::Trial { .. }) {
                &args.type_a
            } else {
                &args.type_b
            },
        );
        add("steps", &args.steps.to_string());
        for backing in &choices.backings {
            add("backing", backing.name());
        }
        for options in &choices.options {
            add("options", options);
        }
        match self {
            Job::Batch { first, count } => {
                add("seed", &first.to_string());
                add("count", &count.to_string());
                if let Some(fault) = &args.fault {
                    add("fault", fault);
                }
            }
            Job::Failing { first, count } => {
                add("seed", &first.to_string());
                add("count", &count.to_string());
            }
            Job::Kept { name } => add("replay", name),
            Job::File(path) => add("replay", &path.display().to_string()),
            Job::Trial { fault, .. } => {
                add("seed", &args.seed.to_string());
                add("count", &TRIAL.to_string());
                add("fault", fault);
            }
        }
        let mut report = batch::parent(&arguments)?;
        if let Job::Trial { least, .. } = self {
            let seen = report
                .lines
                .iter()
                .filter(|line| line.starts_with("seed ") && line.contains(" differs"))
                .count();
            report.lines.retain(|line| !line.contains("differs"));
            let line = format!("the fault was seen in {seen} of {TRIAL} scripts");
            report.lines.push(line);
            report.has_failed = seen < *least || !report.is_complete;
        }
        let (steps, succeeded) = (report.tally.steps(), report.tally.succeeded());
        if matches!(self, Job::Batch { .. }) && succeeded * 4 < steps {
            let line = format!("{succeeded} of {steps} steps have worked");
            report.lines.push(line);
            report.has_failed = true;
        }
        Ok(report)
    }
}

/// A kind of step that is tried that often should work at least once, and where allocations fail, that often.
const OFTEN: u64 = 60;
const RARELY: u64 = 4 * OFTEN;

/// Whether a kind of step can work anywhere.
fn is_possible(step: &str, choices: &Choices) -> bool {
    match step {
        "Clone" | "CloneRange" => choices.backings.contains(&Backing::Xfs),
        // An overlay itself is never frozen, its upper layer is.
        "Freeze" => false,
        _ => true,
    }
}

/// Runs everything, and prints the results. The status says whether nothing differs.
pub fn run(args: &Args, choices: &mut Choices, sides: &Sides) -> anyhow::Result<ExitCode> {
    let refused = refused_options(choices, sides)?;
    if args.fail_allocations && !Faults::are_there() {
        let mut ktap = Ktap::start(1);
        let skipped = ktap::Report::skipped("the kernel injects no faults".to_owned());
        ktap.result("oracle.failing_seeds", "", &skipped);
        return Ok(ktap.finish());
    }
    // For all processes at once, and until the last has ended.
    let _faults = args.fail_allocations.then(Faults::begin).transpose()?;
    let jobs = jobs(args);
    let mut ktap = Ktap::start(jobs.len() + refused.len() + 1);
    for (options, report) in refused {
        ktap.result(&format!("oracle.options {options}"), "", &report);
    }
    let begun = Instant::now();
    let mut total = Tally::default();
    let processes = args
        .jobs
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1);
    let names: Vec<_> = jobs.iter().map(Job::name).collect();
    let waiting = Mutex::new(jobs.into_iter().enumerate());
    let (sender, receiver) = mpsc::channel();
    let choices = &*choices;
    std::thread::scope(|scope| {
        for _ in 0..processes.max(1) {
            let sender = sender.clone();
            let waiting = &waiting;
            scope.spawn(move || loop {
                let next = waiting.lock().ok().and_then(|mut jobs| jobs.next());
                let Some((index, job)) = next else { break };
                if sender.send((index, job.run(args, choices))).is_err() {
                    break;
                }
            });
        }
        drop(sender);
        for (index, report) in receiver {
            let name = names.get(index).cloned().unwrap_or_default();
            let report = report.with_context(|| name.clone())?;
            total.merge(&report.tally);
            let report = ktap::Report {
                outcome: Outcome::of(!report.has_failed),
                diagnostics: report.lines,
                duration: report.time,
            };
            ktap.result(&name, "", &report);
        }
        anyhow::Ok(())
    })?;
    let time = begun.elapsed();
    let idle: Vec<_> = total
        .idle(if args.fail_allocations { RARELY } else { OFTEN })
        .filter(|step| is_possible(step, choices))
        .map(str::to_owned)
        .collect();
    let report = ktap::Report {
        outcome: Outcome::of(idle.is_empty()),
        diagnostics: idle,
        duration: Duration::ZERO,
    };
    ktap.result("oracle.every_step_works", "", &report);
    println!("# of each kind of step were tried, and succeeded: {total}");
    println!(
        "# {} scripts from seed {}, {} of {} steps succeeded, {} and {}, {:.1} s with {processes} processes",
        args.count,
        args.seed,
        total.succeeded(),
        total.steps(),
        args.type_a,
        args.type_b,
        time.as_secs_f64()
    );
    Ok(ktap.finish())
}

fn jobs(args: &Args) -> Vec<Job> {
    if !args.replay.is_empty() {
        return args.replay.iter().cloned().map(Job::File).collect();
    }
    let mut jobs = Vec::new();
    if !args.scripts_only && !args.fail_allocations {
        jobs.extend(REGRESSIONS.iter().map(|(name, _)| Job::Kept { name }));
        jobs.extend(FAULTS.map(|(fault, least)| Job::Trial { fault, least }));
    }
    let mut first = args.seed;
    let end = args.seed + args.count;
    while first < end {
        let count = args.batch.max(1).min(end - first);
        jobs.push(if args.fail_allocations {
            Job::Failing { first, count }
        } else {
            Job::Batch { first, count }
        });
        first += count;
    }
    jobs
}

/// Takes out the sets of options that one of the types refuses, with what is to be said of them. The second has to
/// take what the first does.
fn refused_options(
    choices: &mut Choices,
    sides: &Sides,
) -> anyhow::Result<Vec<(String, ktap::Report)>> {
    let mut sets: Vec<String> = choices.options.clone();
    sets.sort();
    sets.dedup();
    let (type_a, type_b) = (sides.type_a.clone(), sides.type_b.clone());
    // In a thread, which takes mounts of its own and is gone with them.
    let tried = std::thread::spawn(move || -> anyhow::Result<Vec<(String, ktap::Report)>> {
        let yard = Yard::new()?;
        let mut refused = Vec::new();
        for options in sets {
            let script = empty_script(&options);
            let by_a = run::accepts(&yard, &script, &type_a)?;
            let by_b = run::accepts(&yard, &script, &type_b)?;
            let reason = |fs_type, error| format!("{fs_type} refuses them: {error}");
            let report = match (by_a, by_b) {
                (None, None) => continue,
                (Some(error), _) => ktap::Report::skipped(reason(&type_a, error)),
                (None, Some(error)) => ktap::Report {
                    outcome: Outcome::Failed,
                    diagnostics: vec![reason(&type_b, error)],
                    duration: Duration::ZERO,
                },
            };
            refused.push((options, report));
        }
        Ok(refused)
    });
    let refused = tried
        .join()
        .map_err(|_| anyhow::anyhow!("trying the options failed"))??;
    choices
        .options
        .retain(|options| !refused.iter().any(|(other, _)| other == options));
    anyhow::ensure!(!choices.options.is_empty(), "all options are refused");
    Ok(refused)
}

fn empty_script(options: &str) -> Script {
    Script {
        setup: Setup {
            upper_on: Backing::Tmpfs,
            lowers_on: vec![Backing::Tmpfs],
            lowers: 1,
            options: options.to_owned(),
            watch: false,
            mapped: None,
            processes: false,
        },
        objects: Vec::new(),
        steps: Vec::new(),
    }
}

/// Runs scripts from files, or kept ones by their names.
pub fn replay(files: &[PathBuf], sides: &Sides) -> anyhow::Result<bool> {
    let yard = Yard::new()?;
    let mut is_equal = true;
    for file in files {
        let kept = REGRESSIONS
            .iter()
            .find(|(name, _)| file.as_os_str() == *name);
        let text = match kept {
            Some((_, text)) => (*text).to_owned(),
            None => {
                std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
            }
        };
        let name = file.display().to_string();
        let script: Script = text.parse().with_context(|| name.clone())?;
        let (difference, _) = run::run(&yard, &script, sides)?;
        if let Some(difference) = difference {
            is_equal = false;
            batch::print_difference(&name, &yard, script, difference, sides)?;
        }
    }
    println!("{}", batch::END);
    Ok(is_equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_regressions_can_be_read() {
        for (name, text) in REGRESSIONS {
            let script: anyhow::Result<Script> = text.parse();
            assert!(script.is_ok(), "{name}: {script:?}");
        }
    }
}
