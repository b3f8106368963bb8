//! A record as clients of Cloudflare read it (management-api section 5.3).

use isango_store::row::Row;
use isango_types::price::CostStatus;
use isango_types::record::{Body, CacheStatus, Message};
use isango_types::{Record, RecordId, Timestamp};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

/// How much of a body stands in the detail of a record, in bytes.
const HEAD_BYTES: usize = 4 << 10;

/// A record in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LogItem {
    /// Its id, that of the request.
    #[schema(value_type = String, format = "uuid")]
    id: RecordId,
    /// The client's id of the event, else the same.
    event_id: Box<str>,
    /// When the request came.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Slug of the provider; empty where none was found.
    provider: Box<str>,
    /// The model that answered, else the one that was asked for; empty where none is known.
    model: Box<str>,
    /// What kind of call it was.
    model_type: &'static str,
    /// Path behind the provider.
    path: Box<str>,
    /// Milliseconds to the last byte.
    duration: u64,
    /// Whether it was answered without an error.
    success: bool,
    /// Whether the answer came out of the cache.
    cached: bool,
    /// Tokens sent.
    tokens_in: Option<u64>,
    /// Tokens received.
    tokens_out: Option<u64>,
    /// US dollars; absent where they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    /// Whether the request named the price.
    custom_cost: bool,
    /// The request's metadata, as a text of JSON.
    metadata: String,
    /// `content-type` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_content_type: Option<Box<str>>,
    /// `content-type` of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_content_type: Option<Box<str>>,
    /// Status that the client was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    /// Which target or leg answered.
    step: u16,
    /// Tokens by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<UsageMetadata>,
    /// Where the time went.
    timings: Timings,
    /// -1, 0 or 1: what was thought of the answer.
    feedback: Option<i8>,
    /// 0 to 100.
    #[schema(value_type = Option<f64>)]
    score: Option<Number>,
    /// Whether a gateway token opened the gateway.
    authentication: bool,
    /// The client's `user-agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Box<str>>,
    /// Which revision of the configuration it ran under.
    config_revision: u64,
    /// Empty: bodies have addresses of their own.
    request: &'static str,
    /// Empty: bodies have addresses of their own.
    response: &'static str,
}

/// Tokens by kind.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct UsageMetadata {
    /// Sent.
    input_tokens: u64,
    /// Received.
    output_tokens: u64,
    /// Both.
    total_tokens: u64,
    /// Received and not shown.
    output_reasoning_tokens: u64,
    /// Sent, and read from the provider's cache.
    input_cached_tokens: u64,
}

/// Where the time went, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct Timings {
    /// To the last byte.
    total: u64,
    /// To the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<u64>,
}

/// A record by itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LogDetail {
    #[serde(flatten)]
    item: LogItem,
    /// How the request's body begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_head: Option<String>,
    /// Whether that is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_head_complete: Option<bool>,
    /// Bytes of the request's body.
    request_size: u64,
    /// How the answer's body begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_head: Option<String>,
    /// Whether that is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_head_complete: Option<bool>,
    /// Bytes of the answer's body.
    response_size: u64,
}

impl LogItem {
    pub(super) fn of(record: &Record) -> Self {
        let row = Row::of(record);
        let usage = record.usage.as_ref();
        let millis_of = |micros: u64| micros / 1_000;
        Self {
            id: record.id,
            event_id: record.event_id.clone(),
            created_at: record.created_at,
            provider: record.provider.clone().unwrap_or_default(),
            model: model(&row).unwrap_or_default().into(),
            model_type: record.operation.as_str(),
            path: record.path.clone(),
            duration: millis(&row),
            success: !record.is_error(),
            cached: is_cached(&row),
            tokens_in: usage.map(isango_types::Usage::total_input),
            tokens_out: usage.map(isango_types::Usage::total_output),
            cost: cost(&row),
            custom_cost: record.cost.status == CostStatus::Custom,
            metadata: serde_json::to_string(&record.metadata).unwrap_or_default(),
            request_content_type: record.request.content_type.clone(),
            response_content_type: record.response.content_type.clone(),
            status_code: record.status,
            step: row.step,
            usage_metadata: usage.map(|usage| UsageMetadata {
                input_tokens: usage.total_input(),
                output_tokens: usage.total_output(),
                total_tokens: usage.total(),
                output_reasoning_tokens: usage.reasoning,
                input_cached_tokens: usage.cache_read,
            }),
            timings: Timings {
                total: millis(&row),
                latency: record.timing.ttfb_us.map(millis_of),
            },
            feedback: row.feedback,
            score: row.score.clone(),
            authentication: record.token.is_some(),
            user_agent: record.user_agent.clone(),
            config_revision: record.config_revision,
            request: "",
            response: "",
        }
    }
}

impl LogDetail {
    /// With the beginnings of bodies for whoever may look at them.
    pub(super) fn of(record: &Record, with_heads: bool) -> Self {
        let head = |message: &Message| {
            let body = message.body.as_ref().filter(|_| with_heads)?;
            let text = body.as_str();
            let end = text.floor_char_boundary(HEAD_BYTES);
            let is_whole = end == text.len() && message.omitted.is_none();
            Some((text[..end].to_owned(), is_whole))
        };
        let (request, response) = (head(&record.request), head(&record.response));
        Self {
            item: LogItem::of(record),
            request_head_complete: request.as_ref().map(|(_, whole)| *whole),
            request_head: request.map(|(text, _)| text),
            request_size: record.request.bytes,
            response_head_complete: response.as_ref().map(|(_, whole)| *whole),
            response_head: response.map(|(text, _)| text),
            response_size: record.response.bytes,
        }
    }
}

/// A stored body and its kind.
pub(super) fn body(message: &Message) -> Option<(&'static str, String)> {
    Some(match message.body.as_ref()? {
        Body::Json(json) => ("application/json", json.get().to_owned()),
        Body::Text(text) => ("text/plain; charset=utf-8", text.to_string()),
        Body::Base64(text) => {
            let json = serde_json::json!({ "base64": text });
            ("application/json", json.to_string())
        }
    })
}

pub(super) fn is_cached(row: &Row) -> bool {
    row.cache.is_some_and(CacheStatus::is_kept)
}

pub(super) fn model(row: &Row) -> Option<&str> {
    row.model.as_deref().or(row.model_requested.as_deref())
}

pub(super) const fn millis(row: &Row) -> u64 {
    row.timing.total_us / 1_000
}

/// US dollars.
pub(super) fn cost(row: &Row) -> Option<f64> {
    row.cost.nanousd.map(dollars)
}

/// US dollars of nano-dollars.
pub(crate) fn dollars(nanos: u64) -> f64 {
    number(nanos) / 1e9
}

/// As clients count; exact up to 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "JSON has no larger numbers")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}
