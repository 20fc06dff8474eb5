// SPDX-License-Identifier: GPL-2.0-only

//! Layers, and overlays, on mounts that map owners.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::move_mount;
use rustix::mount::open_tree;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::layer::CAPABILITY;
use crate::raw;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("idmap_layer_owners", "F21 F13", layer_owners).on_disks_too(),
    Test::new("idmap_layer_permission", "F21 F15", layer_permission),
    Test::new("idmap_overlay_mount", "A1 F13", overlay_mount),
    Test::new("idmap_both", "A1 F21", both),
    Test::new("idmap_capabilities", "F16 F21", capabilities),
];

/// What the namespace maps its ids from zero on to.
pub(super) const BASE: u32 = 100_000;

/// Makes a user namespace that maps ids from 0 on to those from `base` on.
fn user_namespace(base: u32) -> Result<OwnedFd> {
    let child = Command::new("busybox")
        .args(["unshare", "-U", "busybox", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        return Err(Failure::skip("no busybox to make a user namespace with"));
    };
    let mut echo = [0];
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(mut stdout)) = (stdin, stdout) else {
        return Err(Failure::new("no pipes"));
    };
    // What comes back comes from within the namespace.
    stdin.write_all(b"x")?;
    if stdout.read(&mut echo)? == 0 {
        return Err(Failure::skip("busybox cannot make a user namespace"));
    }
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let map = format!("0 {base} 65536");
    std::fs::write(process.join("uid_map"), &map).context("write uid_map")?;
    std::fs::write(process.join("gid_map"), &map).context("write gid_map")?;
    let namespace = File::open(process.join("ns/user")).context("open the namespace")?;
    drop(stdin);
    child.wait()?;
    Ok(namespace.into())
}

/// Mounts `path` once more, with its owners mapped.
pub(super) fn mapped(fx: &Fixture, path: &Path, base: u32) -> Result<Layer> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags).context("clone a mount")?;
    match raw::idmap_mount(&tree, user_namespace(base)?) {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            return Err(Failure::skip("the filesystem has no idmapped mounts"));
        }
        other => other.context("map the owners")?,
    }
    let target = fx.mount_point()?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&tree, "", CWD, &target, flags).context("mount what is mapped")?;
    fx.adopt(&target);
    Layer::create(target)
}

fn owner(path: impl AsRef<Path>) -> Result<(u32, u32)> {
    let st = sys::lstat(path)?;
    Ok((st.st_uid, st.st_gid))
}

fn fill(layer: &Layer) -> Result {
    layer
        .file("f", "data")?
        .chown("f", 5, 6)?
        .dir("d")?
        .chown("d", 7, 8)?;
    layer.symlink("l", "f")?.chown("l", 9, 10)?;
    layer.file("d/secret", "secret")?.chown("d/secret", 5, 5)?;
    layer.chmod("d/secret", 0o600)?;
    Ok(())
}

fn layer_owners(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    fill(&bottom)?;
    top.file("t", "")?.chown("t", 5, 6)?;
    let bottom = mapped(fx, bottom.path(), BASE)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    check::equal("t", owner(ov.join("t"))?, (5, 6))?;
    check::equal("f", owner(ov.join("f"))?, (BASE + 5, BASE + 6))?;
    check::equal("d", owner(ov.join("d"))?, (BASE + 7, BASE + 8))?;
    check::equal("l", owner(ov.join("l"))?, (BASE + 9, BASE + 10))?;
    fx.unmount(ov.path())?;
    let ov = fx.upper(&top, &[&bottom])?;
    check::equal("f below upper", owner(ov.join("f"))?, (BASE + 5, BASE + 6))
}

fn layer_permission(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    fill(&bottom)?;
    let bottom = mapped(fx, bottom.path(), BASE)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let path = ov.join("d/secret");
    let read = |uid: u32| sys::as_user(uid, uid, &[], || std::fs::read(&path));
    check::errno("as the owner on disk", read(5)?, Errno::ACCESS)?;
    check::bytes("as the mapped owner", &read(BASE + 5)??, b"secret")?;
    check::bytes("as root", &std::fs::read(&path)?, b"secret")
}

fn overlay_mount(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    fill(&bottom)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let seen = mapped(fx, ov.path(), BASE)?;
    check::equal("f", owner(seen.join("f"))?, (BASE + 5, BASE + 6))?;
    check::equal("f unmapped", owner(ov.join("f"))?, (5, 6))?;
    let path = seen.join("d/secret");
    let read = |uid: u32| sys::as_user(uid, uid, &[], || std::fs::read(&path));
    check::errno("as the owner on disk", read(5)?, Errno::ACCESS)?;
    check::bytes("as the mapped owner", &read(BASE + 5)??, b"secret")
}

/// A layer that maps 5 to 100005, in an overlay that maps 100005 to 300005.
fn both(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    fill(&bottom)?;
    let bottom = mapped(fx, bottom.path(), 10)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let seen = mapped(fx, ov.path(), BASE)?;
    check::equal("f", owner(seen.join("f"))?, (BASE + 15, BASE + 16))?;
    check::equal("f in between", owner(ov.join("f"))?, (15, 16))
}

/// Who is root to the capabilities of a file is mapped with its owner, once.
fn capabilities(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    // Version 2: it names nobody, which is root where the filesystem is from.
    let mut value = vec![1, 0, 0, 2, 0, 4, 0, 0];
    value.resize(20, 0);
    bottom.file("f", "")?.xattr("f", CAPABILITY, &value)?;
    let bottom = mapped(fx, bottom.path(), BASE)?;
    let read = |path: PathBuf| -> Result<Vec<u8>> {
        let mut found = [0; 64];
        let length = rustix::fs::lgetxattr(path, CAPABILITY, &mut found).context("read it")?;
        Ok(found[..length].to_vec())
    };
    let direct = read(bottom.join("f"))?;
    // Version 3, with the number of who is root.
    check::equal("root", &direct[20..], &BASE.to_le_bytes()[..])?;
    let ov = fx.lowers(&[&top, &bottom])?;
    check::bytes("through the overlay", &read(ov.join("f"))?, &direct)
}
