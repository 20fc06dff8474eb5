// SPDX-License-Identifier: GPL-2.0-only

//! fsx: random operations on one file, which a lower layer has at the start. fsx begins with an empty
//! file: it truncates what there is, or, told to keep the size, writes zeros over it. So that there is
//! a copy, with data, to be truncated, the file is opened for writing before.

use std::fs;
use std::fs::OpenOptions;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::ktap::note;
use rovl_kit::ktap::Passed;
use rovl_kit::random::pattern;

use crate::place::Place;

const PROGRAM: &str = "/bin/fsx";

/// The default is the order of the operations; mappings are added where they are wanted.
const CONFIG: &str = "
[weights]
close_open = 1
read = 10
write = 10
truncate = 5
fsync = 0.3
fdatasync = 0.3
posix_fallocate = 1
punch_hole = 1
sendfile = 2
posix_fadvise = 1
copy_file_range = 2
";
const MAPPINGS: &str = "mapread = 10\nmapwrite = 10\ninvalidate = 1\n";
const NO_MAPPINGS: &str = "mapread = 0\nmapwrite = 0\ninvalidate = 0\n";

pub fn run(place: &Place, operations: u64, mappings: bool) -> Result<Passed> {
    let data = pattern(256 << 10, 1);
    let lower = place.lower.join("file");
    fs::write(&lower, &data)?;
    let more = if mappings { MAPPINGS } else { NO_MAPPINGS };
    fs::write("/tmp/fsx.toml", format!("{CONFIG}{more}"))?;
    place.mount()?;
    let file = place.point.join("file");
    drop(OpenOptions::new().write(true).open(&file)?);
    for copy in [&file, &place.upper.join("file")] {
        ensure!(fs::read(copy)? == data, "{} is no copy", copy.display());
    }
    let output = Command::new(PROGRAM)
        .args(["-f", "/tmp/fsx.toml", "-P", "/tmp", "-S", "1", "-N"])
        .arg(operations.to_string())
        .arg(&file)
        .output()
        .context(PROGRAM)?;
    if !output.status.success() {
        note(String::from_utf8_lossy(&output.stderr));
        note(String::from_utf8_lossy(&output.stdout));
    }
    ensure!(output.status.success(), "fsx ended with {}", output.status);
    place.unmount()?;
    ensure!(fs::read(&lower)? == data, "the lower layer has changed");
    Ok(Passed::Did(format!("{operations} operations")))
}
