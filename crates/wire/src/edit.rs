//! Edits of a JSON request by byte span: all that is not edited stays byte for byte.

use serde_json::value::RawValue;

use crate::json::{self, Kind};
use crate::scan::{Scan, scan};

const MEMBER: &[u8] = br#""include_usage":true"#;

/// Adds `"stream_options":{"include_usage":true}` to a chat or completions request that streams
/// and does not ask for its usage; an existing `stream_options` object is extended.
///
/// `None` when nothing is to be added: the body is no JSON object, does not stream, already has an
/// `include_usage` of whatever value, has `data_sources` (Azure refuses both together), or has a
/// `stream_options` that is neither object nor null.
#[must_use]
pub fn with_include_usage(body: &[u8]) -> Option<Vec<u8>> {
    with_include_usage_as_scanned(body, &scan(body))
}

/// As [`with_include_usage`], for a body that has been scanned: where it has no `stream_options`,
/// nothing is parsed again. `scanned` must be the scan of this `body`.
#[must_use]
pub fn with_include_usage_as_scanned(body: &[u8], scanned: &Scan<'_>) -> Option<Vec<u8>> {
    edited(body, scanned, false)
}

/// The same of a request whose usage has to be told: an `include_usage` of another value than `true`
/// becomes `true`.
#[must_use]
pub fn with_include_usage_in_any_case(body: &[u8], scanned: &Scan<'_>) -> Option<Vec<u8>> {
    edited(body, scanned, true)
}

fn edited(body: &[u8], scanned: &Scan<'_>, in_any_case: bool) -> Option<Vec<u8>> {
    if !scanned.is_object || scanned.stream != Some(true) || scanned.has_data_sources {
        return None;
    }
    if scanned.has_stream_options {
        return extend_options(body, in_any_case);
    }
    // The object has a `stream` member, so that the comma is never one too many.
    let inside = memchr::memchr(b'{', body)? + 1;
    Some(splice(
        body,
        inside..inside,
        &[br#""stream_options":{"#, MEMBER, b"},"],
    ))
}

/// Makes `model` the model of a JSON request: the value of its `model` member, which is added where
/// there is none. Of a member that stands twice, the last counts, as for JSON parsers.
///
/// `None` when the body is no JSON object.
#[must_use]
pub fn with_model(body: &[u8], model: &str) -> Option<Vec<u8>> {
    let text = serde_json::to_vec(model).ok()?;
    let (mut last, mut is_empty): (Option<&RawValue>, _) = (None, true);
    let is_object = json::each_member(body, |name, value| {
        is_empty = false;
        if name == "model" {
            last = Some(value);
        }
    });
    if !is_object {
        return None;
    }
    if let Some(value) = last {
        let value = value.get();
        let start = value.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
        return Some(splice(body, start..start + value.len(), &[&text]));
    }
    let inside = memchr::memchr(b'{', body)? + 1;
    let comma: &[u8] = if is_empty { b"" } else { b"," };
    Some(splice(
        body,
        inside..inside,
        &[br#""model":"#, &text, comma],
    ))
}

fn extend_options(body: &[u8], in_any_case: bool) -> Option<Vec<u8>> {
    let mut last: Option<&RawValue> = None;
    json::each_member(body, |name, value| {
        if name == "stream_options" {
            last = Some(value);
        }
    });
    let options = last?.get();
    let start = options.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    match json::kind(last?) {
        Kind::Null => Some(splice(
            body,
            start..start + options.len(),
            &[b"{", MEMBER, b"}"],
        )),
        Kind::Object => {
            let (mut is_empty, mut told): (_, Option<&RawValue>) = (true, None);
            json::each_member(options.as_bytes(), |name, value| {
                is_empty = false;
                if name == "include_usage" {
                    told = Some(value);
                }
            });
            let Some(told) = told.map(RawValue::get) else {
                let comma: &[u8] = if is_empty { b"" } else { b"," };
                return Some(splice(body, start + 1..start + 1, &[MEMBER, comma]));
            };
            let start = told.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
            let is_other = in_any_case && told != "true";
            is_other.then(|| splice(body, start..start + told.len(), &[b"true"]))
        }
        Kind::Array | Kind::Text | Kind::Number | Kind::Bool => None,
    }
}

/// `body` with the bytes of `span` replaced by `parts`.
fn splice(body: &[u8], span: std::ops::Range<usize>, parts: &[&[u8]]) -> Vec<u8> {
    let added: usize = parts.iter().map(|part| part.len()).sum();
    let mut edited = Vec::with_capacity(body.len() + added);
    let (before, rest) = body.split_at(span.start.min(body.len()));
    edited.extend_from_slice(before);
    for part in parts {
        edited.extend_from_slice(part);
    }
    edited.extend_from_slice(rest.get(span.len()..).unwrap_or_default());
    edited
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::scan::tests::{json, object};

    fn check(body: &str, expected: Option<&str>) {
        let edited = with_include_usage(body.as_bytes());
        assert_eq!(
            edited
                .map(|edited| String::from_utf8(edited).unwrap())
                .as_deref(),
            expected
        );
    }

    #[test]
    fn the_option_is_added_in_place() {
        check(
            " { \"stream\" : true }\n",
            Some(" {\"stream_options\":{\"include_usage\":true}, \"stream\" : true }\n"),
        );
        check(
            r#"{"stream":true,"stream_options": null }"#,
            Some(r#"{"stream":true,"stream_options": {"include_usage":true} }"#),
        );
        check(
            r#"{"stream":true,"stream_options":{ }}"#,
            Some(r#"{"stream":true,"stream_options":{"include_usage":true }}"#),
        );
        check(
            r#"{"stream_options":{"include_obfuscation":false},"stream":true}"#,
            Some(
                r#"{"stream_options":{"include_usage":true,"include_obfuscation":false},"stream":true}"#,
            ),
        );
    }

    #[test]
    fn the_last_of_two_options_is_the_one_that_counts() {
        check(
            r#"{"stream_options":{"include_usage":true},"stream":true,"stream_options":{}}"#,
            Some(
                r#"{"stream_options":{"include_usage":true},"stream":true,"stream_options":{"include_usage":true}}"#,
            ),
        );
    }

    #[test]
    fn what_needs_no_option_stays() {
        for body in [
            r#"{"stream":false}"#,
            r#"{"model":"m"}"#,
            r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":null}}"#,
            r#"{"stream":true,"stream_options":"all"}"#,
            r#"{"stream":true,"data_sources":[]}"#,
            r#"[{"stream":true}]"#,
            r#"{"stream":true"#,
            "",
        ] {
            check(body, None);
        }
    }

    #[test]
    fn what_has_to_be_told_is_asked_for_in_any_case() {
        for (body, expected) in [
            (
                r#"{"stream":true,"stream_options":{ "include_usage" : false , "a":1}}"#,
                Some(r#"{"stream":true,"stream_options":{ "include_usage" : true , "a":1}}"#),
            ),
            (
                r#"{"stream":true,"stream_options":{"include_usage":null}}"#,
                Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
            ),
            (
                r#"{"stream":true}"#,
                Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#),
            ),
            (
                r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
                None,
            ),
            (r#"{"stream":true,"data_sources":[]}"#, None),
        ] {
            let edited = with_include_usage_in_any_case(body.as_bytes(), &scan(body.as_bytes()));
            let edited = edited.map(|edited| String::from_utf8(edited).unwrap());
            assert_eq!(edited.as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn the_model_is_replaced_where_it_stands() {
        let check = |body: &str, expected: Option<&str>| {
            let edited = with_model(body.as_bytes(), "gpt \"4\"");
            let edited = edited.map(|edited| String::from_utf8(edited).unwrap());
            assert_eq!(edited.as_deref(), expected, "{body}");
        };
        check(
            r#"{ "a":1, "model" : "x" , "b":2}"#,
            Some(r#"{ "a":1, "model" : "gpt \"4\"" , "b":2}"#),
        );
        check(r#"{"b":2}"#, Some(r#"{"model":"gpt \"4\"","b":2}"#));
        check("{}", Some(r#"{"model":"gpt \"4\""}"#));
        check(
            r#"{"model":"x","model":null}"#,
            Some(r#"{"model":"x","model":"gpt \"4\""}"#),
        );
        for other in ["[]", "", "{", r#"{"model":"x""#, "1"] {
            check(other, None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn only_the_model_is_changed(mut tree in object(json()), model in ".{0,12}") {
            let mut body = Value::from(tree.clone()).to_string();
            tree.insert("model".to_owned(), model.clone().into());
            for _ in 0..2 {
                let edited = with_model(body.as_bytes(), &model).unwrap();
                body = String::from_utf8(edited).unwrap();
                let after: Value = serde_json::from_str(&body).unwrap();
                prop_assert_eq!(&after, &Value::from(tree.clone()));
            }
        }

        #[test]
        fn only_the_option_is_added(mut tree in object(json()), pretty in any::<bool>()) {
            tree.insert("stream".to_owned(), true.into());
            let mut tree = Value::from(tree);
            let body = if pretty { format!("{tree:#}") } else { tree.to_string() };
            let Some(edited) = with_include_usage(body.as_bytes()) else {
                let options = tree.get("stream_options");
                prop_assert!(
                    tree.get("data_sources").is_some()
                        || options.is_some_and(|o| !o.is_object() && !o.is_null())
                        || options.is_some_and(|o| o.get("include_usage").is_some())
                );
                return Ok(());
            };
            // Re-parsed, only that member is new.
            let after: Value = serde_json::from_slice(&edited).unwrap();
            if !tree["stream_options"].is_object() {
                tree["stream_options"] = Value::Object(serde_json::Map::new());
            }
            tree["stream_options"]["include_usage"] = true.into();
            prop_assert_eq!(after, tree);
            // What stands before and after the edit is the body, byte for byte.
            let same = body.bytes().zip(&edited).take_while(|(a, b)| a == *b).count();
            let rest = body.bytes().rev().zip(edited.iter().rev()).take_while(|(a, b)| a == *b);
            prop_assert!(same + rest.count() >= body.len() - "null".len());
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _edited = with_include_usage(&body);
        }
    }
}
