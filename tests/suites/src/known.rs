// SPDX-License-Identifier: GPL-2.0-only

//! Lists of what is known to fail: a line has a test, or with a leading star the end of its name,
//! and the reason.

/// Why the test is known to fail.
pub fn reason(list: &'static str, name: &str) -> Option<&'static str> {
    list.lines().find_map(|line| {
        let (pattern, reason) = line.split_once(char::is_whitespace)?;
        let fits = match pattern.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => name == pattern,
        };
        (fits && !pattern.starts_with('#')).then(|| reason.trim())
    })
}
