//! A record as lists and charts see it: flat, and without anything that only its own page needs.
//!
//! A store answers with rows from its columns, and never reads a body for them. What a row leaves
//! out (bodies, the attempts one by one, notes, what the cache compared) is in the record, which
//! [`LogReader::get`](crate::logs::LogReader::get) reads by the row's id.

use std::collections::BTreeMap;

use isango_types::limit::Verdict;
use isango_types::operation::Operation;
use isango_types::price::CostStatus;
use isango_types::record::{
    Blame, CacheStatus, Message, MetadataValue, Omitted, Outcome, Saved, Timing,
};
use isango_types::{Cost, Record, RecordId, Timestamp, Usage};
use serde::Serialize;
use serde_json::Number;

/// A record without its nested parts. Members mean what those of the same name mean in [`Record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Request id and log id.
    pub id: RecordId,
    /// The client's id of the event, else the same as `id`.
    pub event_id: Box<str>,
    /// When the request's head had been read.
    pub created_at: Timestamp,
    /// Account of the gateway.
    pub account: Box<str>,
    /// Id of the gateway.
    pub gateway: Box<str>,
    /// Slug of the provider.
    pub provider: Option<Box<str>>,
    /// Name of the configured target that answered.
    pub target: Option<Box<str>>,
    /// Azure resource or region.
    pub resource: Option<Box<str>>,
    /// Azure deployment.
    pub deployment: Option<Box<str>>,
    /// The kind of call.
    pub operation: Operation,
    /// Model that the request asked for.
    pub model_requested: Option<Box<str>>,
    /// Model that served it.
    pub model: Option<Box<str>>,
    /// HTTP method.
    pub method: Box<str>,
    /// Path after the provider's slug, with its query.
    pub path: Box<str>,
    /// Status that the client was sent.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Code of its failure.
    pub error: Option<Box<str>>,
    /// Who is to blame for that.
    pub blame: Option<Blame>,
    /// How many sends to a provider there were.
    pub attempts: u32,
    /// Which target of the plan the last of them went to; 0 is the first.
    pub step: u16,
    /// Where the time went.
    pub timing: Timing,
    /// Whether the answer was a stream of events.
    pub stream: bool,
    /// Tokens by kind.
    pub usage: Option<Usage>,
    /// What it cost, or why that is not known.
    pub cost: Cost,
    /// What the cache did, where it was asked.
    pub cache: Option<CacheStatus>,
    /// What a kept answer saved.
    pub saved: Option<RowSaved>,
    /// The first limit that did more than admit it.
    pub limit: Option<Box<str>>,
    /// What that limit did.
    pub verdict: Option<Verdict>,
    /// The provider's reason to stop.
    pub finish_reason: Option<Box<str>>,
    /// The client's metadata.
    pub metadata: BTreeMap<Box<str>, MetadataValue>,
    /// Name of the gateway token.
    pub token: Option<Box<str>>,
    /// The client's `user-agent`.
    pub user_agent: Option<Box<str>>,
    /// Thumbs up or down: −1, 0 or 1.
    pub feedback: Option<i8>,
    /// 0 to 100.
    pub score: Option<Number>,
    /// What the client sent.
    pub request: RowMessage,
    /// What the client was sent.
    pub response: RowMessage,
}

/// One direction of an exchange, without its body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowMessage {
    /// `content-type`.
    pub content_type: Option<Box<str>>,
    /// Bytes of the body as they crossed the wire.
    pub bytes: u64,
    /// How many events a stream had.
    pub events: u64,
    /// Why the body is absent or not whole, if that is so.
    pub omitted: Option<Omitted>,
}

/// What a kept answer saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RowSaved {
    /// Tokens of input; `None` if the answer told no usage.
    pub tokens_in: Option<u64>,
    /// Tokens of output.
    pub tokens_out: Option<u64>,
    /// Nano-dollars; `None` if they are not known.
    pub nanousd: Option<u64>,
    /// Microseconds.
    pub us: u64,
}

impl Row {
    /// The row of a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let limit = first_limit(record);
        let saved = record.cache.as_ref().and_then(|cache| cache.saved);
        Self {
            id: record.id,
            event_id: record.event_id.clone(),
            created_at: record.created_at,
            account: record.account.clone(),
            gateway: record.gateway.clone(),
            provider: record.provider.clone(),
            target: record.target.clone(),
            resource: record.resource.clone(),
            deployment: record.deployment.clone(),
            operation: record.operation,
            model_requested: record.model_requested.clone(),
            model: record.model.clone(),
            method: record.method.clone(),
            path: record.path.clone(),
            status: record.status,
            outcome: record.outcome,
            error: record.error.as_ref().map(|error| error.code.clone()),
            blame: record.error.as_ref().map(|error| error.blame),
            attempts: u32::try_from(record.attempts.len()).unwrap_or(u32::MAX),
            step: record.attempts.last().map_or(0, |attempt| attempt.step),
            timing: record.timing,
            stream: record.stream,
            usage: record.usage,
            cost: record.cost.clone(),
            cache: record.cache.as_ref().map(|cache| cache.status),
            saved: saved.map(RowSaved::of),
            limit: limit.map(|(rule, _)| rule.into()),
            verdict: limit.map(|(_, verdict)| verdict),
            finish_reason: record.finish_reason.clone(),
            metadata: record.metadata.clone(),
            token: record.token.clone(),
            user_agent: record.user_agent.clone(),
            feedback: record.review.as_ref().and_then(|review| review.feedback),
            score: record
                .review
                .as_ref()
                .and_then(|review| review.score.clone()),
            request: RowMessage::of(&record.request),
            response: RowMessage::of(&record.response),
        }
    }

    /// Whether an operator would call it a failure, as [`Record::is_error`] tells.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.status.is_some_and(|status| status >= 400)
            || !matches!(self.outcome, Outcome::Answered | Outcome::ClientLeft)
    }

    /// Whether its cost is a guess: the tokens were counted, not told.
    #[must_use]
    pub fn is_estimated(&self) -> bool {
        self.cost.status == CostStatus::Estimated
    }
}

/// The first limit that did more than admit a record, and what it did.
#[must_use]
pub fn first_limit(record: &Record) -> Option<(&str, Verdict)> {
    let mut decisions = record.limits.iter();
    let decision = decisions.find(|decision| decision.verdict != Verdict::Admitted)?;
    Some((&decision.rule, decision.verdict))
}

impl RowMessage {
    fn of(message: &Message) -> Self {
        Self {
            content_type: message.content_type.clone(),
            bytes: message.bytes,
            events: message.events,
            omitted: message.omitted,
        }
    }
}

impl RowSaved {
    /// What the cache says it saved.
    #[must_use]
    pub fn of(saved: Saved) -> Self {
        Self {
            tokens_in: saved.usage.map(|usage| usage.total_input()),
            tokens_out: saved.usage.map(|usage| usage.total_output()),
            nanousd: saved.nanousd,
            us: saved.us,
        }
    }
}
