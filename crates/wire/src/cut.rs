//! Ends JSON that was cut, so that what had come of it can be read.

use crate::json;

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 128;

/// Appends to `out` what a model wrote in an answer, which may have been cut.
pub(crate) fn collect_prose(answer: &[u8], is_whole: bool, out: &mut String) {
    let had_come = match is_whole {
        true => None,
        false => std::str::from_utf8(answer).ok().and_then(ended),
    };
    json::collect_prose(had_come.as_deref().map_or(answer, str::as_bytes), out);
}

/// The beginning of a JSON document, ended where it was cut: an open text is closed where it broke
/// off, a member without its value and a number or word that may go on are left out. `None` of what
/// is nested deeper than 128 levels, or begins like no document.
fn ended(json: &str) -> Option<String> {
    let mut open: Vec<u8> = Vec::new();
    // Up to where it can be kept: behind a whole value, or behind an opening bracket.
    let mut kept = 0;
    let mut text = Text::Outside;
    let mut has_colon = false;
    for (at, byte) in json.bytes().enumerate() {
        if text != Text::Outside {
            text = text.after(byte);
            if text == Text::Outside && is_value(&open, has_colon) {
                (kept, has_colon) = (at + 1, false);
            }
            continue;
        }
        match byte {
            b'"' => text = Text::Inside,
            b'{' | b'[' if open.len() == MAX_DEPTH => return None,
            b'{' | b'[' => {
                open.push(if byte == b'{' { b'}' } else { b']' });
                (kept, has_colon) = (at + 1, false);
            }
            b'}' | b']' => {
                open.pop()?;
                (kept, has_colon) = (at + 1, false);
            }
            b':' => has_colon = true,
            // What stood before it is a whole value, if a number or a word.
            b',' => (kept, has_colon) = (at, false),
            _ => {}
        }
    }
    let mut whole = if text != Text::Outside && is_value(&open, has_colon) {
        format!("{}\"", without_broken_escape(json, &text))
    } else {
        json[..kept].to_owned()
    };
    whole.extend(open.iter().rev().map(|bracket| char::from(*bracket)));
    Some(whole).filter(|whole| !whole.is_empty())
}

/// Where in a text a byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// So many bytes into an escape, its backslash included.
    Escape(usize),
}

impl Text {
    const fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Inside, b'\\') => Self::Escape(1),
            (Self::Inside, b'"') => Self::Outside,
            (Self::Escape(1), b'u') => Self::Escape(2),
            (Self::Escape(read @ 2..5), _) => Self::Escape(read + 1),
            (Self::Outside, _) => Self::Outside,
            (Self::Inside | Self::Escape(_), _) => Self::Inside,
        }
    }
}

/// Whether a text that begins here is a value: the element of an array, or behind the colon of a
/// member.
fn is_value(open: &[u8], has_colon: bool) -> bool {
    has_colon || open.last() != Some(&b'}')
}

fn without_broken_escape<'j>(json: &'j str, text: &Text) -> &'j str {
    match text {
        Text::Escape(read) => json.get(..json.len() - read).unwrap_or(json),
        Text::Outside | Text::Inside => json,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(cut: &str, whole: &str) {
        assert_eq!(ended(cut).as_deref(), Some(whole), "{cut}");
    }

    #[test]
    fn what_had_come_is_kept() {
        check(r#"{"a":[{"b":"Hel"#, r#"{"a":[{"b":"Hel"}]}"#);
        check(r#"{"a":"x","b"#, r#"{"a":"x"}"#);
        check(r#"{"a":"x","b":"#, r#"{"a":"x"}"#);
        check(r#"{"a":"x","b":12"#, r#"{"a":"x"}"#);
        check(r#"{"a":1,"b":tr"#, r#"{"a":1}"#);
        check(r#"["a","b\u00"#, r#"["a","b"]"#);
        check(r#"["a","b\"#, r#"["a","b"]"#);
        check(r#"["a\"b"#, r#"["a\"b"]"#);
        check(r#"{"a":{}}"#, r#"{"a":{}}"#);
        for nothing in ["", "12", "tru", "]", &"[".repeat(200)] {
            assert_eq!(ended(nothing), None, "{nothing}");
        }
    }

    fn document() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            "[a\"\\\\\u{e9}\n:,\\]}]{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[a:,{\"]{0,3}", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_beginning_of_a_document_becomes_one(document in document(), at in any::<prop::sample::Index>()) {
            let json = document.to_string();
            let cut = json.floor_char_boundary(at.index(json.len() + 1));
            if let Some(whole) = ended(&json[..cut]) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&whole).is_ok(), "{} of {}", whole, json);
            }
        }
    }
}
