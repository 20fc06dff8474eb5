// SPDX-License-Identifier: GPL-2.0-only

//! Bindings that bindgen makes at build time of the headers in `src/bindings/bindings.h`, and those of
//! the kernel crate, under one name.
//!
//! Only `vfs` may use them.

#![allow(
    clippy::all,
    clippy::as_ptr_cast_mut,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unknown_lints,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

include!(concat!(env!("ROVL_OBJ"), "/src/bindings_generated.rs"));
