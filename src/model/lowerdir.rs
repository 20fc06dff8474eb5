// SPDX-License-Identifier: GPL-2.0-only

//! Splitting of the `lowerdir=` value into layers, and the escapes of mount options (M1, M18, E1,
//! E2).
//!
//! Follows `ovl_parse_param_lowerdir()`, `ovl_parse_param_split_lowerdirs()`, `ovl_unescape()` and
//! `ovl_next_opt()` in `fs/overlayfs/params.c`. Resolving the names is left to the caller.

#![forbid(unsafe_code)]

/// The largest number of lower layers of an overlay, data-only ones included (`OVL_MAX_STACK`).
pub(crate) const MAX_LAYERS: usize = 500;

/// What a lower layer contributes to the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerKind {
    /// Its names are merged into the tree.
    Merged,
    /// Its files are reached by the redirect of a metacopy file only.
    DataOnly,
}

/// One layer as named in the value of `lowerdir=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The name as written, with its escapes. Never empty.
    pub(crate) raw: &'a [u8],
    /// Whether a single or a double colon stood before it.
    pub(crate) kind: LayerKind,
}

/// Why a value of `lowerdir=` is refused, always with EINVAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SplitError {
    /// The value starts with a colon.
    LeadingColon,
    /// Three or more colons in a row.
    TooManyColons,
    /// The value ends with a colon.
    TrailingColon,
    /// The value ends with a backslash that escapes nothing.
    TrailingBackslash,
    /// A single colon after a data-only layer.
    MergedAfterData,
    /// More than [`MAX_LAYERS`] layers.
    TooManyLayers,
}

impl SplitError {
    /// Returns the sentence for the log of the mount context.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::LeadingColon => "lowerdir starts with ':', cannot append a lower layer",
            Self::TooManyColons => {
                "only single ':' or double '::' sequences of unescaped colons in lowerdir allowed"
            }
            Self::TrailingColon => "unescaped trailing colons in lowerdir",
            Self::TrailingBackslash => "trailing backslash in lowerdir escapes nothing",
            Self::MergedAfterData => {
                "regular lower layers cannot follow data lower layers in lowerdir"
            }
            Self::TooManyLayers => "too many lower directories in lowerdir, limit is 500",
        }
    }
}

/// The layers of a `lowerdir=` value, from the uppermost to the lowest.
///
/// An empty value has no layers. An error of syntax or number comes before any layer;
/// [`SplitError::MergedAfterData`] comes in the place of the layer at fault, since overlayfs has
/// resolved the names before it by then, and a failure of that takes precedence. Nothing follows an
/// error.
#[derive(Clone, Debug)]
pub(crate) struct Split<'a> {
    rest: &'a [u8],
    kind: LayerKind,
    error: Option<SplitError>,
}

impl<'a> Split<'a> {
    /// Starts with the text of the option.
    pub(crate) fn new(value: &'a [u8]) -> Self {
        let error = match count(value) {
            Ok(layers) if layers > MAX_LAYERS => Some(SplitError::TooManyLayers),
            Ok(_) => None,
            Err(error) => Some(error),
        };

        Self {
            rest: value,
            kind: LayerKind::Merged,
            error,
        }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = Result<Entry<'a>, SplitError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.error.take() {
            self.rest = &[];
            return Some(Err(error));
        }
        if self.rest.is_empty() {
            return None;
        }

        let entry = Entry {
            raw: self.rest.get(..name_len(self.rest))?,
            kind: self.kind,
        };
        let tail = self.rest.get(entry.raw.len()..)?;

        // The syntax was checked by new(): a colon is followed by a name, or by one more colon and
        // a name.
        self.rest = match tail {
            [b':', b':', rest @ ..] => {
                self.kind = LayerKind::DataOnly;
                rest
            }
            [b':', rest @ ..] => {
                if self.kind == LayerKind::DataOnly {
                    self.error = Some(SplitError::MergedAfterData);
                }
                rest
            }
            _ => &[],
        };

        Some(Ok(entry))
    }
}

/// Returns the length of the name at the start of `text`, up to an unescaped colon.
fn name_len(text: &[u8]) -> usize {
    let mut escaped = false;

    for (at, &byte) in text.iter().enumerate() {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
        } else if byte == b':' {
            return at;
        }
    }
    text.len()
}

/// Checks the syntax of a `lowerdir=` value and counts its layers.
fn count(value: &[u8]) -> Result<usize, SplitError> {
    if value.is_empty() {
        return Ok(0);
    }
    if value.first() == Some(&b':') {
        return Err(SplitError::LeadingColon);
    }

    let mut layers: usize = 1;
    let mut colons: usize = 0;
    let mut escaped = false;

    for &byte in value {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
            colons = 0;
        } else if byte == b':' {
            colons = colons.saturating_add(1);
            match colons {
                // Layers are counted, not colons.
                1 => layers = layers.saturating_add(1),
                2 => {}
                _ => return Err(SplitError::TooManyColons),
            }
        } else {
            colons = 0;
        }
    }

    if escaped {
        Err(SplitError::TrailingBackslash)
    } else if colons > 0 {
        Err(SplitError::TrailingColon)
    } else {
        Ok(layers)
    }
}

/// Writes `raw` without its escapes to `out`, and returns what was written, or `None` if `out` is
/// too short.
///
/// A backslash makes the next byte an ordinary one. One at the very end, which only `upperdir=` and
/// `workdir=` can still have, is dropped, as `ovl_unescape()` does.
pub(crate) fn unescape<'a>(raw: &[u8], out: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut len: usize = 0;
    let mut escaped = false;

    for &byte in raw {
        if byte == b'\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        *out.get_mut(len)? = byte;
        len = len.checked_add(1)?;
    }
    out.get(..len)
}

/// Splits the first option off the data of mount(2), at the first comma that no backslash escapes.
///
/// Escapes are kept, they belong to the value. The rest is `None` after the last option; `Some` of
/// an empty rest is one more option, and empty. Equivalent of `ovl_next_opt()`.
pub(crate) fn next_option(data: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut escaped = false;

    for (at, &byte) in data.iter().enumerate() {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
        } else if byte == b',' {
            if let Some((option, [_, rest @ ..])) = data.split_at_checked(at) {
                return (option, Some(rest));
            }
        }
    }
    (data, None)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;
    use LayerKind::DataOnly;
    use LayerKind::Merged;

    type Parsed = Result<Vec<(Vec<u8>, LayerKind)>, (Vec<Vec<u8>>, SplitError)>;

    fn parse(value: &[u8]) -> Parsed {
        let mut layers = vec![];

        for entry in Split::new(value) {
            match entry {
                Ok(entry) => layers.push((entry.raw.to_vec(), entry.kind)),
                Err(error) => return Err((layers.into_iter().map(|l| l.0).collect(), error)),
            }
        }
        Ok(layers)
    }

    /// The C code, step by step, over a copy with NUL bytes as C has them.
    fn reference(value: &[u8]) -> Parsed {
        let Some(first) = value.first() else {
            return Ok(vec![]);
        };
        if *first == b':' {
            return Err((vec![], SplitError::LeadingColon));
        }

        let mut text = value.to_vec();
        text.push(0);
        let mut layers = 1;
        let mut colons = 0;
        let mut s = 0;
        loop {
            if text[s] == b'\\' {
                s += 1;
                if text[s] == 0 {
                    return Err((vec![], SplitError::TrailingBackslash));
                }
            } else if text[s] == b':' {
                let next_colon = text[s + 1] == b':';
                colons += 1;
                if colons == 2 && next_colon {
                    return Err((vec![], SplitError::TooManyColons));
                }
                if !next_colon {
                    layers += 1;
                }
                text[s] = 0;
                s += 1;
                continue;
            }
            if text[s] == 0 {
                if colons > 0 {
                    return Err((vec![], SplitError::TrailingColon));
                }
                break;
            }
            colons = 0;
            s += 1;
        }
        if layers > 500 {
            return Err((vec![], SplitError::TooManyLayers));
        }

        let string = |at: usize| text[at..].split(|&b| b == 0).next().unwrap().to_vec();
        let mut out: Vec<(Vec<u8>, LayerKind)> = vec![];
        let mut kind = Merged;
        let mut iter = 0;
        for _ in 0..layers {
            out.push((string(iter), kind));
            if out.len() == layers {
                break;
            }
            iter += string(iter).len() + 1;
            if text[iter] != 0 {
                if kind == DataOnly {
                    let names = out.into_iter().map(|l| l.0).collect();
                    return Err((names, SplitError::MergedAfterData));
                }
                continue;
            }
            kind = DataOnly;
            iter += 1;
        }
        Ok(out)
    }

    fn ok(value: &str, expected: &[(&str, LayerKind)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, kind)| (name.as_bytes().to_vec(), *kind))
            .collect();
        assert_eq!(parse(value.as_bytes()), Ok(expected), "{value}");
    }

    fn err(value: &str, before: usize, expected: SplitError) {
        let (layers, error) = parse(value.as_bytes()).expect_err(value);
        assert_eq!((layers.len(), error), (before, expected), "{value}");
        assert!(error.reason().contains("lower"));
    }

    #[test]
    fn accepts_what_overlayfs_accepts() {
        ok("", &[]);
        ok("/a", &[("/a", Merged)]);
        ok("a:b", &[("a", Merged), ("b", Merged)]);
        ok("a::b", &[("a", Merged), ("b", DataOnly)]);
        ok(
            "a:b::c::d",
            &[
                ("a", Merged),
                ("b", Merged),
                ("c", DataOnly),
                ("d", DataOnly),
            ],
        );
        ok("\\:a:b\\\\", &[("\\:a", Merged), ("b\\\\", Merged)]);
        ok("a\\::b", &[("a\\:", Merged), ("b", Merged)]);
        ok("a:\\::b", &[("a", Merged), ("\\:", Merged), ("b", Merged)]);
    }

    #[test]
    fn refuses_what_overlayfs_refuses() {
        err(":a", 0, SplitError::LeadingColon);
        err(":", 0, SplitError::LeadingColon);
        err("a:::b", 0, SplitError::TooManyColons);
        err("a::::b", 0, SplitError::TooManyColons);
        err("a:", 0, SplitError::TrailingColon);
        err("a::", 0, SplitError::TrailingColon);
        err("a\\", 0, SplitError::TrailingBackslash);
        err("a:\\", 0, SplitError::TrailingBackslash);
        err("a::b:c", 2, SplitError::MergedAfterData);
        err("a::b::c:d", 3, SplitError::MergedAfterData);
    }

    #[test]
    fn counts_layers_not_colons() {
        let value = |layers: usize, colon: &str| vec!["x"; layers].join(colon);

        assert_eq!(parse(value(500, ":").as_bytes()).unwrap().len(), 500);
        assert_eq!(parse(value(500, "::").as_bytes()).unwrap().len(), 500);
        err(&value(501, ":"), 0, SplitError::TooManyLayers);
        err(&value(501, "::"), 0, SplitError::TooManyLayers);
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut split = Split::new(b"a::b:c:d");

        assert_eq!(split.by_ref().take(3).count(), 3);
        assert_eq!(split.next(), None);
        assert_eq!(Split::new(b"a:").count(), 1);
    }

    #[test]
    fn unescapes_as_overlayfs_does() {
        let mut out = [0; 8];

        assert_eq!(unescape(b"a\\:b", &mut out), Some(&b"a:b"[..]));
        assert_eq!(unescape(b"\\\\", &mut out), Some(&b"\\"[..]));
        assert_eq!(unescape(b"a\\", &mut out), Some(&b"a"[..]));
        assert_eq!(unescape(b"\\,", &mut out), Some(&b","[..]));
        assert_eq!(unescape(b"", &mut []), Some(&b""[..]));
        assert_eq!(unescape(b"ab", &mut out[..1]), None);
        assert_eq!(unescape(b"\\ab", &mut out[..2]), Some(&b"ab"[..]));
    }

    #[test]
    fn options_end_at_unescaped_commas() {
        assert_eq!(next_option(b"a=1,b"), (&b"a=1"[..], Some(&b"b"[..])));
        assert_eq!(next_option(b"a\\,b,c"), (&b"a\\,b"[..], Some(&b"c"[..])));
        assert_eq!(next_option(b"a,"), (&b"a"[..], Some(&b""[..])));
        assert_eq!(next_option(b""), (&b""[..], None));
        assert_eq!(next_option(b"a\\"), (&b"a\\"[..], None));
        assert_eq!(next_option(b"\\\\,b"), (&b"\\\\"[..], Some(&b"b"[..])));
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(&b"ab/:::\\\\,"[..]);
        prop::collection::vec(byte, 0..24)
    }

    proptest! {
        #[test]
        fn splits_like_the_c_code(value in text()) {
            prop_assert_eq!(parse(&value), reference(&value));
        }

        #[test]
        fn any_bytes_are_safe(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Split::new(&value).count();
            let _ = next_option(&value);
        }

        #[test]
        fn escaped_names_come_back(
            names in prop::collection::vec(prop::collection::vec(1u8.., 1..12), 1..6),
        ) {
            let mut value = vec![];
            for name in &names {
                if !value.is_empty() {
                    value.push(b':');
                }
                value.extend(name.iter().flat_map(|&byte| [b'\\', byte]));
            }

            let mut out = [0; 12];
            let back: Vec<_> = Split::new(&value)
                .map(|entry| unescape(entry.unwrap().raw, &mut out).unwrap().to_vec())
                .collect();
            prop_assert_eq!(back, names);
        }

        #[test]
        fn options_join_to_the_data(data in text()) {
            let mut rest = Some(&data[..]);
            let mut joined = vec![];
            let mut first = true;
            while let Some(data) = rest {
                if !first {
                    joined.push(b',');
                }
                first = false;
                let option;
                (option, rest) = next_option(data);
                joined.extend_from_slice(option);
            }
            prop_assert_eq!(joined, data);
        }
    }
}
