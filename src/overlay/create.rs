// SPDX-License-Identifier: GPL-2.0-only

//! Making objects (D1, D2), further names of them (D3), and files without a name (D6).
//!
//! What is made lies in upper alone. Where a whiteout hides what lower layers have under the name, the
//! object is made in the work directory, and takes the whiteout's place when it is complete, so that at no
//! time the lower one can be seen.
//!
//! See `ovl_create_object`, `ovl_link` and `ovl_tmpfile` in
//! [`fs/overlayfs/dir.c`](srctree/fs/overlayfs/dir.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use super::{
    attr,
    casefold::Case,
    copy_up,
    fs::{
        Instance,
        Overlay,
        Writable, //
    },
    impure,
    layer::LayerId,
    node::{
        DirKind,
        Numbers,
        Objects, //
    },
    revalidate,
    stack::LowerStack,
    temp::TempName,
    xattr,
};
use crate::{
    model::{
        kind::{
            self,
            Whiteout, //
        },
        names::Xattr, //
    },
    vfs::{
        acl::{
            AclKind,
            Inherited, //
        },
        create::{
            NewName,
            PreparedInode, //
        },
        cred::Override,
        dentry::Dentry,
        dirop::{
            FreeName,
            Name,
            NewKind,
            NewObject,
            RenameFlags,
            TakenName,
            WriteAccess, //
        },
        file::LayerFile,
        inode::Inode,
        path::PathRef,
        superblock::Found,
        tmpfile::UnnamedFile,
        AnyFs, //
    },
};

/// Makes an object for `caller`, whose credentials those in force have replaced. `inode`, which `caller` has
/// prepared, is to stand for it.
///
/// # Errors
///
/// `EPERM` for what would be a whiteout, `EROFS`, `ESTALE` if upper has something else under the name than
/// it had before, and what upper's filesystem says.
pub(crate) fn create(
    inode: PreparedInode<Overlay>,
    name: NewName<'_, Overlay>,
    kind: NewKind<'_>,
    caller: &Override<'_>,
) -> Result {
    let mode = inode.mode();
    if let NewKind::Node(device) = kind {
        if kind::whiteout(mode.into(), device, 0) == Whiteout::Yes {
            return Err(EPERM);
        }
    }
    copy_up::copy_up(name.directory())?;
    let instance = name.superblock().data();
    let writable = instance.writable()?;
    let access = writable.access()?;
    let place = Place::of(&name, instance, &writable, &access)?;
    let creator = name.creator(&inode, caller)?;
    let _as_creator = Override::enter(&creator);
    let upper = place.put(&Source::New(NewObject { kind, mode }))?;
    place.changed();
    match complete(instance, inode, &upper) {
        Ok(inode) => {
            let wish = revalidate::wish(inode.node());
            name.attach(inode, wish);
            Ok(())
        }
        Err(error) => {
            remove(&access, place.upper_dir, &upper);
            Err(error)
        }
    }
}

/// Gives `old`, which is no directory, a further name.
///
/// # Errors
///
/// `EINTR`, and as [`create`].
pub(crate) fn link(old: &Dentry<Overlay>, name: NewName<'_, Overlay>) -> Result {
    copy_up::copy_up(old)?;
    copy_up::copy_up(name.directory())?;
    let inode = old.inode().ok_or(ESTALE)?;
    let instance = name.superblock().data();
    let writable = instance.writable()?;
    let _names = inode.node().lock_interruptible()?;
    let access = writable.access()?;
    let place = Place::of(&name, instance, &writable, &access)?;
    if inode.node().origin().is_some() {
        impure::mark(instance, &writable, &access, place.dir.node())?;
    }
    place.put(&Source::Existing(writable.upper(inode.node())?))?;
    place.changed();
    inode.add_link();
    attr::refresh(inode);
    // Whoever comes by the new name has to find what it was copied from.
    name.attach_uncached(inode.into());
    Ok(())
}

/// Makes and opens a regular file without a name, for `caller`, whose credentials those in force have
/// replaced. `inode`, which `caller` has prepared, is to stand for it.
///
/// # Errors
///
/// `EOPNOTSUPP` if upper's filesystem has no such files, `EROFS`, and what that filesystem says.
pub(crate) fn tmpfile(
    inode: PreparedInode<Overlay>,
    file: UnnamedFile<'_, Overlay>,
    caller: &Override<'_>,
) -> Result<ARef<LayerFile>> {
    let name = file.name();
    let instance = name.superblock().data();
    let writable = instance.writable()?;
    if !writable.abilities.unnamed_files {
        return Err(EOPNOTSUPP);
    }
    copy_up::copy_up(name.directory())?;
    let _access = writable.access()?;
    let dir = name.directory().inode().ok_or(ESTALE)?;
    let creator = name.creator(&inode, caller)?;
    let _as_creator = Override::enter(&creator);
    let upper_dir = writable.layer.path(writable.upper(dir.node())?);
    let real = file.make_below(&upper_dir, inode.mode())?;
    let inode = complete(instance, inode, real.dentry())?;
    let wish = revalidate::wish(inode.node());
    file.attach(inode, wish);
    Ok(real)
}

/// Lets `inode` stand for `upper`, which was just made for it. Since it is new, nothing has to be read to
/// know what there is to know of it. (C: `ovl_instantiate`.)
///
/// # Errors
///
/// `ESTALE` if something else is known to stand for it, `EEXIST`.
fn complete(
    instance: &Instance,
    inode: PreparedInode<Overlay>,
    upper: &Dentry<AnyFs>,
) -> Result<ARef<Inode<Overlay>>> {
    let key = upper.inode().ok_or(EIO)?;
    match inode.stand_for(key)? {
        Found::New(new) => {
            let layer = instance.layers().get(LayerId::Upper)?;
            let number = instance.numbers().of_new_inode(key, layer.fs());
            new.node().set(Objects::new(
                Some(upper.into()),
                LowerStack::Empty,
                DirKind::Plain,
                Numbers::AsListed,
            ));
            new.finish_like(&layer.path(upper), number)
        }
        Found::Existing(inode) => {
            let fits = inode.node().fits(inode.is_directory(), Some(upper), None);
            if fits {
                Ok(inode)
            } else {
                Err(ESTALE)
            }
        }
    }
}

/// What is to come to a name.
enum Source<'a> {
    /// An object that has to be made first.
    New(NewObject<'a>),
    /// An object in upper, which gets a further name.
    Existing(&'a Dentry<AnyFs>),
}

impl Source<'_> {
    /// Puts it to a name.
    fn put<'n>(&self, name: FreeName<'n>) -> Result<TakenName<'n>> {
        match self {
            Self::New(object) => name.make(object),
            Self::Existing(object) => name.link(object),
        }
    }

    fn is_directory(&self) -> bool {
        matches!(
            self,
            Self::New(NewObject {
                kind: NewKind::Directory,
                ..
            })
        )
    }
}

/// Where something is to come.
struct Place<'a> {
    instance: &'a Instance,
    writable: &'a Writable<'a>,
    access: &'a WriteAccess<'a>,
    dir: &'a Inode<Overlay>,
    upper_dir: &'a Dentry<AnyFs>,
    name: &'a [u8],
}

impl<'a> Place<'a> {
    fn of(
        name: &NewName<'a, Overlay>,
        instance: &'a Instance,
        writable: &'a Writable<'a>,
        access: &'a WriteAccess<'a>,
    ) -> Result<Self> {
        let dir = name.directory().inode().ok_or(ESTALE)?;
        Ok(Self {
            instance,
            writable,
            access,
            dir,
            upper_dir: writable.upper(dir.node())?,
            name: name.name(),
        })
    }

    /// Says that there is a new name in the directory.
    fn changed(&self) {
        attr::refresh(self.dir);
        self.dir.node().changed();
    }

    /// Puts `source` there, and returns what is there then.
    fn put(&self, source: &Source<'_>) -> Result<ARef<Dentry<AnyFs>>> {
        match self.access.start_creating(self.upper_dir, self.name)? {
            Name::Free(name) => self.put_to_free(name, source),
            Name::Taken(taken) => {
                let taken = taken.keep();
                self.put_over(&taken, source)
            }
        }
    }

    /// Puts `source` to a name that upper does not have. (C: `ovl_create_upper`.)
    fn put_to_free(&self, name: FreeName<'_>, source: &Source<'_>) -> Result<ARef<Dentry<AnyFs>>> {
        let made = source.put(name)?;
        let made = self.access.keep_cached(self.upper_dir, self.name, made)?;
        if source.is_directory() {
            if let Err(error) = self.check_case(&made) {
                remove(self.access, self.upper_dir, &made);
                return Err(error);
            }
            // Nothing is below it. To say so spares later lookups, no more, so that it may fail; and
            // where lower layers may be changed between mounts, something could come to be below it.
            if self.dir.node().has_several() && !self.instance.options().allow_offline_changes() {
                let _ = self.set_opaque(&made);
            }
        }
        Ok(made)
    }

    /// Puts `source` in the place of `found`, which has to be a whiteout. (C: `ovl_create_over_whiteout`.)
    fn put_over(&self, found: &Dentry<AnyFs>, source: &Source<'_>) -> Result<ARef<Dentry<AnyFs>>> {
        if !xattr::is_whiteout(&self.path(found), self.instance.namespace()) {
            // The overlay did not have the name, so it has come to upper by another way.
            return Err(ESTALE);
        }
        let temporary = match source {
            Source::New(object) => {
                // The work directory passes nothing on, and applies the umask on its own terms.
                let inherited = self.dir.inherited(object.mode)?;
                let temporary = self.temporary(&Source::New(NewObject {
                    mode: inherited.mode,
                    ..*object
                }))?;
                self.pass_on(&temporary.dentry, object.kind, &inherited)?;
                temporary
            }
            Source::Existing(_) => self.temporary(source)?,
        };
        if source.is_directory() {
            self.check_case(&temporary.dentry)?;
            self.set_opaque(&temporary.dentry)?;
        }
        temporary.install(self.upper_dir, found, source)
    }

    /// Puts `source` to a name in the work directory. (C: `ovl_create_temp`.)
    fn temporary(&self, source: &Source<'_>) -> Result<Temporary<'_>> {
        let (access, work) = (self.access, self.writable.work);
        let name = TempName::next();
        match access.start_creating(work, name.as_bytes())? {
            Name::Free(free) => {
                let made = source.put(free)?;
                let dentry = access.keep_cached(work, name.as_bytes(), made)?;
                Ok(Temporary {
                    access,
                    work,
                    dentry,
                    remains: true,
                })
            }
            // Somebody else is at work in there.
            Name::Taken(_) => Err(ESTALE),
        }
    }

    /// Gives a new object what the directory passes on to it.
    fn pass_on(&self, new: &Dentry<AnyFs>, kind: NewKind<'_>, inherited: &Inherited) -> Result {
        let inode = new.inode().ok_or(EIO)?;
        let is_symlink = matches!(kind, NewKind::Symlink(_));
        if !is_symlink && inode.mode_bits() != u32::from(inherited.mode) {
            self.access.set_permissions(new, inherited.mode)?;
        }
        if let Some(acl) = &inherited.access {
            self.access.set_acl(new, AclKind::Access, Some(acl))?;
        }
        if let Some(acl) = &inherited.default {
            self.access.set_acl(new, AclKind::Default, Some(acl))?;
        }
        Ok(())
    }

    /// Says that nothing in lower layers is below the directory `dir` (X1).
    ///
    /// # Errors
    ///
    /// `EIO` if upper's filesystem has no attributes.
    fn set_opaque(&self, dir: &Dentry<AnyFs>) -> Result {
        if !self.writable.abilities.xattrs {
            return Err(EIO);
        }
        let name = Xattr::Opaque.name(self.instance.namespace());
        match self.access.set_xattr(dir, name, b"y") {
            Err(error) if error == EOPNOTSUPP => Err(EIO),
            result => result,
        }
    }

    /// Checks that case counts in a new directory as it does in all others.
    fn check_case(&self, dir: &Dentry<AnyFs>) -> Result {
        if Case::of(dir) == self.instance.case() {
            return Ok(());
        }
        pr_debug!("a new directory inherits another way how case counts\n");
        Err(EINVAL)
    }

    fn path<'b>(&'b self, dentry: &'b Dentry<AnyFs>) -> PathRef<'b> {
        self.writable.layer.path(dentry)
    }
}

/// An object in the work directory, which is removed unless it is installed.
struct Temporary<'a> {
    access: &'a WriteAccess<'a>,
    work: &'a Dentry<AnyFs>,
    dentry: ARef<Dentry<AnyFs>>,
    remains: bool,
}

impl Temporary<'_> {
    /// Puts it in the place of `whiteout` in the directory `to`.
    fn install(
        mut self,
        to: &Dentry<AnyFs>,
        whiteout: &Dentry<AnyFs>,
        source: &Source<'_>,
    ) -> Result<ARef<Dentry<AnyFs>>> {
        // A directory cannot replace what is none.
        let flags = if source.is_directory() {
            RenameFlags::EXCHANGE
        } else {
            RenameFlags::REPLACE
        };
        self.access
            .start_renaming_to(self.work, &self.dentry, to, whiteout, flags)?
            .rename()?;
        self.remains = false;
        if source.is_directory() {
            remove(self.access, self.work, whiteout);
        }
        Ok(self.dentry.clone())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.remains {
            remove(self.access, self.work, &self.dentry);
        }
    }
}

/// Removes what is not needed, or could not be made use of. (C: `ovl_cleanup`.)
fn remove(access: &WriteAccess<'_>, dir: &Dentry<AnyFs>, child: &Dentry<AnyFs>) {
    let removing = access.start_removing(dir, child);
    if let Err(error) = removing.and_then(|removing| removing.remove()) {
        pr_err!("failed to clean up in upper or its work directory ({error:?})\n");
    }
}
