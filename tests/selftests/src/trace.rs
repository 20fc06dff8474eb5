// SPDX-License-Identifier: GPL-2.0-only

//! What a piece of work costs in the kernel: the memory it asks for and the locks it takes, by tracefs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::MountFlags;

use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::fixture::Fixture;

/// How often work is done to be counted, so that what happens now and then does not count.
const ROUNDS: usize = 8;

/// Functions that allocate on their own account, now and then: what watches allocations, and what keeps
/// freed memory to be allocated again.
const KEEPERS: [&str; 4] = ["kmemleak", "__alloc_object", "kmem_cache_free", "kfree"];

/// How the names of locks begin that are not those of files: of RCU, which keeps nobody waiting, of the
/// allocator, of the scheduler, and of the memory of processes.
const OTHERS: [&str; 14] = [
    "rcu_",
    "kfree_rcu",
    "fs_reclaim",
    "(local_lock_t *)",
    "&____s->seqcount",
    "&n->list_lock",
    "&pcp->",
    "&zone->",
    "&p->",
    "&rq->",
    "hrtimer",
    "&mm->",
    "vm_lock",
    "ptlock_ptr",
];

/// A system call.
pub type Work = Box<dyn FnMut() -> std::result::Result<(), Errno>>;

/// A buffer for events of this process.
pub struct Trace {
    path: PathBuf,
}

/// What one round takes.
#[derive(Debug, Default, Clone)]
pub struct Cost {
    /// The callers that allocate, each with how often.
    pub allocations: BTreeMap<String, usize>,
    /// The locks, by their classes, each with how often.
    pub locks: BTreeMap<String, usize>,
}

impl Cost {
    pub fn allocations(&self) -> usize {
        self.allocations.values().sum()
    }

    pub fn locks(&self) -> usize {
        self.locks.values().sum()
    }
}

impl Trace {
    pub fn new(fx: &Fixture) -> Result<Self> {
        let top = Path::new("/sys/kernel/tracing");
        if !top.join("instances").exists() {
            match mount("tracefs", top, "tracefs", MountFlags::empty(), None) {
                Ok(()) => fx.adopt(top),
                Err(Errno::NODEV | Errno::NOENT | Errno::BUSY) => {
                    return Err(Failure::skip("the kernel does not trace"))
                }
                Err(error) => return Err(error).context("mount tracefs"),
            }
        }
        if !top.join("events/lock/lock_acquire").exists() {
            return Err(Failure::skip("the kernel does not trace locks"));
        }
        let path = top.join("instances/rovl-selftests");
        // One that was killed may have left it.
        let _ = fs::remove_dir(&path);
        fs::create_dir(&path).context("make a trace buffer")?;
        let trace = Trace { path };
        trace.set("tracing_on", "0")?;
        trace.set("buffer_size_kb", "512")?;
        trace.set("set_event_pid", &std::process::id().to_string())?;
        for event in ["kmem/kmalloc", "kmem/kmem_cache_alloc", "lock/lock_acquire"] {
            trace.set(&format!("events/{event}/enable"), "1")?;
        }
        Ok(trace)
    }

    fn set(&self, name: &str, value: &str) -> Result {
        fs::write(self.path.join(name), value).context(format_args!("write {value:?} to {name}"))
    }

    /// Does each piece of work some times and tells what one of them takes. The first time, which finds
    /// nothing cached, does not count.
    pub fn costs(&self, works: Vec<(&'static str, Work)>) -> Result<Vec<(&'static str, Cost)>> {
        let switch = self.open("tracing_on")?;
        let marker = self.open("trace_marker")?;
        let mut costs = Vec::new();
        for (what, mut work) in works {
            work().context(what)?;
            // The buffer keeps the latest events, so each piece of work has it to itself.
            self.set("trace", "")?;
            rustix::io::write(&switch, b"1")?;
            rustix::io::write(&marker, what.as_bytes())?;
            for _ in 0..ROUNDS {
                work()?;
            }
            rustix::io::write(&switch, b"0")?;
            let text = fs::read_to_string(self.path.join("trace"))?;
            let (_, events) = text
                .split_once("tracing_mark_write")
                .ok_or_else(|| Failure::new(format!("{what}: the buffer is too small")))?;
            costs.push((what, cost_of(events)));
        }
        Ok(costs)
    }

    fn open(&self, name: &str) -> Result<fs::File> {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(self.path.join(name));
        file.context(name)
    }
}

/// What one round takes, by the lines of all.
fn cost_of(text: &str) -> Cost {
    let mut cost = Cost::default();
    for line in text.lines().filter(|line| !in_interrupt(line)) {
        if let Some((_, lock)) = line.split_once(": lock_acquire: ") {
            count(&mut cost.locks, lock_class(lock));
        } else if let Some((_, caller)) = line.split_once("call_site=") {
            count(&mut cost.allocations, caller_name(caller));
        }
    }
    per_round(&mut cost.allocations);
    per_round(&mut cost.locks);
    cost
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// Whether the line is of what an interrupt did, by the flags that follow the processor's number in
/// brackets: the third is `h` or `H` in interrupts, `s` in what follows them.
fn in_interrupt(line: &str) -> bool {
    let flags = line.split_once("] ").map_or("", |(_, rest)| rest);
    matches!(flags.as_bytes().get(2), Some(b'h' | b'H' | b's'))
}

fn count(counts: &mut BTreeMap<String, usize>, name: Option<String>) {
    if let Some(name) = name {
        *counts.entry(name).or_default() += 1;
    }
}

/// Leaves out what was not done in most of the rounds.
fn per_round(counts: &mut BTreeMap<String, usize>) {
    for count in counts.values_mut() {
        *count = (*count + ROUNDS / 2) / ROUNDS;
    }
    counts.retain(|_, count| *count > 0);
}

/// The class of a lock, from what follows the event's name: an address, how it is taken, and the class.
fn lock_class(text: &str) -> Option<String> {
    let (_, text) = text.split_once(' ')?;
    let text = text.strip_prefix("try ").unwrap_or(text);
    let text = text.strip_prefix("read ").unwrap_or(text);
    let is_other = OTHERS.iter().any(|start| text.starts_with(start));
    (!is_other).then(|| text.to_owned())
}

/// The function's name, from `name+0x1/0x2 ptr=..`.
fn caller_name(text: &str) -> Option<String> {
    let name = text.split(['+', ' ']).next()?;
    let keeps = KEEPERS.iter().any(|keeper| name.contains(keeper));
    (!keeps).then(|| name.to_owned())
}
