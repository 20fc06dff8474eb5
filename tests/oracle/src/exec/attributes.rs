// SPDX-License-Identifier: GPL-2.0-only

//! Steps on attributes, by path and by descriptor.

use std::fmt::Write;
use std::os::fd::OwnedFd;

use rustix::fs::IFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::thread::Gid;
use rustix::thread::Uid;

use super::Session;
use crate::data;
use crate::stat;
use crate::step::open_flags;
use crate::step::Attr;
use crate::step::Open;
use crate::step::Step;
use crate::sys::SysResult;
use crate::text::Bytes;

impl Session<'_> {
    /// Steps on attributes by path.
    pub(super) fn step_xattrs(&self, step: &Step) -> Option<SysResult<String>> {
        use crate::step::Last::Follow;
        let nothing = |()| String::new();
        let mut buffer = [0; 1024];
        Some(match step {
            Step::GetXattr { path, name, last } => {
                let path = self.path(path);
                let got = match last {
                    Follow => rustix::fs::getxattr(path, name.as_str(), &mut buffer),
                    _ => rustix::fs::lgetxattr(path, name.as_str(), &mut buffer),
                };
                got.map(|length| value_text(&buffer, length))
            }
            Step::SetXattr {
                path,
                name,
                value,
                set,
                last,
            } => {
                let path = self.path(path);
                match last {
                    Follow => rustix::fs::setxattr(path, name.as_str(), &value.0, set.flags()),
                    _ => rustix::fs::lsetxattr(path, name.as_str(), &value.0, set.flags()),
                }
                .map(nothing)
            }
            Step::RemoveXattr { path, name, last } => {
                let path = self.path(path);
                match last {
                    Follow => rustix::fs::removexattr(path, name.as_str()),
                    _ => rustix::fs::lremovexattr(path, name.as_str()),
                }
                .map(nothing)
            }
            Step::ListXattr { path, last } => {
                let path = self.path(path);
                let got = match last {
                    Follow => rustix::fs::listxattr(path, &mut buffer),
                    _ => rustix::fs::llistxattr(path, &mut buffer),
                };
                got.map(|length| names_text(&buffer, length))
            }
            _ => return None,
        })
    }

    /// Steps on the attributes of an open file.
    pub(super) fn step_attributes(&mut self, step: &Step) -> Option<SysResult<String>> {
        let nothing = |()| String::new();
        let slot = *step.slots().first()?;
        let fd = match self.slot(slot) {
            Ok(fd) => fd,
            Err(error) => return Some(Err(error)),
        };
        let mut buffer = [0; 1024];
        Some(match step {
            Step::FStat { .. } => rustix::fs::fstat(fd).map(|stat| stat::describe(&stat)),
            Step::FChmod { mode, .. } => {
                rustix::fs::fchmod(fd, Mode::from_raw_mode(mode.0)).map(nothing)
            }
            Step::FChown { uid, gid, .. } => {
                rustix::fs::fchown(fd, uid.map(Uid::from_raw), gid.map(Gid::from_raw)).map(nothing)
            }
            Step::FUtimes { atime, mtime, .. } => {
                rustix::fs::futimens(fd, &stat::timestamps(*atime, *mtime)).map(nothing)
            }
            Step::FGetXattr { name, .. } => rustix::fs::fgetxattr(fd, name.as_str(), &mut buffer)
                .map(|length| value_text(&buffer, length)),
            Step::FSetXattr {
                name, value, set, ..
            } => rustix::fs::fsetxattr(fd, name.as_str(), &value.0, set.flags()).map(nothing),
            Step::FRemoveXattr { name, .. } => {
                rustix::fs::fremovexattr(fd, name.as_str()).map(nothing)
            }
            Step::FListXattr { .. } => {
                rustix::fs::flistxattr(fd, &mut buffer).map(|length| names_text(&buffer, length))
            }
            Step::GetAttr { .. } => {
                rustix::fs::ioctl_getflags(fd).map(|flags| format!("{:x}", flags.bits()))
            }
            Step::SetAttr { attr, .. } => set_attr(fd, *attr, self.lasting).map(nothing),
            Step::SetFl { flags, .. } => set_fl(fd, flags),
            Step::FSync { .. } => rustix::fs::fsync(fd).map(nothing),
            Step::FDataSync { .. } => rustix::fs::fdatasync(fd).map(nothing),
            Step::SyncFs { .. } => rustix::fs::syncfs(fd).map(nothing),
            Step::FList { .. } => data::list(fd),
            _ => return None,
        })
    }
}

/// Sets one of the file flags, and leaves alone what the filesystem itself has set.
fn set_attr(fd: &OwnedFd, attr: Attr, lasting: IFlags) -> SysResult<()> {
    let ours = IFlags::APPEND | IFlags::IMMUTABLE | IFlags::NODUMP | IFlags::NOATIME;
    let flag = match attr {
        Attr::None => IFlags::empty(),
        Attr::Append => IFlags::APPEND,
        Attr::Immutable => IFlags::IMMUTABLE,
        Attr::NoDump => IFlags::NODUMP,
        Attr::NoAtime => IFlags::NOATIME,
    };
    let present = rustix::fs::ioctl_getflags(fd)?;
    rustix::fs::ioctl_setflags(fd, (present - ours) | flag | lasting)
}

/// Sets flags of an open file, and returns all that it has then.
fn set_fl(fd: &OwnedFd, flags: &[Open]) -> SysResult<String> {
    let wanted = OFlags::APPEND | OFlags::NONBLOCK | OFlags::DIRECT | OFlags::NOATIME;
    rustix::fs::fcntl_setfl(fd, open_flags(flags) & wanted)?;
    rustix::fs::fcntl_getfl(fd).map(|flags| format!("{:x}", flags.bits()))
}

fn value_text(buffer: &[u8], length: usize) -> String {
    Bytes::from(buffer.get(..length).unwrap_or_default()).to_string()
}

fn names_text(buffer: &[u8], length: usize) -> String {
    let names = data::names(buffer.get(..length).unwrap_or_default());
    let mut text = String::new();
    for name in names {
        let _ = write!(text, "{name} ");
    }
    text
}
