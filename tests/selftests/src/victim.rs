// SPDX-License-Identifier: GPL-2.0-only

//! A file of an overlay that is about to be changed: one of the upper layer, and one of the lower layer, which
//! is copied up then.

use std::path::PathBuf;

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;

use crate::check;
use crate::check::Result;
use crate::expect::data;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::layer::Layer;
use crate::sys;

/// How long the file is at first: some pages, and a part of one.
pub const SIZE: usize = 3 * 4096 + 100;

/// What is in the file at first.
pub fn old_data() -> Vec<u8> {
    sys::pattern(SIZE, 21)
}

/// A file of an overlay, with [`old_data`] at first.
pub struct Victim<'a> {
    pub fx: &'a Fixture,
    pub ov: &'a Mounted,
    pub upper: &'a Layer,
    pub name: &'static str,
}

impl Victim<'_> {
    pub fn path(&self) -> PathBuf {
        self.ov.join(self.name)
    }

    pub fn open(&self, flags: OFlags) -> Result<OwnedFd> {
        Ok(sys::open(self.path(), flags)?)
    }

    pub fn file(&self) -> Result<std::fs::File> {
        Ok(self.open(OFlags::RDWR)?.into())
    }

    /// The overlay and the upper layer both have this data, and the overlay tells its size.
    #[track_caller]
    pub fn has(&self, expected: &[u8]) -> Result {
        let path = self.path();
        check::equal("size", sys::stat(&path)?.st_size, expected.len() as i64)?;
        data(path, expected)?;
        data(self.upper.join(self.name), expected)
    }
}

/// Runs the test with a file of the upper layer, and with one of the lower layer, which has to stay as it
/// is. There is also a lower file "source", as long, with `sys::pattern(SIZE, 51)`.
pub fn each(fx: &Fixture, test: fn(&Victim<'_>) -> Result) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("up", old_data())?;
    lower.file("low", old_data())?;
    lower.file("source", sys::pattern(SIZE, 51))?;
    let ov = fx.upper(&upper, &[&lower])?;
    for name in ["up", "low"] {
        let victim = Victim {
            fx,
            ov: &ov,
            upper: &upper,
            name,
        };
        check::within(format_args!("file {name:?}"), test(&victim))?;
    }
    data(lower.join("low"), &old_data())
}
