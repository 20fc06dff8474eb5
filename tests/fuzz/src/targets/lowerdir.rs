// SPDX-License-Identifier: GPL-2.0-only

//! `lowerdir=` and the escapes of mount options (M1, M18), against a split of marked bytes.

extern crate std;

use super::rest;
use crate::source::model::lowerdir::next_option;
use crate::source::model::lowerdir::unescape;
use crate::source::model::lowerdir::LayerKind;
use crate::source::model::lowerdir::Split;
use crate::source::model::lowerdir::SplitError;
use crate::source::model::lowerdir::MAX_LAYERS;
use arbitrary::Result;
use arbitrary::Unstructured;
use std::vec;
use std::vec::Vec;

/// A byte as written, and whether it has a meaning: not after a backslash.
type Marked = (u8, bool);

pub(super) fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let many = input.arbitrary::<u8>()? == u8::MAX;
    let mut value = if many {
        // So many layers that the limit matters are more than a fuzzer comes upon.
        let layers = input.int_in_range(MAX_LAYERS - 1..=MAX_LAYERS + 1)?;
        let layer: [u8; 2] = input.arbitrary()?;
        vec![layer; layers].join(&b':')
    } else {
        vec![]
    };
    value.extend_from_slice(rest(input)?);

    let split: Vec<_> = Split::new(&value).collect();
    let plain: Vec<_> = split
        .iter()
        .map(|entry| entry.map(|entry| (entry.raw.to_vec(), entry.kind)))
        .collect();
    assert_eq!(plain, reference(&value));
    for entry in split.iter().flatten() {
        check_unescape(entry.raw);
    }
    check_unescape(&value);
    check_escape(&value);
    check_options(&value);
    Ok(())
}

fn marked(value: &[u8]) -> Vec<Marked> {
    let mut escaped = false;

    value
        .iter()
        .map(|&byte| {
            let meant = !escaped;
            escaped = meant && byte == b'\\';
            (byte, meant)
        })
        .collect()
}

/// Splits at bytes that are meant to separate.
fn fields(value: &[u8], separator: u8) -> Vec<Vec<u8>> {
    marked(value)
        .split(|&(byte, meant)| byte == separator && meant)
        .map(|field| field.iter().map(|&(byte, _)| byte).collect())
        .collect()
}

fn reference(value: &[u8]) -> Vec<Result<(Vec<u8>, LayerKind), SplitError>> {
    if value.is_empty() {
        return vec![];
    }

    let fields = fields(value, b':');
    let layers = fields.iter().filter(|field| !field.is_empty()).count();
    let error = if value[0] == b':' {
        Some(SplitError::LeadingColon)
    } else if has_three_colons(&fields) {
        Some(SplitError::TooManyColons)
    } else if marked(value).last() == Some(&(b'\\', true)) {
        Some(SplitError::TrailingBackslash)
    } else if fields.last().is_some_and(Vec::is_empty) {
        Some(SplitError::TrailingColon)
    } else if layers > MAX_LAYERS {
        Some(SplitError::TooManyLayers)
    } else {
        None
    };
    if let Some(error) = error {
        assert!(!error.reason().is_empty());
        return vec![Err(error)];
    }

    let mut kind = LayerKind::Merged;
    let mut double = false;
    let mut out = vec![];
    for field in fields {
        if field.is_empty() {
            double = true;
            continue;
        }
        if double {
            kind = LayerKind::DataOnly;
        } else if kind == LayerKind::DataOnly {
            out.push(Err(SplitError::MergedAfterData));
            break;
        }
        double = false;
        out.push(Ok((field, kind)));
    }
    out
}

/// Three colons in a row have two empty names between them.
fn has_three_colons(fields: &[Vec<u8>]) -> bool {
    fields
        .windows(4)
        .any(|window| window[1].is_empty() && window[2].is_empty())
}

fn check_unescape(raw: &[u8]) {
    let expected: Vec<u8> = marked(raw)
        .into_iter()
        .filter(|&(byte, meant)| byte != b'\\' || !meant)
        .map(|(byte, _)| byte)
        .collect();
    let mut exact = vec![0; expected.len()];

    assert_eq!(unescape(raw, &mut exact), Some(&expected[..]));
    if exact.pop().is_some() {
        assert_eq!(unescape(raw, &mut exact), None);
    }
}

/// Any name can be written as one layer.
fn check_escape(name: &[u8]) {
    let escaped: Vec<u8> = name.iter().flat_map(|&byte| [b'\\', byte]).collect();
    let mut out = vec![0; name.len()];
    let mut split = Split::new(&escaped);

    if let Some(entry) = split.next() {
        let entry = entry.expect("one layer");
        assert_eq!(unescape(entry.raw, &mut out), Some(name));
    }
    assert_eq!(split.next(), None);
}

fn check_options(data: &[u8]) {
    let mut options = vec![];
    let mut rest = Some(data);

    while let Some(data) = rest {
        let option;
        (option, rest) = next_option(data);
        options.push(option.to_vec());
    }
    assert_eq!(options, fields(data, b','));
    assert_eq!(options.join(&b','), data);
}
