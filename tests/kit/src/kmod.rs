// SPDX-License-Identifier: GPL-2.0-only

//! Kernel modules and filesystem types.

use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use rustix::io::Errno;

/// Where the guest has its modules.
pub const MODULES: &str = "/lib/modules";

/// Loads a module by the name of its file, without ending, unless it is loaded.
pub fn load(name: &str) -> Result<()> {
    let path = Path::new(MODULES).join(format!("{name}.ko"));
    if !path.exists() && is_there(name) {
        return Ok(());
    }
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("load {}", path.display())),
    }
}

/// Whether the kernel has a module, loaded, built in, or as a file to be loaded.
pub fn is_there(name: &str) -> bool {
    let loaded = Path::new("/sys/module").join(name.replace('-', "_"));
    let file = Path::new(MODULES).join(format!("{name}.ko"));
    loaded.exists() || file.exists()
}

/// Makes a filesystem type known: it is there, or the module of its name is loaded.
pub fn ensure_type(fs_type: &str) -> Result<()> {
    let types = fs::read_to_string("/proc/filesystems")?;
    let known = types
        .lines()
        .any(|line| line.split_whitespace().last() == Some(fs_type));
    if known {
        return Ok(());
    }
    load(fs_type)
}

/// Whether rovl provides a type that is known: by the name rovl, or as the drop-in, by the name overlay.
/// That is told from overlayfs by the mark that the kernel puts on modules from elsewhere.
pub fn is_rovl(fs_type: &str) -> bool {
    let path = format!("/sys/module/{fs_type}/taint");
    let taint = fs::read_to_string(path).unwrap_or_default();
    fs_type != "overlay" || taint.contains('O')
}

/// Unloads a module, which shows that nothing holds a reference to it. One that is built in stays.
pub fn unload(name: &str) -> Result<()> {
    if !Path::new("/sys/module").join(name).join("refcnt").exists() {
        return Ok(());
    }
    let c_name = CString::new(name)?;
    // RCU drops some references late.
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let result = rustix::system::delete_module(&c_name, libc::O_NONBLOCK);
        match result {
            Err(Errno::AGAIN) if Instant::now() < end => sleep(Duration::from_millis(20)),
            other => return other.with_context(|| format!("unload {name}")),
        }
    }
}
