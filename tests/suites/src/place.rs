// SPDX-License-Identifier: GPL-2.0-only

//! An overlay whose upper layer is on a given filesystem, and a directory of that filesystem
//! itself beside it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use rovl_kit::mounts;
use rovl_kit::mounts::Overlay;

pub struct Place {
    fs_type: String,
    kind: String,
    overlay: Overlay,
    /// A lower layer, on tmpfs, to be filled before mounting.
    pub lower: PathBuf,
    /// The upper layer.
    pub upper: PathBuf,
    /// A directory of the upper layer's filesystem that is no layer.
    pub bare: PathBuf,
    /// Where the overlay will be mounted.
    pub point: PathBuf,
}

impl Place {
    /// Fails where the guest has no disk of that kind.
    pub fn new(fs_type: &str, kind: &str) -> Result<Self> {
        let dir = mounts::backing(kind)?.with_context(|| format!("there is no disk {kind}"))?;
        let base = Path::new(mounts::BASE);
        let lower = base.join("lower");
        let upper = dir.join("upper");
        let bare = dir.join("bare");
        fs::create_dir(&lower)?;
        fs::create_dir(&bare)?;
        let overlay = Overlay::of(fs_type, &[&lower]).upper(&upper, &dir.join("work"))?;
        Ok(Place {
            fs_type: fs_type.to_owned(),
            kind: kind.to_owned(),
            overlay,
            lower,
            upper,
            bare,
            point: base.join("mnt"),
        })
    }

    pub fn fs_type(&self) -> &str {
        &self.fs_type
    }

    /// The filesystem of the upper layer.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    pub fn mount(&self) -> Result<()> {
        self.overlay.mount(&self.point)
    }

    pub fn unmount(&self) -> Result<()> {
        mounts::unmount(&self.point)
    }

    /// Takes all down; the overlay must be unmounted.
    pub fn finish(self) -> Result<()> {
        mounts::release(&self.kind)
    }
}
