// SPDX-License-Identifier: GPL-2.0-only

//! What is checked is in `src/targets/options.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    rovl_fuzz::run("options", bytes);
});
