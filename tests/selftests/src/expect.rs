// SPDX-License-Identifier: GPL-2.0-only

//! What tests say about paths: their content, their absence, what a directory lists.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use rustix::io::Errno;

use crate::check;
use crate::check::Failure;
use crate::check::Result;
use crate::sys;

/// The file can be read and holds this text.
#[track_caller]
pub fn content(path: impl AsRef<Path>, expected: &str) -> Result {
    let path = path.as_ref();
    match fs::read(path) {
        Ok(data) => check::equal(
            format_args!("content of {path:?}"),
            String::from_utf8_lossy(&data).as_ref(),
            expected,
        ),
        Err(error) => Err(Failure::new(format!("read {path:?}: {error}"))),
    }
}

/// The file can be read and holds these bytes.
#[track_caller]
pub fn data(path: impl AsRef<Path>, expected: &[u8]) -> Result {
    let path = path.as_ref();
    match fs::read(path) {
        Ok(data) => check::bytes(format_args!("content of {path:?}"), &data, expected),
        Err(error) => Err(Failure::new(format!("read {path:?}: {error}"))),
    }
}

/// There is nothing of this name.
#[track_caller]
pub fn absent(path: impl AsRef<Path>) -> Result {
    let path = path.as_ref();
    check::errno(
        format_args!("lstat {path:?}"),
        sys::lstat(path),
        Errno::NOENT,
    )
}

/// The directory lists exactly these names, given in order, and the dots.
#[track_caller]
pub fn lists<S: AsRef<OsStr>>(path: impl AsRef<Path>, expected: &[S]) -> Result {
    let path = path.as_ref();
    let expected: Vec<_> = expected
        .iter()
        .map(|name| name.as_ref().to_owned())
        .collect();
    match sys::names(path) {
        Ok(names) => check::equal(format_args!("names in {path:?}"), names, expected),
        Err(error) => Err(Failure::new(format!("list {path:?}: {error}"))),
    }
}
