// SPDX-License-Identifier: GPL-2.0-only
//! What the guest has to find, worked out on the host while the image is made: a listing for each layer, and one for the
//! merge of them all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};

use crate::compare;
use crate::cut;
use crate::listing::{escaped, Kind, Listing, Object, TreePath};
use crate::merge::merge;
use crate::walk::{walk, EntryNumbers, View};

/// The listing of a tree on the host. Whatever contradicts itself there would be blamed on the module later.
fn tree(root: &Path) -> Result<Listing> {
    let mut walked = walk(root, View::Tree, EntryNumbers::Unchecked)?;
    ensure!(
        walked.problems.is_empty(),
        "{}: {:?}",
        root.display(),
        walked.problems
    );
    walked.listing.count_links();
    Ok(walked.listing)
}

/// Writes the layer between two trees as PREFIX.taken, PREFIX.whiteouts, PREFIX.opaque (paths that end in NUL) and
/// PREFIX.debugfs (the commands that make the last two at `root` of a file system image).
pub fn write_cut(old: &Path, new: &Path, prefix: &Path, root: &str) -> Result<()> {
    let cut = cut::cut(&tree(old)?, &tree(new)?);
    let write = |suffix: &str, content: Vec<u8>| {
        let path = with_suffix(prefix, suffix);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    };
    let taken = cut
        .taken
        .iter()
        .map(|path| [b"./", path.as_slice()].concat());
    write(".taken", terminated(taken))?;
    write(".whiteouts", terminated(cut.whiteouts.iter().cloned()))?;
    write(".opaque", terminated(cut.opaque.iter().cloned()))?;
    write(".debugfs", cut::debugfs_commands(&cut, root)?.into_bytes())?;
    Ok(())
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn terminated(paths: impl Iterator<Item = TreePath>) -> Vec<u8> {
    let mut content = Vec::new();
    for path in paths {
        content.extend(path);
        content.push(0);
    }
    content
}

fn read_paths(file: &Path) -> Result<Vec<TreePath>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let content = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let paths = content.split(|&byte| byte == 0).map(<[u8]>::to_vec);
    Ok(paths.filter(|path| !path.is_empty()).collect())
}

/// A layer as it will be in the image: its tree, with the marks that are only made there.
fn layer(root: &Path) -> Result<Listing> {
    let mut listing = tree(root)?;
    for path in read_paths(&with_suffix(root, ".opaque"))? {
        match listing.objects.get_mut(&path) {
            Some(object) if object.is_directory() => {
                object.kind = Kind::Directory { opaque: true };
            }
            _ => bail!("{}: opaque, but no directory of the layer", escaped(&path)),
        }
    }
    for path in read_paths(&with_suffix(root, ".whiteouts"))? {
        let object = Object {
            kind: Kind::Whiteout,
            ..listing.objects[&TreePath::new()].clone()
        };
        let before = listing.objects.insert(path.clone(), object);
        ensure!(before.is_none(), "{}: both there and gone", escaped(&path));
    }
    Ok(listing)
}

/// Writes DIRECTORY/layer-N and DIRECTORY/merged. `layers` go from the lowest to the topmost; `tree_path` is the tree that
/// they were cut from, which the merge has to give again.
pub fn write_expectations(directory: &Path, tree_path: &Path, layers: &[PathBuf]) -> Result<()> {
    let layers = layers
        .iter()
        .map(|root| layer(root))
        .collect::<Result<Vec<_>>>()?;
    let merged = merge(&layers);

    // Cutting splits hard links that cross layers, so the counts may differ, and nothing else.
    let without_links = |listing: &Listing| {
        let mut listing = listing.clone();
        for (number, object) in listing.objects.values_mut().enumerate() {
            object.links = 0;
            object.identity.number = number as u64;
            object.identity.layer = 0;
            object.identity.device = 0;
        }
        listing.lines()
    };
    compare::same(&without_links(&tree(tree_path)?), &without_links(&merged))
        .context("the layers do not merge to the tree that they were cut from")?;

    for (index, layer) in layers.iter().enumerate() {
        fs::write(
            directory.join(format!("layer-{}", index + 1)),
            layer.lines(),
        )?;
    }
    fs::write(directory.join("merged"), merged.lines())?;
    Ok(())
}
