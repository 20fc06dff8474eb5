// SPDX-License-Identifier: GPL-2.0-only

//! Scratch disks for layers: `/dev/disk/rovl/ext4` and `/dev/disk/rovl/xfs`.
//!
//! A blank ext4 disk is formatted here by busybox. An xfs disk has to come formatted.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use rustix::mount::fsconfig_create;
use rustix::mount::fsconfig_set_string;
use rustix::mount::fsmount;
use rustix::mount::fsopen;
use rustix::mount::mount;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountFlags;

use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::registry::Backing;
use crate::registry::Test;

fn device(backing: Backing) -> PathBuf {
    Path::new("/dev/disk/rovl").join(backing.name())
}

/// The block device that holds the layers, if they are on one.
pub fn device_path(backing: Backing) -> Option<PathBuf> {
    (backing != Backing::Tmpfs).then(|| device(backing))
}

/// Whether layers can be put on this filesystem here; if not, why.
pub fn available(backing: Backing) -> std::result::Result<(), String> {
    if backing == Backing::Tmpfs {
        return Ok(());
    }
    let device = device(backing);
    if device.exists() {
        Ok(())
    } else {
        Err(format!("no scratch disk {}", device.display()))
    }
}

/// Mounts the disk.
pub fn mount_disk(backing: Backing, target: &Path) -> Result {
    let device = formatted(backing)?;
    mount(&device, target, backing.name(), MountFlags::empty(), None)
        .context(format_args!("mount {}", device.display()))
}

/// Disks that stay mounted from test to test, so that a test's own mount, which is one more of the
/// same filesystem, costs little.
#[derive(Default)]
pub struct Kept {
    mounts: Vec<(Backing, OwnedFd)>,
}

impl Kept {
    /// Keeps the disk of this test for those to come, or lets go of it where the test needs it alone.
    pub fn prepare(&mut self, test: &Test, backing: Backing) {
        if test.needs_disk_alone {
            self.mounts.retain(|(other, _)| *other != backing);
        } else if backing != Backing::Tmpfs && self.mounts.iter().all(|(b, _)| *b != backing) {
            // Where this fails the test's own mount fails as well, and the test says so.
            self.mounts
                .extend(mount_nowhere(backing).map(|mount| (backing, mount)));
        }
    }
}

/// Mounts the disk without a place in the tree.
fn mount_nowhere(backing: Backing) -> Result<OwnedFd> {
    let device = formatted(backing)?;
    let context = fsopen(backing.name(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", &device)?;
    fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Ok(fsmount(&context, flags, MountAttrFlags::empty())?)
}

/// The device of the disk, formatted now if it is blank and that is possible.
fn formatted(backing: Backing) -> Result<PathBuf> {
    let device = device(backing);
    available(backing).map_err(Failure::skip)?;
    if is_blank(&device).context("read the scratch disk")? {
        match backing {
            Backing::Ext4 => format_ext4(&device)?,
            _ => {
                return Err(Failure::skip(format!(
                    "{} is not formatted",
                    device.display()
                )))
            }
        }
    }
    Ok(device)
}

/// Whether the start of the disk, where the superblocks are, is all zero.
fn is_blank(device: &Path) -> std::io::Result<bool> {
    let mut start = [0; 4096];
    File::open(device)?.read_exact(&mut start)?;
    Ok(start.iter().all(|byte| *byte == 0))
}

fn format_ext4(device: &Path) -> Result {
    // busybox writes ext2, which the ext4 driver takes as ext4 without journal and extents.
    let output = Command::new("busybox")
        .args(["mke2fs", "-F", "-b", "4096", "-I", "256"])
        .arg(device)
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Failure::skip(format!(
            "busybox mke2fs failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
        Err(error) => Err(Failure::skip(format!("cannot run busybox mke2fs: {error}"))),
    }
}
