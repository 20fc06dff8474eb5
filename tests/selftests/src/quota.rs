// SPDX-License-Identifier: GPL-2.0-only

//! Limits on what users may take up of the ext4 disk.

#![expect(unsafe_code, reason = "quotactl(2) has no safe interface")]

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use rustix::mount::mount_remount;
use rustix::mount::MountFlags;

use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::disk;
use crate::fixture::Fixture;
use crate::registry::Backing;

/// The number of the format that `quota(5)` calls `vfsv1`.
const VFS_V1: i32 = 4;

/// What one user may have.
pub struct Limits {
    pub bytes: u64,
    pub objects: u64,
}

/// The limits of the disk, which are gone when this is dropped.
pub struct Quota {
    device: CString,
}

impl Quota {
    /// Begins to count. Users have no limits yet.
    pub fn start() -> Result<Self> {
        let device = disk::device_path(Backing::Ext4).ok_or_else(|| Failure::skip("no disk"))?;
        let device = CString::new(device.as_os_str().as_bytes()).context("name of the disk")?;
        mount_remount(Fixture::disk_path(), MountFlags::empty(), c"usrquota")
            .context("remount the disk")?;
        // A tree without users: the magic number and the version, times of grace, two blocks.
        let mut file = vec![0; 2048];
        for (at, word) in [
            (0, 0xd9c0_1f11_u32),
            (4, 1),
            (8, 604_800),
            (12, 604_800),
            (20, 2),
        ] {
            file[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let path = Fixture::disk_path().join("aquota.user");
        fs::write(&path, file)?;
        let path = CString::new(path.as_os_str().as_bytes()).context("name of the file")?;
        let quota = Quota { device };
        quota
            .control(libc::Q_QUOTAON, VFS_V1 as u32, path.as_ptr().cast_mut())
            .context("turn quotas on")?;
        Ok(quota)
    }

    /// Limits what this user may have.
    pub fn limit(&self, user: u32, limits: &Limits) -> Result {
        // SAFETY: zeros are valid for all fields.
        let mut block: libc::dqblk = unsafe { std::mem::zeroed() };
        block.dqb_bhardlimit = limits.bytes / 1024;
        block.dqb_ihardlimit = limits.objects;
        block.dqb_valid = libc::QIF_LIMITS;
        self.control(libc::Q_SETQUOTA, user, (&raw mut block).cast())
            .context("set the limit")
    }

    fn control(
        &self,
        command: i32,
        id: u32,
        data: *mut libc::c_char,
    ) -> std::result::Result<(), Errno> {
        const SHIFT: u32 = 8;
        let command = (command << SHIFT) | libc::USRQUOTA;
        // SAFETY: the callers give what the command reads.
        match unsafe { libc::quotactl(command, self.device.as_ptr(), id as i32, data) } {
            0 => Ok(()),
            _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = self.control(libc::Q_QUOTAOFF, 0, std::ptr::null_mut());
    }
}
