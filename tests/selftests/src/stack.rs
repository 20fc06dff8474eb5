// SPDX-License-Identifier: GPL-2.0-only

//! Layers that are mounted again and again, by the module under test and by the other one.

use std::path::PathBuf;

use crate::check::Context;
use crate::check::Failure;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::fixture::Mounted;
use crate::fixture::Options;
use crate::layer::Layer;

/// An upper layer with its work directory, over lower layers.
pub struct Stack<'a> {
    fx: &'a Fixture,
    pub upper: Layer,
    work: Layer,
    options: Options,
}

impl<'a> Stack<'a> {
    /// An upper layer of the name `upper` over these, the topmost first.
    pub fn new(fx: &'a Fixture, lowers: &[&Layer]) -> Result<Self> {
        Self::with(fx, lowers, Options::new())
    }

    /// The same, to be mounted with these options as well.
    pub fn with(fx: &'a Fixture, lowers: &[&Layer], options: Options) -> Result<Self> {
        let (upper, work) = (fx.layer("upper")?, fx.layer("work")?);
        let options = options.lowers(lowers).upper(&upper, &work);
        Ok(Stack {
            fx,
            upper,
            work,
            options,
        })
    }

    /// Mounts it with the type under test.
    #[track_caller]
    pub fn mount(&self) -> Result<Mounted> {
        let mounted = self.fx.mount(&self.options);
        mounted.context("mount upper and lower layers")
    }

    /// What lies in the work directory.
    pub fn work(&self) -> PathBuf {
        self.work.join("work")
    }

    /// Checks that something holds now, and that it still does when the layers are mounted anew, by the
    /// same module and by the other one if that is here.
    pub fn stays(&self, ov: Mounted, holds: impl Fn(&Mounted) -> Result) -> Result {
        holds(&ov)?;
        self.fx.unmount(ov.path()).context("unmount")?;
        let types = self.fx.module().both_types();
        for fs_type in &types {
            let told = |failure| match failure {
                Failure::Failed { message, place } => Failure::Failed {
                    message: format!("mounted again with type {fs_type}: {message}"),
                    place,
                },
                skipped => skipped,
            };
            let ov = self.fx.mount_type(fs_type, &self.options);
            let ov = ov.context(format_args!("mount with type {fs_type}"))?;
            holds(&ov).map_err(told)?;
            self.fx.unmount(ov.path()).context("unmount again")?;
        }
        Ok(())
    }
}
