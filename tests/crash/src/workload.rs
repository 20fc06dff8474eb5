// SPDX-License-Identifier: GPL-2.0-only

//! Changes to a tree, one after the other, some of them synced.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use rovl_kit::random::Random;

use crate::history::Content;
use crate::history::History;
use crate::history::State;

const DIRS: [&str; 3] = ["d0", "d1", "d2"];
const FILES: usize = 8;
const SUBDIRS: usize = 4;

/// Fills a lower layer, and begins the history of its names.
pub fn make_lower(lower: &Path, random: &mut Random) -> Result<History> {
    let mut history = History::default();
    for dir in DIRS {
        fs::create_dir_all(lower.join(dir))?;
        for number in 0..FILES {
            let name = format!("{dir}/f{number}");
            if number % 4 == 3 {
                history.push(&name, State::Absent);
                continue;
            }
            let length = match number % 4 {
                0 => random.below(200),
                1 => 4096 * (1 + random.below(20)),
                _ => 100_000 + random.below(400_000),
            };
            let content = fresh(random, length);
            fs::write(lower.join(&name), content.bytes())?;
            history.push(&name, State::File(content));
        }
        for number in 0..SUBDIRS {
            let name = format!("{dir}/s{number}");
            let state = match number % 2 {
                0 => State::Dir,
                _ => State::Absent,
            };
            if state == State::Dir {
                fs::create_dir(lower.join(&name))?;
            }
            history.push(&name, state);
        }
    }
    Ok(history)
}

fn fresh(random: &mut Random, length: usize) -> Content {
    Content {
        seed: random.number(),
        length,
    }
}

/// A tree that changes, with its history.
pub struct Workload<'a> {
    pub top: &'a Path,
    pub history: &'a mut History,
    /// Puts a mark into the log of the disk.
    pub mark: &'a dyn Fn(usize) -> Result<()>,
}

impl Workload<'_> {
    /// Makes one change.
    pub fn step(&mut self, random: &mut Random) -> Result<()> {
        let dir = *random.pick(&DIRS);
        let name = format!("{dir}/f{}", random.below(FILES));
        let done = match (self.history.now(&name), random.below(10)) {
            (_, 0) => self.subdir(dir, random),
            (State::File(_), 1 | 2) => self.touch(&name, random),
            (State::File(old), 3 | 4) => self.overwrite(&name, old, random),
            (State::File(_), 5) => self.remove(&name),
            (State::File(_), 6 | 7) => self.rename(&name, random),
            (State::Absent, 1..=4) => self.create(&name, random),
            _ => self.replace(&name, random),
        };
        done.with_context(|| name.clone())?;
        if random.one_in(5) {
            self.sync_dir(dir)?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    /// Copies up, and changes nothing of the content.
    fn touch(&mut self, name: &str, random: &mut Random) -> Result<()> {
        if random.one_in(2) {
            let mode = fs::Permissions::from_mode(0o600 + random.below(64) as u32);
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
        let temporary = self.path(name).with_extension("new");
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
        let to = format!("{}/f{}", random.pick(&DIRS), random.below(FILES));
        if to != name {
            fs::rename(self.path(name), self.path(&to))?;
            self.history.moved(name, &to);
        }
        Ok(())
    }

    fn subdir(&mut self, dir: &str, random: &mut Random) -> Result<()> {
        let name = format!("{dir}/s{}", random.below(SUBDIRS));
        if self.history.now(&name) == State::Dir {
            fs::remove_dir(self.path(&name))?;
            self.history.push(&name, State::Absent);
        } else {
            fs::create_dir(self.path(&name))?;
            self.history.push(&name, State::Dir);
        }
        Ok(())
    }

    fn sync_file(&mut self, name: &str, file: &File, content: Content) -> Result<()> {
        file.sync_all()?;
        self.history.written(name, State::File(content));
        let mark = self.history.synced(|other| other == name);
        (self.mark)(mark)
    }

    fn sync_dir(&mut self, dir: &str) -> Result<()> {
        File::open(self.path(dir))?.sync_all()?;
        let mark = self.history.synced(|name| name.starts_with(dir));
        (self.mark)(mark)
    }
}
