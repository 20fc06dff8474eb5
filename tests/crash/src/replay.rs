// SPDX-License-Identifier: GPL-2.0-only

//! Logs the writes of a workload, and looks at the disk as it was at points of the log.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::dm;
use rovl_kit::dm::Loop;
use rovl_kit::dm::Mapped;
use rovl_kit::kmod;
use rovl_kit::ktap::Passed;
use rovl_kit::mounts;
use rovl_kit::mounts::Overlay;
use rovl_kit::random::Random;
use rovl_kit::snapshot::Snapshot;

use crate::history::History;
use crate::image;
use crate::log::Log;
use crate::workload;
use crate::workload::Workload;
use crate::Args;

/// Room for the log; the file is sparse.
const LOG_LENGTH: u64 = 4 << 30;

/// Where things are.
struct Places {
    fs_type: String,
    kind: String,
    lower: PathBuf,
    disk: PathBuf,
    point: PathBuf,
    log: PathBuf,
    images: PathBuf,
}

pub fn run(fs_type: &str, kind: &str, args: &Args) -> Result<Passed> {
    let Some(formatted) = mounts::disk(&format!("small-{kind}")) else {
        return Ok(Passed::Skipped(format!("there is no disk small-{kind}")));
    };
    if !kmod::is_there("dm-log-writes") {
        return Ok(Passed::Skipped(
            "there is no module dm-log-writes".to_owned(),
        ));
    }
    kmod::load("dm-mod")?;
    kmod::load("dm-log-writes")?;
    let base = Path::new(mounts::BASE);
    let places = Places {
        fs_type: fs_type.to_owned(),
        kind: kind.to_owned(),
        lower: base.join("lower"),
        disk: base.join("disk"),
        point: base.join("mnt"),
        images: base.join("images"),
        log: base.join("images/log"),
    };
    mounts::mount("tmpfs", &places.images, "tmpfs", "mode=755,size=80%")?;
    let mut random = Random::new(args.seed);
    let mut history = workload::make_lower(&places.lower, &mut random)?;
    let start = image::of_device(&formatted, &places.images.join("start"))?;
    places
        .record(&start, &mut history, args.steps, &mut random)
        .context("the workload")?;
    let log = Log::read(&places.log)?;
    let points = choose(&log, args.points, &mut random);
    let flushes = log.entries.iter().filter(|entry| entry.is_flush()).count();
    places.cut(&log, &points, start, &history, &mut random)?;
    Ok(Passed::Did(format!(
        "{} steps, {} writes, {flushes} flushes, {} points",
        args.steps,
        log.entries.len(),
        points.len()
    )))
}

/// The points at which power is cut, in order: each is how many entries happened before it. Half
/// of them are just before or after a flush.
fn choose(log: &Log, count: usize, random: &mut Random) -> Vec<usize> {
    let flushes: Vec<usize> = (0..log.entries.len())
        .filter(|number| log.entries[*number].is_flush())
        .collect();
    let mut points: Vec<usize> = (0..count)
        .map(|number| match number % 2 {
            0 if !flushes.is_empty() => random.pick(&flushes) + random.below(2),
            _ => random.below(log.entries.len() + 1),
        })
        .collect();
    points.sort();
    points
}

impl Places {
    fn overlay(&self) -> Result<Overlay> {
        Overlay::of(&self.fs_type, &[&self.lower])
            .upper(&self.disk.join("upper"), &self.disk.join("work"))
    }

    fn mount(&self, device: &Path) -> Result<()> {
        mounts::mount(&device.to_string_lossy(), &self.disk, &self.kind, "")?;
        self.overlay()?.mount(&self.point)
    }

    fn unmount(&self) -> Result<()> {
        mounts::unmount(&self.point)?;
        mounts::unmount(&self.disk)
    }

    /// Works on a disk that logs what is written to it.
    fn record(
        &self,
        start: &File,
        history: &mut History,
        steps: usize,
        random: &mut Random,
    ) -> Result<()> {
        let disk = Loop::new(&image::copy(start, &self.images.join("worked"))?)?;
        let log = Loop::new(&image::create(&self.log, LOG_LENGTH)?)?;
        let arguments = format!("{} {}", disk.path().display(), log.path().display());
        let sectors = dm::sectors(disk.path())?;
        let device = Mapped::new("crash", sectors, "log-writes", &arguments)?;
        self.mount(device.path())?;
        let mark = |number: usize| device.message(&format!("mark {number}"));
        // Up to here the overlay's own directories may be missing.
        rustix::fs::sync();
        mark(0)?;
        let mut workload = Workload {
            top: &self.point,
            history,
            redirects: false,
            mark: &mark,
        };
        for number in 0..steps {
            let done = workload.step(random);
            done.with_context(|| format!("step {number}"))?;
        }
        self.unmount()?;
        drop(device);
        rustix::fs::fsync(File::open(log.path())?)?;
        fs::remove_file(self.images.join("worked"))?;
        Ok(())
    }

    /// Makes the disk as it was at each point, and looks at it.
    fn cut(
        &self,
        log: &Log,
        points: &[usize],
        disk: File,
        history: &History,
        random: &mut Random,
    ) -> Result<()> {
        let mut done = 0;
        let mut mark = None;
        for (number, point) in points.iter().enumerate() {
            // All up to the last flush is there; of what follows, some may be missing.
            let flush = (0..*point).rev().find(|at| log.entries[*at].is_flush());
            let sure = flush.map_or(0, |at| at + 1);
            while done < sure {
                log.apply(done, &disk)?;
                mark = log.entries[done].mark().or(mark);
                done += 1;
            }
            let path = self.images.join("cut");
            let cut = image::copy(&disk, &path)?;
            let all = number % 2 == 0;
            let mut mark = mark;
            for at in sure..*point {
                let entry = &log.entries[at];
                if all || entry.is_lasting() || random.one_in(2) {
                    log.apply(at, &cut)?;
                }
                mark = entry.mark().or(mark);
            }
            self.look(&cut, history, mark).with_context(|| {
                let kind = if all { "all" } else { "some" };
                format!(
                    "cut {number}, after {point} entries, with {kind} since the flush at {sure}"
                )
            })?;
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Mounts what the power cut left.
    fn look(&self, cut: &File, history: &History, mark: Option<usize>) -> Result<()> {
        let device = Loop::new(cut)?;
        mounts::mount(&device.path().to_string_lossy(), &self.disk, &self.kind, "")
            .context("the filesystem of the upper layer")?;
        if !self.disk.join("work").exists() {
            ensure!(mark.is_none(), "the work directory is gone");
        }
        self.overlay()?.mount(&self.point)?;
        mounts::check_work(&self.disk.join("work"))?;
        Snapshot::take(&self.point, false)?;
        history.check(&self.point, mark.unwrap_or(0))?;
        self.unmount()
    }
}
