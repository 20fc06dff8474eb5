// SPDX-License-Identifier: GPL-2.0-only

//! What the root of a user namespace of its own can do.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Gid;
use rustix::fs::Uid;
use rustix::mount::mount;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::sys;

/// Runs `work` as the root of a new user namespace, with the path of a tmpfs that it owns.
pub fn run(fx: &Fixture, work: fn(&Fixture, &Path) -> Result) -> Result {
    let place = fx.place("userns")?;
    let (ready, go) = (rustix::pipe::pipe()?, rustix::pipe::pipe()?);
    let Some(child) = sys::fork()? else {
        let result = enter(&ready.1, &go.0)
            .and_then(|()| become_root(&place))
            .and_then(|()| work(fx, &place));
        if let Err(failure) = &result {
            eprintln!("in the namespace: {failure:?}");
        }
        std::process::exit(i32::from(result.is_err()));
    };
    drop(ready.1);
    let mapped = match rustix::io::read(&ready.0, &mut [0])? {
        0 => Err(Failure::skip("there are no user namespaces")),
        _ => ["uid_map", "gid_map"].iter().try_for_each(|file| {
            let path = format!("/proc/{}/{file}", child.as_raw_nonzero());
            std::fs::write(path, "0 100000 65536").context(file)
        }),
    };
    rustix::io::write(&go.1, b"x")?;
    let ended = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())?;
    mapped?;
    let status = ended.and_then(|(_, status)| status.exit_status());
    check::equal("status in the namespace", status, Some(0))
}

/// Enters a user namespace, and waits until it has ids.
fn enter(ready: &OwnedFd, go: &OwnedFd) -> Result {
    sys::unshare_user()?;
    rustix::io::write(ready, b"x")?;
    rustix::io::read(go, &mut [0])?;
    Ok(())
}

fn become_root(place: &Path) -> Result {
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    mount("tmpfs", place, "tmpfs", MountFlags::empty(), c"mode=755").context("mount tmpfs")
}
