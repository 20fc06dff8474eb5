// SPDX-License-Identifier: GPL-2.0-only
//! The image: `layers/N`, `packages`, and in `expect` what has to be found, as the host worked it out.
//!
//! `layer-N` and `merged` are listings, and `programs/NAME` is what the program `srv/audit/NAME` of the tree printed in a plain
//! copy of the tree. `left` is what that copy held after the work of the left container.

use std::fs;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use rustix::mount::{mount_remount, MountFlags};
use xxhash_rust::xxh64::xxh64;

use crate::compare;
use crate::listing::Listing;
use crate::stage::{self, mount_at, Options};
use crate::walk::{walk, EntryNumbers, View};

// Short, because /proc/mounts repeats it.
pub const IMAGE: &str = "/image";

/// The layers as they were found at the start, from the lowest to the topmost.
pub struct Layers(pub Vec<Listing>);

impl Layers {
    /// Reads all that the layers hold.
    fn read() -> Result<Self> {
        let mut listings = Vec::new();
        for name in names()? {
            let walked = walk(Path::new(&path(&name)), View::Layer, EntryNumbers::All)?;
            ensure!(walked.problems.is_empty(), "{}", walked.problems.join("\n"));
            listings.push(walked.listing);
        }
        Ok(Layers(listings))
    }

    fn checksum(&self) -> u64 {
        let all: String = self.0.iter().map(Listing::lines).collect();
        xxh64(all.as_bytes(), 0)
    }

    /// Reads them once more, and fails unless everything is as it was.
    pub fn read_again(&self) -> Result<String> {
        let again = Layers::read()?;
        for (before, after) in self.0.iter().zip(&again.0) {
            compare::same(&before.lines(), &after.lines()).context("a layer has changed")?;
        }
        let (before, after) = (self.checksum(), again.checksum());
        ensure!(before == after, "{before:016x} became {after:016x}");
        Ok(format!("checksum {before:016x} before and after"))
    }
}

/// Mounts the image, read-only.
pub fn mount(options: &Options) -> Result<()> {
    let device = options.image.to_string_lossy();
    mount_at(&device, IMAGE, "ext4", MountFlags::RDONLY, "")
}

/// Checks that the layers are those that the host computed with: then a difference in a merged tree can only come from merging.
pub fn check(options: &Options) -> Result<(Layers, String)> {
    let layers = Layers::read()?;
    let mut texts = Vec::new();
    for (name, listing) in names()?.iter().zip(&layers.0) {
        let found = listing.lines();
        let expected = expectation(&format!("layer-{name}"))?;
        keep_unless_same(options, &format!("layer-{name}"), &expected, &found)?;
        let marks = found
            .lines()
            .filter(|line| line.ends_with("\twhiteout") || line.contains("\tdirectory opaque\t"));
        texts.push(format!(
            "{} ({} marks)",
            found.lines().count(),
            marks.count()
        ));
    }
    let text = format!("layers of {} objects, as they were made", texts.join(", "));
    Ok((layers, text))
}

/// From here on a write to a layer would succeed, and be found by its checksum.
pub fn make_writable(options: &Options) -> Result<()> {
    let written = sectors_written(&options.image)?;
    ensure!(written == 0, "{written} sectors of the image were written");
    mount_remount(IMAGE, MountFlags::NOATIME, "").context("remount the image")
}

/// The names of the layers, from the lowest to the topmost.
fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(IMAGE).join("layers"))? {
        let name = entry?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    ensure!(!names.is_empty(), "the image has no layers");
    Ok(names)
}

fn path(layer: &str) -> String {
    format!("{IMAGE}/layers/{layer}")
}

/// The layers as an overlay takes them, the topmost first.
pub fn stack() -> Result<Vec<String>> {
    Ok(names()?.iter().rev().map(|name| path(name)).collect())
}

/// Directories for changes on top of the image.
pub fn store(place: &str) -> Result<stage::Store> {
    let top = stack()?.swap_remove(0);
    stage::Store::make(place, Path::new(&top))
}

/// Gives a container the packages that it can install.
pub fn copy_packages(root: &Path) -> Result<()> {
    let target = root.join("tmp/packages");
    fs::create_dir(&target)?;
    for entry in fs::read_dir(Path::new(IMAGE).join("packages"))? {
        let entry = entry?;
        fs::copy(entry.path(), target.join(entry.file_name()))?;
    }
    Ok(())
}

/// A file of `expect`.
pub fn expectation(name: &str) -> Result<String> {
    let path = Path::new(IMAGE).join("expect").join(name);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// Compares; on a difference both texts go to the output directory.
pub fn keep_unless_same(options: &Options, name: &str, expected: &str, found: &str) -> Result<()> {
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

fn sectors_written(device: &Path) -> Result<u64> {
    let device = device.canonicalize()?;
    let name = device.file_name().context("a device has a name")?;
    let path = Path::new("/sys/class/block").join(name).join("stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    // Documentation/block/stat.rst: the seventh field.
    let field = stat.split_whitespace().nth(6).context("too few fields")?;
    Ok(field.parse()?)
}
