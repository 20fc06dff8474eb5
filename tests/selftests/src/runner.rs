// SPDX-License-Identifier: GPL-2.0-only

//! Runs each test in a process of its own, with a time limit.
//!
//! The process is this program again, so that a test that panics, hangs or changes its identity
//! cannot harm those after it. Its exit status is the result, its output the diagnostics.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use rustix::event::poll;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::kill_process_group;
use rustix::process::pidfd_open;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;

use crate::check::Failure;
use crate::fixture::Fixture;
use crate::kmod::Module;
use crate::registry::Backing;
use crate::registry::Case;
use crate::tests;

/// Exit status of a test that did not run; the kernel's selftests use the same.
const SKIP_STATUS: u8 = 4;

/// How long a killed test may take to go away.
const GRACE: Duration = Duration::from_secs(10);

pub enum Outcome {
    Passed,
    Failed,
    TimedOut,
    Skipped(String),
}

pub struct Report {
    pub outcome: Outcome,
    pub diagnostics: Vec<String>,
    pub duration: Duration,
}

impl Report {
    pub fn skipped(reason: impl Into<String>) -> Self {
        Report {
            outcome: Outcome::Skipped(reason.into()),
            diagnostics: Vec::new(),
            duration: Duration::ZERO,
        }
    }
}

/// Runs one test in a child process.
pub fn run(case: &Case, modules: &Path) -> anyhow::Result<Report> {
    let start = Instant::now();
    let mut report = run_child(case, modules)?;
    report.duration = start.elapsed();
    Ok(report)
}

fn run_child(case: &Case, modules: &Path) -> anyhow::Result<Report> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["--child", case.test.name, "--type", &case.fs_type])
        .args(["--backing", case.backing.name(), "--modules"])
        .arg(modules)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()
        .context("cannot start a test process")?;
    let limit = Duration::from_secs(case.test.limit);
    let mut output = Vec::new();
    let exited = wait(&child, &reader, limit, &mut output)?;
    if !exited {
        let group = Pid::from_child(&child);
        let _ = kill_process_group(group, Signal::KILL);
        let gone = wait(&child, &reader, GRACE, &mut output)?;
        let mut report = report_of(None, &output);
        report
            .diagnostics
            .push(format!("no end after {} s", limit.as_secs()));
        if gone {
            child.wait()?;
        } else {
            report
                .diagnostics
                .push("the process cannot be killed".to_owned());
        }
        return Ok(report);
    }
    Ok(report_of(Some(child.wait()?), &output))
}

/// Collects output until the child exits. Returns false when time is up first.
fn wait(
    child: &Child,
    reader: &OwnedFd,
    limit: Duration,
    output: &mut Vec<u8>,
) -> anyhow::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let end = Instant::now() + limit;
    let mut pipe_open = true;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = Timespec::try_from(left)?;
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        if pipe_open {
            fds.push(PollFd::new(reader, PollFlags::IN));
        }
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let exited = !fds[0].revents().is_empty();
        if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
            // What was written before the exit is read before the exit is looked at.
            pipe_open = read_some(reader, output)?;
        } else if exited {
            return Ok(true);
        }
    }
}

/// Reads once. Returns false at the end of the output.
fn read_some(reader: &OwnedFd, output: &mut Vec<u8>) -> anyhow::Result<bool> {
    let mut file = File::from(reader.as_fd().try_clone_to_owned()?);
    let mut buffer = [0; 4096];
    let length = file.read(&mut buffer)?;
    output.extend_from_slice(&buffer[..length]);
    Ok(length > 0)
}

/// Turns exit status and output into a report; no status is a test that was killed.
fn report_of(status: Option<ExitStatus>, output: &[u8]) -> Report {
    let text = String::from_utf8_lossy(output);
    let mut diagnostics: Vec<String> = text.lines().map(str::to_owned).collect();
    let outcome = match status {
        None => Outcome::TimedOut,
        Some(status) if status.success() => Outcome::Passed,
        Some(status) if status.code() == Some(SKIP_STATUS.into()) => {
            let reason = diagnostics.pop();
            Outcome::Skipped(reason.unwrap_or_else(|| "no reason given".to_owned()))
        }
        Some(status) => {
            if let Some(signal) = status.signal() {
                diagnostics.push(format!("killed by signal {signal}"));
            }
            Outcome::Failed
        }
    };
    Report {
        outcome,
        diagnostics,
        duration: Duration::ZERO,
    }
}

/// Runs a test in this process and says how it went by output and exit status.
pub fn child(name: &str, module: Module, backing: &str) -> anyhow::Result<ExitCode> {
    let test = tests::ALL
        .iter()
        .copied()
        .flatten()
        .find(|test| test.name == name)
        .with_context(|| format!("no test is called {name}"))?;
    let backing = [Backing::Tmpfs, Backing::Ext4, Backing::Xfs]
        .into_iter()
        .find(|known| known.name() == backing)
        .with_context(|| format!("unknown backing {backing}"))?;
    std::env::set_current_dir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let result = Fixture::new(module, backing).and_then(|fixture| match (test.run)(&fixture) {
        Ok(()) => fixture.finish(),
        Err(failure) => {
            fixture.abandon();
            Err(failure)
        }
    });
    let mut out = std::io::stdout();
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Failure::Skipped(reason)) => {
            writeln!(out, "{reason}")?;
            Ok(ExitCode::from(SKIP_STATUS))
        }
        Err(Failure::Failed { message, place }) => {
            writeln!(out, "{}:{}: {message}", place.file(), place.line())?;
            Ok(ExitCode::FAILURE)
        }
    }
}
