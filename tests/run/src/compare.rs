// SPDX-License-Identifier: GPL-2.0-only
//! Compares texts of which each line stands for itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{bail, Result};

/// How many lines of a difference people get to see.
const SHOWN: usize = 12;

/// # Errors
///
/// The lines that only one of the texts has, `-` for those that were expected, `+` for those that were found.
pub fn same(expected: &str, found: &str) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let mut count: BTreeMap<&str, i64> = BTreeMap::new();
    for line in expected.lines() {
        *count.entry(line).or_insert(0) -= 1;
    }
    for line in found.lines() {
        *count.entry(line).or_insert(0) += 1;
    }
    count.retain(|_, count| *count != 0);
    if count.is_empty() {
        bail!("the same lines, but in another order");
    }
    let mut text = format!("{} lines differ (- expected, + found):", count.len());
    for (line, count) in count.iter().take(SHOWN) {
        let sign = if *count < 0 { '-' } else { '+' };
        let _ = write!(text, "\n{sign} {line}");
    }
    if count.len() > SHOWN {
        let _ = write!(text, "\n  and {} more", count.len() - SHOWN);
    }
    bail!(text)
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_what_differs_is_told() {
        assert!(same("a\nb\n", "a\nb\n").is_ok());
        let text = same("a\nb\n", "a\nc\n").unwrap_err().to_string();
        assert_eq!(text, "2 lines differ (- expected, + found):\n- b\n+ c");
        assert!(same("a\nb\n", "b\na\n").is_err());
    }
}
