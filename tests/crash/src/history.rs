// SPDX-License-Identifier: GPL-2.0-only

//! What each name has been, and what it may be after a cut.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;
use rovl_kit::random::pattern;

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

#[derive(Default)]
pub struct History {
    names: BTreeMap<String, Vec<Step>>,
    /// Of each file that there was, what it has had in it, whichever names it had.
    files: Vec<Vec<State>>,
    moves: Vec<Moved>,
    marks: usize,
}

impl History {
    /// The name is, or has become, this. A file is another one than any that was there before.
    pub fn push(&mut self, name: &str, state: State) {
        let is_file = !matches!(state, State::Absent | State::Dir);
        let file = is_file.then(|| {
            self.files.push(vec![state]);
            (self.files.len() - 1, 0)
        });
        self.push_step(name, state, file);
    }

    /// The file that has the name has become this.
    pub fn written(&mut self, name: &str, state: State) {
        let file = self.file(name).map(|(file, _)| {
            self.files[file].push(state);
            (file, self.files[file].len() - 1)
        });
        self.push_step(name, state, file);
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

    fn file(&self, name: &str) -> Option<(usize, usize)> {
        self.names.get(name)?.last()?.file
    }

    /// A file has gone from one name to another.
    pub fn moved(&mut self, from: &str, to: &str) {
        let (state, file) = (self.now(from), self.file(from));
        self.push(from, State::Absent);
        self.push_step(to, state, file);
        self.moves.push(Moved {
            from: (from.to_owned(), self.names[from].len() - 1),
            to: (to.to_owned(), self.names[to].len() - 1),
        });
    }

    pub fn now(&self, name: &str) -> State {
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
            Some((file, content)) => self.files[file][content..]
                .iter()
                .any(|state| seen.fits(*state)),
            None => seen.fits(step.state),
        }
    }
}

/// What a name is found to be.
enum Seen {
    Absent,
    Dir,
    File(Vec<u8>),
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Seen::Absent => write!(f, "absent"),
            Seen::Dir => write!(f, "a directory"),
            Seen::File(data) => {
                let zeroes = data.iter().filter(|byte| **byte == 0).count();
                write!(f, "a file of {} bytes, {zeroes} of them 0", data.len())
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
            Ok(_) => match fs::read(path) {
                Ok(data) => Ok(Seen::File(data)),
                Err(error) => bail!("read {}: {error}", path.display()),
            },
        }
    }

    fn fits(&self, state: State) -> bool {
        match (self, state) {
            (Seen::Absent, State::Absent) | (Seen::Dir, State::Dir) => true,
            // Lengths come first, as content takes time to be made.
            (Seen::File(data), State::File(content)) => {
                data.len() == content.length && *data == content.bytes()
            }
            (Seen::File(data), State::Overwritten { old, new }) => {
                data.len() == old.length && blocks_of(data, &old.bytes(), &new.bytes())
            }
            (Seen::File(data), State::Growing(content)) => {
                let zeroes = vec![0; content.length];
                data.len() <= content.length && blocks_of(data, &zeroes, &content.bytes())
            }
            _ => false,
        }
    }
}

/// Whether each block is that of one of the two, as far as there is one.
fn blocks_of(data: &[u8], one: &[u8], other: &[u8]) -> bool {
    let pairs = one.chunks(BLOCK).zip(other.chunks(BLOCK));
    data.chunks(BLOCK)
        .zip(pairs)
        .all(|(block, (one, other))| one.starts_with(block) || other.starts_with(block))
}
