// SPDX-License-Identifier: GPL-2.0-only

//! Small filesystems of the ext family in files, mounted through loop devices.

use std::ffi::CStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use rustix::mount::MountFlags;

use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::fixture::Fixture;

/// Where the superblock begins, and in it the features that who does not know them must not mount.
const INCOMPATIBLE_FEATURES: u64 = 1024 + 0x60;

/// There may be directories in which case does not count.
const CASEFOLD: u32 = 0x2_0000;

/// Where the superblock tells how characters are encoded: as UTF-8 of Unicode 12.1.
const ENCODING: u64 = 1024 + 0x27c;
const UTF8_12_1: u16 = 1;

/// Names come with the type of what they lead to.
const FILETYPE: u32 = 2;

/// Makes a filesystem of 4 MiB in a file.
pub fn format(path: &Path) -> Result {
    File::create(path)?.set_len(4 << 20)?;
    let mut command = Command::new("busybox");
    command
        .args(["mke2fs", "-F", "-b", "1024", "-I", "256"])
        .arg(path);
    run(&mut command).map(drop)
}

/// The same, on which listings do not tell what kind of file a name is.
pub fn format_without_types(path: &Path) -> Result {
    format(path)?;
    change_features(path, |features| features & !FILETYPE).map(drop)
}

/// The same, with directories in which case does not count if they are told so.
pub fn format_folding(path: &Path) -> Result {
    format(path)?;
    let file = change_features(path, |features| features | CASEFOLD)?;
    Ok(file.write_all_at(&UTF8_12_1.to_le_bytes(), ENCODING)?)
}

/// Changes the features that who does not know them must not mount.
fn change_features(path: &Path, change: impl FnOnce(u32) -> u32) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut features = [0; 4];
    file.read_exact_at(&mut features, INCOMPATIBLE_FEATURES)?;
    let features = change(u32::from_le_bytes(features));
    file.write_all_at(&features.to_le_bytes(), INCOMPATIBLE_FEATURES)?;
    Ok(file)
}

/// How a filesystem in a file is mounted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    ReadOnly,
    Writable,
}

/// Mounts a filesystem that is in a file. The loop device goes away with the mount.
pub fn mount(fx: &Fixture, image: &Path, mode: Mode, target: &Path) -> Result {
    mount_with(fx, image, mode, c"", target)
}

/// The same with options for the filesystem.
pub fn mount_with(fx: &Fixture, image: &Path, mode: Mode, data: &CStr, target: &Path) -> Result {
    let device = run(losetup().arg("-f"))?;
    let (options, flags): (&[&str], _) = match mode {
        Mode::ReadOnly => (&["-r"], MountFlags::RDONLY),
        Mode::Writable => (&[], MountFlags::empty()),
    };
    run(losetup().args(options).arg(&device).arg(image))?;
    let mounted = rustix::mount::mount(&device, target, "ext4", flags, data);
    // While it is mounted this says what is to be done then.
    run(losetup().arg("-d").arg(&device))?;
    mounted.context(format_args!("mount {device}"))?;
    fx.adopt(target);
    Ok(())
}

fn losetup() -> Command {
    let mut command = Command::new("busybox");
    command.arg("losetup");
    command
}

/// Runs a program that must succeed. Returns its output.
fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.context(format_args!("run {command:?}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{command:?}: {}", said.trim())))
}
