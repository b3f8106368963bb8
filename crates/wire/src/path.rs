//! Segments of paths.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Decodes the percent escapes of a path segment; one that is not UTF-8 stays as it is.
pub(crate) fn decode(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(segment))
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
}
