// SPDX-License-Identifier: GPL-2.0-only

//! The object in the making, from its first moment to its name in upper (C3).
//!
//! A regular file begins without a name where upper has such files: it cannot be left behind then. All
//! else begins in the work directory, and is moved when it is complete.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    data,
    is_removed,
    metadata::Target,
    Plan,
    Syncing, //
};
use crate::{
    model::{
        names::Xattr,
        nlink::{
            Base,
            Nlink,
            SIZE_MAX, //
        },
    },
    overlay::{
        edit::Edit,
        fs::Writable,
        impure,
        origin::Origin,
        revalidate,
        temp::TempName, //
    },
    vfs::{
        attr::Stat,
        cred::Override,
        dentry::Dentry,
        dirop::{
            Name,
            NewKind,
            NewObject, //
        },
        file::{
            LayerFile,
            OpenFlags, //
        },
        inode::FileType,
        lock::NodeLocked,
        replicate::Nameless,
        setattr::Change,
        AnyFs, //
    },
};

/// An object in the work directory, which is removed unless it finds its place.
struct InWork<'a> {
    writable: Writable<'a>,
    object: ARef<Dentry<AnyFs>>,
    state: State,
}

/// Where an object from the work directory is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    InWork,
    Placed,
}

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        if self.state == State::Placed {
            return;
        }
        let remove = || -> Result {
            let access = self.writable.access()?;
            let removing = access.start_removing(self.writable.work, &self.object)?;
            removing.remove()
        };
        // The next mount tries again.
        if let Err(error) = remove() {
            pr_err!("failed to remove a temporary object ({error:?})\n");
        }
    }
}

/// Where the object is being made.
enum Place<'a> {
    /// In no directory. It goes by itself, if it gets no name.
    Nowhere(Nameless),
    /// In the work directory.
    Work(InWork<'a>),
}

impl Place<'_> {
    fn object(&self) -> &Dentry<AnyFs> {
        match self {
            Self::Nowhere(file) => file.object(),
            Self::Work(place) => &place.object,
        }
    }
}

/// An object in the making, without data.
pub(super) struct Temporary<'a> {
    plan: &'a Plan<'a>,
    place: Place<'a>,
    /// What it is to keep of where it comes from.
    origin: Option<Origin>,
}

/// An object in the making that has its data.
pub(super) struct Filled<'a>(Temporary<'a>);

impl Plan<'_> {
    /// Makes an empty object of the kind of the lower one.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `EDQUOT`, `EPERM` and what else upper's filesystem and security modules say.
    pub(super) fn prepare(&self) -> Result<Temporary<'_>> {
        let origin = match self.keeps_origin() && self.writable.abilities.xattrs {
            true => {
                let source = self.source.dentry.inode().ok_or(ESTALE)?;
                Some(Origin::of(self.instance, source)?)
            }
            false => None,
        };
        let node = self.directory.node();
        if !node.is_impure() {
            impure::mark(&Edit::begin(self.instance)?, node)?;
        }
        // Security modules may want the copy to be made by somebody else than the mounter.
        let copier = self.dentry.copier()?;
        let _creds = copier.as_deref().map(Override::enter);
        let place = match self.file_type() {
            FileType::Regular if self.writable.abilities.unnamed_files => {
                let access = self.writable.access()?;
                Place::Nowhere(access.make_nameless(self.writable.work, self.stat.mode())?)
            }
            FileType::Symlink => {
                let target = self.source.dentry.target()?;
                Place::Work(self.make(NewKind::Symlink(target.text()))?)
            }
            FileType::Regular => Place::Work(self.make(NewKind::Regular)?),
            FileType::Directory => Place::Work(self.make(NewKind::Directory)?),
            FileType::CharDevice | FileType::Special => {
                Place::Work(self.make(NewKind::Node(self.stat.special_device()))?)
            }
        };
        Ok(Temporary {
            plan: self,
            place,
            origin,
        })
    }

    /// Makes an object in the work directory.
    fn make(&self, kind: NewKind<'_>) -> Result<InWork<'_>> {
        let name = TempName::next();
        let access = self.writable.access()?;
        // The permission bits come later, since the umask would apply to them now.
        let object = NewObject {
            kind,
            mode: self.stat.file_type_bits(),
        };
        let made = match access.start_creating(self.writable.work, name.as_bytes())? {
            Name::Free(free) => free.make(&object)?,
            // Nobody else makes names like this.
            Name::Taken(_) => return Err(EIO),
        };
        let object = access.keep_cached(self.writable.work, name.as_bytes(), made)?;
        // It is dropped without write access, which it takes by itself.
        drop(access);
        let made = InWork {
            writable: self.writable,
            object,
            state: State::InWork,
        };
        if matches!(kind, NewKind::Directory) {
            self.instance.check_case(&made.object)?;
        }
        Ok(made)
    }
}

impl<'a> Temporary<'a> {
    /// Copies the data, if there can be any.
    ///
    /// # Errors
    ///
    /// `EINTR` if the task is to die, `ENOSPC` and what else the layers' filesystems say.
    pub(super) fn fill(self) -> Result<Filled<'a>> {
        let plan = self.plan;
        if plan.file_type() == FileType::Regular && plan.stat.size() > 0 {
            match &self.place {
                Place::Nowhere(file) => data::copy(plan, file.file())?,
                Place::Work(place) => {
                    let path = plan.writable.layer.path(&place.object);
                    let file = LayerFile::open_to_write(&path, plan.instance.mounter())?;
                    data::copy(plan, &file)?;
                }
            }
        }
        Ok(Filled(self))
    }
}

impl Filled<'_> {
    /// Gives the object its attributes, carries out `change` if there is one, gives it its name, and lets the
    /// inode stand for it. `held` is the lock of the inode's node.
    ///
    /// # Errors
    ///
    /// `EEXIST` if upper has something of that name, `ENOSPC` and what else the layers' filesystems say.
    pub(super) fn install(self, held: &NodeLocked<'_>, change: Option<&mut Change>) -> Result {
        let Temporary {
            plan,
            mut place,
            origin,
        } = self.0;
        {
            let edit = Edit::begin(plan.instance)?;
            let target = Target {
                plan,
                edit: &edit,
                object: place.object(),
                origin: origin.as_ref(),
            };
            target.complete()?;
            if let Some(change) = change {
                edit.access.change(place.object(), change)?;
            }
        }
        if plan.syncing() == Syncing::Complete {
            sync(plan, &place)?;
        }
        let upper = plan.writable.upper(plan.directory.node())?;
        let access = plan.writable.access()?;
        let object = plan.dentry.with_name(|name| match &mut place {
            Place::Nowhere(file) => match access.start_creating(upper, name)? {
                Name::Free(_) if is_removed(plan.dentry, plan.inode) => Err(EEXIST),
                Name::Free(free) => {
                    let times = plan.times_of(upper)?;
                    let copy = free.link(file.object())?;
                    copy.give_directory_times(&times);
                    Ok(copy.keep())
                }
                Name::Taken(_) => Err(EEXIST),
            },
            Place::Work(work) => {
                let (from, object) = (plan.writable.work, &work.object);
                let renaming = access.start_placing(from, object, upper, name);
                // That it is no longer there, or the directory neither, says nothing about what the user
                // asked for.
                let renaming = renaming.map_err(|e| match e {
                    e if e == EEXIST || e == ENOMEM => e,
                    _ => EIO,
                })?;
                if is_removed(plan.dentry, plan.inode) {
                    return Err(EEXIST);
                }
                renaming.rename_with_times(&plan.times_of(upper)?)?;
                work.state = State::Placed;
                Ok(work.object.clone())
            }
        })?;
        let inode = object.inode().ok_or(EIO)?;
        plan.inode.node().set_upper(object.clone(), held)?;
        plan.inode.find_by(inode);
        plan.dentry.set_wish(revalidate::wish(plan.inode.node()));
        Ok(())
    }
}

impl Plan<'_> {
    /// Gives `upper`, which the object was copied to by another name, this one as well.
    /// (C: `ovl_link_up`.)
    ///
    /// # Errors
    ///
    /// `EEXIST` if upper has something of that name, `EMLINK`, and what else upper's filesystem says.
    pub(super) fn add_name(&self, upper: &Dentry<AnyFs>) -> Result {
        let edit = Edit::begin(self.instance)?;
        let directory = self.directory.node();
        impure::mark(&edit, directory)?;
        self.note_links(&edit, upper, Base::Lower, self.source.dentry)?;
        let dir = edit.writable.upper(directory)?;
        self.dentry.with_name(|name| {
            let free = match edit.access.start_creating(dir, name)? {
                Name::Free(free) if !is_removed(self.dentry, self.inode) => free,
                _ => return Err(EEXIST),
            };
            let times = self.times_of(dir)?;
            free.link(upper)?.give_directory_times(&times);
            Ok(())
        })?;
        self.note_links(&edit, upper, Base::Upper, upper)?;
        self.dentry.set_wish(revalidate::wish(self.inode.node()));
        Ok(())
    }

    /// The times of the directory `upper`, which is locked: what others do to it before changes them.
    fn times_of(&self, upper: &Dentry<AnyFs>) -> Result<Stat> {
        let mut times = Stat::empty();
        times.ask_for(&self.writable.layer.path(upper))?;
        Ok(times)
    }

    /// Notes at `upper` how many links the object has more than `real`, which is on the layer of `base` (X5).
    /// Only an index has a use for it.
    fn note_links(
        &self,
        edit: &Edit<'_>,
        upper: &Dentry<AnyFs>,
        base: Base,
        real: &Dentry<AnyFs>,
    ) -> Result {
        let real = real.inode().ok_or(EIO)?.links();
        let mut buffer = [0; SIZE_MAX];
        let value = Nlink::new(base, self.inode.links(), real).encode(&mut buffer);
        match edit.mark(upper, Xattr::Nlink, value, EOPNOTSUPP) {
            Err(error) if error == EOPNOTSUPP => Ok(()),
            result => result,
        }
    }
}

/// Writes the object with all that belongs to it to the disk.
fn sync(plan: &Plan<'_>, place: &Place<'_>) -> Result {
    match place {
        Place::Nowhere(file) => file.file().sync_all(),
        Place::Work(work) => {
            let path = plan.writable.layer.path(&work.object);
            LayerFile::open_to_read(&path, OpenFlags::LARGE_FILE, plan.instance.mounter())?
                .sync_all()
        }
    }
}
