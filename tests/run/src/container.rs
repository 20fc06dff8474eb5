// SPDX-License-Identifier: GPL-2.0-only
//! One container for the user: a command or a shell over the layers, with changes that are gone when the guest is.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::mount::MountFlags;

use crate::image;
use crate::stage::{self, Options};

const ROOT: &str = "/container";
const PLACE: &str = "/changes";

/// Runs the program, and leaves its exit status in the file `status`.
pub fn run(options: &Options, program: &[OsString]) -> Result<()> {
    stage::load(options)?;
    image::mount(options)?;
    let disk = options.changes.to_string_lossy();
    stage::mount_at(&disk, PLACE, "ext4", MountFlags::empty(), "")?;
    let store = image::store(PLACE)?;
    stage::overlay(options, ROOT, &image::stack()?, Some(&store))?;
    stage::enter(ROOT)?;
    image::copy_packages(Path::new(ROOT))?;

    let status = Command::new("/proc/self/exe")
        .args(["chroot", ROOT, "--"])
        .args(program)
        .status()
        .context("run the program")?;
    // As a shell would tell it.
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    fs::write(
        options.out.join("status"),
        code.unwrap_or_default().to_string(),
    )?;
    Ok(())
}
