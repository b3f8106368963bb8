//! Reads path segments without decoding them.

use isango_wire::path::unescaped;

/// Splits off the first segment; the rest begins behind the slash.
pub(super) fn first(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or((path, ""))
}

/// Whether a segment of `path` is `.` or `..` to anyone who decodes it, however often.
///
/// A `\` or an encoded separator ends a segment here, because some servers decode before they
/// split; so does `;`, behind which some servers expect parameters.
pub(super) fn has_dots(path: &str) -> bool {
    if memchr::memchr2(b'.', b'%', path.as_bytes()).is_none() {
        return false;
    }
    let mut rest = path.as_bytes();
    let (mut dots, mut others) = (0_u32, false);
    while let Some((byte, after)) = unescaped(rest) {
        match byte {
            b'/' | b'\\' | b';' => {
                if !others && matches!(dots, 1 | 2) {
                    return true;
                }
                (dots, others) = (0, false);
            }
            b'.' => dots += 1,
            _ => others = true,
        }
        rest = after;
    }
    !others && matches!(dots, 1 | 2)
}

/// Whether `segment` reads as `word`, in any case, to anyone who decodes it.
pub(super) fn spells(segment: &str, word: &str) -> bool {
    let mut rest = segment.as_bytes();
    let mut word = word.bytes();
    while let Some((byte, after)) = unescaped(rest) {
        if word
            .next()
            .is_none_or(|expected| !expected.eq_ignore_ascii_case(&byte))
        {
            return false;
        }
        rest = after;
    }
    word.next().is_none()
}

/// Whether `text` is a DNS label of 1 to 63 letters, digits and inner hyphens (RFC 1123 section
/// 2.1), in any case.
pub(super) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_found_however_they_are_hidden() {
        for path in [
            ".",
            "..",
            "a/..",
            "../a",
            "a/./b",
            "a/../b",
            "%2e",
            "%2E%2e",
            ".%2e",
            "a/%2e./b",
            "a%2f..%2fb",
            "a%2F%2e%2e",
            "..\\a",
            "a%5c..",
            "%252e%252e",
            "a/%25252e/b",
            "..;x/a",
            "a%252f%2e",
        ] {
            assert!(has_dots(path), "{path}");
        }
        for path in [
            "",
            "a",
            "...",
            "gpt-4.1",
            ".well-known",
            "a..b",
            "..a",
            "a//b",
            "%2ea",
            "models/a.b/",
            "%",
            "%2",
            "%zz",
            "%25",
            "arn%3Aaws%3Abedrock%2Fx",
            "a;b",
        ] {
            assert!(!has_dots(path), "{path}");
        }
    }

    #[test]
    fn a_word_is_recognised_however_it_is_spelled() {
        for segment in [
            "locations",
            "Locations",
            "%6cocations",
            "locat%69ons",
            "%256cocations",
        ] {
            assert!(spells(segment, "locations"), "{segment}");
        }
        for segment in ["", "location", "locationsx", "%6locations", "l0cations"] {
            assert!(!spells(segment, "locations"), "{segment}");
        }
    }

    #[test]
    fn a_label_is_what_dns_calls_one() {
        for good in ["a", "A-1", "0", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a.b",
            "a_b",
            "a%2e",
            "a@b",
            "a:1",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
