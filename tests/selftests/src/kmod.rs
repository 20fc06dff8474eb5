// SPDX-License-Identifier: GPL-2.0-only

//! The modules that provide the filesystem types.

use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use rustix::io::Errno;

/// `O_NONBLOCK`: fail at once when the module is in use.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// A filesystem type and the module file that provides it.
#[derive(Debug, Clone)]
pub struct Module {
    fs_type: String,
    file: PathBuf,
}

impl Module {
    /// The module has the name of the type.
    pub fn new(fs_type: &str, directory: &Path) -> Self {
        Module {
            fs_type: fs_type.to_owned(),
            file: directory.join(format!("{fs_type}.ko")),
        }
    }

    pub fn fs_type(&self) -> &str {
        &self.fs_type
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether rovl provides the type: by the name rovl, or as the drop-in, by the name overlay.
    /// That is told from overlayfs by the mark that the kernel puts on modules from elsewhere.
    pub fn is_rovl(&self) -> bool {
        let path = format!("/sys/module/{}/taint", self.fs_type);
        let taint = fs::read_to_string(path).unwrap_or_default();
        self.fs_type != "overlay" || taint.contains('O')
    }

    /// The names of this type, and of the other one of the two that layers can be mounted with, if that
    /// is here too.
    pub fn both_types(&self) -> Vec<String> {
        let other = match &*self.fs_type {
            "overlay" => "rovl",
            _ => "overlay",
        };
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        let other = Module::new(other, directory);
        let mut types = vec![self.fs_type.clone()];
        if other.is_available() && other.ensure_loaded().is_ok() {
            types.push(other.fs_type);
        }
        types
    }

    pub fn is_available(&self) -> bool {
        self.is_registered() || self.file.exists()
    }

    pub fn is_registered(&self) -> bool {
        let types = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        types
            .lines()
            .any(|line| line.split_whitespace().last() == Some(&self.fs_type))
    }

    /// Whether the type comes from a loaded module whose file is there to load it again.
    pub fn can_reload(&self) -> bool {
        self.file.exists() && self.reference_count().is_some()
    }

    /// The module's reference count, if it is loaded.
    pub fn reference_count(&self) -> Option<u32> {
        let path = format!("/sys/module/{}/refcnt", self.fs_type);
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    pub fn load(&self) -> Result<(), Errno> {
        let file = File::open(&self.file)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        rustix::system::finit_module(&file, c"", 0)
    }

    pub fn unload(&self) -> Result<(), Errno> {
        let name = CString::new(&*self.fs_type).map_err(|_| Errno::INVAL)?;
        rustix::system::delete_module(&name, NONBLOCK)
    }

    /// Unloads; waits a little for references that are dropped late, as by RCU.
    pub fn unload_soon(&self) -> Result<(), Errno> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match self.unload() {
                Err(Errno::AGAIN) if Instant::now() < end => sleep(Duration::from_millis(10)),
                other => return other,
            }
        }
    }

    pub fn ensure_loaded(&self) -> anyhow::Result<()> {
        if self.is_registered() {
            return Ok(());
        }
        self.load()
            .with_context(|| format!("cannot load {}", self.file.display()))
    }
}
