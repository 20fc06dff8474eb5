// SPDX-License-Identifier: GPL-2.0-only

//! Permissions: the caller's on the overlay, the mounter's on the layers.

use rustix::fs::Access;
use rustix::fs::AtFlags;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;

use crate::check;
use crate::check::Failure;
use crate::check::Result;
use crate::check::Table;
use crate::expect::content;
use crate::expect::lists;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("perm_file_bits", "F15", file_bits).on_disks_too(),
    Test::new("perm_dir_bits", "F15", dir_bits),
    Test::new("perm_group_bits", "F15", group_bits),
    Test::new(
        "perm_merged_dir_is_topmost",
        "F15 L1",
        merged_dir_is_topmost,
    ),
    Test::new("perm_root_of_mount", "F15", root_of_mount),
    Test::new("perm_access", "F15", access),
    Test::new("perm_access_as_root", "F15", access_as_root),
    Test::new("perm_root_reads_all", "F15", root_reads_all),
    Test::new(
        "perm_whiteouts_seen_by_user",
        "F15 1.9 F22",
        whiteouts_seen_by_user,
    ),
    Test::new("perm_layers_out_of_reach", "F15 F22", layers_out_of_reach).on_disks_too(),
    Test::new(
        "perm_listing_uses_mounters_rights",
        "F15 F22 R2",
        listing_as_mounter,
    ),
    Test::new(
        "perm_symlink_target_checked",
        "F15 D7",
        symlink_target_checked,
    ),
    Test::new(
        "perm_write_needs_no_rights_to_fail",
        "F15",
        write_errors_in_order,
    ),
    Test::new("perm_set_id_bits_visible", "F13", set_id_bits_visible),
    Test::new("perm_search_of_parent_first", "F15 L1", parent_first),
    Test::new("perm_checked_at_open_only", "F15 F1", checked_at_open_only),
    Test::new("perm_fsuid_of_thread_counts", "F15 F22", thread_counts),
];

const USER: u32 = 1000;
const GROUP: u32 = 1000;
const OTHER: u32 = 2000;

/// Runs checks as the unprivileged user.
fn as_user(groups: &[u32], work: impl FnOnce() -> Result + Send) -> Result {
    sys::as_user(USER, GROUP, groups, work)?
}

fn file_bits(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for (name, mode, owner) in [
        ("none", 0o000, 0),
        ("owner", 0o400, USER),
        ("root", 0o600, 0),
        ("all", 0o444, 0),
        ("not-owner", 0o044, USER),
    ] {
        bottom.file(name, name)?.chmod(name, mode)?;
        bottom.chown(name, owner, owner)?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(&[], || {
        content(ov.join("owner"), "owner")?;
        content(ov.join("all"), "all")?;
        for name in ["none", "root", "not-owner"] {
            let result = sys::open_read(ov.join(name));
            check::errno(name, result, Errno::ACCESS)?;
            // Looking at it needs no right on the file itself.
            sys::stat(ov.join(name))?;
        }
        Ok(())
    })
}

fn dir_bits(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for (name, mode) in [("none", 0), ("search", 0o711), ("read", 0o744)] {
        top.dir(name)?.file(format!("{name}/top"), "top")?;
        bottom.dir(name)?.file(format!("{name}/bottom"), "bottom")?;
        top.chmod(name, mode)?;
        bottom.chmod(name, mode)?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(&[], || {
        let access = Errno::ACCESS;
        check::errno("list none", sys::names(ov.join("none")), access)?;
        check::errno("stat in none", sys::stat(ov.join("none/top")), access)?;
        check::errno("missing in none", sys::stat(ov.join("none/x")), access)?;
        check::errno("list search", sys::names(ov.join("search")), access)?;
        content(ov.join("search/top"), "top")?;
        content(ov.join("search/bottom"), "bottom")?;
        let missing = sys::stat(ov.join("search/x"));
        check::errno("missing in search", missing, Errno::NOENT)?;
        lists(ov.join("read"), &["bottom", "top"])?;
        check::errno("stat in read", sys::stat(ov.join("read/top")), access)?;
        check::errno("stat in read", sys::stat(ov.join("read/bottom")), access)
    })
}

fn group_bits(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("main", "main")?.chmod("main", 0o040)?;
    bottom.chown("main", 0, GROUP)?;
    bottom.file("extra", "extra")?.chmod("extra", 0o040)?;
    bottom.chown("extra", 0, OTHER)?;
    // The group's class counts, even if others may do more.
    bottom.file("less", "less")?.chmod("less", 0o404)?;
    bottom.chown("less", 0, GROUP)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(&[], || {
        content(ov.join("main"), "main")?;
        check::errno("extra", sys::open_read(ov.join("extra")), Errno::ACCESS)?;
        check::errno("less", sys::open_read(ov.join("less")), Errno::ACCESS)
    })?;
    as_user(&[OTHER], || content(ov.join("extra"), "extra"))
}

fn merged_dir_is_topmost(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for dir in ["opened", "closed"] {
        top.dir(dir)?;
        bottom.dir(dir)?.file(format!("{dir}/f"), "data")?;
    }
    bottom.chmod("opened", 0o700)?;
    top.chmod("closed", 0o700)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(&[], || {
        content(ov.join("opened/f"), "data")?;
        lists(ov.join("opened"), &["f"])?;
        check::errno("closed", sys::stat(ov.join("closed/f")), Errno::ACCESS)?;
        check::errno("list closed", sys::names(ov.join("closed")), Errno::ACCESS)
    })
}

fn root_of_mount(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?;
    top.chmod("", 0o700)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(&[], || {
        sys::stat(ov.path())?;
        check::errno("inside", sys::stat(ov.join("f")), Errno::ACCESS)?;
        check::errno("list", sys::names(ov.path()), Errno::ACCESS)
    })
}

fn files_of_all_modes(layer: &Layer) -> Result<Vec<(String, u32)>> {
    let mut files = Vec::new();
    for mode in 0..8u32 {
        let name = format!("mode{mode}");
        layer.file(&name, "")?.chmod(&name, mode)?;
        files.push((name, mode));
    }
    Ok(files)
}

fn access(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let files = files_of_all_modes(&bottom)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(&[], || {
        let mut table = Table::new();
        for (name, mode) in &files {
            let path = ov.join(name);
            let allowed = |bits: u32| mode & bits == bits;
            for (what, bits, granted) in [
                ("exists", Access::EXISTS, true),
                ("read", Access::READ_OK, allowed(4)),
                ("exec", Access::EXEC_OK, allowed(1)),
                ("both", Access::READ_OK | Access::EXEC_OK, allowed(5)),
            ] {
                let result = rustix::fs::access(&path, bits);
                let expected = if granted { Ok(()) } else { Err(Errno::ACCESS) };
                table.note(check::equal(format!("{what} of {name}"), result, expected))?;
                let result = rustix::fs::accessat(CWD, &path, bits, AtFlags::EACCESS);
                let what = format!("effective {what} of {name}");
                table.note(check::equal(what, result, expected))?;
            }
            // A read-only filesystem comes before the rights.
            let result = rustix::fs::access(&path, Access::WRITE_OK);
            table.note(check::errno(
                format!("write of {name}"),
                result,
                Errno::ROFS,
            ))?;
        }
        table.finish()
    })
}

/// The superuser may do all, but executes only what somebody may execute.
fn access_as_root(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    let files = files_of_all_modes(&bottom)?;
    bottom.dir("dir")?.chmod("dir", 0)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    for (name, mode) in files {
        let path = ov.join(&name);
        rustix::fs::access(&path, Access::READ_OK)?;
        let result = rustix::fs::access(&path, Access::EXEC_OK);
        let expected = match mode & 1 {
            0 => Err(Errno::ACCESS),
            _ => Ok(()),
        };
        check::equal(format_args!("exec of {name}"), result, expected)?;
    }
    rustix::fs::access(ov.join("dir"), Access::READ_OK | Access::EXEC_OK)?;
    Ok(())
}

fn root_reads_all(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d")?.chmod("d", 0)?.chown("d", USER, GROUP)?;
    bottom.dir("d")?.file("d/f", "data")?.chmod("d/f", 0)?;
    bottom.chmod("d", 0)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    content(ov.join("d/f"), "data")?;
    lists(ov.join("d"), &["f"])
}

/// Recognising a whiteout or an opaque mark needs rights that the user has not.
fn whiteouts_seen_by_user(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    top.dir("d")?.whiteout("d/gone")?.opaque_dir("opaque")?;
    bottom
        .dir("d")?
        .file("d/gone", "")?
        .file("d/here", "data")?;
    bottom.dir("opaque")?.file("opaque/hidden", "")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(&[], || {
        lists(ov.join("d"), &["here"])?;
        check::errno("gone", sys::stat(ov.join("d/gone")), Errno::NOENT)?;
        content(ov.join("d/here"), "data")?;
        lists::<&str>(ov.join("opaque"), &[])?;
        check::errno("hidden", sys::stat(ov.join("opaque/hidden")), Errno::NOENT)
    })
}

/// The user can use the overlay although the layers' parent is closed to all but root.
fn layers_out_of_reach(fx: &Fixture) -> Result {
    let store = fx.layer("store")?;
    let (upper, lower) = (fx.layer("store/upper")?, fx.layer("store/lower")?);
    let work = fx.layer("store/work")?;
    upper.file("up", "upper")?.dir("d")?.file("d/up", "")?;
    lower.file("low", "lower")?.dir("d")?.file("d/low", "")?;
    lower.symlink("link", "d/low")?;
    store.chmod("", 0o700)?;
    let options = crate::fixture::Options::new().lowers(&[&lower]);
    let ov = fx.mount(&options.upper(&upper, &work))?;
    as_user(&[], || {
        check::errno("layer", sys::stat(lower.join("low")), Errno::ACCESS)?;
        content(ov.join("up"), "upper")?;
        content(ov.join("low"), "lower")?;
        lists(ov.join("d"), &["low", "up"])?;
        check::equal("link", sys::readlink(ov.join("link"))?, "d/low")?;
        content(ov.join("link"), "")
    })
}

/// A merged listing reads the lower directories as the mounter, whatever their modes.
fn listing_as_mounter(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    for (index, layer) in layers.iter().enumerate() {
        layer.dir("d")?.file(format!("d/{index}"), "data")?;
        if index > 0 {
            layer.chmod("d", 0)?;
        }
    }
    let ov = fx.lowers(&layers)?;
    as_user(&[], || {
        lists(ov.join("d"), &["0", "1", "2"])?;
        content(ov.join("d/2"), "data")
    })
}

fn symlink_target_checked(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom
        .dir("closed")?
        .file("closed/f", "")?
        .chmod("closed", 0o700)?;
    bottom.file("secret", "")?.chmod("secret", 0o600)?;
    top.symlink("to-closed", "closed/f")?;
    top.symlink("to-secret", "secret")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(&[], || {
        check::equal("link", sys::readlink(ov.join("to-closed"))?, "closed/f")?;
        check::errno("closed", sys::stat(ov.join("to-closed")), Errno::ACCESS)?;
        sys::stat(ov.join("to-secret"))?;
        check::errno(
            "secret",
            sys::open_read(ov.join("to-secret")),
            Errno::ACCESS,
        )
    })
}

/// Which errno a user gets who may neither write nor is on a writable mount.
fn write_errors_in_order(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom
        .file("f", "")?
        .dir("d")?
        .dir("closed")?
        .chmod("closed", 0o700)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    as_user(&[], || {
        let open = sys::open(ov.join("f"), OFlags::WRONLY);
        check::errno("open for writing", open, Errno::ROFS)?;
        let mkdir = sys::mkdir(&ov.join("d/new"), 0o755);
        check::errno("mkdir", mkdir, Errno::ROFS)?;
        let mkdir = sys::mkdir(&ov.join("closed/new"), 0o755);
        check::errno("mkdir in a closed directory", mkdir, Errno::ACCESS)?;
        let unlink = rustix::fs::unlink(ov.join("f"));
        check::errno("unlink", unlink, Errno::ROFS)
    })
}

fn set_id_bits_visible(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    for mode in [0o4755, 0o2755, 0o1755, 0o6711, 0o7777] {
        let name = format!("{mode:o}");
        bottom.file(&name, "")?.chmod(&name, mode)?;
        top.dir(format!("d{name}"))?
            .chmod(format!("d{name}"), mode)?;
    }
    let ov = fx.lowers(&[&top, &bottom])?;
    for mode in [0o4755, 0o2755, 0o1755, 0o6711, 0o7777] {
        for prefix in ["", "d"] {
            let name = format!("{prefix}{mode:o}");
            let seen = sys::stat(ov.join(&name))?.st_mode & 0o7777;
            check::equal(format_args!("mode of {name}"), seen, mode)?;
        }
    }
    Ok(())
}

/// Without search right a name in a directory gives EACCES, there or not.
fn parent_first(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.dir("d")?.file("d/f", "")?.chmod("d", 0o700)?;
    top.dir("d")?.whiteout("d/gone")?.chmod("d", 0o700)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    // Once with nothing cached, once with all names in the cache.
    for _ in 0..2 {
        as_user(&[], || {
            for name in ["d/f", "d/gone", "d/never", "d/f/x"] {
                check::errno(name, sys::stat(ov.join(name)), Errno::ACCESS)?;
            }
            Ok(())
        })?;
        sys::stat(ov.join("d/f"))?;
        check::errno("as root", sys::stat(ov.join("d/gone")), Errno::NOENT)?;
    }
    Ok(())
}

/// A descriptor opened by root can be read by the user it is lent to.
fn checked_at_open_only(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("f", "data")?.chmod("f", 0)?;
    bottom.dir("d")?.file("d/x", "")?;
    top.dir("d")?.chmod("d", 0)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let file = sys::open_read(ov.join("f"))?;
    let dir = sys::open_dir(ov.join("d"))?;
    as_user(&[], || {
        let mut buffer = [0; 8];
        check::equal("length", rustix::io::read(&file, &mut buffer)?, 4)?;
        check::equal("entries", sys::read_entries(&dir, 4096)?.len(), 3)
    })
}

/// Two threads with different identities use the mount at the same time.
fn thread_counts(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.file("root", "")?.chmod("root", 0o400)?;
    bottom.file("user", "")?.chmod("user", 0o400)?;
    bottom.chown("user", USER, GROUP)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let rounds = |mine: &str, others: Option<&str>| -> Result {
        for _ in 0..200 {
            sys::open_read(ov.join(mine))?;
            if let Some(others) = others {
                let result = sys::open_read(ov.join(others));
                check::errno(others, result, Errno::ACCESS)?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let user = scope.spawn(|| as_user(&[], || rounds("user", Some("root"))));
        let root = rounds("root", None);
        let user = user
            .join()
            .map_err(|_| Failure::new("the user's thread panicked"))?;
        root.and(user)
    })
}
