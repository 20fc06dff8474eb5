// SPDX-License-Identifier: GPL-2.0-only

//! Listings of directories.
//!
//! A directory of one layer in which nothing can be hidden is read as it is. Any other is merged from its
//! layers, once, and the result stays with the inode. See R1 to R6 of the behaviour of overlayfs, and
//! [`fs/overlayfs/readdir.c`](srctree/fs/overlayfs/readdir.c).

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        SetOnce, //
    },
};

use super::{
    cache::{
        Made,
        Snapshot, //
    },
    casefold::Case,
    charged::Charged,
    fs::{
        Instance,
        Overlay, //
    },
    impure,
    layer::{
        FsId,
        Layer,
        LayerId, //
    },
    lookup,
    node::{
        DirKind,
        Node,
        Numbers, //
    },
    number,
    origin,
    stack::LowerObject,
    xattr, //
};
use crate::{
    model::{
        kind::FileType,
        merge::{
            self,
            Entry,
            Merge,
            Position,
            State, //
        },
        names::NAME_MAX,
    },
    vfs::{
        copy,
        cred::Capability,
        dentry::Dentry,
        file::{
            File,
            LayerFile,
            OpenFlags,
            Whence, //
        },
        inode::Inode,
        lookup::Negative,
        readdir::{
            DirEntry,
            Emitter, //
        },
        superblock::SuperBlock,
        try_cell::TryCell,
        AnyFs, //
    }, //
};

/// A merged listing.
pub(crate) type Listing = merge::Listing<Charged>;

/// An open directory.
pub(crate) struct OpenDir {
    /// The directory of the uppermost layer that it stood for when it was opened.
    real: ARef<LayerFile>,
    /// The one in upper, once it was synced, if it was copied up since. (C: `upperfile`.)
    synced: SetOnce<ARef<LayerFile>>,
    /// Whether it is read by the merged listing.
    merged: Atomic<bool>,
    /// What was last listed for the directory above.
    above: TryCell<Option<Above>>,
    /// What is read, from the first call that reads to the last. The VFS has a lock for the position; who
    /// reads without it, beside another, goes by the listing that there is now.
    reading: TryCell<Option<Reading>>,
}

/// The directory above one that is open.
struct Above {
    /// What the open one's dentry had for a sequence when it was there.
    sequence: u32,
    number: u64,
}

/// A merged listing that is being read.
struct Reading {
    listing: Snapshot,
    /// How often the directory had changed.
    version: u64,
}

/// Opens the directory.
///
/// # Errors
///
/// `EACCES` and what else the layer's filesystem says.
pub(crate) fn open(inode: &Inode<Overlay>, file: &File<Overlay>) -> Result<KBox<OpenDir>> {
    let instance = inode.superblock().data();
    let node = inode.node();
    let real = node.real(instance.layers()).ok_or(EIO)?;
    // Opened in any case, since that is where the mounter's right to read is checked.
    let flags = file.flags().large_file_only();
    let real = LayerFile::open_to_read(&real, flags, instance.mounter())?;
    let dir = OpenDir {
        real,
        synced: SetOnce::new(),
        above: TryCell::new(None),
        merged: Atomic::new(node.dir_kind() != DirKind::Plain),
        reading: TryCell::new(None),
    };
    Ok(KBox::new(dir, GFP_KERNEL)?)
}

impl OpenDir {
    /// Sees whether what was one directory when it was opened has been copied up since. Who is in the middle
    /// of it goes on, as positions in it mean nothing elsewhere. (C: `ovl_dir_reset`.)
    fn settle(&self, node: &Node, position: i64) {
        if position == 0 && node.dir_kind() != DirKind::Plain {
            self.merged.store(true, Relaxed);
        }
    }

    /// The directory of a layer, if that is what it is read by.
    fn plain(&self) -> Option<&LayerFile> {
        match self.merged.load(Relaxed) {
            true => None,
            false => Some(&self.real),
        }
    }

    /// The file by which `directory`, of a layer, is open.
    pub(super) fn file_of(&self, directory: &Dentry<AnyFs>) -> Option<&LayerFile> {
        let files = [Some(&self.real), self.synced.as_ref()];
        let mut files = files.into_iter().flatten();
        files.find(|file| file.is_of(directory)).map(|file| &**file)
    }

    /// The number to list for the directory above `file`, which this belongs to. To find that takes a reference,
    /// which is needed once only as long as nothing is moved.
    fn number_above(&self, file: &File<Overlay>) -> Result<u64> {
        let dentry = file.dentry();
        let sequence = dentry.sequence();
        let mut place = self.above.try_take();
        if let Some(Some(above)) = place.as_deref() {
            if above.sequence == sequence {
                return Ok(above.number);
            }
        }
        let parent = dentry.parent();
        let number = number::shown(parent.inode().ok_or(EIO)?)?;
        if let Some(place) = place.as_deref_mut() {
            *place = Some(Above { sequence, number });
        }
        Ok(number)
    }

    /// Keeps the file by which the directory in upper is synced: it knows which errors it has told of.
    pub(super) fn keep(&self, file: ARef<LayerFile>) {
        // If another task was faster, one of the two files is as good as the other.
        self.synced.populate(file);
    }
}

/// Emits names from the position on.
///
/// # Errors
///
/// What the layers' filesystems say.
pub(crate) fn iterate(file: &File<Overlay>, dir: &OpenDir, emitter: &mut Emitter<'_>) -> Result {
    dir.settle(file.inode().node(), emitter.position());
    match dir.plain() {
        Some(real) => emit_plain(file, dir, real, emitter),
        None => emit_merged(file, dir, emitter),
    }
}

/// Emits the names of a directory of one layer. (C: `ovl_iterate_real`.)
fn emit_plain(
    file: &File<Overlay>,
    dir: &OpenDir,
    real: &LayerFile,
    emitter: &mut Emitter<'_>,
) -> Result {
    let instance = file.inode().superblock().data();
    let space = instance.numbers();
    if !space.same_device() {
        return real.forward_entries(emitter);
    }
    let node = file.inode().node();
    if node.numbers() == Numbers::LookUp && node.upper().is_some_and(|upper| real.is_of(upper)) {
        return emit_looked_up(file, dir, real, emitter);
    }
    let is_below_merged = || {
        file.dentry()
            .peek_parent(|above| above.node().has_several())
    };
    if !space.remaps() && is_below_merged() == Some(false) {
        return real.forward_entries(emitter);
    }
    // A directory that was copied up since it was opened is still read where it was.
    let layer = node.lower().first();
    let layer = layer.map_or(LayerId::Upper, LowerObject::layer);
    let fs = instance.layers().get(layer)?.fs();
    // Below a merged directory `..` is not the object that the layer's filesystem lists.
    let parent_number = dir.number_above(file)?;
    real.forward_entries_renumbered(emitter, &mut |entry| match entry.name {
        b".." => parent_number,
        _ => space.listed(entry.ino, fs),
    })
}

/// Emits the names of a directory in upper, to which something came that shows another number, after somebody
/// has begun to read it as it is. The numbers are those of the listing that others get.
fn emit_looked_up(
    file: &File<Overlay>,
    dir: &OpenDir,
    real: &LayerFile,
    emitter: &mut Emitter<'_>,
) -> Result {
    let inode = file.inode();
    let (instance, node) = (inode.superblock().data(), inode.node());
    let listing = node.listing(instance, || make_listing(instance, node, file.dentry()))?;
    let (own_number, parent_number) = (number::shown(inode)?, dir.number_above(file)?);
    // Both have mostly the same order, so that the next one is looked for from the last one on.
    let mut next = 0;
    real.forward_entries_renumbered(emitter, &mut |entry| {
        let find = |start| {
            let mut entries = listing.entries_from(start);
            entries.find(|(_, listed)| listed.name == entry.name)
        };
        match entry.name {
            b"." => own_number,
            b".." => parent_number,
            _ => match find(next).or_else(|| find(0)) {
                Some((position, listed)) => {
                    next = position.saturating_add(1);
                    listed.ino
                }
                None => instance.numbers().listed(entry.ino, FsId::UPPER),
            },
        }
    })
}

/// Seeks in the directory. A merged one knows no other positions than those that it has given out.
///
/// # Errors
///
/// `EINVAL`, and what the layer's filesystem says.
pub(crate) fn llseek(
    file: &File<Overlay>,
    dir: &OpenDir,
    offset: i64,
    whence: Whence,
) -> Result<i64> {
    dir.settle(file.inode().node(), file.position());
    let position = match (dir.plain(), whence) {
        (Some(real), _) => real.seek(file.position(), offset, whence)?,
        (None, Whence::Start) => offset,
        (None, Whence::Current) => file.position().checked_add(offset).ok_or(EINVAL)?,
        (None, Whence::Other(_)) => return Err(EINVAL),
    };
    if position < 0 {
        return Err(EINVAL);
    }
    file.set_position(position);
    Ok(position)
}

/// Emits the names of a merged directory. Its listing stays the same until it is read from the start again.
fn emit_merged(file: &File<Overlay>, dir: &OpenDir, emitter: &mut Emitter<'_>) -> Result {
    let inode = file.inode();
    let (instance, node) = (inode.superblock().data(), inode.node());
    let mut place = dir.reading.try_take();
    let begun = place.as_mut().and_then(|place| place.take());
    let reading = match begun {
        Some(begun) if emitter.position() != 0 || begun.version == node.version() => begun,
        _ => Reading {
            version: node.version(),
            listing: node.listing(instance, || make_listing(instance, node, file.dentry()))?,
        },
    };
    let result = emit_listing(file, dir, &reading.listing, emitter);
    if let Some(mut place) = place {
        *place = Some(reading);
    }
    result
}

fn emit_listing(
    file: &File<Overlay>,
    dir: &OpenDir,
    listing: &Listing,
    emitter: &mut Emitter<'_>,
) -> Result {
    let start = usize::try_from(emitter.position())?;
    for (position, entry) in listing.entries_from(start) {
        emitter.set_position(i64::try_from(position)?);
        if !entry.state.is_listed() {
            continue;
        }
        let entry = DirEntry {
            name: entry.name,
            ino: number(file, dir, &entry)?,
            d_type: entry.d_type,
        };
        if !emitter.emit(&entry) {
            return Ok(());
        }
    }
    emitter.set_position(i64::try_from(listing.len().max(start))?);
    Ok(())
}

/// The number to list for the entry.
fn number(file: &File<Overlay>, dir: &OpenDir, entry: &Entry<'_>) -> Result<u64> {
    match entry.name {
        b"." => number::shown(file.inode()),
        b".." => dir.number_above(file),
        _ => Ok(entry.ino),
    }
}

/// Reads and merges all layers of the directory, and finds out what the layers' listings do not tell.
fn make_listing(instance: &Instance, node: &Node, directory: &Dentry<Overlay>) -> Result<Made> {
    let mut listing = merge(instance, node)?;
    let found = resolve(instance, node, directory, &mut listing)?;
    if found.numbers == Numbers::AsListed {
        impure::clear(instance, node);
    }
    Ok(match found.lasts {
        true => Made::Lasting(listing),
        false => Made::Fleeting(listing),
    })
}

/// Reads and merges all layers of the directory.
///
/// # Errors
///
/// What the layers' filesystems say.
pub(super) fn merge(instance: &Instance, node: &Node) -> Result<Listing> {
    let mut merge = Merge::<Charged>::new(instance.seed());
    let mut layers = node.all().peekable();
    while let Some((id, directory)) = layers.next() {
        let position = match layers.peek() {
            Some(_) => Position::Above,
            None => Position::Lowest,
        };
        let layer = instance.layers().get(id)?;
        merge.begin(merge::Layer {
            number: id.number(),
            position,
            xwhiteouts: node.dir_kind() == DirKind::MergedWithXattrs,
        });
        read_layer(instance, layer, directory, &mut merge)?;
    }
    Ok(merge.finish()?)
}

/// What was found out of the numbers in a listing.
struct Resolved {
    /// Whether any is another one than a layer's listing has.
    numbers: Numbers,
    /// Whether all of them last.
    lasts: bool,
}

/// A number to list.
enum Number {
    /// What the layers tell.
    Lasting(u64),
    /// What only the inode knows, as long as it is in use.
    Fleeting(u64),
}

/// Finds out what the layers' listings do not tell: whether a file is a whiteout by an attribute, and the
/// number that `stat(2)` shows for what was copied up. (C: `ovl_cache_update`, but once for all.)
fn resolve(
    instance: &Instance,
    node: &Node,
    directory: &Dentry<Overlay>,
    listing: &mut Listing,
) -> Result<Resolved> {
    let mut resolved = Resolved {
        numbers: Numbers::AsListed,
        lasts: true,
    };
    for position in 0..listing.len() {
        if copy::is_being_killed() {
            return Err(EINTR);
        }
        let Some(entry) = listing.get(position) else {
            continue;
        };
        let mut state = match entry.state {
            State::Unchecked if settled(is_hidden_by_xattr(instance, node, &entry), false)? => {
                State::Whiteout
            }
            State::Unchecked => State::Shown,
            state => state,
        };
        let number = match state {
            State::Shown => {
                let found = resolved_number(instance, node, directory, &entry);
                settled(found, Some(Number::Lasting(entry.ino)))?
            }
            _ => Some(Number::Lasting(entry.ino)),
        };
        resolved.lasts &= !matches!(number, Some(Number::Fleeting(_)));
        match number {
            Some(Number::Lasting(number) | Number::Fleeting(number)) => {
                if number != entry.ino {
                    resolved.numbers = Numbers::LookUp;
                    state = State::Renumbered;
                }
                listing.set_ino(position, number);
            }
            // It went away since it was listed.
            None => {
                listing.set_state(position, State::Whiteout);
                continue;
            }
        }
        listing.set_state(position, state);
    }
    Ok(resolved)
}

/// One bad object must not keep the others from being listed: it is listed as on its layer, and `stat(2)`
/// says what is wrong with it. (C: `ovl_cache_update` fails once, and leaves it out from then on.)
fn settled<T>(found: Result<T>, otherwise: T) -> Result<T> {
    match found {
        Err(e) if e != EINTR && e != ENOMEM => Ok(otherwise),
        found => found,
    }
}

/// The number that is to be listed for the entry, or `None` if there is no such name any more.
fn resolved_number(
    instance: &Instance,
    node: &Node,
    directory: &Dentry<Overlay>,
    entry: &Entry<'_>,
) -> Result<Option<Number>> {
    let space = instance.numbers();
    // The directory's own number and that of its parent may change with the parent.
    let is_dots = matches!(entry.name, b"." | b"..");
    if is_dots || !space.same_device() {
        return Ok(Some(Number::Lasting(entry.ino)));
    }
    let layer = LayerId::from_number(entry.layer);
    if layer == LayerId::Upper && has_other_number(node, entry) {
        // An inode in use may know better than the layers, which do not tell of all objects where they were
        // copied from.
        let known = directory.cached(entry.name)?;
        return match known.as_deref().and_then(Dentry::inode) {
            Some(inode) => {
                let number = number::listed(inode)?;
                let lasts = inode.node().origin().is_none() || origin::is_told(instance, inode);
                Ok(Some(match lasts {
                    true => Number::Lasting(number),
                    false => Number::Fleeting(number),
                }))
            }
            None if is_own_number(entry) => {
                let number = space.listed(entry.ino, FsId::UPPER);
                Ok(Some(Number::Lasting(number)))
            }
            None => {
                let number = lookup::listed_number(instance, node, entry.name)?;
                Ok(number.map(Number::Lasting))
            }
        };
    }
    let fs = instance.layers().get(layer)?.fs();
    Ok(Some(Number::Lasting(space.listed(entry.ino, fs))))
}

/// Whether the entry, which is from upper and of which no inode is in use, has its own number, since the
/// mounter may not find what it was copied from.
fn is_own_number(entry: &Entry<'_>) -> bool {
    entry.d_type == FileType::Regular.d_type() && !Capability::DacReadSearch.is_held()
}

/// Whether `stat(2)` may show the number of another object for the entry, which is from upper.
fn has_other_number(node: &Node, entry: &Entry<'_>) -> bool {
    // A directory that is merged shows the number of the uppermost lower one.
    let may_merge = entry.d_type == FileType::Directory.d_type() && !node.lower().is_empty();
    may_merge || node.numbers() == Numbers::LookUp
}

/// Whether the entry, a file in a directory that may hold such whiteouts, is one.
fn is_hidden_by_xattr(instance: &Instance, node: &Node, entry: &Entry<'_>) -> Result<bool> {
    let found = node.all().find(|(id, _)| id.number() == entry.layer);
    let (id, directory) = found.ok_or(ESTALE)?;
    let layer = instance.layers().get(id)?;
    let object = layer.path(directory).lookup(entry.name, Negative::Keep)?;
    let namespace = instance.namespace();
    Ok(object.is_none_or(|object| xattr::is_whiteout(&layer.path(&object), namespace)))
}

/// By what a name is found, on a layer in the filesystem `sb`. There has to be `room` for the NUL with which
/// the kernel ends what it writes.
pub(super) fn key<'a>(
    instance: &Instance,
    sb: &SuperBlock<AnyFs>,
    name: &'a [u8],
    room: &'a mut [u8; NAME_MAX + 1],
) -> &'a [u8] {
    let folds = instance.case() == Case::Folded && !matches!(name, b"." | b"..");
    match folds {
        true => sb.fold_case(name, room).unwrap_or(name),
        false => name,
    }
}

/// Reads the directory of one layer.
fn read_layer(
    instance: &Instance,
    layer: &Layer,
    directory: &Dentry<AnyFs>,
    merge: &mut Merge<Charged>,
) -> Result {
    let path = layer.path(directory);
    let real = LayerFile::open_to_read(&path, OpenFlags::LARGE_FILE, instance.mounter())?;
    let sb = layer.mount().superblock();
    let mut room = [0; NAME_MAX + 1];
    real.for_each_entry(&mut |entry: DirEntry<'_>| {
        let key = key(instance, sb, entry.name, &mut room);
        Ok(merge.add(entry.name, key, entry.ino, entry.d_type)?)
    })?;
    merge.check_whiteouts(|name| {
        let object = match path.lookup(name, Negative::Keep) {
            Ok(object) => object,
            Err(e) if e == EINTR => return Err(e),
            // As in `ovl_check_whiteouts`: what cannot be looked at is listed.
            Err(_) => None,
        };
        let inode = object.as_deref().and_then(Dentry::inode);
        Ok(inode.is_some_and(xattr::is_whiteout_node))
    })
}
