// SPDX-License-Identifier: GPL-2.0-only

//! Directory listings: positions, buffers and several readers at once.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::check;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::registry::Test;
use crate::sys;
use crate::sys::Entry;

pub const TESTS: &[Test] = &[
    Test::new("readdir_seek_to_every_position", "R2 R6", every_position).on_disks_too(),
    Test::new("readdir_seek_in_pure_dir", "R1 R6", in_pure_dir).on_disks_too(),
    Test::new("readdir_rewind", "R3 R6", rewind).on_disks_too(),
    Test::new("readdir_seek_past_the_end", "R2 R6", past_the_end),
    Test::new("readdir_seek_whence", "R6", whence),
    Test::new("readdir_small_buffers", "R2", small_buffers).on_disks_too(),
    Test::new("readdir_buffer_too_small", "R2", buffer_too_small),
    Test::new("readdir_several_readers", "R3", several_readers),
    Test::new("readdir_duplicated_descriptor", "R3", duplicated_descriptor),
    Test::new("readdir_parallel", "R5 R3", parallel),
    Test::new("readdir_open_iteration_is_frozen", "R3 R2", frozen),
    Test::new("readdir_at_end_stays_at_end", "R2", at_end),
    Test::new(
        "readdir_dir_of_hidden_names",
        "R2 1.9 X1",
        dir_of_hidden_names,
    ),
    Test::new("readdir_dir_becomes_impure", "R4 X4 1.10", becomes_impure).on_disks_too(),
    Test::new("readdir_of_dir_that_moves", "R4 1.10", of_dir_that_moves).on_disks_too(),
    Test::new("readdir_fsync_of_dir", "R6 F6", fsync_of_dir),
];

/// A merged directory `m` of 300 names, and a pure one `p` of 100.
fn directories(fx: &Fixture) -> Result<Mounted> {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for layer in [&top, &bottom] {
        layer.dir("m")?;
    }
    bottom.dir("p")?;
    for n in 0..300 {
        let name = format!("m/name-{n}");
        [&top, &bottom][n % 2].file(&name, "")?;
        if n % 3 == 0 {
            bottom.file(&name, "")?;
        }
    }
    for n in 0..100 {
        bottom.file(format!("p/name-{n}"), "")?;
    }
    fx.lowers(&[&top, &bottom])
}

fn rest(dir: &OwnedFd) -> Result<Vec<Entry>> {
    Ok(sys::read_entries(dir, 1024)?)
}

/// Seeking to the position of any entry gives what follows it.
fn positions(dir: &OwnedFd, count: usize) -> Result {
    let all = rest(dir)?;
    check::equal("entries", all.len(), count + 2)?;
    for (index, entry) in all.iter().enumerate().step_by(7) {
        rustix::fs::seek(dir, SeekFrom::Start(entry.next))?;
        let after = rest(dir)?;
        check::equal(
            format_args!("after entry {index}"),
            &after[..],
            &all[index + 1..],
        )?;
    }
    Ok(())
}

fn every_position(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    positions(&sys::open_dir(ov.join("m"))?, 300)?;
    // A position is good for any descriptor that is open at the same time.
    let (one, two) = (sys::open_dir(ov.join("m"))?, sys::open_dir(ov.join("m"))?);
    let all = rest(&one)?;
    rustix::fs::seek(&two, SeekFrom::Start(all[150].next))?;
    check::equal("in another descriptor", &rest(&two)?[..], &all[151..])
}

fn in_pure_dir(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    positions(&sys::open_dir(ov.join("p"))?, 100)
}

fn rewind(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    for name in ["m", "p"] {
        let dir = sys::open_dir(ov.join(name))?;
        let all = rest(&dir)?;
        for _ in 0..3 {
            rustix::fs::seek(&dir, SeekFrom::Start(0))?;
            check::equal("after the rewind", rest(&dir)?, all.clone())?;
        }
        // In the middle.
        rustix::fs::seek(&dir, SeekFrom::Start(0))?;
        sys::read_some(&dir, 512)?;
        rustix::fs::seek(&dir, SeekFrom::Start(0))?;
        check::equal("after the second rewind", rest(&dir)?, all)?;
    }
    Ok(())
}

fn past_the_end(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    let dir = sys::open_dir(ov.join("m"))?;
    check::equal("entries", rest(&dir)?.len(), 302)?;
    let at = rustix::fs::seek(&dir, SeekFrom::Start(1_000_000))?;
    check::equal("position", at, 1_000_000)?;
    check::equal("entries there", rest(&dir)?.len(), 0)?;
    rustix::fs::seek(&dir, SeekFrom::Start(0))?;
    check::equal("entries again", rest(&dir)?.len(), 302)
}

fn whence(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    let dir = sys::open_dir(ov.join("m"))?;
    let first = sys::read_some(&dir, 512)?;
    let Some(last) = first.last() else {
        return Err(check::Failure::new("getdents gave nothing"));
    };
    check::equal("position", rustix::fs::tell(&dir)?, last.next)?;
    let at = rustix::fs::seek(&dir, SeekFrom::Current(0))?;
    check::equal("position by SEEK_CUR", at, last.next)?;
    let after = rest(&dir)?;
    check::equal("all entries", first.len() + after.len(), 302)?;
    rustix::fs::seek(&dir, SeekFrom::Start(last.next))?;
    let at = rustix::fs::seek(&dir, SeekFrom::Current(1))?;
    check::equal("position one on", at, last.next + 1)?;
    check::equal("entries from there", &rest(&dir)?[..], &after[1..])?;
    let result = rustix::fs::seek(&dir, SeekFrom::End(0));
    check::errno("SEEK_END", result, Errno::INVAL)?;
    let result = rustix::fs::seek(&dir, SeekFrom::Data(0));
    check::errno("SEEK_DATA", result, Errno::INVAL)?;
    rustix::fs::seek(&dir, SeekFrom::Start(0))?;
    let result = rustix::fs::seek(&dir, SeekFrom::Current(-1));
    check::errno("before the start", result, Errno::INVAL)
}

fn small_buffers(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    for name in ["m", "p"] {
        let all = sys::list(ov.join(name))?;
        for size in [40, 48, 64, 100, 333, 4096] {
            let dir = sys::open_dir(ov.join(name))?;
            let entries = sys::read_entries(&dir, size)?;
            check::equal(format_args!("{size} bytes at a time"), entries, all.clone())?;
        }
    }
    Ok(())
}

/// A buffer that does not hold the next entry is an error, and nothing is lost.
fn buffer_too_small(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for layer in [&top, &bottom] {
        layer.dir("m")?;
    }
    bottom.file(format!("m/{}", "x".repeat(200)), "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let dir = sys::open_dir(ov.join("m"))?;
    check::errno("8 bytes", sys::read_entries(&dir, 8), Errno::INVAL)?;
    // Enough for the dots alone.
    check::errno("64 bytes", sys::read_entries(&dir, 64), Errno::INVAL)?;
    rustix::fs::seek(&dir, SeekFrom::Start(0))?;
    check::equal("entries", sys::read_entries(&dir, 512)?.len(), 3)
}

fn several_readers(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    let all = sys::list(ov.join("m"))?;
    let dirs: Vec<_> = (0..5)
        .map(|_| sys::open_dir(ov.join("m")))
        .collect::<std::result::Result<_, _>>()?;
    let mut seen = vec![Vec::new(); dirs.len()];
    // Each reader takes its own step, in turns.
    while seen.iter().any(|entries| entries.len() < all.len()) {
        for (index, dir) in dirs.iter().enumerate() {
            let step = sys::read_some(dir, 100 + 150 * index)?;
            seen[index].extend(step);
        }
    }
    for entries in seen {
        check::equal("entries of a reader", entries, all.clone())?;
    }
    Ok(())
}

/// Descriptors of one open file share the position.
fn duplicated_descriptor(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    let all = sys::list(ov.join("m"))?;
    let one = sys::open_dir(ov.join("m"))?;
    let two = one.try_clone()?;
    let mut seen = sys::read_some(&one, 1000)?;
    seen.extend(sys::read_some(&two, 1000)?);
    drop(one);
    seen.extend(rest(&two)?);
    check::equal("entries", seen, all)
}

fn parallel(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    let all = sys::list(ov.join("m"))?;
    let shared = sys::open_dir(ov.join("m"))?;
    std::thread::scope(|scope| {
        let read = |_| scope.spawn(|| (0..20).map(|_| sys::list(ov.join("m"))).collect::<Vec<_>>());
        let threads: Vec<_> = (0..4).map(read).collect();
        // Two threads share a descriptor: each entry goes to one of them.
        let halves = [0, 1].map(|_| scope.spawn(|| sys::read_entries(&shared, 256)));
        for thread in threads {
            for listing in thread.join().expect("threads do not panic") {
                check::equal("listing", listing?, all.clone())?;
            }
        }
        let mut together = Vec::new();
        for half in halves {
            together.extend(half.join().expect("threads do not panic")?);
        }
        together.sort_by_key(|entry| entry.next);
        let mut expected = all.clone();
        expected.sort_by_key(|entry| entry.next);
        check::equal("entries of both", together, expected)
    })
}

/// Looking things up and listing elsewhere does not disturb an iteration.
fn frozen(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    let all = sys::list(ov.join("m"))?;
    let dir = sys::open_dir(ov.join("m"))?;
    let mut seen = sys::read_some(&dir, 1000)?;
    for entry in &all {
        sys::lstat(ov.join("m").join(&entry.name))?;
    }
    check::equal("listing between", sys::list(ov.join("m"))?, all.clone())?;
    check::errno("missing", sys::lstat(ov.join("m/no")), Errno::NOENT)?;
    seen.extend(rest(&dir)?);
    check::equal("entries", seen, all)
}

fn at_end(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    for name in ["m", "p"] {
        let dir = sys::open_dir(ov.join(name))?;
        rest(&dir)?;
        for _ in 0..3 {
            check::equal("entries at the end", rest(&dir)?.len(), 0)?;
        }
    }
    Ok(())
}

/// A directory whose lower names are all hidden, by whiteouts or by an opaque mark between.
fn dir_of_hidden_names(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    layers[0].dir("w")?.dir("o")?;
    layers[1].dir("w")?.opaque_dir("o")?;
    layers[2].dir("w")?.dir("o")?;
    for n in 0..50 {
        layers[1].whiteout(format!("w/{n}"))?;
        layers[2]
            .file(format!("w/{n}"), "")?
            .file(format!("o/{n}"), "")?;
    }
    let ov = fx.lowers(&layers)?;
    for name in ["w", "o"] {
        let dir = sys::open_dir(ov.join(name))?;
        let entries = rest(&dir)?;
        check::ok(entries.iter().all(Entry::is_dot), "hidden names are listed")?;
        check::equal("entries", entries.len(), 2)?;
        rustix::fs::seek(&dir, SeekFrom::Start(entries[0].next))?;
        check::equal("after the first", rest(&dir)?.len(), 1)?;
    }
    Ok(())
}

/// The directory above is that in which an open one is now.
fn of_dir_that_moves(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let parents = ["a", "b", "a", "c"];
    lower.dir("a")?.dir("b")?;
    let ov = fx.upper(&upper, &[&lower])?;
    sys::mkdir(&ov.join("c"), 0o755)?;
    sys::mkdir(&ov.join("a/d"), 0o755)?;
    let dir = sys::open_dir(ov.join("a/d"))?;
    let mut last = "a";
    for parent in parents {
        fs::rename(ov.join(last).join("d"), ov.join(parent).join("d"))?;
        last = parent;
        for _ in 0..2 {
            rustix::fs::seek(&dir, SeekFrom::Start(0))?;
            let entries = rest(&dir)?;
            let above = entries.iter().find(|entry| entry.name == "..");
            let number = sys::lstat(ov.join(parent))?.st_ino;
            check::equal(parent, above.map(|above| above.ino), Some(number))?;
        }
    }
    Ok(())
}

/// What was copied up, and comes while its new directory is read, is listed with the number that it has.
fn becomes_impure(fx: &Fixture) -> Result {
    const COPIES: usize = 16;
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for n in 0..COPIES {
        lower.file(format!("copy-{n}"), "")?;
    }
    let ov = fx.upper(&upper, &[&lower])?;
    sys::mkdir(&ov.join("d"), 0o755)?;
    for n in 0..100 {
        fs::write(ov.join(format!("d/name-{n}")), "")?;
    }
    for n in 0..COPIES {
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(ov.join(format!("copy-{n}")), mode)?;
    }
    let dir = sys::open_dir(ov.join("d"))?;
    let mut entries = sys::read_some(&dir, 128)?;
    for n in 0..COPIES {
        let name = format!("copy-{n}");
        fs::rename(ov.join(&name), ov.join("d").join(&name))?;
    }
    entries.extend(rest(&dir)?);
    // Whether the new names are among them is up to the filesystem.
    check::ok(entries.len() >= 102, format_args!("{}", entries.len()))?;
    for entry in entries.iter().filter(|entry| !entry.is_dot()) {
        let number = sys::lstat(ov.join("d").join(&entry.name))?.st_ino;
        check::equal(entry.name.to_string_lossy(), entry.ino, number)?;
    }
    Ok(())
}

fn fsync_of_dir(fx: &Fixture) -> Result {
    let ov = directories(fx)?;
    for name in ["m", "p", ""] {
        let dir = sys::open_dir(ov.join(name))?;
        rustix::fs::fsync(&dir)?;
        rustix::fs::fdatasync(&dir)?;
    }
    rustix::fs::syncfs(&sys::open_dir(ov.path())?)?;
    Ok(())
}
