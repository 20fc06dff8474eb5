// SPDX-License-Identifier: GPL-2.0-only

//! Walking paths in other ways: descriptors, openat2, chroot, bind mounts, namespaces.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;
use rustix::mount::UnmountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::expect::absent;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("path_o_path", "F1 F13", o_path),
    Test::new("path_reopen_by_proc", "F1", reopen_by_proc),
    Test::new(
        "path_by_directory_descriptor",
        "L1",
        by_directory_descriptor,
    ),
    Test::new("path_of_descriptor_in_proc", "F1", of_descriptor),
    Test::new("path_openat2_beneath", "L1", openat2_beneath),
    Test::new("path_openat2_in_root", "L1", openat2_in_root),
    Test::new("path_openat2_no_symlinks", "L1 D7", openat2_no_symlinks),
    Test::new("path_openat2_no_xdev", "L1 A4", openat2_no_xdev),
    Test::new("path_openat2_cached", "L6", openat2_cached),
    Test::new("path_getcwd", "L1", getcwd),
    Test::new(
        "path_cwd_below_dropped_caches",
        "L1 L8",
        cwd_after_drop_caches,
    ),
    Test::new("path_chroot", "L1", chroot),
    Test::new("path_bind_of_directory", "A4 L1", bind_of_directory),
    Test::new("path_bind_of_file", "A4 F1", bind_of_file),
    Test::new("path_bind_read_only", "A4 M18", bind_read_only),
    Test::new("path_mount_inside", "A4 L1", mount_inside),
    Test::new("path_open_tree_clone", "A2 L1", open_tree_clone),
    Test::new("path_move_mount", "1.3", move_mount),
    Test::new("path_other_mount_namespace", "1.3", other_mount_namespace),
    Test::new("path_is_mount_point", "L1", is_mount_point),
];

/// `top` and `bottom` merge in `d`; a link leads from one to the other.
fn mounted(fx: &Fixture) -> Result<Mounted> {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d/sub")?
        .file("d/t", "top")?
        .symlink("d/up", "../r")?;
    bottom
        .dir("d/sub")?
        .file("d/b", "bottom")?
        .file("r", "root")?;
    bottom.file("d/sub/s", "sub")?.symlink("absolute", "/d/b")?;
    bottom.symlink("link", "d/b")?.symlink("out", "../../..")?;
    fx.lowers(&[&top, &bottom])
}

fn read(fd: &OwnedFd) -> Result<String> {
    let mut buffer = [0; 64];
    let length = rustix::io::pread(fd, &mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn openat(dir: &OwnedFd, path: &str) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, path, OFlags::CLOEXEC, Mode::empty())
}

fn openat2(dir: &OwnedFd, path: &str, how: ResolveFlags) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat2(dir, path, OFlags::CLOEXEC, Mode::empty(), how)
}

fn o_path(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    for (name, kind) in [
        ("d", FileType::Directory),
        ("d/t", FileType::RegularFile),
        ("d/b", FileType::RegularFile),
        ("link", FileType::Symlink),
    ] {
        let fd = sys::open(ov.join(name), OFlags::PATH | OFlags::NOFOLLOW)?;
        let st = rustix::fs::fstat(&fd)?;
        check::equal("type", FileType::from_raw_mode(st.st_mode), kind)?;
        check::equal("inode", st.st_ino, sys::lstat(ov.join(name))?.st_ino)?;
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        check::ok(flags.contains(OFlags::PATH), "O_PATH is not shown")?;
    }
    let dir = sys::open(ov.join("d"), OFlags::PATH)?;
    check::equal("from it", &*read(&openat(&dir, "b")?)?, "bottom")?;
    let result = sys::read_entries(&dir, 512);
    check::errno("getdents", result, Errno::BADF)
}

fn reopen_by_proc(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    for name in ["d/t", "d/b"] {
        let fd = sys::open(ov.join(name), OFlags::PATH)?;
        let proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let again = sys::open_read(&proc)?;
        check::equal(
            "data",
            read(&again)?,
            std::fs::read_to_string(ov.join(name))?,
        )?;
        check::errno("for writing", sys::open(&proc, OFlags::RDWR), Errno::ROFS)?;
    }
    Ok(())
}

fn by_directory_descriptor(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let dir = sys::open_dir(ov.join("d/sub"))?;
    check::equal("s", &*read(&openat(&dir, "s")?)?, "sub")?;
    check::equal("../b", &*read(&openat(&dir, "../b")?)?, "bottom")?;
    check::equal("../../r", &*read(&openat(&dir, "../../r")?)?, "root")?;
    check::equal("../up", &*read(&openat(&dir, "../up")?)?, "root")?;
    check::errno("no", openat(&dir, "no"), Errno::NOENT)
}

fn of_descriptor(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    for name in ["d", "d/t", "d/b", "d/sub/s"] {
        let fd = sys::open_read(ov.join(name))?;
        let proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        check::equal(name, sys::readlink(proc)?, ov.join(name).as_os_str())?;
    }
    Ok(())
}

fn openat2_beneath(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let root = sys::open_dir(ov.path())?;
    let beneath = |path: &str| openat2(&root, path, ResolveFlags::BENEATH);
    check::equal("d/b", &*read(&beneath("d/b")?)?, "bottom")?;
    check::equal("link", &*read(&beneath("link")?)?, "bottom")?;
    check::equal("d/../r", &*read(&beneath("d/../r")?)?, "root")?;
    check::errno("..", beneath(".."), Errno::XDEV)?;
    check::errno("out", beneath("out"), Errno::XDEV)?;
    check::errno("absolute", beneath("absolute"), Errno::XDEV)?;
    check::errno("no", beneath("no"), Errno::NOENT)
}

fn openat2_in_root(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let root = sys::open_dir(ov.path())?;
    let in_root = |path: &str| openat2(&root, path, ResolveFlags::IN_ROOT);
    check::equal("/d/b", &*read(&in_root("/d/b")?)?, "bottom")?;
    check::equal("../../r", &*read(&in_root("../../r")?)?, "root")?;
    check::equal("absolute", &*read(&in_root("absolute")?)?, "bottom")?;
    check::equal("out/r", &*read(&in_root("out/r")?)?, "root")
}

fn openat2_no_symlinks(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let root = sys::open_dir(ov.path())?;
    let how = ResolveFlags::NO_SYMLINKS;
    check::equal("d/b", &*read(&openat2(&root, "d/b", how)?)?, "bottom")?;
    check::errno("link", openat2(&root, "link", how), Errno::LOOP)?;
    let how = ResolveFlags::NO_MAGICLINKS;
    check::equal("link", &*read(&openat2(&root, "link", how)?)?, "bottom")
}

/// Going from layer to layer is not going to another mount.
fn openat2_no_xdev(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let inner = ov.join("d/sub");
    rustix::mount::mount_bind(fx.place("elsewhere")?, &inner)?;
    fx.adopt(&inner);
    let root = sys::open_dir(ov.path())?;
    let how = ResolveFlags::NO_XDEV;
    check::equal("d/b", &*read(&openat2(&root, "d/b", how)?)?, "bottom")?;
    check::equal("d/t", &*read(&openat2(&root, "d/t", how)?)?, "top")?;
    check::errno("d/sub", openat2(&root, "d/sub", how), Errno::XDEV)?;
    check::errno("..", openat2(&root, "..", how), Errno::XDEV)
}

/// What has been looked up can be opened without leaving the cache, what has not, not.
fn openat2_cached(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let root = sys::open_dir(ov.path())?;
    let how = ResolveFlags::CACHED;
    check::errno("never seen", openat2(&root, "d/sub/s", how), Errno::AGAIN)?;
    sys::stat(ov.join("d/sub/s"))?;
    check::equal("seen", &*read(&openat2(&root, "d/sub/s", how)?)?, "sub")?;
    absent(ov.join("d/no"))?;
    check::errno(
        "known to be absent",
        openat2(&root, "d/no", how),
        Errno::NOENT,
    )
}

fn getcwd(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    for dir in ["", "d", "d/sub"] {
        let path = ov.join(dir);
        rustix::process::chdir(&path)?;
        let cwd = rustix::process::getcwd(Vec::new())?;
        let expected = path.to_string_lossy();
        check::equal(
            "cwd",
            &*cwd.to_string_lossy(),
            expected.trim_end_matches('/'),
        )?;
    }
    content("s", "sub")?;
    content("../../r", "root")?;
    rustix::process::chdir("/")?;
    Ok(())
}

fn cwd_after_drop_caches(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    rustix::process::chdir(ov.join("d/sub"))?;
    for _ in 0..3 {
        sys::drop_caches().context("drop caches")?;
        content("s", "sub")?;
        content("../b", "bottom")?;
        lists("..", &["b", "sub", "t", "up"])?;
        let cwd = rustix::process::getcwd(Vec::new())?;
        check::ok(cwd.to_bytes().ends_with(b"/d/sub"), "the cwd has changed")?;
    }
    rustix::process::chdir("/")?;
    Ok(())
}

fn chroot(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    sys::with_own_root(|| -> Result {
        rustix::process::chroot(ov.path())?;
        rustix::process::chdir("/")?;
        content("/d/b", "bottom")?;
        content("/absolute", "bottom")?;
        content("/../../d/t", "top")?;
        lists("/", &["absolute", "d", "link", "out", "r"])?;
        // The root is its own parent.
        let (root, above) = (sys::stat("/")?, sys::stat("/..")?);
        check::equal("inode of ..", above.st_ino, root.st_ino)?;
        let cwd = rustix::process::getcwd(Vec::new())?;
        check::bytes("cwd", cwd.to_bytes(), b"/")
    })??;
    content(ov.join("d/b"), "bottom")
}

fn bind_of_directory(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let bind = fx.place("bind")?;
    rustix::mount::mount_bind(ov.join("d"), &bind)?;
    fx.adopt(&bind);
    lists(&bind, &["b", "sub", "t", "up"])?;
    content(bind.join("b"), "bottom")?;
    content(bind.join("sub/s"), "sub")?;
    // The link's `..` leaves the bind mount instead of going up in the overlay.
    check::errno("up", sys::stat(bind.join("up")), Errno::NOENT)?;
    let (seen, real) = (sys::stat(&bind)?, sys::stat(ov.join("d"))?);
    check::equal("inode", seen.st_ino, real.st_ino)?;
    check::equal("device", seen.st_dev, real.st_dev)?;
    // The bind mount keeps the overlay when its first mount goes.
    fx.unmount(ov.path())?;
    content(bind.join("b"), "bottom")?;
    lists(bind.join("sub"), &["s"])
}

fn bind_of_file(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let target = fx.place("binds")?.join("file");
    std::fs::write(&target, "below")?;
    rustix::mount::mount_bind(ov.join("d/b"), &target)?;
    fx.adopt(&target);
    content(&target, "bottom")?;
    fx.unmount(ov.path())?;
    content(&target, "bottom")?;
    fx.unmount(&target)?;
    content(&target, "below")
}

fn bind_read_only(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    lower.dir("d")?.file("d/f", "data")?;
    let ov = fx.upper(&upper, &[&lower])?;
    let bind = fx.place("bind")?;
    rustix::mount::mount_bind(ov.path(), &bind)?;
    fx.adopt(&bind);
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    rustix::mount::mount_remount(&bind, flags, "")?;
    content(bind.join("d/f"), "data")?;
    check::errno("mkdir", sys::mkdir(&bind.join("new"), 0o755), Errno::ROFS)?;
    let result = sys::open(bind.join("d/f"), OFlags::WRONLY);
    check::errno("open for writing", result, Errno::ROFS)
}

/// Other filesystems can be mounted on directories and files of the overlay.
fn mount_inside(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    for name in ["d", "d/sub"] {
        let point = ov.join(name);
        rustix::mount::mount("tmpfs", &point, "tmpfs", MountFlags::empty(), None)?;
        std::fs::write(point.join("inner"), name)?;
        lists(&point, &["inner"])?;
        let sibling = point.with_file_name(if name == "d" { "r" } else { "b" });
        sys::stat(sibling).context("beside the mount")?;
        rustix::mount::unmount(&point, UnmountFlags::NOFOLLOW)?;
        check::ok(
            !sys::names(&point)?.is_empty(),
            "the overlay is not seen again",
        )?;
    }
    let file = fx.place("files")?.join("other");
    std::fs::write(&file, "other")?;
    rustix::mount::mount_bind(&file, ov.join("d/b"))?;
    content(ov.join("link"), "other")?;
    rustix::mount::unmount(ov.join("d/b"), UnmountFlags::NOFOLLOW)?;
    content(ov.join("link"), "bottom")
}

fn open_tree_clone(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, ov.join("d"), flags)?;
    check::equal("b", &*read(&openat(&tree, "b")?)?, "bottom")?;
    // The root of a detached tree is its own parent.
    let (here, above) = (
        rustix::fs::statat(&tree, ".", AtFlags::empty())?,
        rustix::fs::statat(&tree, "..", AtFlags::empty())?,
    );
    check::equal("inode of ..", above.st_ino, here.st_ino)?;
    let target = fx.place("target")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", CWD, &target, flags)?;
    fx.adopt(&target);
    lists(&target, &["b", "sub", "t", "up"])
}

fn move_mount(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let file = sys::open_read(ov.join("d/b"))?;
    let target = fx.place("target")?;
    rustix::mount::mount_move(ov.path(), &target)?;
    fx.forget(ov.path());
    fx.adopt(&target);
    lists::<&str>(ov.path(), &[])?;
    content(target.join("d/b"), "bottom")?;
    let proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let moved = target.join("d/b");
    check::equal(
        "path of a descriptor",
        sys::readlink(proc)?,
        moved.as_os_str(),
    )
}

/// A copied namespace has its own mount; what one does is not seen in the other.
fn other_mount_namespace(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let path = ov.path().to_owned();
    sys::with_own_mounts(|| -> Result {
        content(path.join("d/b"), "bottom")?;
        rustix::mount::unmount(&path, UnmountFlags::NOFOLLOW)?;
        lists::<&str>(&path, &[])
    })??;
    content(ov.join("d/b"), "bottom")?;
    let held = sys::with_own_mounts(|| sys::open_dir(path.join("d")))??;
    // Unmounting here leaves the descriptor of the other namespace usable.
    fx.unmount(ov.path())?;
    check::equal("b", &*read(&openat(&held, "b")?)?, "bottom")
}

fn is_mount_point(fx: &Fixture) -> Result {
    let ov = mounted(fx)?;
    let point: &Path = ov.path();
    check::errno("rmdir", rustix::fs::rmdir(point), Errno::BUSY)?;
    let elsewhere = fx.place("elsewhere")?.join("x");
    let result = std::fs::rename(point, elsewhere);
    check::errno("rename", result, Errno::BUSY)
}
