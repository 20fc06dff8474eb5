// SPDX-License-Identifier: GPL-2.0-only

//! A change is the same wherever its object is: in upper, in lower, or on no overlay at all.
//!
//! Changing something through an overlay should end as it would on the bare filesystem of upper. So one
//! piece of code runs in a directory of that filesystem, whose outcome is the expected one, and then in
//! directories of an overlay with the same objects.

use std::fmt::Debug;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::check;
use crate::check::Result;
use crate::check::Table;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::sys;

/// Where the objects are: in a directory that only upper has, in a merged one but in lower, and in one
/// that only lower has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Upper,
    Merged,
    Lower,
}

impl Place {
    pub const ALL: [Place; 3] = [Place::Upper, Place::Merged, Place::Lower];

    /// The name of the directory.
    pub fn name(self) -> &'static str {
        match self {
            Place::Upper => "in-upper",
            Place::Merged => "merged",
            Place::Lower => "in-lower",
        }
    }
}

/// Equal objects in all places of an overlay, and in a directory that is on none.
pub struct Alike {
    upper: Layer,
    lower: Layer,
    bare: Layer,
    ov: Mounted,
    before: Vec<Fact>,
}

/// What must not change of an object in lower: its name, what stat tells, and what the file or symlink holds.
type Fact = (PathBuf, [u64; 4], [i64; 3], Vec<u8>);

impl Alike {
    /// Mounts an overlay. `fill` is called for each directory.
    pub fn new(fx: &Fixture, fill: impl Fn(&Layer) -> Result) -> Result<Self> {
        Self::with(fx, Options::new(), fill)
    }

    /// As [`Alike::new`], with options beside those for the layers.
    pub fn with(fx: &Fixture, options: Options, fill: impl Fn(&Layer) -> Result) -> Result<Self> {
        let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
        let bare = fx.layer("bare")?;
        fill(&bare)?;
        fill(&Layer::create(upper.join(Place::Upper.name()))?)?;
        upper.dir(Place::Merged.name())?;
        for place in [Place::Merged, Place::Lower] {
            fill(&Layer::create(lower.join(place.name()))?)?;
        }
        let before = facts(&lower)?;
        let work = fx.work()?;
        let ov = fx.mount(&options.lowers(&[&lower]).upper(&upper, &work))?;
        Ok(Alike {
            upper,
            lower,
            bare,
            ov,
            before,
        })
    }

    pub fn upper(&self) -> &Layer {
        &self.upper
    }

    /// The directory of the overlay.
    pub fn dir(&self, place: Place) -> PathBuf {
        self.ov.join(place.name())
    }

    /// Runs `work` in the bare directory, and then in each of the overlay; all must come to the same.
    /// Returns what that is.
    #[track_caller]
    pub fn check<T: Debug + PartialEq>(
        &self,
        what: impl Display,
        mut work: impl FnMut(&Path) -> std::result::Result<T, Errno>,
    ) -> Result<std::result::Result<T, Errno>> {
        let expected = work(self.bare.path());
        let mut table = Table::new();
        for place in Place::ALL {
            let seen = work(&self.dir(place));
            table.note(check::equal(
                format_args!("{what} {place:?}"),
                &seen,
                &expected,
            ))?;
        }
        table.finish()?;
        Ok(expected)
    }

    /// As [`Alike::check`], for what has to come to `expected` in the bare directory too.
    #[track_caller]
    pub fn gives<T: Debug + PartialEq>(
        &self,
        what: impl Display,
        expected: std::result::Result<T, Errno>,
        work: impl FnMut(&Path) -> std::result::Result<T, Errno>,
    ) -> Result {
        let outcome = self.check(&what, work)?;
        check::equal(format_args!("{what} without overlay"), outcome, expected)
    }

    /// What `look` finds has to be the same in the overlay's directories, in those of upper behind them,
    /// and in the bare one: whatever was changed has arrived in upper.
    #[track_caller]
    pub fn stored<T: Debug + PartialEq>(
        &self,
        what: impl Display,
        mut look: impl FnMut(&Path) -> std::result::Result<T, Errno>,
    ) -> Result<std::result::Result<T, Errno>> {
        let expected = self.check(&what, &mut look)?;
        let mut table = Table::new();
        for place in Place::ALL {
            let seen = look(&self.upper.join(place.name()));
            let what = format!("{what} on upper, {place:?}");
            table.note(check::equal(what, &seen, &expected))?;
        }
        table.finish()?;
        Ok(expected)
    }

    /// Whether there is an object of this name in upper.
    pub fn in_upper(&self, place: Place, name: &str) -> bool {
        sys::lstat(self.upper.join(place.name()).join(name)).is_ok()
    }

    /// Nothing has changed in lower.
    #[track_caller]
    pub fn lower_untouched(&self) -> Result {
        check::equal("lower", &facts(&self.lower)?, &self.before)
    }
}

fn facts(layer: &Layer) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    for path in sys::walk(layer.path())? {
        let full = layer.join(&path);
        let st = sys::lstat(&full)?;
        let numbers = [
            st.st_mode.into(),
            st.st_uid.into(),
            st.st_gid.into(),
            st.st_nlink,
        ];
        let times = [st.st_mtime, st.st_ctime, st.st_ctime_nsec as i64];
        let kind = rustix::fs::FileType::from_raw_mode(st.st_mode);
        let data = match kind {
            rustix::fs::FileType::RegularFile => std::fs::read(&full)?,
            rustix::fs::FileType::Symlink => sys::readlink(&full)?.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        facts.push((path, numbers, times, data));
    }
    Ok(facts)
}
