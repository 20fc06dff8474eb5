// SPDX-License-Identifier: GPL-2.0-only
//! The work that is done in containers: programs from tests/run/containers, run one after the other inside a tree.
//!
//! Those of the left container run on the host as well, in a plain copy of the tree, and what they leave there is what the
//! guest has to find in the overlay.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};
use clap::ValueEnum;

/// A container, by the work that is done in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Container {
    Left,
    Right,
}

/// A program, which prints in its last line what it did, and fails where it did not work.
#[derive(Debug)]
pub struct Step {
    pub name: &'static str,
    text: &'static str,
}

macro_rules! steps {
    ($container:literal: $($name:literal),* $(,)?) => {
        &[$(Step {
            name: $name,
            text: include_str!(concat!("../containers/", $container, "/", $name)),
        }),*]
    };
}

impl Container {
    pub fn name(self) -> &'static str {
        match self {
            Container::Left => "left",
            Container::Right => "right",
        }
    }

    /// In the order in which they build on each other.
    pub fn steps(self) -> &'static [Step] {
        match self {
            Container::Left => steps!["left": "install", "edit", "purge", "delete"],
            Container::Right => steps!["right": "attributes", "database", "rebuild", "purge"],
        }
    }
}

impl Step {
    /// Runs the program inside a tree, in whose /tmp the packages lie, with the log for all that it prints. Returns the last
    /// line of that.
    ///
    /// # Errors
    ///
    /// With the end of the log.
    pub fn run(&self, root: &Path, log: &Path) -> Result<String> {
        let inside = format!("/tmp/{}", self.name);
        let path = root.join(&inside[1..]);
        fs::write(&path, self.text).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let output = File::create(log).with_context(|| format!("write {}", log.display()))?;
        let status = Command::new("/proc/self/exe")
            .arg("chroot")
            .args([root.as_os_str(), OsStr::new(&inside)])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .context("run the program")?;
        let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
        if !status.success() {
            let lines: Vec<_> = text.lines().collect();
            let end = &lines[lines.len().saturating_sub(6)..];
            bail!("{status}\n{}", end.join("\n"));
        }
        Ok(text.lines().last().unwrap_or("no output").to_owned())
    }
}

/// Does all the work of a container.
pub fn run_all(container: Container, root: &Path) -> Result<()> {
    for step in container.steps() {
        let text = step.run(root, &root.join("tmp/log")).context(step.name)?;
        println!("{}: {text}", step.name);
    }
    Ok(())
}

/// Becomes a program of the tree, in surroundings that do not depend on the machine.
pub fn chroot<S: AsRef<OsStr>>(root: &Path, program: &[S]) -> Result<()> {
    let (name, arguments) = program.split_first().context("no program to run")?;
    std::os::unix::fs::chroot(root).with_context(|| format!("chroot {}", root.display()))?;
    std::env::set_current_dir("/")?;
    let mut command = Command::new(name);
    command.args(arguments).env_clear();
    // A shell's own affair, and nothing that a result could depend on.
    if let Some(terminal) = std::env::var_os("TERM") {
        command.env("TERM", terminal);
    }
    let error = command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        // What iterates over hashes is to print the same each time.
        .env("PERL_HASH_SEED", "0")
        .env("PYTHONHASHSEED", "0")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .exec();
    Err(error).with_context(|| format!("run {}", name.as_ref().to_string_lossy()))
}
