// SPDX-License-Identifier: GPL-2.0-only

//! Block devices: those of the device mapper, by its ioctls, and loop devices.

#![expect(unsafe_code, reason = "these ioctls have no safe interface")]

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Error;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

/// `struct dm_ioctl` and where its fields are.
const HEAD: usize = 312;
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const FLAGS: usize = 28;
const DEVICE: usize = 40;
const NAME: usize = 48;
const NAME_ROOM: usize = 128;

/// Size of `struct dm_target_spec` and the place of the target's name in it.
const SPEC: usize = 40;
const SPEC_TYPE: usize = 24;

/// `_IOWR(0xfd, number, struct dm_ioctl)`, without the number.
const REQUEST: libc::c_ulong = 0xc138_fd00;

const CREATE: u8 = 3;
const REMOVE: u8 = 4;
const SUSPEND: u8 = 6;
const LOAD: u8 = 9;
const MESSAGE: u8 = 14;

const FLAG_SUSPEND: u32 = 1 << 1;
const FLAG_SKIP_LOCKFS: u32 = 1 << 10;
const FLAG_NOFLUSH: u32 = 1 << 11;

/// A device of the device mapper, removed when this goes away.
pub struct Mapped {
    control: File,
    name: String,
    path: PathBuf,
    sectors: u64,
}

impl Mapped {
    /// Makes a device with one target: its type and its arguments.
    pub fn new(name: &str, sectors: u64, target: &str, arguments: &str) -> Result<Self> {
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/mapper/control")
            .context("open the device mapper's control")?;
        let mut mapped = Mapped {
            control,
            name: name.to_owned(),
            path: PathBuf::new(),
            sectors,
        };
        let answer = mapped.call(CREATE, 0, 0, &[])?;
        let number = u64::from_ne_bytes(answer[DEVICE..DEVICE + 8].try_into()?);
        let minor = (number & 0xff) | ((number >> 12) & 0xf_ff00);
        mapped.path = PathBuf::from(format!("/dev/dm-{minor}"));
        mapped.load(target, arguments)?;
        mapped.call(SUSPEND, 0, 0, &[])?;
        // The kernel makes the node by a thread of its own.
        for _ in 0..100 {
            if mapped.path.exists() {
                return Ok(mapped);
            }
            sleep(Duration::from_millis(20));
        }
        anyhow::bail!("{} does not appear", mapped.path.display())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts another target in the place of the present one at once: what waits to be written is
    /// not written before.
    pub fn switch(&self, target: &str, arguments: &str) -> Result<()> {
        self.load(target, arguments)?;
        let flags = FLAG_SUSPEND | FLAG_SKIP_LOCKFS | FLAG_NOFLUSH;
        self.call(SUSPEND, flags, 0, &[])?;
        self.call(SUSPEND, FLAG_SKIP_LOCKFS | FLAG_NOFLUSH, 0, &[])?;
        Ok(())
    }

    /// Sends a message to the target.
    pub fn message(&self, text: &str) -> Result<()> {
        let mut data = vec![0; 8];
        data.extend_from_slice(text.as_bytes());
        data.push(0);
        self.call(MESSAGE, 0, 0, &data)?;
        Ok(())
    }

    fn load(&self, target: &str, arguments: &str) -> Result<()> {
        let mut data = vec![0; SPEC];
        data[8..16].copy_from_slice(&self.sectors.to_ne_bytes());
        data[SPEC_TYPE..SPEC_TYPE + target.len()].copy_from_slice(target.as_bytes());
        data.extend_from_slice(arguments.as_bytes());
        data.push(0);
        data.resize(data.len().next_multiple_of(8), 0);
        let length = u32::try_from(data.len())?;
        data[20..24].copy_from_slice(&length.to_ne_bytes());
        self.call(LOAD, 0, 1, &data)
            .with_context(|| format!("load the target {target} {arguments}"))?;
        Ok(())
    }

    fn call(&self, number: u8, flags: u32, targets: u32, data: &[u8]) -> Result<Vec<u8>> {
        ensure!(self.name.len() < NAME_ROOM);
        let mut buffer = vec![0_u8; HEAD];
        let mut word = |at: usize, value: u32| {
            buffer[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        word(0, 4);
        // Room for what some commands answer.
        word(DATA_SIZE, u32::try_from(HEAD + data.len() + 4096)?);
        word(DATA_START, HEAD as u32);
        word(TARGET_COUNT, targets);
        word(FLAGS, flags);
        buffer[NAME..NAME + self.name.len()].copy_from_slice(self.name.as_bytes());
        buffer.extend_from_slice(data);
        buffer.resize(HEAD + data.len() + 4096, 0);
        let request = REQUEST | libc::c_ulong::from(number);
        // SAFETY: the buffer is as long as its head says, and the kernel writes no more than that.
        let result =
            unsafe { libc::ioctl(self.control.as_raw_fd(), request as _, buffer.as_mut_ptr()) };
        if result < 0 {
            let error = Error::last_os_error();
            return Err(error).with_context(|| format!("device mapper, command {number}"));
        }
        Ok(buffer)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Whoever looked at the device last, such as a filesystem, may be about to close it.
        for _ in 0..100 {
            if self.call(REMOVE, 0, 0, &[]).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

const LOOP_SET_FD: libc::c_ulong = 0x4c00;
const LOOP_CLR_FD: libc::c_ulong = 0x4c01;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;

/// A file as a block device, freed when this goes away.
pub struct Loop {
    device: File,
    path: PathBuf,
}

impl Loop {
    pub fn new(file: &File) -> Result<Self> {
        let control = File::open("/dev/loop-control").context("open /dev/loop-control")?;
        // SAFETY: this command has no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
        ensure!(number >= 0, "no loop device: {}", Error::last_os_error());
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let writable = OpenOptions::new().read(true).write(true).open(&path)?;
        // SAFETY: the argument of this command is a descriptor.
        let result =
            unsafe { libc::ioctl(writable.as_raw_fd(), LOOP_SET_FD as _, file.as_raw_fd()) };
        ensure!(result == 0, "{path:?}: {}", Error::last_os_error());
        // What is open for writing cannot be mounted.
        let device = File::open(&path)?;
        Ok(Loop { device, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // SAFETY: this command has no argument.
        unsafe { libc::ioctl(self.device.as_raw_fd(), LOOP_CLR_FD as _) };
    }
}

/// The length of a block device or file in sectors of 512 bytes.
pub fn sectors(path: &Path) -> Result<u64> {
    let end = File::open(path)?.seek(SeekFrom::End(0))?;
    Ok(end / 512)
}
