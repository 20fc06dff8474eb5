// SPDX-License-Identifier: GPL-2.0-only

//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure, Result};
use clap::{Parser, ValueEnum};

use crate::spec::{DiskSpec, FileSpec, ScratchSpec, Size};

/// How long a guest may take when the caller does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// Boots a kernel in QEMU and runs one command in it as root.
///
/// The command's output goes to standard output. The exit status is the command's own (0 to 119,
/// greater ones become 119), or 120 when the kernel complained (BUG, WARNING, KASAN, lockdep,
/// stall, leak), 121 when time ran out, 122 when the guest died without a status, 123 when the
/// runner itself failed.
#[derive(Debug, Parser)]
#[command(
    name = "rovl-guest",
    version,
    max_term_width = 110,
    args_override_self = true
)]
pub struct Args {
    /// The kernel to boot (bzImage).
    #[arg(long, value_name = "BZIMAGE")]
    pub kernel: PathBuf,

    /// A statically linked busybox, whose applets are the guest's commands.
    #[arg(long, value_name = "PATH", default_value = "/bin/busybox")]
    pub busybox: PathBuf,

    /// Copy a module to /lib/modules in the guest. It is not loaded.
    #[arg(long = "module", value_name = "KO")]
    pub modules: Vec<PathBuf>,

    /// Load a module before anything else, for kernels whose virtio or 9p drivers are modules.
    #[arg(long = "boot-module", value_name = "KO")]
    pub boot_modules: Vec<PathBuf>,

    /// Copy a file, or a directory with all that is in it, into the guest.
    #[arg(long = "file", value_name = "HOST:GUEST[:MODE]")]
    pub files: Vec<FileSpec>,

    /// Attach a raw disk image as /dev/disk/rovl/<file stem>.
    #[arg(long = "disk", value_name = "FILE[:ro|:snapshot]")]
    pub disks: Vec<DiskSpec>,

    /// Attach an empty sparse disk as /dev/disk/rovl/<NAME>, gone when the guest ends.
    #[arg(long = "scratch", value_name = "NAME:SIZE")]
    pub scratch: Vec<ScratchSpec>,

    /// The guest's memory.
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    pub mem: Size,

    /// The number of processors.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cpus: u32,

    /// Kill the guest after so many seconds; 0 is no limit [default: 600, none with
    /// --interactive].
    #[arg(long, value_name = "SECS")]
    pub timeout: Option<u64>,

    /// What the guest writes below /out appears in this directory, also when the guest crashes.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Keep the kernel's log here [default: a temporary file, kept when something fails].
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// More arguments for the kernel; the last of several equal ones wins.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub append: Vec<String>,

    /// Use KVM: where a trial guest boots with it, always, or never.
    #[arg(long, value_enum, default_value_t = Kvm::Auto)]
    pub kvm: Kvm,

    /// Look for leaked memory after the command; a leak counts as a complaint of the kernel.
    #[arg(long)]
    pub kmemleak: bool,

    /// Connect this terminal to the command; Ctrl-] ends the guest.
    #[arg(long)]
    pub interactive: bool,

    /// Show the kernel's log and the times on standard error.
    #[arg(long, short)]
    pub verbose: bool,

    /// The emulator to start.
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-x86_64")]
    pub qemu: PathBuf,

    /// The command to run in the guest.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl Args {
    /// The time limit, if there is one.
    pub fn limit(&self) -> Option<Duration> {
        match self.timeout {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None if self.interactive => None,
            None => Some(DEFAULT_TIMEOUT),
        }
    }

    /// Checks what concerns several options at once.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.kernel.is_file(),
            "no kernel at {}",
            self.kernel.display()
        );
        ensure!(self.cpus >= 1, "--cpus must be at least 1");
        let disks = self.disks.iter().map(|disk| disk.name.as_str());
        let mut names: Vec<&str> = disks
            .chain(self.scratch.iter().map(|disk| disk.name.as_str()))
            .collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!("two disks are named {}", pair[0]);
        }
        for disk in &self.disks {
            ensure!(
                disk.path.exists(),
                "no disk image at {}",
                disk.path.display()
            );
        }
        Ok(())
    }
}

/// When to use KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kvm {
    Auto,
    On,
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DiskAccess;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(["rovl-guest"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn full_command_line() {
        let args = parse(
            "--kernel bz --module a.ko --module b.ko --file x:/y:755 --disk d/root.img:snapshot --scratch s:1G \
             --mem 512M --cpus 4 --timeout 7 --out o --log l --append a=b --append -c --kvm off --kmemleak -v -- ls -l",
        )
        .unwrap();
        assert_eq!(args.modules.len(), 2);
        assert_eq!(args.files[0].mode, Some(0o755));
        assert_eq!(
            (args.disks[0].name.as_str(), args.disks[0].access),
            ("root", DiskAccess::Snapshot)
        );
        assert_eq!(args.scratch[0].size, Size(1 << 30));
        assert_eq!(args.mem, Size(512 << 20));
        assert_eq!(args.append, ["a=b", "-c"]);
        assert_eq!(args.limit(), Some(Duration::from_secs(7)));
        assert_eq!(args.kvm, Kvm::Off);
        assert_eq!(args.command, ["ls", "-l"]);
    }

    #[test]
    fn command_is_required() {
        assert!(parse("--kernel bz").is_err());
        assert!(parse("--kernel bz --").is_err());
        assert!(parse("-- true").is_err());
    }

    #[test]
    fn time_limits() {
        assert_eq!(
            parse("--kernel bz -- true").unwrap().limit(),
            Some(DEFAULT_TIMEOUT)
        );
        assert_eq!(
            parse("--kernel bz --interactive -- sh").unwrap().limit(),
            None
        );
        assert_eq!(
            parse("--kernel bz --timeout 0 -- true").unwrap().limit(),
            None
        );
        assert_eq!(
            parse("--kernel bz --timeout 5 --interactive -- sh")
                .unwrap()
                .limit(),
            Some(Duration::from_secs(5))
        );
    }

    #[test]
    fn disks_of_one_name_are_refused() {
        let args = parse("--kernel /dev/null --scratch a:1M --scratch a:2M -- true").unwrap();
        assert!(args.check().is_err());
    }
}
