//! `cf-aig-metadata`: at most five flat entries (data-plane section 21).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use http::HeaderValue;
use isango_types::record::MetadataValue;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

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
    serde_json::from_slice(value.as_bytes())
        .map_err(|error| format!("it must be a flat JSON object ({error})"))
}

impl Metadata {
    fn take(&mut self, key: &str, value: Option<MetadataValue>) {
        if key.starts_with("cf.") {
            self.leave_out(key, "keys that begin with `cf.` are reserved");
        } else if self.entries.len() == MAX_ENTRIES && !self.entries.contains_key(key) {
            self.leave_out(key, "at most 5 entries are kept");
        } else {
            match value {
                Some(value) => {
                    self.entries.insert(key.into(), value);
                }
                None => self.leave_out(key, "values must be text, numbers, booleans or null"),
            }
        }
    }

    fn leave_out(&mut self, key: &str, reason: &str) {
        let shown: String = key.chars().take(64).collect();
        self.notes
            .push(format!("metadata `{shown}` was left out: {reason}").into());
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut metadata = Metadata::default();
                while let Some((Key(key), Scalar(value))) = map.next_entry()? {
                    metadata.take(&key, value);
                }
                Ok(metadata)
            }
        }

        reader.deserialize_map(InOrder)
    }
}

/// The name of a member; borrowed unless it holds an escape.
#[derive(Deserialize)]
struct Key<'j>(#[serde(borrow)] Cow<'j, str>);

/// The value of a member; `None` of an array or an object.
struct Scalar(Option<MetadataValue>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct AnyKind;

        impl<'de> Visitor<'de> for AnyKind {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(Some(MetadataValue::Text(text.into()))))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Scalar, E> {
                Ok(Scalar(Some(MetadataValue::Bool(flag))))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(Some(MetadataValue::Number(number.into()))))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(Some(MetadataValue::Number(number.into()))))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar(Number::from_f64(number).map(MetadataValue::Number)))
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar(Some(MetadataValue::Null)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Scalar, A::Error> {
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Scalar, A::Error> {
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar(None))
            }
        }

        reader.deserialize_any(AnyKind)
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
