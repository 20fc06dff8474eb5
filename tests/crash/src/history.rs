// SPDX-License-Identifier: GPL-2.0-only

//! What each name has been, and what it may be after a cut.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;
use rovl_kit::random::pattern;
use rustix::io::Errno;

/// What changes as a whole on every filesystem.
const BLOCK: usize = 4096;

/// The content of a file: bytes from a seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    pub seed: u64,
    pub length: usize,
}

impl Content {
    pub fn bytes(self) -> Vec<u8> {
        pattern(self.length, self.seed)
    }
}

/// What a name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Absent,
    Dir,
    File(Content),
    /// Being written over without a sync: each block is of one or the other.
    Overwritten {
        old: Content,
        new: Content,
    },
    /// Being written for the first time without a sync: as much as is there is right, or a hole.
    Growing(Content),
}

/// A state that a name took, and the mark after which it is known to be on the disk.
struct Step {
    state: State,
    synced: Option<usize>,
    /// Which of all files it is, if it is one, and which of that file's contents it has.
    file: Option<(usize, usize)>,
}

/// A file that was taken from one name to another: by its step in the history of either.
struct Moved {
    from: (String, usize),
    to: (String, usize),
}

/// A file, whichever names it had.
struct Life {
    /// What it has had in it.
    contents: Vec<State>,
    /// The name that it had in the lower layer, if it was born there.
    lower: Option<String>,
    /// What its mode has been.
    modes: Vec<u32>,
}

/// Owner, group and mode of each file of the lower layer. Its name is in the attribute [`NAME`].
pub const LOWER_OWNER: (u32, u32) = (5, 6);
pub const LOWER_MODE: u32 = 0o640;
pub const NAME: &str = "user.n";

/// How the name of a file ends that is to take the place of another one.
pub const TEMPORARY: &str = ".new";

/// What files that are made later belong to, and their mode.
const MADE_OWNER: (u32, u32) = (0, 0);
const MADE_MODE: u32 = 0o644;

#[derive(Default)]
pub struct History {
    names: BTreeMap<String, Vec<Step>>,
    files: Vec<Life>,
    moves: Vec<Moved>,
    marks: usize,
}

impl History {
    /// The name is, or has become, this. A file is another one than any that was there before.
    pub fn push(&mut self, name: &str, state: State) {
        self.push_born(name, state, None, MADE_MODE);
    }

    /// The lower layer has this of that name.
    pub fn push_lower(&mut self, name: &str, state: State) {
        self.push_born(name, state, Some(name), LOWER_MODE);
    }

    fn push_born(&mut self, name: &str, state: State, lower: Option<&str>, mode: u32) {
        let is_file = !matches!(state, State::Absent | State::Dir);
        let file = is_file.then(|| {
            self.files.push(Life {
                contents: vec![state],
                lower: lower.map(str::to_owned),
                modes: vec![mode],
            });
            (self.files.len() - 1, 0)
        });
        self.push_step(name, state, file);
    }

    /// The file that has the name has become this.
    pub fn written(&mut self, name: &str, state: State) {
        let file = self.file(name).map(|(file, _)| {
            let contents = &mut self.files[file].contents;
            contents.push(state);
            (file, contents.len() - 1)
        });
        self.push_step(name, state, file);
    }

    /// The file that has the name is about to get this mode.
    pub fn mode(&mut self, name: &str, mode: u32) {
        if let Some((file, _)) = self.file(name) {
            self.files[file].modes.push(mode);
        }
    }

    fn push_step(&mut self, name: &str, state: State, file: Option<(usize, usize)>) {
        let steps = self.names.entry(name.to_owned()).or_default();
        // What the lower layers show needs no sync.
        let synced = steps.is_empty().then_some(0);
        steps.push(Step {
            state,
            synced,
            file,
        });
    }

    /// Which file has the name, and what is in it.
    fn file(&self, name: &str) -> Option<(usize, usize)> {
        let (file, _) = self.names.get(name)?.last()?.file?;
        Some((file, self.files[file].contents.len() - 1))
    }

    /// Whether both are names of one file.
    pub fn is_same(&self, one: &str, other: &str) -> bool {
        let number = |name| self.file(name).map(|(file, _)| file);
        number(one).is_some() && number(one) == number(other)
    }

    /// A file, or a directory with nothing in it, has gone from one name to another.
    pub fn moved(&mut self, from: &str, to: &str) {
        let (state, file) = (self.now(from), self.file(from));
        self.push(from, State::Absent);
        self.push_step(to, state, file);
        self.note_move(from, to);
    }

    /// A directory has gone from one name to another, with all that is in it.
    pub fn moved_with_all(&mut self, from: &str, to: &str) {
        self.moved(from, to);
        for (old, inner) in self.below(from) {
            self.moved(&old, &format!("{to}/{inner}"));
        }
    }

    /// Two files have changed places.
    pub fn exchanged(&mut self, one: &str, other: &str) {
        let first = (self.now(one), self.file(one));
        let second = (self.now(other), self.file(other));
        self.push_step(one, second.0, second.1);
        self.push_step(other, first.0, first.1);
        self.note_move(one, other);
        self.note_move(other, one);
    }

    /// A file has got one name more.
    pub fn linked(&mut self, from: &str, to: &str) {
        self.push_step(to, self.now(from), self.file(from));
    }

    fn note_move(&mut self, from: &str, to: &str) {
        self.moves.push(Moved {
            from: (from.to_owned(), self.names[from].len() - 1),
            to: (to.to_owned(), self.names[to].len() - 1),
        });
    }

    /// What is there below a directory, by whole names and by those in it.
    pub fn below(&self, dir: &str) -> Vec<(String, String)> {
        let inner = |name: &String| {
            let inner = name.strip_prefix(dir)?.strip_prefix('/')?;
            let is_there = self.now(name) != State::Absent;
            is_there.then(|| (name.clone(), inner.to_owned()))
        };
        self.names.keys().filter_map(inner).collect()
    }

    pub fn now(&self, name: &str) -> State {
        if let Some((file, content)) = self.file(name) {
            // It may have been written to by another name.
            return self.files[file].contents[content];
        }
        let steps = self.names.get(name).and_then(|steps| steps.last());
        steps.map_or(State::Absent, |step| step.state)
    }

    /// What these names are is on the disk. Returns the mark to be put into the log.
    pub fn synced(&mut self, wanted: impl Fn(&str) -> bool) -> usize {
        self.marks += 1;
        for (name, steps) in &mut self.names {
            if let (true, Some(step)) = (wanted(name), steps.last_mut()) {
                step.synced.get_or_insert(self.marks);
            }
        }
        self.marks
    }

    /// How many marks were put into the log after the first, which is 0.
    pub fn marks(&self) -> usize {
        self.marks
    }

    /// Fails unless the tree shows names of this history alone, or what is written to take the place of one.
    pub fn check_names<'a>(&self, tree: impl Iterator<Item = &'a Path>) -> Result<()> {
        for path in tree {
            let name = path.to_string_lossy();
            let last = name.strip_suffix(TEMPORARY).unwrap_or(&name);
            ensure!(
                self.names.contains_key(last),
                "{name} is there, and nobody ever made it"
            );
        }
        Ok(())
    }

    /// Compares a tree with what it may be after the last mark that reached the log.
    pub fn check(&self, top: &Path, mark: usize) -> Result<()> {
        let mut fits = BTreeMap::new();
        for (name, steps) in &self.names {
            let synced = |step: &Step| step.synced.is_some_and(|at| at <= mark);
            let first = steps.iter().rposition(synced).unwrap_or(0);
            let seen = Seen::look(&top.join(name))?;
            let found: Vec<usize> = (first..steps.len())
                .filter(|at| self.fits(&seen, &steps[*at]))
                .collect();
            ensure!(
                !found.is_empty(),
                "{name} is {seen}, and should be {:?} or what came after it (mark {mark})",
                steps[first].state
            );
            fits.insert(name.as_str(), found);
        }
        for Moved { from, to } in &self.moves {
            let gone = fits[from.0.as_str()].iter().all(|at| *at >= from.1);
            let came = fits[to.0.as_str()].iter().any(|at| *at >= to.1);
            ensure!(!gone || came, "{} was lost on its way to {}", from.0, to.0);
        }
        Ok(())
    }

    /// Whether that is what the step says. A file that has gone to another name since, of which no sync
    /// tells, is still found by this one, but what was written to it there is in it.
    fn fits(&self, seen: &Seen, step: &Step) -> bool {
        match step.file {
            Some((file, content)) => {
                let life = &self.files[file];
                let mut contents = life.contents[content..].iter();
                seen.is_of(life) && contents.any(|state| seen.fits(*state))
            }
            None => seen.fits(step.state),
        }
    }
}

/// What a name is found to be.
enum Seen {
    Absent,
    Dir,
    File {
        data: Vec<u8>,
        mode: u32,
        owner: (u32, u32),
        name: Option<String>,
    },
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Seen::Absent => write!(f, "absent"),
            Seen::Dir => write!(f, "a directory"),
            Seen::File {
                data,
                mode,
                owner: (uid, gid),
                name,
            } => {
                let zeroes = data.iter().filter(|byte| **byte == 0).count();
                let length = data.len();
                write!(f, "a file of {length} bytes, {zeroes} of them 0, ")?;
                write!(f, "of {uid}:{gid} with mode {mode:o} and name {name:?}")
            }
        }
    }
}

impl Seen {
    fn look(path: &Path) -> Result<Self> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Seen::Absent),
            Err(error) => bail!("{}: {error}", path.display()),
            Ok(stat) if stat.is_dir() => Ok(Seen::Dir),
            Ok(stat) => match (fs::read(path), attribute(path)) {
                (Ok(data), Ok(name)) => Ok(Seen::File {
                    data,
                    mode: stat.mode() & 0o7777,
                    owner: (stat.uid(), stat.gid()),
                    name,
                }),
                (Err(error), _) => bail!("read {}: {error}", path.display()),
                (_, Err(error)) => bail!("{NAME} of {}: {error}", path.display()),
            },
        }
    }

    /// Whether the file may be this one, as far as its attributes tell.
    fn is_of(&self, life: &Life) -> bool {
        let expected = match life.lower {
            Some(_) => LOWER_OWNER,
            None => MADE_OWNER,
        };
        match self {
            Seen::File {
                mode, owner, name, ..
            } => life.modes.contains(mode) && *owner == expected && *name == life.lower,
            _ => true,
        }
    }

    fn fits(&self, state: State) -> bool {
        match (self, state) {
            (Seen::Absent, State::Absent) | (Seen::Dir, State::Dir) => true,
            // Lengths come first, as content takes time to be made.
            (Seen::File { data, .. }, State::File(content)) => {
                data.len() == content.length && *data == content.bytes()
            }
            (Seen::File { data, .. }, State::Overwritten { old, new }) => {
                data.len() == old.length && blocks_of(data, &old.bytes(), &new.bytes())
            }
            (Seen::File { data, .. }, State::Growing(content)) => {
                let zeroes = vec![0; content.length];
                data.len() <= content.length && blocks_of(data, &zeroes, &content.bytes())
            }
            _ => false,
        }
    }
}

/// The name that a file of the lower layer has in its attribute.
fn attribute(path: &Path) -> Result<Option<String>, Errno> {
    let mut value = [0; 64];
    match rustix::fs::lgetxattr(path, NAME, &mut value) {
        Ok(length) => Ok(Some(String::from_utf8_lossy(&value[..length]).into_owned())),
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether each block is that of one of the two, as far as there is one.
fn blocks_of(data: &[u8], one: &[u8], other: &[u8]) -> bool {
    let pairs = one.chunks(BLOCK).zip(other.chunks(BLOCK));
    data.chunks(BLOCK)
        .zip(pairs)
        .all(|(block, (one, other))| one.starts_with(block) || other.starts_with(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_shows_known_names_alone() {
        let mut history = History::default();
        history.push_lower("d0", State::Dir);
        history.push_lower("d0/f0", State::Absent);
        let check = |names: &[&str]| history.check_names(names.iter().map(Path::new));
        assert!(check(&[]).is_ok());
        assert!(check(&["d0", "d0/f0", "d0/f0.new"]).is_ok());
        for unknown in ["d0/f1", "d0/f1.new", "f0", ".new", "d0/f0.new.new"] {
            assert!(check(&["d0", unknown]).is_err(), "{unknown}");
        }
    }
}
