// SPDX-License-Identifier: GPL-2.0-only

//! The steps by which named directories become the layers of an overlay.
//!
//! Their order is that of `ovl_fill_super_creds` in
//! [`fs/overlayfs/super.c`](srctree/fs/overlayfs/super.c), so that of several reasons to refuse a mount
//! the same one is given.

#![forbid(unsafe_code)]

use kernel::{
    cred::Credential,
    prelude::*, //
};

use super::{
    checks::{
        self,
        Within, //
    },
    layers::{
        Directories,
        Lower,
        Named, //
    },
};
use crate::{
    model::{
        names::Namespace,
        options::{
            fallback::Fallback,
            Fsync,
            Options, //
        },
    },
    overlay::{
        casefold::{
            self,
            Unfit, //
        },
        fs::{
            Overlay,
            Parts, //
        },
        identity::{
            self,
            Id, //
        },
        layer::{
            Lack,
            Layers, //
        },
        probe::Probe,
        trap::Traps,
        workdir::{
            Preparation,
            Prepared,
            WorkDir, //
        },
    },
    vfs::{
        context::{
            Errno,
            Log, //
        },
        cred::Override,
        dentry::Dentry,
        exclusive::ExclusiveUse,
        mount::PrivateMount,
        superblock::{
            NewSuperBlock,
            MAX_STACK_DEPTH, //
        },
        AnyFs, //
    },
};

/// An overlay in the making.
///
/// The mounts in `layers` keep the filesystems alive, so they come last of what holds on to those.
pub(super) struct Build<'a> {
    log: &'a Log<'a>,
    mounter: &'a Credential,
    directories: &'a Directories,
    options: Options,
    namespace: Namespace,
    traps: Traps,
    id: Option<Id>,
    upper_use: Option<ExclusiveUse>,
    work: Option<WorkDir>,
    layers: Layers,
}

impl<'a> Build<'a> {
    /// Begins with nothing. The mounter's credentials are in force.
    pub(super) fn new(
        log: &'a Log<'a>,
        mounter: &'a Credential,
        directories: &'a Directories,
        options: Options,
    ) -> Result<Self> {
        let namespace = if options.userxattr {
            Namespace::User
        } else {
            Namespace::Trusted
        };
        // Beside the lower layers there are upper, and the work directory with its base.
        let traps = Traps::with_capacity(directories.lower.len().saturating_add(3))?;
        Ok(Self {
            log,
            mounter,
            directories,
            options,
            namespace,
            traps,
            id: None,
            upper_use: None,
            work: None,
            layers: Layers::new(None)?,
        })
    }

    /// Takes upper and its work directory, if there are such.
    pub(super) fn take_upper(&mut self) -> Result {
        let directories = self.directories;
        let Some(upper) = &directories.upper else {
            return Ok(());
        };
        let Some(work) = &directories.work else {
            return Err(self
                .log
                .refuse(fmt!("workdir: missing, upperdir needs one")));
        };
        self.clone_upper(upper)?;
        if self.options.fsync == Fsync::Volatile
            && upper.path.mount().superblock().has_unseen_write_error()
        {
            self.log.refuse(fmt!(
                "upperdir: cannot mount volatile when {} has an unseen error, \
                 sync its filesystem to clear it",
                upper.shown()
            ));
            return Err(EIO);
        }
        checks::work_beside_upper(self.log, upper, work)?;
        self.take_work(work)
    }

    /// Makes upper a layer. (C: `ovl_get_upper`.)
    fn clone_upper(&mut self, upper: &Named) -> Result {
        let log = self.log;
        // It was checked when the option came, but may have changed since.
        if upper.path.mount().is_read_only() {
            return Err(log.refuse(fmt!(
                "upperdir: {} is read-only, mount lower layers alone",
                upper.shown()
            )));
        }
        let name_length = self.name_length("upperdir", upper)?;
        let dentry = upper.path.dentry();
        checks::trap(log, &mut self.traps, "upperdir", upper.shown(), dentry)?;
        let mut mount = clone(log, "upperdir", upper)?;
        mount.forget_atime_flags();
        self.layers = Layers::new(Some(mount))?;
        self.layers.admit_name_length(name_length);
        self.upper_use = ExclusiveUse::try_take(dentry);
        if self.upper_use.is_none() {
            checks::report_in_use(log, &self.options, "upperdir", upper.shown())?;
        }
        Ok(())
    }

    /// Takes and prepares the work directory. (C: `ovl_get_workdir`.)
    fn take_work(&mut self, work: &Named) -> Result {
        let base = work.path.dentry();
        let exclusive = ExclusiveUse::try_take(base);
        if exclusive.is_none() {
            checks::report_in_use(self.log, &self.options, "workdir", work.shown())?;
        }
        checks::trap(self.log, &mut self.traps, "workdir", work.shown(), base)?;
        let prepared = self.prepare_work(work, base)?;
        self.work = Some(WorkDir::new(prepared, base, exclusive));
        Ok(())
    }

    /// Makes the directory to work in, and tries in it what upper can do.
    /// (C: `ovl_make_workdir`.)
    fn prepare_work(&mut self, work: &Named, base: &Dentry<AnyFs>) -> Result<Option<Prepared>> {
        let log = self.log;
        let upper = self.layers.top()?;
        let access = upper.mount().want_write().inspect_err(|error| {
            log.refuse(fmt!(
                "workdir: cannot write to {} ({})",
                work.shown(),
                Errno(*error)
            ));
        })?;
        let preparation = Preparation {
            log,
            name: work.shown(),
            base,
            access: &access,
            mounter: self.mounter,
        };
        let Some(dir) = preparation.make()? else {
            return Ok(None);
        };
        checks::trap(log, &mut self.traps, "workdir", work.shown(), &dir)?;
        let probe = Probe {
            log,
            name: work.shown(),
            base,
            work: &dir,
            access: &access,
            mounter: self.mounter,
            namespace: self.namespace,
        };
        let abilities = probe.run(&mut self.options)?;
        if self.options.fsync == Fsync::Volatile {
            preparation.mark_volatile(&dir).inspect_err(|error| {
                log.refuse(fmt!(
                    "workdir: failed to mark {} volatile ({})",
                    work.shown(),
                    Errno(*error)
                ));
            })?;
        }
        probe.check_handles(&mut self.options);
        Ok(Some(Prepared { dir, abilities }))
    }

    /// Makes the lower directories layers. (C: `ovl_get_lowerstack`.)
    pub(super) fn take_lower(&mut self) -> Result {
        let directories = self.directories;
        if directories.upper.is_none() && directories.lower.len() == 1 {
            return Err(self.log.refuse(fmt!(
                "lowerdir: at least two are needed while there is no upperdir"
            )));
        }
        for lower in &directories.lower {
            let name_length = self.name_length("lowerdir", &lower.named)?;
            self.layers.admit_name_length(name_length);
            self.check_handles(&lower.named);
        }
        self.check_depth()?;
        if let Some(upper) = &directories.upper {
            self.check_case("upperdir", upper)?;
        }
        for lower in &directories.lower {
            self.add_lower(lower)?;
        }
        Ok(())
    }

    /// Makes one lower directory a layer.
    fn add_lower(&mut self, lower: &Lower) -> Result {
        let log = self.log;
        let named = &lower.named;
        let (name, dentry) = (named.shown(), named.path.dentry());
        checks::trap(log, &mut self.traps, "lowerdir", name, dentry)?;
        if dentry.is_in_exclusive_use() {
            checks::report_in_use(log, &self.options, "lowerdir", name)?;
        }
        let mut mount = clone(log, "lowerdir", named)?;
        mount.make_read_only();
        self.layers
            .add_lower(mount, &mut self.options, &mut |lack, fallback| {
                warn_of(log, named, lack, fallback)
            })?;
        self.check_case("lowerdir", named)
    }

    /// The last steps, when all layers are there.
    pub(super) fn finish(&mut self) -> Result {
        if let Some(upper) = self.layers.upper() {
            self.id = identity::establish(self.log, &mut self.options, self.namespace, upper);
        }
        self.check_overlap()?;
        let log = self.log;
        let mut warn = |fallback: Fallback| log.warn(fmt!("{}", fallback.text()));
        match &self.work {
            None => self.options.without_upper(),
            Some(work) if work.is_missing() => self.options.without_workdir(&mut warn),
            Some(_) => (),
        }
        self.options.layers_ready(&mut warn);
        Ok(())
    }

    /// Checks that no directory is in another (E20), or in use by another overlay (E10).
    /// (C: `ovl_check_overlapping_layers`.)
    fn check_overlap(&self) -> Result {
        let check = |within: Within, option: &str, named: &Named| {
            checks::ancestors(
                self.log,
                &self.traps,
                &self.options,
                within,
                (option, named.shown()),
                named.path.dentry(),
            )
        };
        if let (Some(upper), Some(work)) = (&self.directories.upper, &self.directories.work) {
            check(Within::OtherUppers, "upperdir", upper)?;
            check(Within::OtherUppers, "workdir", work)?;
        }
        for lower in &self.directories.lower {
            check(Within::AnyLayer, "lowerdir", &lower.named)?;
        }
        Ok(())
    }

    /// How long names can be in this layer (E8).
    fn name_length(&self, option: &str, named: &Named) -> Result<u64> {
        let stat = named.path.borrow().statfs().inspect_err(|error| {
            self.log.refuse(fmt!(
                "{option}: statfs failed on {} ({})",
                named.shown(),
                Errno(*error)
            ));
        })?;
        Ok(stat.name_length())
    }

    /// Switches off what needs file handles, if this lower layer has none.
    fn check_handles(&mut self, named: &Named) {
        let log = self.log;
        let sb = named.path.mount().superblock();
        self.layers
            .check_handles(sb, &mut self.options, &mut |fallback| {
                warn_of(log, named, Lack::Handles, fallback)
            });
    }

    /// Whether all layers can give out file handles.
    pub(super) fn has_handles(&self) -> bool {
        self.layers.have_handles()
    }

    /// The layers with the options that named them, the topmost first.
    fn named(&self) -> impl Iterator<Item = (&'static str, &Named)> {
        let upper = self.directories.upper.iter();
        let lower = self.directories.lower.iter();
        Iterator::chain(
            upper.map(|named| ("upperdir", named)),
            lower.map(|lower| ("lowerdir", &lower.named)),
        )
    }

    /// How deep the new filesystem is stacked.
    pub(super) fn depth(&self) -> u32 {
        let deepest = self.named().map(|(_, named)| depth_of(named)).max();
        deepest.unwrap_or(0).saturating_add(1)
    }

    /// Refuses a layer that has as many filesystems below it as there may be (E16).
    fn check_depth(&self) -> Result {
        let deepest = self.named().max_by_key(|(_, named)| depth_of(named));
        match deepest {
            Some((option, named)) if self.depth() > MAX_STACK_DEPTH => Err(self.log.refuse(fmt!(
                "{option}: maximum fs stacking depth exceeded by {}",
                named.shown()
            ))),
            _ => Ok(()),
        }
    }

    /// Checks that the last layer, which was named so, folds names as the topmost one does (E17).
    fn check_case(&self, option: &str, named: &Named) -> Result {
        let refuse = |why: &str| self.log.refuse(fmt!("{option}: {} {why}", named.shown()));
        casefold::check_last(&self.layers).map_err(|unfit| match unfit {
            Unfit::Strict => refuse("has a strict encoding, which is not supported"),
            Unfit::Differs => refuse("must have the same encoding as the other layers"),
            Unfit::Other(error) => error,
        })
    }

    /// Lets the superblock take over what it has in common with its layers.
    pub(super) fn inherit(&self, sb: &mut NewSuperBlock<'_, Overlay>) -> Result {
        let work = self.work.as_ref();
        if work.is_none_or(WorkDir::is_missing) {
            sb.make_read_only();
        }
        if let Some(upper) = self.layers.upper() {
            let upper = upper.mount().superblock();
            sb.set_time_granularity(upper.time_granularity());
            if upper.flags_missing_security() {
                sb.flag_missing_security();
            }
        }
        if let Some(id) = &self.id {
            sb.set_uuid(id);
        }
        casefold::adopt(sb, &self.layers)
    }

    /// What the overlay will be made of.
    pub(super) fn into_parts(self) -> Parts {
        Parts {
            work: self.work,
            upper_use: self.upper_use,
            traps: self.traps,
            layers: self.layers,
            options: self.options,
            id: self.id,
        }
    }
}

/// How deep the filesystem of a layer is stacked.
fn depth_of(named: &Named) -> u32 {
    named.path.mount().superblock().stack_depth()
}

/// Says that an option was switched off, as the filesystem of a layer cannot do what it takes.
fn warn_of(log: &Log<'_>, layer: &Named, lack: Lack, fallback: Fallback) {
    log.warn(fmt!(
        "lowerdir: {}: {}, {}",
        layer.shown(),
        lack.text(),
        fallback.text()
    ));
}

/// Makes a mount of our own of the directory.
///
/// The right to do so is that of the task which mounts, whatever credentials are in force.
fn clone(log: &Log<'_>, option: &str, named: &Named) -> Result<PrivateMount> {
    let _creds = Override::enter_task_own();
    PrivateMount::clone_of(&named.path).inspect_err(|error| {
        log.refuse(fmt!(
            "{option}: failed to clone the mount of {} ({})",
            named.shown(),
            Errno(*error)
        ));
    })
}
