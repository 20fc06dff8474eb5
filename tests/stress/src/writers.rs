// SPDX-License-Identifier: GPL-2.0-only

//! Writers of one tree, and what must be true of it afterwards.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::faults::Failing;
use rovl_kit::faults::Faults;
use rovl_kit::kmod;
use rovl_kit::ktap::Passed;
use rovl_kit::mounts;
use rovl_kit::mounts::Overlay;
use rovl_kit::random::Random;
use rovl_kit::sys;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::actions::copied_file;
use crate::actions::own_file;
use crate::actions::Writer;
use crate::actions::DIRS;
use crate::actions::FILES;
use crate::actions::OWN_BLOCKS;
use crate::crew::Crew;
use crate::tally::Tally;
use crate::Load;
use rovl_kit::blocks;
use rovl_kit::blocks::block;
use rovl_kit::snapshot::Snapshot;

/// How long the writers work in one upper layer, in seconds: after that there is little left to copy up.
const SLICE: u64 = 10;
/// How many upper layers there are at least, however little time there is.
const LEAST: u64 = 3;

/// What came of the work in one upper layer, or in all of them.
#[derive(Default)]
struct Work {
    tally: Tally,
    beside: u64,
    paths: usize,
}

/// Runs writers on upper layers on this filesystem, one after the other. With `faults`, allocations
/// fail.
pub fn run(fs_type: &str, load: Load, upper: &str, faults: bool) -> Result<Passed> {
    let Some(place) = mounts::backing(upper)? else {
        return Ok(Passed::Skipped(format!("there is no disk {upper}")));
    };
    if faults && !Faults::are_there() {
        return Ok(Passed::Skipped("the kernel injects no faults".to_owned()));
    }
    let lowers = [place.join("middle"), place.join("bottom")];
    make_layers(&lowers, load)?;
    let untouched = lowers_seen(&lowers)?;
    let slices = (load.time.as_secs() / SLICE).max(LEAST);
    let mut all = Work::default();
    for number in 0..slices {
        let slice = Load {
            time: load.time.div_f64(slices as f64),
            seed: load.seed * 1000 + number,
            ..load
        };
        let done = slice_of_work(fs_type, &lowers, &place, slice, faults)
            .with_context(|| format!("upper layer {number}"))?;
        all.tally.add(&done.tally);
        all.beside += done.beside;
        all.paths += done.paths;
    }
    all.tally.check()?;
    let total = all.tally.total();
    ensure!(
        !faults || total.without_memory > 0,
        "no step was refused for want of memory"
    );
    for (before, after) in untouched.iter().zip(&lowers_seen(&lowers)?) {
        before.compare(after, "in a lower layer")?;
    }
    mounts::release(upper)?;
    kmod::unload(fs_type)?;
    kmod::ensure_type(fs_type)?;
    Ok(Passed::Did(format!(
        "{} threads, {} of {} steps succeeded in {slices} upper layers, {} mounts beside, {} paths left",
        load.threads, total.succeeded, total.steps, all.beside, all.paths
    )))
}

/// Lets the writers work in a fresh upper layer, and looks at what they leave.
fn slice_of_work(
    fs_type: &str,
    lowers: &[PathBuf; 2],
    place: &Path,
    load: Load,
    faults: bool,
) -> Result<Work> {
    let (upper, work) = (place.join("upper"), place.join("work"));
    let point = Path::new(mounts::BASE).join("mnt");
    let overlay = Overlay::of(fs_type, lowers).upper(&upper, &work)?;
    overlay.mount(&point)?;

    let done = work_in(&point, fs_type, lowers, place, load, faults)?;

    // What the caches say is what the layers say.
    let warm = Snapshot::take(&point, true)?;
    rustix::fs::sync();
    sys::drop_caches(3)?;
    warm.compare(&Snapshot::take(&point, true)?, "without caches")?;
    mounts::unmount(&point)?;
    overlay.mount(&point)?;
    mounts::check_work(&work)?;
    warm.compare(&Snapshot::take(&point, true)?, "after mounting again")?;
    for (path, data) in &done.known {
        let found = fs::read(point.join(path)).with_context(|| path.clone())?;
        blocks::compare(&found, data).with_context(|| format!("{path} after mounting again"))?;
    }
    mounts::unmount(&point)?;
    fs::remove_dir_all(&upper)?;
    fs::remove_dir_all(&work)?;
    Ok(Work {
        tally: done.tally,
        beside: done.beside,
        paths: warm.count(),
    })
}

/// What threads did, how many mounts came and went meanwhile, and what is in the files that only one
/// thread changed.
struct Done {
    tally: Tally,
    beside: u64,
    known: Vec<(String, Vec<u8>)>,
}

/// Lets the threads work.
fn work_in(
    point: &Path,
    fs_type: &str,
    lowers: &[PathBuf],
    place: &Path,
    load: Load,
    has_faults: bool,
) -> Result<Done> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(point, flags, Mode::empty())?;
    // Where tmpfs cannot allocate, it says that there is no space; where a page of this program
    // is missing, the kernel cannot copy. overlayfs turns some of it into EIO.
    let also: &[Errno] = if !has_faults {
        &[]
    } else if fs_type == "overlay" {
        &[Errno::NOMEM, Errno::NOSPC, Errno::FAULT, Errno::IO]
    } else {
        &[Errno::NOMEM, Errno::NOSPC, Errno::FAULT]
    };
    let mut writers = (0..load.threads)
        .map(|number| Writer::new(&root, number, load.threads, also))
        .collect::<Result<Vec<_>>>()?;
    let crew = Crew::for_time(load.time);
    let beside = Crew::for_time(load.time);
    let faults = has_faults.then(Faults::begin).transpose()?;
    std::thread::scope(|scope| {
        for (number, writer) in writers.iter_mut().enumerate() {
            let seed = load.seed * 1000 + number as u64;
            crew.start(scope, format!("writer {number}"), seed, move |random| {
                let _failing = has_faults.then(Failing::begin).transpose()?;
                writer.step(random)
            });
        }
        beside.start(scope, "beside".to_owned(), load.seed, |random| {
            mount_beside(fs_type, lowers, place, load.threads, random)
        });
    });
    drop(faults);
    crew.finish()?;
    let mut done = Done {
        tally: Tally::default(),
        beside: beside.finish()?,
        known: Vec::new(),
    };
    for writer in &writers {
        done.tally.add(writer.tally());
        let known = writer.known();
        let known = known.map(|(path, data)| (path.to_owned(), data.to_owned()));
        done.known.extend(known);
    }
    Ok(done)
}

/// The lower layers: all that the writers know by name is in one of them or in both.
fn make_layers(lowers: &[PathBuf; 2], load: Load) -> Result<()> {
    let mut random = Random::new(load.seed);
    let mut file = |path: PathBuf, blocks: usize| -> Result<()> {
        fs::create_dir_all(path.parent().context("a path without parent")?)?;
        let data: Vec<u8> = (0..blocks).flat_map(|_| block(random.number())).collect();
        Ok(fs::write(path, data)?)
    };
    let [middle, bottom] = lowers;
    for dir in DIRS {
        for number in 0..FILES {
            let name = format!("{dir}/f{number}");
            match number % 4 {
                0 => file(middle.join(name), number * 3)?,
                1 | 2 => file(bottom.join(name), number * 5)?,
                _ => {}
            }
        }
        file(middle.join(dir).join("s0/f0"), 3)?;
        file(bottom.join(dir).join("s0/f1"), 30)?;
        // One file by two names.
        fs::hard_link(bottom.join(dir).join("f1"), bottom.join(dir).join("f3"))?;
    }
    for number in 0..load.threads {
        file(bottom.join(own_file(number)), OWN_BLOCKS)?;
        file(bottom.join(copied_file(number)), OWN_BLOCKS)?;
    }
    Ok(())
}

fn lowers_seen(lowers: &[PathBuf]) -> Result<Vec<Snapshot>> {
    let seen = lowers.iter().map(|lower| Snapshot::take(lower, true));
    seen.collect()
}

/// Mounts the same lower layers under an upper of their own, changes something, and unmounts.
fn mount_beside(
    fs_type: &str,
    lowers: &[PathBuf],
    place: &Path,
    threads: usize,
    random: &mut Random,
) -> Result<()> {
    let point = Path::new(mounts::BASE).join("beside");
    let (upper, work) = (place.join("upper2"), place.join("work2"));
    let overlay = Overlay::of(fs_type, lowers);
    if random.one_in(3) {
        overlay.mount(&point)?;
        Snapshot::take(&point, true).context("beside, lower layers alone")?;
        return mounts::unmount(&point);
    }
    overlay.upper(&upper, &work)?.mount(&point)?;
    mounts::check_work(&work)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root: OwnedFd = rustix::fs::open(&point, flags, Mode::empty())?;
    let mut writer = Writer::new(&root, 0, threads, &[]).context("beside")?;
    for _ in 0..random.below(20) {
        writer.step(random).context("beside")?;
    }
    drop(writer);
    drop(root);
    mounts::unmount(&point)?;
    if random.one_in(4) {
        fs::remove_dir_all(&upper)?;
        fs::remove_dir_all(&work)?;
    }
    Ok(())
}
