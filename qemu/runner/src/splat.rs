// SPDX-License-Identifier: GPL-2.0-only

//! Finds in the kernel's log what a healthy kernel never prints.
//!
//! A report is recognised by how a line begins, after the time stamp and the few prefixes that
//! `pr_fmt` puts there. That keeps apart the lines that only mention such words: messages with a
//! file's name in them, the processor warnings of the boot, and `traps: program[1] general
//! protection fault`, which is a program's fault.

/// How many lines of a report are kept.
const LINES_MAX: usize = 40;

/// Beginnings of lines that are a report, whatever follows.
const BEGINNINGS: &[&str] = &[
    "BUG: ",
    "kernel BUG at ",
    "WARNING: ",
    "Oops: ",
    "Oops[",
    "Kernel panic",
    "general protection fault",
    "divide error: ",
    "invalid opcode: ",
    "stack segment: ",
    "double fault: ",
    "Unable to handle kernel ",
    "KASAN: ",
    "KFENCE: ",
    "KCSAN: ",
    "UBSAN: ",
    "INFO: possible ",
    "INFO: trying to register non-static key",
    "DEBUG_LOCKS_WARN_ON(",
    "list_add corruption",
    "list_add double add",
    "list_del corruption",
    "refcount_t: ",
    "unreferenced object",
    "Busy inodes after unmount",
    "rust_panic",
    "panicked at ",
];

/// What `pr_fmt` or a report's own frame puts before the words above.
const PREFIXES: &[&str] = &[
    "watchdog: ",
    "rcu: ",
    "rcu-torture: ",
    "kmemleak: ",
    "VFS: ",
    "[ ",
    "rust_kernel: ",
];

/// Whether the line, without its time stamp, begins a report.
fn begins_report(line: &str) -> bool {
    if BEGINNINGS
        .iter()
        .any(|beginning| line.starts_with(beginning))
    {
        return true;
    }
    if let Some(rest) = line.strip_prefix("INFO: ") {
        let stall = rest.contains("detected stall") || rest.contains("self-detected stall");
        let expedited = rest.contains("detected expedited stall");
        let hung = rest.starts_with("task ")
            && rest.contains(" blocked")
            && rest.contains(" for more than ");
        return stall || expedited || hung;
    }
    if let Some(rest) = line.strip_prefix("BUG ") {
        // The slab allocator writes "BUG cache (Not tainted): what is wrong".
        return rest.contains("ainted");
    }
    if line.starts_with(|first: char| first.is_ascii_digit()) {
        return line.ends_with(" new suspected memory leaks (see /sys/kernel/debug/kmemleak)");
    }
    PREFIXES
        .iter()
        .any(|prefix| line.strip_prefix(prefix).is_some_and(begins_report))
}

/// The line without `[   12.345678]` and, where the kernel names the caller, `[   T1]` after it.
fn without_stamp(line: &str) -> &str {
    let is_stamp = |text: &str| {
        let text = text.trim_start();
        let text = text.strip_prefix(['T', 'C']).unwrap_or(text);
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let mut line = line;
    for _ in 0..2 {
        match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((stamp, rest)) if is_stamp(stamp) => line = rest.strip_prefix(' ').unwrap_or(rest),
            _ => break,
        }
    }
    line
}

/// Whether the line is the frame that stands above many reports.
fn is_frame(line: &str) -> bool {
    line.contains("[ cut here ]") || (line.len() > 10 && line.bytes().all(|byte| byte == b'='))
}

/// A report of the kernel.
#[derive(Debug, Default)]
pub struct Splat {
    /// The line that says what it is, without its time stamp.
    pub title: String,
    /// The first lines of the report as they are in the log.
    pub lines: Vec<String>,
}

/// Reads the log line by line and keeps the first report.
#[derive(Debug, Default)]
pub struct Detector {
    first: Option<Splat>,
    complete: bool,
    panicked: bool,
    frame: Option<String>,
    /// The start of a line whose end has not come yet.
    partial: Vec<u8>,
}

impl Detector {
    /// Takes the next piece of the log, which may end anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    /// Takes what is left as a line when the log ends in the middle of one.
    pub fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
    }

    /// The first report, for good.
    pub fn into_splat(self) -> Option<Splat> {
        self.first
    }

    /// The first report so far.
    #[cfg(test)]
    fn splat(&self) -> Option<&Splat> {
        self.first.as_ref()
    }

    /// Whether the kernel gave up, so that nothing but a reboot can follow.
    pub fn panicked(&self) -> bool {
        self.panicked
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        self.line(text.trim_end());
    }

    fn line(&mut self, line: &str) {
        let message = without_stamp(line);
        self.panicked |= message.starts_with("Kernel panic");
        if let Some(splat) = &mut self.first {
            if !self.complete {
                splat.lines.push(line.to_owned());
                self.complete = splat.lines.len() >= LINES_MAX || message.starts_with("---[ end ");
            }
        } else if begins_report(message) {
            let mut splat = Splat {
                title: message.to_owned(),
                lines: Vec::new(),
            };
            splat.lines.extend(self.frame.take());
            splat.lines.push(line.to_owned());
            self.first = Some(splat);
        } else {
            self.frame = is_frame(message).then(|| line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> bool {
        let mut detector = Detector::default();
        detector.feed(line.as_bytes());
        detector.feed(b"\r\n");
        detector.splat().is_some()
    }

    #[test]
    fn reports() {
        for line in [
            "[    1.000000] BUG: KASAN: slab-use-after-free in rovl_lookup+0x1/0x2 [rovl]",
            "[    1.000000] BUG: unable to handle page fault for address: ffff888000000000",
            "[    1.000000] BUG: sleeping function called from invalid context at mm/slab.h:1",
            "[    1.000000] BUG: scheduling while atomic: sh/1/0x2",
            "[    1.000000] BUG: Dentry ffff888000000000{i=1,n=x}  still in use (1) [unmount of tmpfs tmpfs]",
            "[    1.000000] BUG kmalloc-8 (Not tainted): Redzone overwritten",
            "[    1.000000] BUG rovl_inode (Tainted: G           O       ): Objects remaining on __kmem_cache_shutdown()",
            "[    1.000000] kernel BUG at fs/inode.c:10!",
            "[    1.000000] WARNING: CPU: 0 PID: 1 at fs/namei.c:1 path_put+0x1/0x2",
            "[    1.000000] WARNING: fs/namei.c:1 at path_put+0x1/0x2, CPU#0: sh/1",
            "[    1.000000] WARNING: possible circular locking dependency detected",
            "[    1.000000] WARNING: possible recursive locking detected",
            "[    1.000000] WARNING: inconsistent lock state",
            "[    1.000000] WARNING: suspicious RCU usage",
            "[    1.000000] [ BUG: Invalid wait context ]",
            "[    1.000000] INFO: possible recursive locking detected",
            "[    1.000000] INFO: trying to register non-static key.",
            "[    1.000000] Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
            "[    1.000000] general protection fault: 0000 [#1] SMP",
            "[    1.000000] Oops: 0002 [#1] SMP KASAN",
            "[    1.000000] KASAN: null-ptr-deref in range [0x0000000000000000-0x0000000000000007]",
            "[    1.000000] rcu: INFO: rcu_preempt self-detected stall on CPU",
            "[    1.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
            "[    1.000000] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: {",
            "[    1.000000] INFO: rcu_tasks detected stalls on tasks:",
            "[    1.000000] INFO: task mount:99 blocked for more than 122 seconds.",
            "[    1.000000] INFO: task mount:99 blocked in I/O wait for more than 122 seconds.",
            "[    1.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:1]",
            "[    1.000000] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "unreferenced object 0xffff888000000000 (size 64):",
            "[    1.000000] UBSAN: array-index-out-of-bounds in fs/x.c:1:2",
            "[    1.000000] list_add corruption. prev->next should be next",
            "[    1.000000] refcount_t: underflow; use-after-free.",
            "[    1.000000] VFS: Busy inodes after unmount of ram0 (ext4)",
            "[    1.000000] rust_kernel: panicked at src/rovl_main.rs:1:1:",
            "[    1.000000] Kernel panic - not syncing: sysrq triggered crash",
            "[    1.000000][   T12] WARNING: fs/namei.c:1 at path_put+0x1/0x2, CPU#0: sh/1",
        ] {
            assert!(found(line), "{line}");
        }
    }

    #[test]
    fn harmless_lines() {
        for line in [
            "[    0.000000] Linux version 7.3.4 (a@b) (clang) #1 SMP",
            "[    0.000000] Command line: console=ttyS0 panic=-1 BUG: WARNING:",
            "[    0.000000] Spectre V2 : WARNING: Unprivileged eBPF is enabled",
            "[    0.000000] ACPI BIOS Warning (bug): Optional FADT field",
            "[    0.000000] [Firmware Bug]: TSC doesn't count with P0 frequency!",
            "[    1.000000] traps: a.out[12] general protection fault ip:1 sp:2 error:0 in a.out[1000+1000]",
            "[    1.000000] a.out[12]: segfault at 0 ip 1 sp 2 error 4",
            "[    1.000000] overlayfs: failed to resolve 'BUG: x': -2",
            "[    1.000000] FAULT_INJECTION: forcing a failure.",
            "[    1.000000] INFO: lockdep is turned off.",
            "[    1.000000] rcu: Hierarchical RCU implementation.",
            "[    1.000000] rcu: RCU calculated value of scheduler-enlistment delay is 100 jiffies.",
            "[    1.000000] kmemleak: Kernel memory leak detector initialized (mem pool available: 15000)",
            "[    1.000000] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc.",
            "[    1.000000] Running 3 panicked tests",
        ] {
            assert!(!found(line), "{line}");
        }
    }

    #[test]
    fn report_is_kept_with_its_frame_to_its_end() {
        let mut detector = Detector::default();
        detector
            .feed(b"[ 1.0] all well\r\n[ 1.1] ------------[ cut here ]------------\r\n[ 1.2] WARN");
        assert!(detector.splat().is_none());
        detector.feed(b"ING: fs/x.c:1 at f+0x0/0x1\r\n[ 1.3] Call Trace:\r\n[ 1.4] ---[ end trace 0 ]---\r\n[ 1.5] later\n");
        let splat = detector.splat().unwrap();
        assert_eq!(splat.title, "WARNING: fs/x.c:1 at f+0x0/0x1");
        assert_eq!(splat.lines.len(), 4);
        assert_eq!(
            splat.lines[0],
            "[ 1.1] ------------[ cut here ]------------"
        );
        assert!(!detector.panicked());
    }

    #[test]
    fn only_the_first_report_is_kept_and_not_all_of_it() {
        let mut detector = Detector::default();
        detector.feed(b"BUG: first\n");
        for _ in 0..100 {
            detector.feed(b"WARNING: again\n");
        }
        detector.feed(b"Kernel panic - not syncing: x");
        detector.finish();
        assert_eq!(detector.splat().unwrap().title, "BUG: first");
        assert_eq!(detector.splat().unwrap().lines.len(), LINES_MAX);
        assert!(detector.panicked());
    }
}
