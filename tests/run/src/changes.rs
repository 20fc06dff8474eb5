// SPDX-License-Identifier: GPL-2.0-only
//! What an upper layer changes of the layers below it, as engines list it: added, changed, deleted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::listing::{escaped, Kind, Listing, Object, TreePath};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Changed,
    /// With all that was in it.
    Deleted,
}

/// The changes, by path. What was copied up and is as it was is none, nor is what is inside of a deleted directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<TreePath, Change>);

/// `below` is a merged tree, `upper` a layer with its marks.
pub fn changes(below: &Listing, upper: &Listing) -> Changes {
    let mut changes = BTreeMap::new();
    for (path, object) in &upper.objects {
        let before = below.objects.get(path);
        let change = match (&object.kind, before) {
            (Kind::Whiteout, Some(_)) => Some(Change::Deleted),
            // An engine may have put it there in case that there is something.
            (Kind::Whiteout, None) => None,
            (_, None) => Some(Change::Added),
            (_, Some(before)) => (!unmarked(object).is_same(before)).then_some(Change::Changed),
        };
        if let Some(change) = change {
            changes.insert(path.clone(), change);
        }
        if object.kind == (Kind::Directory { opaque: true }) {
            changes.extend(missing(below, upper, path).map(|path| (path, Change::Deleted)));
        }
    }
    Changes(changes)
}

fn unmarked(object: &Object) -> Object {
    let mut object = object.clone();
    if object.is_directory() {
        object.kind = Kind::Directory { opaque: false };
    }
    object
}

/// What an opaque directory hides and has no name of its own for, less what is inside of another such thing.
fn missing<'a>(
    below: &'a Listing,
    upper: &'a Listing,
    directory: &'a [u8],
) -> impl Iterator<Item = TreePath> + 'a {
    below.below(directory).filter_map(|(path, _)| {
        let above = crate::listing::parent(path)?;
        let seen = upper.objects.get(above)?.is_directory();
        (seen && !upper.objects.contains_key(path)).then(|| path.clone())
    })
}

impl Changes {
    pub fn count(&self, change: Change) -> usize {
        self.0.values().filter(|other| **other == change).count()
    }

    /// One line for each path: a letter for the change, and the path from the root.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for (path, change) in &self.0 {
            let _ = writeln!(text, "{}", line(path, *change));
        }
        text
    }

    /// One line of each kind: of the shortest path with a dot in it, which is rarely a directory of which only the times changed.
    pub fn examples(&self) -> Vec<String> {
        [Change::Added, Change::Changed, Change::Deleted]
            .iter()
            .filter_map(|change| {
                let mut paths: Vec<_> = self
                    .0
                    .iter()
                    .filter(|(path, other)| *other == change && path.contains(&b'.'))
                    .map(|(path, _)| path)
                    .collect();
                paths.sort_by_key(|path| path.len());
                paths.first().map(|path| line(path, *change))
            })
            .collect()
    }
}

fn line(path: &[u8], change: Change) -> String {
    let letter = match change {
        Change::Added => 'A',
        Change::Changed => 'C',
        Change::Deleted => 'D',
    };
    if path.is_empty() {
        return format!("{letter} /");
    }
    format!("{letter} /{}", escaped(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::samples::{tree, with};

    #[test]
    fn what_is_as_it_was_is_no_change() {
        let below = tree(&[("a/", 0), ("a/same", 1), ("a/other", 1), ("a/not-seen", 1)]);
        let upper = tree(&[("a/", 0), ("a/same", 1), ("a/other", 2), ("a/new", 1)]);
        assert_eq!(changes(&below, &upper).lines(), "A /a/new\nC /a/other\n");
    }

    #[test]
    fn whiteouts_delete_what_was_there() {
        let below = tree(&[("a/", 0), ("a/x", 1), ("b", 1)]);
        let upper = with(tree(&[]), "a", Kind::Whiteout);
        let upper = with(upper, "c", Kind::Whiteout);
        assert_eq!(changes(&below, &upper).lines(), "D /a\n");
    }

    #[test]
    fn opaque_directories_delete_what_they_do_not_name() {
        let below = tree(&[
            ("a/", 0),
            ("a/b/", 0),
            ("a/b/x", 1),
            ("a/gone/", 0),
            ("a/gone/y", 1),
            ("a/same", 1),
        ]);
        let upper = tree(&[("a/b/", 0), ("a/b/z", 1), ("a/same", 1)]);
        let upper = with(upper, "a", Kind::Directory { opaque: true });
        assert_eq!(
            changes(&below, &upper).lines(),
            "D /a/b/x\nA /a/b/z\nD /a/gone\n"
        );
    }

    #[test]
    fn another_kind_is_a_change() {
        let below = tree(&[("a/", 0), ("a/x", 1), ("b", 1)]);
        let upper = tree(&[("a", 1), ("b/", 0), ("b/y", 1)]);
        let changes = changes(&below, &upper);
        assert_eq!(changes.lines(), "C /a\nC /b\nA /b/y\n");
        assert_eq!(
            (
                changes.count(Change::Added),
                changes.count(Change::Changed),
                changes.count(Change::Deleted)
            ),
            (1, 2, 0)
        );
    }
}
