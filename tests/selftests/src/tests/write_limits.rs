// SPDX-License-Identifier: GPL-2.0-only

//! What stands in the way of writing: no space, limits, leases, locks, running programs, a frozen filesystem.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::FallocateFlags;
use rustix::fs::FlockOperation;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::MountFlags;
use rustix::process::getrlimit;
use rustix::process::setrlimit;
use rustix::process::Resource;
use rustix::process::Rlimit;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::expect::data;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::rawsys;
use crate::rawsys::Lease;
use crate::registry::Backing;
use crate::registry::Test;
use crate::sys;
use crate::sys::Ignored;
use crate::victim::each;
use crate::victim::old_data;
use crate::victim::Victim;

pub const TESTS: &[Test] = &[
    Test::new("write_without_space", "F3 F22", without_space),
    Test::new("write_beyond_the_size_limit", "F3", |fx| {
        each(fx, beyond_size_limit)
    }),
    Test::new("write_beyond_the_largest_file", "F3 F8 F24", |fx| {
        each(fx, beyond_largest)
    })
    .on_disks_in_their_way(),
    Test::new("write_breaks_leases", "F10 C1", |fx| {
        each(fx, breaks_leases)
    }),
    Test::new("write_leases", "F10", |fx| each(fx, leases)),
    Test::new("write_locks", "F10", |fx| each(fx, locks)),
    Test::new("write_to_a_running_program", "F1", running_program),
    Test::new("write_cannot_cut_a_running_program", "F1 C2", cut_running),
    Test::new("write_to_swap_space", "F10", |fx| each(fx, swap_space)).on_disks_in_their_way(),
    Test::new("write_waits_for_thaw", "F3 C6", thaw).on_disks_in_their_way(),
    Test::new("write_volatile", "M15 M16 F3 F6", volatile).on_disks_in_their_way(),
    Test::new("write_after_detaching_the_mount", "F1 F3", |fx| {
        each(fx, detached)
    }),
];

/// What fits is written, what does not is said not to be.
fn without_space(fx: &Fixture) -> Result {
    let disk = fx.place("small")?;
    let options = c"size=256k,mode=755";
    mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), options).context("mount tmpfs")?;
    fx.adopt(&disk);
    let upper = Layer::create(disk.join("upper"))?;
    let work = Layer::create(disk.join("work"))?;
    let lower = fx.layer("lower")?;
    lower.file("f", old_data())?;
    let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
    let mut file = std::fs::File::create(ov.join("f"))?;
    let block = sys::pattern(4096, 61);
    let mut written = 0;
    let error = loop {
        match file.write(&block) {
            Ok(length) => written += length,
            Err(error) => break error,
        }
    };
    check::equal("error", Errno::from_io_error(&error), Some(Errno::NOSPC))?;
    check::ok(written > 0, "nothing is written")?;
    let size = sys::stat(ov.join("f"))?.st_size;
    check::equal("size", size, written as i64)?;
    let result = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20);
    check::errno("fallocate", result, Errno::NOSPC)?;
    let expected: Vec<u8> = block.iter().copied().cycle().take(written).collect();
    data(upper.join("f"), &expected)?;
    data(ov.join("f"), &expected)
}

fn beyond_size_limit(v: &Victim<'_>) -> Result {
    let limit = getrlimit(Resource::Fsize);
    let file = v.file()?;
    let low = Rlimit {
        current: Some(20_000),
        ..limit
    };
    setrlimit(Resource::Fsize, low)?;
    // The signal would end this process.
    let result = sys::ignoring(Ignored::FileSize, || {
        let across = rustix::io::pwrite(&file, &[b'x'; 1000], 19_500);
        (across, rustix::io::pwrite(&file, b"y", 20_000))
    });
    setrlimit(Resource::Fsize, limit)?;
    let (across, behind) = result?;
    check::equal("across the limit", across, Ok(500))?;
    check::errno("behind the limit", behind, Errno::FBIG)?;
    let mut expected = old_data();
    expected.resize(19_500, 0);
    expected.extend_from_slice(&[b'x'; 500]);
    v.has(&expected)
}

/// The layer's filesystem says where files end.
fn beyond_largest(v: &Victim<'_>) -> Result {
    let plain = v.fx.root().join("plain");
    std::fs::write(&plain, old_data())?;
    let (fd, real) = (v.open(OFlags::RDWR)?, sys::open(&plain, OFlags::RDWR)?);
    let last = i64::MAX as u64;
    for at in [1 << 44, (1 << 44) - 4096, last - 1, last - 4096] {
        let expected = rustix::io::pwrite(&real, b"x", at);
        let result = rustix::io::pwrite(&fd, b"x", at);
        check::equal(format_args!("write at {at}"), result, expected)?;
        let expected = rustix::fs::seek(&real, rustix::fs::SeekFrom::Start(at));
        let result = rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(at));
        check::equal(format_args!("seek to {at}"), result, expected)?;
        let none = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let expected = rustix::fs::fallocate(&real, none, at, 1);
        let result = rustix::fs::fallocate(&fd, none, at, 1);
        check::equal(format_args!("hole at {at}"), result, expected)?;
    }
    let size = sys::stat(plain)?.st_size;
    check::equal("size", sys::stat(v.path())?.st_size, size)
}

fn breaks_leases(v: &Victim<'_>) -> Result {
    let reader = v.open(OFlags::RDONLY)?;
    rawsys::set_lease(&reader, Lease::Read)?;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    let result = sys::ignoring(Ignored::LeaseBreak, || sys::open(v.path(), flags))?;
    check::errno("open in spite of the lease", result, Errno::AGAIN)?;
    // Whoever was asked gives it back.
    rawsys::set_lease(&reader, Lease::None)?;
    let file = v.file()?;
    file.write_all_at(b"new", 0)?;
    let mut expected = old_data();
    expected[..3].copy_from_slice(b"new");
    v.has(&expected)
}

fn leases(v: &Victim<'_>) -> Result {
    let writer = v.open(OFlags::RDWR)?;
    rawsys::set_lease(&writer, Lease::Write)?;
    check::equal("taken", rawsys::lease(&writer), Ok(Lease::Write))?;
    rawsys::set_lease(&writer, Lease::None)?;
    let result = rawsys::set_lease(&writer, Lease::Read);
    check::errno("read lease of a writer", result, Errno::AGAIN)?;
    let other = v.open(OFlags::RDONLY)?;
    let result = rawsys::set_lease(&writer, Lease::Write);
    check::errno("write lease beside a reader", result, Errno::AGAIN)?;
    let result = rawsys::set_lease(&other, Lease::Read);
    check::errno("read lease beside a writer", result, Errno::AGAIN)
}

fn locks(v: &Victim<'_>) -> Result {
    use FlockOperation as Lock;
    let (one, two) = (v.open(OFlags::RDWR)?, v.open(OFlags::RDWR)?);
    rustix::fs::flock(&one, Lock::NonBlockingLockExclusive)?;
    let result = rustix::fs::flock(&two, Lock::NonBlockingLockExclusive);
    check::errno("second lock", result, Errno::AGAIN)?;
    rustix::io::write(&two, b"in spite of it")?;
    rustix::fs::flock(&one, Lock::Unlock)?;
    rustix::fs::fcntl_lock(&one, Lock::NonBlockingLockExclusive)?;
    let mine = rustix::fs::fcntl_lock(&two, Lock::NonBlockingLockExclusive);
    check::equal("lock of the same process", mine, Ok(()))?;
    // The layer's file is another file, as far as locks go.
    let real = sys::open(v.upper.join(v.name), OFlags::RDWR)?;
    Ok(rustix::fs::flock(&real, Lock::NonBlockingLockExclusive)?)
}

fn running_program(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for (layer, name) in [(&upper, "up"), (&lower, "low")] {
        std::fs::copy("/bin/busybox", layer.join(name)).context("copy a program")?;
        layer.chmod(name, 0o755)?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    for name in ["up", "low"] {
        let path = ov.join(name);
        let run = |args: &[&str]| {
            let mut command = Command::new(&path);
            command.arg0("busybox").args(args);
            command
        };
        let mut running = run(&["sleep", "1000"]).spawn()?;
        let result = sys::open(&path, OFlags::WRONLY);
        let killed = running.kill().and_then(|()| running.wait());
        check::errno(format_args!("write to {name}"), result, Errno::TXTBSY)?;
        killed?;
        let writer = sys::open(&path, OFlags::WRONLY)?;
        let result = run(&["true"]).status();
        check::errno(format_args!("run {name}"), result, Errno::TXTBSY)?;
        drop(writer);
        let status = run(&["true"]).status()?;
        check::ok(status.success(), format_args!("{name} cannot be run"))?;
    }
    Ok(())
}

/// Nor does a file of the lower layer lose its data, which overlayfs lets happen.
fn cut_running(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for (layer, name) in [(&upper, "up"), (&lower, "low")] {
        std::fs::copy("/bin/busybox", layer.join(name)).context("copy a program")?;
        layer.chmod(name, 0o755)?;
    }
    let size = sys::stat("/bin/busybox")?.st_size;
    let ov = fx.upper(&upper, &[&lower])?;
    for name in ["up", "low"] {
        let path = ov.join(name);
        let mut command = Command::new(&path);
        let mut running = command.arg0("busybox").args(["sleep", "1000"]).spawn()?;
        let read = sys::open(&path, OFlags::RDONLY | OFlags::TRUNC);
        let write = sys::open(&path, OFlags::WRONLY | OFlags::TRUNC);
        let cut = rawsys::truncate(&path, 0);
        let killed = running.kill().and_then(|()| running.wait());
        check::errno("opened to read", read, Errno::TXTBSY)?;
        check::errno("opened to write", write, Errno::TXTBSY)?;
        check::errno("truncate", cut, Errno::TXTBSY)?;
        killed?;
        let lost = name == "low" && !fx.module().is_rovl();
        let expected = if lost { 0 } else { size };
        check::equal(
            format_args!("size of {name}"),
            sys::stat(&path)?.st_size,
            expected,
        )?;
    }
    Ok(())
}

fn swap_space(v: &Victim<'_>) -> Result {
    let fd = v.open(OFlags::RDWR)?;
    let mut header = vec![0; 16 * 4096];
    header[1024] = 1;
    header[1028] = 15;
    header[4096 - 10..4096].copy_from_slice(b"SWAPSPACE2");
    rustix::io::pwrite(&fd, &header, 0)?;
    rustix::fs::fsync(&fd)?;
    rustix::fs::fchmod(&fd, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    let result = rawsys::swap_on(&v.path());
    check::errno("swapon", result, Errno::INVAL)?;
    // Nothing of the attempt is left.
    rustix::io::pwrite(&fd, b"data", 0)?;
    header[..4].copy_from_slice(b"data");
    v.has(&header)
}

/// Writing waits while the upper filesystem is frozen, reading does not.
fn thaw(fx: &Fixture) -> Result {
    if fx.backing() == Backing::Tmpfs {
        return Err(Failure::skip("tmpfs cannot be frozen"));
    }
    each(fx, |v| {
        let file = v.file()?;
        // So that the first change of the time is over.
        file.write_all_at(b"before", 0)?;
        let disk = sys::open_dir(v.fx.root())?;
        rawsys::freeze(&disk)?;
        let (sender, receiver) = mpsc::channel();
        let result: Result = std::thread::scope(|scope| {
            scope.spawn(|| {
                let written = file.write_all_at(b"frozen", 10);
                let _ = sender.send(written);
            });
            let early = receiver.recv_timeout(Duration::from_millis(200)).is_ok();
            let mut byte = [0];
            let read = v
                .open(OFlags::RDONLY)
                .map(|fd| rustix::io::pread(fd, &mut byte, 0));
            rawsys::thaw(&disk)?;
            check::equal("read", (read?, byte), (Ok(1), [b'b']))?;
            check::ok(!early, "written while frozen")?;
            let late = receiver.recv_timeout(Duration::from_secs(20))?;
            Ok(late?)
        });
        result?;
        let mut expected = old_data();
        expected[..6].copy_from_slice(b"before");
        expected[10..16].copy_from_slice(b"frozen");
        v.has(&expected)
    })
}

fn volatile(fx: &Fixture) -> Result {
    for mode in ["volatile", "fsync=volatile", "fsync=strict", "fsync=auto"] {
        let name = |what: &str| format!("{what}-{mode}");
        let (upper, lower) = (fx.layer(name("upper"))?, fx.layer(name("lower"))?);
        lower.file("f", old_data())?;
        let options = Options::new().lowers(&[&lower]).upper(&upper, &fx.work()?);
        let options = match mode.split_once('=') {
            Some((key, value)) => options.set(key, value),
            None => options.flag(mode),
        };
        let ov = fx.mount(&options).context(mode)?;
        let fd = sys::open(ov.join("f"), OFlags::RDWR | OFlags::SYNC)?;
        rustix::io::pwrite(&fd, b"synced", 0)?;
        check::equal("aio", rawsys::aio_write(&fd, b"aio", 100)?, 3)?;
        rustix::fs::fsync(&fd)?;
        rustix::fs::fdatasync(&fd)?;
        rustix::fs::syncfs(&fd)?;
        rustix::fs::fsync(sys::open_dir(ov.path())?)?;
        let mut expected = old_data();
        expected[..6].copy_from_slice(b"synced");
        expected[100..103].copy_from_slice(b"aio");
        data(ov.join("f"), &expected)?;
        data(upper.join("f"), &expected)?;
    }
    Ok(())
}

/// A descriptor keeps what it needs.
fn detached(v: &Victim<'_>) -> Result {
    let again = v.fx.mount_point()?;
    rustix::mount::mount_bind(v.ov.path(), &again)?;
    let fd = sys::open(again.join(v.name), OFlags::RDWR)?;
    rustix::mount::unmount(&again, rustix::mount::UnmountFlags::DETACH)?;
    rustix::io::pwrite(&fd, b"detached", 0)?;
    rustix::fs::fsync(&fd)?;
    let mut expected = old_data();
    expected[..8].copy_from_slice(b"detached");
    v.has(&expected)
}
