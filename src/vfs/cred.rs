// SPDX-License-Identifier: GPL-2.0-only

//! Credentials: making a copy of the caller's, and acting under others for a while.
//!
//! C header: [`include/linux/cred.h`](srctree/include/linux/cred.h).

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    cred::Credential,
    prelude::*,
    sync::aref::ARef, //
};

use crate::bindings;

/// What a task may need a capability for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capability {
    /// Administration, such as the attributes `trusted.*`.
    SysAdmin,
    /// Opening files by handle.
    DacReadSearch,
}

impl Capability {
    /// Whether the credentials in force have it in the initial user namespace.
    pub(crate) fn is_held(self) -> bool {
        let capability = match self {
            Self::SysAdmin => bindings::CAP_SYS_ADMIN,
            Self::DacReadSearch => bindings::CAP_DAC_READ_SEARCH,
        };
        // SAFETY: There are no requirements.
        // CAST: The constants are below 64.
        unsafe { bindings::capable(capability as c_int) }
    }
}

/// A private copy of the caller's credentials, that can still be changed.
///
/// # Invariants
///
/// Owns the only reference to the credentials.
pub(crate) struct NewCredential(NonNull<bindings::cred>);

impl NewCredential {
    /// Copies the credentials that are in force.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn prepare() -> Result<Self> {
        // SAFETY: There are no requirements.
        let cred = unsafe { bindings::prepare_creds() };
        // INVARIANT: `prepare_creds` returns credentials that nobody else knows.
        NonNull::new(cred).map(Self).ok_or(ENOMEM)
    }

    /// C's pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::cred {
        self.0.as_ptr()
    }

    /// Takes the right to override quota limits and to use reserved space out of the effective set.
    pub(crate) fn drop_sys_resource(&mut self) {
        let capability = bindings::CAP_SYS_RESOURCE as c_int; // CAST: The constant is 24.

        // SAFETY: By the type invariant nobody else uses these credentials.
        unsafe { bindings::rovl_cap_lower(self.0.as_ptr(), capability) };
    }

    /// Makes the credentials immutable and shareable.
    pub(crate) fn freeze(self) -> ARef<Credential> {
        let ptr = core::mem::ManuallyDrop::new(self).0;
        // SAFETY: By the type invariant we own a reference, which is handed over, and `Credential` is a
        // transparent wrapper.
        unsafe { ARef::from_raw(ptr.cast()) }
    }
}

impl Drop for NewCredential {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own a reference.
        unsafe { bindings::put_cred(self.0.as_ptr()) };
    }
}

/// Whether the current credentials have the right to administer the whole system. Asking leaves no trace
/// in the audit log.
pub(crate) fn is_system_admin() -> bool {
    let capability = bindings::CAP_SYS_ADMIN as c_int; // CAST: The constant is 21.

    // SAFETY: The initial user namespace is static, and never goes away.
    unsafe { bindings::ns_capable_noaudit(&raw mut bindings::init_user_ns, capability) }
}

/// While this lives, the current task acts with other credentials than its own.
///
/// Guards must be dropped in the reverse order in which they were made, as scopes do by themselves.
///
/// # Invariants
///
/// `previous` are the credentials that were in force when the guard was made, and some guard further out
/// or the task itself keeps them alive.
#[must_use = "the credentials are reverted at once when this is dropped"]
pub(crate) struct Override<'a> {
    previous: *const bindings::cred,
    _borrowed: PhantomData<&'a Credential>,
}

impl<'a> Override<'a> {
    /// Puts `cred` in force until the guard is dropped.
    #[inline]
    pub(crate) fn enter(cred: &'a Credential) -> Self {
        // SAFETY: `cred` outlives the guard, which takes it out of force when it is dropped.
        let previous = unsafe { bindings::rovl_override_creds(cred.as_ptr()) };
        // INVARIANT: That is what `override_creds` returns, and it takes over the duty to revert.
        Self {
            previous,
            _borrowed: PhantomData,
        }
    }

    /// Puts the credentials of the task itself in force, whatever else is overridden now.
    #[inline]
    pub(crate) fn enter_task_own() -> Self {
        // SAFETY: The pointer is that of the current task, and its real credentials can be changed only
        // by the task itself, which is here.
        let own = unsafe { (*bindings::get_current()).real_cred };
        // SAFETY: The task keeps its real credentials alive until it changes them, as above.
        let previous = unsafe { bindings::rovl_override_creds(own) };
        // INVARIANT: As in `enter`.
        Self {
            previous,
            _borrowed: PhantomData,
        }
    }
}

impl Override<'_> {
    /// C's pointer to the credentials that were in force before.
    pub(super) fn previous(&self) -> *const bindings::cred {
        self.previous
    }
}

impl Drop for Override<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant `previous` is alive, and was in force before.
        unsafe { bindings::rovl_revert_creds(self.previous) };
    }
}
