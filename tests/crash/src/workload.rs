// SPDX-License-Identifier: GPL-2.0-only

//! Changes to a tree, one after the other, some of them synced.

use std::fs;
use std::fs::File;
use std::io::ErrorKind;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use rovl_kit::random::Random;
use rustix::fs::RenameFlags;
use rustix::fs::XattrFlags;
use rustix::fs::CWD;

use crate::history::Content;
use crate::history::History;
use crate::history::State;
use crate::history::LOWER_MODE;
use crate::history::LOWER_OWNER;
use crate::history::NAME;
use crate::history::TEMPORARY;

const DIRS: [&str; 3] = ["d0", "d1", "d2"];
const FILES: usize = 8;
const SUBDIRS: usize = 4;
/// Directories that are emptied, removed and moved, and the files in each.
const TREES: usize = 4;
const INNER: usize = 3;

/// Fills a lower layer, and begins the history of its names.
pub fn make_lower(lower: &Path, random: &mut Random) -> Result<History> {
    let mut history = History::default();
    for dir in DIRS {
        fs::create_dir_all(lower.join(dir))?;
        history.push_lower(dir, State::Dir);
        for number in 0..FILES {
            let name = format!("{dir}/f{number}");
            if number % 4 == 3 {
                history.push_lower(&name, State::Absent);
                continue;
            }
            let length = match number % 4 {
                0 => random.below(200),
                1 => 4096 * (1 + random.below(20)),
                _ => 100_000 + random.below(400_000),
            };
            make_file(lower, &name, fresh(random, length), &mut history)?;
        }
        for number in 0..SUBDIRS {
            make_dir(lower, &format!("{dir}/s{number}"), number % 2, &mut history)?;
        }
        for number in 0..TREES {
            let tree = format!("{dir}/e{number}");
            make_dir(lower, &tree, number / (TREES - 1), &mut history)?;
            for inner in 0..INNER {
                let name = format!("{tree}/x{inner}");
                if lower.join(&tree).exists() && inner + 1 < INNER {
                    let length = random.below(20_000);
                    make_file(lower, &name, fresh(random, length), &mut history)?;
                } else {
                    history.push_lower(&name, State::Absent);
                }
            }
        }
        // Where new directories are made.
        history.push_lower(&format!("{dir}/p"), State::Absent);
        history.push_lower(&format!("{dir}/p/x0"), State::Absent);
    }
    Ok(history)
}

/// A directory, or none if `kind` is not 0.
fn make_dir(lower: &Path, name: &str, kind: usize, history: &mut History) -> Result<()> {
    let state = match kind {
        0 => State::Dir,
        _ => State::Absent,
    };
    if state == State::Dir {
        fs::create_dir(lower.join(name))?;
    }
    history.push_lower(name, state);
    Ok(())
}

fn make_file(lower: &Path, name: &str, content: Content, history: &mut History) -> Result<()> {
    let path = lower.join(name);
    fs::write(&path, content.bytes())?;
    let (uid, gid) = LOWER_OWNER;
    std::os::unix::fs::chown(&path, Some(uid), Some(gid))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(LOWER_MODE))?;
    rustix::fs::lsetxattr(&path, NAME, name.as_bytes(), XattrFlags::empty())?;
    history.push_lower(name, State::File(content));
    Ok(())
}

fn fresh(random: &mut Random, length: usize) -> Content {
    Content {
        seed: random.number(),
        length,
    }
}

/// The directory that a name is in.
fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// A tree that changes, with its history.
pub struct Workload<'a> {
    pub top: &'a Path,
    pub history: &'a mut History,
    /// Whether directories of lower layers can be renamed.
    pub redirects: bool,
    /// Puts a mark into the log of the disk.
    pub mark: &'a dyn Fn(usize) -> Result<()>,
}

impl Workload<'_> {
    /// Makes one change, or some that belong together.
    pub fn step(&mut self, random: &mut Random) -> Result<()> {
        let name = self.choose(random);
        let done = match (self.history.now(&name), random.below(14)) {
            (_, 0) => self.subdir(random),
            (_, 1 | 2) => self.tree(random),
            (State::File(_), 3 | 4) => self.touch(&name, random),
            (State::File(old), 5 | 6) => self.overwrite(&name, old, random),
            (State::File(_), 7) => self.remove(&name),
            (State::File(_), 8 | 9) => self.rename(&name, random),
            (State::File(_), 10) => self.exchange(&name, random),
            (State::File(_), 11) => self.link(&name, random),
            (State::Absent, 3..=8) => self.create(&name, random),
            _ => self.replace(&name, random),
        };
        done.with_context(|| name.clone())?;
        if random.one_in(5) && self.is_dir(parent(&name)) {
            self.sync_dir(parent(&name))?;
        }
        Ok(())
    }

    /// A name in a directory that is there.
    fn choose(&self, random: &mut Random) -> String {
        let dir = random.pick(&DIRS);
        let tree = format!("{dir}/e{}", random.below(TREES));
        match random.below(3) {
            0 if self.is_dir(&tree) => format!("{tree}/x{}", random.below(INNER)),
            _ => format!("{dir}/f{}", random.below(FILES)),
        }
    }

    fn is_dir(&self, name: &str) -> bool {
        DIRS.contains(&name) || self.history.now(name) == State::Dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    /// Copies up, and changes nothing of the content.
    fn touch(&mut self, name: &str, random: &mut Random) -> Result<()> {
        if random.one_in(2) {
            let mode = 0o600 + random.below(64) as u32;
            self.history.mode(name, mode);
            let mode = fs::Permissions::from_mode(mode);
            return Ok(fs::set_permissions(self.path(name), mode)?);
        }
        File::options().write(true).open(self.path(name))?;
        Ok(())
    }

    fn overwrite(&mut self, name: &str, old: Content, random: &mut Random) -> Result<()> {
        let new = fresh(random, old.length);
        let mut file = File::options().write(true).open(self.path(name))?;
        self.history.written(name, State::Overwritten { old, new });
        file.write_all(&new.bytes())?;
        // One that stays without a sync would have no content that is known.
        self.sync_file(name, &file, new)
    }

    fn create(&mut self, name: &str, random: &mut Random) -> Result<()> {
        let length = random.below(60_000);
        let new = fresh(random, length);
        let mut file = File::create_new(self.path(name))?;
        self.history.push(name, State::Growing(new));
        file.write_all(&new.bytes())?;
        self.sync_file(name, &file, new)
    }

    fn replace(&mut self, name: &str, random: &mut Random) -> Result<()> {
        let length = random.below(60_000);
        let new = fresh(random, length);
        let temporary = self.path(&format!("{name}{TEMPORARY}"));
        let mut file = File::create(&temporary)?;
        file.write_all(&new.bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, self.path(name))?;
        self.history.push(name, State::File(new));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<()> {
        fs::remove_file(self.path(name))?;
        self.history.push(name, State::Absent);
        Ok(())
    }

    fn rename(&mut self, name: &str, random: &mut Random) -> Result<()> {
        let to = self.choose(random);
        // Between two names of one file nothing happens.
        if to != name && !self.history.is_same(name, &to) {
            fs::rename(self.path(name), self.path(&to))?;
            self.history.moved(name, &to);
        }
        Ok(())
    }

    fn exchange(&mut self, name: &str, random: &mut Random) -> Result<()> {
        let other = self.choose(random);
        let is_file = matches!(self.history.now(&other), State::File(_));
        if is_file && other != name && !self.history.is_same(name, &other) {
            let (from, to) = (self.path(name), self.path(&other));
            rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE)?;
            self.history.exchanged(name, &other);
        }
        Ok(())
    }

    fn link(&mut self, name: &str, random: &mut Random) -> Result<()> {
        let to = self.choose(random);
        if self.history.now(&to) == State::Absent {
            fs::hard_link(self.path(name), self.path(&to))?;
            self.history.linked(name, &to);
        }
        Ok(())
    }

    fn subdir(&mut self, random: &mut Random) -> Result<()> {
        let name = format!("{}/s{}", random.pick(&DIRS), random.below(SUBDIRS));
        if self.history.now(&name) == State::Dir {
            self.remove_dir(&name)
        } else {
            self.make_dir(&name)
        }
    }

    fn make_dir(&mut self, name: &str) -> Result<()> {
        fs::create_dir(self.path(name))?;
        self.history.push(name, State::Dir);
        Ok(())
    }

    fn remove_dir(&mut self, name: &str) -> Result<()> {
        fs::remove_dir(self.path(name))?;
        self.history.push(name, State::Absent);
        Ok(())
    }

    /// Does something to a directory that has, or had, files in it.
    fn tree(&mut self, random: &mut Random) -> Result<()> {
        let name = format!("{}/e{}", random.pick(&DIRS), random.below(TREES));
        let done = match (self.is_dir(&name), random.below(5)) {
            (false, _) => self.make_dir(&name),
            (true, 0) => self.empty(&name).and_then(|()| self.remove_dir(&name)),
            (true, 1 | 2) => self.cover(&name, random),
            (true, _) => self.move_tree(&name, random),
        };
        done.with_context(|| format!("tree {name}"))
    }

    /// Removes what is in a directory. Whiteouts are left in it, and known to be on the disk.
    fn empty(&mut self, name: &str) -> Result<()> {
        for (inner, _) in self.history.below(name) {
            self.remove(&inner)?;
        }
        self.sync_dir(name)
    }

    /// Puts a new directory with a file in it into the place of one that is emptied before.
    fn cover(&mut self, name: &str, random: &mut Random) -> Result<()> {
        self.empty(name)?;
        let new = format!("{}/p", parent(name));
        self.make_dir(&new)?;
        self.create(&format!("{new}/x0"), random)?;
        self.rename_tree(&new, name)
    }

    /// Moves a directory to a name that is free, if it may be moved.
    fn move_tree(&mut self, name: &str, random: &mut Random) -> Result<()> {
        let to = format!("{}/e{}", random.pick(&DIRS), random.below(TREES));
        if self.history.now(&to) != State::Absent {
            return Ok(());
        }
        match self.rename_tree(name, &to) {
            Err(error) if !self.redirects && is_across(&error) => Ok(()),
            done => done,
        }
    }

    /// Renames a directory, and sees to it that this is on the disk: a file that is synced later does not
    /// take its directory's name along.
    fn rename_tree(&mut self, from: &str, to: &str) -> Result<()> {
        fs::rename(self.path(from), self.path(to))?;
        self.history.moved_with_all(from, to);
        for dir in [parent(to), parent(from)] {
            File::open(self.path(dir))?.sync_all()?;
        }
        let dirs = [parent(to), parent(from), to, from];
        let mark = self.history.synced(|name| dirs.contains(&parent(name)));
        (self.mark)(mark)
    }

    fn sync_file(&mut self, name: &str, file: &File, content: Content) -> Result<()> {
        file.sync_all()?;
        self.history.written(name, State::File(content));
        let mark = self.history.synced(|other| other == name);
        (self.mark)(mark)
    }

    fn sync_dir(&mut self, dir: &str) -> Result<()> {
        File::open(self.path(dir))?.sync_all()?;
        let mark = self.history.synced(|name| parent(name) == dir);
        (self.mark)(mark)
    }
}

/// Whether a rename failed as one from one filesystem to another does.
fn is_across(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::CrossesDevices)
}
