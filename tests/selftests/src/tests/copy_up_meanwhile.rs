// SPDX-License-Identifier: GPL-2.0-only

//! Copying up: what others can do while the data of a large file is copied, and how the copy is ended.
//!
//! The lower layer is on a filesystem that takes long to answer each request for data, and is quick
//! otherwise. The copy would take longer than all else here, which has to be done before.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::mount_remount;
use rustix::mount::MountFlags;
use rustix::process::kill_process;
use rustix::process::waitpid;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use rustix::process::WaitStatus;

use super::copy_up::copy;
use super::copy_up::work_has_only_whiteouts;
use super::copy_up::work_is_clean;
use super::remote::upper_and_work;
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
use crate::fuse;
use crate::fuse::Features;
use crate::layer::Layer;
use crate::rawsys;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new(
        "copy_up_while_directory_changes",
        "C4 C6",
        directory_changes,
    )
    .on_disks_too(),
    Test::new(
        "copy_up_in_work_while_directory_changes",
        "C3 C4 C6",
        directory_changes_around_work,
    ),
    Test::new("copy_up_while_others_are_copied", "C4 C6", others_copied).on_disks_too(),
    Test::new("copy_up_while_upper_is_frozen", "C4 C6", frozen).on_ext4(),
    Test::new("copy_up_waited_for_until_a_signal", "C6", interrupted),
    Test::new("copy_up_killed", "C6 C4", killed),
    Test::new(
        "copy_up_keeps_upper_writable",
        "C3 C4",
        upper_stays_writable,
    ),
    Test::new("copy_up_in_busy_directory", "C3 C4", in_busy_directory)
        .rovl_only("overlayfs takes back the times that a directory got meanwhile"),
];

/// How long the file is that is copied.
const SIZE: usize = 2 << 20;

/// How often the server is asked for data meanwhile: it wants nothing to be read ahead.
const READS: u64 = SIZE as u64 / 4096;

/// How many milliseconds each answer takes.
const DELAY: u64 = 50;

/// A lower layer with the large file "d/f", below an upper one that has the directory already.
struct Setting<'a> {
    fx: &'a Fixture,
    lower: Layer,
    upper: Layer,
    work: Layer,
    ov: Mounted,
}

impl<'a> Setting<'a> {
    /// `fill` adds to the directory of the lower layer.
    fn new(fx: &'a Fixture, fill: impl Fn(&Layer) -> Result) -> Result<Self> {
        Self::on(fx, [fx.layer("upper")?, fx.work()?], fill)
    }

    /// The same with a place for upper.
    fn on(
        fx: &'a Fixture,
        [upper, work]: [Layer; 2],
        fill: impl Fn(&Layer) -> Result,
    ) -> Result<Self> {
        let lower = fuse::filesystem(fx, "slow", Features::ALL)?;
        lower.dir("d")?.file("d/f", sys::pattern(SIZE, 1))?;
        fill(&lower)?;
        let ov = fx.mount(&Options::new().lowers(&[&lower]).upper(&upper, &work))?;
        let setting = Setting {
            fx,
            lower,
            upper,
            work,
            ov,
        };
        setting.ov_file("mine", "mine")?;
        Ok(setting)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.ov.join("d").join(name)
    }

    fn ov_file(&self, name: &str, text: &str) -> Result {
        fs::write(self.path(name), text).context(name)
    }

    fn reads(&self) -> Result<u64> {
        fuse::ask(self.lower.path(), fuse::READS)
    }

    /// Lets another process copy the large file. Returns once data is being copied.
    fn begin(&self) -> Result<Copier> {
        fuse::set_number(&self.lower, fuse::READS, 0)?;
        fuse::set_number(&self.lower, fuse::READ_DELAY, DELAY)?;
        let copier = Copier::start(&self.path("f"))?;
        fuse::wait_for(&self.lower, fuse::READS, 5)?;
        Ok(copier)
    }

    /// Fails if the copy was waited for.
    #[track_caller]
    fn is_going_on(&self, after: &str) -> Result {
        absent(self.upper.join("d/f"))?;
        let reads = self.reads()?;
        check::ok(
            reads < READS,
            format_args!("{after} only when all was read"),
        )
    }

    /// Lets the copy come to its end, and looks at it.
    fn end(&self, copier: Copier) -> Result {
        self.is_going_on("it is to end")?;
        fuse::set_number(&self.lower, fuse::READ_DELAY, 0)?;
        let status = copier.reap()?;
        check::equal("exit status", status.exit_status(), Some(0))?;
        self.is_copied()
    }

    fn is_copied(&self) -> Result {
        let expected = sys::pattern(SIZE, 1);
        data(self.upper.join("d/f"), &expected)?;
        data(self.path("f"), &expected)?;
        work_has_only_whiteouts(&self.work)
    }
}

/// A process that opens a file for writing.
struct Copier(Option<Pid>);

impl Copier {
    fn start(path: &Path) -> Result<Self> {
        if let Some(pid) = sys::fork().context("start the copier")? {
            return Ok(Copier(Some(pid)));
        }
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        std::process::exit(copy(path).is_err().into());
    }

    fn kill(&self) -> Result {
        let pid = self.0.ok_or_else(|| Failure::new("it is gone"))?;
        Ok(kill_process(pid, Signal::KILL)?)
    }

    /// Waits until it has ended.
    fn reap(mut self) -> Result<WaitStatus> {
        let ended = waitpid(self.0.take(), WaitOptions::empty())?;
        let (_, status) = ended.ok_or_else(|| Failure::new("it has not ended"))?;
        Ok(status)
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

/// The directory is not locked: names come, go and change in it.
fn directory_changes(fx: &Fixture) -> Result {
    changed_around(fx, [fx.layer("upper")?, fx.work()?])
}

/// The same where the copy is in the work directory until it is complete.
fn directory_changes_around_work(fx: &Fixture) -> Result {
    let top = fuse::filesystem(fx, "top", Features::ALL)?;
    changed_around(fx, upper_and_work(&top)?)
}

fn changed_around(fx: &Fixture, upper_and_work: [Layer; 2]) -> Result {
    let setting = Setting::on(fx, upper_and_work, |lower| {
        lower.file("d/gone", "")?.dir("d/gone-dir")?;
        Ok(())
    })?;
    setting.ov_file("removed", "")?;
    let copier = setting.begin()?;

    setting.ov_file("new", "new")?;
    setting.is_going_on("a file was made")?;
    sys::mkdir(&setting.path("new-dir"), 0o755)?;
    setting.is_going_on("a directory was made")?;
    fs::remove_file(setting.path("removed"))?;
    setting.is_going_on("a file was removed")?;
    fs::remove_file(setting.path("gone"))?;
    setting.is_going_on("a lower file was removed")?;
    fs::remove_dir(setting.path("gone-dir"))?;
    setting.is_going_on("a lower directory was removed")?;
    fs::rename(setting.path("mine"), setting.path("renamed"))?;
    setting.is_going_on("a file was renamed")?;
    rustix::fs::chmod(setting.path(""), 0o700.into())?;
    setting.is_going_on("the directory was changed")?;
    lists(setting.path(""), &["f", "new", "new-dir", "renamed"])?;
    setting.is_going_on("the directory was listed")?;

    setting.end(copier)?;
    lists(setting.path(""), &["f", "new", "new-dir", "renamed"])?;
    content(setting.path("renamed"), "mine")
}

/// Other files of the directory are copied beside it, and changed.
fn others_copied(fx: &Fixture) -> Result {
    let small = sys::pattern(5000, 2);
    let setting = Setting::new(fx, |lower| {
        lower.file("d/g", &small)?.file("d/owned", "owned")?;
        lower.file("d/old", "old")?.dir("d/sub")?;
        lower.file("d/sub/deep", "deep")?;
        Ok(())
    })?;
    let copier = setting.begin()?;

    copy(setting.path("g"))?;
    setting.is_going_on("another file was copied")?;
    data(setting.upper.join("d/g"), &small)?;
    rustix::fs::chmod(setting.path("owned"), 0o600.into())?;
    setting.is_going_on("another file was changed")?;
    fs::rename(setting.path("old"), setting.path("renamed"))?;
    setting.is_going_on("another file was renamed")?;
    copy(setting.path("sub/deep"))?;
    setting.is_going_on("a file below was copied")?;

    setting.end(copier)?;
    content(setting.path("renamed"), "old")?;
    lists(
        setting.upper.join("d"),
        &["f", "g", "mine", "old", "owned", "renamed", "sub"],
    )
}

/// No write access is held while the lower file is read.
fn frozen(fx: &Fixture) -> Result {
    let setting = Setting::new(fx, |_| Ok(()))?;
    let disk = sys::open_dir(setting.fx.root())?;
    let copier = setting.begin()?;
    rawsys::freeze(&disk)?;
    let result = setting.is_going_on("upper was frozen");
    rawsys::thaw(&disk)?;
    result?;
    setting.end(copier)
}

/// Who wants the same file waits, but not when a signal comes.
fn interrupted(fx: &Fixture) -> Result {
    let setting = Setting::new(fx, |_| Ok(()))?;
    let copier = setting.begin()?;
    let result = sys::interrupted(|| sys::open(setting.path("f"), OFlags::WRONLY))?;
    check::errno("open", result, Errno::INTR)?;
    setting.is_going_on("the second was interrupted")?;
    setting.end(copier)?;
    copy(setting.path("f"))
}

fn killed(fx: &Fixture) -> Result {
    let setting = Setting::new(fx, |_| Ok(()))?;
    let inodes = || -> Result<u64> {
        let st = rustix::fs::statvfs(setting.upper.path())?;
        Ok(st.f_files - st.f_ffree)
    };
    let before = inodes()?;
    let copier = setting.begin()?;
    // A file without a name that is left behind would be counted.
    check::equal("inodes while copying", inodes()?, before + 1)?;
    copier.kill()?;
    let status = copier.reap()?;
    let signal = Some(Signal::KILL.as_raw());
    check::equal("signal", status.terminating_signal(), signal)?;
    setting.is_going_on("it was killed")?;
    check::equal("inodes when it was killed", inodes()?, before)?;
    work_is_clean(&setting.work)?;
    lists(setting.upper.join("d"), &["mine"])?;

    fuse::set_number(&setting.lower, fuse::READ_DELAY, 0)?;
    data(setting.path("f"), &sys::pattern(SIZE, 1))?;
    copy(setting.path("f"))?;
    setting.is_copied()
}

/// Upper does not become read-only while something is being copied there.
fn upper_stays_writable(fx: &Fixture) -> Result {
    let top = fuse::filesystem(fx, "top", Features::ALL)?;
    let [upper, work] = upper_and_work(&top)?;
    let lower = fx.layer("lower")?;
    lower.dir("d")?;
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let ov = fx.mount(&options.set("fsync", "strict"))?;
    fuse::set_number(&top, fuse::READ_DELAY, DELAY)?;
    let (remounted, changed) = std::thread::scope(|scope| -> Result<_> {
        let change = scope.spawn(|| rustix::fs::chmod(ov.join("d"), 0o700.into()));
        fuse::wait_for(&top, fuse::DIR_SYNCS, 1)?;
        let remounted = mount_remount(top.path(), MountFlags::RDONLY, c"");
        fuse::set_number(&top, fuse::READ_DELAY, 0)?;
        Ok((remounted, change.join()))
    })?;
    check::errno("remount", remounted, Errno::BUSY)?;
    changed.map_err(|_| Failure::new("the thread has panicked"))??;
    lists(upper.path(), &["d"])?;
    work_is_clean(&work)
}

/// Copying does not change the times of a directory, but what others do there meanwhile does.
fn in_busy_directory(fx: &Fixture) -> Result {
    let setting = Setting::new(fx, |_| Ok(()))?;
    let copier = setting.begin()?;
    setting.ov_file("new", "")?;
    setting.end(copier)?;
    let (dir, new) = (
        fs::metadata(setting.path(""))?,
        fs::metadata(setting.path("new"))?,
    );
    let time = |of: &fs::Metadata| (of.mtime(), of.mtime_nsec());
    check::ok(
        time(&dir) >= time(&new),
        "the directory is older than what was made in it",
    )
}
