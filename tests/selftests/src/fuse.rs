// SPDX-License-Identifier: GPL-2.0-only

//! A filesystem behind `/dev/fuse`, served by a process of ours, which lacks or fails what a test wants.
//!
//! It stands for what no filesystem of the guest shows: names that are asked for again at each use on
//! a filesystem that can be an upper layer, closing that is heard of, `statfs` that fails. What is in it
//! is in `tree`; here are the protocol (`include/uapi/linux/fuse.h`) and the process.
//!
//! The server counts and fails by attributes of the root, which it never stores: a test that reads
//! [`FLUSHES`] gets the number of flushes so far, one that sets [`FLUSH_ERROR`] or [`STATFS_ERROR`] to a
//! number makes the request fail with it. All of them are in `control`.

mod control;
mod reply;
mod tree;

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use rustix::event::poll;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fs::OFlags;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::mount::mount;
use rustix::mount::MountFlags;
use rustix::process::Signal;

use self::control::failing;
use self::control::Control;
pub use self::control::COPIES;
pub use self::control::COPY_ERROR;
pub use self::control::COPY_MOST;
pub use self::control::DIR_OPENS;
pub use self::control::DIR_SYNCS;
pub use self::control::FLUSHES;
pub use self::control::FLUSH_ERROR;
pub use self::control::FLUSH_OWNER;
pub use self::control::LINK_ERROR;
pub use self::control::MOST_LINKS;
pub use self::control::NAME_LENGTH;
pub use self::control::NUMBERS_FROM;
pub use self::control::OPENS;
pub use self::control::READS;
pub use self::control::READ_DELAY;
pub use self::control::READ_ERROR;
pub use self::control::STATFS_ERROR;
pub use self::control::SYNCS;
pub use self::control::SYNC_ERROR;
pub use self::control::WRITE_ERROR;
use self::reply::Reply;
use self::tree::Times;
use self::tree::Tree;
use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::layer::Layer;
use crate::sys;

/// What the filesystem can do.
#[derive(Clone, Copy)]
pub struct Features {
    /// Listings tell what kind of file a name is.
    pub types: bool,
    /// A rename can leave a whiteout behind.
    pub whiteouts: bool,
    /// There are extended attributes.
    pub xattrs: bool,
}

impl Features {
    pub const ALL: Features = Features {
        types: true,
        whiteouts: true,
        xattrs: true,
    };
}

/// Mounts an empty filesystem, to be unmounted with the fixture.
pub fn filesystem(fx: &Fixture, name: &str, features: Features) -> Result<Layer> {
    let device = match sys::open("/dev/fuse", OFlags::RDWR | OFlags::NONBLOCK) {
        Err(Errno::NOENT | Errno::NODEV) => return Err(Failure::skip("there is no FUSE")),
        other => other.context("open /dev/fuse")?,
    };
    let path = fx.place(name)?;
    let fd = device.as_raw_fd();
    let data = CString::new(format!("fd={fd},rootmode=40755,user_id=0,group_id=0"))?;
    mount("fuse", &path, "fuse", MountFlags::empty(), &*data).context("mount fuse")?;
    fx.adopt(&path);
    if sys::fork().context("start the server")?.is_none() {
        serve(&device, Server::new(features));
        std::process::exit(0);
    }
    Layer::create(path)
}

/// Reads one of the attributes above from the root of a mount.
pub fn ask(root: &Path, name: &str) -> Result<u64> {
    let mut value = [0; 32];
    let length = rustix::fs::lgetxattr(root, name, &mut value).context(name)?;
    Ok(std::str::from_utf8(&value[..length])?.parse()?)
}

/// Makes requests fail, by one of the attributes above.
pub fn set(top: &Layer, name: &str, errno: Option<Errno>) -> Result {
    let number = errno.map_or(0, Errno::raw_os_error);
    set_number(top, name, number.unsigned_abs().into())
}

/// Writes one of the attributes above.
pub fn set_number(top: &Layer, name: &str, number: u64) -> Result {
    let flags = XattrFlags::empty();
    rustix::fs::lsetxattr(top.path(), name, number.to_string().as_bytes(), flags).context(name)
}

/// Waits until a number has become as large as that.
pub fn wait_for(top: &Layer, name: &str, least: u64) -> Result {
    let end = Instant::now() + PATIENCE;
    while ask(top.path(), name)? < least {
        if Instant::now() > end {
            return Err(Failure::new(format!("{name} does not come to {least}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// How long a number may take to grow.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer that is held back.
struct Late {
    asked: Instant,
    message: Vec<u8>,
}

/// Sends what is due. Returns when the next answer is.
fn send_due(device: &OwnedFd, late: &mut VecDeque<Late>, delay: Duration) -> Option<Duration> {
    while let Some(first) = late.front() {
        let left = delay.saturating_sub(first.asked.elapsed());
        if !left.is_zero() {
            return Some(left);
        }
        let _ = rustix::io::write(device, &first.message);
        late.pop_front();
    }
    None
}

/// Answers until the filesystem is unmounted, or whoever mounted it is gone.
fn serve(device: &OwnedFd, mut server: Server) {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let mut buffer = vec![0; 256 * 1024];
    let mut late = VecDeque::new();
    loop {
        let left = send_due(device, &mut late, server.control.delay());
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        // What is wrong with the device is said by reading from it.
        let _ = poll(&mut [PollFd::new(device, PollFlags::IN)], timeout.as_ref());
        let length = match rustix::io::read(device, &mut buffer) {
            Ok(length) => length,
            // The request was taken back, or a signal came.
            Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => continue,
            Err(_) => return,
        };
        let request = Request(&buffer[..length]);
        let reply = match request.opcode() {
            opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => continue,
            _ => server.answer(&request),
        };
        let message = reply::message(request.unique(), reply);
        let may_be_late = matches!(request.opcode(), opcode::READ | opcode::FSYNCDIR);
        if may_be_late && server.control.read_delay > 0 {
            let asked = Instant::now();
            late.push_back(Late { asked, message });
            continue;
        }
        // Who asked may be gone.
        let _ = rustix::io::write(device, &message);
    }
}

/// A request: a header of 40 bytes, and what belongs to it.
struct Request<'a>(&'a [u8]);

impl<'a> Request<'a> {
    fn opcode(&self) -> u32 {
        reply::u32_at(self.0, 4)
    }

    fn unique(&self) -> u64 {
        reply::u64_at(self.0, 8)
    }

    fn node(&self) -> u64 {
        reply::u64_at(self.0, 16)
    }

    fn owner(&self) -> (u32, u32) {
        (reply::u32_at(self.0, 24), reply::u32_at(self.0, 28))
    }

    fn body(&self) -> &'a [u8] {
        self.0.get(40..).unwrap_or_default()
    }

    fn u32(&self, at: usize) -> u32 {
        reply::u32_at(self.body(), at)
    }

    fn u64(&self, at: usize) -> u64 {
        reply::u64_at(self.body(), at)
    }

    /// The text that starts there and ends with a NUL, and what follows it.
    fn name(&self, at: usize) -> (&'a [u8], &'a [u8]) {
        let rest = self.body().get(at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0);
        let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
        (name, rest.get(1..).unwrap_or_default())
    }
}

/// Numbers of the requests that are understood.
mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const INTERRUPT: u32 = 36;
    pub const BATCH_FORGET: u32 = 42;
    pub const RENAME2: u32 = 45;
    pub const COPY_FILE_RANGE: u32 = 47;
}

/// `RENAME_EXCHANGE`.
const RENAME_EXCHANGE: u32 = 2;

/// `RENAME_WHITEOUT`.
const RENAME_WHITEOUT: u32 = 4;

/// `S_IFDIR`.
const DIRECTORY: u32 = 0o04_0000;

/// The root's number.
const ROOT: u64 = 1;

struct Server {
    features: Features,
    tree: Tree,
    control: Control,
}

impl Server {
    fn new(features: Features) -> Self {
        Server {
            features,
            tree: Tree::new(),
            control: Control::new(),
        }
    }

    fn answer(&mut self, request: &Request<'_>) -> std::result::Result<Reply, Errno> {
        let node = request.node();
        let control = &mut self.control;
        match request.opcode() {
            opcode::INIT => Ok(reply::init()),
            opcode::LOOKUP => self.tree.look_up(node, request.name(0).0),
            opcode::GETATTR => self.tree.attributes(node),
            opcode::SETATTR => self.set_attributes(request),
            opcode::MKNOD | opcode::MKDIR => self.make(request),
            opcode::SYMLINK => {
                let (name, target) = request.name(0);
                let target = target.strip_suffix(b"\0").unwrap_or(target);
                self.tree.symlink(node, name, target, request.owner())
            }
            opcode::READLINK => self.tree.target(node),
            opcode::UNLINK | opcode::RMDIR => self.tree.remove(node, request.name(0).0),
            opcode::RENAME | opcode::RENAME2 => self.rename(request),
            opcode::LINK => {
                failing(control.link_error)?;
                let (from, name) = (request.u64(0), request.name(8).0);
                self.tree.link(from, node, name, control.most_links)
            }
            opcode::OPEN => {
                control.opens += 1;
                Ok(Reply::new().u64(0).u64(0))
            }
            opcode::OPENDIR => {
                control.dir_opens += 1;
                Ok(Reply::new().u64(0).u64(0))
            }
            opcode::RELEASE | opcode::RELEASEDIR => Ok(Reply::new()),
            opcode::READ => {
                control.reads += 1;
                failing(control.read_error)?;
                self.tree.read(node, request.u64(8), request.u32(16))
            }
            opcode::WRITE => {
                failing(control.write_error)?;
                let size = request.u32(16) as usize;
                let data = request.body().get(40..40 + size).ok_or(Errno::INVAL)?;
                self.tree.write(node, request.u64(8), data)
            }
            opcode::READDIR => {
                let types = self.features.types;
                self.tree.list(node, request.u64(8), request.u32(16), types)
            }
            opcode::STATFS => {
                failing(control.statfs_error)?;
                let length = u32::try_from(control.name_length);
                Ok(reply::statfs(length.map_err(|_| Errno::INVAL)?))
            }
            opcode::FLUSH => {
                control.flushes += 1;
                control.flush_owner = request.u64(16);
                failing(control.flush_error).map(|()| Reply::new())
            }
            opcode::FSYNC => {
                control.syncs += 1;
                failing(control.sync_error).map(|()| Reply::new())
            }
            opcode::FSYNCDIR => {
                control.dir_syncs += 1;
                failing(control.sync_error).map(|()| Reply::new())
            }
            opcode::COPY_FILE_RANGE => self.copy(request),
            opcode::SETXATTR => self.set_xattr(request),
            opcode::GETXATTR => self.xattr(request),
            opcode::LISTXATTR => {
                let names = self.tree.xattr_names(node)?;
                reply::value(&names, request.u32(0))
            }
            opcode::REMOVEXATTR => self.tree.remove_xattr(node, request.name(0).0),
            _ => Err(Errno::NOSYS),
        }
    }

    fn make(&mut self, request: &Request<'_>) -> std::result::Result<Reply, Errno> {
        let (kind, device, at) = match request.opcode() {
            opcode::MKDIR => (DIRECTORY, 0, 8),
            _ => (0, request.u32(4), 16),
        };
        let mode = request.u32(0) | kind;
        let name = request.name(at).0;
        self.tree
            .make(request.node(), name, mode, device, request.owner())
    }

    fn set_attributes(&mut self, request: &Request<'_>) -> std::result::Result<Reply, Errno> {
        let valid = request.u32(0);
        let wanted = |bit: u32, value: u32| (valid & bit != 0).then_some(value);
        let size = (valid & 8 != 0).then(|| request.u64(16));
        let node = self.tree.node(request.node())?;
        node.change(
            wanted(1, request.u32(68)),
            wanted(2, request.u32(76)),
            wanted(4, request.u32(80)),
            size,
        );
        if valid & 0x20 != 0 {
            node.modified = Times {
                seconds: request.u64(40),
                nanoseconds: request.u32(60),
            };
        }
        self.tree.attributes(request.node())
    }

    fn rename(&mut self, request: &Request<'_>) -> std::result::Result<Reply, Errno> {
        let (flags, at) = match request.opcode() {
            opcode::RENAME2 => (request.u32(8), 16),
            _ => (0, 8),
        };
        let whiteout = flags == RENAME_WHITEOUT;
        let exchange = flags == RENAME_EXCHANGE;
        if flags != 0 && !exchange && !(whiteout && self.features.whiteouts) {
            return Err(Errno::INVAL);
        }
        let (old, new) = request.name(at);
        let new = new.strip_suffix(b"\0").unwrap_or(new);
        let (from, to) = ((request.node(), old), (request.u64(0), new));
        if exchange {
            return self.tree.exchange(from, to);
        }
        self.tree.rename(from, to, whiteout)
    }

    /// Copies data from one file to another.
    fn copy(&mut self, request: &Request<'_>) -> std::result::Result<Reply, Errno> {
        self.control.copies += 1;
        failing(self.control.copy_error)?;
        let length = request.u64(40).min(self.control.copy_most);
        let length = u32::try_from(length).map_err(|_| Errno::INVAL)?;
        let data = self.tree.read(request.node(), request.u64(8), length)?;
        let (to, at) = (request.u64(16), request.u64(32));
        self.tree.write(to, at, data.fields())
    }

    /// The number that an attribute of the root stands for.
    fn number(&mut self, node: u64, name: &[u8]) -> Option<&mut u64> {
        match node {
            ROOT if name == NUMBERS_FROM.as_bytes() => Some(&mut self.tree.shown_from),
            ROOT => self.control.number(name),
            _ => None,
        }
    }

    fn set_xattr(&mut self, request: &Request<'_>) -> std::result::Result<Reply, Errno> {
        let (name, rest) = request.name(8);
        let value = rest.get(..request.u32(0) as usize).ok_or(Errno::INVAL)?;
        if let Some(number) = self.number(request.node(), name) {
            let text = std::str::from_utf8(value).map_err(|_| Errno::INVAL)?;
            *number = text.parse().map_err(|_| Errno::INVAL)?;
            return Ok(Reply::new());
        }
        if !self.features.xattrs {
            return Err(Errno::OPNOTSUPP);
        }
        self.tree.set_xattr(request.node(), name, value)
    }

    fn xattr(&mut self, request: &Request<'_>) -> std::result::Result<Reply, Errno> {
        let name = request.name(8).0;
        if let Some(number) = self.number(request.node(), name) {
            return reply::value(number.to_string().as_bytes(), request.u32(0));
        }
        if !self.features.xattrs {
            return Err(Errno::OPNOTSUPP);
        }
        let value = self.tree.xattr(request.node(), name)?;
        reply::value(&value, request.u32(0))
    }
}
