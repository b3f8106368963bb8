//! `cf-aig-metadata`: at most five flat entries (data-plane section 21).

use std::collections::BTreeMap;
use std::fmt;

use http::HeaderValue;
use isango_types::record::MetadataValue;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Entries that are kept; the first ones win.
const MAX_ENTRIES: usize = 5;

/// Metadata as kept, and what was left out.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Metadata {
    pub(crate) entries: BTreeMap<Box<str>, MetadataValue>,
    pub(crate) notes: Vec<Box<str>>,
}

/// Reads the header.
///
/// # Errors
/// It is no JSON object; the text says what would be right.
pub(crate) fn read(value: &HeaderValue) -> Result<Metadata, String> {
    let Pairs(pairs) = serde_json::from_slice(value.as_bytes())
        .map_err(|error| format!("it must be a flat JSON object ({error})"))?;
    let mut metadata = Metadata::default();
    for (key, value) in pairs {
        if key.starts_with("cf.") {
            metadata.leave_out(&key, "keys that begin with `cf.` are reserved");
        } else if metadata.entries.len() == MAX_ENTRIES && !metadata.entries.contains_key(&*key) {
            metadata.leave_out(&key, "at most 5 entries are kept");
        } else {
            match scalar(&value) {
                Some(value) => {
                    metadata.entries.insert(key.into(), value);
                }
                None => metadata.leave_out(&key, "values must be text, numbers, booleans or null"),
            }
        }
    }
    Ok(metadata)
}

impl Metadata {
    fn leave_out(&mut self, key: &str, reason: &str) {
        let shown: String = key.chars().take(64).collect();
        self.notes
            .push(format!("metadata `{shown}` was left out: {reason}").into());
    }
}

/// The value of a member; told by its first character, since trying each kind in turn would make
/// an error for every miss.
fn scalar(raw: &RawValue) -> Option<MetadataValue> {
    let json = raw.get();
    match json.as_bytes().first()? {
        b'{' | b'[' => None,
        b'"' => serde_json::from_str(json).ok().map(MetadataValue::Text),
        b't' => Some(MetadataValue::Bool(true)),
        b'f' => Some(MetadataValue::Bool(false)),
        b'n' => Some(MetadataValue::Null),
        _ => serde_json::from_str(json).ok().map(MetadataValue::Number),
    }
}

/// The members of an object in their order.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, entries: &str, notes: usize) {
        let read = read(&header.parse().unwrap()).unwrap();
        assert_eq!(serde_json::to_string(&read.entries).unwrap(), entries);
        assert_eq!(read.notes.len(), notes, "{:?}", read.notes);
    }

    #[test]
    fn five_flat_entries_are_kept_in_the_order_they_came() {
        check(
            r#"{"tenantId":"acme","n":1.50,"ok":true,"none":null}"#,
            r#"{"n":1.5,"none":null,"ok":true,"tenantId":"acme"}"#,
            0,
        );
        check(
            r#"{"f":1,"e":2,"d":3,"c":4,"b":5,"a":6}"#,
            r#"{"b":5,"c":4,"d":3,"e":2,"f":1}"#,
            1,
        );
    }

    #[test]
    fn nested_and_reserved_entries_are_left_out_and_noted() {
        check(
            r#"{"a":{"b":1},"cf.user_id":"x","c":[1],"d":"e"}"#,
            r#"{"d":"e"}"#,
            3,
        );
    }

    #[test]
    fn what_is_no_object_is_refused_with_the_reason() {
        for header in ["[1]", "nope", "{\"a\":", "\"x\""] {
            let wrong = read(&header.parse().unwrap()).unwrap_err();
            assert!(
                wrong.starts_with("it must be a flat JSON object"),
                "{wrong}"
            );
        }
    }
}
