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
    copy_up,
    edit::Edit,
    fs::{
        Instance,
        Overlay, //
    },
    impure,
    layer::LayerId,
    listing,
    node::{
        DirKind,
        Numbers,
        Objects, //
    },
    revalidate,
    stack::LowerStack,
    temp::TempName, //
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
            TakenName, //
        },
        file::LayerFile,
        inode::Inode,
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
/// when it was looked up, and what upper's filesystem says.
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
    let directory = name.directory().inode().ok_or(ESTALE)?;
    let creator = name.creator(&inode, caller)?;
    let inode = {
        let _as_creator = Override::enter(&creator);
        let source = Source::New(NewObject { kind, mode });
        make(directory, &name, &source, inode)?
    };
    attr::refresh(directory);
    listing::added(directory, name.name(), &inode);
    let wish = revalidate::wish(inode.node());
    name.mark();
    name.attach(inode, wish);
    Ok(())
}

/// Makes what `source` says, as `name` in `directory`, and returns the inode that stands for it.
fn make(
    directory: &Inode<Overlay>,
    name: &NewName<'_, Overlay>,
    source: &Source<'_>,
    inode: PreparedInode<Overlay>,
) -> Result<ARef<Inode<Overlay>>> {
    let edit = Edit::begin(directory.superblock().data())?;
    let place = Place::new(&edit, directory, name)?;
    let upper = place.put(source)?;
    let inode = complete(edit.instance, inode, &upper);
    if inode.is_err() {
        edit.clean_up(place.upper_dir, &upper);
    }
    inode
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
    let directory = name.directory().inode().ok_or(ESTALE)?;
    let _names = inode.node().lock_interruptible()?;
    {
        let edit = Edit::begin(name.superblock().data())?;
        let place = Place::new(&edit, directory, &name)?;
        if inode.node().origin().is_some() {
            impure::mark(&edit, directory.node())?;
        }
        place.put(&Source::Existing(edit.writable.upper(inode.node())?))?;
    }
    inode.add_link();
    attr::refresh(inode);
    attr::refresh(directory);
    listing::linked(directory, name.name(), inode);
    name.mark();
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
    file.name().mark();
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
    edit: &'a Edit<'a>,
    dir: &'a Inode<Overlay>,
    upper_dir: &'a Dentry<AnyFs>,
    name: &'a [u8],
    /// Whether upper had a whiteout there when the name was looked up.
    is_covered: bool,
}

impl<'a> Place<'a> {
    fn new(
        edit: &'a Edit<'a>,
        dir: &'a Inode<Overlay>,
        name: &NewName<'a, Overlay>,
    ) -> Result<Self> {
        Ok(Self {
            edit,
            dir,
            upper_dir: edit.writable.upper(dir.node())?,
            name: name.name(),
            is_covered: name.is_marked(),
        })
    }

    /// Puts `source` there, and returns what is there then.
    fn put(&self, source: &Source<'_>) -> Result<ARef<Dentry<AnyFs>>> {
        match self.edit.access.start_creating(self.upper_dir, self.name)? {
            // What lower layers have there would come back into view.
            Name::Free(_) if self.is_covered => Err(ESTALE),
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
        let made = self
            .edit
            .access
            .keep_cached(self.upper_dir, self.name, made)?;
        if source.is_directory() {
            if let Err(error) = self.edit.instance.check_case(&made) {
                self.edit.clean_up(self.upper_dir, &made);
                return Err(error);
            }
            // Nothing is below it. To say so spares later lookups, no more, so that it may fail; and
            // where lower layers may be changed between mounts, something could come to be below it.
            if self.dir.node().has_several()
                && !self.edit.instance.options().allow_offline_changes()
            {
                let _ = self.set_opaque(&made);
            }
        }
        Ok(made)
    }

    /// Puts `source` in the place of `found`, which has to be a whiteout. (C: `ovl_create_over_whiteout`.)
    fn put_over(&self, found: &Dentry<AnyFs>, source: &Source<'_>) -> Result<ARef<Dentry<AnyFs>>> {
        if !self.is_covered || !self.edit.is_whiteout(found) {
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
            self.edit.instance.check_case(&temporary.dentry)?;
            self.set_opaque(&temporary.dentry)?;
        }
        temporary.install(self.upper_dir, found, source)
    }

    /// Puts `source` to a name in the work directory. (C: `ovl_create_temp`.)
    fn temporary(&self, source: &Source<'_>) -> Result<Temporary<'_>> {
        let (access, work) = (&self.edit.access, self.edit.work());
        let name = TempName::next();
        match access.start_creating(work, name.as_bytes())? {
            Name::Free(free) => {
                let made = source.put(free)?;
                let dentry = access.keep_cached(work, name.as_bytes(), made)?;
                Ok(Temporary {
                    edit: self.edit,
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
            self.edit.access.set_permissions(new, inherited.mode)?;
        }
        if let Some(acl) = &inherited.access {
            self.edit.access.set_acl(new, AclKind::Access, Some(acl))?;
        }
        if let Some(acl) = &inherited.default {
            self.edit.access.set_acl(new, AclKind::Default, Some(acl))?;
        }
        Ok(())
    }

    /// Says that nothing in lower layers is below the directory `dir` (X1).
    ///
    /// # Errors
    ///
    /// `EIO` if upper's filesystem has no attributes.
    fn set_opaque(&self, dir: &Dentry<AnyFs>) -> Result {
        self.edit.mark(dir, Xattr::Opaque, b"y", EIO)
    }
}

/// An object in the work directory, which is removed unless it is installed.
struct Temporary<'a> {
    edit: &'a Edit<'a>,
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
        let work = self.edit.work();
        self.edit
            .access
            .start_renaming_to(work, &self.dentry, to, whiteout, flags)?
            .rename()?;
        self.remains = false;
        if source.is_directory() {
            self.edit.clean_up(work, whiteout);
        }
        Ok(self.dentry.clone())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.remains {
            self.edit.clean_up(self.edit.work(), &self.dentry);
        }
    }
}
