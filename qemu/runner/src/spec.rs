// SPDX-License-Identifier: GPL-2.0-only

//! The small languages inside some of the options: files, disks and sizes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{bail, ensure, Context, Error, Result};

/// virtio-blk carries at most this many bytes of a disk's serial, which is where the guest reads
/// its name.
const DISK_NAME_MAX: usize = 20;

/// A host file or directory and its place in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    pub host: PathBuf,
    pub guest: PathBuf,
    /// Permission bits that replace those of the host's file.
    pub mode: Option<u32>,
}

impl FromStr for FileSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let (Some(host), Some(guest), mode, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            bail!("expected HOST:GUEST[:MODE]");
        };
        ensure!(!host.is_empty(), "the host's path is empty");
        ensure!(guest.starts_with('/'), "the guest's path must be absolute");
        let mode = match mode {
            Some(mode) => Some(u32::from_str_radix(mode, 8).context("the mode must be octal")?),
            None => None,
        };
        ensure!(
            mode.is_none_or(|mode| mode <= 0o7777),
            "the mode is greater than 7777"
        );
        Ok(Self {
            host: host.into(),
            guest: guest.into(),
            mode,
        })
    }
}

/// What the guest may do to a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskAccess {
    Write,
    ReadOnly,
    /// The guest writes, and its writes are forgotten.
    Snapshot,
}

/// A disk image and its name in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    pub name: String,
    pub path: PathBuf,
    pub access: DiskAccess,
}

impl FromStr for DiskSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (path, access) = match text.rsplit_once(':') {
            None => (text, DiskAccess::Write),
            Some((path, "ro")) => (path, DiskAccess::ReadOnly),
            Some((path, "snapshot")) => (path, DiskAccess::Snapshot),
            Some(_) => bail!("expected FILE, FILE:ro or FILE:snapshot"),
        };
        let stem = Path::new(path)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        Ok(Self {
            name: disk_name(stem)?,
            path: path.into(),
            access,
        })
    }
}

/// An empty disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScratchSpec {
    pub name: String,
    pub size: Size,
}

impl FromStr for ScratchSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, size) = text.split_once(':').context("expected NAME:SIZE")?;
        Ok(Self {
            name: disk_name(name)?,
            size: size.parse()?,
        })
    }
}

/// Checks that a name survives the way through QEMU's options and the disk's serial.
fn disk_name(name: &str) -> Result<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    ensure!(
        !name.is_empty() && name.bytes().all(plain),
        "a disk's name is made of letters, digits and -_.+"
    );
    ensure!(
        name.len() <= DISK_NAME_MAX,
        "the disk's name {name} is longer than {DISK_NAME_MAX} bytes"
    );
    Ok(name.to_owned())
}

/// A number of bytes, written with an optional suffix K, M, G or T.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
            Some(b'T' | b't') => (&text[..text.len() - 1], 40),
            _ => (text, 0),
        };
        let number: u64 = digits
            .parse()
            .context("expected a number with an optional K, M, G or T")?;
        let bytes = number
            .checked_mul(1 << shift)
            .context("the size is too big")?;
        ensure!(bytes > 0, "the size is zero");
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_specs() {
        let plain: FileSpec = "a:/b".parse().unwrap();
        assert_eq!(
            plain,
            FileSpec {
                host: "a".into(),
                guest: "/b".into(),
                mode: None
            }
        );
        for wrong in ["a", "a:b", ":/b", "a:/b:9", "a:/b:77777", "a:/b:755:x"] {
            assert!(wrong.parse::<FileSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn disk_specs() {
        let disk: DiskSpec = "/x/base.ext4".parse().unwrap();
        assert_eq!(
            (disk.name.as_str(), disk.access),
            ("base", DiskAccess::Write)
        );
        assert_eq!(
            "base.ext4:ro".parse::<DiskSpec>().unwrap().access,
            DiskAccess::ReadOnly
        );
        for wrong in [
            "",
            "a.img:rw",
            "/",
            "a,b.img",
            "a-name-that-is-too-long.img",
        ] {
            assert!(wrong.parse::<DiskSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!("4096".parse::<Size>().unwrap(), Size(4096));
        assert_eq!("3k".parse::<Size>().unwrap(), Size(3072));
        for wrong in ["", "G", "0", "0M", "1X", "-1", "99999999999T"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
