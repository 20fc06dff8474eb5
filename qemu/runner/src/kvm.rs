// SPDX-License-Identifier: GPL-2.0-only

//! Whether KVM works here. A /dev/kvm that opens proves nothing: inside some virtual machines
//! guests die or hang in it. So a guest is booted once, and the answer is kept for the rest of the
//! host's uptime, for each kernel.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{flock, FlockOperation};

/// How long the trial guest may take. It needs two seconds where KVM works.
pub const TRIAL_LIMIT: Duration = Duration::from_secs(15);

/// Whether guests of this kernel boot with KVM, as remembered or as `trial` finds.
pub fn usable(kernel: &Path, trial: impl FnOnce() -> Result<bool>) -> Result<bool> {
    let device = File::options().read(true).write(true).open("/dev/kvm");
    if device.is_err() {
        return Ok(false);
    }
    match directory() {
        Some(directory) => remembered(&directory, &key(kernel)?, trial),
        None => trial(),
    }
}

/// Where the answers are.
fn directory() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("rovl/kvm"))
}

/// Names this boot of the host and this state of the kernel file.
fn key(kernel: &Path) -> Result<String> {
    let boot = boot_id()?;
    let file = fs::metadata(kernel).with_context(|| format!("cannot read {}", kernel.display()))?;
    let (device, inode, size) = (file.dev(), file.ino(), file.size());
    Ok(format!(
        "{boot}.{device:x}-{inode:x}-{size:x}-{:x}.{:09}",
        file.mtime(),
        file.mtime_nsec()
    ))
}

fn boot_id() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("cannot read the host's boot id")?;
    Ok(id.trim().to_owned())
}

/// The answer kept under `key`, or that of `trial`, which is then kept. Runners that start at once
/// make one trial.
fn remembered(directory: &Path, key: &str, trial: impl FnOnce() -> Result<bool>) -> Result<bool> {
    let place = || format!("cannot use {}", directory.display());
    fs::create_dir_all(directory).with_context(place)?;
    let lock = File::create(directory.join("lock")).with_context(place)?;
    flock(&lock, FlockOperation::LockExclusive).with_context(place)?;
    let answer = directory.join(key);
    match fs::read_to_string(&answer) {
        Ok(text) if text == "yes" => return Ok(true),
        Ok(text) if text == "no" => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(place),
    }
    let works = trial()?;
    forget_former_boots(directory, key);
    let temporary = directory.join("new");
    fs::write(&temporary, if works { "yes" } else { "no" }).with_context(place)?;
    fs::rename(&temporary, &answer).with_context(place)?;
    Ok(works)
}

/// Removes the answers that no later run can ask for.
fn forget_former_boots(directory: &Path, key: &str) {
    let boot = key.split('.').next().unwrap_or_default();
    let Ok(listing) = fs::read_dir(directory) else {
        return;
    };
    for entry in listing.flatten() {
        let name = entry.file_name();
        let kept = name == "lock" || name.to_string_lossy().starts_with(boot);
        if !kept {
            // An answer that stays is never read again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn one_trial_for_each_key() {
        let directory = tempfile::tempdir().unwrap();
        let trials = Cell::new(0);
        let ask = |key: &str, answer: bool| {
            let trial = || {
                trials.set(trials.get() + 1);
                Ok(answer)
            };
            remembered(directory.path(), key, trial).unwrap()
        };
        assert!(ask("boot1.a", true));
        assert!(ask("boot1.a", false));
        assert!(!ask("boot1.b", false));
        assert!(!ask("boot1.b", true));
        assert_eq!(trials.get(), 2);
        assert!(!ask("boot2.a", false));
        assert!(!directory.path().join("boot1.a").exists());
    }

    #[test]
    fn a_failed_trial_is_not_remembered() {
        let directory = tempfile::tempdir().unwrap();
        assert!(remembered(directory.path(), "boot.a", || anyhow::bail!("no QEMU")).is_err());
        assert!(remembered(directory.path(), "boot.a", || Ok(true)).unwrap());
    }

    #[test]
    fn the_key_follows_the_kernel_file() {
        let kernel = tempfile::NamedTempFile::new().unwrap();
        let before = key(kernel.path()).unwrap();
        fs::write(kernel.path(), "new").unwrap();
        assert_ne!(before, key(kernel.path()).unwrap());
    }
}
