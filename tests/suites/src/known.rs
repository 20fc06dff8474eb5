// SPDX-License-Identifier: GPL-2.0-only

//! Lists of what is known to fail: a line has a test, or with a leading star the end of its name,
//! and the reason. A test behind `rovl:` fails on rovl alone.

use rovl_kit::kmod;

/// Why the test is known to fail on this type.
pub fn reason(list: &'static str, fs_type: &str, name: &str) -> Option<&'static str> {
    list.lines().find_map(|line| {
        let (pattern, reason) = line.split_once(char::is_whitespace)?;
        let (here, pattern) = match pattern.strip_prefix("rovl:") {
            Some(test) => (kmod::is_rovl(fs_type), test),
            None => (true, pattern),
        };
        let fits = match pattern.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => name == pattern,
        };
        (here && fits && !pattern.starts_with('#')).then(|| reason.trim())
    })
}
