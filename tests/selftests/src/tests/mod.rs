// SPDX-License-Identifier: GPL-2.0-only

//! The tests, one file per subject.

mod acl;
mod acl_change;
mod bad_input;
mod casefold;
mod casefold_change;
mod chmod;
mod copy_up;
mod copy_up_data;
mod copy_up_fails;
mod copy_up_meanwhile;
mod copy_up_remote;
mod cost;
mod create;
mod create_where;
mod exec;
mod features;
mod file_io;
mod fileattr;
mod fileattr_change;
mod freeze;
mod handles;
mod idmap;
mod link;
mod listing;
mod lookup;
mod loop_device;
mod mmap;
mod module;
mod mount;
mod mount_api;
mod mount_defaults;
mod mount_errors;
mod mount_options;
mod mount_refused;
mod mount_setup;
mod mount_state;
mod names;
mod numbers;
mod open;
mod owner;
mod path;
mod perm;
mod read;
mod readdir;
mod readdir_memory;
mod readdir_seek;
mod readonly;
mod redirect;
mod remote;
mod remove;
mod remove_links;
mod removed;
mod rename;
mod rename_dirs;
mod revalidate;
mod selinux;
mod shared_names;
mod special;
mod stale;
mod stat;
mod statfs;
mod symlink;
mod sync;
mod times;
mod truncate;
mod umount;
mod whiteout;
mod whiteout_attr;
mod write;
mod write_async;
mod write_copy;
mod write_limits;
mod write_mmap;
mod write_privileges;
mod write_quota;
mod xattr;
mod xattr_change;

use crate::registry::Test;

/// All tests in the order they run.
pub const ALL: &[&[Test]] = &[
    mount::TESTS,
    mount_errors::TESTS,
    mount_api::TESTS,
    lookup::TESTS,
    whiteout::TESTS,
    whiteout_attr::TESTS,
    names::TESTS,
    stat::TESTS,
    symlink::TESTS,
    special::TESTS,
    perm::TESTS,
    exec::TESTS,
    readdir::TESTS,
    readdir_memory::TESTS,
    readdir_seek::TESTS,
    read::TESTS,
    open::TESTS,
    mmap::TESTS,
    statfs::TESTS,
    umount::TESTS,
    path::TESTS,
    create::TESTS,
    create_where::TESTS,
    link::TESTS,
    listing::TESTS,
    readonly::TESTS,
    copy_up::TESTS,
    copy_up_data::TESTS,
    copy_up_fails::TESTS,
    copy_up_meanwhile::TESTS,
    copy_up_remote::TESTS,
    sync::TESTS,
    remove::TESTS,
    remove_links::TESTS,
    removed::TESTS,
    rename::TESTS,
    rename_dirs::TESTS,
    redirect::TESTS,
    shared_names::TESTS,
    mount_options::TESTS,
    mount_defaults::TESTS,
    mount_refused::TESTS,
    mount_setup::TESTS,
    numbers::TESTS,
    handles::TESTS,
    casefold::TESTS,
    casefold_change::TESTS,
    idmap::TESTS,
    revalidate::TESTS,
    remote::TESTS,
    xattr::TESTS,
    acl::TESTS,
    fileattr::TESTS,
    file_io::TESTS,
    write::TESTS,
    write_async::TESTS,
    write_copy::TESTS,
    write_mmap::TESTS,
    write_limits::TESTS,
    freeze::TESTS,
    write_privileges::TESTS,
    write_quota::TESTS,
    stale::TESTS,
    bad_input::TESTS,
    mount_state::TESTS,
    chmod::TESTS,
    owner::TESTS,
    times::TESTS,
    truncate::TESTS,
    xattr_change::TESTS,
    acl_change::TESTS,
    fileattr_change::TESTS,
    features::TESTS,
    loop_device::TESTS,
    selinux::TESTS,
    cost::TESTS,
    module::TESTS,
];
