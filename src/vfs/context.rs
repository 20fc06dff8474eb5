// SPDX-License-Identifier: GPL-2.0-only

//! Mounting: the context that collects options, until a superblock is made of them.
//!
//! C header: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h). See also
//! [`Documentation/filesystems/mount_api.rst`](srctree/Documentation/filesystems/mount_api.rst).

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::from_result,
    fmt,
    prelude::*,
    str::BStr,
    types::ForeignOwnable, //
};

use super::{
    path::Path,
    superblock::{
        NewSuperBlock,
        SuperBlock, //
    },
    FileSystem, //
};
use crate::bindings;

/// What a filesystem does with the options of a mount.
///
/// Each value belongs to one context, and is used by one task at a time.
pub(crate) trait MountContext: Send + Sized {
    /// The filesystem.
    type Fs: FileSystem;

    /// Begins a new mount.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn begin() -> Result<KBox<Self>>;

    /// Takes one option.
    ///
    /// # Errors
    ///
    /// [`ParamError::Unknown`] if there is no such option, any other for a reason that has been logged.
    fn parse(&mut self, log: &Log<'_>, param: &Param<'_>) -> Result<(), ParamError>;

    /// Makes the superblock, now that all options are known.
    ///
    /// # Errors
    ///
    /// For any reason, that has been logged.
    fn fill(&mut self, log: &Log<'_>, sb: NewSuperBlock<'_, Self::Fs>) -> Result;

    /// Finds the end of the first option in `data`, the text of options that `mount(2)` takes: the index
    /// of the comma behind it, if there is one.
    fn option_end(data: &[u8]) -> Option<usize>;

    /// Changes a superblock that is mounted. `read_only` is what it shall be.
    ///
    /// # Errors
    ///
    /// `EROFS` if it cannot be made writable.
    fn reconfigure(sb: &SuperBlock<Self::Fs>, read_only: bool) -> Result;
}

/// Why an option was not taken.
pub(crate) enum ParamError {
    /// There is no option of this name.
    Unknown,
    /// It was refused.
    Refused(Error),
}

impl From<Error> for ParamError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<kernel::alloc::AllocError> for ParamError {
    fn from(error: kernel::alloc::AllocError) -> Self {
        Self::Refused(error.into())
    }
}

/// Where the reasons go that a mount fails for: to the reader of the context if there is one, else to the
/// kernel's log.
///
/// # Invariants
///
/// The context is valid during `'a`.
pub(crate) struct Log<'a> {
    fc: NonNull<bindings::fs_context>,
    _borrowed: PhantomData<&'a ()>,
}

/// An error as text for a log: its name where the kernel knows names.
pub(crate) struct Errno(pub(crate) Error);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.name() {
            Some(name) => f.write_fmt(fmt!("{}", BStr::from_bytes(name.to_bytes()))),
            None => f.write_fmt(fmt!("errno {}", self.0.to_errno().unsigned_abs())),
        }
    }
}

impl Log<'_> {
    fn write(&self, level: u8, args: fmt::Arguments<'_>) {
        // SAFETY: By the type invariant.
        let log = unsafe { &(*self.fc.as_ptr()).log };
        // SAFETY: The format asks for one argument, which `%pA` prints.
        unsafe {
            bindings::logfc(
                log.log,
                log.prefix,
                // CAST: An ASCII letter.
                level as c_char,
                c"%pA".as_char_ptr(),
                core::ptr::from_ref(&args).cast::<c_void>(),
            )
        };
    }

    /// Notes why the mount is refused. Returns `EINVAL`, the most frequent error, for the caller to
    /// return if that is the one.
    pub(crate) fn refuse(&self, args: fmt::Arguments<'_>) -> Error {
        self.write(b'e', args);
        EINVAL
    }

    /// Notes something that the mounter may not expect.
    pub(crate) fn warn(&self, args: fmt::Arguments<'_>) {
        self.write(b'w', args);
    }

    /// Notes something worth knowing.
    pub(crate) fn inform(&self, args: fmt::Arguments<'_>) {
        self.write(b'i', args);
    }

    /// Whether the mounter tries what may well fail, and wants no complaint about it (`MS_SILENT`).
    pub(crate) fn is_silent(&self) -> bool {
        // SAFETY: By the type invariant.
        let flags = unsafe { (*self.fc.as_ptr()).sb_flags };
        flags & bindings::ROVL_SB_SILENT != 0
    }
}

/// One option.
///
/// # Invariants
///
/// Valid during `'a`.
pub(crate) struct Param<'a> {
    raw: &'a bindings::fs_parameter,
    fc: NonNull<bindings::fs_context>,
}

/// The value of an option.
pub(crate) enum Value<'a> {
    /// There is none.
    Flag,
    /// A string.
    String(&'a CStr),
    /// An open file, of which the path counts.
    File(Path),
    /// Anything else that `fsconfig(2)` can pass.
    Other,
}

impl Param<'_> {
    /// The name of the option.
    pub(crate) fn key(&self) -> &CStr {
        // SAFETY: A parameter has a key, which is a C string.
        unsafe { CStr::from_char_ptr(self.raw.key) }
    }

    /// The value.
    pub(crate) fn value(&self) -> Value<'_> {
        match self.raw.type_() {
            bindings::fs_value_type_fs_value_is_flag => Value::Flag,
            bindings::fs_value_type_fs_value_is_string => {
                // SAFETY: By the type this variant of the union is in use.
                let string = unsafe { self.raw.__bindgen_anon_1.string };
                if string.is_null() {
                    return Value::Other;
                }
                // SAFETY: A string value is a C string.
                Value::String(unsafe { CStr::from_char_ptr(string) })
            }
            bindings::fs_value_type_fs_value_is_file => {
                // SAFETY: By the type this variant of the union is in use.
                let file = unsafe { self.raw.__bindgen_anon_1.file };
                if file.is_null() {
                    return Value::Other;
                }
                // SAFETY: The parameter holds the file, and a file holds its path.
                Value::File(unsafe { Path::copy_of(&(*file).__bindgen_anon_1.f_path) })
            }
            _ => Value::Other,
        }
    }

    /// Whether the task that gives the option is in the user namespace that the mount was begun in, or
    /// in one below.
    pub(crate) fn is_from_inside(&self) -> bool {
        // SAFETY: By the type invariant the context is valid, and it holds its namespace.
        unsafe { bindings::current_in_userns((*self.fc.as_ptr()).user_ns) }
    }
}

/// Whether the current task is in the user namespace that the context was made in.
fn in_same_userns(fc: NonNull<bindings::fs_context>) -> bool {
    // SAFETY: The context is valid, and the task's own credentials do not change under it.
    unsafe { (*fc.as_ptr()).user_ns == bindings::rovl_current_user_ns() }
}

/// The table of callbacks for contexts of `F`.
struct ContextTable<F>(PhantomData<F>);

impl<F: FileSystem> ContextTable<F> {
    const TABLE: &'static bindings::fs_context_operations = &bindings::fs_context_operations {
        free: Some(Self::free),
        parse_param: Some(Self::parse_param),
        parse_monolithic: Some(Self::parse_monolithic),
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS, once, with a context that `init_fs_context` prepared.
    unsafe extern "C" fn free(fc: *mut bindings::fs_context) {
        // SAFETY: The context is valid by the callback's contract.
        let private = unsafe { (*fc).fs_private };
        if !private.is_null() {
            // SAFETY: `init_fs_context` put it there, and the VFS does not use the context again.
            drop(unsafe { <KBox<F::Context>>::from_foreign(private) });
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a context that `init_fs_context` prepared, whose mutex is held, and a valid
    /// parameter.
    unsafe extern "C" fn parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> c_int {
        // SAFETY: By the callback's contract.
        let (context, raw) = unsafe { (&*fc, &*param) };
        // INVARIANT: Both are valid for the time of the callback.
        let log = Log {
            fc: NonNull::from(context),
            _borrowed: PhantomData,
        };
        // INVARIANT: As above.
        let param = Param {
            raw,
            fc: NonNull::from(context),
        };
        if context.purpose() == bindings::fs_context_purpose_FS_CONTEXT_FOR_RECONFIGURE {
            // mount(2) has always ignored options on remount, well-formed or not.
            if context.oldapi() {
                return 0;
            }
            return log
                .refuse(fmt!("No changes allowed in reconfigure"))
                .to_errno();
        }
        let private = context.fs_private;
        if private.is_null() {
            return EINVAL.to_errno();
        }
        // SAFETY: `init_fs_context` put a `KBox<F::Context>` there, and the context's mutex, which is
        // held, keeps everyone else out.
        let this = unsafe { <KBox<F::Context>>::borrow_mut(private) };
        match this.parse(&log, &param) {
            Ok(()) => 0,
            // The VFS then tries its own, and says that the parameter is unknown.
            Err(ParamError::Unknown) => ENOPARAM,
            Err(ParamError::Refused(error)) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a context that `init_fs_context` prepared, and the data of `mount(2)`, a
    /// string or null.
    unsafe extern "C" fn parse_monolithic(
        fc: *mut bindings::fs_context,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: By the callback's contract, and the separator accepts any string.
        unsafe { bindings::vfs_parse_monolithic_sep(fc, data, Some(Self::next_option)) }
    }

    /// # Safety
    ///
    /// Called by `vfs_parse_monolithic_sep`: `rest` points to a string that may be written to, or to null.
    unsafe extern "C" fn next_option(rest: *mut *mut c_char) -> *mut c_char {
        // SAFETY: By this function's requirements.
        let start = unsafe { *rest };
        if start.is_null() {
            return start;
        }
        // SAFETY: By this function's requirements it is a C string.
        let data = unsafe { CStr::from_char_ptr(start) }.to_bytes();
        let next = match F::Context::option_end(data).filter(|end| *end < data.len()) {
            Some(end) => {
                // SAFETY: The index is within the string.
                let comma = unsafe { start.add(end) };
                // SAFETY: The string may be written to.
                unsafe { comma.write(0) };
                // SAFETY: At the comma's place the string did not end, so there is at least its NUL
                // behind.
                unsafe { comma.add(1) }
            }
            None => core::ptr::null_mut(),
        };
        // SAFETY: By this function's requirements.
        unsafe { *rest = next };
        start
    }

    /// # Safety
    ///
    /// Called by the VFS with a context that `init_fs_context` prepared.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: By the callback's contract, and `fill_super` fits this type of filesystem.
        unsafe { bindings::get_tree_nodev(fc, Some(Self::fill_super)) }
    }

    /// # Safety
    ///
    /// Called by `get_tree_nodev` with a new superblock and the context.
    unsafe extern "C" fn fill_super(
        sb: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> c_int {
        from_result(|| {
            let fc = NonNull::new(fc).ok_or(EINVAL)?;
            // INVARIANT: By the callback's contract.
            let log = Log {
                fc,
                _borrowed: PhantomData,
            };
            // The descriptor of the context may have been passed to another user namespace.
            if !in_same_userns(fc) {
                return Err(log.refuse(fmt!(
                    "the mount must be created in the user namespace that began it"
                )));
            }
            // SAFETY: The context is valid.
            let private = unsafe { (*fc.as_ptr()).fs_private };
            if private.is_null() {
                return Err(EINVAL);
            }
            // SAFETY: `init_fs_context` put a `KBox<F::Context>` there, and the context's mutex, which is
            // held, keeps everyone else out.
            let this = unsafe { <KBox<F::Context>>::borrow_mut(private) };
            // SAFETY: `get_tree_nodev` has just made the superblock, of our type. `s_fs_info` is what the
            // context had proposed, which is nothing.
            let sb = unsafe { NewSuperBlock::from_raw(sb) };
            this.fill(&log, sb)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS with a context for a superblock of `F` that is mounted, whose `s_umount` is held.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: By the callback's contract.
            let fc = unsafe { &*fc };
            // SAFETY: A context for reconfiguring holds the root of what it is for.
            let sb = unsafe { SuperBlock::<F>::from_raw((*fc.root).d_sb) };
            F::Context::reconfigure(sb, fc.sb_flags & bindings::ROVL_SB_RDONLY != 0)?;
            Ok(0)
        })
    }
}

/// What `parse_param` returns for an option that it does not know. It never leaves the kernel.
const ENOPARAM: c_int = -519;

/// Prepares a context.
///
/// # Safety
///
/// Called by the VFS with a context for the type `F`.
pub(super) unsafe extern "C" fn init_fs_context<F: FileSystem>(
    fc: *mut kernel::bindings::fs_context,
) -> c_int {
    from_result(|| {
        // SAFETY: By the callback's contract the context is valid and ours.
        let fc = unsafe { &mut *fc.cast::<bindings::fs_context>() };
        if fc.purpose() != bindings::fs_context_purpose_FS_CONTEXT_FOR_RECONFIGURE {
            fc.fs_private = F::Context::begin()?.into_foreign();
        }
        fc.ops = ContextTable::<F>::TABLE;
        Ok(0)
    })
}
