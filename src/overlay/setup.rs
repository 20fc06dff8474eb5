// SPDX-License-Identifier: GPL-2.0-only

//! Mounting: from options to layers to a superblock.
//!
//! See 1.1 to 1.6 of the behaviour of overlayfs, [`fs/overlayfs/params.c`](srctree/fs/overlayfs/params.c)
//! and [`super.c`](srctree/fs/overlayfs/super.c). Each refusal says why in the log of the mount.
//!
//! Here are the options as they come in, and the frame of mounting. The options that name directories are
//! in `layers`; the steps by which directories become layers are in `build`, what is checked of them in
//! `checks`.

#![forbid(unsafe_code)]

mod build;
mod checks;
mod layers;

use kernel::{
    cred::Credential,
    prelude::*,
    str::BStr,
    sync::aref::ARef, //
};

use self::{
    build::Build,
    layers::{
        Directories,
        Role, //
    }, //
};
use super::{
    fs::{
        Instance,
        Overlay, //
    },
    lookup,
    options::{
        defaults,
        unsupported, //
    },
    revalidate,
};
use crate::{
    model::options::{
        self,
        resolve::{
            Class,
            Facts,
            Note, //
        },
        Requested,
        ValueError, //
    },
    vfs::{
        context::{
            Log,
            Param,
            ParamError,
            Value, //
        },
        cred::{
            Capability,
            NewCredential,
            Override, //
        },
        superblock::NewSuperBlock,
    },
};

/// The options of a mount, as they come in.
pub(crate) struct Options {
    directories: Directories,
    scalars: Requested,
    /// The credentials to touch the layers with, if they were chosen (M17).
    mounter: Option<ARef<Credential>>,
}

impl Options {
    /// No options yet. The defaults are those of now.
    pub(crate) fn new() -> Self {
        Self {
            directories: Directories::default(),
            scalars: Requested::new(&defaults()),
            mounter: None,
        }
    }

    /// Takes one option.
    ///
    /// # Errors
    ///
    /// [`ParamError::Unknown`] for an option that does not exist; `EINVAL` and the errors of a path walk,
    /// with the reason in the log.
    pub(crate) fn set(&mut self, log: &Log<'_>, param: &Param<'_>) -> Result<(), ParamError> {
        let key = param.key().to_bytes();
        let value = param.value();
        if let Some(role) = Role::of(key) {
            return Ok(self.directories.set(log, role, value)?);
        }
        match (key, &value) {
            (b"override_creds", Value::Flag) => return Ok(self.stash_credentials(log, param)?),
            (b"nooverride_creds", Value::Flag) => {
                self.mounter = None;
                return Ok(());
            }
            _ => (),
        }
        let shown = BStr::from_bytes(key);
        let text = match value {
            Value::Flag => None,
            Value::String(text) => Some(text.to_bytes()),
            // No option has the empty text among its values.
            Value::File(_) | Value::Other => Some(&[][..]),
        };
        let result = match key {
            b"override_creds" => Some(Err(ValueError::Unexpected)),
            _ => self.scalars.set(key, text, &defaults()),
        };
        match result {
            None => Err(ParamError::Unknown),
            Some(Ok(())) => Ok(()),
            Some(Err(ValueError::Bad)) => Err(log.refuse(fmt!("Bad value for '{shown}'")).into()),
            Some(Err(ValueError::Unexpected)) => {
                Err(log.refuse(fmt!("Unexpected value for '{shown}'")).into())
            }
        }
    }

    /// Chooses the credentials of the task that gives the option.
    fn stash_credentials(&mut self, log: &Log<'_>, param: &Param<'_>) -> Result {
        if !param.is_from_inside() {
            return Err(log.refuse(fmt!(
                "override_creds: the user namespace is not that of the mount"
            )));
        }
        self.mounter = Some(NewCredential::prepare()?.freeze());
        Ok(())
    }

    /// Makes the superblock.
    ///
    /// # Errors
    ///
    /// `EINVAL` and `EPERM` for options that do not go together, `EINVAL`, `ELOOP`, `EBUSY` and others for
    /// layers that cannot be mounted so, and what the layers' filesystems say.
    pub(crate) fn mount(&mut self, log: &Log<'_>, mut sb: NewSuperBlock<'_, Overlay>) -> Result {
        let mounter = match self.mounter.take() {
            Some(chosen) => chosen,
            None => NewCredential::prepare()?.freeze(),
        };
        let _creds = Override::enter(&mounter);
        let options = self.resolve(log)?;
        let mut build = Build::new(log, &mounter, &self.directories, options)?;
        build.take_upper()?;
        build.take_lower()?;
        build.finish()?;
        build.inherit(&mut sb)?;
        let depth = build.depth();
        let has_handles = build.has_handles();
        let parts = build.into_parts();

        // Quota and reserved space are not to be overridden once the overlay is in use.
        let mut mounter = NewCredential::prepare()?;
        mounter.drop_sys_resource();
        let instance = Instance::new(parts, self.directories.take_paths()?, mounter.freeze())?;
        let mut sb = sb.with_data(KBox::new(instance, GFP_KERNEL)?, depth);
        if has_handles {
            sb.encode_handles();
        }
        let root = {
            let instance = sb.data();
            let _creds = instance.as_mounter();
            lookup::root(&sb)?
        };
        let wish = revalidate::wish(root.node());
        sb.set_root(root, wish)
    }

    /// Makes the scalar options go together (E6), and checks that all that is needed was named (E7).
    fn resolve(&mut self, log: &Log<'_>) -> Result<options::Options> {
        let directories = &mut self.directories;
        let upper = directories.upper.is_some();
        let facts = Facts {
            upper,
            workdir: directories.work.is_some(),
            data_only: directories.has_data_only(),
            capable: self.scalars.userxattr() || Capability::SysAdmin.is_held(),
        };
        let mut note = |note: Note| log.inform(fmt!("{}", note.text()));
        let options = self
            .scalars
            .resolve(&facts, &mut note)
            .map_err(|conflict| {
                let invalid = log.refuse(fmt!("{}", conflict.reason()));
                match conflict.class() {
                    Class::Invalid => invalid,
                    Class::Permission => EPERM,
                }
            })?;
        if !upper {
            directories.work = None;
        }
        if directories.lower.is_empty() {
            if !log.is_silent() {
                log.refuse(fmt!("lowerdir: missing, at least one is needed"));
            }
            return Err(EINVAL);
        }
        if let Some(option) = unsupported(&options) {
            return Err(log.refuse(fmt!("{option}: not supported yet")));
        }
        if directories.has_data_only() {
            return Err(log.refuse(fmt!("datadir+: data-only layers are not supported yet")));
        }
        Ok(options)
    }
}
