// SPDX-License-Identifier: GPL-2.0-only

//! Small programs that tests run from an overlay; each is this program with `--helper`.

use std::process::ExitCode;

use anyhow::bail;
use rustix::process::geteuid;

/// What the helper `exit` returns.
pub const EXIT_STATUS: u8 = 42;

pub fn run(name: &str) -> anyhow::Result<ExitCode> {
    match name {
        "exit" => Ok(ExitCode::from(EXIT_STATUS)),
        "euid" => {
            println!("{}", geteuid().as_raw());
            Ok(ExitCode::SUCCESS)
        }
        "exe" => {
            println!("{}", std::fs::read_link("/proc/self/exe")?.display());
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("no helper is called {other}"),
    }
}
