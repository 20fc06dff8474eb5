// SPDX-License-Identifier: GPL-2.0-only

//! Runs the fuzzer's checks without a fuzzer: on the inputs that once made one fail, which are kept,
//! and on some of proptest's.

extern crate std;

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::println;
use std::string::String;
use std::vec::Vec;

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(FOLDER).join(folder);
    let entries = fs::read_dir(&folder).expect("a folder of the fuzzer's");

    entries.map(|entry| entry.unwrap().path()).collect()
}

fn stems(folder: &str) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().map(String::from);

    files(folder).into_iter().filter_map(stem).collect()
}

#[test]
fn each_check_has_a_binary() {
    let names: BTreeSet<_> = targets::TARGETS.map(|(name, _)| name.into()).into();

    assert_eq!(stems("fuzz_targets"), names);
    assert!(stems("regressions").is_subset(&names));
}

#[test]
fn kept_inputs_pass() {
    for target in stems("regressions") {
        for file in files(&std::format!("regressions/{target}")) {
            // Shown if the check panics.
            println!("{}", file.display());
            targets::run(&target, &fs::read(&file).unwrap());
        }
    }
}

/// Bytes of all kinds, or those that parsers look for.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let meant = prop::sample::select(&b"\0\x04\x15\xfb\xff\\:,/+-.017afiULx"[..]);

    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..600),
        prop::collection::vec(meant, 0..60),
    ]
}

proptest! {
    #[test]
    fn other_inputs_pass(bytes in input()) {
        for (target, _) in targets::TARGETS {
            targets::run(target, &bytes);
        }
    }
}
