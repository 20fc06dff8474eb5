// SPDX-License-Identifier: GPL-2.0-only

//! Layers by file descriptor, layers that overlap, and what mounting does to upper and work directories.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::fsconfig_create;
use rustix::mount::fsconfig_set_fd;
use rustix::mount::fsconfig_set_flag;
use rustix::mount::fsconfig_set_string;
use rustix::mount::fsmount;
use rustix::mount::fsopen;
use rustix::mount::move_mount;
use rustix::mount::open_tree;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;

use crate::check;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("layers_appended_by_path", "M2 E5 P1", appended_by_path),
    Test::new("layers_appended_unescaped", "M2 P3", appended_unescaped),
    Test::new("layers_by_fd", "M2 M4 M5 A2 P1", by_fd),
    Test::new("layers_by_o_path_fd", "M2 A2", by_o_path_fd),
    Test::new("layers_by_detached_mount", "M2 A2", by_detached_mount),
    Test::new("layers_500_by_fd", "M2 E5 F25", five_hundred).limit(300),
    Test::new("layers_append_after_lowerdir", "E5", append_after_lowerdir),
    Test::new("layers_regular_after_data", "E5 M3", regular_after_data),
    Test::new("layers_used_twice", "E9", used_twice),
    Test::new("layers_overlapping", "E20", overlapping),
    Test::new("layers_moved_into_another", "E20 W4", moved_into_another),
    Test::new("layers_casefold_mixed", "E3", casefold_mixed),
    Test::new("upper_in_use_is_let_pass", "E10 W4", in_use),
    Test::new("work_made_anew", "W1", work_made_anew).on_disks_too(),
    Test::new("work_too_deep_is_read_only", "W1 E14", work_too_deep),
    Test::new("work_incompat", "E13", work_incompat),
    Test::new("work_volatile_leaves_mark", "M15 M16 W5 E13", work_volatile),
    Test::new("work_loses_acls", "W1", work_loses_acls),
    Test::new("work_leaves_no_temporaries", "W2", no_temporaries).on_disks_too(),
    Test::new("upper_gets_uuid", "M9 X7 F19", upper_gets_uuid).on_disks_too(),
    Test::new("upper_impure_gets_no_uuid", "M9 X4 X7", impure_gets_no_uuid),
    Test::new("lowers_have_an_id", "F19 Q25", lowers_have_an_id)
        .rovl_only("overlayfs reports no id where uuid=auto finds none"),
];

fn open_context(fx: &Fixture) -> Result<OwnedFd> {
    fsopen(fx.fs_type(), FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")
}

fn mount_of(fx: &Fixture, context: &OwnedFd) -> Result<std::path::PathBuf> {
    fsconfig_create(context).context("create")?;
    let mount = fsmount(
        context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    let point = fx.mount_point()?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mount, "", CWD, &point, flags).context("move_mount")?;
    fx.adopt(&point);
    Ok(point)
}

fn mount_line(path: &std::path::Path) -> Result<String> {
    let wanted = format!(" {} ", path.display());
    std::fs::read_to_string("/proc/self/mounts")?
        .lines()
        .rfind(|line| line.contains(&wanted))
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("no line for {path:?} in mounts")))
}

fn two(fx: &Fixture) -> Result<[Layer; 2]> {
    let layers = [fx.layer("a")?, fx.layer("b")?];
    layers[0].file("fa", "a")?.file("both", "a")?;
    layers[1].file("fb", "b")?.file("both", "b")?;
    Ok(layers)
}

fn shows_two(fx: &Fixture, context: &OwnedFd, listed: &str) -> Result {
    let point = mount_of(fx, context)?;
    content(point.join("both"), "a")?;
    lists(&point, &["both", "fa", "fb"])?;
    let line = mount_line(&point)?;
    check::ok(
        line.contains(listed),
        format_args!("{listed:?} is not in {line:?}"),
    )
}

fn appended_by_path(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let context = open_context(fx)?;
    fsconfig_set_string(&context, "lowerdir+", a.path())?;
    fsconfig_set_string(&context, "lowerdir+", b.path())?;
    let listed = format!(
        ",lowerdir+={},lowerdir+={}",
        a.path().display(),
        b.path().display()
    );
    shows_two(fx, &context, &listed)
}

/// Here a colon and a backslash are characters like others.
fn appended_unescaped(fx: &Fixture) -> Result {
    let (a, b) = (fx.layer("a:x\\y")?, fx.layer("b,")?);
    a.file("fa", "a")?.file("both", "a")?;
    b.file("fb", "b")?.file("both", "b")?;
    let context = open_context(fx)?;
    fsconfig_set_string(&context, "lowerdir+", a.path())?;
    fsconfig_set_string(&context, "lowerdir+", b.path())?;
    shows_two(fx, &context, "/a:x\\134y,lowerdir+=")
}

fn by_fd(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    let context = open_context(fx)?;
    for (key, layer) in [
        ("lowerdir+", &a),
        ("lowerdir+", &b),
        ("upperdir", &upper),
        ("workdir", &work),
    ] {
        let dir = sys::open_dir(layer.path())?;
        fsconfig_set_fd(&context, key, &dir).context(key)?;
    }
    let file = sys::open_read(a.join("fa"))?;
    let result = fsconfig_set_fd(&context, "lowerdir+", &file);
    check::errno("a file", result, Errno::INVAL)?;
    let shown = |layer: &Layer| layer.path().display().to_string();
    let listed = format!(
        ",lowerdir+={},lowerdir+={},upperdir={},workdir={}",
        shown(&a),
        shown(&b),
        shown(&upper),
        shown(&work)
    );
    shows_two(fx, &context, &listed)
}

fn by_o_path_fd(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let context = open_context(fx)?;
    for layer in [&a, &b] {
        let dir = sys::open(layer.path(), OFlags::PATH | OFlags::DIRECTORY)?;
        fsconfig_set_fd(&context, "lowerdir+", &dir)?;
    }
    shows_two(fx, &context, ",lowerdir+=")
}

fn by_detached_mount(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let context = open_context(fx)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    // A detached mount lasts as long as its descriptor, which has to be until the overlay is made.
    let mut trees = Vec::new();
    for layer in [&a, &b] {
        let tree = open_tree(CWD, layer.path(), flags).context("open_tree")?;
        fsconfig_set_fd(&context, "lowerdir+", &tree)?;
        trees.push(tree);
    }
    shows_two(fx, &context, ",lowerdir+=/,lowerdir+=/")
}

fn five_hundred(fx: &Fixture) -> Result {
    let context = open_context(fx)?;
    for index in 0..500 {
        let layer = fx.layer(format!("l{index}"))?;
        layer
            .file(format!("f{index}"), "")?
            .file("all", index.to_string())?;
        let dir = sys::open(layer.path(), OFlags::PATH)?;
        fsconfig_set_fd(&context, "lowerdir+", &dir).context(index)?;
    }
    let dir = sys::open_dir(fx.layer("more")?.path())?;
    let result = fsconfig_set_fd(&context, "lowerdir+", &dir);
    check::errno("layer 501", result, Errno::INVAL)?;
    let point = mount_of(fx, &context)?;
    check::equal("names", sys::names(&point)?.len(), 501)?;
    content(point.join("all"), "0")?;
    content(point.join("f499"), "")
}

fn append_after_lowerdir(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let context = open_context(fx)?;
    let list = format!("{}:{}", a.path().display(), b.path().display());
    fsconfig_set_string(&context, "lowerdir", &list)?;
    for key in ["lowerdir+", "datadir+"] {
        let result = fsconfig_set_string(&context, key, a.path());
        check::errno(key, result, Errno::INVAL)?;
    }
    shows_two(fx, &context, ",lowerdir=")
}

fn regular_after_data(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let context = open_context(fx)?;
    fsconfig_set_string(&context, "lowerdir+", a.path())?;
    fsconfig_set_string(&context, "datadir+", b.path()).context("datadir+")?;
    let result = fsconfig_set_string(&context, "lowerdir+", b.path());
    check::errno("lowerdir+ after datadir+", result, Errno::INVAL)?;
    let result = fsconfig_set_string(&context, "lowerdir+", "");
    check::errno("empty", result, Errno::INVAL)?;
    let result = fsconfig_set_flag(&context, "lowerdir+");
    check::errno("flag", result, Errno::INVAL)
}

fn used_twice(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    let mut table = Table::new();
    for (what, options) in [
        ("lower", Options::new().lowers(&[&a, &b, &a])),
        (
            "upper",
            Options::new().lowers(&[&a, &upper]).upper(&upper, &work),
        ),
        (
            "work",
            Options::new().lowers(&[&a, &work]).upper(&upper, &work),
        ),
    ] {
        table.note(check::errno(what, fx.mount(&options), Errno::LOOP))?;
    }
    table.finish()
}

fn overlapping(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    let deep = fx.layer("a/x/y")?;
    let in_upper = fx.layer("u/x")?;
    let mut table = Table::new();
    for (what, options) in [
        ("below a lower", Options::new().lowers(&[&a, &b, &deep])),
        ("below a lower, first", Options::new().lowers(&[&deep, &a])),
        (
            "below upper",
            Options::new().lowers(&[&a, &in_upper]).upper(&upper, &work),
        ),
        (
            "below work",
            Options::new()
                .set("lowerdir", format!("{}/work", work.path().display()))
                .upper(&upper, &work),
        ),
    ] {
        // The directory that mounting makes is thrown away by the next mount, with the layer in it.
        let made = work.join("work");
        if !made.exists() {
            std::fs::create_dir(&made)?;
        }
        table.note(check::errno(what, fx.mount(&options), Errno::LOOP))?;
    }
    table.finish()
}

/// A layer that gets below another after the mount is found out by the lookup that meets it.
fn moved_into_another(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    a.dir("dir")?;
    let ov = fx.lowers(&[&a, &b])?;
    std::fs::rename(b.path(), a.join("dir/inner"))?;
    let result = sys::lstat(ov.join("dir/inner"));
    check::errno("lstat", result, Errno::LOOP)?;
    content(ov.join("both"), "a")?;
    std::fs::rename(a.join("dir/inner"), b.path())?;
    Ok(())
}

/// The bit of `FS_IOC_SETFLAGS` for directories in which case does not count.
const CASEFOLD: u32 = 0x4000_0000;

fn casefold_mixed(fx: &Fixture) -> Result {
    let place = fx.place("folding")?;
    let none = rustix::mount::MountFlags::empty();
    if rustix::mount::mount("tmpfs", &place, "tmpfs", none, c"casefold").is_err() {
        return Err(Failure::skip("tmpfs has no option casefold here"));
    }
    fx.adopt(&place);
    let layer = |name: &str| Layer::create(place.join(name));
    let (plain, folded) = (layer("plain")?, layer("folded")?);
    let dir = sys::open_dir(folded.path())?;
    let flags = rustix::fs::IFlags::from_bits_retain(CASEFOLD);
    rustix::fs::ioctl_setflags(&dir, flags).context("set the flag")?;
    drop(dir);
    for lowers in [[&plain, &folded], [&folded, &plain]] {
        let result = fx.mount(&Options::new().lowers(&lowers));
        check::errno("mixed", result, Errno::INVAL)?;
    }
    Ok(())
}

fn in_use(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    let other = fx.work()?;
    let first = fx.upper(&upper, &[&a])?;
    let options = Options::new().lowers(&[&b]).upper(&upper, &other);
    let second = fx.mount(&options).context("upper in use")?;
    content(second.join("both"), "b")?;
    // As a lower layer, and as an ancestor of one.
    let inner = fx.layer("u/inner")?;
    let third = fx.lowers(&[&upper, &a])?;
    let fourth = fx.lowers(&[&inner, &a])?;
    for ov in [fourth, third, second, first] {
        fx.unmount(ov.path())?;
    }
    // All of it can be used again.
    let ov = fx.mount(&Options::new().lowers(&[&b]).upper(&upper, &work))?;
    content(ov.join("both"), "b")
}

fn mode_of(layer: &Layer, name: &str) -> Result<u32> {
    Ok(std::fs::symlink_metadata(layer.join(name))?.mode() & 0o7777)
}

fn work_made_anew(fx: &Fixture) -> Result {
    let [a, _] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    work.dir("work/#1/sub")?
        .dir("work/incompat")?
        .file("work/#2", "")?
        .file("work/#1/file", "")?
        .file("kept", "data")?
        .chmod("work", 0o755)?;
    let options = Options::new().lowers(&[&a]).upper(&upper, &work);
    let ov = fx.mount(&options)?;
    lists(work.path(), &["kept", "work"])?;
    lists::<&str>(work.join("work"), &[])?;
    check::equal("mode", mode_of(&work, "work")?, 0)?;
    fx.unmount(ov.path())?;
    // A file in its place is no obstacle either.
    std::fs::remove_dir(work.join("work"))?;
    work.file("work", "")?;
    fx.mount(&options).context("a file in the place of work")?;
    lists::<&str>(work.join("work"), &[])
}

fn work_too_deep(fx: &Fixture) -> Result {
    let [a, _] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    work.dir("work/1/2/3")?;
    let ov = fx.mount(&Options::new().lowers(&[&a]).upper(&upper, &work))?;
    content(ov.join("both"), "a")?;
    check::errno("mkdir", sys::mkdir(&ov.join("new"), 0o755), Errno::ROFS)?;
    check::ok(
        work.join("work/1/2/3").is_dir(),
        "more was removed than two levels",
    )
}

fn work_incompat(fx: &Fixture) -> Result {
    let [a, _] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    let options = Options::new().lowers(&[&a]).upper(&upper, &work);
    work.dir("work/incompat/some-feature")?;
    for _ in 0..2 {
        check::errno("directory", fx.mount(&options), Errno::INVAL)?;
    }
    std::fs::remove_dir_all(work.join("work"))?;
    work.dir("work/incompat")?.file("work/incompat/f", "")?;
    check::errno("file", fx.mount(&options), Errno::INVAL)?;
    std::fs::remove_dir_all(work.join("work"))?;
    work.file("work", "")?;
    fx.mount(&options)?;
    Ok(())
}

fn work_volatile(fx: &Fixture) -> Result {
    let [a, _] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    let options = Options::new().lowers(&[&a]).upper(&upper, &work);
    let ov = fx.mount(&options.clone().flag("volatile"))?;
    let dirty = work.join("work/incompat/volatile/dirty");
    check::ok(dirty.is_file(), "there is no mark")?;
    for name in [
        "work/incompat",
        "work/incompat/volatile",
        "work/incompat/volatile/dirty",
    ] {
        check::equal(name, mode_of(&work, name)?, 0)?;
    }
    fx.unmount(ov.path())?;
    check::errno("again", fx.mount(&options), Errno::INVAL)?;
    let again = options.clone().set("fsync", "volatile");
    check::errno("again, volatile", fx.mount(&again), Errno::INVAL)?;
    std::fs::remove_dir_all(work.join("work/incompat/volatile"))?;
    fx.mount(&options)?;
    Ok(())
}

/// The default ACL `user::rwx,group::rwx,mask::rwx,other::rwx,user:1:rwx`.
fn default_acl() -> Vec<u8> {
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, id) in [
        (1u16, u32::MAX),
        (2, 1),
        (4, u32::MAX),
        (16, u32::MAX),
        (32, u32::MAX),
    ] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&7u16.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}

fn work_loses_acls(fx: &Fixture) -> Result {
    let [a, _] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    work.xattr("", "system.posix_acl_default", &default_acl())?;
    fx.mount(&Options::new().lowers(&[&a]).upper(&upper, &work))?;
    for key in ["system.posix_acl_default", "system.posix_acl_access"] {
        let mut value = [0u8; 256];
        let result = rustix::fs::getxattr(work.join("work"), key, &mut value);
        check::errno(key, result, Errno::NODATA)?;
    }
    check::equal("mode", mode_of(&work, "work")?, 0)
}

fn no_temporaries(fx: &Fixture) -> Result {
    let [a, _] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    let ov = fx.mount(&Options::new().lowers(&[&a]).upper(&upper, &work))?;
    lists::<&str>(work.join("work"), &[])?;
    let mut names = [0u8; 1024];
    let length = rustix::fs::listxattr(work.join("work"), &mut names)?;
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    check::ok(
        !names.contains("overlay"),
        format_args!("xattrs of work: {names:?}"),
    )?;
    fx.unmount(ov.path())?;
    lists::<&str>(work.join("work"), &[])
}

const UUID: &str = "trusted.overlay.uuid";

fn uuid_of(layer: &Layer) -> std::result::Result<Vec<u8>, Errno> {
    let mut value = [0u8; 64];
    let length = rustix::fs::getxattr(layer.path(), UUID, &mut value)?;
    Ok(value[..length].to_vec())
}

fn id_of(path: &std::path::Path) -> Result<u64> {
    Ok(rustix::fs::statvfs(path)?.f_fsid)
}

fn upper_gets_uuid(fx: &Fixture) -> Result {
    let [a, _] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    let options = Options::new().lowers(&[&a]).upper(&upper, &work);
    check::errno("before", uuid_of(&upper), Errno::NODATA)?;
    let ov = fx.mount(&options)?;
    let uuid = uuid_of(&upper).context("uuid")?;
    check::equal("length", uuid.len(), 16)?;
    let half = |range: std::ops::Range<usize>| {
        uuid[range]
            .iter()
            .rev()
            .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let id = id_of(ov.path())?;
    check::equal("f_fsid", id, half(0..8) ^ half(8..16))?;
    fx.unmount(ov.path())?;
    let ov = fx.mount(&options)?;
    check::equal("uuid after a second mount", uuid_of(&upper)?, uuid.clone())?;
    check::equal("f_fsid after a second mount", id_of(ov.path())?, id)?;
    fx.unmount(ov.path())?;
    let ov = fx.mount(&options.set("uuid", "null"))?;
    check::equal(
        "f_fsid with uuid=null",
        id_of(ov.path())?,
        id_of(upper.path())?,
    )
}

/// Something that was in use before there were uuids does not change.
fn impure_gets_no_uuid(fx: &Fixture) -> Result {
    let [a, _] = two(fx)?;
    let (upper, work) = (fx.layer("u")?, fx.work()?);
    upper.xattr("", "trusted.overlay.impure", b"y")?;
    let options = Options::new().lowers(&[&a]).upper(&upper, &work);
    let ov = fx.mount(&options)?;
    check::errno("uuid", uuid_of(&upper), Errno::NODATA)?;
    let line = mount_line(ov.path())?;
    check::ok(line.contains(",uuid=null"), format_args!("shown: {line:?}"))?;
    check::equal("f_fsid", id_of(ov.path())?, id_of(upper.path())?)?;
    fx.unmount(ov.path())?;
    fx.mount(&options.set("uuid", "on"))?;
    check::equal(
        "length with uuid=on",
        uuid_of(&upper).context("uuid=on")?.len(),
        16,
    )
}

fn lowers_have_an_id(fx: &Fixture) -> Result {
    let [a, b] = two(fx)?;
    let ov = fx.lowers(&[&a, &b])?;
    check::equal("f_fsid", id_of(ov.path())?, id_of(a.path())?)?;
    check::ok(id_of(ov.path())? != 0, "no id")
}
