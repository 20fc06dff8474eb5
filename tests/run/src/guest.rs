// SPDX-License-Identifier: GPL-2.0-only
//! The main job, in the guest: mounts the layers of the image twice, and asks both mounts for what the host worked out.
//!
//! The image holds `layers/N`, and in `expect` what has to be found: `layer-N` and `merged` are listings, and `programs/NAME`
//! is what the program `srv/audit/NAME` of the tree printed in a plain copy of the tree on the host.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{Timespec, Timestamps, CWD};
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};

use crate::compare;
use crate::report::Report;
use crate::walk::{walk, EntryNumbers, View};

#[derive(clap::Args)]
pub struct Options {
    /// File system type that the layers are mounted as; the module has its name, too
    #[arg(long = "type", default_value = "rovl")]
    fs_type: String,
    /// The module
    #[arg(long)]
    module: PathBuf,
    /// Block device with the image
    #[arg(long)]
    image: PathBuf,
    /// Directory for what was found where it is not what was expected
    #[arg(long)]
    out: PathBuf,
}

// Short, because /proc/mounts repeats them.
const IMAGE: &str = "/image";
const ONE: &str = "/one";
const TWO: &str = "/two";
/// Holds upper and work directory of the second mount.
const SCRATCH: &str = "/scratch";

/// Returns whether all was as expected.
pub fn run(options: &Options) -> Result<bool> {
    let mut report = Report::default();
    if let Some(mounts) = set_up(options, &mut report) {
        walks(options, &mut report);
        programs(options, &mut report);
        report.step("read-only", || read_only().map(|text| ((), text)));
        report.step("take down", || {
            take_down(options, &mounts).map(|text| ((), text))
        });
    }
    Ok(report.passed())
}

/// The mount points, in the order of mounting.
type Mounts = Vec<PathBuf>;

fn set_up(options: &Options, report: &mut Report) -> Option<Mounts> {
    report.step("module", || load(options).map(|text| ((), text)))?;
    report.step("image", || image(options).map(|text| ((), text)))?;
    report.step("mount one", || {
        let data = format!("lowerdir={}", lowerdir());
        overlay(options, ONE, &data).map(|text| ((), text))
    })?;
    report.step("mount two", || {
        scratch()?;
        let data = format!(
            "lowerdir={},upperdir={SCRATCH}/upper,workdir={SCRATCH}/work",
            lowerdir()
        );
        overlay(options, TWO, &data).map(|text| ((), text))
    })?;
    Some([IMAGE, ONE, SCRATCH, TWO].map(PathBuf::from).into())
}

fn load(options: &Options) -> Result<String> {
    let module = &options.module;
    let file = File::open(module).with_context(|| format!("open {}", module.display()))?;
    rustix::system::finit_module(&file, c"", 0)
        .with_context(|| format!("load {}", module.display()))?;
    let types = fs::read_to_string("/proc/filesystems")?;
    let registered = types
        .lines()
        .any(|line| line.split_whitespace().last() == Some(&options.fs_type));
    ensure!(
        registered,
        "the module loads, but registers no type {}",
        options.fs_type
    );
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let name = module.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{name} loaded into Linux {}", release.trim()))
}

fn mount_at(
    source: &str,
    target: &str,
    fs_type: &str,
    flags: MountFlags,
    data: &str,
) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("make {target}"))?;
    let data = CString::new(data)?;
    mount(source, target, fs_type, flags, data.as_c_str())
        .with_context(|| format!("mount {target} as {fs_type}"))
}

/// Mounts the image, and checks that its layers are those that the host computed with: then a difference in a merged tree can
/// only come from merging.
fn image(options: &Options) -> Result<String> {
    let device = options.image.to_string_lossy();
    mount_at(&device, IMAGE, "ext4", MountFlags::RDONLY, "")?;
    let mut texts = Vec::new();
    for layer in layers()? {
        let root = Path::new(IMAGE).join("layers").join(&layer);
        let walked = walk(&root, View::Layer, EntryNumbers::All)?;
        ensure!(walked.problems.is_empty(), "{}", walked.problems.join("\n"));
        let found = walked.listing.lines();
        let expected = expectation(&format!("layer-{layer}"))?;
        keep_unless_same(options, &format!("layer-{layer}"), &expected, &found)?;
        let marks = found
            .lines()
            .filter(|line| line.ends_with("\twhiteout") || line.contains("\tdirectory opaque\t"));
        texts.push(format!(
            "{} ({} marks)",
            found.lines().count(),
            marks.count()
        ));
    }
    Ok(format!(
        "layers of {} objects, as they were made",
        texts.join(", ")
    ))
}

/// The names of the layers, from the lowest to the topmost.
fn layers() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(IMAGE).join("layers"))? {
        let name = entry?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn lowerdir() -> String {
    let names = layers().unwrap_or_default();
    let paths: Vec<_> = names
        .iter()
        .rev()
        .map(|name| format!("{IMAGE}/layers/{name}"))
        .collect();
    paths.join(":")
}

/// The upper directory gets owner, mode and times of the image's root, as engines give them, so that both mounts show the same.
fn scratch() -> Result<()> {
    mount_at("scratch", SCRATCH, "tmpfs", MountFlags::empty(), "")?;
    let upper = Path::new(SCRATCH).join("upper");
    fs::create_dir(&upper)?;
    fs::create_dir(Path::new(SCRATCH).join("work"))?;
    let top = layers()?.pop().context("the image has no layers")?;
    let root = fs::metadata(Path::new(IMAGE).join("layers").join(top))?;
    chown(&upper, Some(root.uid()), Some(root.gid()))?;
    fs::set_permissions(&upper, fs::Permissions::from_mode(root.mode() & 0o7777))?;
    let time = Timespec {
        tv_sec: root.mtime(),
        tv_nsec: root.mtime_nsec(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, &upper, &times, rustix::fs::AtFlags::empty())?;
    Ok(())
}

fn overlay(options: &Options, target: &str, data: &str) -> Result<String> {
    mount_at(
        &options.fs_type,
        target,
        &options.fs_type,
        MountFlags::empty(),
        data,
    )?;
    Ok(format!(
        "{target}, type {}\n{}",
        options.fs_type,
        data.replace(',', "\n")
    ))
}

fn expectation(name: &str) -> Result<String> {
    let path = Path::new(IMAGE).join("expect").join(name);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// Compares; on a difference both texts go to the output directory.
fn keep_unless_same(options: &Options, name: &str, expected: &str, found: &str) -> Result<()> {
    compare::same(expected, found).with_context(|| {
        let name = name.replace('/', "-");
        for (suffix, text) in [("expected", expected), ("found", found)] {
            let path = options.out.join(format!("{name}.{suffix}"));
            if let Err(error) = fs::write(&path, text) {
                eprintln!("{}: {error}", path.display());
            }
        }
        format!("{name} is not what the host worked out")
    })
}

/// Walks the first mount alone, then both at the same time.
fn walks(options: &Options, report: &mut Report) {
    // Layers of one file system keep its inode numbers everywhere. The second mount has its upper directory on another one.
    let one = || merged(options, ONE, "one", EntryNumbers::All);
    let two = || merged(options, TWO, "two", EntryNumbers::NonDirectories);
    report.step("walk one", || {
        one().map(|text| ((), format!("{text}, as the host worked out")))
    });
    let begun = Instant::now();
    let (again, both) = std::thread::scope(|scope| {
        let again = scope.spawn(one);
        let both = two();
        (again.join(), both)
    });
    let result = again
        .unwrap_or_else(|_| bail!("the walk of {ONE} panicked"))
        .and(both)
        .map(|text| ((), format!("{text} in each, at the same time")));
    report.line("walk both", result, begun.elapsed());
}

fn merged(options: &Options, root: &str, name: &str, numbers: EntryNumbers) -> Result<String> {
    let walked = walk(Path::new(root), View::Tree, numbers)?;
    ensure!(
        walked.problems.is_empty(),
        "{} contradictions: {}",
        walked.problems.len(),
        walked.problems[..walked.problems.len().min(8)].join("\n")
    );
    let found = walked.listing.lines();
    keep_unless_same(
        options,
        &format!("merged-{name}"),
        &expectation("merged")?,
        &found,
    )?;
    let megabytes = walked.listing.file_bytes() / 1_000_000;
    Ok(format!(
        "{} objects, {megabytes} MB read",
        walked.listing.objects.len()
    ))
}

/// Runs the tree's own programs: half of them in each mount, both halves at the same time, for there are two processors.
fn programs(options: &Options, report: &mut Report) {
    let prepared = [ONE, TWO].iter().try_for_each(|root| enter(root));
    if report
        .step("chroot", || {
            prepared.map(|()| ((), "/proc, /dev, /tmp and /run of both mounted".to_owned()))
        })
        .is_none()
    {
        return;
    }
    let names = match program_names() {
        Ok(names) => names,
        Err(error) => {
            report.step::<()>("programs", || Err(error));
            return;
        }
    };
    let chain = |root: &'static str, parity: usize| {
        let names = names.iter().skip(parity).step_by(2).cloned();
        names
            .map(move |name| {
                let begun = Instant::now();
                let result = program(options, root, &name);
                (name, root, result, begun.elapsed())
            })
            .collect::<Vec<_>>()
    };
    let results = std::thread::scope(|scope| {
        let one = scope.spawn(|| chain(ONE, 0));
        let mut results = chain(TWO, 1);
        results.extend(one.join().unwrap_or_default());
        results
    });
    let missing = names.len() - results.len();
    for (name, root, result, elapsed) in results {
        let result = result.map(|text| ((), format!("{text}, in {root}")));
        report.line(&name, result, elapsed);
    }
    if missing > 0 {
        report.step::<()>("programs", || bail!("{missing} programs did not end"));
    }
}

fn program_names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(IMAGE).join("expect/programs"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    ensure!(!names.is_empty(), "the image expects no programs");
    Ok(names)
}

/// What a container has over its root.
fn enter(root: &str) -> Result<()> {
    mount_at(
        "proc",
        &format!("{root}/proc"),
        "proc",
        MountFlags::empty(),
        "",
    )?;
    rustix::mount::mount_bind("/dev", format!("{root}/dev").as_str()).context("bind /dev")?;
    for name in ["tmp", "run"] {
        mount_at(
            name,
            &format!("{root}/{name}"),
            "tmpfs",
            MountFlags::empty(),
            "mode=1777",
        )?;
    }
    Ok(())
}

/// Runs one program in the mount. Returns the last line that it printed, which sums up the others.
fn program(options: &Options, root: &str, name: &str) -> Result<String> {
    let output = Command::new("/proc/self/exe")
        .args(["chroot", root, &format!("/srv/audit/{name}")])
        .env_clear()
        .output()
        .context("run the program")?;
    let found = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let expected = expectation(&format!("programs/{name}"))?;
    keep_unless_same(options, &format!("programs/{name}"), &expected, &found)
        .with_context(|| format!("{} [{}]", output.status, errors.trim()))?;
    Ok(found.lines().last().unwrap_or("no output").to_owned())
}

/// Replaces this process by a program of the tree, in the surroundings that it had on the host.
pub fn chroot(root: &Path, program: &Path) -> Result<()> {
    std::os::unix::fs::chroot(root).with_context(|| format!("chroot {}", root.display()))?;
    std::env::set_current_dir("/")?;
    let error = Command::new(program)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        // What iterates over hashes is to print the same each time.
        .env("PERL_HASH_SEED", "0")
        .env("PYTHONHASHSEED", "0")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

/// A mount without an upper directory refuses every change.
fn read_only() -> Result<String> {
    let inside = |name: &str| Path::new(ONE).join(name);
    let attempts: [(&str, io::Result<()>); 4] = [
        ("create a file", fs::write(inside("etc/new"), "")),
        ("append to a file", {
            let mut options = File::options();
            options.append(true).open(inside("etc/passwd")).map(drop)
        }),
        ("remove a file", fs::remove_file(inside("etc/passwd"))),
        ("make a directory", fs::create_dir(inside("etc/new"))),
    ];
    for (what, result) in attempts {
        match result {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            other => bail!("{ONE}: an attempt to {what} gave {other:?}"),
        }
    }
    Ok(format!("{ONE} refuses four kinds of change with EROFS"))
}

/// Unmounts everything, unloads the module, and checks that nothing was written to the image.
fn take_down(options: &Options, mounts: &Mounts) -> Result<String> {
    for root in [ONE, TWO] {
        for name in ["run", "tmp", "dev", "proc"] {
            let target = format!("{root}/{name}");
            // A missing one was reported when it could not be mounted.
            let _ = unmount(target.as_str(), UnmountFlags::empty());
        }
    }
    for target in mounts.iter().rev() {
        unmount(target, UnmountFlags::empty())
            .with_context(|| format!("unmount {}", target.display()))?;
    }
    let module = CString::new(options.fs_type.as_str())?;
    // O_NONBLOCK: a module that something still holds is an error, not a reason to wait.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    rustix::system::delete_module(&module, nonblock)
        .with_context(|| format!("unload {}", options.fs_type))?;
    let written = sectors_written(&options.image)?;
    ensure!(written == 0, "{written} sectors of the image were written");
    Ok("unmounted, module unloaded, nothing written to the image".to_owned())
}

fn sectors_written(device: &Path) -> Result<u64> {
    let device = device.canonicalize()?;
    let name = device.file_name().context("a device has a name")?;
    let path = Path::new("/sys/class/block").join(name).join("stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    // Documentation/block/stat.rst: the seventh field.
    let field = stat.split_whitespace().nth(6).context("too few fields")?;
    Ok(field.parse()?)
}
