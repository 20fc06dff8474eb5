// SPDX-License-Identifier: GPL-2.0-only

//! Extended attributes of objects below, and the buffers in which ours are asked for.
//!
//! C header: [`include/linux/xattr.h`](srctree/include/linux/xattr.h).

use core::marker::PhantomData;
use kernel::{
    error::to_result,
    prelude::*, //
};

use super::{
    dentry::Dentry,
    dirop::WriteAccess,
    file::usize_or_errno,
    path::PathRef,
    AnyFs, //
};
use crate::bindings;

impl PathRef<'_> {
    /// Reads the extended attribute `name` into `buffer`, and returns the part that was filled. `None`
    /// if there is no such attribute, or could be none. With an empty `buffer` that is all that is told.
    ///
    /// # Errors
    ///
    /// `ERANGE` if the value is longer than `buffer`, and what the filesystem says.
    pub(crate) fn xattr<'b>(&self, name: &CStr, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>> {
        match self.xattr_into(name, buffer) {
            // Without any room the length is that of the value.
            Ok(len) => Ok(Some(buffer.get(..len).unwrap_or(&[]))),
            Err(e) if e == ENODATA || e == EOPNOTSUPP => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Where C shall write to. Filesystems take a pointer that is not null for room, of whatever size.
fn start_of(buffer: &mut [u8]) -> *mut c_void {
    if buffer.is_empty() {
        core::ptr::null_mut()
    } else {
        buffer.as_mut_ptr().cast()
    }
}

/// Room for the value of an attribute that somebody asks for.
///
/// # Invariants
///
/// `len` bytes from `start` on are ours to write during `'a`. They may be uninitialised.
pub(crate) struct ValueBuffer<'a> {
    start: *mut c_void,
    len: usize,
    _borrowed: PhantomData<&'a mut [u8]>,
}

impl ValueBuffer<'_> {
    /// No room at all: the length of the value is all that can be told.
    pub(crate) const NONE: Self = Self {
        // INVARIANT: There are no bytes to be written.
        start: core::ptr::null_mut(),
        len: 0,
        _borrowed: PhantomData,
    };

    /// Wraps the arguments of the `get` callback.
    ///
    /// # Safety
    ///
    /// They must be as in the type invariant as long as this lives.
    pub(super) unsafe fn from_raw(start: *mut c_void, len: usize) -> Self {
        // INVARIANT: By this function's requirements.
        Self {
            start,
            len,
            _borrowed: PhantomData,
        }
    }
}

/// Room for a list of names, each with a NUL behind it, that somebody asks for.
///
/// # Invariants
///
/// As for [`ValueBuffer`].
pub(crate) struct ListBuffer<'a> {
    start: *mut c_char,
    len: usize,
    _borrowed: PhantomData<&'a mut [u8]>,
}

impl ListBuffer<'_> {
    /// Wraps the arguments of the `listxattr` callback.
    ///
    /// # Safety
    ///
    /// They must be as in the type invariant as long as this lives.
    pub(super) unsafe fn from_raw(start: *mut c_char, len: usize) -> Self {
        // INVARIANT: By this function's requirements.
        Self {
            start,
            len,
            _borrowed: PhantomData,
        }
    }
}

/// The answer to asking for names.
pub(crate) enum NameList<'a> {
    /// There was no room, this much is needed.
    Length(usize),
    /// The names, each with a NUL behind it.
    Names(&'a mut [u8]),
}

impl PathRef<'_> {
    /// Reads the extended attribute `name`, and returns the length of its value. With no room at all
    /// that is all that is done.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is none, `ERANGE` if there is too little room, and what the filesystem says.
    pub(crate) fn read_xattr(&self, name: &CStr, buffer: ValueBuffer<'_>) -> Result<usize> {
        // SAFETY: All are valid, and by its invariant the buffer has this size.
        let len = unsafe {
            bindings::vfs_getxattr(
                self.mount.idmap().as_ptr(),
                self.dentry.as_ptr(),
                name.as_char_ptr(),
                buffer.start,
                buffer.len,
            )
        };
        usize_or_errno(len)
    }

    /// Lists the names of all extended attributes.
    ///
    /// # Errors
    ///
    /// `ERANGE` if there is too little room, and what the filesystem says.
    pub(crate) fn list_xattrs<'b>(&self, buffer: ListBuffer<'b>) -> Result<NameList<'b>> {
        // SAFETY: The dentry is valid, and by its invariant the buffer has this size.
        let len =
            unsafe { bindings::vfs_listxattr(self.dentry.as_ptr(), buffer.start, buffer.len) };
        let len = usize_or_errno(len)?;
        if buffer.len == 0 || len == 0 {
            return Ok(NameList::Length(len));
        }
        if len > buffer.len {
            return Err(EIO);
        }
        // SAFETY: The buffer is ours by its invariant, and the filesystem has filled that much of it.
        let names = unsafe { core::slice::from_raw_parts_mut(buffer.start.cast(), len) };
        Ok(NameList::Names(names))
    }
}

impl PathRef<'_> {
    /// The names of all extended attributes, each with a NUL behind it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what the filesystem says. That it has no attributes is no error.
    pub(crate) fn all_xattrs(&self) -> Result<KVVec<u8>> {
        let mut names = KVVec::new();
        // SAFETY: The dentry is valid, and without a size nothing is written.
        let len =
            unsafe { bindings::vfs_listxattr(self.dentry.as_ptr(), core::ptr::null_mut(), 0) };
        let len = match usize_or_errno(len) {
            Err(error) if error == EOPNOTSUPP => 0,
            result => result?,
        };
        if len == 0 {
            return Ok(names);
        }
        names.resize(len, 0, GFP_KERNEL)?;
        // SAFETY: The dentry is valid, and the size is that of the buffer.
        let len = unsafe {
            bindings::vfs_listxattr(self.dentry.as_ptr(), names.as_mut_ptr().cast(), names.len())
        };
        names.truncate(usize_or_errno(len)?);
        Ok(names)
    }

    /// Reads the extended attribute `name` whole. `buffer` is grown if it is too small, and may be used
    /// again.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is none, `EIO` if its length changes meanwhile, `ENOMEM`, and what the filesystem says.
    pub(crate) fn whole_xattr<'b>(
        &self,
        name: &CStr,
        buffer: &'b mut KVVec<u8>,
    ) -> Result<&'b [u8]> {
        let mut len = match self.xattr_into(name, buffer) {
            Err(error) if error == ERANGE => match self.xattr_into(name, &mut [])? {
                // It has become shorter meanwhile: what the buffer holds is not of it.
                len if len <= buffer.len() => return Err(EIO),
                len => len,
            },
            // Without any room the length is that of the value, too.
            result => result?,
        };
        if len > buffer.len() {
            buffer.resize(len, 0, GFP_KERNEL)?;
            len = match self.xattr_into(name, buffer) {
                Err(error) if error == ERANGE => return Err(EIO),
                result => result?,
            };
        }
        buffer.get(..len).ok_or(EIO)
    }

    fn xattr_into(&self, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
        // SAFETY: All are valid, and the size is that of the buffer.
        usize_or_errno(unsafe {
            bindings::vfs_getxattr(
                self.mount.idmap().as_ptr(),
                self.dentry.as_ptr(),
                name.as_char_ptr(),
                start_of(buffer),
                buffer.len(),
            )
        })
    }
}

/// What is to become of an extended attribute.
#[derive(Clone, Copy)]
pub(crate) enum XattrChange<'a> {
    /// It gets this value.
    Set(&'a [u8], SetFlags),
    /// It goes away.
    Remove,
}

/// Whether an attribute may, or must, exist before it is set (C: `XATTR_CREATE`, `XATTR_REPLACE`).
#[derive(Clone, Copy)]
pub(crate) struct SetFlags(c_int);

impl XattrChange<'_> {
    /// From the arguments of the `set` callback.
    ///
    /// # Safety
    ///
    /// `value` must be null, or point to `size` bytes that are not changed as long as this lives.
    pub(super) unsafe fn from_raw(value: *const c_void, size: usize, flags: c_int) -> Self {
        if value.is_null() {
            return Self::Remove;
        }
        // SAFETY: By this function's requirements.
        let value = unsafe { core::slice::from_raw_parts(value.cast(), size) };
        Self::Set(value, SetFlags(flags))
    }
}

impl WriteAccess<'_> {
    /// Sets the extended attribute `name`.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the filesystem has none such, `EPERM`, and what else the filesystem says.
    pub(crate) fn set_xattr(&self, dentry: &Dentry<AnyFs>, name: &CStr, value: &[u8]) -> Result {
        self.change_xattr(dentry, name, XattrChange::Set(value, SetFlags(0)))
    }

    /// Sets or removes the extended attribute `name`. The inode's lock is taken.
    ///
    /// # Errors
    ///
    /// `ENODATA` or `EEXIST` as the change demands, `EOPNOTSUPP` if the filesystem has none such, and what
    /// else it or a security module says.
    pub(crate) fn change_xattr(
        &self,
        dentry: &Dentry<AnyFs>,
        name: &CStr,
        change: XattrChange<'_>,
    ) -> Result {
        let XattrChange::Set(value, SetFlags(flags)) = change else {
            return self.remove_xattr(dentry, name);
        };
        // SAFETY: All are valid, and the size is that of the value.
        to_result(unsafe {
            bindings::vfs_setxattr(
                self.idmap(),
                dentry.as_ptr(),
                name.as_char_ptr(),
                value.as_ptr().cast(),
                value.len(),
                flags,
            )
        })
    }
}
