// SPDX-License-Identifier: GPL-2.0-only

//! Many scripts, one after the other, in a process of their own.
//!
//! The process says on its output which seed it is at, so that whoever waits for it knows what a
//! crash or a hang came from.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;

use crate::generate;
use crate::generate::Choices;
use crate::run;
use crate::run::Difference;
use crate::run::Fault;
use crate::run::Sides;
use crate::run::Stage;
use crate::run::Tally;
use crate::script::Script;
use crate::shrink;
use crate::yard::Yard;

/// Begins a line that says which seed comes next.
pub const AT: &str = "@ ";
/// Begins the last line.
pub const END: &str = "= ";
/// How long one script may take, and its making smaller.
const PATIENCE: Duration = Duration::from_secs(180);
/// After so many differences of different kinds, the rest is left out.
const ENOUGH: usize = 8;

/// What became of a batch.
pub struct Report {
    pub has_failed: bool,
    /// Whether the process came to its end.
    pub is_complete: bool,
    pub lines: Vec<String>,
    pub tally: Tally,
    pub time: Duration,
}

/// Runs the batch in this process, and prints what it finds.
pub fn child(first: u64, count: u64, choices: &Choices, sides: &Sides) -> anyhow::Result<bool> {
    let yard = Yard::new()?;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut total = Tally::default();
    for seed in first..first + count {
        println!("{AT}{seed}");
        let script = generate::script(seed, choices);
        let (difference, tally) =
            run::run(&yard, &script, sides).with_context(|| format!("seed {seed}"))?;
        total.merge(&tally);
        let Some(difference) = difference else {
            continue;
        };
        if sides.fault != Fault::None {
            println!("seed {seed} differs: {}", difference.stage);
            continue;
        }
        let kind = kind(&script, &difference);
        let seen = kinds.entry(kind).or_default();
        *seen += 1;
        if *seen > 1 {
            println!(
                "seed {seed} differs in the same way, at {}",
                difference.stage
            );
            continue;
        }
        print_difference(&format!("seed {seed}"), &yard, script, difference, sides)?;
        if kinds.len() >= ENOUGH {
            println!("the seeds from {} on were left out", seed + 1);
            break;
        }
    }
    println!("{END}{total}");
    Ok(kinds.is_empty())
}

/// What a difference is, apart from its numbers, so that not each one of a kind is made smaller.
fn kind(script: &Script, difference: &Difference) -> String {
    let only_words =
        |line: &str| -> String { line.chars().filter(|c| c.is_ascii_uppercase()).collect() };
    match difference.stage {
        Stage::Step(index) => {
            let name = script.steps.get(index).map(|(_, step)| format!("{step:?}"));
            let name = name.unwrap_or_default();
            let name = name.split(' ').next().unwrap_or_default().to_owned();
            let outcomes = difference.lines.iter().skip(1).map(|line| only_words(line));
            format!("{name} {}", outcomes.collect::<Vec<_>>().join(" "))
        }
        stage => {
            let mut fields: Vec<_> = difference
                .lines
                .iter()
                .map(|line| line.split(": ").nth(1).unwrap_or_default().to_owned())
                .collect();
            fields.sort();
            fields.dedup();
            format!("{stage} {}", fields.join(" "))
        }
    }
}

/// Makes the script smaller and prints it, to be kept or replayed.
pub fn print_difference(
    name: &str,
    yard: &Yard,
    script: Script,
    difference: Difference,
    sides: &Sides,
) -> anyhow::Result<()> {
    println!("{name}: {} differs", difference.stage);
    let mut failure = None;
    let mut tries = 0;
    let (script, difference) = shrink::shrink(script, difference, &mut |script| {
        tries += 1;
        match run::run(yard, script, sides) {
            Ok((difference, _)) => difference,
            Err(error) => {
                failure = Some(error);
                None
            }
        }
    });
    if let Some(error) = failure {
        return Err(error).context("make a script smaller");
    }
    println!("after {tries} tries, {} differs:", difference.stage);
    for line in difference.lines.iter().take(12) {
        println!("  {line}");
    }
    println!("---- script");
    for line in script.to_string().lines() {
        println!("{line}");
    }
    println!("---- end");
    Ok(())
}

/// Runs this program again with these arguments, and waits for it.
pub fn parent(arguments: &[String]) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let mut process = Command::new("/proc/self/exe")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("start a process for a batch")?;
    let output = process.stdout.take().context("the process has no output")?;
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut lines = Vec::new();
    let mut at = String::new();
    let mut tally = Tally::default();
    let mut is_complete = false;
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(line) => match (line.strip_prefix(AT), line.strip_prefix(END)) {
                (Some(seed), _) => at = seed.to_owned(),
                (_, Some(numbers)) => {
                    is_complete = true;
                    tally = numbers.parse()?;
                }
                _ => lines.push(line),
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                lines.push(format!("seed {at} hangs; the process is in:"));
                let stack = std::fs::read_to_string(format!("/proc/{}/stack", process.id()));
                lines.extend(stack.unwrap_or_default().lines().map(str::to_owned));
                let _ = process.kill();
                // A process that hangs in the kernel may not even die.
                return Ok(Report {
                    has_failed: true,
                    is_complete: false,
                    lines,
                    tally,
                    time: begun.elapsed(),
                });
            }
        }
    }
    let _ = reader.join();
    let status = process.wait().context("wait for a batch")?;
    if !is_complete {
        lines.push(format!("seed {at}: the process ended early: {status}"));
    }
    Ok(Report {
        has_failed: !is_complete || !status.success(),
        is_complete,
        lines,
        tally,
        time: begun.elapsed(),
    })
}
