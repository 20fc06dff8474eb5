// SPDX-License-Identifier: GPL-2.0-only
//! The tree that a stack of layers stands for, worked out as a tool does that unpacks an image: layer upon layer, from the
//! lowest. (The module goes the other way, name by name from the top, so the two have no idea in common that could be wrong.)

use std::collections::BTreeMap;

use crate::listing::{Kind, Listing, TreePath};

/// `layers` from the lowest to the topmost.
pub fn merge(layers: &[Listing]) -> Listing {
    let mut merged = Listing::default();
    // How many layers have a part in each directory.
    let mut parts: BTreeMap<TreePath, usize> = BTreeMap::new();
    for (index, layer) in layers.iter().enumerate() {
        remove(&mut merged, layer);
        for (path, object) in &layer.objects {
            if object.kind == Kind::Whiteout {
                continue;
            }
            let mut object = object.clone();
            object.identity.layer = index;
            let opaque = object.kind == Kind::Directory { opaque: true };
            if opaque {
                object.kind = Kind::Directory { opaque: false };
            }
            let joins = !opaque
                && object.is_directory()
                && merged
                    .objects
                    .get(path)
                    .is_some_and(|below| below.is_directory());
            if joins {
                *parts.entry(path.clone()).or_insert(0) += 1;
            } else {
                merged.clear_below(path);
                parts.insert(path.clone(), 1);
            }
            merged.objects.insert(path.clone(), object);
        }
    }
    // A directory with parts in several layers has no count of its own, which 1 stands for.
    for (path, object) in &mut merged.objects {
        if object.is_directory() && parts.get(path).is_some_and(|&count| count > 1) {
            object.links = 1;
        }
    }
    merged
}

/// Removes what the layer's whiteouts and opaque directories hide.
fn remove(merged: &mut Listing, layer: &Listing) {
    for (path, object) in &layer.objects {
        match object.kind {
            Kind::Whiteout => {
                merged.clear_below(path);
                merged.objects.remove(path);
            }
            Kind::Directory { opaque: true } => merged.clear_below(path),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::cut;
    use crate::listing::escaped;
    use crate::listing::samples::{tree, with};

    fn paths(listing: &Listing) -> Vec<String> {
        listing.objects.keys().map(|path| escaped(path)).collect()
    }

    #[test]
    fn whiteouts_and_opaque_directories_hide() {
        let base = tree(&[
            ("a/", 0),
            ("a/x", 1),
            ("b/", 0),
            ("b/y", 1),
            ("c/", 0),
            ("c/z", 1),
        ]);
        let top = tree(&[("b/", 0), ("b/new", 2)]);
        let top = with(top, "a", Kind::Whiteout);
        let top = with(top, "b", Kind::Directory { opaque: true });
        let merged = merge(&[base, top]);
        assert_eq!(paths(&merged), [".", "b", "b/new", "c", "c/z"]);
    }

    #[test]
    fn a_directory_of_several_layers_has_one_link() {
        let base = tree(&[("a/", 0), ("a/s/", 0), ("b/", 0)]);
        let top = tree(&[("a/", 0), ("a/t/", 0), ("c/", 0), ("c/d/", 0)]);
        let merged = merge(&[base, top]);
        let links = |path: &str| merged.objects[path.as_bytes()].links;
        assert_eq!(
            (links(""), links("a"), links("b"), links("c")),
            (1, 1, 2, 3)
        );
    }

    #[test]
    fn another_kind_replaces_with_all_below() {
        let base = tree(&[("a/", 0), ("a/x", 1)]);
        let middle = tree(&[("a", 5)]);
        let top = tree(&[("a/", 0), ("a/y", 1)]);
        let merged = merge(&[base.clone(), middle.clone()]);
        assert_eq!(paths(&merged), [".", "a"]);
        let merged = merge(&[base, middle, top]);
        assert_eq!(paths(&merged), [".", "a", "a/y"]);
        assert_eq!(merged.objects[b"a".as_slice()].links, 2);
    }

    #[test]
    fn what_was_cut_merges_to_the_tree_it_was_cut_from() {
        let old = tree(&[
            ("a/", 0),
            ("a/x", 1),
            ("a/s/", 0),
            ("a/s/y", 1),
            ("f", 1),
            ("g/", 0),
            ("g/h", 3),
            ("kept", 1),
        ]);
        let new = tree(&[
            ("a/", 2),
            ("a/n", 1),
            ("f/", 0),
            ("f/i/", 0),
            ("g", 3),
            ("kept", 1),
            ("m/", 9),
        ]);
        let cut = cut(&old, &new);
        let mut layer = Listing::default();
        for path in &cut.taken {
            let mut object = new.objects[path].clone();
            if cut.opaque.contains(path) {
                object.kind = Kind::Directory { opaque: true };
            }
            layer.objects.insert(path.clone(), object);
        }
        for path in &cut.whiteouts {
            layer = with(layer, std::str::from_utf8(path).unwrap(), Kind::Whiteout);
        }
        let merged = merge(&[old, layer]);
        assert_eq!(paths(&merged), paths(&new));
        for (path, object) in &new.objects {
            assert!(merged.objects[path].is_same(object), "{}", escaped(path));
        }
    }
}
