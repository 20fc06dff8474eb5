// SPDX-License-Identifier: GPL-2.0-only

//! The filesystems that layers are put on, and the places on them that one process uses.

use std::cell::Cell;
use std::cell::OnceCell;
use std::fs;
use std::fs::File;
use std::path::Path;

use anyhow::Context;
use rustix::fs::flock;
use rustix::fs::FlockOperation;
use rustix::mount::mount;
use rustix::mount::mount_change;
use rustix::mount::mount_remount;
use rustix::mount::unmount;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::UnmountFlags;

use crate::build;
use crate::script::Backing;
use crate::script::Script;
use crate::step::Step;
use crate::sys::mapped::attach;
use crate::sys::mapped::IdMap;
use crate::sys::queue::Queues;

/// Each process mounts a filesystem here for itself alone.
const BASE: &str = "/run/rovl-oracle";

/// The names of the two sides.
pub const SIDES: [&str; 2] = ["a", "b"];

pub struct Yard {
    /// Names this process on disks that others use as well.
    tag: String,
    disks: Vec<Backing>,
    /// Filesystems that were made for the present script, and mounts of their parts.
    fresh: Cell<Vec<String>>,
    /// Locks of the disks that the present script uses.
    locks: Cell<Vec<File>>,
    id_map: OnceCell<IdMap>,
    /// Made once, since to take one down takes time.
    pub queues: Queues,
}

/// How much a small filesystem holds. Something is in it before the script begins.
const SMALL: &std::ffi::CStr = c"mode=755,size=80k,nr_inodes=22";

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
            locks: Cell::new(Vec::new()),
            id_map: OnceCell::new(),
            queues: Queues::default(),
        })
    }

    /// Makes the filesystems ready for the layers of one script.
    pub fn prepare(&self, script: &Script) -> anyhow::Result<()> {
        let freezes = script.has_step(|step| *step == Step::Freeze);
        let mut backings = script.setup.backings();
        // Always in the same order, since others wait for locks as well.
        backings.sort_by_key(|backing| backing.name());
        for backing in backings {
            if backing.is_fresh() {
                self.mount_fresh(&top(backing), c"mode=755")?;
            } else {
                anyhow::ensure!(
                    self.disks.contains(&backing),
                    "there is no disk for {backing:?}"
                );
                // On a frozen filesystem no times of access are noted, whoever it is that reads.
                let is_alone = freezes && script.setup.upper_on == backing;
                self.lock(backing, is_alone)?;
            }
            if backing == Backing::Small {
                for side in SIDES {
                    self.mount_fresh(&self.home(backing, side)?, SMALL)?;
                }
            }
        }
        Ok(())
    }

    fn mount_fresh(&self, path: &str, options: &std::ffi::CStr) -> anyhow::Result<()> {
        mount("oracle", path, "tmpfs", MountFlags::empty(), options)?;
        self.remember(path);
        Ok(())
    }

    fn remember(&self, mount: &str) {
        let mut fresh = self.fresh.take();
        fresh.push(mount.to_owned());
        self.fresh.set(fresh);
    }

    fn lock(&self, disk: Backing, is_alone: bool) -> anyhow::Result<()> {
        let file = File::open(device(disk))?;
        let how = if is_alone {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::LockShared
        };
        flock(&file, how)?;
        let mut locks = self.locks.take();
        locks.push(file);
        self.locks.set(locks);
        Ok(())
    }

    /// Takes away all layers of the script.
    pub fn clear(&self, script: &Script) -> anyhow::Result<()> {
        for mount in self.fresh.take().iter().rev() {
            unmount(mount.as_str(), UnmountFlags::DETACH)?;
        }
        for backing in script.setup.backings() {
            if backing.is_disk() {
                build::remove_tree(&self.own(backing)).context("remove the layers")?;
            }
        }
        self.locks.take();
        Ok(())
    }

    fn id_map(&self) -> anyhow::Result<&IdMap> {
        if self.id_map.get().is_none() {
            let id_map = IdMap::new().context("make a map of users")?;
            let _ = self.id_map.set(id_map);
        }
        self.id_map.get().context("there is no map of users")
    }

    /// Where the home of a side can be seen with its owners mapped.
    pub fn mapped(&self, backing: Backing, side: &str) -> anyhow::Result<String> {
        let path = format!("{BASE}/mapped-{}-{side}", backing.name());
        let known = self.fresh.take();
        let is_there = known.contains(&path);
        self.fresh.set(known);
        if !is_there {
            fs::create_dir_all(&path)?;
            let copy = self.id_map()?.copy_of(&self.home(backing, side)?)?;
            attach(&copy, &path)?;
            self.remember(&path);
        }
        Ok(path)
    }

    /// Lets the mount that is there show its owners mapped.
    pub fn map(&self, point: &str) -> anyhow::Result<()> {
        let copy = self.id_map()?.copy_of(point)?;
        unmount(point, UnmountFlags::NOFOLLOW)?;
        attach(&copy, point)?;
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
