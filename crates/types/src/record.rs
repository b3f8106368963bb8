//! What one exchange leaves behind: exactly one [`Record`], whatever happened.

mod cache;
mod json;
mod review;
mod trace;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::id::RecordId;
use crate::limit::Decision;
use crate::operation::Operation;
use crate::price::Cost;
use crate::usage::Usage;

pub use self::cache::{CacheStatus, CacheUse, Saved};
pub use self::review::{Comment, Rated, Review};
pub use self::trace::{SpanId, Trace, TraceId};

/// The record of one exchange. Its JSON is one line of the journal; absent members are left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Record {
    /// Request id and log id.
    pub id: RecordId,
    /// The client's `cf-aig-event-id`, else the same as `id`; the journal leaves it out then.
    #[serde(default)]
    pub event_id: Box<str>,
    /// When the request's head had been read.
    pub created_at: Timestamp,
    /// Account of the gateway; empty when the path named none.
    pub account: Box<str>,
    /// Id of the gateway; empty when the path named none.
    pub gateway: Box<str>,
    /// Which revision of the stored configuration it ran under; 0: nothing was ever stored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub config_revision: u64,
    /// Slug of the provider (`azure-openai`, `custom-acme`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Box<str>>,
    /// Name of the configured target that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Box<str>>,
    /// Azure resource, or region of a regional provider, as the path named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Box<str>>,
    /// Azure deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Box<str>>,
    /// The kind of call.
    pub operation: Operation,
    /// Model that the request asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_requested: Option<Box<str>>,
    /// Model that served it: named by the answer, else by the deployment map, else as asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Box<str>>,
    /// HTTP method.
    pub method: Box<str>,
    /// Path after the provider's slug, with its query; values of secret query keys are dropped.
    pub path: Box<str>,
    /// HTTP version of the client's request (`1.0`, `1.1`, `2`).
    pub http_version: Box<str>,
    /// Status that the client was sent; `None` when it left before one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RecordError>,
    /// Every send to a provider, in order; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Where the time went.
    pub timing: Timing,
    /// Whether the answer was a stream of events.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// Tokens by kind; `None` when the answer told none and nothing could be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What it cost, or why that is not known.
    pub cost: Cost,
    /// What the cache did, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Box<CacheUse>>,
    /// What the gateway's limits did with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Decision>,
    /// The provider's reason to stop (`stop`, `length`, `end_turn`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<Box<str>>,
    /// Id that the provider gave its answer (`chatcmpl-…`, or its request id header).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<Box<str>>,
    /// The client's `cf-aig-metadata`: at most five entries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<Box<str>, MetadataValue>,
    /// Name of the gateway token that opened the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Box<str>>,
    /// The client's `user-agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Box<str>>,
    /// Remarks an operator should see: a header that was malformed and ignored, a body that was
    /// too large to inspect, a body that could not be decoded. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Box<str>>,
    /// Which trace it belongs to, where the client said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Box<Trace>>,
    /// What was said of it later. Never in the journal: the store adds it when it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Box<Review>>,
    /// What the client sent.
    pub request: Message,
    /// What the client was sent.
    pub response: Message,
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut record = Self::deserialize(deserializer)?;
        if record.event_id.is_empty() {
            record.event_id = record.id.encode(&mut [0; 36]).into();
        }
        Ok(record)
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider's answer, of any status, was relayed to its end.
    Answered,
    /// The gateway refused the request; no provider was called.
    Refused,
    /// No answer could be had from a provider.
    Failed,
    /// The client left before the end.
    ClientLeft,
    /// The provider's answer broke off, and so did ours.
    UpstreamCut,
    /// The gateway was told to stop, and the answer outlasted its grace.
    Stopped,
    /// The answer brought more than a limit had held for it, and the gateway ended it.
    Overrun,
    /// The gateway itself failed.
    Panicked,
}

impl Outcome {
    /// The name in records, metrics and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::ClientLeft => "client_left",
            Self::UpstreamCut => "upstream_cut",
            Self::Stopped => "stopped",
            Self::Overrun => "overrun",
            Self::Panicked => "panicked",
        }
    }
}

/// Who is to blame for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The request was wrong, or its sender left.
    Client,
    /// The gateway, or its configuration.
    Gateway,
    /// The provider, or the way to it.
    Upstream,
}

impl Blame {
    /// The name in records, metrics and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Upstream => "upstream",
        }
    }
}

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordError {
    /// Stable code: the gateway's number (`2001`), or `upstream_429` for a provider's own error
    /// status.
    pub code: Box<str>,
    /// Who is to blame.
    pub blame: Blame,
    /// What went wrong, in words; never a secret or a prompt.
    pub message: Box<str>,
}

/// One send to a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Name of the target, or of the provider where no target is configured.
    pub target: Box<str>,
    /// Which target of the request's plan it is, or which leg; 0 is the first.
    #[serde(default, skip_serializing_if = "is_zero_step")]
    pub step: u16,
    /// How long the gateway waited before it, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wait_us: u64,
    /// Why it waited: `backoff`, or the header of the answer before that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_reason: Option<Box<str>>,
    /// Status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was none: `connect_failed`, `tls_failed`, `first_byte_timeout`, `reset`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<str>>,
    /// What lay at the bottom of that, as TLS, HTTP or the operating system put it; at most 256
    /// bytes. For operators: clients are not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<str>>,
    /// What broke it off before its answer began: `hedge`, where another send was faster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<Box<str>>,
    /// From the arrival of the request to the start of this attempt, in microseconds.
    pub started_us: u64,
    /// Establishing the connection, TLS included, in microseconds; 0 on a pooled one.
    pub connect_us: u64,
    /// From the start of this attempt to the head of its answer, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttfb_us: Option<u64>,
    /// Whether the connection came from the pool.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
    /// What it cost, if it was not the only one: the record's cost where its answer was relayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// Where the time of an exchange went, in microseconds since the head of the request was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Waiting before the first send: for the request's body and for admission.
    pub queue_us: u64,
    /// Establishing connections to the provider, over all attempts.
    pub connect_us: u64,
    /// To the head of the answer (time to first byte).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttfb_us: Option<u64>,
    /// To the first token of a stream (time to first token).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_us: Option<u64>,
    /// To the last byte of the answer.
    pub total_us: u64,
    /// What the gateway itself added: from the head of the request to its send, without waiting
    /// for the body or a connection, and from the head of the answer to its hand-over.
    pub overhead_us: u64,
}

/// One direction of an exchange.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Message {
    /// `content-type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Box<str>>,
    /// `content-encoding`; the stored body is decoded where we can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<Box<str>>,
    /// Bytes of the body as they crossed the wire.
    pub bytes: u64,
    /// The stored body; of a stream, the whole answer put together from its events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// Why there is no body although one crossed, or why it is not whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<Omitted>,
    /// The raw frames of a stream, where the gateway sets `record_raw_streams`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Body>,
    /// When each chunk of a stream arrived, in microseconds since the request; at most 4 096.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunk_times_us: Vec<u32>,
    /// How many events a stream had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub events: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero_step(step: &u16) -> bool {
    *step == 0
}

/// Why a body is absent or not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Omitted {
    /// `cf-aig-collect-log-payload: false`, or the gateway's setting.
    PayloadOff,
    /// Only the beginning is stored: the body is larger than `max_record_body_bytes`.
    TooLarge,
    /// Only the beginning is stored: the memory for bodies in flight was used up.
    MemoryLimit,
    /// It was stored for as long as bodies are kept.
    Expired,
    /// The record was deleted; what counts in sums is left of it.
    Deleted,
}

impl Omitted {
    /// The name in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PayloadOff => "payload_off",
            Self::TooLarge => "too_large",
            Self::MemoryLimit => "memory_limit",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
        }
    }
}

/// A stored body. Exactly one of three spellings, so that `jq` reads JSON as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// JSON as it came, but for line breaks between its tokens.
    Json(Box<RawValue>),
    /// Other text in UTF-8.
    Text(Box<str>),
    /// Anything else, in standard base64.
    Base64(Box<str>),
}

impl Body {
    /// The body as text: JSON and text as they are, bytes as base64.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Json(raw) => raw.get(),
            Self::Text(text) | Self::Base64(text) => text,
        }
    }
}

/// A value of `cf-aig-metadata`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MetadataValue {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(Box<str>),
}

impl MetadataValue {
    /// The value as text, without quotes.
    #[must_use]
    pub fn to_text(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Null => "null".into(),
            Self::Bool(true) => "true".into(),
            Self::Bool(false) => "false".into(),
            Self::Number(number) => number.to_string().into(),
            Self::Text(text) => (&**text).into(),
        }
    }
}

impl Record {
    /// Bytes of all bodies that it holds.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        let messages = [&self.request, &self.response].into_iter();
        let bodies = messages.flat_map(|message| message.body.iter().chain(&message.raw));
        bodies.map(|body| body.as_str().len()).sum()
    }

    /// Whether an operator would call it a failure: an error status, or no whole answer for a
    /// reason other than the client's leaving.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.status.is_some_and(|status| status >= 400)
            || !matches!(self.outcome, Outcome::Answered | Outcome::ClientLeft)
    }
}
