//! Looks into JSON one level at a time, without a tree: values stay the text that they were.

use std::borrow::Cow;
use std::{fmt, iter};

use serde::Deserialize;
use serde::de::value::{self, MapDeserializer};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A text, such as the key of a member; borrowed unless it holds an escape.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'j>(#[serde(borrow)] pub(crate) Cow<'j, str>);

/// Calls `each` for every member of an object, in order. Of JSON that is cut or broken, the members
/// before the break are seen; returns whether it was whole and an object.
pub(crate) fn each_member<'j>(
    json: &'j [u8],
    each: impl FnMut(Cow<'j, str>, &'j RawValue),
) -> bool {
    read(json, Members(each))
}

/// Calls `each` for every element of an array, in order, as [`each_member`] does for an object.
pub(crate) fn each_element<'j>(json: &'j [u8], each: impl FnMut(&'j RawValue)) -> bool {
    read(json, Elements(each))
}

/// Reads one document; whether it was whole. Text that is known to be UTF-8 is not checked again
/// value by value.
fn read<'j, S: DeserializeSeed<'j>>(json: &'j [u8], seed: S) -> bool {
    match std::str::from_utf8(json) {
        Ok(text) => {
            let mut reader = serde_json::Deserializer::from_str(text);
            seed.deserialize(&mut reader).is_ok() && reader.end().is_ok()
        }
        Err(_) => {
            let mut reader = serde_json::Deserializer::from_slice(json);
            seed.deserialize(&mut reader).is_ok() && reader.end().is_ok()
        }
    }
}

/// The members of an object, in order; of a broken one, those before the break.
pub(crate) fn members(json: &[u8]) -> Vec<(Cow<'_, str>, &RawValue)> {
    try_members(json).0
}

/// The same, and whether the object was whole.
pub(crate) fn try_members(json: &[u8]) -> (Vec<(Cow<'_, str>, &RawValue)>, bool) {
    let mut found = Vec::with_capacity(12);
    let is_whole = each_member(json, |key, value| found.push((key, value)));
    (found, is_whole)
}

/// The value of the last of `members` that is called `key`.
pub(crate) fn member<'j>(
    members: &[(Cow<'j, str>, &'j RawValue)],
    key: &str,
) -> Option<&'j RawValue> {
    members
        .iter()
        .rev()
        .find(|(name, _)| name == key)
        .map(|(_, value)| *value)
}

struct Members<F>(F);

impl<'j, F: FnMut(Cow<'j, str>, &'j RawValue)> DeserializeSeed<'j> for Members<F> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'j>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'j, F: FnMut(Cow<'j, str>, &'j RawValue)> Visitor<'j> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'j>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            (self.0)(key, map.next_value()?);
        }
        Ok(())
    }
}

struct Elements<F>(F);

impl<'j, F: FnMut(&'j RawValue)> DeserializeSeed<'j> for Elements<F> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'j>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'j, F: FnMut(&'j RawValue)> Visitor<'j> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'j>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = seq.next_element()? {
            (self.0)(value);
        }
        Ok(())
    }
}

/// Reads an object of which each member goes to its own place, in one pass.
pub(crate) trait Take {
    /// Takes the value of the member `name`, which comes next in `map`.
    fn take<'j, A: MapAccess<'j>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Fills the taker from an object; whether it was one. A value of any other kind is read over.
pub(crate) struct Fill<'t, T>(pub(crate) &'t mut T);

impl<'j, T: Take> DeserializeSeed<'j> for Fill<'_, T> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'j>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'j, T: Take> Visitor<'j> for Fill<'_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<bool, A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            self.0.take(&name, &mut map)?;
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut array: A) -> Result<bool, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// What a value is, as its first byte tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    Text,
    Number,
    Bool,
    Null,
}

/// What `value` is.
pub(crate) fn kind(value: &RawValue) -> Kind {
    match value.get().as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::Text,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') => Kind::Null,
        Some(_) | None => Kind::Number,
    }
}

/// A text without its quotes and escapes; `None` of any other value. A surrogate without its other
/// half, as of a pair that a provider split across two events, becomes U+FFFD.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let inner = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let whole = serde_json::from_str(value.get()).ok();
    whole
        .or_else(|| {
            serde_json::from_str(value.get())
                .ok()
                .map(|Lossy(text)| text)
        })
        .map(Cow::Owned)
}

/// A text with lone surrogates, which no `String` can hold; `serde_json` gives its bytes.
struct Lossy(String);

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Lossy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Lossy, E> {
                Ok(Lossy(String::from_utf8_lossy(bytes).into_owned()))
            }
        }

        reader.deserialize_bytes(Bytes)
    }
}

/// A text that is not empty.
pub(crate) fn label(value: &RawValue) -> Option<Box<str>> {
    text(value)
        .filter(|text| !text.is_empty())
        .map(|text| Box::from(&*text))
}

/// A count: a whole number, or another one whose fraction is dropped. `None` of anything else, of
/// negative numbers and of those past `u64`.
pub(crate) fn count(value: &RawValue) -> Option<u64> {
    serde_json::from_str(value.get())
        .ok()
        .and_then(|Count(count)| count)
}

/// A member's value as a count, as [`count`] tells it of its text.
pub(crate) struct Count(pub(crate) Option<u64>);

/// Up to here every whole number has its own `f64`.
const MAX_WHOLE_FLOAT: f64 = 9_007_199_254_740_992.0;

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct AnyKind;

        impl<'de> Visitor<'de> for AnyKind {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
                Ok(Count(Some(count)))
            }

            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the fraction is dropped on purpose, and the range was looked at"
            )]
            fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
                let is_count = (0.0..=MAX_WHOLE_FLOAT).contains(&count);
                Ok(Count(is_count.then_some(count as u64)))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_str<E>(self, _: &str) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Count, A::Error> {
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Count, A::Error> {
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }
        }

        reader.deserialize_any(AnyKind)
    }
}

/// A decimal number times 1 000, as whole number: seconds in milliseconds.
pub(crate) fn thousandths(value: &RawValue) -> Option<u64> {
    let (whole, fraction) = split_decimal(value)?;
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = match fraction.as_bytes().get(place) {
            Some(digit) if digit.is_ascii_digit() => u64::from(digit - b'0'),
            Some(_) => return None,
            None => 0,
        };
        thousandths = thousandths * 10 + digit;
    }
    whole.checked_mul(1_000)?.checked_add(thousandths)
}

fn split_decimal(value: &RawValue) -> Option<(u64, &str)> {
    let (whole, fraction) = value.get().split_once('.').unwrap_or((value.get(), ""));
    Some((whole.parse().ok()?, fraction))
}

/// Writes `text` as a JSON text, quotes included.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    // Writing to a vector cannot fail, and a str is always a JSON text.
    let _written = serde_json::to_writer(out, text);
}

/// `text` as one valid JSON document, if it is one.
pub(crate) fn document(text: &str) -> Option<Box<RawValue>> {
    serde_json::from_str::<&RawValue>(text)
        .ok()
        .map(ToOwned::to_owned)
}

/// `text` as the JSON document that a reader has found it to be, without reading it again.
pub(crate) fn known_document(text: &str) -> Option<Box<RawValue>> {
    // The white space around a document is no part of it.
    let known = Box::<RawValue>::deserialize(Known(text.trim_ascii()));
    known.ok().or_else(|| document(text))
}

/// JSON that is known to be valid, given as `serde_json` gives it after its own check: as the one
/// member of a map, which bears the name that [`RawValue`] asks for.
struct Known<'j>(&'j str);

impl<'de> serde::Deserializer<'de> for Known<'de> {
    type Error = value::Error;

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_map(MapDeserializer::new(iter::once((name, self.0))))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("only a raw value can be made of it"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Whether members of this name hold text that a model wrote or a person reads.
pub(crate) fn is_prose(key: &str) -> bool {
    matches!(
        key,
        "content"
            | "text"
            | "refusal"
            | "reasoning"
            | "reasoning_content"
            | "reasoning_text"
            | "thinking"
            | "summary"
            | "arguments"
            | "transcript"
            | "response"
            | "name"
            | "code"
            | "input"
    )
}

/// How deep [`collect_prose`] looks.
const MAX_DEPTH: u8 = 16;

/// Appends to `out` every text under a name of [`is_prose`], in order, of any depth up to 16.
pub(crate) fn collect_prose(json: &[u8], out: &mut String) {
    walk_prose(json, false, MAX_DEPTH, out);
}

fn walk_prose(json: &[u8], is_prose_here: bool, depth: u8, out: &mut String) {
    if depth == 0 {
        return;
    }
    let mut value = |value: &RawValue, prose: bool| match kind(value) {
        Kind::Text if prose => out.push_str(&text(value).unwrap_or_default()),
        Kind::Object | Kind::Array => {
            walk_prose(value.get().as_bytes(), prose, depth - 1, out);
        }
        Kind::Text | Kind::Number | Kind::Bool | Kind::Null => {}
    };
    if json.first() == Some(&b'[') {
        each_element(json, |element| value(element, is_prose_here));
    } else {
        each_member(json, |key, member| value(member, is_prose(&key)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn members_before_a_break_are_seen() {
        let mut seen = Vec::new();
        let whole = each_member(br#"{"a":1,"b":{"c":2},"d":[1,"#, |key, value| {
            seen.push(format!("{key}={}", value.get()));
        });
        assert!(!whole);
        assert_eq!(seen, ["a=1", r#"b={"c":2}"#]);
    }

    #[test]
    fn counts_are_whole_or_nothing() {
        assert_eq!(count(raw("12")), Some(12));
        assert_eq!(count(raw("12.75")), Some(12));
        assert_eq!(count(raw("1.5e3")), Some(1_500));
        assert_eq!(count(raw("18446744073709551615")), Some(u64::MAX));
        for odd in [
            "-1",
            "-1.5",
            "\"12\"",
            "null",
            "true",
            "18446744073709551616",
            "[1,[2]]",
            "{\"a\":{\"b\":1}}",
        ] {
            assert_eq!(count(raw(odd)), None, "{odd}");
        }
    }

    #[test]
    fn seconds_become_milliseconds() {
        assert_eq!(thousandths(raw("8.4700000286")), Some(8_470));
        assert_eq!(thousandths(raw("3")), Some(3_000));
        assert_eq!(thousandths(raw("0.05")), Some(50));
        assert_eq!(thousandths(raw("-1.5")), None);
        assert_eq!(thousandths(raw("18446744073709551615")), None);
    }

    #[test]
    fn half_a_surrogate_pair_does_not_cost_the_text() {
        assert_eq!(
            text(raw(r#""a\n\ud83d\ude00""#)).as_deref(),
            Some("a\n\u{1f600}")
        );
        let half = text(raw(r#""a\n\ud83d""#)).unwrap();
        assert!(half.starts_with("a\n\u{fffd}"), "{half:?}");
        assert_eq!(text(raw("12")), None);
    }

    #[test]
    fn a_known_document_is_the_one_that_a_check_gives() {
        for text in [" {\"a\": [1, \"é\"]}\r\n", "null", "[ ]", "\"\\ud800\""] {
            let (known, checked) = (known_document(text), document(text));
            assert_eq!(known.unwrap().get(), checked.unwrap().get());
            // It was taken at its word.
            assert!(Box::<RawValue>::deserialize(Known(text)).is_ok());
        }
    }

    #[test]
    fn prose_is_collected_and_nothing_else() {
        let mut out = String::new();
        collect_prose(
            br#"{"id":"x","choices":[{"message":{"role":"assistant","content":"Hi \u00e9","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]}}]}"#,
            &mut out,
        );
        assert_eq!(out, "Hi éf{}");
    }
}
