// SPDX-License-Identifier: GPL-2.0-only

//! The file with the kernel's log: where the caller wants it, else a temporary one that stays only
//! after a failure.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempPath;

/// The log while it is written.
#[derive(Debug)]
pub struct LogFile {
    writer: BufWriter<File>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Named(PathBuf),
    Temporary(TempPath),
}

impl LogFile {
    /// Makes the file, and the directory it is in.
    pub fn create(path: Option<&Path>) -> Result<Self> {
        let (file, place) = match path {
            Some(path) => {
                let failed = || format!("cannot write {}", path.display());
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).with_context(failed)?;
                }
                (
                    File::create(path).with_context(failed)?,
                    Place::Named(path.to_owned()),
                )
            }
            None => {
                let file = tempfile::Builder::new()
                    .prefix("rovl-guest.")
                    .suffix(".log")
                    .tempfile();
                let (file, path) = file
                    .context("cannot make a file for the kernel's log")?
                    .into_parts();
                (file, Place::Temporary(path))
            }
        };
        Ok(Self {
            writer: BufWriter::new(file),
            place,
        })
    }

    pub fn writer(&mut self) -> &mut dyn Write {
        &mut self.writer
    }

    /// Ends the log and returns its name. A temporary one stays only with `keep`.
    pub fn close(mut self, keep: bool) -> Result<String> {
        self.writer
            .flush()
            .context("cannot write the kernel's log")?;
        let path = match self.place {
            Place::Named(path) => path,
            Place::Temporary(path) if keep => {
                path.keep().context("cannot keep the kernel's log")?
            }
            Place::Temporary(path) => path.to_path_buf(),
        };
        Ok(path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_log_stays_only_when_kept() {
        for keep in [false, true] {
            let mut log = LogFile::create(None).unwrap();
            log.writer().write_all(b"line\n").unwrap();
            let name = log.close(keep).unwrap();
            assert_eq!(
                fs::read_to_string(&name).ok().as_deref(),
                keep.then_some("line\n")
            );
            let _ = fs::remove_file(name);
        }
    }

    #[test]
    fn a_named_log_always_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/log");
        LogFile::create(Some(&path)).unwrap().close(false).unwrap();
        assert!(path.exists());
    }
}
