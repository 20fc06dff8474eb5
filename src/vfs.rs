// SPDX-License-Identifier: GPL-2.0-only

//! A safe face of the kernel's VFS for filesystems that stack on others.
//!
//! Everything here is general: it knows superblocks, inodes, dentries, files and mounts, and nothing of
//! what a stacking filesystem makes of them. It is also the only part of the module, beside the
//! generated bindings, that has unsafe code.
//!
//! One C structure serves two parties: the stacking filesystem's own objects, and the objects of the
//! filesystems below it. They must never be mixed up, so each wrapper is typed by its owner:
//! `Inode<F>` is an inode of the filesystem `F`, with `F`'s node embedded in it, `Inode<AnyFs>` is
//! one of some filesystem below, about which nothing more is known.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/dcache.h`](srctree/include/linux/dcache.h),
//! [`include/linux/mount.h`](srctree/include/linux/mount.h).

pub(crate) mod acl;
pub(crate) mod attr;
pub(crate) mod backing;
pub(crate) mod context;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod cred;
pub(crate) mod dentry;
pub(crate) mod dirop;
pub(crate) mod encoding;
pub(crate) mod exclusive;
pub(crate) mod features;
pub(crate) mod file;
pub(crate) mod fileattr;
pub(crate) mod handle;
pub(crate) mod inode;
pub(crate) mod layer_files;
pub(crate) mod lock;
pub(crate) mod locked_name;
pub(crate) mod lookup;
pub(crate) mod modify;
pub(crate) mod mount;
pub(crate) mod name;
pub(crate) mod param;
pub(crate) mod path;
pub(crate) mod random;
pub(crate) mod readdir;
pub(crate) mod register;
pub(crate) mod replicate;
pub(crate) mod revalidate;
pub(crate) mod seq;
pub(crate) mod setattr;
pub(crate) mod slab;
pub(crate) mod slot;
pub(crate) mod superblock;
pub(crate) mod symlink;
pub(crate) mod tmpfile;
pub(crate) mod try_cell;
pub(crate) mod vtable;
pub(crate) mod watch;
pub(crate) mod write;
pub(crate) mod xattr;

use kernel::prelude::*;

use self::{
    context::MountContext,
    inode::Node,
    vtable::{
        dentry::DentryOps,
        export::ExportOps,
        inode::InodeTables,
        superblock::SuperOps,
        xattr::XattrHandlers, //
    }, //
};

/// The owner of objects about which nothing is known but that they belong to a filesystem below.
pub(crate) enum AnyFs {}

/// A filesystem type that is implemented on this module.
pub(crate) trait FileSystem: Sized + Send + Sync + 'static {
    /// The name to mount it by.
    const NAME: &'static CStr;

    /// What `statfs(2)` reports as `f_type`.
    const MAGIC: c_ulong;

    /// What each superblock owns.
    type Data: Send + Sync + 'static;

    /// What each inode owns.
    type Node: Node<Fs = Self>;

    /// Collects the options of a mount, and makes the superblock.
    type Context: MountContext<Fs = Self>;

    /// Callbacks of the superblock.
    type SuperOps: SuperOps<Fs = Self>;

    /// Callbacks of all dentries.
    type DentryOps: DentryOps<Fs = Self>;

    /// Callbacks that make file handles.
    type ExportOps: ExportOps<Fs = Self>;

    /// Callbacks of each kind of inode.
    type Inodes: InodeTables<Fs = Self>;

    /// Callbacks for extended attributes.
    type Xattrs: XattrHandlers<Fs = Self>;
}
