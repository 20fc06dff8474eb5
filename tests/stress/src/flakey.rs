// SPDX-License-Identifier: GPL-2.0-only

//! A disk that stops taking writes under the upper layer: callers are told, and what was synced
//! before is still there afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::sleep;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::dm;
use rovl_kit::dm::Mapped;
use rovl_kit::kmod;
use rovl_kit::ktap::Passed;
use rovl_kit::mounts;
use rovl_kit::mounts::Overlay;
use rovl_kit::random::Random;

use crate::crew::Crew;
use crate::Load;
use rovl_kit::blocks::block;
use rovl_kit::blocks::BLOCK;

/// How long the writers work in one upper layer, in seconds: after the disk has failed, nothing new
/// happens.
const CYCLE: u64 = 30;

/// Files of each thread, all of which a lower layer has.
const FILES: usize = 4;
/// How long each of them is, for good.
const BLOCKS: usize = 24;

pub fn run(fs_type: &str, load: Load, upper: &str) -> Result<Passed> {
    let Some(disk) = mounts::disk(upper) else {
        return Ok(Passed::Skipped(format!("there is no disk {upper}")));
    };
    if !kmod::is_there("dm-flakey") {
        return Ok(Passed::Skipped("there is no module dm-flakey".to_owned()));
    }
    kmod::load("dm-mod")?;
    kmod::load("dm-flakey")?;
    let place = Place::new(fs_type, &disk.canonicalize()?, upper)?;
    let cycles = (load.time.as_secs() / CYCLE).max(1);
    let (mut steps, mut refused) = (0, 0);
    for number in 0..cycles {
        let cycle = Load {
            time: load.time.div_f64(cycles as f64),
            seed: load.seed * 1000 + number,
            ..load
        };
        let (more_steps, more_refused) =
            fail_and_recover(&place, cycle).with_context(|| format!("upper layer {number}"))?;
        (steps, refused) = (steps + more_steps, refused + more_refused);
    }
    Ok(Passed::Did(format!(
        "{} threads, {steps} steps in {cycles} upper layers, {refused} of them refused",
        load.threads
    )))
}

/// Lets writers work on a fresh upper layer while its disk stops taking writes, and looks at what
/// they leave. Returns how many steps they did, and how many of those were refused.
fn fail_and_recover(place: &Place, load: Load) -> Result<(u64, u64)> {
    place.make_lower(load.threads)?;
    place.mount()?;
    let broken = AtomicBool::new(false);
    let mut workers: Vec<_> = (0..load.threads).map(Worker::new).collect();
    let crew = Crew::for_time(load.time);
    std::thread::scope(|scope| {
        for worker in &mut workers {
            let seed = load.seed * 1000 + worker.number as u64;
            let broken = &broken;
            crew.start(
                scope,
                format!("writer {}", worker.number),
                seed,
                move |random| worker.step(place, broken, random),
            );
        }
        sleep(load.time / 2);
        if let Err(error) = place.fail() {
            crew.fail(error);
        }
        broken.store(true, Ordering::SeqCst);
    });
    let steps = crew.finish()?;
    place.unmount().context("unmount after the disk failed")?;

    place.recover()?;
    place.mount().context("mount after the disk recovered")?;
    mounts::check_work(&place.work)?;
    let mut refused = 0;
    for worker in &workers {
        worker.check(place)?;
        ensure!(
            worker.refused > 0,
            "writer {} was told of no error",
            worker.number
        );
        refused += worker.refused;
    }
    place.unmount()?;
    Ok((steps, refused))
}

/// The disk with the upper layer, and the overlay.
struct Place {
    device: Mapped,
    /// What the device is told to take all writes, and to refuse them.
    good: String,
    bad: String,
    kind: String,
    disk: PathBuf,
    lower: PathBuf,
    work: PathBuf,
    point: PathBuf,
    fs_type: String,
}

impl Place {
    fn new(fs_type: &str, real: &Path, kind: &str) -> Result<Self> {
        let base = Path::new(mounts::BASE);
        let disk = base.join("flakey");
        let good = format!("{} 0 3600 0", real.display());
        Ok(Place {
            device: Mapped::new("flakey", dm::sectors(real)?, "flakey", &good)?,
            good,
            bad: format!("{} 0 0 3600 1 error_writes", real.display()),
            kind: kind.to_owned(),
            lower: base.join("lower"),
            work: disk.join("flakey-work"),
            point: base.join("mnt"),
            fs_type: fs_type.to_owned(),
            disk,
        })
    }

    fn fail(&self) -> Result<()> {
        self.device.switch("flakey", &self.bad)
    }

    fn recover(&self) -> Result<()> {
        self.device.switch("flakey", &self.good)
    }

    fn mount_disk(&self) -> Result<()> {
        let source = self.device.path().to_string_lossy();
        mounts::mount(&source, &self.disk, &self.kind, "")
    }

    fn make_lower(&self, threads: usize) -> Result<()> {
        self.mount_disk()?;
        for old in [self.disk.join("flakey-upper"), self.work.clone()] {
            match fs::remove_dir_all(&old) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error)?,
                _ => {}
            }
        }
        mounts::unmount(&self.disk)?;
        for worker in (0..threads).map(Worker::new) {
            for file in 0..FILES {
                let path = self.lower.join(worker.name(file));
                fs::create_dir_all(path.parent().context("a path without parent")?)?;
                fs::write(path, block(0).repeat(BLOCKS))?;
            }
        }
        Ok(())
    }

    fn mount(&self) -> Result<()> {
        self.mount_disk()?;
        Overlay::of(&self.fs_type, &[&self.lower])
            .upper(&self.disk.join("flakey-upper"), &self.work)?
            .mount(&self.point)
    }

    fn unmount(&self) -> Result<()> {
        mounts::unmount(&self.point)?;
        mounts::unmount(&self.disk)
    }
}

/// A thread with its own directory, and what it knows of its files.
struct Worker {
    number: usize,
    /// By file: the version that was synced last, and the one that was written last.
    synced: BTreeMap<usize, u64>,
    written: u64,
    refused: u64,
}

impl Worker {
    fn new(number: usize) -> Self {
        Worker {
            number,
            synced: BTreeMap::new(),
            written: 0,
            refused: 0,
        }
    }

    fn name(&self, file: usize) -> String {
        format!("w{}/f{file}", self.number)
    }

    /// Gives one file a new version, and syncs it.
    fn step(&mut self, place: &Place, broken: &AtomicBool, random: &mut Random) -> Result<()> {
        let file = random.below(FILES);
        let path = place.point.join(self.name(file));
        self.written += 1;
        let data = block(self.written).repeat(BLOCKS);
        let was_broken = broken.load(Ordering::SeqCst);
        let done = if random.one_in(2) {
            write_synced(&path, &data, 0)
        } else {
            replace_synced(&path, &data)
        };
        match done {
            Ok(()) => {
                ensure!(
                    !was_broken,
                    "{} was synced to a disk that fails",
                    self.name(file)
                );
                self.synced.insert(file, self.written);
            }
            Err(error) => {
                let told = matches!(error.raw_os_error(), Some(EIO | EROFS | EUCLEAN));
                if !told {
                    return Err(error).context(self.name(file));
                }
                self.refused += 1;
            }
        }
        Ok(())
    }

    /// Each block is of the version that was synced last, or of a later one.
    fn check(&self, place: &Place) -> Result<()> {
        for file in 0..FILES {
            let name = self.name(file);
            let data = fs::read(place.point.join(&name)).with_context(|| name.clone())?;
            ensure!(
                data.len() == BLOCKS * BLOCK,
                "{name} has {} bytes",
                data.len()
            );
            let synced = self.synced.get(&file).copied().unwrap_or(0);
            for (number, part) in data.chunks(BLOCK).enumerate() {
                let found = (synced..=self.written).find(|version| block(*version) == part);
                ensure!(
                    found.is_some(),
                    "{name}, block {number} is older than what was synced, version {synced}"
                );
            }
        }
        Ok(())
    }
}

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
const EROFS: i32 = rustix::io::Errno::ROFS.raw_os_error();
/// What xfs says of a log that it could not write.
const EUCLEAN: i32 = rustix::io::Errno::UCLEAN.raw_os_error();

/// Writes over a file that is there, or makes it if flags say so.
fn write_synced(path: &Path, data: &[u8], flags: i32) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .create(flags != 0)
        .open(path)?;
    file.write_all(data)?;
    file.sync_all()
}

/// As databases do it: a file that is complete takes the place of the old one.
fn replace_synced(path: &Path, data: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    write_synced(&temporary, data, rustix::fs::OFlags::TRUNC.bits() as i32)?;
    fs::rename(&temporary, path)?;
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}
