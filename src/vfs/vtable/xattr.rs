// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks for extended attributes, one set for each prefix of names.
//!
//! C header: [`include/linux/xattr.h`](srctree/include/linux/xattr.h).

use core::{
    marker::PhantomData,
    ptr, //
};
use kernel::{
    error::from_result,
    prelude::*, //
};

use crate::{
    bindings,
    vfs::{
        dentry::Dentry,
        inode::Inode,
        xattr::{
            ValueBuffer,
            XattrChange, //
        },
        FileSystem, //
    },
};

/// What a filesystem does with the attributes whose names have one prefix.
pub(crate) trait XattrHandler {
    /// The filesystem.
    type Fs: FileSystem;

    /// The prefix. An empty one stands for all names.
    const PREFIX: &'static CStr;

    /// Reads the attribute named [`Self::PREFIX`] and `rest`, and returns the length of its value.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is none, `ERANGE` if the buffer is too small, and what a filesystem below says.
    fn get(inode: &Inode<Self::Fs>, rest: &CStr, value: ValueBuffer<'_>) -> Result<usize>;

    /// Sets or removes the attribute named [`Self::PREFIX`] and `rest`. The inode is locked.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is none to be removed or replaced, `EEXIST` if there is one and it should be new,
    /// and what a filesystem below says.
    fn change(dentry: &Dentry<Self::Fs>, rest: &CStr, change: XattrChange<'_>) -> Result;
}

/// Which handlers a filesystem has.
pub(crate) trait XattrHandlers {
    /// The filesystem.
    type Fs: FileSystem;

    /// Those of the superblock that `data` belongs to.
    fn of(data: &<Self::Fs as FileSystem>::Data) -> XattrTable<Self::Fs>;
}

/// A list of handlers in the order in which they are tried.
pub(crate) struct XattrTable<F> {
    list: &'static [*const bindings::xattr_handler],
    _owner: PhantomData<fn() -> F>,
}

impl<F: FileSystem> XattrTable<F> {
    /// The names with the prefix of `A` go to `A`, those that are left to `B`.
    pub(crate) const fn of_two<A, B>() -> Self
    where
        A: XattrHandler<Fs = F>,
        B: XattrHandler<Fs = F>,
    {
        Self {
            list: Two::<A, B>::LIST,
            _owner: PhantomData,
        }
    }

    /// What `s_xattr` is set to: a list that ends with null.
    pub(in crate::vfs) fn as_ptr(&self) -> *const *const bindings::xattr_handler {
        self.list.as_ptr()
    }
}

struct Two<A, B>(PhantomData<(A, B)>);

impl<A: XattrHandler, B: XattrHandler> Two<A, B> {
    const LIST: &'static [*const bindings::xattr_handler] = &[
        HandlerTable::<A>::TABLE,
        HandlerTable::<B>::TABLE,
        ptr::null(),
    ];
}

/// The table for `T`.
struct HandlerTable<T>(PhantomData<T>);

impl<T: XattrHandler> HandlerTable<T> {
    const TABLE: &'static bindings::xattr_handler = &bindings::xattr_handler {
        prefix: T::PREFIX.to_bytes_with_nul().as_ptr(),
        get: Some(Self::get),
        set: Some(Self::set),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS with an inode of `T::Fs`, the rest of a name, and room for `size` bytes.
    unsafe extern "C" fn get(
        _handler: *const bindings::xattr_handler,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        rest: *const c_char,
        buffer: *mut c_void,
        size: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let inode = unsafe { Inode::from_raw(inode) };
            // SAFETY: By the callback's contract.
            let rest = unsafe { CStr::from_char_ptr(rest) };
            // SAFETY: By the callback's contract.
            let value = unsafe { ValueBuffer::from_raw(buffer, size) };
            Ok(c_int::try_from(T::get(inode, rest, value)?)?)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a positive dentry of `T::Fs` whose inode is locked, the rest of a name, and
    /// `size` bytes, or null to remove the attribute.
    unsafe extern "C" fn set(
        _handler: *const bindings::xattr_handler,
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        _inode: *mut bindings::inode,
        rest: *const c_char,
        value: *const c_void,
        size: usize,
        flags: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let dentry = unsafe { Dentry::from_raw(dentry) };
            // SAFETY: By the callback's contract.
            let rest = unsafe { CStr::from_char_ptr(rest) };
            // SAFETY: By the callback's contract.
            let change = unsafe { XattrChange::from_raw(value, size, flags) };
            T::change(dentry, rest, change)?;
            Ok(0)
        })
    }
}
