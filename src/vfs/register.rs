// SPDX-License-Identifier: GPL-2.0-only

//! Registering a filesystem type.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use core::ptr;
use kernel::{
    error::to_result,
    prelude::*,
    types::{
        ForeignOwnable,
        Opaque, //
    },
};

use super::{
    context,
    slab::InodeCache,
    FileSystem, //
};
use crate::bindings;

/// A filesystem type, mountable as long as this lives.
///
/// # Invariants
///
/// `fs_type` is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<F: FileSystem> {
    #[pin]
    fs_type: Opaque<bindings::file_system_type>,
    // Dropped after the type has been unregistered, by the order of the fields and `PinnedDrop`.
    cache: InodeCache<F>,
}

// SAFETY: Nothing can be done with a registration but to drop it, which any thread may.
unsafe impl<F: FileSystem> Send for Registration<F> {}

// SAFETY: As above.
unsafe impl<F: FileSystem> Sync for Registration<F> {}

impl<F: FileSystem> Registration<F> {
    /// Registers the type for `module`.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a type of that name exists, `ENOMEM`.
    pub(crate) fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            cache: InodeCache::create()?,
            fs_type <- Opaque::try_ffi_init(move |slot: *mut bindings::file_system_type| {
                // CAST: Both flags are below 2^31.
                let flags = (bindings::FS_USERNS_MOUNT | bindings::FS_ALLOW_IDMAP) as c_int;
                // SAFETY: The slot is ours to write.
                unsafe {
                    slot.write(bindings::file_system_type {
                        name: F::NAME.as_char_ptr(),
                        fs_flags: flags,
                        init_fs_context: Some(context::init_fs_context::<F>),
                        kill_sb: Some(Self::kill_sb),
                        owner: module.as_ptr(),
                        ..pin_init::zeroed()
                    })
                };
                // SAFETY: The structure is filled, and pinned until it is unregistered in `drop`.
                to_result(unsafe { bindings::register_filesystem(slot) })
            }),
        }? Error)
    }
}

impl<F: FileSystem> Registration<F> {
    /// The cache for inodes of the superblock `sb`.
    ///
    /// # Safety
    ///
    /// `sb` must be a valid superblock of `F`, in use during `'a`.
    pub(super) unsafe fn cache_of<'a>(sb: *mut bindings::super_block) -> &'a InodeCache<F> {
        // SAFETY: By this function's requirements. A superblock's type stays registered as long as it is
        // in use.
        let fs_type = unsafe { (*sb).s_type };
        // SAFETY: The structure is the field of a registration, since only that registers types of `F`;
        // `Opaque` is a transparent wrapper.
        let registration =
            unsafe { kernel::container_of!(Opaque::cast_from(fs_type), Self, fs_type) };
        // SAFETY: As above; the registration is pinned until the type is unregistered.
        unsafe { &(*registration).cache }
    }

    /// Takes a superblock down.
    ///
    /// Nothing refers to it any more, but a walk along a path, which takes no references, may still come by.
    /// Its data has to last for an RCU grace period, as far as that is not over when the caches are empty.
    ///
    /// # Safety
    ///
    /// Called by the VFS, once, with a superblock of `F` that is used no more, or could not be completed.
    unsafe extern "C" fn kill_sb(sb: *mut bindings::super_block) {
        // SAFETY: By the callback's contract.
        let data = unsafe { (*sb).s_fs_info };
        if data.is_null() {
            // It could not be completed.
            // SAFETY: By the callback's contract.
            return unsafe { bindings::kill_anon_super(sb) };
        }
        // SAFETY: Can be called whenever it is allowed to sleep.
        let grace_period = unsafe { bindings::rovl_start_poll_synchronize_rcu_expedited() };
        // SAFETY: By the callback's contract. The superblock itself stays until the caller is done with it.
        unsafe { bindings::kill_anon_super(sb) };
        // SAFETY: As above.
        unsafe { bindings::rovl_cond_synchronize_rcu_expedited(grace_period) };
        // SAFETY: There are no inodes left, and there is nobody left to use the superblock.
        unsafe { (*sb).s_fs_info = ptr::null_mut() };
        // SAFETY: By the invariant of `SuperBlock` this is an owned box.
        drop(unsafe { <KBox<F::Data>>::from_foreign(data) });
    }
}

#[pinned_drop]
impl<F: FileSystem> PinnedDrop for Registration<F> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is registered.
        unsafe { bindings::unregister_filesystem(self.fs_type.get()) };
    }
}
