// SPDX-License-Identifier: GPL-2.0-only
//! Cuts a layer out of two states of a tree, as the build of an image does: what was added or changed, whiteouts for what
//! was removed, and opaque directories where nothing of the old directory is left.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{bail, Result};

use crate::listing::{escaped, join, parent, Listing, TreePath};

/// A layer, as paths of the later tree. Sorted, so that a directory comes before its entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cut {
    pub taken: BTreeSet<TreePath>,
    pub whiteouts: BTreeSet<TreePath>,
    pub opaque: BTreeSet<TreePath>,
}

pub fn cut(old: &Listing, new: &Listing) -> Cut {
    let mut cut = Cut::default();
    for (path, object) in &new.objects {
        let unchanged = old
            .objects
            .get(path)
            .is_some_and(|before| before.is_same(object));
        if !unchanged {
            cut.taken.insert(path.clone());
        }
    }
    for (path, before) in &old.objects {
        let now = new.objects.get(path);
        let inside_opaque = ancestors(path).any(|above| cut.opaque.contains(above));
        if inside_opaque {
            continue;
        }
        match now {
            Some(now) if before.is_directory() && now.is_directory() => {
                if is_replaced(old, new, path) {
                    cut.opaque.insert(path.clone());
                    cut.taken.insert(path.clone());
                    cut.taken
                        .extend(new.below(path).map(|(inside, _)| inside.clone()));
                }
            }
            Some(_) => {}
            None => {
                // Within a directory that is gone, or is none any more, nothing shows through.
                let shows = parent(path).is_some_and(|above| {
                    new.objects
                        .get(above)
                        .is_some_and(|directory| directory.is_directory())
                });
                if shows {
                    cut.whiteouts.insert(path.clone());
                }
            }
        }
    }
    // An entry of a layer needs its directories there, too, the ones that did not change included.
    let above: Vec<TreePath> = cut
        .taken
        .iter()
        .chain(&cut.whiteouts)
        .flat_map(|path| ancestors(path).map(<[u8]>::to_vec))
        .collect();
    cut.taken.extend(above);
    cut.taken.insert(TreePath::new());
    cut
}

/// The directories above a path, from the nearest to the root.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent(path), |above| parent(above))
}

/// Whether a directory of both trees lost an entry and kept none as it was: then it was replaced rather than edited.
fn is_replaced(old: &Listing, new: &Listing, directory: &[u8]) -> bool {
    let mut lost = false;
    for (path, before) in old.below(directory) {
        match new.objects.get(path) {
            None => lost = true,
            // A directory stays by what stays in it.
            Some(now) if before.is_directory() && now.is_directory() => {
                if before.is_same(now) && old.below(path).next().is_none() {
                    return false;
                }
            }
            Some(now) => {
                if before.is_same(now) {
                    return false;
                }
            }
        }
    }
    lost
}

/// The commands for debugfs that put a layer's whiteouts and opaque marks below `root` of a file system image.
///
/// They are made this way because a host may refuse both: its own file system may be an overlay, or the user no root.
pub fn debugfs_commands(cut: &Cut, root: &str) -> Result<String> {
    let mut commands = String::new();
    for path in cut.whiteouts.iter().chain(&cut.opaque) {
        if path
            .iter()
            .any(|byte| byte.is_ascii_control() || *byte == b'"')
            || std::str::from_utf8(path).is_err()
        {
            bail!("{}: debugfs cannot take this name", escaped(path));
        }
    }
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    for path in &cut.whiteouts {
        let above = parent(path).unwrap_or_default();
        let name = path.strip_prefix(above).unwrap_or(path);
        let name = text(name.strip_prefix(b"/").unwrap_or(name));
        let above = text(&join(root.as_bytes(), above));
        // mknod takes no path but a name in the current directory.
        let _ = writeln!(commands, "cd \"{above}\"\nmknod \"{name}\" c 0 0");
    }
    for path in &cut.opaque {
        let directory = text(&join(root.as_bytes(), path));
        let _ = writeln!(commands, "ea_set \"{directory}\" trusted.overlay.opaque y");
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::samples::tree;

    fn paths(set: &BTreeSet<TreePath>) -> Vec<String> {
        set.iter().map(|path| escaped(path)).collect()
    }

    #[test]
    fn additions_and_changes_bring_their_directories() {
        let old = tree(&[("a/", 0), ("a/b/", 0), ("a/b/x", 1), ("a/b/y", 1)]);
        let new = tree(&[("a/", 0), ("a/b/", 0), ("a/b/x", 2), ("a/b/y", 1)]);
        let cut = cut(&old, &new);
        assert_eq!(paths(&cut.taken), [".", "a", "a/b", "a/b/x"]);
        assert!(cut.whiteouts.is_empty() && cut.opaque.is_empty());
    }

    #[test]
    fn what_was_removed_gets_one_whiteout_at_its_top() {
        let old = tree(&[
            ("keep", 1),
            ("a/", 0),
            ("a/keep", 1),
            ("a/b/", 0),
            ("a/b/x", 1),
        ]);
        let new = tree(&[("keep", 1), ("a/", 1), ("a/keep", 1)]);
        let cut = cut(&old, &new);
        assert_eq!(paths(&cut.whiteouts), ["a/b"]);
        assert_eq!(paths(&cut.taken), [".", "a"]);
    }

    #[test]
    fn a_directory_of_which_nothing_stayed_is_opaque() {
        let old = tree(&[
            ("keep", 1),
            ("a/", 0),
            ("a/x", 1),
            ("a/s/", 0),
            ("a/s/y", 1),
        ]);
        let new = tree(&[("keep", 1), ("a/", 0), ("a/s/", 0), ("a/s/z", 1)]);
        let cut = cut(&old, &new);
        assert_eq!(paths(&cut.opaque), ["a"]);
        assert_eq!(paths(&cut.taken), [".", "a", "a/s", "a/s/z"]);
        assert!(cut.whiteouts.is_empty());
    }

    #[test]
    fn an_edited_directory_is_not_opaque() {
        let old = tree(&[("a/", 0), ("a/x", 1)]);
        let new = tree(&[("a/", 0), ("a/x", 2)]);
        assert!(cut(&old, &new).opaque.is_empty());
        // An empty directory that stayed counts as an entry that stayed.
        let old = tree(&[("a/", 0), ("a/x", 1), ("a/empty/", 0)]);
        let new = tree(&[("a/", 0), ("a/empty/", 0)]);
        let edited = cut(&old, &new);
        assert!(edited.opaque.iter().all(|path| path != b"a"));
    }

    #[test]
    fn another_kind_needs_no_whiteout() {
        let old = tree(&[("keep", 1), ("a/", 0), ("a/x", 1), ("f", 1)]);
        let new = tree(&[("keep", 1), ("a", 7), ("f/", 0), ("f/y", 1)]);
        let cut = cut(&old, &new);
        assert!(cut.whiteouts.is_empty() && cut.opaque.is_empty());
        assert_eq!(paths(&cut.taken), [".", "a", "f", "f/y"]);
    }

    #[test]
    fn debugfs_is_told_names_and_directories() {
        let cut = Cut {
            whiteouts: [b"a/b c".to_vec(), b"top".to_vec()].into(),
            opaque: [b"d".to_vec()].into(),
            ..Cut::default()
        };
        assert_eq!(
            debugfs_commands(&cut, "/layers/2").unwrap(),
            "cd \"/layers/2/a\"\nmknod \"b c\" c 0 0\ncd \"/layers/2/\"\nmknod \"top\" c 0 0\n\
             ea_set \"/layers/2/d\" trusted.overlay.opaque y\n"
        );
        let cut = Cut {
            whiteouts: [b"a\"b".to_vec()].into(),
            ..Cut::default()
        };
        assert!(debugfs_commands(&cut, "/layers/2").is_err());
    }
}
