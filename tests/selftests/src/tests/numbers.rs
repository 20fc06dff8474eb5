// SPDX-License-Identifier: GPL-2.0-only

//! Inode numbers: of several filesystems, over copy-up, and over mounts.
//!
//! What was copied up is made by mounting type overlay, so that these tests need nothing of the type under
//! test but to be read. What they compare with is again what type overlay shows of the same layers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FileType;
use rustix::mount::mount;
use rustix::mount::mount_remount;
use rustix::mount::MountFlags;
use rustix::thread::capabilities;
use rustix::thread::set_capabilities;
use rustix::thread::CapabilitySet;

use super::copy_up::copy;
use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::expect::names_listed_as_shown;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::kmod::Module;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;
use crate::userns;

pub const TESTS: &[Test] = &[
    Test::new("ino_copied_up_same_fs", "1.10 L3 X3 X4 R4", same_fs).on_disks_too(),
    Test::new("ino_copied_up_several_fs", "1.10 L3", several_fs).on_disks_too(),
    Test::new("ino_xino_on", "1.10 M12 R4", xino_on).on_disks_too(),
    Test::new("ino_xino_auto", "1.10 M12", xino_auto).on_disks_too(),
    Test::new("ino_xino_lower_only", "1.10 M12", xino_lower_only).on_disks_too(),
    Test::new("ino_copy_up_keeps_it", "1.10 C7 L3", kept_over_copy_up).on_disks_too(),
    Test::new("ino_origin_is_not_data", "L3", origin_is_not_data).on_disks_too(),
    Test::new("ino_bad_origin_is_none", "X3 H1", bad_origins),
    Test::new("ino_hard_links_share_inode", "L8 H5", hard_links).on_disks_too(),
    Test::new(
        "ino_listed_when_origin_is_lost",
        "1.10 X3 R4",
        origin_is_lost,
    )
    .on_disks_too(),
    Test::new(
        "ino_listed_without_attributes",
        "1.10 X4 R4",
        without_attributes,
    ),
    Test::new(
        "ino_listed_by_open_directory",
        "1.10 R3 R4 M12",
        by_open_directory,
    )
    .on_disks_too(),
];

const ORIGIN: &str = "trusted.overlay.origin";

/// What is seen of one path. Devices are numbered as they come, that of the overlay is zero.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    ino: u64,
    d_ino: u64,
    device: usize,
    links: u64,
}

/// Which numbers differ from mount to mount.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directories {
    Persistent,
    MadeUp,
}

/// Looks at all that is mounted at `top`.
fn look(top: &Path, directories: Directories) -> Result<Vec<Seen>> {
    let mut devices = vec![sys::lstat(top)?.st_dev];
    let mut seen = Vec::new();
    let mut paths = vec![PathBuf::new()];
    paths.extend(sys::walk(top)?);
    for path in paths {
        let st = sys::lstat(top.join(&path))?;
        let known = devices.iter().position(|device| *device == st.st_dev);
        let device = known.unwrap_or_else(|| {
            devices.push(st.st_dev);
            devices.len() - 1
        });
        let is_directory = FileType::from_raw_mode(st.st_mode) == FileType::Directory;
        let made_up = is_directory && directories == Directories::MadeUp;
        seen.push(Seen {
            ino: if made_up { 0 } else { st.st_ino },
            d_ino: d_ino(top, &path)?.unwrap_or(st.st_ino),
            device,
            links: st.st_nlink,
            path,
        });
    }
    Ok(seen)
}

/// The number that the directory lists; `None` for the top.
fn d_ino(top: &Path, path: &Path) -> Result<Option<u64>> {
    let Some((parent, name)) = path.parent().zip(path.file_name()) else {
        return Ok(None);
    };
    let entries = sys::list(top.join(parent))?;
    let entry = entries.into_iter().find(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| Failure::new(format!("{path:?} is not listed")))?;
    Ok(Some(entry.ino))
}

/// What provides type overlay.
fn overlay(fx: &Fixture) -> Module {
    let directory = fx.module().file().parent().unwrap_or(Path::new("/"));
    Module::new("overlay", directory)
}

/// Mounts type overlay, whatever the type under test.
pub(super) fn reference(fx: &Fixture, options: &Options, flags: MountFlags) -> Result<PathBuf> {
    let overlay = overlay(fx);
    if !overlay.is_registered() && overlay.load().is_err() {
        return Err(Failure::skip("type overlay is not there to compare with"));
    }
    let path = fx.mount_point()?;
    mount("overlay", &path, "overlay", flags, &*options.data()).context("mount type overlay")?;
    fx.adopt(&path);
    Ok(path)
}

/// The layers of one overlay, with things that were copied up in all ways.
struct Setting {
    upper: Layer,
    work: Layer,
    lowers: Vec<Layer>,
}

impl Setting {
    /// Puts one of each into `lowers`, and copies some of it up.
    fn new(fx: &Fixture, upper: &Path, lowers: &[&Path]) -> Result<Self> {
        let setting = Setting {
            upper: Layer::create(upper.join("upper"))?,
            work: Layer::create(upper.join("work"))?,
            lowers: lowers
                .iter()
                .enumerate()
                .map(|(index, path)| Layer::create(path.join(format!("lower{index}"))))
                .collect::<Result<_>>()?,
        };
        for (index, layer) in setting.lowers.iter().enumerate() {
            layer
                .dir("both/sub")?
                .file(format!("both/f{index}"), "lower")?;
            layer.dir(format!("d{index}/sub/deep"))?;
            layer.file(format!("d{index}/sub/plain"), "lower")?;
            layer.file(format!("d{index}/sub/changed"), "lower")?;
            layer.file(format!("d{index}/one"), "lower")?;
            layer.link(format!("d{index}/one"), format!("d{index}/two"))?;
            layer.symlink(format!("d{index}/link"), "one")?;
            layer.node(format!("d{index}/fifo"), FileType::Fifo, 0o644, (0, 0))?;
            layer.dir(format!("untouched{index}/sub"))?;
            layer.file(format!("untouched{index}/file"), "")?;
        }
        let top = reference(fx, &setting.options(), MountFlags::empty())?;
        let through = Layer::create(top.clone())?;
        for index in 0..lowers.len() {
            for name in ["sub/changed", "one", "fifo", "sub/deep"] {
                through.chmod(format!("d{index}/{name}"), 0o700)?;
            }
            through.chown(format!("d{index}/link"), 7, 7)?;
            through.file(format!("d{index}/new"), "upper")?;
            through.chmod(format!("both/f{index}"), 0o600)?;
        }
        through.dir("pure/sub")?.file("pure/file", "upper")?;
        fx.unmount(&top)?;
        Ok(setting)
    }

    fn options(&self) -> Options {
        Options::new()
            .lowers(&self.lowers)
            .upper(&self.upper, &self.work)
    }

    /// Fails unless the type under test shows what type overlay shows.
    fn compare(&self, fx: &Fixture, options: &Options, directories: Directories) -> Result {
        let top = reference(fx, options, MountFlags::RDONLY)?;
        let expected = look(&top, directories)?;
        fx.unmount(&top)?;
        let ov = read_only(fx, options)?;
        let mut table = Table::new();
        for (seen, expected) in look(ov.path(), directories)?.into_iter().zip(&expected) {
            table.note(check::equal("as on type overlay", seen, expected))?;
        }
        // What is cached must not make a difference.
        sys::drop_caches().context("drop caches")?;
        let again = look(ov.path(), directories)?;
        table.note(check::equal("with cold caches", &again, &expected))?;
        fx.unmount(ov.path())?;
        table.finish()
    }
}

impl PartialEq<&Seen> for Seen {
    fn eq(&self, other: &&Seen) -> bool {
        self == *other
    }
}

fn read_only(fx: &Fixture, options: &Options) -> Result<Mounted> {
    fx.mount(&options.clone().mount_flags(MountFlags::RDONLY))
        .context("mount the type under test")
}

/// All paths have the overlay's device, and listings have the numbers of stat.
fn check_uniform(top: &Path) -> Result {
    let mut table = Table::new();
    for seen in look(top, Directories::Persistent)? {
        let what = |text| format!("{text} of {:?}", seen.path);
        table.note(check::equal(what("device"), seen.device, 0))?;
        table.note(check::equal(what("d_ino"), seen.d_ino, seen.ino))?;
    }
    table.finish()
}

fn same_fs(fx: &Fixture) -> Result {
    let root = fx.root();
    let setting = Setting::new(fx, root, &[root, root])?;
    setting.compare(fx, &setting.options(), Directories::Persistent)?;
    let ov = read_only(fx, &setting.options())?;
    check_uniform(ov.path())
}

/// Upper in tmpfs, one lower layer on the disk, another one in another tmpfs.
fn spread(fx: &Fixture) -> Result<Setting> {
    let (upper, other) = (fx.tmpfs("fs1")?, fx.tmpfs("fs2")?);
    Setting::new(fx, &upper, &[fx.root(), &other])
}

fn several_fs(fx: &Fixture) -> Result {
    let setting = spread(fx)?;
    setting.compare(fx, &setting.options(), Directories::MadeUp)
}

fn xino_on(fx: &Fixture) -> Result {
    let setting = spread(fx)?;
    let options = setting.options().set("xino", "on");
    setting.compare(fx, &options, Directories::Persistent)?;
    let ov = read_only(fx, &options)?;
    check_uniform(ov.path())
}

fn xino_auto(fx: &Fixture) -> Result {
    let setting = spread(fx)?;
    let options = setting.options().set("xino", "auto");
    // Whether it is in force depends on what the filesystems can do, which must be judged alike.
    setting.compare(fx, &options, Directories::MadeUp)
}

fn xino_lower_only(fx: &Fixture) -> Result {
    let other = fx.tmpfs("fs2")?;
    let setting = Setting::new(fx, fx.root(), &[fx.root(), &other])?;
    for xino in ["on", "auto"] {
        let options = Options::new().lowers(&setting.lowers).set("xino", xino);
        setting.compare(fx, &options, Directories::Persistent)?;
        let ov = read_only(fx, &options)?;
        check_uniform(ov.path())?;
        fx.unmount(ov.path())?;
    }
    Ok(())
}

/// A path has one number before and after it was copied up, but for links that copying up breaks.
fn kept_over_copy_up(fx: &Fixture) -> Result {
    let root = fx.root();
    let setting = Setting::new(fx, root, &[root])?;
    let lower = &setting.lowers[0];
    let ov = read_only(fx, &setting.options())?;
    let mut table = Table::new();
    for path in [
        "d0",
        "d0/sub",
        "d0/sub/changed",
        "d0/sub/deep",
        "d0/fifo",
        "d0/link",
    ] {
        let before = sys::lstat(lower.join(path))?.st_ino;
        table.note(check::equal(
            path,
            sys::lstat(ov.join(path))?.st_ino,
            before,
        ))?;
        let upper = sys::lstat(setting.upper.join(path))?.st_ino;
        table.note(check::ok(
            upper != before,
            format!("{path} was not copied up"),
        ))?;
    }
    let upper = sys::lstat(setting.upper.join("d0/one"))?;
    let (one, two) = (
        sys::lstat(ov.join("d0/one"))?,
        sys::lstat(ov.join("d0/two"))?,
    );
    table.note(check::equal(
        "number of the broken link",
        one.st_ino,
        upper.st_ino,
    ))?;
    table.note(check::equal("its links", one.st_nlink, 1))?;
    table.note(check::equal("links of the other", two.st_nlink, 2))?;
    table.finish()
}

/// What a file was copied from gives it its number, and nothing else.
fn origin_is_not_data(fx: &Fixture) -> Result {
    let root = fx.root();
    let setting = Setting::new(fx, root, &[root])?;
    setting.upper.file("d0/sub/changed", "changed in upper")?;
    let ov = read_only(fx, &setting.options())?;
    crate::expect::content(ov.join("d0/sub/changed"), "changed in upper")?;
    let st = sys::lstat(ov.join("d0/sub/changed"))?;
    check::equal("size", st.st_size, 16)?;
    check::equal("mode", st.st_mode & 0o777, 0o700)
}

/// What makes an origin bad.
type Spoil = fn(&mut Vec<u8>);

const SPOILED: &[(&str, Spoil)] = &[
    ("empty", |origin| origin.clear()),
    ("one", |origin| origin.truncate(1)),
    ("header", |origin| origin.truncate(21)),
    ("short", |origin| origin.truncate(origin.len() - 1)),
    ("long", |origin| origin.extend([0xaa; 300])),
    ("version", |origin| origin[0] = 1),
    ("magic", |origin| origin[1] = 0xfa),
    ("length", |origin| origin[2] = 20),
    ("longer", |origin| origin[2] = 255),
    ("endian", |origin| origin[3] = 1),
    ("unknown_flag", |origin| origin[3] = 8),
    ("any_endian", |origin| origin[3] = 2),
    ("kind", |origin| origin[4] = 0x42),
    ("uuid", |origin| origin[5] ^= 1),
    ("inode", |origin| origin[25] ^= 0x55),
    ("random", |origin| *origin = sys::pattern(60, 1)),
    ("random_long", |origin| *origin = sys::pattern(2000, 2)),
    ("good", |_| ()),
];

fn bad_origins(fx: &Fixture) -> Result {
    let root = fx.root();
    let setting = Setting::new(fx, root, &[root])?;
    let (upper, lower) = (&setting.upper, &setting.lowers[0]);
    for (name, _) in SPOILED {
        lower.file(name, "lower")?;
    }
    let top = reference(fx, &setting.options(), MountFlags::empty())?;
    for (name, _) in SPOILED {
        std::fs::write(top.join(name), "upper").context("copy up")?;
    }
    fx.unmount(&top)?;
    for (name, spoil) in SPOILED {
        let mut origin = vec![0; 256];
        let length = rustix::fs::lgetxattr(upper.join(name), ORIGIN, &mut origin[..])
            .context("read the origin")?;
        origin.truncate(length);
        spoil(&mut origin);
        // A file of another type, too, and a directory.
        upper
            .dir(format!("dir_{name}"))?
            .symlink(format!("link_{name}"), "x")?;
        for stem in ["", "dir_", "link_"] {
            upper.xattr(format!("{stem}{name}"), ORIGIN, &origin)?;
        }
    }
    setting.compare(fx, &setting.options(), Directories::Persistent)?;
    let ov = read_only(fx, &setting.options())?;
    for (name, _) in SPOILED {
        crate::expect::content(ov.join(name), "upper")?;
    }
    Ok(())
}

fn hard_links(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    upper.file("u1", "upper")?.link("u1", "u2")?;
    lower.file("l1", "lower")?.link("l1", "l2")?;
    let options = Options::new().lowers(&[&lower]).upper(&upper, &fx.work()?);
    let ov = read_only(fx, &options)?;
    for (one, two) in [("u1", "u2"), ("l1", "l2")] {
        let (one, two) = (sys::lstat(ov.join(one))?, sys::lstat(ov.join(two))?);
        check::equal("number", one.st_ino, two.st_ino)?;
        check::equal("device", one.st_dev, two.st_dev)?;
        check::equal("links", (one.st_nlink, two.st_nlink), (2, 2))?;
    }
    Ok(())
}

/// Where the mounter may not find objects by their handles, a copy has the number of its original only as
/// long as its inode is in use. What is listed follows.
fn origin_is_lost(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.dir("d")?.file("d/copied", "data")?;
    lower.file("d/renamed", "data")?;
    let all = capabilities(None)?;
    let mut fewer = all;
    fewer.effective.remove(CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, fewer)?;
    let mounted = fx.upper(&upper, &[&lower]);
    set_capabilities(None, all)?;
    let ov = mounted?;
    let dir = ov.join("d");
    let open = sys::open_dir(&dir)?;
    copy(dir.join("renamed"))?;
    names_listed_as_shown(&dir, &sys::list(&dir)?)?;
    copy(dir.join("copied"))?;
    std::fs::rename(dir.join("renamed"), dir.join("moved")).context("rename")?;
    names_listed_as_shown(&dir, &sys::list(&dir)?)?;
    // Inodes that nobody uses are forgotten by that, and the directory is in use.
    mount_remount(ov.path(), MountFlags::RDONLY, c"").context("remount")?;
    names_listed_as_shown(&dir, &sys::read_entries(&open, 4096)?)
}

/// Upper keeps no attributes of the overlay where the mounter may not set them.
fn without_attributes(fx: &Fixture) -> Result {
    userns::run(fx, |fx, place| {
        let layer = |name: &str| Layer::create(place.join(name));
        let (upper, work, lower) = (layer("upper")?, layer("work")?, layer("lower")?);
        let point = layer("mnt")?;
        lower.dir("d")?.file("d/f", "data")?.file("d/g", "")?;
        let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
        fx.mount_at(point.path(), &options).context("mount")?;
        let dir = point.join("d");
        names_listed_as_shown(&dir, &sys::list(&dir)?)?;
        copy(dir.join("f"))?;
        for _ in 0..2 {
            names_listed_as_shown(&dir, &sys::list(&dir)?)?;
        }
        fx.unmount(point.path())?;
        Ok(())
    })
}

/// A directory that is copied up while it is read is read to its end where it was.
fn by_open_directory(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    let other = fx.tmpfs("other")?;
    let (upper, work) = (
        Layer::create(other.join("upper"))?,
        Layer::create(other.join("work"))?,
    );
    lower.dir("d")?;
    for n in 0..200 {
        lower.file(format!("d/file{n}"), "")?;
    }
    let options = Options::new().lowers(&[&lower]).upper(&upper, &work);
    let ov = fx.mount(&options.set("xino", "on"));
    let ov = ov.context("mount the type under test")?;
    let dir = ov.join("d");
    let open = sys::open_dir(&dir)?;
    let before = sys::read_some(&open, 1024)?;
    std::fs::set_permissions(&dir, Permissions::from_mode(0o700)).context("change the mode")?;
    let after = sys::read_entries(&open, 1024)?;
    check::ok(
        !before.is_empty() && !after.is_empty(),
        "it was read at once",
    )?;
    names_listed_as_shown(&dir, &before)?;
    names_listed_as_shown(&dir, &after)
}
