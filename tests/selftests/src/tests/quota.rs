// SPDX-License-Identifier: GPL-2.0-only

//! Quota and reserved blocks of the filesystem of upper: the mounter's privileges get nobody around them.

use rustix::fs::statvfs;
use rustix::fs::FallocateFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::mount_remount;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::disk;
use crate::fixture::Fixture;
use crate::rawsys;
use crate::registry::Backing;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("quota_of_users", "F22", users)
        .only_on(&[Backing::Xfs])
        .with_disk_alone(),
    Test::new("reserved_blocks_stay_reserved", "F22", reserved)
        .only_on(&[Backing::Ext4])
        .with_disk_alone(),
];

const USER: u32 = 1000;

/// A limit for the number of files, and for their blocks, holds for what a user makes through the overlay.
fn users(fx: &Fixture) -> Result {
    let point = Fixture::disk_path();
    fx.unmount(&point).context("unmount the disk")?;
    let device = disk::device_path(fx.backing()).ok_or_else(|| Failure::new("no disk"))?;
    mount(
        &device,
        &point,
        fx.backing().name(),
        MountFlags::empty(),
        c"uquota",
    )
    .context("mount with quota")?;
    fx.adopt(&point);
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.dir("d")?.chmod("d", 0o777)?.file("full", "")?;
    upper.chown("full", USER, USER)?;
    lower
        .file("l", vec![1; 1_000_000])?
        .chown("l", USER, USER)?;
    let ov = fx.upper(&upper, &[&lower])?;
    let disk = sys::open_dir(&point)?;
    let used = rawsys::quota(&disk, USER)?;
    let limits = rawsys::Quota {
        block_limit: 2048,
        file_limit: used.files + 5,
        ..used
    };
    rawsys::set_quota(&disk, USER, &limits)?;

    let mut made = 0;
    let error = loop {
        let path = ov.join(format!("d/{made}"));
        match sys::as_user(USER, USER, &[], || sys::mkdir(&path, 0o755))? {
            Ok(()) if made < 50 => made += 1,
            Ok(()) => return Err(Failure::new("there is no limit")),
            Err(error) => break error,
        }
    };
    check::equal("files", (made, error), (5, Errno::DQUOT))?;

    // The limit is in KiB, and some of it is in use.
    let data = vec![7; 3_000_000];
    let written = sys::as_user(USER, USER, &[], || {
        let fd = sys::open(ov.join("full"), OFlags::WRONLY)?;
        match rustix::io::write(&fd, &data) {
            Ok(first) if first < data.len() => rustix::io::write(&fd, &data[first..]),
            other => other,
        }
    })?;
    check::errno("write", written, Errno::DQUOT)?;
    let unlimited = rawsys::Quota {
        block_limit: 0,
        file_limit: 0,
        ..used
    };
    rawsys::set_quota(&disk, USER, &unlimited)?;
    sys::as_user(USER, USER, &[], || sys::mkdir(&ov.join("d/more"), 0o755))??;
    Ok(())
}

/// Who may have the reserved blocks is one user, and not root. Root can take them all the same, by a
/// capability that those who come through an overlay do not have.
fn reserved(fx: &Fixture) -> Result {
    let point = Fixture::disk_path();
    mount_remount(&point, MountFlags::empty(), c"resuid=12345,resgid=12345")
        .context("remount with another owner of what is reserved")?;
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("full", "")?.file("bare", "")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let room = statvfs(&point)?;
    if room.f_bfree == room.f_bavail {
        return Err(Failure::skip("the disk has no reserved blocks"));
    }
    let beyond = (room.f_bavail + (room.f_bfree - room.f_bavail) / 2) * room.f_frsize;
    let fill = |path: std::path::PathBuf| {
        let fd = sys::open(path, OFlags::WRONLY)?;
        let result = rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, beyond);
        rustix::fs::ftruncate(&fd, 0)?;
        result
    };
    check::equal("root without overlay", fill(upper.join("bare")), Ok(()))?;
    rustix::fs::sync();
    check::errno("root", fill(ov.join("full")), Errno::NOSPC)
}
