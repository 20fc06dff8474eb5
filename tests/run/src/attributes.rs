// SPDX-License-Identifier: GPL-2.0-only
//! Reads extended attributes: those that belong to an object, and those by which an overlay marks what is on a layer.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

use crate::listing::Attributes;
use crate::walk::View;

const PREFIX: &[u8] = b"trusted.overlay.";

/// Labels of a host's security modules, which are nothing of the tree's own.
const LABELS: [&[u8]; 4] = [
    b"security.selinux",
    b"security.SMACK64",
    b"security.ima",
    b"security.evm",
];

/// What an overlay's attributes say of an object on a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Nothing of the directory shows through from below.
    pub opaque: bool,
    /// The file stands for a name that is gone, if it is empty.
    pub whiteout: bool,
}

/// Where the object is, as a path that leads to it without the length of its own, and without following it.
pub fn place(directory: impl AsFd, name: &[u8]) -> PathBuf {
    let number = directory.as_fd().as_raw_fd();
    PathBuf::from(format!("/proc/self/fd/{number}")).join(OsStr::from_bytes(name))
}

/// # Errors
///
/// Fails as well where a layer's object has an attribute that gives it content or a place from elsewhere: nothing here follows.
pub fn read(object: &Path, view: View) -> Result<(Attributes, Marks)> {
    let mut attributes = Attributes::new();
    let mut marks = Marks::default();
    for name in names(object)? {
        if LABELS.contains(&name.as_slice()) {
            continue;
        }
        let value = value(object, &name)?;
        match name.strip_prefix(PREFIX) {
            Some(mark) if view == View::Layer => match mark {
                // A longer value means nothing.
                b"opaque" => marks.opaque = value == b"y",
                b"whiteout" => marks.whiteout = true,
                b"redirect" | b"metacopy" => bail!("it has {}", name.escape_ascii()),
                _ => {}
            },
            _ => {
                attributes.insert(name, value);
            }
        }
    }
    Ok((attributes, marks))
}

fn names(object: &Path) -> Result<Vec<Vec<u8>>> {
    let list = match whole(|buffer| llistxattr(object, buffer)) {
        Ok(list) => list,
        Err(Errno::OPNOTSUPP) => Vec::new(),
        Err(error) => return Err(error).context("list attributes"),
    };
    let names = list.split(|&byte| byte == 0);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

fn value(object: &Path, name: &[u8]) -> Result<Vec<u8>> {
    whole(|buffer| lgetxattr(object, name, buffer))
        .with_context(|| format!("read attribute {}", name.escape_ascii()))
}

/// All that a call gives, with as much room as it wants.
fn whole(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 2, 0),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_at_first_is_read_whole() {
        let value = [7_u8; 1000];
        let read = |buffer: &mut [u8]| {
            let room = buffer.get_mut(..value.len()).ok_or(Errno::RANGE)?;
            room.copy_from_slice(&value);
            Ok(value.len())
        };
        assert_eq!(whole(read).unwrap(), value);
    }
}
