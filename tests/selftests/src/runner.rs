// SPDX-License-Identifier: GPL-2.0-only

//! Runs each test in a process of its own, with a time limit.
//!
//! The process is a copy of this one, so that a test that panics, hangs or changes its identity
//! cannot harm those after it. Its exit status is the result, its output the diagnostics. No
//! program is executed, which on an emulated processor takes longer than many a test.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use rovl_kit::ktap::Outcome;
use rovl_kit::ktap::Report;
use rustix::event::poll;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::kill_process;
use rustix::process::kill_process_group;
use rustix::process::pidfd_open;
use rustix::process::setpgid;
use rustix::process::waitpid;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use rustix::process::WaitStatus;
use rustix::stdio::dup2_stderr;
use rustix::stdio::dup2_stdin;
use rustix::stdio::dup2_stdout;

use crate::check::Failure;
use crate::fixture::Fixture;
use crate::registry::Case;
use crate::sys;

/// Exit status of a test that did not run; the kernel's selftests use the same.
const SKIP_STATUS: i32 = 4;

/// Exit status of a test that failed.
const FAIL_STATUS: i32 = 1;

/// How long a killed test may take to go away.
const GRACE: Duration = Duration::from_secs(10);

/// Runs one test in a child process.
pub fn run(case: &Case) -> anyhow::Result<Report> {
    let start = Instant::now();
    let mut report = run_child(case)?;
    report.duration = start.elapsed();
    Ok(report)
}

fn run_child(case: &Case) -> anyhow::Result<Report> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // What is not yet written would be written by the child as well.
    std::io::stdout().flush()?;
    let Some(pid) = sys::fork().context("cannot start a test process")? else {
        std::process::exit(child(case, &writer).unwrap_or_else(|error| {
            eprintln!("{error:#}");
            FAIL_STATUS
        }));
    };
    drop(writer);
    let limit = Duration::from_secs(case.test.limit);
    let mut output = Vec::new();
    if wait(pid, &reader, limit, &mut output)? {
        return Ok(report_of(reap(pid)?, &output));
    }
    // The child may not have made its group yet.
    let _ = kill_process_group(pid, Signal::KILL).or_else(|_| kill_process(pid, Signal::KILL));
    let gone = wait(pid, &reader, GRACE, &mut output)?;
    let mut report = report_of(None, &output);
    report
        .diagnostics
        .push(format!("no end after {} s", limit.as_secs()));
    if gone {
        reap(pid)?;
    } else {
        report
            .diagnostics
            .push("the process cannot be killed".to_owned());
    }
    Ok(report)
}

/// How a process ended that has.
fn reap(pid: Pid) -> anyhow::Result<Option<WaitStatus>> {
    let ended = waitpid(Some(pid), WaitOptions::empty())?;
    Ok(ended.map(|(_, status)| status))
}

/// Collects output until the child exits. Returns false when time is up first.
fn wait(pid: Pid, reader: &OwnedFd, limit: Duration, output: &mut Vec<u8>) -> anyhow::Result<bool> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
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
fn report_of(status: Option<WaitStatus>, output: &[u8]) -> Report {
    let text = String::from_utf8_lossy(output);
    let mut diagnostics: Vec<String> = text.lines().map(str::to_owned).collect();
    let outcome = match status.map(|status| (status.exit_status(), status.terminating_signal())) {
        None => Outcome::TimedOut,
        Some((Some(0), _)) => Outcome::Passed,
        Some((Some(SKIP_STATUS), _)) => {
            let reason = diagnostics.pop();
            Outcome::Skipped(reason.unwrap_or_else(|| "no reason given".to_owned()))
        }
        Some((_, signal)) => {
            if let Some(signal) = signal {
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

/// Runs a test in this process, which was made for it, and says how it went by output and exit
/// status.
fn child(case: &Case, output: &OwnedFd) -> anyhow::Result<i32> {
    setpgid(None, None)?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(output)?;
    dup2_stderr(output)?;
    std::env::set_current_dir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let fixture = Fixture::new(case.module.clone(), case.backing);
    let result = fixture.and_then(|fixture| match (case.test.run)(&fixture) {
        Ok(()) => fixture.finish(),
        Err(failure) => {
            fixture.abandon();
            Err(failure)
        }
    });
    let mut out = std::io::stdout();
    let status = match result {
        Ok(()) => 0,
        Err(Failure::Skipped(reason)) => {
            writeln!(out, "{reason}")?;
            SKIP_STATUS
        }
        Err(Failure::Failed { message, place }) => {
            writeln!(out, "{}:{}: {message}", place.file(), place.line())?;
            FAIL_STATUS
        }
    };
    out.flush()?;
    Ok(status)
}
