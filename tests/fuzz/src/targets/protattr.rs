// SPDX-License-Identifier: GPL-2.0-only

//! The `protattr` attribute (X9).

use super::rest;
use crate::source::model::protattr::Protection;
use crate::source::model::protattr::SIZE_MAX;
use arbitrary::Result;
use arbitrary::Unstructured;

pub(super) fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let value = rest(input)?;
    let known = value.iter().all(|letter| matches!(letter, b'a' | b'i'));

    match Protection::parse(value) {
        Some(protection) => {
            assert!(known && (1..=SIZE_MAX).contains(&value.len()));
            assert_eq!(protection.append, value.contains(&b'a'));
            assert_eq!(protection.immutable, value.contains(&b'i'));
            // At least one letter was there, so there is something to be stored.
            let stored = protection.value().expect("a flag");
            assert_eq!(Protection::parse(stored), Some(protection));
        }
        None => assert!(!known || value.is_empty() || value.len() > SIZE_MAX),
    }
    Ok(())
}
