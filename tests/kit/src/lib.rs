// SPDX-License-Identifier: GPL-2.0-only

//! What the larger tests of the guest share: results as KTAP, modules, mounts, and small helpers.

#![deny(unsafe_code)]

pub mod blocks;
pub mod dm;
pub mod faults;
pub mod kmod;
pub mod ktap;
pub mod mounts;
pub mod random;
pub mod snapshot;
pub mod sys;
