// SPDX-License-Identifier: GPL-2.0-only

//! Mounts of the same layers that come and go while others use them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::RwLock;

use anyhow::Context;
use anyhow::Result;
use rovl_kit::mounts::Overlay;
use rovl_kit::random::Random;

/// Roots of mounts, each kept alive by its users. A mount that is replaced here goes away with its
/// last user, so that any thread may be the one that takes it down.
pub struct Roots {
    lasting: Arc<OwnedFd>,
    passing: RwLock<Vec<Arc<OwnedFd>>>,
}

/// How many passing mounts are there at any time.
const PASSING: usize = 3;

impl Roots {
    pub fn new(overlay: &Overlay) -> Result<Self> {
        let make = || anyhow::Ok(Arc::new(overlay.detached().context("mount")?));
        let passing = (0..PASSING).map(|_| make()).collect::<Result<_>>()?;
        Ok(Roots {
            lasting: make()?,
            passing: RwLock::new(passing),
        })
    }

    /// A root to work in: every other time the one that stays.
    pub fn choose(&self, random: &mut Random) -> Arc<OwnedFd> {
        if random.one_in(2) {
            return Arc::clone(&self.lasting);
        }
        let passing = self.passing.read().unwrap_or_else(|e| e.into_inner());
        Arc::clone(random.pick(&passing))
    }

    /// Puts a new mount in the place of an old one.
    pub fn replace(&self, overlay: &Overlay, random: &mut Random) -> Result<()> {
        let new = Arc::new(overlay.detached().context("mount")?);
        let mut passing = self.passing.write().unwrap_or_else(|e| e.into_inner());
        let at = random.below(passing.len());
        let old = std::mem::replace(&mut passing[at], new);
        // Others may go on while the old one is taken down.
        drop(passing);
        drop(old);
        Ok(())
    }
}
