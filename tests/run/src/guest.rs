// SPDX-License-Identifier: GPL-2.0-only
//! The main job, in the guest: the reading part, then containers that write.

use anyhow::{ensure, Result};

use crate::image::{self, IMAGE};
use crate::report::Report;
use crate::stage::{self, Options};
use crate::{reading, writing};

/// Returns whether all was as expected.
pub fn run(options: &Options) -> Result<bool> {
    let mut report = Report::default();
    let module = report.step("module", || stage::load(options).map(|text| ((), text)));
    if module.is_some() {
        if let Some(layers) = report.step("image", || {
            image::mount(options)?;
            image::check(options)
        }) {
            reading::run(options, &mut report);
            writing::run(options, &layers, &mut report);
        }
        report.step("take down", || take_down(options).map(|text| ((), text)));
    }
    Ok(report.passed())
}

/// Nothing of an overlay may be left.
fn take_down(options: &Options) -> Result<String> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let of_type = format!(" {} ", options.fs_type);
    let left = mounts
        .lines()
        .filter(|line| line.contains(&of_type))
        .count();
    ensure!(left == 0, "{left} overlays are still mounted");
    stage::unmount_at(IMAGE)?;
    stage::unload(options)?;
    Ok("unmounted, module unloaded".to_owned())
}
