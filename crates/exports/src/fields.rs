//! The fields of the dataset `ai_gateway_events`: those of the contract (observability section 5),
//! and what else a record tells.

use std::borrow::Cow;

use isango_types::price::format_usd;
use isango_types::record::{CacheStatus, Message, Outcome};
use isango_types::{Record, Timestamp};

use crate::seal::RecordKey;

/// What of a record is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// When the request arrived.
    Datetime,
    /// Its log id; the same in every export, so that duplicates are known by it.
    Id,
    /// The client's own id of it.
    EventId,
    /// The account.
    Account,
    /// The gateway.
    Gateway,
    /// Slug of the provider.
    Provider,
    /// The target that answered.
    Target,
    /// The model that served.
    Model,
    /// The model that was asked for.
    ModelRequested,
    /// The kind of call.
    Operation,
    /// Path behind the provider.
    Endpoint,
    /// HTTP method.
    Method,
    /// Status that the client was sent.
    StatusCode,
    /// How it ended.
    Outcome,
    /// Code of the failure.
    ErrorCode,
    /// What failed, in words.
    ErrorMessage,
    /// Whether the answer came from the cache.
    Cached,
    /// Whether a limit refused it.
    RateLimited,
    /// Whether the answer was a stream.
    Stream,
    /// Sends to providers.
    Attempts,
    /// Tokens sent.
    TokensIn,
    /// Tokens received.
    TokensOut,
    /// What it cost, in USD; null if that is not known.
    Cost,
    /// To the last byte, in milliseconds.
    DurationMs,
    /// To the head of the answer, in milliseconds.
    TimeToFirstByteMs,
    /// Why the model stopped.
    FinishReason,
    /// Name of the gateway token.
    Token,
    /// The client's `user-agent`.
    UserAgent,
    /// `cf-aig-metadata`, sealed if there is a key.
    Metadata,
    /// What the client sent, sealed if there is a key.
    RequestBody,
    /// What the client was sent, sealed if there is a key.
    ResponseBody,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'r> {
    /// There is none.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Number(u64),
    /// A number with decimals, as it is written.
    Decimal(String),
    /// A text.
    Text(Cow<'r, str>),
    /// A moment.
    Time(Timestamp),
}

impl Cell<'_> {
    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "conditions compare small numbers"
            )]
            Self::Number(number) => Some(*number as f64),
            Self::Decimal(text) => text.parse().ok(),
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::Time(_) => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Null => None,
            Self::Bool(true) => Some("true".into()),
            Self::Bool(false) => Some("false".into()),
            Self::Number(number) => Some(number.to_string().into()),
            Self::Decimal(text) => Some(text.as_str().into()),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Time(at) => Some(at.to_string().into()),
        }
    }
}

/// What the values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Decimal,
    Flag,
    Time,
}

/// How moments are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// `2026-04-18T00:02:10.000001Z`.
    #[default]
    Rfc3339,
    /// Seconds since 1970.
    Unix,
    /// Nanoseconds since 1970.
    UnixNano,
}

impl Times {
    /// The names, in the order of [`Times::ALL`].
    pub const NAMES: [&'static str; 3] = ["rfc3339", "unix", "unixnano"];
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Rfc3339, Self::Unix, Self::UnixNano];
}

impl Field {
    /// Every field, by its name, in the order in which they are written.
    pub const ALL: [(&'static str, Self); 31] = [
        ("Datetime", Self::Datetime),
        ("Id", Self::Id),
        ("EventId", Self::EventId),
        ("Account", Self::Account),
        ("Gateway", Self::Gateway),
        ("Provider", Self::Provider),
        ("Target", Self::Target),
        ("Model", Self::Model),
        ("ModelRequested", Self::ModelRequested),
        ("Operation", Self::Operation),
        ("Endpoint", Self::Endpoint),
        ("Method", Self::Method),
        ("StatusCode", Self::StatusCode),
        ("Outcome", Self::Outcome),
        ("ErrorCode", Self::ErrorCode),
        ("ErrorMessage", Self::ErrorMessage),
        ("Cached", Self::Cached),
        ("RateLimited", Self::RateLimited),
        ("Stream", Self::Stream),
        ("Attempts", Self::Attempts),
        ("TokensIn", Self::TokensIn),
        ("TokensOut", Self::TokensOut),
        ("Cost", Self::Cost),
        ("DurationMs", Self::DurationMs),
        ("TimeToFirstByteMs", Self::TimeToFirstByteMs),
        ("FinishReason", Self::FinishReason),
        ("Token", Self::Token),
        ("UserAgent", Self::UserAgent),
        ("Metadata", Self::Metadata),
        ("RequestBody", Self::RequestBody),
        ("ResponseBody", Self::ResponseBody),
    ];

    /// The field of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, field)| *field)
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, field)| *field == self);
        found.map_or("", |(name, _)| name)
    }

    /// Whether it is sealed where there is a key.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        matches!(
            self,
            Self::Metadata | Self::RequestBody | Self::ResponseBody
        )
    }

    /// What its values are.
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Datetime => Kind::Time,
            Self::StatusCode | Self::Attempts | Self::TokensIn | Self::TokensOut => Kind::Number,
            Self::Cost | Self::DurationMs | Self::TimeToFirstByteMs => Kind::Decimal,
            Self::Cached | Self::RateLimited | Self::Stream => Kind::Flag,
            Self::Id
            | Self::EventId
            | Self::Account
            | Self::Gateway
            | Self::Provider
            | Self::Target
            | Self::Model
            | Self::ModelRequested
            | Self::Operation
            | Self::Endpoint
            | Self::Method
            | Self::Outcome
            | Self::ErrorCode
            | Self::ErrorMessage
            | Self::FinishReason
            | Self::Token
            | Self::UserAgent
            | Self::Metadata
            | Self::RequestBody
            | Self::ResponseBody => Kind::Text,
        }
    }

    /// Its value.
    #[must_use]
    pub fn of(self, record: &Record) -> Cell<'_> {
        match self {
            Self::Datetime => Cell::Time(record.created_at),
            Self::Id => Cell::Text(record.id.to_string().into()),
            Self::EventId => some(Some(&record.event_id)),
            Self::Account => some(Some(&record.account)),
            Self::Gateway => some(Some(&record.gateway)),
            Self::Provider => some(record.provider.as_deref()),
            Self::Target => some(record.target.as_deref()),
            Self::Model => some(
                record
                    .model
                    .as_deref()
                    .or(record.model_requested.as_deref()),
            ),
            Self::ModelRequested => some(record.model_requested.as_deref()),
            Self::Operation => some(Some(record.operation.as_str())),
            Self::Endpoint => some(Some(&record.path)),
            Self::Method => some(Some(&record.method)),
            Self::StatusCode => count(record.status.map(u64::from)),
            Self::Outcome => some(Some(record.outcome.as_str())),
            Self::ErrorCode => some(record.error.as_ref().map(|error| &*error.code)),
            Self::ErrorMessage => some(record.error.as_ref().map(|error| &*error.message)),
            Self::Cached => Cell::Bool(record.cache.as_ref().is_some_and(|cache| {
                matches!(cache.status, CacheStatus::Hit | CacheStatus::Stale)
            })),
            Self::RateLimited => {
                Cell::Bool(record.outcome == Outcome::Refused && record.status == Some(429))
            }
            Self::Stream => Cell::Bool(record.stream),
            Self::Attempts => Cell::Number(record.attempts.len() as u64),
            Self::TokensIn => count(record.usage.as_ref().map(|usage| usage.total_input())),
            Self::TokensOut => count(record.usage.as_ref().map(|usage| usage.total_output())),
            Self::Cost => match record.cost.nanousd {
                Some(nanousd) => Cell::Decimal(format_usd(nanousd)),
                None => Cell::Null,
            },
            Self::DurationMs => millis(Some(record.timing.total_us)),
            Self::TimeToFirstByteMs => millis(record.timing.ttfb_us),
            Self::FinishReason => some(record.finish_reason.as_deref()),
            Self::Token => some(record.token.as_deref()),
            Self::UserAgent => some(record.user_agent.as_deref()),
            Self::Metadata => match record.metadata.is_empty() {
                true => Cell::Null,
                false => serde_json::to_string(&record.metadata)
                    .map_or(Cell::Null, |text| Cell::Text(text.into())),
            },
            Self::RequestBody => body(&record.request),
            Self::ResponseBody => body(&record.response),
        }
    }
}

fn some(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Null, |text| Cell::Text(Cow::Borrowed(text)))
}

fn count(number: Option<u64>) -> Cell<'static> {
    number.map_or(Cell::Null, Cell::Number)
}

/// Microseconds as milliseconds with three decimals.
fn millis(micros: Option<u64>) -> Cell<'static> {
    micros.map_or(Cell::Null, |micros| {
        Cell::Decimal(format!("{}.{:03}", micros / 1_000, micros % 1_000))
    })
}

fn body(message: &Message) -> Cell<'_> {
    some(
        message
            .body
            .as_ref()
            .map(isango_types::record::Body::as_str),
    )
}

/// Appends a record as an object of these fields; those that are sealed with `key`, if there is one.
///
/// # Errors
/// It could not be sealed.
pub(crate) fn write(
    record: &Record,
    fields: &[Field],
    times: Times,
    key: Option<&RecordKey>,
    out: &mut Vec<u8>,
) -> Result<(), crate::seal::SealError> {
    out.push(b'{');
    for (n, field) in fields.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(field.name().as_bytes());
        out.extend_from_slice(b"\":");
        let cell = field.of(record);
        match (key.filter(|_| field.is_sealed()), &cell) {
            (Some(key), Cell::Text(text)) => key.seal(text, out)?,
            _ => write_cell(&cell, times, out),
        }
    }
    out.push(b'}');
    Ok(())
}

fn write_cell(cell: &Cell<'_>, times: Times, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => out.extend_from_slice(b"null"),
        Cell::Bool(true) => out.extend_from_slice(b"true"),
        Cell::Bool(false) => out.extend_from_slice(b"false"),
        Cell::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Cell::Decimal(text) => out.extend_from_slice(text.as_bytes()),
        Cell::Text(text) => write_text(text, out),
        Cell::Time(at) => match times {
            Times::Rfc3339 => write_text(at.encode(&mut [0; 27]), out),
            Times::Unix => {
                let seconds = at.as_micros() / 1_000_000;
                out.extend_from_slice(seconds.to_string().as_bytes());
            }
            Times::UnixNano => {
                out.extend_from_slice(at.as_micros().to_string().as_bytes());
                out.extend_from_slice(b"000");
            }
        },
    }
}

/// Appends a text as JSON.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    // A text has no other JSON, and a `Vec` no error.
    if let Err(error) = serde_json::to_writer(&mut *out, text) {
        tracing::error!(%error, "a text could not be written");
    }
}

#[cfg(test)]
mod tests {
    use isango_store::conformance::sample;
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_field_has_one_name_and_is_written() {
        for (name, field) in Field::ALL {
            assert_eq!((field.name(), Field::parse(name)), (name, Some(field)));
        }
        let record = sample::record(3);
        let all: Vec<Field> = Field::ALL.iter().map(|(_, field)| *field).collect();
        let mut out = Vec::new();
        write(&record, &all, Times::Rfc3339, None, &mut out).unwrap();
        let line: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line.as_object().unwrap().len(), Field::ALL.len());
        assert_eq!(line["Id"], record.id.to_string());
        assert_eq!(line["Gateway"], &*record.gateway);
        let body = record.request.body.as_ref().unwrap().as_str();
        assert_eq!(line["RequestBody"], body);
    }

    #[test]
    fn moments_are_written_as_asked() {
        let mut record = sample::record(3);
        record.created_at = Timestamp::parse("2026-04-18T00:02:10.000001Z").unwrap();
        let written = |times| {
            let mut out = Vec::new();
            write(&record, &[Field::Datetime], times, None, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let texts = Times::ALL.map(written);
        assert_eq!(
            texts,
            [
                r#"{"Datetime":"2026-04-18T00:02:10.000001Z"}"#,
                r#"{"Datetime":1776470530}"#,
                r#"{"Datetime":1776470530000001000}"#
            ]
        );
    }
}
