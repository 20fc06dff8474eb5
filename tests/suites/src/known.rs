// SPDX-License-Identifier: GPL-2.0-only

//! Lists of what is known to fail: a line has a test, or with a leading star the end of its name,
//! and the reason. A test behind `rovl:` fails on rovl alone, one behind `!` does not fail, whatever
//! later lines say. The first line that fits counts.

use rovl_kit::kmod;

/// What a line says of tests on one type.
struct Line<'a> {
    /// The test, or a star and the end of its name.
    pattern: &'a str,
    is_known: bool,
    reason: &'static str,
}

/// Why the test is known to fail on this type.
pub fn reason(list: &'static str, fs_type: &str, name: &str) -> Option<&'static str> {
    let line = lines(list, fs_type).find(|line| match line.pattern.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => name == line.pattern,
    })?;
    line.is_known.then_some(line.reason)
}

/// The tests that are known to fail on this type and have lines of their own.
pub fn names(list: &'static str, fs_type: &str) -> impl Iterator<Item = &'static str> {
    lines(list, fs_type)
        .filter(|line| line.is_known && !line.pattern.starts_with('*'))
        .map(|line| line.pattern)
}

/// The lines that hold for this type.
fn lines(list: &'static str, fs_type: &str) -> impl Iterator<Item = Line<'static>> {
    let is_rovl = kmod::is_rovl(fs_type);
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(move |line| {
        let (pattern, reason) = line.split_once(char::is_whitespace)?;
        let (is_known, pattern) = match pattern.strip_prefix('!') {
            Some(test) => (false, test),
            None => (true, pattern),
        };
        let (here, pattern) = match pattern.strip_prefix("rovl:") {
            Some(test) => (is_rovl, test),
            None => (true, pattern),
        };
        let reason = reason.trim();
        here.then_some(Line {
            pattern,
            is_known,
            reason,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# test why\n!a::end  passes\n*::end  why\nb  because\nrovl:c  not yet\n";

    #[test]
    fn the_first_line_that_fits_counts() {
        assert_eq!(reason(LIST, "rovl", "a::end"), None);
        assert_eq!(reason(LIST, "rovl", "x::end"), Some("why"));
        assert_eq!(reason(LIST, "rovl", "c"), Some("not yet"));
        assert_eq!(reason(LIST, "rovl", "d"), None);
    }

    #[test]
    fn names_are_those_that_have_lines() {
        assert_eq!(names(LIST, "rovl").collect::<Vec<_>>(), ["b", "c"]);
    }
}
