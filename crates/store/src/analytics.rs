//! What lists and charts ask of records: [`List`] and [`Aggregate`], and what they are answered.
//!
//! Both are answered from columns and never from bodies, unless their filter looks for a text in
//! them. [`model`] answers them from whole records, one by one: the definition that every store is
//! compared with.
//!
//! A question can be told to end early ([`Progress::stop`]): by a reader that has left, or by a
//! timer, which makes it a budget in time. What was found until then is the answer, and says so.

pub mod model;
mod names;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use isango_types::limit::Window;
use isango_types::{RecordId, Timestamp, Usage};
use serde::Serialize;

use crate::filter::Filter;
use crate::logs::MAX_PAGE;
use crate::row::Row;

pub use names::UnknownName;

/// Most dimensions that an aggregate is grouped by.
pub const MAX_DIMENSIONS: usize = 4;
/// Most measures of an aggregate.
pub const MAX_MEASURES: usize = 24;
/// Most groups that are answered.
pub const MAX_GROUPS: usize = 10_000;
/// Most rows that a list passes over before its first ([`List::offset`]).
pub const MAX_OFFSET: usize = 100_000;

/// Which rows, in which order, and how many.
#[derive(Clone, Debug)]
pub struct List {
    /// What a record must match; the default matches every record.
    pub filter: Filter,
    /// Only records created at this moment or later.
    pub since: Option<Timestamp>,
    /// Only records created before this moment.
    pub until: Option<Timestamp>,
    /// What the rows are sorted by. Rows without a value come last in either direction, and of
    /// equal ones the newest first.
    pub sort: Sort,
    /// From small to large, and from early to late; the default is the other way.
    pub ascending: bool,
    /// Sorted by time: only rows that come after this one, the `next` of the page before. Under
    /// another order it is passed over.
    pub after: Option<RecordId>,
    /// How many rows are passed over first; at most [`MAX_OFFSET`].
    pub offset: usize,
    /// Most rows of the page, 1 to [`MAX_PAGE`]; other values are brought within.
    pub limit: usize,
}

impl Default for List {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            since: None,
            until: None,
            sort: Sort::Time,
            ascending: false,
            after: None,
            offset: 0,
            limit: 50,
        }
    }
}

impl List {
    /// The limit, within its bounds.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.limit.clamp(1, MAX_PAGE)
    }

    /// The offset, within its bounds.
    #[must_use]
    pub fn passed_over(&self) -> usize {
        self.offset.min(MAX_OFFSET)
    }
}

/// What rows are sorted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Their ids, which begin with the time of their creation.
    #[default]
    Time,
    /// A text.
    Dimension(Dimension),
    /// A number.
    Quantity(Quantity),
}

/// One page of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The rows, in the order asked for.
    pub rows: Vec<Row>,
    /// Sorted by time: the cursor for the next page; `None` when this is the last one.
    pub next: Option<RecordId>,
    /// Whether every row was looked at that had to be.
    pub is_complete: bool,
}

/// Sums, counts and percentiles of the records that match, in all, by group and by time.
#[derive(Clone, Debug, Default)]
pub struct Aggregate {
    /// What a record must match; the default matches every record.
    pub filter: Filter,
    /// Only records created at this moment or later.
    pub since: Option<Timestamp>,
    /// Only records created before this moment.
    pub until: Option<Timestamp>,
    /// What is grouped by: one group for each combination of values. At most [`MAX_DIMENSIONS`];
    /// further ones are passed over. Empty: no groups, the total alone.
    pub by: Vec<Dimension>,
    /// The stretches of time that each group is split into: on a calendar, or of a fixed length.
    /// `None`: none.
    pub every: Option<Window>,
    /// What is measured. At most [`MAX_MEASURES`]; further ones are passed over.
    pub measures: Vec<Measure>,
    /// Most groups that are answered, those with the most of `measures[order]`; the rest is summed
    /// up in [`Answer::other`]. 0 is [`MAX_GROUPS`].
    pub top: usize,
    /// Which measure decides that.
    pub order: usize,
}

impl Aggregate {
    /// The dimensions that count.
    #[must_use]
    pub fn dimensions(&self) -> &[Dimension] {
        &self.by[..self.by.len().min(MAX_DIMENSIONS)]
    }

    /// The measures that count.
    #[must_use]
    pub fn measured(&self) -> &[Measure] {
        &self.measures[..self.measures.len().min(MAX_MEASURES)]
    }

    /// The measure that groups are ordered by.
    #[must_use]
    pub fn deciding(&self) -> Measure {
        let measure = self.measured().get(self.order);
        measure.copied().unwrap_or(Measure::Count)
    }

    /// How many groups are answered.
    #[must_use]
    pub fn most(&self) -> usize {
        match self.top {
            0 => MAX_GROUPS,
            top => top.min(MAX_GROUPS),
        }
    }

    /// The stretch of time that a moment lies in: where it begins, and where it ends. A rolling
    /// window has no beginning, and is taken for one of a fixed length.
    #[must_use]
    pub fn bucket(&self, moment: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match self.every.as_ref()? {
            Window::Sliding(length) => Some(Window::Fixed(*length).around(moment)),
            window @ (Window::Calendar { .. } | Window::Fixed(_)) => Some(window.around(moment)),
        }
    }
}

/// What an aggregate is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The groups, most of the deciding measure first and those without a value of it last; equal
    /// ones by their keys.
    pub groups: Vec<Group>,
    /// All other groups as one, if there are others; it has no key.
    pub other: Option<Group>,
    /// Everything that matched.
    pub total: Group,
    /// How many groups there are, `other` taken apart.
    pub group_count: u64,
    /// Whether percentiles come from histograms: at most 1.6 % off, instead of exact.
    pub is_approximate: bool,
    /// Whether every record was counted; otherwise [`Progress::fraction`] tells how much of it.
    pub is_complete: bool,
}

/// The records of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its values, in the order of [`Aggregate::by`]; `None`: the records have none.
    pub key: Vec<Option<Box<str>>>,
    /// Its measures, in the order of [`Aggregate::measures`]; `None`: no record has the quantity.
    pub values: Vec<Option<u64>>,
    /// Its stretches of time, earliest first; those without a record are left out.
    pub points: Vec<Point>,
}

/// The records of one group in one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Point {
    /// When it begins.
    pub start: Timestamp,
    /// Its measures, as those of the group.
    pub values: Vec<Option<u64>>,
}

/// What can be grouped and sorted by. Every value is a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Account of the gateway.
    Account,
    /// Id of the gateway.
    Gateway,
    /// Slug of the provider.
    Provider,
    /// Name of the configured target.
    Target,
    /// Azure resource or region.
    Resource,
    /// Azure deployment.
    Deployment,
    /// Kind of call.
    Operation,
    /// Model that served; where none did, the one asked for.
    Model,
    /// Model that the request asked for.
    ModelRequested,
    /// Status (`429`).
    Status,
    /// First digit of the status (`4xx`).
    StatusClass,
    /// `error` or `ok`, as [`Row::is_error`] tells.
    Result,
    /// How it ended.
    Outcome,
    /// Code of its failure.
    Code,
    /// Who is to blame for that.
    Blame,
    /// What the cache did; `bypass` where it was not asked.
    Cache,
    /// How the cost came about.
    CostStatus,
    /// The row of the price list.
    Price,
    /// The first limit that did more than admit it.
    Limit,
    /// What that limit did.
    Verdict,
    /// The provider's reason to stop.
    FinishReason,
    /// `true` or `false`.
    Stream,
    /// Name of the gateway token.
    Token,
    /// The client's `user-agent`.
    UserAgent,
    /// HTTP method.
    Method,
    /// Path behind the provider.
    Path,
    /// Content type of the request.
    RequestType,
    /// Content type of the answer.
    ResponseType,
    /// Metadata of a key, as text.
    Metadata(Box<str>),
}

/// What can be summed up and sorted by. Times are in microseconds, money in nano-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// The cost, where it is known.
    Cost,
    /// All tokens.
    Tokens,
    /// Tokens of input.
    TokensIn,
    /// Tokens of output.
    TokensOut,
    /// Input read from the provider's prompt cache.
    CacheRead,
    /// Input written to the provider's prompt cache, whatever its lifetime.
    CacheWrite,
    /// Reasoning.
    Reasoning,
    /// To the last byte.
    Duration,
    /// To the head of the answer.
    Ttfb,
    /// To the first token.
    Ttft,
    /// Waiting before the first send.
    Queue,
    /// Establishing connections.
    Connect,
    /// What the gateway added.
    Overhead,
    /// Sends to a provider.
    Attempts,
    /// Bytes of the request's body.
    RequestBytes,
    /// Bytes of the answer's body.
    ResponseBytes,
    /// What the cache saved.
    SavedCost,
    /// Time that the cache saved.
    SavedTime,
    /// Input that the cache saved.
    SavedTokensIn,
    /// Output that the cache saved.
    SavedTokensOut,
}

/// What is measured of the records of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// How many there are.
    Count,
    /// How many failed ([`Row::is_error`]).
    Errors,
    /// How many were answered from the cache.
    Cached,
    /// How many have a cost that is not known.
    Unpriced,
    /// How many have a cost that is a guess.
    Estimated,
    /// How many have the quantity.
    Known(Quantity),
    /// Their sum; it stops at [`u64::MAX`].
    Sum(Quantity),
    /// The smallest.
    Min(Quantity),
    /// The largest.
    Max(Quantity),
    /// The smallest value that at least this many thousandths of them do not exceed; at most
    /// 1 000.
    Percentile(Quantity, u16),
}

impl Dimension {
    /// Its value in a row.
    #[must_use]
    pub fn of<'r>(&self, row: &'r Row) -> Option<Cow<'r, str>> {
        let some = |text: &'r str| Some(Cow::Borrowed(text));
        match self {
            Self::Account => some(&row.account),
            Self::Gateway => some(&row.gateway),
            Self::Provider => row.provider.as_deref().map(Cow::Borrowed),
            Self::Target => row.target.as_deref().map(Cow::Borrowed),
            Self::Resource => row.resource.as_deref().map(Cow::Borrowed),
            Self::Deployment => row.deployment.as_deref().map(Cow::Borrowed),
            Self::Operation => some(row.operation.as_str()),
            Self::Model => {
                let model = row.model.as_deref().or(row.model_requested.as_deref());
                model.map(Cow::Borrowed)
            }
            Self::ModelRequested => row.model_requested.as_deref().map(Cow::Borrowed),
            Self::Status => row.status.map(|status| status.to_string().into()),
            Self::StatusClass => row
                .status
                .map(|status| format!("{}xx", status / 100).into()),
            Self::Result => some(if row.is_error() { "error" } else { "ok" }),
            Self::Outcome => some(row.outcome.as_str()),
            Self::Code => row.error.as_deref().map(Cow::Borrowed),
            Self::Blame => row.blame.map(|blame| blame.as_str().into()),
            Self::Cache => some(row.cache.map_or("bypass", |cache| cache.as_str())),
            Self::CostStatus => some(row.cost.status.as_str()),
            Self::Price => row.cost.price.as_deref().map(Cow::Borrowed),
            Self::Limit => row.limit.as_deref().map(Cow::Borrowed),
            Self::Verdict => row.verdict.map(|verdict| verdict.as_str().into()),
            Self::FinishReason => row.finish_reason.as_deref().map(Cow::Borrowed),
            Self::Stream => some(if row.stream { "true" } else { "false" }),
            Self::Token => row.token.as_deref().map(Cow::Borrowed),
            Self::UserAgent => row.user_agent.as_deref().map(Cow::Borrowed),
            Self::Method => some(&row.method),
            Self::Path => some(&row.path),
            Self::RequestType => row.request.content_type.as_deref().map(Cow::Borrowed),
            Self::ResponseType => row.response.content_type.as_deref().map(Cow::Borrowed),
            Self::Metadata(key) => row.metadata.get(key).map(|value| value.to_text()),
        }
    }
}

impl Quantity {
    /// Its value in a row; `None` if the row has none.
    #[must_use]
    pub fn of(self, row: &Row) -> Option<u64> {
        let tokens = |count: fn(&Usage) -> u64| row.usage.as_ref().map(count);
        match self {
            Self::Cost => row.cost.nanousd,
            Self::Tokens => tokens(Usage::total),
            Self::TokensIn => tokens(Usage::total_input),
            Self::TokensOut => tokens(Usage::total_output),
            Self::CacheRead => tokens(|usage| usage.cache_read),
            Self::CacheWrite => {
                tokens(|usage| usage.cache_write.saturating_add(usage.cache_write_1h))
            }
            Self::Reasoning => tokens(|usage| usage.reasoning),
            Self::Duration => Some(row.timing.total_us),
            Self::Ttfb => row.timing.ttfb_us,
            Self::Ttft => row.timing.ttft_us,
            Self::Queue => Some(row.timing.queue_us),
            Self::Connect => Some(row.timing.connect_us),
            Self::Overhead => Some(row.timing.overhead_us),
            Self::Attempts => Some(row.attempts.into()),
            Self::RequestBytes => Some(row.request.bytes),
            Self::ResponseBytes => Some(row.response.bytes),
            Self::SavedCost => row.saved.and_then(|saved| saved.nanousd),
            Self::SavedTime => row.saved.map(|saved| saved.us),
            Self::SavedTokensIn => row.saved.and_then(|saved| saved.tokens_in),
            Self::SavedTokensOut => row.saved.and_then(|saved| saved.tokens_out),
        }
    }
}

/// Which value of `count` sorted ones is a percentile: its place, from 0. `None` of nothing.
#[must_use]
pub fn percentile_rank(permille: u16, count: u64) -> Option<u64> {
    let permille = u128::from(permille.min(1_000));
    let rank = (permille * u128::from(count)).div_ceil(1_000).max(1) - 1;
    u64::try_from(rank).ok().filter(|rank| *rank < count)
}

/// How far a question has come, and whether it is to end.
#[derive(Debug, Default)]
pub struct Progress {
    stop: AtomicBool,
    done: AtomicU64,
    of: AtomicU64,
    /// Ends by itself once so many records were looked at; 0: it does not.
    most: u64,
}

impl Progress {
    /// One that ends its question by itself once so many records were looked at, at least one.
    #[must_use]
    pub fn within(records: u64) -> Self {
        Self {
            most: records.max(1),
            ..Self::default()
        }
    }

    /// Ends the question soon: what was found until then is its answer.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sets how many records have to be looked at.
    pub fn begin(&self, of: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
    }

    /// Notes that so many more records were looked at, or need not be.
    pub fn advance(&self, records: u64) {
        let before = self.done.fetch_add(records, Ordering::Relaxed);
        if self.most > 0 && before.saturating_add(records) >= self.most {
            self.stop();
        }
    }

    /// How much was looked at: 0 to 1.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share that is shown needs no more than 53 bits"
    )]
    pub fn fraction(&self) -> f64 {
        let of = self.of.load(Ordering::Relaxed);
        let done = self.done.load(Ordering::Relaxed).min(of);
        if of == 0 {
            1.0
        } else {
            done as f64 / of as f64
        }
    }
}
