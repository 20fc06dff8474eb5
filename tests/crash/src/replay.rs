// SPDX-License-Identifier: GPL-2.0-only

//! Logs the writes of a workload, and looks at the disk as it was at points of the log.

use std::collections::BTreeSet;
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
use rovl_kit::mounts::Held;
use rovl_kit::mounts::Overlay;
use rovl_kit::random::Random;
use rovl_kit::snapshot::Snapshot;

use crate::history::History;
use crate::image;
use crate::log::Entry;
use crate::log::Log;
use crate::workload;
use crate::workload::Workload;

/// Room for the log; the file is sparse.
const LOG_LENGTH: u64 = 4 << 30;

/// Where things are.
struct Places {
    fs_type: String,
    kind: String,
    options: &'static [(&'static str, &'static str)],
    lower: PathBuf,
    disk: PathBuf,
    point: PathBuf,
    log: PathBuf,
    images: PathBuf,
}

/// How a workload is tried.
pub struct Run {
    /// The filesystem of the upper layer.
    pub kind: String,
    /// What the overlay is mounted with.
    pub options: &'static [(&'static str, &'static str)],
    pub steps: usize,
    pub points: usize,
    /// Whether the power is cut before and after each flush, however many there are.
    pub is_every_flush: bool,
    pub seed: u64,
}

pub fn run(fs_type: &str, run: &Run) -> Result<Passed> {
    let kind = run.kind.as_str();
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
        options: run.options,
        lower: base.join("lower"),
        disk: base.join("disk"),
        point: base.join("mnt"),
        images: base.join("images"),
        log: base.join("images/log"),
    };
    mounts::mount("tmpfs", &places.images, "tmpfs", "mode=755,size=80%")?;
    let mut random = Random::new(run.seed);
    let mut history = workload::make_lower(&places.lower, &mut random)?;
    let start = image::of_device(&formatted, &places.images.join("start"))?;
    places
        .record(&start, &mut history, run.steps, &mut random)
        .context("the workload")?;
    let log = Log::read(&places.log)?;
    let flushes: Vec<usize> = (0..log.entries.len())
        .filter(|number| log.entries[*number].is_flush())
        .collect();
    // Without these, nothing would have to be there at any point.
    ensure!(!flushes.is_empty(), "the disk was never told to flush");
    ensure!(history.marks() > 0, "no change was synced");
    let marks: Vec<usize> = log.entries.iter().filter_map(Entry::mark).collect();
    ensure!(
        marks.iter().copied().eq(0..=history.marks()),
        "{} marks were made, and in the log are {marks:?}",
        history.marks()
    );
    let points = choose(&log, &flushes, run, &mut random);
    let has_both = |flush: &&usize| points.contains(flush) && points.contains(&(**flush + 1));
    let covered = flushes.iter().filter(has_both).count();
    places.cut(&log, &points, start, &history, &mut random)?;
    Ok(Passed::Did(format!(
        "{} steps, {} writes, {} flushes, {covered} of them cut before and after, {} points",
        run.steps,
        log.entries.len(),
        flushes.len(),
        points.len()
    )))
}

/// The points at which power is cut: each is how many entries happened before it. They are those just
/// before and just after each flush, or half of them are such, and others.
fn choose(log: &Log, flushes: &[usize], run: &Run, random: &mut Random) -> BTreeSet<usize> {
    let mut points = BTreeSet::new();
    let around = flushes.iter().flat_map(|flush| [*flush, *flush + 1]);
    let mut around: Vec<usize> = around.collect::<BTreeSet<_>>().into_iter().collect();
    if run.is_every_flush {
        points.extend(around);
    } else {
        while points.len() < run.points / 2 && !around.is_empty() {
            points.insert(around.swap_remove(random.below(around.len())));
        }
    }
    let all = log.entries.len() + 1;
    while points.len() < run.points.min(all) {
        points.insert(random.below(all));
    }
    points
}

impl Places {
    fn overlay(&self) -> Result<Overlay> {
        let overlay = Overlay::of(&self.fs_type, &[&self.lower])
            .upper(&self.disk.join("upper"), &self.disk.join("work"))?;
        let options = self.options.iter();
        Ok(options.fold(overlay, |overlay, (key, value)| overlay.option(key, value)))
    }

    fn mount(&self, device: &Path) -> Result<()> {
        mounts::mount(&device.to_string_lossy(), &self.disk, &self.kind, "")?;
        self.overlay()?.mount(&self.point)
    }

    /// What is mounted, to be taken down before the device under it.
    fn held(&self) -> Held {
        Held::at(&[&self.point, &self.disk])
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
        let _mounts = self.held();
        self.mount(device.path())?;
        let mark = |number: usize| device.message(&format!("mark {number}"));
        // Up to here the overlay's own directories may be missing.
        rustix::fs::sync();
        mark(0)?;
        let mut workload = Workload {
            top: &self.point,
            history,
            redirects: self.options.contains(&("redirect_dir", "on")),
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
        points: &BTreeSet<usize>,
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
            let all = random.one_in(2);
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
        let _mounts = self.held();
        mounts::mount(&device.path().to_string_lossy(), &self.disk, &self.kind, "")
            .context("the filesystem of the upper layer")?;
        if !self.disk.join("work").exists() {
            ensure!(mark.is_none(), "the work directory is gone");
        }
        self.overlay()?.mount(&self.point)?;
        mounts::check_work(&self.disk.join("work"))?;
        history.check_names(Snapshot::take(&self.point, false)?.paths())?;
        history.check(&self.point, mark.unwrap_or(0))?;
        self.unmount()
    }
}
