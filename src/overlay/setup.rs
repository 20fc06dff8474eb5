// SPDX-License-Identifier: GPL-2.0-only

//! Mounting: from options to layers to a superblock.
//!
//! See M1 to M5 and E1 to E20 of the behaviour of overlayfs,
//! [`fs/overlayfs/params.c`](srctree/fs/overlayfs/params.c) and
//! [`super.c`](srctree/fs/overlayfs/super.c). Each refusal says why in the log of the mount.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    str::CString, //
};

use super::{
    casefold,
    fs::{
        Instance,
        Overlay,
        Paths,
        UpperPaths, //
    },
    layer::{
        Lack,
        Layers, //
    },
    lookup,
    revalidate, //
};
use crate::{
    model::{
        lowerdir::{
            self,
            LayerKind, //
        },
        options::{
            self,
            fallback::Fallback,
            resolve,
            Defaults,
            Requested, //
        },
    },
    vfs::{
        context::{
            Log,
            Param,
            ParamError,
            Value, //
        },
        cred::{
            NewCredential,
            Override, //
        },
        mount::PrivateMount,
        path::Path,
        superblock::{
            NewSuperBlock,
            MAX_STACK_DEPTH, //
        },
    },
};

/// A directory that the mounter named.
struct Named {
    /// As it was written.
    name: CString,
    path: Path,
}

/// The options of a mount, as they come in.
#[derive(Default)]
pub(crate) struct Options {
    lowerdir: Option<CString>,
    lower: KVVec<Named>,
    upper: Option<Named>,
    work: Option<Named>,
}

/// What a directory is to be used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Lower,
    Upper,
    Work,
}

impl Role {
    fn option(self) -> &'static str {
        match self {
            Self::Lower => "lowerdir",
            Self::Upper => "upperdir",
            Self::Work => "workdir",
        }
    }
}

impl Options {
    /// Takes one option.
    ///
    /// # Errors
    ///
    /// [`ParamError::Unknown`] for an option that does not exist, or is not implemented; `EINVAL` and the
    /// errors of a path walk, with the reason in the log.
    pub(crate) fn set(&mut self, log: &Log<'_>, param: &Param<'_>) -> Result<(), ParamError> {
        let role = match param.key().to_bytes() {
            b"lowerdir" => Role::Lower,
            b"upperdir" => Role::Upper,
            b"workdir" => Role::Work,
            _ => return Err(ParamError::Unknown),
        };
        let Value::String(value) = param.value() else {
            return Err(log
                .refuse(fmt!("{}: needs a path as its value", role.option()))
                .into());
        };
        match role {
            Role::Lower => self.set_lowerdir(log, value)?,
            Role::Upper => self.upper = Some(resolve(log, role, value.to_bytes())?),
            Role::Work => self.work = Some(resolve(log, role, value.to_bytes())?),
        }
        Ok(())
    }

    /// Takes a whole list of lower layers, and forgets those that came before.
    fn set_lowerdir(&mut self, log: &Log<'_>, value: &CStr) -> Result {
        self.lowerdir = None;
        self.lower.clear();
        if value.is_empty() {
            return Ok(());
        }
        self.lowerdir = Some(CString::try_from(value)?);
        for entry in lowerdir::Split::new(value.to_bytes()) {
            let entry = entry.map_err(|error| log.refuse(fmt!("{}", error.reason())))?;
            if entry.kind == LayerKind::DataOnly {
                return Err(log.refuse(fmt!("lowerdir: data-only layers are not supported yet")));
            }
            let named = resolve(log, Role::Lower, entry.raw)?;
            self.lower.push(named, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Makes the superblock.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a combination of layers that cannot be mounted, and what the layers' filesystems say.
    pub(crate) fn mount(&mut self, log: &Log<'_>, mut sb: NewSuperBlock<'_, Overlay>) -> Result {
        let mounter = NewCredential::prepare()?;
        self.check_presence(log)?;
        let upper = self.upper_mount(log)?;
        let depth = self.stack_depth(log)?;
        // TODO: These are the defaults; none of the options is taken yet.
        let facts = resolve::Facts {
            upper: self.upper.is_some(),
            workdir: self.work.is_some(),
            data_only: false,
            capable: true,
        };
        let options = Requested::new(&Defaults::LOADED).resolve(&facts, &mut |_| ());
        let mut options = options.map_err(|_| EINVAL)?;
        let layers = self.layers(log, upper, &mut options)?;
        let paths = self.take_paths()?;

        let mut mounter = mounter;
        mounter.drop_sys_resource();
        let granularity = layers
            .upper()
            .map(|upper| upper.mount().superblock().time_granularity());
        casefold::adopt(log, &mut sb, &layers)?;
        let has_handles = layers.have_handles();
        let instance = Instance::new(layers, paths, options, mounter.freeze())?;
        let mut sb = sb.with_data(KBox::new(instance, GFP_KERNEL)?, depth);
        // TODO: Upper is only looked at so far. Until it is written to, no overlay can be changed.
        sb.make_read_only();
        if has_handles {
            sb.encode_handles();
        }
        if let Some(granularity) = granularity {
            sb.set_time_granularity(granularity);
        }
        let root = {
            let instance = sb.data();
            let _creds = instance.as_mounter();
            lookup::root(&sb)?
        };
        let wish = revalidate::wish(root.node());
        sb.set_root(root, wish)
    }

    /// Checks that all that is needed was named (E7, E16).
    fn check_presence(&self, log: &Log<'_>) -> Result {
        if self.lower.is_empty() {
            return Err(log.refuse(fmt!("lowerdir: missing, at least one is needed")));
        }
        if self.upper.is_some() && self.work.is_none() {
            return Err(log.refuse(fmt!("workdir: missing, upperdir needs one")));
        }
        Ok(())
    }

    /// Checks the upper and work directories, and clones the mount of upper (E8, E12).
    fn upper_mount(&self, log: &Log<'_>) -> Result<Option<PrivateMount>> {
        let (Some(upper), Some(work)) = (&self.upper, &self.work) else {
            return Ok(None);
        };
        // It was checked when the option came, but may have changed since.
        if upper.path.mount().is_read_only() {
            return Err(log.refuse(fmt!("upperdir: {} is read-only", shown(&upper.name))));
        }
        let mut mount = clone(log, Role::Upper, upper)?;
        mount.forget_atime_flags();
        if !upper.path.mount().is(work.path.mount()) {
            return Err(log.refuse(fmt!(
                "workdir: {} and upperdir must be on the same mount",
                shown(&work.name)
            )));
        }
        let (upper, work_dentry) = (upper.path.dentry(), work.path.dentry());
        if upper.is_below(work_dentry) || work_dentry.is_below(upper) {
            return Err(log.refuse(fmt!(
                "workdir: {} and upperdir must be separate subtrees",
                shown(&work.name)
            )));
        }
        Ok(Some(mount))
    }

    /// How deep the new filesystem is stacked (E16).
    fn stack_depth(&self, log: &Log<'_>) -> Result<u32> {
        if self.upper.is_none() && self.lower.len() == 1 {
            return Err(log.refuse(fmt!(
                "lowerdir: at least two are needed while there is no upperdir"
            )));
        }
        let all = Iterator::chain(self.upper.iter(), self.lower.iter());
        let deepest = all
            .map(|named| named.path.mount().superblock().stack_depth())
            .max();
        let depth = deepest.unwrap_or(0).saturating_add(1);
        if depth > MAX_STACK_DEPTH {
            return Err(log.refuse(fmt!("lowerdir: maximum fs stacking depth exceeded")));
        }
        Ok(depth)
    }

    /// Clones the mounts of all layers.
    fn layers(
        &self,
        log: &Log<'_>,
        upper: Option<PrivateMount>,
        options: &mut options::Options,
    ) -> Result<Layers> {
        let mut layers = Layers::new(upper)?;
        let upper = self.upper.iter().map(|named| (Role::Upper, named));
        let lower = self.lower.iter().map(|named| (Role::Lower, named));
        for (role, named) in Iterator::chain(upper, lower) {
            let stat = named.path.borrow().statfs().inspect_err(|error| {
                log.refuse(fmt!(
                    "{}: statfs failed on {}: {:?}",
                    role.option(),
                    shown(&named.name),
                    error
                ));
            })?;
            layers.admit_name_length(stat.name_length());
            if role == Role::Lower {
                let sb = named.path.mount().superblock();
                layers.check_handles(sb, options, &mut |fallback| {
                    warn_of(named, Lack::Handles, fallback)
                });
            }
        }
        for named in &self.lower {
            let mut mount = clone(log, Role::Lower, named)?;
            mount.make_read_only();
            layers.add_lower(mount, options, &mut |lack, fallback| {
                warn_of(named, lack, fallback)
            })?;
        }
        Ok(layers)
    }

    /// What the mount is shown with, from now on.
    fn take_paths(&mut self) -> Result<Paths> {
        let upper = match (self.upper.take(), self.work.take()) {
            (Some(upper), Some(work)) => Some(UpperPaths {
                upperdir: upper.name,
                workdir: work.name,
            }),
            _ => None,
        };
        Ok(Paths {
            lowerdir: self.lowerdir.take().ok_or(EINVAL)?,
            upper,
        })
    }
}

/// Says that an option was switched off, as the filesystem of a layer cannot do what it takes.
fn warn_of(layer: &Named, lack: Lack, fallback: Fallback) {
    pr_warn!(
        "lowerdir: {}: {}, {}\n",
        shown(&layer.name),
        lack.text(),
        fallback.text()
    );
}

/// For messages: paths are bytes.
fn shown(name: &CStr) -> &kernel::str::BStr {
    kernel::str::BStr::from_bytes(name.to_bytes())
}

/// Finds the directory, whose name may have escapes, and checks that it can be a layer (E2 to E4).
fn resolve(log: &Log<'_>, role: Role, escaped: &[u8]) -> Result<Named> {
    let mut name = KVVec::from_elem(0u8, escaped.len().saturating_add(1), GFP_KERNEL)?;
    let len = lowerdir::unescape(escaped, &mut name).ok_or(EINVAL)?.len();
    name.truncate(len.saturating_add(1));
    let plain = CStr::from_bytes_with_nul(&name).map_err(|_| EINVAL)?;
    if plain.is_empty() {
        return Err(log.refuse(fmt!("{}: the path is empty", role.option())));
    }
    let path = Path::resolve(plain).inspect_err(|error| {
        log.refuse(fmt!(
            "{}: failed to resolve {}: {:?}",
            role.option(),
            shown(plain),
            error
        ));
    })?;
    check_directory(log, role, plain, &path)?;
    let mut written = KVVec::with_capacity(escaped.len().saturating_add(1), GFP_KERNEL)?;
    written.extend_from_slice(escaped, GFP_KERNEL)?;
    written.push(0, GFP_KERNEL)?;
    let written = CStr::from_bytes_with_nul(&written).map_err(|_| EINVAL)?;
    Ok(Named {
        name: CString::try_from(written)?,
        path,
    })
}

/// Checks what kind of directory it is. (C: `ovl_mount_dir_check`.)
fn check_directory(log: &Log<'_>, role: Role, name: &CStr, path: &Path) -> Result {
    let option = role.option();
    let name = shown(name);
    let dentry = path.dentry();
    if !dentry.inode().is_some_and(|inode| inode.is_directory()) {
        return Err(log.refuse(fmt!("{option}: {name} is not a directory")));
    }
    if dentry.is_weird() {
        return Err(log.refuse(fmt!("{option}: filesystem on {name} is not supported")));
    }
    if role == Role::Lower {
        return Ok(());
    }
    if dentry.is_stacked() {
        return Err(log.refuse(fmt!(
            "{option}: filesystem on {name} is stacked itself, not supported as upperdir"
        )));
    }
    if path.mount().is_read_only() {
        return Err(log.refuse(fmt!("{option}: filesystem on {name} is read-only")));
    }
    Ok(())
}

/// Makes a mount of our own of the directory.
///
/// The right to do so is that of the task which mounts, whatever credentials are in force.
fn clone(log: &Log<'_>, role: Role, named: &Named) -> Result<PrivateMount> {
    let _creds = Override::enter_task_own();
    PrivateMount::clone_of(&named.path).inspect_err(|error| {
        log.refuse(fmt!(
            "{}: failed to clone the mount of {}: {:?}",
            role.option(),
            shown(&named.name),
            error
        ));
    })
}
