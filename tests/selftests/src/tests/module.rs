// SPDX-License-Identifier: GPL-2.0-only

//! The module's life: what keeps it loaded, and what unloading leaves.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::fsconfig_set_string;
use rustix::mount::fsopen;
use rustix::mount::unmount;
use rustix::mount::FsOpenFlags;
use rustix::mount::UnmountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::expect::content;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("module_registers_its_type", "P5 M18", registers_its_type),
    Test::new("module_is_found_by_its_alias", "A1", has_alias),
    Test::new("module_held_by_mount", "A1", held_by_mount),
    Test::new("module_held_by_open_file", "A1 F1", held_by_open_file),
    Test::new("module_held_by_context", "A1", held_by_context),
    Test::new(
        "module_not_held_by_failed_mount",
        "E7 E16",
        not_held_by_failed_mount,
    ),
    Test::new("module_loads_again", "P5", loads_again).limit(120),
];

/// Skips what would unload a module that could not be loaded again.
fn needs_reload(fx: &Fixture) -> Result {
    if fx.module().can_reload() {
        Ok(())
    } else {
        Err(Failure::skip(format!(
            "type {} does not come from {}",
            fx.fs_type(),
            fx.module().file().display()
        )))
    }
}

fn mounted(fx: &Fixture) -> Result<Mounted> {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?;
    fx.lowers(&[&top, &bottom])
}

/// Unloading fails as for any module in use.
fn is_held(fx: &Fixture, by: &str) -> Result {
    check::errno(
        format_args!("unload with {by}"),
        fx.module().unload(),
        Errno::AGAIN,
    )
}

/// Unloads, sees that the type is gone, and loads again.
fn reload(fx: &Fixture) -> Result {
    let module = fx.module();
    module.unload_soon().context("unload")?;
    check::ok(!module.is_registered(), "the type is still registered")?;
    let options = crate::fixture::Options::new();
    check::errno("mount without module", fx.mount(&options), Errno::NODEV)?;
    let sysfs = Path::new("/sys/module").join(fx.fs_type());
    check::ok(!sysfs.exists(), format_args!("{sysfs:?} is still there"))?;
    module.load().context("load")?;
    check::ok(module.is_registered(), "the type is not registered")?;
    check::errno("load twice", module.load(), Errno::EXIST)
}

fn registers_its_type(fx: &Fixture) -> Result {
    let types = fs::read_to_string("/proc/filesystems")?;
    let line = format!("nodev\t{}", fx.fs_type());
    let count = types.lines().filter(|other| *other == line).count();
    check::equal("lines in /proc/filesystems", count, 1)
}

/// By which the kernel asks for the module when the type is mounted and not there.
fn has_alias(fx: &Fixture) -> Result {
    let file = fx.module().file();
    let module = fs::read(file)
        .map_err(|_| Failure::skip(format!("type {} has no module file", fx.fs_type())))?;
    let alias = format!("\0alias=fs-{}\0", fx.fs_type());
    let found = module
        .windows(alias.len())
        .any(|bytes| bytes == alias.as_bytes());
    check::ok(
        found,
        format_args!("{file:?} has no alias fs-{}", fx.fs_type()),
    )
}

fn held_by_mount(fx: &Fixture) -> Result {
    needs_reload(fx)?;
    let ov = mounted(fx)?;
    is_held(fx, "a mount")?;
    content(ov.join("f"), "data")?;
    fx.unmount(ov.path())?;
    reload(fx)?;
    let ov = mounted(fx)?;
    content(ov.join("f"), "data")
}

fn held_by_open_file(fx: &Fixture) -> Result {
    needs_reload(fx)?;
    let ov = mounted(fx)?;
    let file = sys::open_read(ov.join("f"))?;
    unmount(ov.path(), UnmountFlags::DETACH)?;
    fx.forget(ov.path());
    is_held(fx, "an open file")?;
    let mut buffer = [0; 8];
    check::equal("length", rustix::io::read(&file, &mut buffer)?, 4)?;
    drop(file);
    reload(fx)
}

fn held_by_context(fx: &Fixture) -> Result {
    needs_reload(fx)?;
    let context = fsopen(fx.fs_type(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    is_held(fx, "a context")?;
    let layer = fx.layer("a")?;
    fsconfig_set_string(&context, "lowerdir", layer.path())?;
    is_held(fx, "a context with a layer")?;
    drop(context);
    reload(fx)
}

fn not_held_by_failed_mount(fx: &Fixture) -> Result {
    needs_reload(fx)?;
    let (a, b) = (fx.layer("a")?, fx.layer("b")?);
    let options = crate::fixture::Options::new;
    for bad in [
        options(),
        options().lowers(&[&a]),
        options().lowers(&[&a, &b]).set("upperdir", a.path()),
        options().lowers(&[&a]).upper(&b, &b),
        options().set("lowerdir", fx.root().join("no")),
        options().lowers(&[&a, &b]).flag("unsupported"),
    ] {
        check::ok(fx.mount(&bad).is_err(), format_args!("{bad:?} was mounted"))?;
    }
    reload(fx)
}

fn loads_again(fx: &Fixture) -> Result {
    needs_reload(fx)?;
    for _ in 0..5 {
        reload(fx)?;
        let ov = mounted(fx)?;
        content(ov.join("f"), "data")?;
        sys::walk(ov.path())?;
        fx.unmount(ov.path())?;
    }
    Ok(())
}
