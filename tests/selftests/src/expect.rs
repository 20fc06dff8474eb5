// SPDX-License-Identifier: GPL-2.0-only

//! What tests say about paths: their content, their absence, what a directory lists.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use rustix::io::Errno;

use crate::check;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
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

/// The entries have the numbers that `stat(2)` shows for them in `dir`.
pub fn listed_as_shown<'a>(
    dir: &Path,
    entries: impl IntoIterator<Item = &'a sys::Entry>,
) -> Result {
    let mut table = Table::new();
    for entry in entries {
        let path = dir.join(&entry.name);
        let shown = sys::lstat(&path)?.st_ino;
        table.note(check::equal(
            format_args!("number of {path:?}"),
            entry.ino,
            shown,
        ))?;
    }
    table.finish()
}

/// The names in the entries have the numbers that `stat(2)` shows for them in `dir`.
pub fn names_listed_as_shown(dir: &Path, entries: &[sys::Entry]) -> Result {
    listed_as_shown(dir, entries.iter().filter(|entry| !entry.is_dot()))
}
