// SPDX-License-Identifier: GPL-2.0-only

//! A disk that stops taking writes under the upper layer: callers are told, and what was synced
//! before is still there afterwards.

use std::fmt;
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
use rovl_kit::mounts::Held;
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
    let (failing, broken) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut workers: Vec<_> = (0..load.threads).map(Worker::new).collect();
    let crew = Crew::for_time(load.time);
    std::thread::scope(|scope| {
        for worker in &mut workers {
            let seed = load.seed * 1000 + worker.number as u64;
            let flags = (&failing, &broken);
            crew.start(
                scope,
                format!("writer {}", worker.number),
                seed,
                move |random| worker.step(place, flags, random),
            );
        }
        sleep(load.time / 2);
        failing.store(true, Ordering::SeqCst);
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
        refused += worker.refused;
    }
    place.unmount()?;
    Ok((steps, refused))
}

/// The disk with the upper layer, and the overlay.
struct Place {
    /// Goes before the device under it.
    _mounts: Held,
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
        let point = base.join("mnt");
        let good = format!("{} 0 3600 0", real.display());
        Ok(Place {
            _mounts: Held::at(&[&point, &disk]),
            device: Mapped::new("flakey", dm::sectors(real)?, "flakey", &good)?,
            good,
            bad: format!("{} 0 0 3600 1 error_writes", real.display()),
            kind: kind.to_owned(),
            lower: base.join("lower"),
            work: disk.join("flakey-work"),
            point,
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
                fs::write(path, worker.data(LOWER))?;
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

/// The version of each file in the lower layer. It is not 0, so that a block of zeroes is of none.
const LOWER: u64 = 1;

/// How many versions a failure tells of before the one that was synced last, and after it.
const TOLD: usize = 3;

/// How a file gets a new version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is written over.
    InPlace,
    /// Another file takes its place.
    Replaced,
}

/// A version that a thread tried to give a file and to sync, and what came of it.
struct Attempt {
    version: u64,
    way: Way,
    done: std::result::Result<(), i32>,
    /// Whether the disk was known to fail before, and afterwards.
    was_broken: bool,
    is_broken: bool,
    /// Whether the filesystem itself may say that it was synced, and lose it. On ext4 a directory is synced with
    /// success when nothing is left to commit, also if what there was has just ended in failure, as long as
    /// nobody has begun another change since (C: `__jbd2_journal_force_commit`).
    may_be_lost: bool,
}

impl Attempt {
    fn is_synced(&self) -> bool {
        self.done.is_ok() && !self.may_be_lost
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::InPlace => "in place",
            Way::Replaced => "replaced",
        };
        write!(f, "{} {way}, ", self.version)?;
        match self.done {
            Ok(()) => write!(f, "synced")?,
            Err(error) => write!(f, "refused with errno {error}")?,
        }
        match (self.was_broken, self.is_broken) {
            (false, false) => Ok(()),
            (false, true) => write!(f, " as the disk began to fail"),
            (true, _) => write!(f, " by the disk that failed"),
        }
    }
}

/// A thread with its own directory, and what it knows of its files.
struct Worker {
    number: usize,
    /// By file: all that was tried, in order.
    attempts: [Vec<Attempt>; FILES],
    /// The version that was written last to any of them.
    written: u64,
    refused: u64,
}

impl Worker {
    fn new(number: usize) -> Self {
        Worker {
            number,
            attempts: Default::default(),
            written: LOWER,
            refused: 0,
        }
    }

    fn name(&self, file: usize) -> String {
        format!("w{}/f{file}", self.number)
    }

    /// A block of a version, which no other thread's files have.
    fn block(&self, version: u64) -> Vec<u8> {
        block((self.number as u64) << 32 | version)
    }

    fn data(&self, version: u64) -> Vec<u8> {
        self.block(version).repeat(BLOCKS)
    }

    /// Gives one file a new version, and syncs it.
    fn step(
        &mut self,
        place: &Place,
        (failing, broken): (&AtomicBool, &AtomicBool),
        random: &mut Random,
    ) -> Result<()> {
        let file = random.below(FILES);
        let path = place.point.join(self.name(file));
        self.written += 1;
        let data = self.data(self.written);
        let was_broken = broken.load(Ordering::SeqCst);
        let (way, done) = if random.one_in(2) {
            (Way::InPlace, write_synced(&path, &data, 0))
        } else {
            (Way::Replaced, replace_synced(&path, &data))
        };
        self.attempts[file].push(Attempt {
            version: self.written,
            way,
            done: match &done {
                Ok(()) => Ok(()),
                Err(error) => Err(error.raw_os_error().unwrap_or(0)),
            },
            was_broken,
            is_broken: broken.load(Ordering::SeqCst),
            may_be_lost: way == Way::Replaced
                && place.kind == "ext4"
                && failing.load(Ordering::SeqCst),
        });
        match done {
            Ok(()) => ensure!(
                !was_broken,
                "{} was synced to a disk that fails",
                self.name(file)
            ),
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
        let mut all = self.attempts.iter().flatten();
        ensure!(
            all.any(|attempt| attempt.done.is_ok()),
            "writer {} synced nothing before the disk failed",
            self.number
        );
        ensure!(
            self.refused > 0,
            "writer {} was told of no error",
            self.number
        );
        for file in 0..FILES {
            let name = self.name(file);
            let data = fs::read(place.point.join(&name)).with_context(|| name.clone())?;
            self.check_file(file, &data).context(name)?;
        }
        Ok(())
    }

    fn check_file(&self, file: usize, data: &[u8]) -> Result<()> {
        ensure!(data.len() == BLOCKS * BLOCK, "has {} bytes", data.len());
        let attempts = &self.attempts[file];
        let synced = attempts.iter().rposition(Attempt::is_synced);
        // All that may be there: from the last one that was synced, or the lower layer's, on.
        let first = synced.map_or(LOWER, |at| attempts[at].version);
        let later = attempts[synced.map_or(0, |at| at + 1)..].iter();
        let may_be: Vec<u64> = std::iter::once(first)
            .chain(later.map(|attempt| attempt.version))
            .collect();
        for (number, part) in data.chunks(BLOCK).enumerate() {
            let fits = may_be.iter().any(|version| self.block(*version) == part);
            ensure!(
                fits,
                "block {number} is {}, and should be of version {first} or of a later one; tried were {}",
                self.describe(part),
                told(attempts, synced.unwrap_or(0))
            );
        }
        Ok(())
    }

    /// What a block of a file is.
    fn describe(&self, part: &[u8]) -> String {
        if part.iter().all(|byte| *byte == 0) {
            return "zeroes".to_owned();
        }
        match (LOWER..=self.written).find(|version| self.block(*version) == part) {
            Some(version) => format!("of version {version}"),
            None => format!("of nobody, and begins with {:x?}", &part[..16]),
        }
    }
}

/// What was tried before and after one of them.
fn told(attempts: &[Attempt], at: usize) -> String {
    let around = at.saturating_sub(TOLD)..attempts.len().min(at + TOLD + 1);
    let told = attempts[around].iter().map(Attempt::to_string);
    told.collect::<Vec<_>>().join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(version: u64, done: std::result::Result<(), i32>) -> Attempt {
        Attempt {
            version,
            way: Way::Replaced,
            done,
            was_broken: false,
            is_broken: done.is_err(),
            may_be_lost: false,
        }
    }

    fn worker() -> Worker {
        let mut worker = Worker::new(3);
        worker.attempts[0] = vec![attempt(2, Ok(())), attempt(4, Ok(())), attempt(6, Err(EIO))];
        worker.written = 6;
        worker
    }

    fn refusal(data: &[u8]) -> String {
        let found = worker().check_file(0, data);
        found.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_was_synced_last_and_what_came_later_may_be_there() {
        let worker = worker();
        let mixed = [worker.block(4), worker.block(6).repeat(BLOCKS - 1)].concat();
        for data in [worker.data(4), worker.data(6), mixed] {
            assert_eq!(refusal(&data), "");
        }
        // The lower layer's, as long as nothing is synced.
        assert!(worker.check_file(1, &worker.data(LOWER)).is_ok());
        assert!(worker.check_file(1, &worker.data(4)).is_err());
    }

    #[test]
    fn what_the_filesystem_may_lose_may_be_older() {
        let mut worker = worker();
        worker.attempts[0][1].may_be_lost = true;
        assert!(worker.check_file(0, &worker.data(2)).is_ok());
        assert!(worker.check_file(0, &worker.data(4)).is_ok());
    }

    #[test]
    fn what_is_older_or_lost_is_told_of() {
        let old = refusal(&worker().data(2));
        assert!(old.starts_with("block 0 is of version 2, and should be of version 4"));
        let last = "4 replaced, synced; 6 replaced, refused with errno 5 as the disk began to fail";
        assert!(old.ends_with(last), "{old}");
        let lost = refusal(&vec![0; BLOCKS * BLOCK]);
        assert!(lost.starts_with("block 0 is zeroes"), "{lost}");
        // Another file's, and another thread's.
        assert!(refusal(&worker().data(5)).contains("block 0 is of version 5"));
        assert!(refusal(&Worker::new(1).data(4)).contains("block 0 is of nobody"));
        assert_eq!(refusal(&[0; BLOCK]), "has 512 bytes");
    }
}
