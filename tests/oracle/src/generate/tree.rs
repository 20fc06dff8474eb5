// SPDX-License-Identifier: GPL-2.0-only

//! A rough idea of the merged tree, so that most steps name what is there.
//!
//! It knows nothing of permissions, of steps that fail, or of links that lead elsewhere. A step
//! that it is wrong about fails on both sides, which is worth a try as well.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::script::Kind;
use crate::script::Layer;
use crate::script::Object;
use crate::script::Setup;
use crate::text::Bytes;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Made by a step or in the upper alone.
    Dir,
    /// Seen in a lower, so that renaming it takes a redirect.
    LowerDir,
    File,
    Link,
    Node,
}

impl What {
    pub fn is_dir(self) -> bool {
        matches!(self, What::Dir | What::LowerDir)
    }
}

pub struct Tree {
    objects: BTreeMap<String, What>,
    moves_lower_dirs: bool,
}

pub fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// The path itself and all directories on the way to it.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').map(|(end, _)| end);
    ends.chain([path.len()]).map(|end| &path[..end])
}

impl Tree {
    /// Merges the layers.
    pub fn new(setup: &Setup, layers: &[(Layer, Object)]) -> Self {
        let mut tree = Tree {
            objects: BTreeMap::new(),
            moves_lower_dirs: setup.has_option("redirect_dir=on"),
        };
        let opaque = format!("{}opaque", setup.private_prefix());
        // What lower layers have here does not count any more, or only what is inside.
        let mut hidden = BTreeSet::new();
        let mut closed = BTreeSet::new();
        for number in 0..=setup.lowers {
            let layer = match number {
                0 => Layer::Upper,
                _ => Layer::Lower(number),
            };
            let mut objects: Vec<_> = layers.iter().filter(|(of, _)| *of == layer).collect();
            objects.sort_by(|a, b| a.1.path.cmp(&b.1.path));
            let (mut hides, mut closes) = (Vec::new(), Vec::new());
            for (_, object) in objects {
                let path = &object.path;
                let is_closed =
                    parent(path).is_some_and(|parent| prefixes(parent).any(|p| closed.contains(p)));
                if path == "." || is_closed || prefixes(path).any(|p| hidden.contains(p)) {
                    continue;
                }
                let present = tree.objects.get(path).copied();
                match (tree.what(object), present) {
                    (None, _) => hides.push(path.clone()),
                    (Some(what), None) => {
                        let is_dir = what.is_dir();
                        let is_lower = is_dir && layer != Layer::Upper;
                        let what = if is_lower { What::LowerDir } else { what };
                        tree.objects.insert(path.clone(), what);
                        if !is_dir {
                            hides.push(path.clone());
                        }
                    }
                    (Some(what), Some(_)) if what.is_dir() => {
                        tree.objects.insert(path.clone(), What::LowerDir);
                    }
                    (Some(_), Some(_)) => hides.push(path.clone()),
                }
                let is_opaque = |name: &str, value: &Bytes| name == opaque && value.0 == b"y";
                if object
                    .xattrs
                    .iter()
                    .any(|xattr| is_opaque(&xattr.name, &xattr.value))
                {
                    closes.push(path.clone());
                }
            }
            hidden.extend(hides);
            closed.extend(closes);
        }
        tree
    }

    /// What an object of a layer is in the tree; nothing if it hides others.
    fn what(&self, object: &Object) -> Option<What> {
        Some(match &object.kind {
            Kind::Dir => What::Dir,
            Kind::File { .. } | Kind::Sparse { .. } | Kind::HardLink(_) => What::File,
            Kind::Symlink(_) => What::Link,
            Kind::Whiteout => return None,
            _ => What::Node,
        })
    }

    pub fn get(&self, path: &str) -> Option<What> {
        match path {
            "." => Some(What::LowerDir),
            _ => self.objects.get(path).copied(),
        }
    }

    /// All paths of such objects.
    pub fn paths(&self, wanted: impl Fn(What) -> bool) -> Vec<&str> {
        let found = self.objects.iter().filter(|(_, what)| wanted(**what));
        found.map(|(path, _)| path.as_str()).collect()
    }

    pub fn is_empty(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        !self.objects.keys().any(|other| other.starts_with(&inside))
    }

    /// Makes an object where that can be.
    pub fn add(&mut self, path: &str, what: What) {
        let has_parent =
            parent(path).is_none_or(|parent| self.get(parent).is_some_and(What::is_dir));
        if has_parent && path != "." && !path.contains(['@', ' ']) {
            self.objects.entry(path.to_owned()).or_insert(what);
        }
    }

    pub fn unlink(&mut self, path: &str) {
        if self.get(path).is_some_and(|what| !what.is_dir()) {
            self.objects.remove(path);
        }
    }

    pub fn rmdir(&mut self, path: &str) {
        if self.is_empty(path) && self.get(path).is_some_and(What::is_dir) {
            self.objects.remove(path);
        }
    }

    fn can_move(&self, path: &str) -> bool {
        match self.get(path) {
            Some(What::LowerDir) => self.moves_lower_dirs && path != ".",
            what => what.is_some(),
        }
    }

    /// Takes out an object with all that is in it, by names that begin after its own.
    fn take(&mut self, path: &str) -> Vec<(String, What)> {
        let mut taken = Vec::new();
        self.objects
            .retain(|other, what| match other.strip_prefix(path) {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                    taken.push((rest.to_owned(), *what));
                    false
                }
                _ => true,
            });
        taken
    }

    fn put(&mut self, path: &str, taken: Vec<(String, What)>) {
        let named = taken
            .into_iter()
            .map(|(rest, what)| (format!("{path}{rest}"), what));
        self.objects.extend(named);
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        let fits = match (self.get(from), self.get(to)) {
            (Some(_), None) => {
                parent(to).is_none_or(|parent| self.get(parent).is_some_and(What::is_dir))
            }
            (Some(from), Some(over)) => from.is_dir() == over.is_dir() && self.is_empty(to),
            _ => false,
        };
        let is_inside = prefixes(to).any(|prefix| prefix == from);
        if fits && !is_inside && self.can_move(from) && !to.contains(['@', '.']) {
            self.objects.remove(to);
            let taken = self.take(from);
            self.put(to, taken);
        }
    }

    pub fn exchange(&mut self, one: &str, other: &str) {
        let is_inside = prefixes(one).any(|p| p == other) || prefixes(other).any(|p| p == one);
        if self.can_move(one) && self.can_move(other) && !is_inside {
            let (from_one, from_other) = (self.take(one), self.take(other));
            self.put(one, from_other);
            self.put(other, from_one);
        }
    }
}
