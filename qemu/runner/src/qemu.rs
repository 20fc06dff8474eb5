// SPDX-License-Identifier: GPL-2.0-only

//! The machine: QEMU's command line, and its process with the ends of the guest's three ports.
//!
//! ttyS0 carries the kernel's log, hvc0 the command, ttyS1 init's reports.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{bail, Context, Result};
use rustix::process::{
    getpid, getppid, kill_process_group, set_parent_process_death_signal, setrlimit, Pid, Resource,
    Rlimit, Signal,
};

use crate::initramfs::Tree;
use crate::ports::{anonymous_file, lend, Console, Tail};
use crate::spec::{DiskAccess, DiskSpec, ScratchSpec, Size};

/// What every kernel is told.
const KERNEL_ARGS: &[&str] = &[
    "console=ttyS0,115200",
    // Everything but debug messages goes to the console. The pieces of a report come at different
    // levels.
    "loglevel=7",
    "printk.time=1",
    "rdinit=/init",
    // After an oops locks stay held and the command would hang until the time limit. The panic
    // comes after the whole report; -1 is an immediate reboot, at which QEMU exits.
    "oops=panic",
    "panic=-1",
    // One report often is the cause of the next one, but an unrelated one should be seen as well.
    "kasan_multi_shot",
    // An emulated processor of a busy host can stand still for long; still, a hung guest must not
    // wait for its limit.
    "sysctl.kernel.hung_task_timeout_secs=60",
    "sysctl.kernel.hung_task_panic=1",
    "rcupdate.rcu_cpu_stall_timeout=60",
    "sysctl.kernel.panic_on_rcu_stall=1",
    // On a busy host the ticks that the kernel tests its timer with come too late, and it panics.
    "no_timer_check",
    // The watchdog of the TSC has one processor wait for another inside an interrupt. The boot stops
    // all processors now and then; when both happen at once, the two wait for each other for good,
    // for the clock that would end the wait is the jiffies, which stand still meanwhile.
    "tsc=nowatchdog",
    // These cost time and protect nothing here.
    "mitigations=off",
    "random.trust_cpu=on",
];

/// A machine that can be started.
#[derive(Debug)]
pub struct Machine<'a> {
    pub qemu: &'a Path,
    pub kernel: &'a Path,
    pub kvm: bool,
    /// The rate of the guest's time stamp counter, where the guest need not measure it.
    pub tsc_khz: Option<u64>,
    pub mem: Size,
    pub cpus: u32,
    pub disks: &'a [DiskSpec],
    pub scratch: &'a [ScratchSpec],
    pub out: Option<PathBuf>,
    pub append: &'a [String],
    pub kmemleak: bool,
    pub interactive: bool,
}

impl Machine<'_> {
    /// Starts the machine with the given root.
    pub fn start(&self, root: &Tree) -> Result<Guest> {
        let initramfs = anonymous_file()?;
        root.write(io::BufWriter::new(&initramfs))
            .context("cannot write the initramfs")?;
        let (log, status, errors) = (anonymous_file()?, anonymous_file()?, anonymous_file()?);
        let (console, console_end) = Console::new(self.interactive)?;

        let mut command = Command::new(self.qemu);
        self.add_machine(&mut command);
        command
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-append")
            .arg(self.kernel_args());
        command.arg("-initrd").arg(lend(&initramfs)?);
        command
            .arg("-chardev")
            .arg(format!("file,id=log,path={}", lend(&log)?));
        command
            .arg("-chardev")
            .arg(format!("file,id=status,path={}", lend(&status)?));
        command.arg("-chardev").arg(console_end.chardev()?);
        command.args(["-serial", "chardev:log", "-serial", "chardev:status"]);
        command.args([
            "-device",
            "virtio-serial-pci,ioeventfd=off",
            "-device",
            "virtconsole,chardev=console",
        ]);
        command.args(["-device", "virtio-rng-pci"]);
        self.add_out(&mut command)?;
        let _scratch = self.add_disks(&mut command)?;

        command
            .stdin(Stdio::null())
            .stdout(errors.try_clone()?)
            .stderr(errors.try_clone()?);
        let child = spawn(command).with_context(|| {
            format!(
                "cannot start {} (Debian has it in qemu-system-x86)",
                self.qemu.display()
            )
        })?;
        Ok(Guest {
            child,
            log: Tail::new(log),
            status: Tail::new(status),
            console,
            errors: Tail::new(errors),
        })
    }

    fn add_machine(&self, command: &mut Command) {
        let accel = if self.kvm { "kvm" } else { "tcg,thread=multi" };
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        // Without five-level paging: while the boot CPU is identified the kernel forgets for a
        // moment that it has it, and KASAN takes an interrupt that comes then for wild
        // accesses.
        command.args(["-machine", "q35", "-accel", accel, "-cpu", "max,la57=off"]);
        command.args([
            "-smp",
            &self.cpus.to_string(),
            "-m",
            &format!("{}B", self.mem.0),
        ]);
    }

    fn kernel_args(&self) -> String {
        // The detector slows every allocation down, and its scans of its own accord would come at
        // any time. For the search, slab caches must be in debug mode: otherwise a processor's
        // arrays of free objects still hold the addresses of those that it handed out last, and
        // the newest leaks pass for referenced.
        let kmemleak: &[&str] = if self.kmemleak {
            &["kmemleak=on", "slab_debug=F"]
        } else {
            &["kmemleak=off"]
        };
        let own = KERNEL_ARGS.iter().chain(kmemleak).copied();
        let tsc = self.tsc_khz.map(|khz| format!("tsc_early_khz={khz}"));
        own.chain(tsc.as_deref())
            .chain(self.append.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn add_out(&self, command: &mut Command) -> Result<()> {
        if let Some(out) = &self.out {
            let path = escape(out)?;
            command.args([
                "-fsdev",
                &format!("local,id=out,security_model=none,multidevs=remap,path={path}"),
            ]);
            command.args(["-device", "virtio-9p-pci,fsdev=out,mount_tag=out"]);
        }
        Ok(())
    }

    /// Adds the disks. The files that come back must live until QEMU has started.
    fn add_disks(&self, command: &mut Command) -> Result<Vec<File>> {
        for disk in self.disks {
            let access = match disk.access {
                DiskAccess::Write => "cache=writeback",
                DiskAccess::ReadOnly => "readonly=on",
                DiskAccess::Snapshot => "snapshot=on",
            };
            add_disk(command, &disk.name, &escape(&disk.path)?, access);
        }
        let mut files = Vec::new();
        for disk in self.scratch {
            let file = anonymous_file()?;
            file.set_len(disk.size.0)
                .with_context(|| format!("cannot make the scratch disk {}", disk.name))?;
            // The disk is gone after the guest, so a flush has nothing to save.
            add_disk(command, &disk.name, &lend(&file)?, "cache=unsafe");
            files.push(file);
        }
        Ok(files)
    }
}

fn add_disk(command: &mut Command, name: &str, path: &str, access: &str) {
    command.args([
        "-drive",
        &format!("if=none,id=disk-{name},format=raw,{access},file={path}"),
    ]);
    command.args([
        "-device",
        &format!("virtio-blk-pci,drive=disk-{name},serial={name}"),
    ]);
}

/// The path as a value among QEMU's options, where a comma separates unless it is doubled.
fn escape(path: &Path) -> Result<String> {
    let path = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    if path.contains(':') && !path.starts_with(['/', '.']) {
        // QEMU would take what stands before the colon for a protocol.
        return Ok(format!("./{}", path.replace(',', ",,")));
    }
    Ok(path.replace(',', ",,"))
}

/// Starts QEMU in a process group of its own, so that Ctrl-C reaches the runner alone, which then
/// ends the group.
fn spawn(mut command: Command) -> io::Result<Child> {
    command.process_group(0);
    let runner = getpid();
    let prepare = move || {
        // Where KVM does not work QEMU may abort, and its core would hold all of the guest's
        // memory.
        setrlimit(
            Resource::Core,
            Rlimit {
                current: Some(0),
                maximum: Some(0),
            },
        )?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The runner may have died before the call above.
        if getppid() == Some(runner) {
            Ok(())
        } else {
            Err(ErrorKind::Interrupted.into())
        }
    };
    // SAFETY: Between fork and exec only functions that are safe in a signal handler may be called;
    // the closure makes three system calls and neither allocates nor takes a lock.
    #[expect(
        unsafe_code,
        reason = "there is no other way to set the death signal of a child"
    )]
    unsafe {
        command.pre_exec(prepare);
    }
    command.spawn()
}

/// A running machine. It is killed when this value goes.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    /// The kernel's log.
    pub log: Tail,
    /// Init's reports.
    pub status: Tail,
    pub console: Console,
    /// What QEMU itself says.
    pub errors: Tail,
}

impl Guest {
    /// How QEMU ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for QEMU")
    }

    /// Ends QEMU and whatever it has started.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            bail!("QEMU has no process id");
        };
        kill_process_group(group, Signal::KILL).context("cannot kill QEMU")?;
        self.child.wait().context("cannot wait for QEMU")?;
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The death signal remains for what fails here.
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(append: &[String], kmemleak: bool) -> Machine<'_> {
        Machine {
            qemu: Path::new("qemu"),
            kernel: Path::new("bzImage"),
            kvm: false,
            tsc_khz: None,
            mem: Size(1 << 30),
            cpus: 2,
            disks: &[],
            scratch: &[],
            out: None,
            append,
            kmemleak,
            interactive: false,
        }
    }

    #[test]
    fn the_callers_kernel_arguments_come_last() {
        let append = ["panic=0".to_owned(), "a b".to_owned()];
        let args = machine(&append, false).kernel_args();
        assert!(args.starts_with("console=ttyS0"));
        assert!(args.ends_with("kmemleak=off panic=0 a b"));
    }

    #[test]
    fn the_hunt_for_leaks_has_its_own_arguments() {
        assert!(machine(&[], true)
            .kernel_args()
            .ends_with("kmemleak=on slab_debug=F"));
    }

    #[test]
    fn a_known_rate_of_the_counter_is_told() {
        let known = Machine {
            tsc_khz: Some(2_596_120),
            ..machine(&[], false)
        };
        assert!(known.kernel_args().ends_with(" tsc_early_khz=2596120"));
    }

    #[test]
    fn paths_are_values_for_qemu() {
        for (path, value) in [
            ("/a/b.img", "/a/b.img"),
            ("/a,b/c:d", "/a,,b/c:d"),
            ("nbd:x", "./nbd:x"),
            ("./a:b", "./a:b"),
        ] {
            assert_eq!(escape(Path::new(path)).unwrap(), value);
        }
    }

    #[test]
    fn a_lent_file_can_be_opened_again() {
        let file = anonymous_file().unwrap();
        std::fs::write(lend(&file).unwrap(), "text").unwrap();
        assert_eq!(Tail::new(file).read().unwrap(), b"text");
    }
}
