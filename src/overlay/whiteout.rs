// SPDX-License-Identifier: GPL-2.0-only

//! Whiteouts: what stands in upper for a name that lower layers have, and the overlay has not.
//!
//! All of an instance are names of one inode, as long as the filesystem allows that. See 1.9 and W3 of the
//! behaviour of overlayfs, `ovl_whiteout` and `ovl_cleanup_and_whiteout` in
//! [`fs/overlayfs/dir.c`](srctree/fs/overlayfs/dir.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        new_mutex,
        Mutex, //
    },
};

use super::{
    edit::Edit,
    fs::{
        Instance,
        Overlay, //
    },
    temp::TempName,
    xattr, //
};
use crate::vfs::{
    dentry::Dentry,
    dirop::{
        FreeName,
        Name,
        RenameFlags, //
    },
    locked_name::LockedName,
    lookup::Negative,
    AnyFs, //
};

/// The whiteout that all others are further names of.
#[pin_data]
pub(super) struct SharedWhiteout {
    #[pin]
    state: Mutex<State>,
}

enum State {
    /// There is none: none was needed yet, or the last one cannot have more names.
    Vacant,
    /// It is in the work directory.
    Kept(ARef<Dentry<AnyFs>>),
    /// The filesystem does not let objects have several names, or has had no room for one more.
    Off,
}

impl SharedWhiteout {
    /// Begins without one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> Result<Pin<KBox<Self>>> {
        let init = pin_init!(Self {
            state <- new_mutex!(State::Vacant, "rovl::SharedWhiteout::state"),
        });
        KBox::pin_init(init, GFP_KERNEL)
    }

    /// The shared whiteout, made if there is none; `None` if each has to be made for itself.
    fn get(&self, edit: &Edit<'_>) -> Result<Option<ARef<Dentry<AnyFs>>>> {
        let mut state = self.state.lock();
        match &*state {
            State::Off => return Ok(None),
            State::Kept(whiteout) => return Ok(Some(whiteout.clone())),
            State::Vacant => (),
        }
        let whiteout = prepare(edit, TempName::next().as_bytes())?;
        *state = State::Kept(whiteout.clone());
        Ok(Some(whiteout))
    }

    /// Takes `whiteout` away, since `error` kept it from getting a further name. Returns whether that was
    /// done, and not by somebody else before.
    fn take(&self, whiteout: &Dentry<AnyFs>, error: Error) -> bool {
        let mut state = self.state.lock();
        if !matches!(&*state, State::Kept(kept) if **kept == *whiteout) {
            return false;
        }
        // One name is what all filesystems allow.
        let has_one_name = || whiteout.inode().is_none_or(|inode| inode.links() <= 1);
        let never = error == EPERM
            || error == ENOSYS
            || error == EOPNOTSUPP
            || error == EMLINK && has_one_name();
        // One to be shared takes room itself.
        let is_full = error == ENOSPC || error == EDQUOT;
        // Else it may be something about the directory, or for the time being.
        *state = if never || is_full {
            pr_warn!("failed to link a whiteout, each will be made for itself ({error:?})\n");
            State::Off
        } else {
            State::Vacant
        };
        true
    }
}

/// Locks `dir`, where nothing has this name.
fn free_name<'a>(edit: &'a Edit<'_>, dir: &'a Dentry<AnyFs>, name: &[u8]) -> Result<FreeName<'a>> {
    match edit.access.start_creating(dir, name)? {
        Name::Free(name) => Ok(name),
        Name::Taken(_) => Err(EEXIST),
    }
}

/// Makes a whiteout of its own in the work directory, where nothing has this name.
fn prepare(edit: &Edit<'_>, name: &[u8]) -> Result<ARef<Dentry<AnyFs>>> {
    let made = free_name(edit, edit.work(), name)?.make_whiteout()?;
    edit.access.keep_cached(edit.work(), name, made)
}

/// Makes a whiteout with the name `name` in the directory `dir`, where nothing has this name.
///
/// # Errors
///
/// `EEXIST` if something has, and what the filesystem says.
pub(super) fn make(
    edit: &Edit<'_>,
    dir: &Dentry<AnyFs>,
    name: &[u8],
) -> Result<ARef<Dentry<AnyFs>>> {
    let shared = edit.instance.whiteout();
    while let Some(whiteout) = shared.get(edit)? {
        match free_name(edit, dir, name)?.link(&whiteout) {
            Ok(made) => return edit.access.keep_cached(dir, name, made),
            // It is used itself, for which there is room even if there is none for another name.
            Err(error) if shared.take(&whiteout, error) => {
                return place(edit, whiteout, dir, name);
            }
            // The next one may be better.
            Err(_) => (),
        }
    }
    if *dir == *edit.work() {
        return prepare(edit, name);
    }
    // Made where it goes, it would have the group that the directory passes on.
    let whiteout = prepare(edit, TempName::next().as_bytes())?;
    place(edit, whiteout, dir, name)
}

/// Gives `whiteout`, which is in the work directory, the name `name` in the directory `dir`, where nothing
/// has this name. It is gone if that fails.
fn place(
    edit: &Edit<'_>,
    whiteout: ARef<Dentry<AnyFs>>,
    dir: &Dentry<AnyFs>,
    name: &[u8],
) -> Result<ARef<Dentry<AnyFs>>> {
    match rename(edit, &whiteout, dir, name) {
        Ok(()) => Ok(whiteout),
        Err(error) => {
            edit.clean_up(edit.work(), &whiteout);
            Err(error)
        }
    }
}

/// Moves `whiteout` from the work directory.
fn rename(edit: &Edit<'_>, whiteout: &Dentry<AnyFs>, dir: &Dentry<AnyFs>, name: &[u8]) -> Result {
    let flags = RenameFlags::REPLACE;
    let renaming = edit
        .access
        .start_renaming(edit.work(), whiteout, dir, name, flags)?;
    if renaming.target().inode().is_some() {
        return Err(EEXIST);
    }
    renaming.rename()
}

/// Puts a whiteout into the place of `object`, which is in the directory `dir` of upper. A directory is in
/// the work directory afterwards, for the caller to remove; anything else is gone.
///
/// # Errors
///
/// `EINVAL` if `object` is not there any more, and what the filesystem says.
pub(super) fn replace(edit: &Edit<'_>, dir: &Dentry<AnyFs>, object: &Dentry<AnyFs>) -> Result {
    let whiteout = make(edit, edit.work(), TempName::next().as_bytes())?;
    let flags = match object.inode() {
        Some(inode) if inode.is_directory() => RenameFlags::EXCHANGE,
        _ => RenameFlags::REPLACE,
    };
    let renamed = edit
        .access
        .start_renaming_to(edit.work(), &whiteout, dir, object, flags)
        .and_then(|renaming| renaming.rename());
    if renamed.is_err() {
        edit.clean_up(edit.work(), &whiteout);
    }
    renamed
}

/// Whether a whiteout has to stay behind when the name goes: what it stands for is in lower layers only, or
/// hides something there. (C: `ovl_lower_positive`.)
pub(super) fn is_due(instance: &Instance, name: &LockedName<'_, Overlay>) -> Result<bool> {
    if name.inode().ok_or(ENOENT)?.node().upper().is_none() {
        return Ok(true);
    }
    for directory in name.directory()?.node().lower() {
        let layer = instance.layers().get(directory.layer())?;
        let path = layer.path(directory.dentry().ok_or(EIO)?);
        match path.lookup(name.name(), Negative::Keep) {
            Ok(None) => (),
            Ok(Some(found)) => {
                let path = layer.path(&found);
                return Ok(!xattr::is_whiteout(&path, instance.namespace()));
            }
            Err(error) if error == ENOENT || error == ENAMETOOLONG => (),
            // There may be something that could not be looked at.
            Err(_) => return Ok(true),
        }
    }
    Ok(false)
}
