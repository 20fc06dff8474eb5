// SPDX-License-Identifier: GPL-2.0-only

//! The VFS's tables of callbacks.
//!
//! For each there is a trait of safe methods that a filesystem implements, private trampolines that turn
//! C's arguments into typed ones and the result back, and the constant table.

pub(crate) mod dentry;
pub(crate) mod export;
pub(crate) mod file;
mod file_write;
pub(crate) mod inode;
mod inode_attr;
mod inode_change;
mod inode_names;
pub(crate) mod inode_removal;
pub(crate) mod superblock;
pub(crate) mod xattr;
