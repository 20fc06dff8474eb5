// SPDX-License-Identifier: GPL-2.0-only

//! One of the two sides: a copy of the layers, and a mount of them.

use std::ffi::CString;
use std::fs;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::unmount;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;

use crate::build;
use crate::build::Places;
use crate::scan;
use crate::scan::Entry;
use crate::scan::Tree;
use crate::script::Backing;
use crate::script::Layer;
use crate::script::Mapped;
use crate::script::Script;
use crate::step::Step;
use crate::sys::SysResult;
use crate::yard::Yard;

/// How often an unmount is tried again, since what a queue was asked for lets the file go a little after
/// it has told its result.
const PATIENCE: usize = 100;

pub struct Side<'a> {
    yard: &'a Yard,
    pub script: &'a Script,
    places: Places,
    /// The layers as the mount is told of them.
    shown: Places,
    /// Where the overlay is mounted.
    pub point: String,
    is_mounted: bool,
}

impl<'a> Side<'a> {
    /// Makes the layers.
    pub fn new(yard: &'a Yard, name: &str, script: &'a Script) -> anyhow::Result<Self> {
        let setup = &script.setup;
        let places = |home: &dyn Fn(Backing) -> anyhow::Result<String>| {
            let upper_home = home(setup.upper_on)?;
            let mut lowers = Vec::new();
            for index in 0..setup.lowers {
                let home = home(setup.lower_on(index))?;
                lowers.push(format!("{home}/l{}", index + 1));
            }
            anyhow::Ok(Places {
                upper: format!("{upper_home}/upper"),
                work: format!("{upper_home}/work"),
                lowers,
            })
        };
        let shown = match setup.mapped {
            Some(Mapped::Layers) => places(&|backing| yard.mapped(backing, name))?,
            _ => places(&|backing| yard.home(backing, name))?,
        };
        let places = places(&|backing| yard.home(backing, name))?;
        build::build(script, &places)?;
        let point = yard.point(name);
        Ok(Side {
            yard,
            script,
            places,
            shown,
            point,
            is_mounted: false,
        })
    }

    pub fn mount(&mut self, fs_type: &str, options: &str) -> SysResult<()> {
        let setup = &self.script.setup;
        // A volatile upper can be used again only after this is gone.
        let incompat = format!("{}/work/incompat", self.places.work);
        if setup.has_option("volatile") || setup.has_option("fsync=volatile") {
            let _ = build::remove_tree(&incompat);
        }
        let mut data = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.shown.lowers.join(":"),
            self.shown.upper,
            self.shown.work
        );
        if !options.is_empty() {
            data.push(',');
            data.push_str(options);
        }
        let data = CString::new(data).map_err(|_| Errno::INVAL)?;
        mount("oracle", &*self.point, fs_type, MountFlags::empty(), &*data)?;
        self.is_mounted = true;
        if setup.mapped == Some(Mapped::Overlay) {
            self.yard.map(&self.point).map_err(|error| {
                let errno = error.downcast_ref::<Errno>();
                errno.copied().unwrap_or(Errno::CHILD)
            })?;
        }
        Ok(())
    }

    pub fn unmount(&mut self) -> SysResult<()> {
        let is_queued = |step: &Step| matches!(step, Step::Queued { .. });
        let mut tries = if self.script.has_step(is_queued) {
            PATIENCE
        } else {
            0
        };
        loop {
            match unmount(&*self.point, UnmountFlags::NOFOLLOW) {
                Err(Errno::BUSY) if tries > 0 => {
                    tries -= 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                result => {
                    result?;
                    break;
                }
            }
        }
        self.is_mounted = false;
        Ok(())
    }

    /// Where upper is on disk.
    pub fn upper(&self) -> &str {
        &self.places.upper
    }

    pub fn merged(&self) -> SysResult<Vec<Entry>> {
        scan::scan(
            &self.point,
            Tree::Merged,
            self.script.setup.private_prefix(),
        )
    }

    /// A layer as it is on disk.
    pub fn layer(&self, layer: Layer) -> SysResult<Vec<Entry>> {
        let top = self.places.of(layer).ok_or(Errno::NOENT)?;
        scan::scan(top, Tree::Layer, self.script.setup.private_prefix())
    }

    /// What is left in the work directories, apart from the shared whiteout.
    pub fn leftovers(&self) -> Vec<String> {
        use std::os::unix::fs::FileTypeExt;
        let mut left = Vec::new();
        for name in ["work", "index"] {
            let dir = format!("{}/{name}", self.places.work);
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let is_node = entry.file_type().is_ok_and(|kind| kind.is_char_device());
                let entry_name = entry.file_name().to_string_lossy().into_owned();
                if is_node && entry_name.starts_with('#') {
                    continue;
                }
                // The names in an index are handles.
                let shown = if name == "index" {
                    "entry".to_owned()
                } else {
                    entry_name
                };
                left.push(format!("{name}/{shown}"));
            }
        }
        left.sort();
        left
    }
}

impl Drop for Side<'_> {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = unmount(&*self.point, UnmountFlags::DETACH);
        }
    }
}
