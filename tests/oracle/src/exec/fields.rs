// SPDX-License-Identifier: GPL-2.0-only

//! Steps on attributes that have fields of their own.

use rustix::fs::StatxFlags;
use rustix::fs::CWD;

use super::Session;
use crate::step::Attr;
use crate::step::Step;
use crate::sys::control;
use crate::sys::SysResult;

impl Session<'_> {
    pub(super) fn step_fields(&mut self, step: &Step) -> Option<SysResult<String>> {
        let nothing = |()| String::new();
        // How many extents there are depends on when the filesystem has made them.
        let text = |xflags: u64, extsize, project, cowextsize| {
            format!("{xflags:x} {extsize} project {project} {cowextsize}")
        };
        Some(match step {
            Step::GetFields { slot } => self
                .slot(*slot)
                .and_then(control::fsgetxattr)
                .map(|f| text(f.xflags.into(), f.extsize, f.projid, f.cowextsize)),
            Step::SetFields {
                slot,
                attr,
                project,
            } => self
                .slot(*slot)
                .and_then(|fd| {
                    let mut fields = control::fsgetxattr(fd)?;
                    fields.xflags = (fields.xflags & !OURS) | xflag(*attr);
                    fields.projid = *project;
                    control::fssetxattr(fd, &fields)
                })
                .map(nothing),
            Step::GetFieldsAt { path, last } => {
                control::file_getattr(&self.path(path), last.flags())
                    .map(|f| text(f.xflags, f.extsize, f.projid, f.cowextsize))
            }
            Step::SetFieldsAt {
                path,
                attr,
                project,
                last,
            } => {
                let path = self.path(path);
                control::file_getattr(&path, last.flags())
                    .and_then(|mut fields| {
                        fields.xflags =
                            (fields.xflags & !u64::from(OURS)) | u64::from(xflag(*attr));
                        fields.projid = *project;
                        control::file_setattr(&path, fields, last.flags())
                    })
                    .map(nothing)
            }
            Step::Statx { path, last } => statx(&self.path(path), last.flags()),
            _ => return None,
        })
    }
}

const IMMUTABLE: u32 = 0x8;
const APPEND: u32 = 0x10;
const NOATIME: u32 = 0x40;
const NODUMP: u32 = 0x80;
const OURS: u32 = IMMUTABLE | APPEND | NOATIME | NODUMP;

fn xflag(attr: Attr) -> u32 {
    match attr {
        Attr::None => 0,
        Attr::Append => APPEND,
        Attr::Immutable => IMMUTABLE,
        Attr::NoDump => NODUMP,
        Attr::NoAtime => NOATIME,
    }
}

fn statx(path: &str, flags: rustix::fs::AtFlags) -> SysResult<String> {
    const DIRECT_ALIGN: u32 = 0x2000;
    // To which mount it belongs is not asked: each has its own number.
    let wanted =
        StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::from_bits_retain(DIRECT_ALIGN);
    let found = rustix::fs::statx(CWD, path, flags, wanted)?;
    let asked = StatxFlags::from_bits_retain(found.stx_mask) & wanted;
    Ok(format!(
        "mask {:x} attributes {:x} of {:x} block size {} direct {} {}",
        asked.bits(),
        found.stx_attributes.bits(),
        found.stx_attributes_mask.bits(),
        found.stx_blksize,
        found.stx_dio_mem_align,
        found.stx_dio_offset_align
    ))
}
