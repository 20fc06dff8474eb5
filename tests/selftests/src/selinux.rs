// SPDX-License-Identifier: GPL-2.0-only

//! A policy for SELinux that knows what the tests need to know, and allows everything.
//!
//! It is written here, in the oldest binary form that the kernel still reads (version 15, see
//! `policydb_read` in `security/selinux/ss/policydb.c`), so that no compiler of policies is needed.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::MountFlags;

use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;

/// Where the kernel takes the policy.
const SELINUXFS: &str = "/sys/fs/selinux";

/// The attribute that holds an object's label.
pub const LABEL: &str = "security.selinux";

/// What processes and objects can be, besides `first_t` for all that has no label.
const TYPES: [&str; 6] = ["first_t", "a_t", "b_t", "c_t", "mount_t", "task_t"];

/// Classes of objects in filesystems.
const FILES: [&str; 7] = [
    "file",
    "dir",
    "lnk_file",
    "fifo_file",
    "chr_file",
    "blk_file",
    "sock_file",
];

/// Types of filesystems whose labels are attributes.
const LABELLED: [&str; 5] = ["tmpfs", "ext4", "xfs", "overlay", "rovl"];

/// The label of objects of a type.
pub fn label(of_type: &str) -> String {
    format!("user:object_r:{of_type}")
}

/// Whether the kernel was told to start SELinux.
pub fn is_on() -> bool {
    Path::new(SELINUXFS).exists()
}

/// Whether there is a policy. Without one the only context there is is that of the kernel.
pub fn has_policy() -> Result<bool> {
    let context = fs::read_to_string("/proc/self/attr/current").context("read our context")?;
    Ok(context.contains(':'))
}

/// Loads the policy unless there is one.
pub fn ensure_policy() -> Result {
    if has_policy()? {
        return Ok(());
    }
    let load = Path::new(SELINUXFS).join("load");
    if !load.exists() {
        mount(
            "selinuxfs",
            SELINUXFS,
            "selinuxfs",
            MountFlags::empty(),
            None,
        )
        .context("mount selinuxfs")?;
    }
    fs::write(load, policy()).context("load the policy")?;
    match has_policy()? {
        true => Ok(()),
        false => Err(Failure::new("the policy has no effect")),
    }
}

/// The label of an object, as its attribute says.
pub fn label_of(path: impl AsRef<Path>) -> std::result::Result<String, Errno> {
    let mut value = [0; 128];
    let length = rustix::fs::lgetxattr(path.as_ref(), LABEL, &mut value)?;
    let text = String::from_utf8_lossy(&value[..length]);
    Ok(text.trim_end_matches('\0').to_owned())
}

/// Does `work` with all that it makes to be labelled as of this type.
pub fn creating_as<T>(of_type: &str, work: impl FnOnce() -> T) -> Result<T> {
    const CREATE: &str = "/proc/thread-self/attr/fscreate";
    fs::write(CREATE, label(of_type)).context("set the label of new files")?;
    let result = work();
    // An empty value takes it back, which `fs::write` would not even write.
    let attribute = crate::sys::open(CREATE, rustix::fs::OFlags::WRONLY)?;
    rustix::io::write(&attribute, b"\n").context("reset the label of new files")?;
    Ok(result)
}

/// A policy in the making.
#[derive(Default)]
struct Policy(Vec<u8>);

impl Policy {
    fn numbers(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A name with its length, and with numbers between the two.
    fn named(&mut self, name: &str, numbers: &[u32]) {
        self.numbers(&[length(name)]);
        self.numbers(numbers);
        self.text(name);
    }

    /// A set of values; the lowest value is 1.
    fn set(&mut self, values: u64) {
        self.numbers(&[64, 64, 1, 0]);
        self.0.extend_from_slice(&values.to_le_bytes());
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.len()).expect("names are short")
}

/// The values of the role of objects, which the kernel gives, and of that of processes.
const OBJECT_ROLE: u32 = 1;
const ROLE: u32 = 2;

/// All initial contexts; the first is that of processes.
const INITIAL: std::ops::RangeInclusive<u32> = 1..=27;

fn policy() -> Vec<u8> {
    const MAGIC: u32 = 0xf97c_ff8c;
    const VERSION: u32 = 15;
    const ALLOW_UNKNOWN: u32 = 4;
    const BY_ATTRIBUTE: u32 = 1;

    let types = u32::try_from(TYPES.len()).expect("types are few");
    let mut policy = Policy::default();
    policy.numbers(&[MAGIC]);
    policy.named("SE Linux", &[]);
    // Five tables of names, and six of contexts.
    policy.numbers(&[VERSION, ALLOW_UNKNOWN, 5, 6]);
    // Permissions that classes have in common: none.
    policy.numbers(&[0, 0]);
    // The one class that there must be, with what there must be of it, and those of files, whose labels
    // could not be changed otherwise.
    let classes = u32::try_from(FILES.len() + 1).expect("classes are few");
    policy.numbers(&[classes, classes]);
    policy.numbers(&[length("process"), 0, 1, 2, 2, 0]);
    policy.text("process");
    policy.named("transition", &[1]);
    policy.named("dyntransition", &[2]);
    for (value, name) in (2..).zip(FILES) {
        policy.numbers(&[length(name), 0, value, 0, 0, 0]);
        policy.text(name);
    }
    // Roles.
    policy.numbers(&[ROLE, 1]);
    policy.named("role", &[ROLE]);
    policy.set(1 << (ROLE - 1));
    policy.set((1 << types) - 1);
    policy.numbers(&[types, types]);
    for (value, name) in (1..).zip(TYPES) {
        policy.named(name, &[value, 1]);
    }
    // Users.
    policy.numbers(&[1, 1]);
    policy.named("user", &[1]);
    policy.set((1 << (OBJECT_ROLE - 1)) | (1 << (ROLE - 1)));
    // One rule, since there must be one: the first type may do with processes of its own what there is.
    policy.numbers(&[1, 5, 1, 1, 1, 1, 3]);
    // Neither roles that follow others nor such that may.
    policy.numbers(&[0, 0]);
    policy.numbers(&[*INITIAL.end()]);
    for number in INITIAL {
        let role = if number == 1 { ROLE } else { OBJECT_ROLE };
        policy.numbers(&[number, 1, role, 1]);
    }
    // Filesystems of old, ports, interfaces, nodes.
    policy.numbers(&[0, 0, 0, 0]);
    policy.numbers(&[u32::try_from(LABELLED.len()).expect("filesystems are few")]);
    for name in LABELLED {
        policy.numbers(&[BY_ATTRIBUTE, length(name)]);
        policy.text(name);
        policy.numbers(&[1, OBJECT_ROLE, 1]);
    }
    // Filesystems whose labels the policy gives.
    policy.numbers(&[0]);
    policy.0
}
