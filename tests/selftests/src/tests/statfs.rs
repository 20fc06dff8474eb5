// SPDX-License-Identifier: GPL-2.0-only

//! statfs, and what /proc says about a mount.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Failure;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::escape_lower;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("statfs_type", "F19", magic),
    Test::new("statfs_of_upper", "F19 M4", of_upper).on_disks_too(),
    Test::new("statfs_of_first_lower", "F19", of_first_lower).on_disks_too(),
    Test::new("statfs_first_of_several_fs", "F19", first_of_several_fs),
    Test::new("statfs_anywhere_in_the_mount", "F19", anywhere),
    Test::new("statfs_flags", "F19 M18", flags),
    Test::new("mounts_lowers", "P1 P3 M1", mounts_lowers),
    Test::new("mounts_upper", "P1 M4 M5", mounts_upper).on_disks_too(),
    Test::new("mounts_shows_options_as_given", "P1 M1 M4", as_given),
    Test::new("mounts_escapes", "P3 M1", escapes),
    Test::new("mounts_last_lowerdir_is_shown", "P1 M1", last_lowerdir),
    Test::new("mounts_long_lowerdir", "P1 F25", long_lowerdir),
    Test::new("mounts_text_mounts_again", "P1 P3 M18", text_mounts_again),
    Test::new("mountinfo_line", "P1 A1", mountinfo),
    Test::new(
        "mountinfo_device_is_that_of_stat",
        "P1 1.10",
        mountinfo_device,
    ),
];

/// OVERLAYFS_SUPER_MAGIC, also for rovl: programs look for it.
const MAGIC: i64 = 0x794c_7630;

fn two(fx: &Fixture) -> Result<[Layer; 2]> {
    Ok([fx.layer("a")?, fx.layer("b")?])
}

fn magic(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let ov = fx.lowers(&[&a, &b])?;
    check::equal("f_type", rustix::fs::statfs(ov.path())?.f_type, MAGIC)?;
    let ov = fx.upper(&a, &[&b])?;
    check::equal("f_type", rustix::fs::statfs(ov.path())?.f_type, MAGIC)
}

/// All numbers are those of the layer's filesystem.
fn same_numbers(overlay: &Path, layer: &Path) -> Result {
    let numbers = |path: &Path| {
        rustix::fs::statfs(path).map(|st| {
            [
                ("f_bsize", st.f_bsize as u64),
                ("f_frsize", st.f_frsize as u64),
                ("f_namelen", st.f_namelen as u64),
                ("f_blocks", st.f_blocks),
                ("f_bfree", st.f_bfree),
                ("f_bavail", st.f_bavail),
                ("f_files", st.f_files),
                ("f_ffree", st.f_ffree),
            ]
        })
    };
    let mut result = Ok(());
    // Some filesystems free in the background, which may fall between the two calls.
    for _ in 0..20 {
        let (seen, real) = (numbers(overlay)?, numbers(layer)?);
        result = check::equal("numbers", seen, real);
        if result.is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    result
}

fn of_upper(fx: &Fixture) -> Result {
    let upper = fx.layer("upper")?;
    let lower = Layer::create(small_tmpfs(fx)?)?;
    let ov = fx.upper(&upper, &[&lower])?;
    same_numbers(ov.path(), upper.path())
}

fn of_first_lower(fx: &Fixture) -> Result {
    let first = fx.layer("first")?;
    let second = Layer::create(small_tmpfs(fx)?)?;
    let ov = fx.lowers(&[&first, &second])?;
    same_numbers(ov.path(), first.path())
}

/// A tmpfs whose numbers differ from those of all others.
fn small_tmpfs(fx: &Fixture) -> Result<std::path::PathBuf> {
    let path = fx.tmpfs("small")?;
    rustix::mount::mount_remount(&path, MountFlags::empty(), "size=1m,nr_inodes=100")?;
    Ok(path)
}

fn first_of_several_fs(fx: &Fixture) -> Result {
    let small = Layer::create(small_tmpfs(fx)?)?;
    let lower = fx.layer("lower")?;
    let ov = fx.lowers(&[&small, &lower])?;
    same_numbers(ov.path(), small.path())?;
    check::equal("f_blocks", rustix::fs::statfs(ov.path())?.f_blocks, 256)
}

fn anywhere(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    a.dir("d/e")?;
    b.dir("d")?.file("d/f", "")?;
    let ov = fx.lowers(&[&a, &b])?;
    let id = rustix::fs::statvfs(ov.path())?.f_fsid;
    for path in ["d", "d/e", "d/f"] {
        let path = ov.join(path);
        check::equal("f_type", rustix::fs::statfs(&path)?.f_type, MAGIC)?;
        check::equal("f_fsid", rustix::fs::statvfs(&path)?.f_fsid, id)?;
        let fd = sys::open_read(&path)?;
        check::equal("fstatfs", rustix::fs::fstatfs(&fd)?.f_type, MAGIC)?;
    }
    Ok(())
}

fn flags(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let options = Options::new().lowers(&[&a, &b]);
    let wanted = StatVfsMountFlags::NODEV | StatVfsMountFlags::NOSUID | StatVfsMountFlags::RDONLY;
    let ov = fx.mount(&options.mount_flags(MountFlags::NODEV | MountFlags::NOSUID))?;
    let flags = rustix::fs::statvfs(ov.path())?.f_flag;
    check::ok(flags.contains(wanted), format_args!("f_flag is {flags:?}"))
}

/// A line of /proc/self/mounts.
struct MountsLine {
    source: String,
    fs_type: String,
    options: Vec<String>,
}

impl MountsLine {
    fn of(path: &Path) -> Result<Self> {
        let text = std::fs::read("/proc/self/mounts")?;
        let text = String::from_utf8_lossy(&text);
        let line = text
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .rfind(|fields| Path::new(fields[1]) == path)
            .ok_or_else(|| Failure::new(format!("no line for {path:?} in mounts")))?;
        Ok(MountsLine {
            source: line[0].to_owned(),
            fs_type: line[2].to_owned(),
            options: line[3].split(',').map(str::to_owned).collect(),
        })
    }

    /// The value of an option, and its place among the options.
    fn option(&self, key: &str) -> Option<(usize, &str)> {
        self.options.iter().enumerate().find_map(|(place, option)| {
            let (name, value) = option.split_once('=')?;
            (name == key).then_some((place, value))
        })
    }

    fn check_value(&self, key: &str, expected: impl AsRef<Path>) -> Result {
        let value = self.option(key).map(|(_, value)| value);
        check::equal(key, value, expected.as_ref().to_str())
    }
}

fn mounts_lowers(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let ov = fx.mount(&Options::new().lowers(&[&a, &b]).source("a source"))?;
    let line = MountsLine::of(ov.path())?;
    check::equal("source", &*line.source, "a\\040source")?;
    check::equal("type", &*line.fs_type, fx.fs_type())?;
    check::equal("first option", &*line.options[0], "ro")?;
    let lowerdir = format!("{}:{}", a.path().display(), b.path().display());
    line.check_value("lowerdir", lowerdir)?;
    check::equal("upperdir", line.option("upperdir"), None)?;
    check::equal("workdir", line.option("workdir"), None)
}

fn mounts_upper(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let upper = fx.layer("upper")?;
    let work = fx.layer("work")?;
    let ov = fx.mount(&Options::new().upper(&upper, &work).lowers(&[&a, &b]))?;
    let line = MountsLine::of(ov.path())?;
    let lowerdir = format!("{}:{}", a.path().display(), b.path().display());
    line.check_value("lowerdir", lowerdir)?;
    line.check_value("upperdir", upper.path())?;
    line.check_value("workdir", work.path())?;
    let places = ["lowerdir", "upperdir", "workdir"].map(|key| line.option(key).map(|o| o.0));
    check::ok(
        places.is_sorted(),
        format_args!("the order is {:?}", line.options),
    )
}

/// The text is the user's, relative and with its escapes, not what it led to.
fn as_given(fx: &Fixture) -> Result {
    fx.layer("a")?;
    fx.layer("b:b")?;
    fx.layer("upper")?;
    fx.layer("work")?;
    std::os::unix::fs::symlink("a", fx.root().join("link"))?;
    std::env::set_current_dir(fx.root())?;
    let options = Options::new()
        .set("lowerdir", "./link:b\\:b")
        .set("upperdir", "up\\per/")
        .set("workdir", "././work");
    let result = fx.mount(&options);
    std::env::set_current_dir("/")?;
    let line = MountsLine::of(result?.path())?;
    line.check_value("lowerdir", "./link:b\\134:b")?;
    line.check_value("upperdir", "up\\134per/")?;
    line.check_value("workdir", "././work")
}

/// What would break the line is written in octal; colons are not.
fn escapes(fx: &Fixture) -> Result {
    let (a, b) = (fx.layer("a b\tc\nd")?, fx.layer("co,lon:")?);
    let root = fx.root().display().to_string();
    let lowerdir = [escape_lower(a.path()), escape_lower(b.path())];
    let lowerdir = lowerdir.join(OsStr::new(":"));
    // For mount(2) the comma needs its backslash, which is then part of the text.
    let written = String::from_utf8_lossy(lowerdir.as_bytes()).replace(',', "\\,");
    let ov = fx.mount(&Options::new().set("lowerdir", written))?;
    let line = std::fs::read_to_string("/proc/self/mounts")?;
    let expected = format!(",lowerdir={root}/a\\040b\\011c\\012d:{root}/co\\134\\054lon\\134:",);
    check::ok(
        line.contains(&expected),
        format_args!("{expected} is not in {line}"),
    )?;
    fx.unmount(ov.path())?;
    let (upper, work) = (fx.layer("u p")?, fx.layer("w,k")?);
    let options = Options::new()
        .lowers(&[&a])
        .set("upperdir", upper.path())
        .set("workdir", work.path().to_string_lossy().replace(',', "\\,"));
    fx.mount(&options)?;
    let line = std::fs::read_to_string("/proc/self/mounts")?;
    let expected = format!(",upperdir={root}/u\\040p,workdir={root}/w\\134\\054k");
    check::ok(
        line.contains(&expected),
        format_args!("{expected} is not in {line}"),
    )
}

fn last_lowerdir(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let ov = fx.mount(&Options::new().lowers(&[&a, &b]).lowers(&[&b, &a]))?;
    let line = MountsLine::of(ov.path())?;
    let lowerdir = format!("{}:{}", b.path().display(), a.path().display());
    line.check_value("lowerdir", lowerdir)?;
    let count = line
        .options
        .iter()
        .filter(|o| o.starts_with("lowerdir="))
        .count();
    check::equal("lowerdir options", count, 1)
}

fn long_lowerdir(fx: &Fixture) -> Result {
    let layers: Vec<_> = (0..100)
        .map(|n| fx.layer(format!("layer-with-a-longer-name-{n}")))
        .collect::<Result<_>>()?;
    let names: Vec<_> = layers
        .iter()
        .map(|layer| layer.path().file_name())
        .collect();
    let names: Vec<_> = names
        .into_iter()
        .flatten()
        .map(OsStr::to_string_lossy)
        .collect();
    let lowerdir = names.join(":");
    std::env::set_current_dir(fx.root())?;
    let result = fx.mount(&Options::new().set("lowerdir", &lowerdir));
    std::env::set_current_dir("/")?;
    MountsLine::of(result?.path())?.check_value("lowerdir", lowerdir)
}

/// The options as shown, octal escapes undone, give the same mount again.
fn text_mounts_again(fx: &Fixture) -> Result {
    let (a, b) = (fx.layer("a:\\ ,a")?, fx.layer("b")?);
    a.file("fa", "a")?;
    b.file("fb", "b")?;
    let written = escape_lower(a.path());
    let written = String::from_utf8_lossy(written.as_bytes()).replace(',', "\\,");
    let options = Options::new().set("lowerdir", format!("{written}:{}", b.path().display()));
    let ov = fx.mount(&options)?;
    let line = MountsLine::of(ov.path())?;
    let Some((_, shown)) = line.option("lowerdir") else {
        return Err(Failure::new("no lowerdir is shown"));
    };
    let mut text = shown.to_owned();
    for (octal, byte) in [("\\040", " "), ("\\054", ","), ("\\134", "\\")] {
        text = text.replace(octal, byte);
    }
    let again = fx.mount(&Options::new().set("lowerdir", text))?;
    crate::expect::content(again.join("fa"), "a")?;
    crate::expect::lists(again.path(), &["fa", "fb"])
}

/// The fields of the line in mountinfo before and after the separator.
fn mountinfo_of(path: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let (before, after) = text
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .rfind(|(before, _)| before.split(' ').nth(4).map(Path::new) == Some(path))
        .ok_or_else(|| Failure::new(format!("no line for {path:?} in mountinfo")))?;
    let fields = |text: &str| text.split(' ').map(str::to_owned).collect();
    Ok((fields(before), fields(after)))
}

fn mountinfo(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let options = Options::new().lowers(&[&a, &b]).source("origin");
    let ov = fx.mount(&options.mount_flags(MountFlags::NODEV))?;
    let (before, after) = mountinfo_of(ov.path())?;
    check::equal("root", &*before[3], "/")?;
    let flags: Vec<_> = before[5].split(',').collect();
    check::ok(
        flags.contains(&"nodev"),
        format_args!("the mount's flags are {flags:?}"),
    )?;
    check::equal("type", &*after[0], fx.fs_type())?;
    check::equal("source", &*after[1], "origin")?;
    let expected = format!("ro,lowerdir={}:{}", a.path().display(), b.path().display());
    let shown = &after[2];
    let next = shown.as_bytes().get(expected.len());
    check::ok(
        shown.starts_with(&expected) && matches!(next, None | Some(b',')),
        format_args!("the options are {shown}"),
    )
}

fn mountinfo_device(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    a.dir("d")?;
    let ov = fx.lowers(&[&a, &b])?;
    let (before, _) = mountinfo_of(ov.path())?;
    for path in [ov.path().to_owned(), ov.join("d")] {
        let device = sys::stat(path)?.st_dev;
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        check::equal("device", &*before[2], &*format!("{major}:{minor}"))?;
    }
    Ok(())
}
