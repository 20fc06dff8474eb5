// SPDX-License-Identifier: GPL-2.0-only

//! The flags that chattr sets, and the extents of files.

use std::path::Path;
use std::path::PathBuf;

use rustix::fs::ioctl_getflags;
use rustix::fs::ioctl_setflags;
use rustix::fs::FileType;
use rustix::fs::IFlags;
use rustix::fs::OFlags;
use rustix::fs::StatxAttributes;
use rustix::io::Errno;

use crate::check;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::fixture::Fixture;
use crate::rawsys;
use crate::registry::Backing;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("fileattr_flags_of_lower", "F12", flags).on_disks_in_their_way(),
    Test::new("fileattr_statx_attributes", "F13 F12", statx).on_disks_in_their_way(),
    Test::new("fileattr_fsgetxattr", "F12", fsgetxattr).on_disks_in_their_way(),
    Test::new("fileattr_protattr_of_upper", "F12 X9", protattr).on_disks_in_their_way(),
    Test::new("fileattr_set_on_read_only", "F12", set),
    Test::new("fileattr_of_special_files", "F12", special),
    Test::new("fiemap_as_on_the_layer", "F11", fiemap).on_disks_in_their_way(),
    Test::new("fiemap_of_directory", "F11", fiemap_of_directory).on_disks_in_their_way(),
];

/// A file with flags, which are taken away at the end so that the file can be removed.
pub(super) struct Flagged(PathBuf);

impl Flagged {
    pub(super) fn new(path: PathBuf, flags: IFlags) -> Result<Self> {
        let fd = sys::open_read(&path)?;
        let present = ioctl_getflags(&fd)?;
        match ioctl_setflags(&fd, present | flags) {
            Ok(()) => Ok(Flagged(path)),
            Err(Errno::OPNOTSUPP | Errno::NOTTY) => Err(Failure::skip("no such flags here")),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Flagged {
    fn drop(&mut self) {
        if let Ok(fd) = sys::open_read(&self.0) {
            if let Ok(flags) = ioctl_getflags(&fd) {
                let _ = ioctl_setflags(&fd, flags.difference(IFlags::IMMUTABLE | IFlags::APPEND));
            }
        }
    }
}

fn get(path: impl AsRef<Path>) -> std::result::Result<IFlags, Errno> {
    ioctl_getflags(sys::open(path, OFlags::RDONLY | OFlags::NONBLOCK)?)
}

const CASES: [(&str, IFlags); 5] = [
    ("plain", IFlags::empty()),
    ("immutable", IFlags::IMMUTABLE),
    ("append", IFlags::APPEND),
    ("nodump", IFlags::NODUMP),
    ("noatime", IFlags::NOATIME),
];

fn flags(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let mut flagged = Vec::new();
    for (name, flags) in CASES {
        bottom.file(name, "")?.dir(format!("d-{name}"))?;
        flagged.push(Flagged::new(bottom.join(name), flags)?);
        flagged.push(Flagged::new(bottom.join(format!("d-{name}")), flags)?);
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    let mut table = Table::new();
    for (name, flags) in CASES {
        for name in [name.to_owned(), format!("d-{name}")] {
            let seen = get(ov.join(&name))?;
            table.note(check::equal(&name, seen, get(bottom.join(&name))?))?;
            let set = seen.contains(flags);
            table.note(check::ok(set, format_args!("{name}: {seen:?}")))?;
        }
    }
    table.finish()
}

fn statx(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let mut flagged = Vec::new();
    for (name, flags) in &CASES[..3] {
        bottom.file(name, "")?;
        flagged.push(Flagged::new(bottom.join(name), *flags)?);
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    let both = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    for (name, flags) in &CASES[..3] {
        let stat = sys::lstatx(ov.join(name))?;
        let expected = match *flags {
            IFlags::IMMUTABLE => StatxAttributes::IMMUTABLE,
            IFlags::APPEND => StatxAttributes::APPEND,
            _ => StatxAttributes::empty(),
        };
        check::equal(name, stat.stx_attributes & both, expected)?;
        let told = stat.stx_attributes_mask & both;
        check::equal("mask", told, both)?;
    }
    Ok(())
}

fn fsgetxattr(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", vec![1; 20000])?.file("immutable", "")?;
    let _flagged = Flagged::new(bottom.join("immutable"), IFlags::IMMUTABLE)?;
    rustix::fs::sync();
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["f", "immutable"] {
        let seen = rawsys::fsgetxattr(sys::open_read(ov.join(name))?);
        let real = rawsys::fsgetxattr(sys::open_read(bottom.join(name))?);
        check::equal(name, seen, real)?;
        if let Ok(attr) = seen {
            let immutable = attr.xflags & rawsys::XFLAG_IMMUTABLE != 0;
            check::equal("immutable", immutable, name == "immutable")?;
        }
    }
    Ok(())
}

/// In upper the flags are kept in an attribute.
fn protattr(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    let (immutable, append) = (IFlags::IMMUTABLE, IFlags::APPEND);
    let both = immutable | append;
    let cases = [
        ("a", append),
        ("i", immutable),
        ("ia", both),
        ("aai", both),
        ("", IFlags::empty()),
        ("x", IFlags::empty()),
        ("ix", IFlags::empty()),
    ];
    for (value, _) in cases {
        let (file, dir) = (format!("f-{value}"), format!("d-{value}"));
        upper.file(&file, "")?.dir(&dir)?;
        upper.xattr(&file, "trusted.overlay.protattr", value.as_bytes())?;
        upper.xattr(&dir, "trusted.overlay.protattr", value.as_bytes())?;
        lower.dir(&dir)?;
    }
    lower
        .file("l", "")?
        .xattr("l", "trusted.overlay.protattr", b"i")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let mut table = Table::new();
    for (value, flags) in cases {
        for name in [format!("f-{value}"), format!("d-{value}")] {
            let seen = get(ov.join(&name))? & both;
            table.note(check::equal(&name, seen, flags))?;
            let attributes = sys::lstatx(ov.join(&name))?.stx_attributes;
            let shown = attributes.contains(StatxAttributes::IMMUTABLE);
            let expected = flags.contains(immutable);
            table.note(check::equal(format!("statx {name}"), shown, expected))?;
        }
    }
    let of_lower = get(ov.join("l"))? & both;
    table.note(check::equal("lower", of_lower, IFlags::empty()))?;
    table.finish()
}

fn set(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_read(ov.join("f"))?;
    let set = ioctl_setflags(&fd, IFlags::NODUMP);
    check::errno("set", set, Errno::ROFS)
}

fn special(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.node("fifo", FileType::Fifo, 0o644, (0, 0))?;
    bottom.node("null", FileType::CharacterDevice, 0o644, (1, 3))?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["fifo", "null"] {
        check::errno(name, get(ov.join(name)), Errno::NOTTY)?;
    }
    Ok(())
}

fn fiemap(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom
        .file("f", sys::pattern(300_000, 3))?
        .file("empty", "")?;
    let sparse = std::fs::File::create(bottom.join("sparse"))?;
    for block in [0, 5, 9] {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &[1; 4096], block * 65536)?;
    }
    rustix::fs::sync();
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["f", "empty", "sparse"] {
        let real = rawsys::fiemap(sys::open_read(bottom.join(name))?, true);
        let seen = rawsys::fiemap(sys::open_read(ov.join(name))?, true);
        check::equal(name, seen, real)?;
        let seen = rawsys::fiemap(sys::open_read(ov.join(name))?, false);
        if fx.backing() == Backing::Tmpfs {
            check::errno(name, seen, Errno::OPNOTSUPP)?;
        } else {
            check::equal("extents", seen?.is_empty(), name == "empty")?;
        }
    }
    Ok(())
}

fn fiemap_of_directory(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.dir("d")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let fd = sys::open_dir(ov.join("d"))?;
    check::errno("directory", rawsys::fiemap(fd, false), Errno::OPNOTSUPP)
}
