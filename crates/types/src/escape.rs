//! Escape sequences of JSON, read leniently: what is none stands for itself, so that no text that a
//! client sends can keep others from being looked at.

/// JSON text with every escape sequence resolved, its structure left as it is.
#[must_use]
pub fn unescape(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push_str(before);
        let (c, len) = escape(behind);
        out.push(c);
        rest = &behind[len..];
    }
    out.push_str(rest);
    out
}

/// The character of an escape sequence, and the bytes that it takes behind its backslash. What is
/// none stands for itself, half a pair for U+FFFD.
#[must_use]
pub fn escape(behind: &str) -> (char, usize) {
    if let Some(unit) = hex(behind) {
        // A character past the basic plane is a pair of escapes.
        let low = behind[5..].strip_prefix('\\').and_then(hex);
        if let Some(low) = low
            && let Some(Ok(c)) = char::decode_utf16([unit, low]).next()
            && c.len_utf16() == 2
        {
            return (c, 11);
        }
        let c = char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER);
        return (c, 5);
    }
    match behind.chars().next() {
        Some('n') => ('\n', 1),
        Some('t') => ('\t', 1),
        Some('r') => ('\r', 1),
        Some('b') => ('\u{8}', 1),
        Some('f') => ('\u{c}', 1),
        Some(other) => (other, other.len_utf8()),
        None => ('\\', 0),
    }
}

/// The code unit of `uXXXX` at the beginning of `text`.
fn hex(text: &str) -> Option<u16> {
    let digits = text.strip_prefix('u')?.get(..4)?;
    u16::from_str_radix(digits, 16)
        .ok()
        .filter(|_| !digits.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_escape_sequence_hides_nothing_behind_it() {
        for (json, text) in [
            (r"a\u0040b\n\/\q", "a@b\n/q"),
            (r"\ud83d\ude00 \ud83d x", "\u{1f600} \u{fffd} x"),
            (r"\u00", "u00"),
            (r"end\", r"end\"),
        ] {
            assert_eq!(unescape(json), text, "{json}");
        }
    }
}
