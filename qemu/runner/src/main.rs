// SPDX-License-Identifier: GPL-2.0-only

//! Boots a kernel in QEMU, runs one command in it, and brings back the command's output, status and
//! files together with what the kernel had to complain about.

#![deny(unsafe_code)]

mod cli;
mod content;
mod initramfs;
mod kvm;
mod log;
mod ports;
mod qemu;
mod session;
mod spec;
mod splat;
mod terminal;
mod tsc;
mod verdict;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use cli::{Args, Kvm};
use content::Content;
use log::LogFile;
use qemu::Machine;
use session::{Ending, Outcome, Session, Signals, Sinks};
use terminal::{RawMode, WindowSize};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version come this way too. Nothing can be done when they cannot be printed.
            let _ = error.print();
            return if error.use_stderr() {
                verdict::RUNNER.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(&args) {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("rovl-guest: {error:#}");
            verdict::RUNNER.into()
        }
    }
}

fn run(args: &Args) -> Result<u8> {
    args.check()?;
    let signals = Signals::watch()?;
    let content = Content {
        busybox: args.busybox.clone(),
        modules: &args.modules,
        boot_modules: &args.boot_modules,
        files: &args.files,
        command: &args.command,
        out: args.out.is_some(),
        kmemleak: args.kmemleak,
        interactive: args.interactive.then(WindowSize::current),
    };
    let tree = content.tree()?;
    let kvm = choose_kvm(args, &signals)?;
    let machine = machine(args, kvm)?;

    let mut log = LogFile::create(args.log.as_deref())?;
    let raw_mode = args.interactive.then(RawMode::enter).transpose()?;
    // Rust 1.85 ends a temporary with the branch that made it.
    let mut errors = io::stderr();
    let sinks = Sinks {
        output: &mut io::stdout().lock(),
        log: log.writer(),
        echo: if args.verbose {
            Some(&mut errors)
        } else {
            None
        },
    };
    let outcome = Session::new(machine.start(&tree)?, sinks, signals, args.limit()).run()?;
    drop(raw_mode);
    finish(args, kvm, &outcome, log)
}

/// The machine that the options describe.
fn machine(args: &Args, kvm: bool) -> Result<Machine<'_>> {
    let out = match &args.out {
        Some(out) => {
            let place = || format!("cannot use {}", out.display());
            std::fs::create_dir_all(out).with_context(place)?;
            Some(out.canonicalize().with_context(place)?)
        }
        None => None,
    };
    Ok(Machine {
        qemu: &args.qemu,
        kernel: &args.kernel,
        kvm,
        tsc_khz: if kvm { None } else { tsc::emulated_khz() },
        mem: args.mem,
        cpus: args.cpus,
        disks: &args.disks,
        scratch: &args.scratch,
        out,
        append: &args.append,
        kmemleak: args.kmemleak,
        interactive: args.interactive,
    })
}

fn choose_kvm(args: &Args, signals: &Signals) -> Result<bool> {
    match args.kvm {
        Kvm::On => Ok(true),
        Kvm::Off => Ok(false),
        Kvm::Auto => kvm::usable(&args.kernel, || try_kvm(args, signals.clone())),
    }
}

/// Boots a guest with KVM that does nothing, and tells whether it came through.
fn try_kvm(args: &Args, signals: Signals) -> Result<bool> {
    let command = ["true".into()];
    let content = Content {
        busybox: args.busybox.clone(),
        boot_modules: &args.boot_modules,
        command: &command,
        ..Content::default()
    };
    let machine = Machine {
        disks: &[],
        scratch: &[],
        out: None,
        kmemleak: false,
        interactive: false,
        ..machine(args, true)?
    };
    let guest = machine.start(&content.tree()?)?;
    let sinks = Sinks {
        output: &mut io::sink(),
        log: &mut io::sink(),
        echo: None,
    };
    let outcome = Session::new(guest, sinks, signals, Some(kvm::TRIAL_LIMIT)).run()?;
    match outcome.ending {
        Ending::Interrupted(signal) => {
            // The runner ends as it would have without a handler, so that a shell or make sees why.
            signal_hook::low_level::emulate_default_handler(signal)?;
            Ok(false)
        }
        ending => Ok(ending == Ending::Exited(0)),
    }
}

/// Tells how it went and returns the exit status.
fn finish(args: &Args, kvm: bool, outcome: &Outcome, log: LogFile) -> Result<u8> {
    if args.verbose {
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        let boot = outcome
            .boot
            .map_or("never".into(), |boot| format!("after {}", seconds(boot)));
        let accel = if kvm { "KVM" } else { "TCG" };
        eprintln!(
            "rovl-guest: {accel}; the command began {boot}; all took {}",
            seconds(outcome.total)
        );
    }
    let status = verdict::exit_status(outcome);
    let name = log.close(status != 0)?;
    if let Some(message) = verdict::message(outcome, args.limit(), &name) {
        eprintln!("rovl-guest: {message}");
    }
    if let Ending::Interrupted(signal) = outcome.ending {
        signal_hook::low_level::emulate_default_handler(signal)?;
    }
    Ok(status)
}
