// SPDX-License-Identifier: GPL-2.0-only

//! Steps on the mount as a whole.

use std::fs::File;
use std::time::Duration;
use std::time::Instant;

use rustix::io::Errno;
use rustix::mount::mount_remount;
use rustix::mount::MountFlags;

use super::Session;
use crate::step::Step;
use crate::sys::control;
use crate::sys::SysResult;

impl Session<'_> {
    pub(super) fn step_mount(&mut self, step: &Step) -> Option<SysResult<String>> {
        let nothing = |()| String::new();
        let root = self.root.as_str();
        Some(match step {
            Step::MakeReadOnly => self.make_read_only().map(nothing),
            Step::MakeWritable => mount_remount(root, MountFlags::empty(), c"").map(nothing),
            Step::Freeze => self.freeze().map(nothing),
            _ => return None,
        })
    }

    fn make_read_only(&self) -> SysResult<()> {
        // A ring lets go of a file some time after it has told the result, and nobody can wait for that.
        let end = Instant::now() + Duration::from_millis(200);
        loop {
            match mount_remount(self.root.as_str(), MountFlags::RDONLY, c"") {
                Err(Errno::BUSY) if self.asked_ring.get() && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    fn freeze(&self) -> SysResult<()> {
        let open = |path: &str| {
            File::open(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        };
        let root = open(&self.root)?;
        let result = control::freeze(&root);
        if result.is_ok() {
            control::thaw(&root)?;
        }
        if self.upper_on.is_disk() {
            let upper = open(&self.upper)?;
            // What else uses the disk has left it alone until this script ends.
            while control::freeze(&upper) == Err(Errno::BUSY) {
                std::thread::sleep(Duration::from_millis(1));
            }
            control::thaw(&upper)?;
        }
        result
    }
}
