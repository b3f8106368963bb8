//! Segments of paths, and what others read in a path that is written in an unusual way.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Decodes the percent escapes of a path segment; one that is not UTF-8 stays as it is.
pub(crate) fn decode(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(segment))
}

/// Whether some server may read `path` in another way than it stands there: with escapes, large
/// letters, parameters behind `;`, a `\`, or empty segments, the last one included.
pub(crate) fn is_unusual(path: &str) -> bool {
    let mut before = 0;
    path.bytes().any(|byte| {
        let is_empty = byte == b'/' && std::mem::replace(&mut before, byte) == b'/';
        before = byte;
        is_empty || byte.is_ascii_uppercase() || matches!(byte, b'%' | b';' | b'\\')
    }) || before == b'/'
}

/// Whether `path` ends with these segments (`/chat/completions`, in small letters) for any server
/// that may read it.
#[must_use]
pub fn ends_with(path: &str, segments: &str) -> bool {
    path.ends_with(segments)
        || is_unusual(last_of(path, segments))
            && leniently(path).to_ascii_lowercase().ends_with(segments)
}

/// As many segments of the end of `path` as there are in `segments`, and the slash before them.
fn last_of<'p>(path: &'p str, segments: &str) -> &'p str {
    let count = segments.bytes().filter(|byte| *byte == b'/').count();
    let mut slashes = memchr::memrchr_iter(b'/', path.as_bytes());
    let at = slashes.nth(count.saturating_sub(1)).unwrap_or(0);
    &path[at..]
}

/// `path` as the most lenient server reads it: with all escapes undone, also those of escapes, `\`
/// as `/`, no parameters and no empty segments. Letters stay as they are.
pub(crate) fn leniently(path: &str) -> String {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    let mut is_parameter = false;
    while let Some((byte, after)) = unescaped(rest) {
        rest = after;
        match byte {
            b'/' | b'\\' => {
                is_parameter = false;
                if plain.last() != Some(&b'/') {
                    plain.push(b'/');
                }
            }
            b';' => is_parameter = true,
            _ if is_parameter => {}
            byte => plain.push(byte),
        }
    }
    if plain.last() == Some(&b'/') {
        plain.pop();
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The first byte with all its percent-encodings undone (`%252e` is a dot too), and what follows.
#[must_use]
pub fn unescaped(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&byte, mut rest) = bytes.split_first()?;
    if byte != b'%' {
        return Some((byte, rest));
    }
    while let Some(after) = rest.strip_prefix(b"25") {
        rest = after;
    }
    if let [high, low, after @ ..] = rest
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return Some((high << 4 | low, after));
    }
    Some((byte, rest))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_broken_ones_kept() {
        assert_eq!(decode("claude-v2%3A1"), "claude-v2:1");
        assert_eq!(decode("a%2Fb%zz"), "a/b%zz");
        assert_eq!(decode("%ff"), "%ff");
        assert!(matches!(decode("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn an_unusual_path_is_read_as_the_most_lenient_server_does() {
        for usual in ["", "/v1/chat/completions", "chat", "/v1/models/gpt-4o:x@y"] {
            assert!(!is_unusual(usual), "{usual}");
            assert_eq!(leniently(usual), usual);
        }
        for (path, read) in [
            ("/v1/Chat/completions", "/v1/Chat/completions"),
            ("/v1/chat/%63ompletions", "/v1/chat/completions"),
            ("/v1/chat%252Fcompletions", "/v1/chat/completions"),
            ("/v1\\chat/completions", "/v1/chat/completions"),
            ("//v1//chat/completions/", "/v1/chat/completions"),
            ("/v1;a=b/chat/completions;%2f", "/v1/chat/completions"),
            ("/v1/%zz%ff/", "/v1/%zz\u{fffd}"),
        ] {
            assert!(is_unusual(path), "{path}");
            assert_eq!(leniently(path), read, "{path}");
        }
    }

    #[test]
    fn the_end_of_a_path_is_found_however_it_is_written() {
        for path in [
            "/chat/completions",
            "/v1/Chat/completions",
            "/v1/chat/%63ompletions/",
            "/v1/chat%2fcompletions",
            "/v1/chat//completions",
        ] {
            assert!(ends_with(path, "/chat/completions"), "{path}");
        }
        for path in ["", "/v1/completions", "/v1/Chat/completion", "/V1/messages"] {
            assert!(!ends_with(path, "/chat/completions"), "{path}");
        }
    }
}
