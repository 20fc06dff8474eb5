// SPDX-License-Identifier: GPL-2.0-only

//! The filesystems that layers are put on, and the places on them that one process uses.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use anyhow::Context;
use rustix::mount::mount;
use rustix::mount::mount_change;
use rustix::mount::mount_remount;
use rustix::mount::unmount;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::UnmountFlags;

use crate::build;
use crate::script::Backing;

/// Each process mounts a filesystem here for itself alone.
const BASE: &str = "/run/rovl-oracle";

/// The names of the two sides.
pub const SIDES: [&str; 2] = ["a", "b"];

pub struct Yard {
    /// Names this process on disks that others use as well.
    tag: String,
    disks: Vec<Backing>,
    fresh: Cell<Vec<Backing>>,
}

/// Whether layers can be put on this filesystem here.
pub fn is_there(backing: Backing) -> bool {
    backing.is_fresh() || Path::new(&device(backing)).exists()
}

fn device(backing: Backing) -> String {
    format!("/dev/disk/rovl/{}", backing.name())
}

fn top(backing: Backing) -> String {
    format!("{BASE}/{}", backing.name())
}

/// What the mount point of a side is in.
fn around(side: &str) -> String {
    format!("{BASE}/around-{side}")
}

/// Makes a mount point that a path can lead out of, by a link to `..`, but not to any effect.
fn make_point(around: &str) -> anyhow::Result<()> {
    fs::create_dir(around)?;
    mount("oracle", around, "tmpfs", MountFlags::empty(), c"mode=755")?;
    fs::create_dir(format!("{around}/mnt"))?;
    mount_remount(around, MountFlags::RDONLY, c"")?;
    Ok(())
}

impl Yard {
    /// Takes mounts of its own, and mounts the disks that there are.
    pub fn new() -> anyhow::Result<Self> {
        rovl_kit::sys::unshare_mounts().context("unshare the mounts")?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).context("make all mounts private")?;
        fs::create_dir_all(BASE)?;
        mount("tmpfs", BASE, "tmpfs", MountFlags::empty(), c"mode=755")?;
        let mut disks = Vec::new();
        for backing in Backing::ALL {
            fs::create_dir(top(backing))?;
            if backing.is_fresh() || !is_there(backing) {
                continue;
            }
            mount(
                device(backing),
                top(backing),
                backing.name(),
                MountFlags::empty(),
                None,
            )
            .with_context(|| format!("mount {}", device(backing)))?;
            disks.push(backing);
        }
        for side in SIDES {
            make_point(&around(side))?;
        }
        Ok(Yard {
            tag: std::process::id().to_string(),
            disks,
            fresh: Cell::new(Vec::new()),
        })
    }

    /// Makes a filesystem ready for the layers of one script.
    pub fn prepare(&self, backings: &[Backing]) -> anyhow::Result<()> {
        for backing in backings {
            if backing.is_fresh() {
                mount(
                    "oracle",
                    top(*backing),
                    "tmpfs",
                    MountFlags::empty(),
                    c"mode=755",
                )?;
                let mut fresh = self.fresh.take();
                fresh.push(*backing);
                self.fresh.set(fresh);
            } else {
                anyhow::ensure!(
                    self.disks.contains(backing),
                    "there is no disk for {backing:?}"
                );
            }
        }
        Ok(())
    }

    /// Takes away all layers of the script.
    pub fn clear(&self, backings: &[Backing]) -> anyhow::Result<()> {
        for backing in self.fresh.take() {
            unmount(top(backing), UnmountFlags::DETACH)?;
        }
        for backing in backings.iter().filter(|backing| !backing.is_fresh()) {
            build::remove_tree(&self.own(*backing)).context("remove the layers")?;
        }
        Ok(())
    }

    fn own(&self, backing: Backing) -> String {
        if backing.is_fresh() {
            top(backing)
        } else {
            format!("{}/{}", top(backing), self.tag)
        }
    }

    /// A directory on the filesystem for one side.
    pub fn home(&self, backing: Backing, side: &str) -> anyhow::Result<String> {
        let path = format!("{}/{side}", self.own(backing));
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// The mount point of one side.
    pub fn point(&self, side: &str) -> String {
        format!("{}/mnt", around(side))
    }
}
