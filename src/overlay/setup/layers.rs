// SPDX-License-Identifier: GPL-2.0-only

//! The options that name directories: `lowerdir`, `lowerdir+`, `datadir+`, `upperdir` and `workdir`
//! (M1 to M5).
//!
//! Each directory is found and checked when its option comes (E1 to E5). See `ovl_parse_layer` and
//! `ovl_parse_param_lowerdir` in [`fs/overlayfs/params.c`](srctree/fs/overlayfs/params.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    str::{
        BStr,
        CString, //
    },
};

use crate::{
    model::lowerdir::{
        self,
        LayerKind,
        MAX_LAYERS, //
    },
    overlay::fs::{
        LowerPaths,
        Paths,
        UpperPaths, //
    },
    vfs::{
        context::{
            Errno,
            Log,
            Value, //
        },
        path::Path, //
    },
};

/// A directory that the mounter named.
pub(super) struct Named {
    /// As it was written.
    name: CString,
    pub(super) path: Path,
}

impl Named {
    /// For messages: paths are bytes.
    pub(super) fn shown(&self) -> &BStr {
        shown(&self.name)
    }
}

fn shown(name: &CStr) -> &BStr {
    BStr::from_bytes(name.to_bytes())
}

/// A lower layer that the mounter named.
pub(super) struct Lower {
    pub(super) named: Named,
    pub(super) kind: LayerKind,
}

/// An option that names directories.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `lowerdir`, a whole list.
    LowerList,
    /// `lowerdir+`.
    Lower,
    /// `datadir+`.
    Data,
    /// `upperdir`.
    Upper,
    /// `workdir`.
    Work,
}

impl Role {
    /// The option of this name.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"lowerdir" => Self::LowerList,
            b"lowerdir+" => Self::Lower,
            b"datadir+" => Self::Data,
            b"upperdir" => Self::Upper,
            b"workdir" => Self::Work,
            _ => return None,
        })
    }

    fn option(self) -> &'static str {
        match self {
            Self::LowerList => "lowerdir",
            Self::Lower => "lowerdir+",
            Self::Data => "datadir+",
            Self::Upper => "upperdir",
            Self::Work => "workdir",
        }
    }

    /// Whether it will be written to.
    fn is_written(self) -> bool {
        matches!(self, Self::Upper | Self::Work)
    }

    /// Whether a backslash escapes in its value.
    fn has_escapes(self) -> bool {
        !matches!(self, Self::Lower | Self::Data)
    }
}

/// The directories that were named so far.
#[derive(Default)]
pub(super) struct Directories {
    /// The value of `lowerdir`.
    list: Option<CString>,
    pub(super) lower: KVVec<Lower>,
    pub(super) upper: Option<Named>,
    pub(super) work: Option<Named>,
    /// Whether names in the first directory of all are compared without regard to case.
    casefolded: Option<bool>,
}

impl Directories {
    /// Takes one option.
    ///
    /// # Errors
    ///
    /// `EINVAL` and the errors of a path walk, with the reason in the log.
    pub(super) fn set(&mut self, log: &Log<'_>, role: Role, value: Value<'_>) -> Result {
        match (role, value) {
            (Role::LowerList, Value::String(value)) => self.set_list(log, value),
            (_, Value::String(value)) if !value.is_empty() => {
                let path = resolve(log, role, value.to_bytes())?;
                let name = CString::try_from(value)?;
                self.add(log, role, Named { name, path })
            }
            (Role::Lower | Role::Data | Role::Upper | Role::Work, Value::File(path)) => {
                let name = path.name()?;
                self.add(log, role, Named { name, path })
            }
            _ => Err(log.refuse(fmt!("Bad value for '{}'", role.option()))),
        }
    }

    /// Takes a whole list of lower layers, and forgets those that came before.
    ///
    /// Layers that come before one that is refused stay, as in overlayfs.
    fn set_list(&mut self, log: &Log<'_>, value: &CStr) -> Result {
        self.list = None;
        self.lower.clear();
        if value.is_empty() {
            return Ok(());
        }
        if !value.to_bytes().starts_with(b":") {
            self.list = Some(CString::try_from(value)?);
        }
        for entry in lowerdir::Split::new(value.to_bytes()) {
            let entry = entry.map_err(|error| log.refuse(fmt!("lowerdir: {}", error.reason())))?;
            let path = resolve(log, Role::LowerList, entry.raw)?;
            let name = CString::try_from_fmt(fmt!("{}", BStr::from_bytes(entry.raw)))?;
            let named = Named { name, path };
            self.check(log, Role::LowerList, &named)?;
            let kind = entry.kind;
            self.lower.push(Lower { named, kind }, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// Adds one directory.
    fn add(&mut self, log: &Log<'_>, role: Role, named: Named) -> Result {
        self.check(log, role, &named)?;
        let kind = match role {
            Role::Upper => {
                self.upper = Some(named);
                return Ok(());
            }
            Role::Work => {
                self.work = Some(named);
                return Ok(());
            }
            Role::Data => LayerKind::DataOnly,
            Role::LowerList | Role::Lower => LayerKind::Merged,
        };
        Ok(self.lower.push(Lower { named, kind }, GFP_KERNEL_ACCOUNT)?)
    }

    /// Checks what kind of directory it is, and whether it may come now.
    /// (C: `ovl_mount_dir_check`.)
    fn check(&mut self, log: &Log<'_>, role: Role, named: &Named) -> Result {
        let (option, name) = (role.option(), named.shown());
        let dentry = named.path.dentry();
        if !dentry.inode().is_some_and(|inode| inode.is_directory()) {
            return Err(log.refuse(fmt!("{option}: {name} is not a directory")));
        }
        let casefolded = dentry.is_casefolded();
        if *self.casefolded.get_or_insert(casefolded) != casefolded {
            let kind = if casefolded { "in" } else { "" };
            return Err(log.refuse(fmt!(
                "{option}: case-{kind}sensitive directory on {name} is inconsistent"
            )));
        }
        if dentry.is_weird() {
            return Err(log.refuse(fmt!("{option}: filesystem on {name} is not supported")));
        }
        if role.is_written() {
            return check_writable(log, role, named);
        }
        self.check_order(log, role)
    }

    /// Checks whether one more lower layer may come (E5).
    fn check_order(&self, log: &Log<'_>, role: Role) -> Result {
        let option = role.option();
        if self.list.is_some() && role != Role::LowerList {
            return Err(log.refuse(fmt!(
                "{option}: lowerdir+ and datadir+ cannot follow lowerdir"
            )));
        }
        if role == Role::Lower && self.has_data_only() {
            return Err(log.refuse(fmt!(
                "{option}: regular lower layers cannot follow data layers"
            )));
        }
        if self.lower.len() >= MAX_LAYERS {
            return Err(log.refuse(fmt!(
                "{option}: too many lower directories, limit is {MAX_LAYERS}"
            )));
        }
        Ok(())
    }

    /// Whether there are layers of which only the data of files is used.
    pub(super) fn has_data_only(&self) -> bool {
        let mut lower = self.lower.iter();
        lower.any(|lower| lower.kind == LayerKind::DataOnly)
    }

    /// What the mount is shown with, from now on.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn take_paths(&mut self) -> Result<Paths> {
        let lower = match self.list.take() {
            Some(list) => LowerPaths::List(list),
            None => {
                let mut names = KVVec::with_capacity(self.lower.len(), GFP_KERNEL)?;
                for lower in core::mem::take(&mut self.lower) {
                    names.push(lower.named.name, GFP_KERNEL)?;
                }
                LowerPaths::Each(names)
            }
        };
        let upper = match (self.upper.take(), self.work.take()) {
            (Some(upper), Some(work)) => Some(UpperPaths {
                upperdir: upper.name,
                workdir: work.name,
            }),
            _ => None,
        };
        Ok(Paths { lower, upper })
    }
}

/// Checks that the directory can be written to (E4). It is checked again when the overlay is mounted, but
/// it is better to say so early.
fn check_writable(log: &Log<'_>, role: Role, named: &Named) -> Result {
    let (option, name) = (role.option(), named.shown());
    if named.path.dentry().is_stacked() {
        return Err(log.refuse(fmt!(
            "{option}: filesystem on {name} is stacked itself, not supported as upperdir"
        )));
    }
    if named.path.mount().is_read_only() {
        return Err(log.refuse(fmt!("{option}: filesystem on {name} is read-only")));
    }
    Ok(())
}

/// Finds the directory (E2).
fn resolve(log: &Log<'_>, role: Role, written: &[u8]) -> Result<Path> {
    let mut buffer = KVVec::from_elem(0u8, written.len().saturating_add(1), GFP_KERNEL)?;
    let len = if role.has_escapes() {
        lowerdir::unescape(written, &mut buffer)
            .ok_or(EINVAL)?
            .len()
    } else {
        for (to, from) in buffer.iter_mut().zip(written) {
            *to = *from;
        }
        written.len()
    };
    buffer.truncate(len.saturating_add(1));
    let name = CStr::from_bytes_with_nul(&buffer).map_err(|_| EINVAL)?;
    let option = role.option();
    if name.is_empty() {
        return Err(log.refuse(fmt!("{option}: the path is empty")));
    }
    Path::resolve(name).inspect_err(|error| {
        log.refuse(fmt!(
            "{option}: failed to resolve {} ({})",
            shown(name),
            Errno(*error)
        ));
    })
}
