// SPDX-License-Identifier: GPL-2.0-only
#![forbid(unsafe_code)]
//! `make run`: a real distribution's tree in three layers, mounted in the guest and compared with what the host worked out.
//!
//! `cut` and `expect` run while scripts/images.sh makes the image, `guest` in the guest, and `list` wherever a tree is to be seen.

mod attributes;
mod changes;
mod compare;
mod container;
mod cut;
mod expect;
mod guest;
mod image;
mod listing;
mod merge;
mod reading;
mod report;
mod stage;
mod steps;
mod walk;
mod writing;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::steps::Container;
use crate::walk::{walk, EntryNumbers, View};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the layer between two states of a tree
    Cut {
        old: PathBuf,
        new: PathBuf,
        /// Path of the layer, to which .taken, .whiteouts, .opaque and .debugfs are added
        prefix: PathBuf,
        /// Where the layer will be in the image
        root: String,
    },
    /// Write what the guest has to find
    Expect {
        /// Directory for the listings
        directory: PathBuf,
        /// The tree that the layers were cut from
        tree: PathBuf,
        /// The layers, lowest first
        layers: Vec<PathBuf>,
    },
    /// Print a tree's listing
    List {
        root: PathBuf,
        /// Show whiteouts and opaque directories as such
        #[arg(long)]
        layer: bool,
    },
    /// Do the main job, in the guest
    Guest(stage::Options),
    /// Run a program in a container over the layers, in the guest
    Container {
        #[command(flatten)]
        options: stage::Options,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
    /// Do the work of a container in a tree that has the packages in its /tmp
    Work { container: Container, root: PathBuf },
    /// Run a program of a tree, inside it
    Chroot {
        root: PathBuf,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("rovl-run: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether all was as expected.
fn run(task: Task) -> Result<bool> {
    match task {
        Task::Cut {
            old,
            new,
            prefix,
            root,
        } => expect::write_cut(&old, &new, &prefix, &root)?,
        Task::Expect {
            directory,
            tree,
            layers,
        } => expect::write_expectations(&directory, &tree, &layers)?,
        Task::List { root, layer } => {
            let view = if layer { View::Layer } else { View::Tree };
            let walked = walk(&root, view, EntryNumbers::Unchecked)?;
            print!("{}", walked.listing.lines());
            for problem in &walked.problems {
                eprintln!("{problem}");
            }
            return Ok(walked.problems.is_empty());
        }
        Task::Guest(options) => return guest::run(&options),
        Task::Container { options, program } => container::run(&options, &program)?,
        Task::Work { container, root } => steps::run_all(container, &root)?,
        Task::Chroot { root, program } => steps::chroot(&root, &program)?,
    }
    Ok(true)
}
