// SPDX-License-Identifier: GPL-2.0-only

//! The files and sockets that the runner shares with QEMU.
//!
//! What the guest sends goes to unlinked files that the runner follows, because QEMU drops what a
//! full pipe or socket does not take. Everything temporary is such a file, handed to QEMU by its
//! descriptor, so that even a killed runner leaves nothing behind.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use rustix::io::{fcntl_setfd, FdFlags};

/// An unlinked file.
pub fn anonymous_file() -> Result<File> {
    tempfile::tempfile().context("cannot make a temporary file")
}

/// Lets QEMU inherit the file, and returns the path under which it can open it.
pub fn lend(file: impl AsFd) -> Result<String> {
    let file = file.as_fd();
    fcntl_setfd(file, FdFlags::empty()).context("cannot share a file with QEMU")?;
    Ok(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Follows a file that grows.
#[derive(Debug)]
pub struct Tail {
    file: File,
    offset: u64,
}

impl Tail {
    pub fn new(file: File) -> Self {
        Self { file, offset: 0 }
    }

    /// What has been added since the last call.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 16384];
        loop {
            match self.file.read_at(&mut buffer, self.offset)? {
                0 => return Ok(bytes),
                count => {
                    bytes.extend_from_slice(&buffer[..count]);
                    self.offset += count as u64;
                }
            }
        }
    }
}

/// The runner's end of the command's port.
#[derive(Debug)]
pub enum Console {
    /// The command only writes.
    Output(Tail),
    /// The command is connected to a terminal, whose user reads on as fast as it writes.
    Terminal(UnixStream),
}

/// QEMU's end of the command's port.
pub enum ConsoleEnd {
    Output(File),
    Terminal(UnixStream),
}

impl Console {
    pub fn new(interactive: bool) -> Result<(Self, ConsoleEnd)> {
        if interactive {
            let (ours, theirs) = UnixStream::pair().context("cannot make a socket")?;
            ours.set_nonblocking(true)?;
            return Ok((Self::Terminal(ours), ConsoleEnd::Terminal(theirs)));
        }
        let file = anonymous_file()?;
        Ok((
            Self::Output(Tail::new(file.try_clone()?)),
            ConsoleEnd::Output(file),
        ))
    }
}

impl ConsoleEnd {
    /// The port as QEMU opens it.
    pub fn chardev(&self) -> Result<String> {
        Ok(match self {
            Self::Output(file) => format!("file,id=console,path={}", lend(file)?),
            Self::Terminal(socket) => {
                lend(socket)?;
                format!("socket,id=console,fd={}", socket.as_raw_fd())
            }
        })
    }
}
