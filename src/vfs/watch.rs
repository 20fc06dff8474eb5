// SPDX-License-Identifier: GPL-2.0-only

//! Being told when something was read from or written to a file below on behalf of a file of ours.
//!
//! C header: [`include/linux/backing-file.h`](srctree/include/linux/backing-file.h).

use kernel::cred::Credential;

use super::{
    file::File,
    FileSystem, //
};
use crate::bindings;

/// Who is told.
///
/// Both methods are called in a context that may sleep, with the credentials of the task. Not always it
/// is the task that has asked for the reading or writing, which may go on after that was told so.
pub(crate) trait Watcher {
    /// The filesystem.
    type Fs: FileSystem;

    /// `file` was read, or mapped into memory.
    fn accessed(file: &File<Self::Fs>);

    /// `file` was written to, or that was tried.
    fn written(file: &File<Self::Fs>);
}

/// What C has to know to read and write with `cred`, and to tell `W` of it.
#[inline]
pub(super) fn backing_ctx<W: Watcher>(cred: &Credential) -> bindings::backing_file_ctx {
    bindings::backing_file_ctx {
        cred: cred.as_ptr(),
        accessed: Some(accessed::<W>),
        end_write: Some(end_write::<W>),
    }
}

/// # Safety
///
/// Called with the file of `W::Fs` that was read.
unsafe extern "C" fn accessed<W: Watcher>(file: *mut bindings::file) {
    // SAFETY: By the callback's contract.
    W::accessed(unsafe { File::from_raw(file) });
}

/// # Safety
///
/// Called with the request to write to a file of `W::Fs`, which is not yet completed.
unsafe extern "C" fn end_write<W: Watcher>(iocb: *mut bindings::kiocb, _written: isize) {
    // SAFETY: By the callback's contract; a request keeps its file until it is completed.
    W::written(unsafe { File::from_raw((*iocb).ki_filp) });
}
