// SPDX-License-Identifier: GPL-2.0-only

//! Mounts that show other owners than there are on disk.

#![expect(unsafe_code, reason = "the calls have no safe interface")]

use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::process::Command;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::move_mount;
use rustix::mount::open_tree;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;

use super::check;
use super::SysResult;

/// Two users change places, and those from 2000 on are left out.
const MAP: &str = "0 0 1000\n1000 1001 1\n1001 1000 1\n1002 1002 998\n";

/// A user namespace with that map, which a process keeps.
pub struct IdMap {
    keeper: Child,
    namespace: File,
}

impl IdMap {
    pub fn new() -> std::io::Result<Self> {
        // Busybox is what the guest's commands are.
        let mut keeper = Command::new("busybox")
            .args(["unshare", "-U", "busybox", "sleep", "100000"])
            .spawn()?;
        let own = fs::read_link("/proc/self/ns/user")?;
        let path = format!("/proc/{}/ns/user", keeper.id());
        while fs::read_link(&path)? == own {
            if keeper.try_wait()?.is_some() {
                return Err(std::io::Error::other("cannot make a user namespace"));
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", keeper.id()), MAP)?;
        }
        let namespace = File::open(path)?;
        Ok(IdMap { keeper, namespace })
    }

    /// A copy of the mount at `path`, mapped and attached nowhere.
    pub fn copy_of(&self, path: &str) -> SysResult<OwnedFd> {
        /// `struct mount_attr`.
        #[repr(C)]
        struct MountAttr {
            set: u64,
            clear: u64,
            propagation: u64,
            user_namespace: u64,
        }
        const IDMAP: u64 = 0x0010_0000;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let copy = open_tree(CWD, path, flags)?;
        let attr = MountAttr {
            set: IDMAP,
            clear: 0,
            propagation: 0,
            user_namespace: u64::try_from(self.namespace.as_raw_fd()).map_err(|_| Errno::BADF)?,
        };
        // SAFETY: the path is empty, and the structure is as large as is said.
        check(unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                copy.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                &raw const attr,
                size_of::<MountAttr>(),
            )
        } as isize)?;
        Ok(copy)
    }
}

/// Attaches a mount at `path`.
pub fn attach(mount: &OwnedFd, path: &str) -> SysResult<()> {
    move_mount(
        mount,
        "",
        CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

impl Drop for IdMap {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
