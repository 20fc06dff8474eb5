// SPDX-License-Identifier: GPL-2.0-only

//! Changes through mounts that map owners: of layers, and of the overlay.

use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::Uid;
use rustix::fs::XattrFlags;
use rustix::fs::CWD;
use rustix::io::Errno;

use super::acl;
use super::acl::Entry;
use super::idmap::mapped;
use super::idmap::mapped_but_root;
use super::idmap::owner;
use super::idmap::BASE;
use crate::check;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Backing;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("idmap_overlay_mount_changes", "A1 F14 F17", through_mapped).on_disks_too(),
    Test::new(
        "idmap_overlay_mount_rights",
        "A1 F14 F22",
        rights_through_mapped,
    ),
    Test::new("idmap_upper_changes", "F21 F14 F17", in_mapped_upper).on_disks_too(),
    Test::new("idmap_upper_without_the_owner", "F21 C6", no_number),
    // xfs lists its own form of a list too, trusted.SGI_ACL_FILE, which is copied up as it is, over the
    // one that was mapped.
    Test::new(
        "idmap_lower_is_copied_up_mapped",
        "F21 C4",
        from_mapped_lower,
    )
    .only_on(&[Backing::Tmpfs, Backing::Ext4]),
];

type SysResult<T> = std::result::Result<T, Errno>;

fn chown(path: impl AsRef<Path>, uid: u32, gid: u32) -> SysResult<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(CWD, path.as_ref(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
}

fn list(user: u32, group: u32) -> Vec<u8> {
    acl::bytes(&[
        Entry::Owner(6),
        Entry::User(user, 6),
        Entry::OwningGroup(4),
        Entry::Group(group, 4),
        Entry::Mask(6),
        Entry::Others(0),
    ])
}

fn set_list(path: impl AsRef<Path>, list: &[u8]) -> SysResult<()> {
    rustix::fs::setxattr(path.as_ref(), acl::ACCESS, list, XattrFlags::empty())
}

fn fill(layer: &Layer, name: &str) -> Result {
    layer.file(name, "data")?.chown(name, 5, 6)?;
    Ok(())
}

/// What is written as the mount shows it is stored as the layer has it.
fn through_mapped(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fill(&upper, "u")?;
    fill(&lower, "l")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let seen = mapped(fx, ov.path(), BASE)?;
    for name in ["u", "l"] {
        chown(seen.join(name), BASE + 20, BASE + 21)?;
        let everywhere = [
            owner(seen.join(name))?,
            owner(ov.join(name))?,
            owner(upper.join(name))?,
        ];
        let expected = [(BASE + 20, BASE + 21), (20, 21), (20, 21)];
        check::equal(name, everywhere, expected)?;
        // Who is not in the map cannot be stored.
        check::errno("no number", chown(seen.join(name), 20, 21), Errno::OVERFLOW)?;

        set_list(seen.join(name), &list(BASE + 7, BASE + 8))?;
        let get = |path| acl::get(path, acl::ACCESS);
        let mapped = list(BASE + 7, BASE + 8);
        check::equal("list", get(seen.join(name)), Ok(mapped))?;
        check::equal("list", get(ov.join(name)), Ok(list(7, 8)))?;
        check::equal("list", get(upper.join(name)), Ok(list(7, 8)))?;
    }
    check::equal("lower", owner(lower.join("l"))?, (5, 6))
}

fn rights_through_mapped(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fill(&upper, "u")?;
    fill(&lower, "l")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let seen = mapped(fx, ov.path(), BASE)?;
    for name in ["u", "l"] {
        let chmod = |uid: u32| {
            sys::as_user(uid, uid, &[], || {
                rustix::fs::chmod(seen.join(name), Mode::RWXU)
            })?
        };
        check::errno("as the owner on disk", chmod(5), Errno::PERM)?;
        check::equal("as the mapped owner", chmod(BASE + 5), Ok(()))?;
    }
    Ok(())
}

/// An overlay whose upper layer is on a mapped mount.
fn over_mapped(fx: &Fixture, upper: &[&str], lower: &Layer) -> Result<(Mounted, Layer)> {
    let disk = fx.layer("disk")?;
    disk.dir("upper")?.dir("work")?;
    let plain = Layer::create(disk.join("upper"))?;
    for name in upper {
        fill(&plain, name)?;
    }
    let disk = mapped_but_root(fx, disk.path(), BASE)?;
    let (upper, work) = (
        Layer::create(disk.join("upper"))?,
        Layer::create(disk.join("work"))?,
    );
    let ov = fx.mount(&Options::new().lowers(&[lower]).upper(&upper, &work))?;
    Ok((ov, plain))
}

fn in_mapped_upper(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    fill(&lower, "l")?;
    lower.chown("l", BASE + 5, BASE + 6)?;
    let (ov, plain) = over_mapped(fx, &["u"], &lower)?;
    check::equal("before", owner(ov.join("u"))?, (BASE + 5, BASE + 6))?;
    for name in ["u", "l"] {
        rustix::fs::chmod(ov.join(name), Mode::from_raw_mode(0o640))?;
        check::equal("overlay", owner(ov.join(name))?, (BASE + 5, BASE + 6))?;
        check::equal("disk", owner(plain.join(name))?, (5, 6))?;
        chown(ov.join(name), BASE + 20, BASE + 21)?;
        check::equal("overlay", owner(ov.join(name))?, (BASE + 20, BASE + 21))?;
        check::equal("disk", owner(plain.join(name))?, (20, 21))?;
        let result = chown(ov.join(name), 20, 21);
        check::errno("no number", result, Errno::OVERFLOW)?;

        let own = list(BASE + 7, BASE + 8);
        set_list(ov.join(name), &own)?;
        let get = |path| acl::get(path, acl::ACCESS);
        check::equal("list", get(ov.join(name)), Ok(own.clone()))?;
        check::equal("list on disk", get(plain.join(name)), Ok(list(7, 8)))?;
        // Once more, by a list that the kernel knows already.
        set_list(ov.join(name), &own)?;
        check::equal("list", get(ov.join(name)), Ok(own))?;
        rustix::fs::removexattr(ov.join(name), acl::ACCESS)?;
        check::errno("removed", get(plain.join(name)), Errno::NODATA)?;
    }
    Ok(())
}

/// The owner of a lower file may have no number on the mount of upper.
fn no_number(fx: &Fixture) -> Result {
    let lower = fx.layer("lower")?;
    fill(&lower, "l")?;
    let (ov, plain) = over_mapped(fx, &[], &lower)?;
    let result = rustix::fs::chmod(ov.join("l"), Mode::RWXU);
    check::errno("chmod", result, Errno::OVERFLOW)?;
    check::ok(!plain.join("l").exists(), "something was copied up")?;
    check::equal("owner", owner(ov.join("l"))?, (5, 6))
}

fn from_mapped_lower(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    fill(&lower, "l")?;
    lower.xattr("l", acl::ACCESS, &list(7, 8))?;
    let lower = mapped(fx, lower.path(), BASE)?;
    let ov = fx.upper(&upper, &[&lower])?;
    rustix::fs::utimensat(
        CWD,
        ov.join("l"),
        &rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            },
            last_modification: rustix::fs::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            },
        },
        AtFlags::empty(),
    )?;
    for path in [ov.join("l"), upper.join("l")] {
        check::equal("owner", owner(&path)?, (BASE + 5, BASE + 6))?;
        let list = list(BASE + 7, BASE + 8);
        check::equal("list", acl::get(&path, acl::ACCESS), Ok(list))?;
    }
    Ok(())
}
