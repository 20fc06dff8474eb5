// SPDX-License-Identifier: GPL-2.0-only

//! Copying up when something goes wrong, or many want it at once.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Barrier;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::mount_remount;
use rustix::mount::MountFlags;

use super::copy_up::copy;
use super::copy_up::work_is_clean;
use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::data;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::rawsys;
use crate::registry::Test;
use crate::sys;
use crate::userns;

pub const TESTS: &[Test] = &[
    Test::new("copy_up_without_space", "C6", no_space),
    Test::new("copy_up_without_inodes", "C6", no_inodes),
    Test::new("copy_up_without_memory", "C6", no_memory),
    Test::new("copy_up_without_memory_to_cut", "C6 F14", no_memory_to_cut),
    Test::new("copy_up_of_unmapped_owner", "C6", unmapped_owner),
    Test::new("copy_up_upper_turned_read_only", "C6", turned_read_only),
    Test::new("copy_up_of_one_file_at_once", "C6", one_file).on_disks_too(),
    Test::new("copy_up_of_many_files_at_once", "C6", many_files).on_disks_too(),
    Test::new("remount_stops_writing", "A3", remount),
];

/// An overlay with upper on a filesystem of its own.
struct Setting {
    place: std::path::PathBuf,
    upper: Layer,
    work: Layer,
    lower: Layer,
}

impl Setting {
    /// Upper is a tmpfs with these options.
    fn new(fx: &Fixture, options: &std::ffi::CStr) -> Result<Self> {
        let place = fx.place("upper-fs")?;
        mount("tmpfs", &place, "tmpfs", MountFlags::empty(), options).context("mount tmpfs")?;
        fx.adopt(&place);
        Ok(Setting {
            upper: Layer::create(place.join("upper"))?,
            work: Layer::create(place.join("work"))?,
            lower: fx.layer("lower")?,
            place,
        })
    }

    fn mount(&self, fx: &Fixture) -> Result<Mounted> {
        let options = Options::new().lowers(&[&self.lower]);
        Ok(fx.mount(&options.upper(&self.upper, &self.work))?)
    }
}

fn no_space(fx: &Fixture) -> Result {
    let setting = Setting::new(fx, c"size=512k")?;
    let original = sys::pattern(1 << 20, 1);
    setting
        .lower
        .file("large", &original)?
        .file("small", "data")?;
    let ov = setting.mount(fx)?;
    let before = fs::metadata(ov.join("large"))?.ino();
    for _ in 0..2 {
        let open = sys::open(ov.join("large"), OFlags::WRONLY);
        check::errno("open", open, Errno::NOSPC)?;
        data(ov.join("large"), &original)?;
        check::equal("number", fs::metadata(ov.join("large"))?.ino(), before)?;
        absent(setting.upper.join("large"))?;
        work_is_clean(&setting.work)?;
    }
    // What was taken has been given back.
    copy(ov.join("small"))?;
    let fd = sys::open(ov.join("large"), OFlags::WRONLY | OFlags::TRUNC)?;
    rustix::io::write(&fd, b"short")?;
    content(ov.join("large"), "short")
}

fn no_inodes(fx: &Fixture) -> Result {
    let setting = Setting::new(fx, c"nr_inodes=12")?;
    setting
        .lower
        .dir("a/b/c/d/e/f/g/h/i")?
        .file("a/b/c/d/e/f/g/h/i/f", "data")?;
    let ov = setting.mount(fx)?;
    let path = ov.join("a/b/c/d/e/f/g/h/i/f");
    let open = sys::open(&path, OFlags::WRONLY);
    check::errno("open", open, Errno::NOSPC)?;
    content(&path, "data")?;
    check::ok(setting.upper.join("a/b").exists(), "nothing was copied")?;
    work_is_clean(&setting.work)?;
    // With more room it goes on where it stopped.
    mount_remount(&setting.place, MountFlags::empty(), c"nr_inodes=100")?;
    copy(&path)?;
    content(setting.upper.join("a/b/c/d/e/f/g/h/i/f"), "data")
}

/// The switches of one way to let allocations fail.
struct FaultSwitch(&'static str);

impl FaultSwitch {
    fn set(&self, name: &str, value: &str) -> Result {
        let path = Path::new("/sys/kernel/debug").join(self.0).join(name);
        fs::write(&path, value).context(format_args!("{path:?}"))
    }
}

/// What makes a copy, and what is in it then.
struct Cause {
    act: fn(&Path) -> std::result::Result<(), Errno>,
    content: &'static str,
}

/// Each allocation fails once, in turn.
fn no_memory(fx: &Fixture) -> Result {
    let open = |path: &Path| sys::open(path, OFlags::WRONLY).map(drop);
    each_allocation_fails(
        fx,
        &Cause {
            act: open,
            content: "data",
        },
    )
}

/// Who cuts a file, and fails, has cut nothing.
fn no_memory_to_cut(fx: &Fixture) -> Result {
    each_allocation_fails(
        fx,
        &Cause {
            act: |path| rawsys::truncate(path, 0),
            content: "",
        },
    )
}

fn each_allocation_fails(fx: &Fixture, cause: &Cause) -> Result {
    const FAULTS: [FaultSwitch; 2] = [FaultSwitch("failslab"), FaultSwitch("fail_page_alloc")];

    let debug = Path::new("/sys/kernel/debug");
    if !debug.join("failslab").exists() {
        match mount("debugfs", debug, "debugfs", MountFlags::empty(), None) {
            Ok(()) => fx.adopt(debug),
            // It is there already, of a kernel that has no faults to inject.
            Err(Errno::BUSY) => (),
            Err(error) => return Err(error).context("mount debugfs"),
        }
    }
    if !debug.join("failslab").exists() {
        return Err(Failure::skip("the kernel does not inject faults"));
    }
    for fault in FAULTS {
        fault.set("ignore-gfp-wait", "0")?;
        fault.set("verbose", "0")?;
    }
    // Single pages, and those of the page cache.
    FAULTS[1].set("min-order", "0")?;
    FAULTS[1].set("ignore-gfp-highmem", "0")?;
    let setting = Setting::new(fx, c"mode=755")?;
    for n in 1..MOST_ALLOCATIONS {
        let name = format!("d{n}/f");
        setting.lower.dir(format!("d{n}"))?.file(&name, "data")?;
        setting.lower.xattr(&name, "user.name", b"value")?;
    }
    let ov = setting.mount(fx)?;
    let switch = sys::open("/proc/thread-self/fail-nth", OFlags::RDWR)?;
    for n in 1..MOST_ALLOCATIONS {
        if !fail_once(&setting, &ov, &switch, cause, n)? {
            return check::ok(n > 20, format!("there were no more than {n} allocations"));
        }
    }
    Err(Failure::new("there is no end of allocations"))
}

/// More than one copy of a directory and a file takes.
const MOST_ALLOCATIONS: usize = 1000;

/// Lets the `n`th allocation of one copy fail. Returns whether there was one.
fn fail_once(
    setting: &Setting,
    ov: &Mounted,
    switch: &std::os::fd::OwnedFd,
    cause: &Cause,
    n: usize,
) -> Result<bool> {
    let name = format!("d{n}/f");
    let path = ov.join(&name);
    let (number, mut left) = (n.to_string(), [0; 16]);
    // Names are known, so that what fails is the copy.
    fs::metadata(&path)?;
    rustix::io::pwrite(switch, number.as_bytes(), 0)?;
    let result = (cause.act)(&path);
    let length = rustix::io::pread(switch, &mut left, 0)?;
    rustix::io::pwrite(switch, b"0", 0)?;
    let failed = left[..length].starts_with(b"0");
    let expected = match result {
        Ok(()) => cause.content,
        Err(_) => "data",
    };
    check_after_failure(setting, ov, &name, expected)
        .inspect_err(|_| eprintln!("allocation {n} failed, and the call said {result:?}"))?;
    if result.is_err() {
        (cause.act)(&path).context("once there is memory")?;
    }
    content(setting.upper.join(&name), cause.content)?;
    Ok(failed)
}

/// There is a whole copy, or none.
fn check_after_failure(setting: &Setting, ov: &Mounted, name: &str, expected: &str) -> Result {
    content(ov.join(name), expected)?;
    work_is_clean(&setting.work)?;
    match setting.upper.join(name) {
        copied if copied.exists() => content(copied, expected),
        _ => Ok(()),
    }
}

/// The mounter has no number for the owner.
fn unmapped_owner(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    lower.dir("d")?.file("d/f", "data")?.chmod("d/f", 0o666)?;
    lower
        .file("d/own", "data")?
        .chown("d/own", 100_000, 100_000)?;
    lower.chown("d", 100_000, 100_000)?;
    userns::run(fx, |fx, place| {
        let lower = Layer::create(fx.root().join("lower"))?;
        let layer = |name: &str| Layer::create(place.join(name));
        let (upper, work, ov) = (layer("upper")?, layer("work")?, layer("mnt")?);
        let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
        fx.mount_at(ov.path(), &options.flag("userxattr"))?;
        let open = sys::open(ov.join("d/f"), OFlags::WRONLY);
        check::errno("open", open, Errno::OVERFLOW)?;
        content(ov.join("d/f"), "data")?;
        copy(ov.join("d/own"))?;
        lists(upper.join("d"), &["own"])?;
        work_is_clean(&work)?;
        fx.unmount(ov.path())?;
        Ok(())
    })
}

fn turned_read_only(fx: &Fixture) -> Result {
    let setting = Setting::new(fx, c"mode=755")?;
    setting.lower.dir("d")?.file("d/f", "data")?;
    let ov = setting.mount(fx)?;
    mount_remount(&setting.place, MountFlags::RDONLY, c"")?;
    let open = sys::open(ov.join("d/f"), OFlags::WRONLY);
    check::errno("open", open, Errno::ROFS)?;
    content(ov.join("d/f"), "data")?;
    mount_remount(&setting.place, MountFlags::empty(), c"")?;
    copy(ov.join("d/f"))
}

/// All who want one file wait for one copy.
fn one_file(fx: &Fixture) -> Result {
    const THREADS: usize = 8;

    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    let original = sys::pattern((2 << 20) + 3, 1);
    lower.dir("a/b")?;
    for n in 0..4 {
        lower.file(format!("a/b/f{n}"), &original)?;
    }
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    for n in 0..4 {
        let path = ov.join(format!("a/b/f{n}"));
        let number = fs::metadata(&path)?.ino();
        let start = Barrier::new(THREADS);
        let place = |thread: usize| (thread * 4096) as u64;
        let write = |thread: usize| -> Result {
            start.wait();
            let fd = sys::open(&path, OFlags::WRONLY)?;
            check::equal("number", rustix::fs::fstat(&fd)?.st_ino, number)?;
            rustix::io::pwrite(&fd, &[thread as u8; 4096], place(thread))?;
            Ok(())
        };
        std::thread::scope(|scope| -> Result {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || write(thread)))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("threads do not panic"))
        })?;
        let mut expected = original.clone();
        for (thread, block) in expected.chunks_mut(4096).take(THREADS).enumerate() {
            block.fill(thread as u8);
        }
        data(&path, &expected)?;
        data(upper.join(format!("a/b/f{n}")), &expected)?;
    }
    work_is_clean(&work)
}

/// Files of one directory, and what is above it, are copied by all at once.
fn many_files(fx: &Fixture) -> Result {
    const THREADS: usize = 4;
    const FILES: usize = 24;

    let (upper, lower, work) = (fx.layer("upper")?, fx.layer("lower")?, fx.work()?);
    let name = |n: usize| format!("d/deep/er/f{n}");
    lower.dir("d/deep/er")?;
    for n in 0..FILES {
        lower.file(name(n), sys::pattern(5000 + n, n as u64))?;
    }
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    let (start, ov_ref) = (Barrier::new(THREADS), &ov);
    let copy_all = |thread: usize| -> Result {
        start.wait();
        (0..FILES).try_for_each(|n| copy(ov_ref.join(name((n + thread * 5) % FILES))))
    };
    let copy_all = &copy_all;
    std::thread::scope(|scope| -> Result {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || copy_all(thread)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("threads do not panic"))
    })?;
    for n in 0..FILES {
        let expected = sys::pattern(5000 + n, n as u64);
        data(upper.join(name(n)), &expected)?;
        data(ov.join(name(n)), &expected)?;
    }
    check::equal("names", sys::names(upper.join("d/deep/er"))?.len(), FILES)?;
    work_is_clean(&work)
}

fn remount(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.file("f", "data")?.file("g", "data")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let fd = sys::open(ov.join("f"), OFlags::WRONLY)?;
    check::errno(
        "remount while a file is open for writing",
        mount_remount(ov.path(), MountFlags::RDONLY, c""),
        Errno::BUSY,
    )?;
    drop(fd);
    mount_remount(ov.path(), MountFlags::RDONLY, c"").context("remount read-only")?;
    let open = sys::open(ov.join("g"), OFlags::WRONLY);
    check::errno("open", open, Errno::ROFS)?;
    check::errno("mkdir", sys::mkdir(&ov.join("d"), 0o755), Errno::ROFS)?;
    mount_remount(ov.path(), MountFlags::empty(), c"").context("remount read-write")?;
    copy(ov.join("g"))?;
    sys::mkdir(&ov.join("d"), 0o755)?;
    lists(upper.path(), &["d", "f", "g"])
}
