//! Finding a text in a body, regardless of case.

/// A text to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needle {
    text: Box<str>,
    lower: Box<str>,
}

impl Needle {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            lower: text.to_lowercase().into(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `text` contains the needle. An ASCII needle ignores the case of ASCII letters only;
    /// another one that of all letters.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let lower = self.lower.as_bytes();
        let Some(first) = lower.first().copied() else {
            return true;
        };
        if !lower.is_ascii() {
            return text.to_lowercase().contains(&*self.lower);
        }
        let haystack = text.as_bytes();
        memchr::memchr2_iter(first, first.to_ascii_uppercase(), haystack).any(|at| {
            haystack
                .get(at..at + lower.len())
                .is_some_and(|found| found.eq_ignore_ascii_case(lower))
        })
    }

    /// Whether JSON contains the needle: as it is spelled, or with its escapes resolved.
    pub(super) fn is_in_json(&self, json: &str) -> bool {
        self.is_in(json)
            || (memchr::memchr(b'\\', json.as_bytes()).is_some() && self.is_in(&unescape(json)))
    }
}

/// JSON text with every escape sequence resolved, its structure left as it is.
fn unescape(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push_str(before);
        let mut units = Vec::new();
        let mut after = behind;
        // A character past the basic plane is a pair of escapes.
        if let Some(unit) = hex(after) {
            units.push(unit);
            after = &after[5..];
            if let Some(low) = after.strip_prefix('\\').and_then(hex)
                && (0xD800..0xDC00).contains(&unit)
            {
                units.push(low);
                after = &after[6..];
            }
            out.push_str(&String::from_utf16_lossy(&units));
        } else if let Some(letter) = after.chars().next() {
            out.push(match letter {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            });
            after = &after[letter.len_utf8()..];
        }
        rest = after;
    }
    out.push_str(rest);
    out
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
    fn a_needle_is_found_regardless_of_case_and_escapes() {
        for (needle, json) in [
            ("hello", r#""He said HELLO""#),
            ("CAFÉ", r#""a caf\u00e9""#),
            ("café", r#""a CAFÉ""#),
            ("two\nlines", r#""two\nlines""#),
            ("a \"quote\"", r#""a \"quote\"""#),
            ("😀", r#""\ud83d\ude00""#),
            ("C:\\temp", r#""c:\\temp""#),
            ("", r#""""#),
        ] {
            assert!(Needle::new(needle).is_in_json(json), "{needle} in {json}");
        }
        for (needle, json) in [
            ("hello", r#""hell""#),
            ("lo", r#""l""#),
            ("é", r#""\u00e""#),
        ] {
            assert!(!Needle::new(needle).is_in_json(json), "{needle} in {json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_json_escapes_is_found_again(text in "\\PC{1,20}", before in ".{0,8}") {
            let json = serde_json::to_string(&format!("{before}{text}")).unwrap();
            proptest::prop_assert!(Needle::new(&text).is_in_json(&json));
        }

        #[test]
        fn no_text_makes_it_panic(needle in ".{0,4}", json in "[\\\\uU0-9a-fD8é+\"]{0,24}") {
            let _found = Needle::new(&needle).is_in_json(&json);
        }
    }
}
