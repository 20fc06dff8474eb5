// SPDX-License-Identifier: GPL-2.0-only

//! Lists of what is known to fail: a line has a test, or with a leading star the end of its name,
//! and the reason. A test behind `rovl:` fails on rovl alone, one behind `!` does not fail, whatever
//! later lines say. The first line that fits counts.

use rovl_kit::kmod;

/// Why the test is known to fail on this type.
pub fn reason(list: &'static str, fs_type: &str, name: &str) -> Option<&'static str> {
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let Some((pattern, reason)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let (is_known, pattern) = match pattern.strip_prefix('!') {
            Some(test) => (false, test),
            None => (true, pattern),
        };
        let (here, pattern) = match pattern.strip_prefix("rovl:") {
            Some(test) => (kmod::is_rovl(fs_type), test),
            None => (true, pattern),
        };
        let fits = match pattern.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => name == pattern,
        };
        if here && fits {
            return is_known.then(|| reason.trim());
        }
    }
    None
}
