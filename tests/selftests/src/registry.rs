// SPDX-License-Identifier: GPL-2.0-only

//! What a test is: its name, the rows of the behaviour reference that it checks, and where it runs.

use clap::ValueEnum;

use crate::check;
use crate::disk;
use crate::fixture::Fixture;
use crate::kmod::Module;

/// On which implementations a test runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// On overlayfs and on rovl, with equal results.
    OnBoth,
    /// On rovl alone: the difference, explained by the reason, is the point.
    OnRovl(&'static str),
}

/// The filesystem that holds the layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Backing {
    Tmpfs,
    Ext4,
    Xfs,
}

impl Backing {
    pub fn name(self) -> &'static str {
        match self {
            Backing::Tmpfs => "tmpfs",
            Backing::Ext4 => "ext4",
            Backing::Xfs => "xfs",
        }
    }
}

pub struct Test {
    pub name: &'static str,
    /// IDs of rows and numbers of sections of the behaviour reference.
    pub rows: &'static str,
    pub runs: Runs,
    pub backings: &'static [Backing],
    /// Whether an overlay itself, and not only the filesystem below it, goes another way when its
    /// layers are on a disk.
    pub own_way_on_disks: bool,
    /// Whether nothing else may have the disk mounted.
    pub needs_disk_alone: bool,
    /// Whether the kernel must have been told to start SELinux. Elsewhere the test is left out: such a
    /// kernel runs these tests alone.
    pub needs_selinux: bool,
    /// Whether the test has to be alone on one processor, and is left out where there are more.
    pub needs_one_processor: bool,
    /// Seconds after which the test counts as hung.
    pub limit: u64,
    pub run: fn(&Fixture) -> check::Result,
}

impl Test {
    /// A test for both implementations, with its layers in tmpfs.
    pub const fn new(
        name: &'static str,
        rows: &'static str,
        run: fn(&Fixture) -> check::Result,
    ) -> Self {
        Test {
            name,
            rows,
            runs: Runs::OnBoth,
            backings: &[Backing::Tmpfs],
            own_way_on_disks: false,
            needs_disk_alone: false,
            needs_selinux: false,
            needs_one_processor: false,
            limit: 60,
            run,
        }
    }

    pub const fn rovl_only(mut self, reason: &'static str) -> Self {
        self.runs = Runs::OnRovl(reason);
        self
    }

    /// Runs the test once on each of tmpfs, ext4 and xfs.
    pub const fn on_disks_too(mut self) -> Self {
        self.backings = &[Backing::Tmpfs, Backing::Ext4, Backing::Xfs];
        self
    }

    /// The same for a test in which an overlay goes another way on a disk than in tmpfs: it clones,
    /// freezes, syncs, writes past the page cache.
    pub const fn on_disks_in_their_way(mut self) -> Self {
        self.own_way_on_disks = true;
        self.on_disks_too()
    }

    /// Runs the test on ext4 alone, which has what it is about.
    pub const fn on_ext4(mut self) -> Self {
        self.backings = &[Backing::Ext4];
        self.own_way_on_disks = true;
        self
    }

    /// Runs the test where the filesystem of upper can be frozen.
    pub const fn on_freezable_disks(mut self) -> Self {
        self.backings = &[Backing::Ext4, Backing::Xfs];
        self.own_way_on_disks = true;
        self
    }

    /// Sees to it that the disk is not mounted but by the test.
    pub const fn with_disk_alone(mut self) -> Self {
        self.needs_disk_alone = true;
        self
    }

    /// Runs the test only where SELinux is on.
    pub const fn with_selinux(mut self) -> Self {
        self.needs_selinux = true;
        self
    }

    /// Runs the test only where there is one processor. Code that is changed while it runs, as tracing
    /// does it, may be seen half changed by another emulated processor, and the kernel dies of it.
    pub const fn with_one_processor(mut self) -> Self {
        self.needs_one_processor = true;
        self
    }

    pub const fn limit(mut self, seconds: u64) -> Self {
        self.limit = seconds;
        self
    }
}

/// One test on one type and one backing filesystem.
pub struct Case {
    pub test: &'static Test,
    pub module: Module,
    /// Whether the type is rovl's, under whichever name.
    pub is_rovl: bool,
    pub backing: Backing,
}

impl Case {
    /// Whether the test has anything to say about this implementation.
    pub fn applies(&self) -> bool {
        self.is_rovl || !matches!(self.test.runs, Runs::OnRovl(_))
    }

    /// Why the test cannot run, if so.
    pub fn obstacle(&self) -> Option<String> {
        disk::available(self.backing).err()
    }

    /// Whether the overlay's own code does here what it does in tmpfs already.
    pub fn is_repeated(&self) -> bool {
        self.backing != Backing::Tmpfs && !self.test.own_way_on_disks && !self.test.needs_disk_alone
    }

    /// `<type>.<test>`, and `@<backing>` unless that is tmpfs.
    pub fn name(&self) -> String {
        let fs_type = self.module.fs_type();
        match self.backing {
            Backing::Tmpfs => format!("{fs_type}.{}", self.test.name),
            other => format!("{fs_type}.{}@{}", self.test.name, other.name()),
        }
    }
}
