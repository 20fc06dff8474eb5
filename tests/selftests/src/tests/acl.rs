// SPDX-License-Identifier: GPL-2.0-only

//! Access control lists of files in the layers.

use std::path::Path;

use rustix::fs::lgetxattr;
use rustix::fs::lgetxattr_query;
use rustix::fs::llistxattr;
use rustix::fs::FileType;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::mount::move_mount;
use rustix::mount::open_tree;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;

use crate::check;
use crate::check::Result;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::rawsys::ShiftedIds;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("acl_named_user", "F17 F15", named_user).on_disks_too(),
    Test::new("acl_named_group", "F17 F15", named_group).on_disks_too(),
    Test::new("acl_mask_limits", "F17 F15", mask).on_disks_too(),
    Test::new("acl_denies_named_user", "F17 F15", denies),
    Test::new("acl_of_dirs", "F17 F15", dirs).on_disks_too(),
    Test::new("acl_deep_walk_as_user", "F17 F15", deep_walk).on_disks_too(),
    Test::new("acl_of_merged_dir_is_topmost", "F17 L1", merged_dir),
    Test::new("acl_readable", "F17", readable).on_disks_too(),
    Test::new("acl_default_readable", "F17", default).on_disks_too(),
    Test::new("acl_of_special_files", "F17", special),
    Test::new("acl_of_symlinks", "F17", symlinks),
    Test::new("acl_in_upper", "F17 M4", in_upper).on_disks_too(),
    Test::new("acl_change_on_read_only", "F17", change),
    Test::new("acl_changed_on_the_layer", "F17", changed_on_layer),
    Test::new("acl_layer_without_acls", "F17", without),
    Test::new("acl_of_idmapped_layer", "F17 F21", idmapped).on_disks_too(),
];

const USER: u32 = 1000;
const OTHER: u32 = 2000;
const GROUP: u32 = 3000;
pub(super) const ACCESS: &str = "system.posix_acl_access";
pub(super) const DEFAULT: &str = "system.posix_acl_default";

/// An entry of a list: who, and what is permitted.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    Owner(u16),
    User(u32, u16),
    OwningGroup(u16),
    Group(u32, u16),
    Mask(u16),
    Others(u16),
}

use Entry::*;

/// The list in the form that the extended attribute has.
pub(super) fn bytes(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for entry in entries {
        let (tag, permissions, id) = match *entry {
            Owner(permissions) => (0x01u16, permissions, u32::MAX),
            User(id, permissions) => (0x02, permissions, id),
            OwningGroup(permissions) => (0x04, permissions, u32::MAX),
            Group(id, permissions) => (0x08, permissions, id),
            Mask(permissions) => (0x10, permissions, u32::MAX),
            Others(permissions) => (0x20, permissions, u32::MAX),
        };
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn set(layer: &Layer, name: &str, entries: &[Entry]) -> Result {
    layer.xattr(name, ACCESS, &bytes(entries)).map(drop)
}

pub(super) fn get(path: impl AsRef<Path>, name: &str) -> std::result::Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 4096];
    let length = lgetxattr(path.as_ref(), name, &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// The names of all extended attributes.
fn names(path: impl AsRef<Path>) -> std::result::Result<Vec<String>, Errno> {
    let mut buffer = vec![0; 4096];
    let length = llistxattr(path.as_ref(), &mut buffer)?;
    let names = String::from_utf8_lossy(&buffer[..length]);
    Ok(names.split_terminator('\0').map(String::from).collect())
}

fn as_user(uid: u32, groups: &[u32], work: impl FnOnce() -> Result + Send) -> Result {
    sys::as_user(uid, uid, groups, work)?
}

fn named_user(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?;
    let list = [Owner(6), User(USER, 4), OwningGroup(0), Mask(4), Others(0)];
    set(&bottom, "f", &list)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(USER, &[], || {
        content(ov.join("f"), "data")?;
        rustix::fs::access(ov.join("f"), rustix::fs::Access::READ_OK)?;
        Ok(())
    })?;
    as_user(OTHER, &[], || {
        check::errno("other", sys::open_read(ov.join("f")), Errno::ACCESS)
    })
}

fn named_group(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?;
    let list = [
        Owner(6),
        OwningGroup(0),
        Group(GROUP, 4),
        Mask(4),
        Others(0),
    ];
    set(&bottom, "f", &list)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(USER, &[GROUP], || content(ov.join("f"), "data"))?;
    as_user(USER, &[], || {
        check::errno("not in it", sys::open_read(ov.join("f")), Errno::ACCESS)
    })
}

fn mask(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?;
    let list = [Owner(6), User(USER, 7), OwningGroup(7), Mask(1), Others(4)];
    set(&bottom, "f", &list)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let mode = sys::stat(ov.join("f"))?.st_mode & 0o777;
    check::equal("mode shows the mask", mode, 0o614)?;
    as_user(USER, &[], || {
        check::errno("masked", sys::open_read(ov.join("f")), Errno::ACCESS)?;
        rustix::fs::access(ov.join("f"), rustix::fs::Access::EXEC_OK)?;
        Ok(())
    })?;
    as_user(OTHER, &[], || content(ov.join("f"), "data"))
}

/// A named user gets no more than the list says, even if all others do.
fn denies(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?;
    let list = [Owner(6), User(USER, 0), OwningGroup(4), Mask(4), Others(4)];
    set(&bottom, "f", &list)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(USER, &[], || {
        check::errno("named", sys::open_read(ov.join("f")), Errno::ACCESS)
    })?;
    as_user(OTHER, &[], || content(ov.join("f"), "data"))
}

fn dirs(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for (name, permissions) in [("both", 5), ("search", 1), ("read", 4)] {
        bottom.dir(name)?.file(format!("{name}/f"), "data")?;
        let user = User(USER, permissions);
        set(
            &bottom,
            name,
            &[Owner(7), user, OwningGroup(0), Mask(7), Others(0)],
        )?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(USER, &[], || {
        lists(ov.join("both"), &["f"])?;
        content(ov.join("both/f"), "data")?;
        content(ov.join("search/f"), "data")?;
        let listing = sys::names(ov.join("search"));
        check::errno("list without right", listing, Errno::ACCESS)?;
        lists(ov.join("read"), &["f"])?;
        check::errno("search", sys::stat(ov.join("read/f")), Errno::ACCESS)
    })?;
    as_user(OTHER, &[], || {
        for name in ["both/f", "search/f", "read/f"] {
            check::errno(name, sys::stat(ov.join(name)), Errno::ACCESS)?;
        }
        Ok(())
    })
}

/// Each directory is open by its list alone, with and without anything in the caches.
fn deep_walk(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let mut path = String::from("d");
    for depth in 0..8 {
        let layer = [&top, &bottom][depth % 2];
        top.dir(&path)?;
        bottom.dir(&path)?;
        for each in [&top, &bottom] {
            let user = User(USER, if std::ptr::eq(each, layer) { 1 } else { 5 });
            set(
                each,
                &path,
                &[Owner(7), user, OwningGroup(0), Mask(5), Others(0)],
            )?;
        }
        path.push_str("/d");
    }
    path.truncate(path.len() - 2);
    bottom.file(format!("{path}/f"), "data")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for _ in 0..2 {
        for _ in 0..50 {
            as_user(USER, &[], || content(ov.join(format!("{path}/f")), "data"))?;
            as_user(OTHER, &[], || {
                let refused = sys::stat(ov.join(format!("{path}/f")));
                check::errno("walk", refused, Errno::ACCESS)
            })?;
        }
        sys::drop_caches()?;
    }
    Ok(())
}

fn merged_dir(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for name in ["open", "closed"] {
        top.dir(name)?.chmod(name, 0o700)?;
        bottom.dir(name)?.file(format!("{name}/f"), "data")?;
        bottom.chmod(name, 0o700)?;
    }
    let list = [Owner(7), User(USER, 5), OwningGroup(0), Mask(5), Others(0)];
    set(&top, "open", &list)?;
    set(&bottom, "closed", &list)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(USER, &[], || {
        content(ov.join("open/f"), "data")?;
        check::errno("closed", sys::stat(ov.join("closed/f")), Errno::ACCESS)
    })
}

fn readable(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let list = [
        Owner(6),
        User(USER, 4),
        User(OTHER, 6),
        OwningGroup(0),
        Group(GROUP, 7),
        Mask(7),
        Others(0),
    ];
    bottom.file("f", "")?.file("plain", "")?.dir("d")?;
    set(&bottom, "f", &list)?;
    set(&bottom, "d", &list)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for name in ["f", "d"] {
        check::equal(name, get(ov.join(name), ACCESS), Ok(bytes(&list)))?;
        let query = lgetxattr_query(ov.join(name), ACCESS);
        check::equal("length", query, Ok(bytes(&list).len()))?;
        let mut small = [0u8; 8];
        let short = lgetxattr(ov.join(name), ACCESS, &mut small);
        check::errno("small buffer", short, Errno::RANGE)?;
        // Some filesystems list the name under which they store it too.
        let listed = names(ov.join(name))?;
        let has_access = listed.iter().any(|name| name == ACCESS);
        check::ok(has_access, format_args!("names: {listed:?}"))?;
        check::equal("names", listed, names(bottom.join(name))?)?;
    }
    check::errno("plain", get(ov.join("plain"), ACCESS), Errno::NODATA)?;
    as_user(OTHER, &[], || {
        check::equal("as user", get(ov.join("f"), ACCESS), Ok(bytes(&list)))
    })
}

fn default(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let list = [Owner(7), User(USER, 5), OwningGroup(5), Mask(5), Others(0)];
    bottom
        .dir("d")?
        .xattr("d", DEFAULT, &bytes(&list))?
        .dir("plain")?;
    bottom.file("f", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    check::equal("default", get(ov.join("d"), DEFAULT), Ok(bytes(&list)))?;
    check::errno("access", get(ov.join("d"), ACCESS), Errno::NODATA)?;
    check::errno("plain", get(ov.join("plain"), DEFAULT), Errno::NODATA)?;
    let of_file = get(ov.join("f"), DEFAULT);
    check::equal("file", of_file, get(bottom.join("f"), DEFAULT))
}

fn special(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.node("null", FileType::CharacterDevice, 0o600, (1, 3))?;
    let list = [Owner(6), User(USER, 4), OwningGroup(0), Mask(4), Others(0)];
    set(&bottom, "null", &list)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    check::equal("list", get(ov.join("null"), ACCESS), Ok(bytes(&list)))?;
    let read = rustix::fs::Access::READ_OK;
    as_user(USER, &[], || {
        rustix::fs::access(ov.join("null"), read)?;
        Ok(())
    })?;
    as_user(OTHER, &[], || {
        let refused = rustix::fs::access(ov.join("null"), read);
        check::errno("other", refused, Errno::ACCESS)
    })
}

fn symlinks(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.symlink("link", "target")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let on_layer = get(bottom.join("link"), ACCESS);
    check::equal("link", get(ov.join("link"), ACCESS), on_layer)
}

fn in_upper(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    for layer in [&upper, &lower] {
        layer.file("f", "data")?.chmod("f", 0o600)?;
    }
    let list = [Owner(6), User(USER, 4), OwningGroup(0), Mask(4), Others(0)];
    set(&upper, "f", &list)?;
    let ov = fx.upper(&upper, &[&lower])?;
    as_user(USER, &[], || content(ov.join("f"), "data"))?;
    check::equal("list", get(ov.join("f"), ACCESS), Ok(bytes(&list)))
}

fn change(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let list = bytes(&[Owner(6), User(USER, 4), OwningGroup(0), Mask(4), Others(0)]);
    bottom.file("f", "")?.xattr("f", ACCESS, &list)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let set = rustix::fs::lsetxattr(ov.join("f"), ACCESS, &list, XattrFlags::empty());
    check::errno("set", set, Errno::ROFS)?;
    let removed = rustix::fs::lremovexattr(ov.join("f"), ACCESS);
    check::errno("remove", removed, Errno::ROFS)
}

/// A list is never remembered by the overlay itself.
fn changed_on_layer(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?.chmod("f", 0o640)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let refused = || check::errno("closed", sys::open_read(ov.join("f")), Errno::ACCESS);
    as_user(USER, &[], refused)?;
    let list = [Owner(6), User(USER, 4), OwningGroup(4), Mask(4), Others(0)];
    set(&bottom, "f", &list)?;
    as_user(USER, &[], || content(ov.join("f"), "data"))?;
    rustix::fs::lremovexattr(bottom.join("f"), ACCESS)?;
    as_user(USER, &[], refused)
}

/// Where the layer has no lists there are none, and nothing fails for it.
fn without(fx: &Fixture) -> Result {
    let place = fx.place("ramfs")?;
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("ramfs", &place, "ramfs", flags, None)?;
    fx.adopt(&place);
    let (top, bottom) = (fx.layer("top")?, Layer::create(place.join("bottom"))?);
    bottom.file("f", "data")?.chmod("f", 0o640)?;
    bottom.chown("f", 0, USER)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(USER, &[], || content(ov.join("f"), "data"))?;
    as_user(OTHER, &[], || {
        check::errno("other", sys::open_read(ov.join("f")), Errno::ACCESS)
    })?;
    check::errno("list", get(ov.join("f"), ACCESS), Errno::NODATA)
}

/// The users and groups of a list are those that the layer's mount shows.
/// The same layer, seen through a mount that shows all owners shifted by this.
pub(super) fn mount_shifted(fx: &Fixture, layer: &Layer, shift: u32) -> Result<Layer> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(rustix::fs::CWD, layer.path(), clone)?;
    ShiftedIds::new(shift)?.apply(&mount)?;
    let place = fx.place("shifted")?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mount, "", rustix::fs::CWD, &place, empty)?;
    fx.adopt(&place);
    Layer::create(place)
}

fn idmapped(fx: &Fixture) -> Result {
    const SHIFT: u32 = 10_000;
    let list = |shift| {
        [
            Owner(6),
            User(USER + shift, 4),
            OwningGroup(0),
            Group(GROUP + shift, 4),
            Mask(4),
            Others(0),
        ]
    };
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?.dir("d")?.file("d/f", "data")?;
    set(&bottom, "f", &list(0))?;
    let user = User(USER, 5);
    set(
        &bottom,
        "d",
        &[Owner(7), user, OwningGroup(0), Mask(5), Others(0)],
    )?;

    let ov = fx.lowers(&[&top, &mount_shifted(fx, &bottom, SHIFT)?])?;

    let shifted = Ok(bytes(&list(SHIFT)));
    check::equal("shifted", get(ov.join("f"), ACCESS), shifted)?;
    check::equal(
        "on the layer",
        get(bottom.join("f"), ACCESS),
        Ok(bytes(&list(0))),
    )?;
    for _ in 0..3 {
        as_user(USER + SHIFT, &[], || {
            content(ov.join("f"), "data")?;
            content(ov.join("d/f"), "data")
        })?;
        as_user(OTHER, &[GROUP + SHIFT], || content(ov.join("f"), "data"))?;
        as_user(USER, &[GROUP], || {
            check::errno("unshifted", sys::open_read(ov.join("f")), Errno::ACCESS)?;
            check::errno("walk", sys::stat(ov.join("d/f")), Errno::ACCESS)
        })?;
    }
    Ok(())
}
