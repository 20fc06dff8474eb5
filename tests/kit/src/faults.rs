// SPDX-License-Identifier: GPL-2.0-only

//! Allocations that fail, by the kernel's fault injection.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;

/// One allocation in so many fails.
const ONE_IN: u32 = 20;

const KINDS: [&str; 2] = ["failslab", "fail_page_alloc"];

/// While this is there, allocations fail in threads that ask for it, of any process.
pub struct Faults(());

impl Faults {
    /// Whether the kernel can let allocations fail.
    pub fn are_there() -> bool {
        KINDS
            .iter()
            .all(|kind| Path::new("/sys/kernel/debug").join(kind).exists())
    }

    pub fn begin() -> Result<Self> {
        let faults = Faults(());
        for kind in KINDS {
            set(kind, "task-filter", "Y")?;
            set(kind, "interval", "1")?;
            set(kind, "times", "-1")?;
            set(kind, "space", "0")?;
            set(kind, "verbose", "0")?;
            // Most of what a filesystem allocates may wait.
            set(kind, "ignore-gfp-wait", "N")?;
            set(kind, "probability", &(100 / ONE_IN).to_string())?;
        }
        // Single pages are most of what there is, and the page cache's may be high memory.
        set("fail_page_alloc", "min-order", "0")?;
        set("fail_page_alloc", "ignore-gfp-highmem", "N")?;
        Ok(faults)
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        for kind in KINDS {
            let _ = set(kind, "probability", "0");
        }
    }
}

/// Allocations fail in the thread that made this, as long as it is kept and there are faults.
pub struct Failing(File);

impl Failing {
    /// Asks for it, which needs root.
    pub fn begin() -> Result<Self> {
        let mut file = OpenOptions::new()
            .write(true)
            .open("/proc/thread-self/make-it-fail")
            .context("open make-it-fail")?;
        file.write_all(b"1")?;
        Ok(Failing(file))
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let _ = self.0.write_all(b"0");
    }
}

fn set(kind: &str, name: &str, value: &str) -> Result<()> {
    let path = Path::new("/sys/kernel/debug").join(kind).join(name);
    fs::write(&path, value).with_context(|| format!("write {value} to {}", path.display()))
}
