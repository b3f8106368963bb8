//! Finds what the gateway must know of a JSON request without building a tree.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::json;

/// The members of a request body that the gateway reads. Absent, malformed or of another type:
/// `None`. Of a member that stands twice, the last counts, as for JSON parsers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan<'b> {
    /// `model`.
    pub model: Option<Cow<'b, str>>,
    /// `stream`.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`; `None` when `stream_options` or the member is absent.
    pub include_usage: Option<bool>,
    /// Whether there is a `stream_options` member at all, of any type.
    pub has_stream_options: bool,
    /// Whether there is a `data_sources` member (Azure "on your data" refuses `stream_options`).
    pub has_data_sources: bool,
    /// The bound that the request sets on its output: `max_completion_tokens`,
    /// `max_output_tokens` or `max_tokens`.
    pub max_output_tokens: Option<u64>,
    /// Another model than `model` may answer: the member stands twice, or in other letters, which
    /// some parsers do not tell apart; or there are `models` to choose from, or a `preset` that has
    /// some (`OpenRouter`, "Model routing" and "Presets"; read 2026-11-23). [`models`] tells which.
    pub names_others: bool,
    /// `background` is set: the answer will be made after this one, which tells nothing of it
    /// (Responses). Anything but `false` and `null` sets it, and a member in other letters may.
    pub background: bool,
    /// `max_output_tokens` is a number: the bound of Responses.
    pub has_max_output_tokens: bool,
    /// The body is a whole, valid JSON object.
    pub is_object: bool,
}

/// Every model that a JSON object names for its provider to choose from, in whichever letters the
/// member is written and however often it stands there. `None`: it cannot be told.
#[must_use]
pub fn models(body: &[u8]) -> Option<Vec<String>> {
    let (mut models, mut is_told) = (Vec::new(), true);
    let is_object = json::each_member(body, |name, value| {
        let value = value.get();
        if value == "null" {
            return;
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("model") {
            let model = serde_json::from_str(value);
            is_told &= model.is_ok();
            models.extend(model);
        } else if is("models") {
            let listed: Result<Vec<String>, _> = serde_json::from_str(value);
            is_told &= listed.is_ok();
            models.extend(listed.into_iter().flatten());
        } else if is("preset") {
            is_told = false;
        }
    });
    Some(models).filter(|_| is_object && is_told)
}

/// Scans a JSON object; of a body that is none, everything is absent.
#[must_use]
pub fn scan(body: &[u8]) -> Scan<'_> {
    // Text that is known to be UTF-8 is not checked again value by value.
    let read = match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    };
    read.map(|Object(scan)| scan).unwrap_or_default()
}

struct Object<'b>(Scan<'b>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_map(ObjectVisitor).map(Self)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Scan<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scan<'de>, A::Error> {
        let mut scan = Scan {
            is_object: true,
            ..Scan::default()
        };
        let (mut completion, mut output, mut max) = (None, None, None);
        let mut is_named = false;
        while let Some(member) = map.next_key()? {
            match member {
                Member::Model => {
                    scan.names_others |= std::mem::replace(&mut is_named, true);
                    scan.model = map.next_value::<Value<'de>>()?.text();
                }
                Member::OtherModels => {
                    scan.names_others = true;
                    map.next_value::<IgnoredAny>()?;
                }
                Member::Stream => scan.stream = map.next_value::<Value<'_>>()?.flag(),
                Member::StreamOptions => {
                    scan.has_stream_options = true;
                    scan.include_usage = map.next_value::<Value<'_>>()?.include_usage();
                }
                Member::DataSources => {
                    scan.has_data_sources = true;
                    map.next_value::<IgnoredAny>()?;
                }
                Member::Background => scan.background |= map.next_value::<Flag>()?.may_be_set,
                Member::MaxCompletionTokens => completion = map.next_value::<Value<'_>>()?.count(),
                Member::MaxOutputTokens => output = map.next_value::<Value<'_>>()?.count(),
                Member::MaxTokens => max = map.next_value::<Value<'_>>()?.count(),
                Member::IncludeUsage | Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        scan.has_max_output_tokens = output.is_some();
        scan.max_output_tokens = completion.or(output).or(max);
        Ok(scan)
    }
}

/// The names that matter, at the top or in `stream_options`.
enum Member {
    Model,
    OtherModels,
    Stream,
    StreamOptions,
    DataSources,
    Background,
    MaxCompletionTokens,
    MaxOutputTokens,
    MaxTokens,
    IncludeUsage,
    Other,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_str(MemberVisitor)
    }
}

struct MemberVisitor;

impl Visitor<'_> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Member, E> {
        Ok(match name {
            "model" => Member::Model,
            "stream" => Member::Stream,
            "stream_options" => Member::StreamOptions,
            "data_sources" => Member::DataSources,
            "max_completion_tokens" => Member::MaxCompletionTokens,
            "max_output_tokens" => Member::MaxOutputTokens,
            "max_tokens" => Member::MaxTokens,
            "include_usage" => Member::IncludeUsage,
            _ if name.eq_ignore_ascii_case("background") => Member::Background,
            _ if names_models(name) => Member::OtherModels,
            _ => Member::Other,
        })
    }
}

/// Whether a member that is not `model` names models.
fn names_models(name: &str) -> bool {
    matches!(name.len(), 5 | 6)
        && ["model", "models", "preset"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
}

/// A value of any type, read so far that its type and what we need of it are known.
enum Value<'b> {
    Text(Cow<'b, str>),
    Flag(bool),
    Count(u64),
    Object { include_usage: Option<bool> },
    Other,
}

impl<'b> Value<'b> {
    fn text(self) -> Option<Cow<'b, str>> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    fn flag(&self) -> Option<bool> {
        if let Self::Flag(flag) = self {
            Some(*flag)
        } else {
            None
        }
    }

    fn count(&self) -> Option<u64> {
        if let Self::Count(count) = self {
            Some(*count)
        } else {
            None
        }
    }

    fn include_usage(&self) -> Option<bool> {
        if let Self::Object { include_usage } = self {
            *include_usage
        } else {
            None
        }
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value<'de>, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Value<'de>, E> {
        Ok(Value::Count(count))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut include_usage = None;
        while let Some(member) = map.next_key()? {
            if matches!(member, Member::IncludeUsage) {
                include_usage = map.next_value::<Flag>()?.value;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object { include_usage })
    }
}

/// A value that is a flag or not; unlike [`Value`], it does not look into objects, so that nesting
/// costs no stack.
struct Flag {
    /// `None`: of another type.
    value: Option<bool>,
    /// It is not surely unset.
    may_be_set: bool,
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let value = <&serde_json::value::RawValue>::deserialize(reader)?;
        let (value, may_be_set) = match value.get() {
            "true" => (Some(true), true),
            "false" => (Some(false), false),
            "null" => (None, false),
            _ => (None, true),
        };
        Ok(Self { value, may_be_set })
    }
}

#[cfg(test)]
pub(crate) mod tests;
