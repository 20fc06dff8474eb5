// SPDX-License-Identifier: GPL-2.0-only

//! Checks of how directories lie to each other, and of who else uses them (E9, E10, E12, E17, E20).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    str::BStr, //
};

use super::layers::Named;
use crate::{
    model::options::Options,
    overlay::trap::Traps,
    vfs::{
        context::Log,
        dentry::Dentry,
        AnyFs, //
    },
};

/// Adds a directory to the traps (E9).
pub(super) fn trap(
    log: &Log<'_>,
    traps: &mut Traps,
    option: &str,
    name: &BStr,
    dentry: &Dentry<AnyFs>,
) -> Result {
    traps.add(dentry).inspect_err(|error| {
        if *error == ELOOP {
            log.refuse(fmt!("{option}: conflicting path {name}, it is used twice"));
        }
    })
}

/// Reports that somebody else uses the directory as upper or work directory. (C: `ovl_report_in_use`.)
///
/// Without an index it is let pass: container engines leak mounts.
pub(super) fn report_in_use(log: &Log<'_>, options: &Options, option: &str, name: &BStr) -> Result {
    if options.index {
        log.refuse(fmt!(
            "{option}: {name} is in-use as upperdir/workdir of another mount, \
             mount with '-o index=off' to override exclusive upperdir protection"
        ));
        return Err(EBUSY);
    }
    log.warn(fmt!(
        "{option}: {name} is in-use as upperdir/workdir of another mount, \
         accessing files from both mounts will result in undefined behavior"
    ));
    Ok(())
}

/// Checks that the work directory can stand beside upper (E12).
pub(super) fn work_beside_upper(log: &Log<'_>, upper: &Named, work: &Named) -> Result {
    if !upper.path.mount().is(work.path.mount()) {
        return Err(log.refuse(fmt!(
            "workdir: {} and upperdir must reside under the same mount",
            work.shown()
        )));
    }
    let (upper_dentry, work_dentry) = (upper.path.dentry(), work.path.dentry());
    if upper_dentry.is_below(work_dentry) || work_dentry.is_below(upper_dentry) {
        return Err(log.refuse(fmt!(
            "workdir: {} and upperdir must be separate subtrees",
            work.shown()
        )));
    }
    Ok(())
}

/// Which layers a directory must not be in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// None of this overlay (E20), and no upper or work directory of another (E10).
    AnyLayer,
    /// No upper or work directory of another overlay.
    OtherUppers,
}

/// Checks in what the directory is. (C: `ovl_check_layer`.)
pub(super) fn ancestors(
    log: &Log<'_>,
    traps: &Traps,
    options: &Options,
    within: Within,
    (option, name): (&str, &BStr),
    dentry: &Dentry<AnyFs>,
) -> Result {
    let mut below: kernel::sync::aref::ARef<Dentry<AnyFs>> = dentry.into();
    loop {
        let above = below.parent();
        if *above == *below {
            return Ok(());
        }
        let caught = above.inode().is_some_and(|inode| traps.catch(inode));
        if within == Within::AnyLayer && caught {
            log.refuse(fmt!(
                "{option}: overlapping path {name}, it is in another layer"
            ));
            return Err(ELOOP);
        }
        if above.is_in_exclusive_use() {
            report_in_use(log, options, option, name)?;
        }
        below = above;
    }
}
