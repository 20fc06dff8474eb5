// SPDX-License-Identifier: GPL-2.0-only

//! What writing takes from a file: the set-user-ID and set-group-ID bits, unless root writes, and
//! capabilities.

use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::io::IoSlice;
use rustix::io::ReadWriteFlags;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;
use rustix::pipe::SpliceFlags;

use crate::alike::Alike;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::layer::CAPABILITY;
use crate::rawsys;
use crate::registry::Test;
use crate::sys;
use crate::sys::Mapping;

pub const TESTS: &[Test] = &[
    Test::new("write_takes_set_id_bits", "F3 F4 F8 F9 F22", set_id_bits),
    Test::new("write_takes_set_id_bits_again", "F3 F22", again).on_disks_too(),
    Test::new("write_takes_capabilities", "F3 F8 F22", capabilities).on_disks_too(),
    Test::new("write_by_passed_descriptor", "F3 F22", passed_descriptor),
];

const USER: u32 = 1000;

/// CAP_NET_BIND_SERVICE, as VFS_CAP_REVISION_2 stores it.
const VALUE: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

type SysResult<T> = std::result::Result<T, Errno>;

/// A way to write to the file at a path.
type Way = fn(&Path) -> SysResult<()>;

/// All ways to write, by name.
const WAYS: [(&str, Way); 11] = [
    ("nothing", |path| sys::open(path, OFlags::RDWR).map(drop)),
    ("no bytes", |path| {
        let fd = sys::open(path, OFlags::RDWR)?;
        rustix::io::write(fd, b"").map(drop)
    }),
    ("write", |path| {
        let fd = sys::open(path, OFlags::RDWR)?;
        rustix::io::write(fd, b"new").map(drop)
    }),
    ("append", |path| {
        let fd = sys::open(path, OFlags::WRONLY | OFlags::APPEND)?;
        rustix::io::write(fd, b"new").map(drop)
    }),
    ("pwritev2", |path| {
        let fd = sys::open(path, OFlags::RDWR)?;
        let slices = [IoSlice::new(b"new")];
        rustix::io::pwritev2(fd, &slices, 100, ReadWriteFlags::DSYNC).map(drop)
    }),
    ("aio", |path| {
        let fd = sys::open(path, OFlags::RDWR)?;
        rawsys::aio_write(fd, b"new", 5).map(drop)
    }),
    ("splice", |path| {
        let fd = sys::open(path, OFlags::RDWR)?;
        let (reader, writer) = rustix::pipe::pipe()?;
        rustix::io::write(&writer, b"new")?;
        rustix::pipe::splice(reader, None, fd, None, 3, SpliceFlags::empty()).map(drop)
    }),
    ("fallocate", |path| {
        let fd = sys::open(path, OFlags::RDWR)?;
        rustix::fs::fallocate(fd, FallocateFlags::KEEP_SIZE, 0, 10)
    }),
    ("copy_file_range", |path| {
        let fd = sys::open(path, OFlags::RDWR)?;
        rustix::fs::copy_file_range(&fd, Some(&mut 0), &fd, Some(&mut 5000), 10).map(drop)
    }),
    ("mmap", |path| {
        let fd = sys::open(path, OFlags::RDWR)?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let mapping = Mapping::new(&fd, 10, MapFlags::SHARED, prot)?;
        mapping.store(0, b"new");
        mapping.sync()
    }),
    ("O_TRUNC", |path| {
        sys::open(path, OFlags::RDWR | OFlags::TRUNC).map(drop)
    }),
];

fn data() -> Vec<u8> {
    sys::pattern(4000, 71)
}

fn mode(path: &Path) -> SysResult<u32> {
    Ok(sys::lstat(path)?.st_mode)
}

fn set_id_bits(fx: &Fixture) -> Result {
    const MODES: [u32; 2] = [0o6777, 0o2767];

    let name = |way: &str, mode: u32, who: &str| format!("{way} {mode:o} {who}");
    let alike = Alike::new(fx, |dir| {
        for (way, _) in WAYS {
            for mode in MODES {
                for who in ["user", "root"] {
                    let name = name(way, mode, who);
                    dir.file(&name, data())?.chmod(&name, mode)?;
                }
            }
        }
        Ok(())
    })?;
    for (way, write) in WAYS {
        for bits in MODES {
            let user = name(way, bits, "user");
            let _ = alike.stored(&user, |dir| {
                let path = dir.join(&user);
                sys::as_user(USER, USER, &[], || write(&path))??;
                mode(&path)
            })?;
            let root = name(way, bits, "root");
            let _ = alike.stored(&root, |dir| {
                let path = dir.join(&root);
                write(&path)?;
                mode(&path)
            })?;
        }
    }
    alike.lower_untouched()
}

/// That there was nothing to take is forgotten when there is again.
fn again(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| dir.file("f", data())?.chmod("f", 0o777).map(drop))?;
    alike.gives("set and written to", Ok([0o100777; 3]), |dir| {
        let path = dir.join("f");
        let write = || -> SysResult<u32> {
            let fd = sys::open(&path, OFlags::WRONLY)?;
            sys::as_user(USER, USER, &[], || rustix::io::write(&fd, b"new"))??;
            mode(&path)
        };
        let first = write()?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o4777))?;
        let second = write()?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o2777))?;
        Ok([first, second, write()?])
    })?;
    alike.lower_untouched()
}

fn capabilities(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        for (way, _) in WAYS {
            dir.file(way, data())?.xattr(way, CAPABILITY, &VALUE)?;
        }
        Ok(())
    })?;
    let get = |path: &Path| -> SysResult<Vec<u8>> {
        let mut buffer = vec![0; 100];
        let length = rustix::fs::getxattr(path, CAPABILITY, &mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    };
    for (way, write) in WAYS {
        alike.check(way, |dir| write(&dir.join(way)))?.ok();
        let _ = alike.stored(format!("after {way}"), |dir| get(&dir.join(way)))?;
        let set = |dir: &Path| {
            let flags = XattrFlags::empty();
            rustix::fs::setxattr(dir.join(way), CAPABILITY, &VALUE, flags)
        };
        alike.check(format!("set after {way}"), set)?.ok();
        alike.check(way, |dir| write(&dir.join(way)))?.ok();
        let _ = alike.stored(format!("after {way} again"), |dir| get(&dir.join(way)))?;
    }
    alike.lower_untouched()
}

/// It is the one who writes who counts, not the one who has opened the file; and for the right to write it
/// is the other way round.
fn passed_descriptor(fx: &Fixture) -> Result {
    let alike = Alike::new(fx, |dir| {
        dir.file("f", data())?.chmod("f", 0o4711).map(drop)
    })?;
    alike.gives("by a user, opened by root", Ok((0o100711, 3)), |dir| {
        let path = dir.join("f");
        let fd = sys::open(&path, OFlags::WRONLY)?;
        let written = sys::as_user(USER, USER, &[], || {
            let refused = sys::open(&path, OFlags::WRONLY);
            (refused.is_err(), rustix::io::write(&fd, b"new"))
        })?;
        match written {
            (true, written) => Ok((mode(&path)?, written?)),
            (false, _) => Err(Errno::PERM),
        }
    })?;
    alike.lower_untouched()
}
