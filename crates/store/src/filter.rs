//! The filter language of the command line and the API.
//!
//! `status:error model:gpt-4o meta.tenantId=acme cost:>0.01 -gateway:test "out of stock"`
//!
//! Terms are separated by spaces and must all hold; `-term` must not. A term is `field:value` (or
//! `field=value`, `field!=value`), where the value is
//! - a text, `"quoted"` if it holds spaces, commas or quotes; `*` outside of quotes stands for
//!   anything (`gpt-4*`), a lone `*` for any value at all;
//! - on fields with numbers, a number, a comparison (`>2s`, `>=`, `<`, `<=`) or a range that
//!   includes its ends (`400..499`, `..10`, `1..`);
//! - several of these with commas between, of which one must hold.
//!
//! Anything else is words to find in the bodies, regardless of case; a `*` before or behind them
//! says that they may begin or end within a word. A record without the field
//! matches no value of it, and therefore matches every `-field:…`.
//!
//! This module holds what a filter means; its children `parse` and `spell` hold how it is written.

mod parse;
mod search;
mod spell;
#[cfg(test)]
mod tests;
mod units;

use std::borrow::Cow;

use isango_types::price::CostStatus;
use isango_types::record::{Body, CacheStatus, MetadataValue};
use isango_types::{Record, Timestamp, Usage};

pub use parse::{FilterError, MAX_BYTES};
pub use search::{Needle, words_of_json};

/// A parsed filter. Its text form ([`Display`](std::fmt::Display)) parses to the same filter; relative times
/// have become absolute ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

/// One term of a filter. A store that keeps columns compiles it; [`Filter::matches`] is what it
/// means.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Whether the test must fail.
    pub negated: bool,
    /// What is tested.
    pub test: Test,
}

/// What a term tests. Of several values, one must match; a record without the field matches none.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// A text in one of the bodies.
    Body(Needle),
    /// A field that is a text.
    Text(TextField, Vec<Pattern>),
    /// The metadata of a key.
    Meta(Box<str>, Vec<MetaValue>),
    /// A field that is a number.
    Number(NumberField, Vec<Span<u64>>),
    /// The status.
    Status(Vec<StatusValue>),
    /// The cost.
    Cost(Vec<CostValue>),
    /// What was said of the record later.
    Review(ReviewField, Vec<Span<f64>>),
    /// Whether the answer was a stream.
    Stream(bool),
}

/// What a field's name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Text(TextField),
    Number(NumberField),
    Review(ReviewField),
    Status,
    Cost,
    Stream,
}

/// A field that is a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// The record's id.
    Id,
    /// The client's id of the event.
    Event,
    /// The account.
    Account,
    /// The gateway.
    Gateway,
    /// Slug of the provider.
    Provider,
    /// Name of the target.
    Target,
    /// Azure resource or region.
    Resource,
    /// Either name of the model: served, or asked for.
    Model,
    /// Azure deployment.
    Deployment,
    /// Kind of call.
    Operation,
    /// How it ended.
    Outcome,
    /// What the cache did; `bypass` where it was not asked.
    Cache,
    /// Who is to blame for a failure.
    Blame,
    /// Code of a failure.
    Code,
    /// HTTP method.
    Method,
    /// Path behind the provider.
    Path,
    /// Name of the gateway token.
    Token,
    /// The client's `user-agent`.
    UserAgent,
}

/// A field that is a number; times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberField {
    /// All tokens.
    Tokens,
    /// Tokens of input.
    TokensIn,
    /// Tokens of output.
    TokensOut,
    /// Sends to a provider.
    Attempts,
    /// To the last byte.
    Duration,
    /// To the head of the answer.
    Ttfb,
    /// To the first token.
    Ttft,
    /// When it was created, since 1970.
    Time,
}

/// What was said of a record later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewField {
    /// Thumbs up or down.
    Feedback,
    /// 0 to 100.
    Score,
}

/// A text with holes: the pieces between its `*`. One piece is the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<Box<str>>,
}

/// A number, or a stretch of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Span<T> {
    /// Any number at all.
    Any,
    /// This one.
    Is(T),
    /// More than this.
    Above(T),
    /// This or more.
    AtLeast(T),
    /// Less than this.
    Below(T),
    /// This or less.
    AtMost(T),
    /// From the first to the second, both included.
    Between(T, T),
}

/// A value of metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// A text; numbers and `true` are compared as they are written.
    Text(Pattern),
    /// Numbers, and texts that are written like one.
    Number(Span<f64>),
}

/// A value of the status.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StatusValue {
    /// The status itself.
    Number(Span<u64>),
    /// The first digit: `4xx`.
    Class(u64),
    /// What [`Record::is_error`] calls one.
    Error,
    /// Everything else.
    Ok,
}

/// A value of the cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CostValue {
    /// Nano-dollars.
    Amount(Span<u64>),
    /// How the cost came about.
    Status(CostStatus),
}

impl Filter {
    /// Whether the bodies of a record pass what looks into them, whatever else it says.
    #[must_use]
    pub fn matches_bodies(&self, record: &Record) -> bool {
        let terms = self.terms.iter();
        let mut of_bodies = terms.filter(|term| matches!(term.test, Test::Body(_)));
        of_bodies.all(|term| term.test.holds(record) != term.negated)
    }

    /// Whether the record passes. One that [`Filter::needs_bodies`] must be given a record
    /// with bodies.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        self.terms
            .iter()
            .all(|term| term.test.holds(record) != term.negated)
    }

    /// This, and `field` must be this very text besides.
    #[must_use]
    pub fn only(self, field: TextField, text: &str) -> Self {
        self.and(Term {
            negated: false,
            test: Test::Text(field, vec![Pattern::exact(text)]),
        })
    }

    /// This, and `field` must be one of these very texts besides.
    #[must_use]
    pub fn one_of<'t>(self, field: TextField, texts: impl Iterator<Item = &'t str>) -> Self {
        self.and(Term {
            negated: false,
            test: Test::Text(field, texts.map(Pattern::exact).collect()),
        })
    }

    /// This, and one more term must hold.
    #[must_use]
    pub fn and(mut self, term: Term) -> Self {
        self.terms.push(term);
        self
    }

    /// The terms, all of which must hold.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether it lets every record pass.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether it looks into bodies.
    #[must_use]
    pub fn needs_bodies(&self) -> bool {
        self.terms
            .iter()
            .any(|term| matches!(term.test, Test::Body(_)))
    }

    /// Numbers of words that the bodies of every record that passes hold, as
    /// [`words_of_json`] tells them: for a store to skip records that it has not read.
    #[must_use]
    pub fn words(&self) -> Vec<u64> {
        let required = self.terms.iter().filter(|term| !term.negated);
        let words = required.filter_map(|term| match &term.test {
            Test::Body(needle) => Some(needle.words()),
            Test::Text(..)
            | Test::Meta(..)
            | Test::Number(..)
            | Test::Status(_)
            | Test::Cost(_)
            | Test::Review(..)
            | Test::Stream(_) => None,
        });
        words.flatten().collect()
    }

    /// Whether only records of which something was said later can pass.
    #[must_use]
    pub fn needs_review(&self) -> bool {
        let is_needed = |term: &Term| !term.negated && matches!(term.test, Test::Review(..));
        self.terms.iter().any(is_needed)
    }

    /// Texts that stand, as they are, in the JSON of every record that passes, and outside of its
    /// bodies: for a store to skip records that it has not parsed.
    #[must_use]
    pub fn literals(&self) -> Vec<&str> {
        let required = self.terms.iter().filter(|term| !term.negated);
        required.filter_map(|term| term.test.literal()).collect()
    }

    /// The first and the last moment at which a record that passes can have been created.
    #[must_use]
    pub fn time_range(&self) -> (Timestamp, Timestamp) {
        let (mut first, mut last) = (0, u64::MAX);
        for term in self.terms.iter().filter(|term| !term.negated) {
            if let Test::Number(NumberField::Time, spans) = &term.test {
                let ends = spans.iter().map(|span| span.ends());
                first = first.max(ends.clone().map(|(from, _)| from).min().unwrap_or(0));
                last = last.min(ends.map(|(_, to)| to).max().unwrap_or(u64::MAX));
            }
        }
        (Timestamp::from_micros(first), Timestamp::from_micros(last))
    }
}

impl Test {
    fn holds(&self, record: &Record) -> bool {
        match self {
            Self::Body(needle) => [
                &record.request.body,
                &record.response.body,
                &record.request.raw,
                &record.response.raw,
            ]
            .into_iter()
            .flatten()
            .any(|body| match body {
                Body::Json(json) => needle.is_in_json(json.get()),
                Body::Text(text) => needle.is_in(text),
                Body::Base64(_) => false,
            }),
            Self::Text(field, any) => {
                let found = field.of(record);
                any.iter()
                    .any(|pattern| found.iter().flatten().any(|text| pattern.matches(text)))
            }
            Self::Meta(key, any) => record
                .metadata
                .get(key)
                .is_some_and(|found| any.iter().any(|value| value.matches(found))),
            Self::Number(field, any) => field
                .of(record)
                .is_some_and(|number| any.iter().any(|span| span.contains(number))),
            Self::Status(any) => any.iter().any(|value| value.matches(record)),
            Self::Cost(any) => any.iter().any(|value| match value {
                CostValue::Amount(span) => record.cost.nanousd.is_some_and(|n| span.contains(n)),
                CostValue::Status(status) => record.cost.status == *status,
            }),
            Self::Review(field, any) => field
                .of(record)
                .is_some_and(|number| any.iter().any(|span| span.contains(number))),
            Self::Stream(stream) => record.stream == *stream,
        }
    }

    fn literal(&self) -> Option<&str> {
        let pattern = match self {
            Self::Text(field, any) => match any.as_slice() {
                // Where nothing was asked of the cache, the record does not mention it.
                [pattern]
                    if *field == TextField::Cache
                        && pattern.matches(CacheStatus::Bypass.as_str()) =>
                {
                    return None;
                }
                [pattern] => pattern,
                _ => return None,
            },
            Self::Meta(_, any) => match any.as_slice() {
                [MetaValue::Text(pattern)] => pattern,
                _ => return None,
            },
            Self::Body(_)
            | Self::Number(..)
            | Self::Status(_)
            | Self::Cost(_)
            | Self::Review(..)
            | Self::Stream(_) => return None,
        };
        let longest = pattern.pieces.iter().max_by_key(|piece| piece.len())?;
        let is_plain = |c: char| c != '"' && c != '\\' && !c.is_control();
        (!longest.is_empty() && longest.chars().all(is_plain)).then_some(longest)
    }
}

impl TextField {
    /// The field's texts in a record: one at most, but for the two names of a model.
    fn of(self, record: &Record) -> [Option<Cow<'_, str>>; 2] {
        let one = match self {
            Self::Id => Some(Cow::Owned(record.id.to_string())),
            Self::Event => Some(Cow::Borrowed(&*record.event_id)),
            Self::Account => Some(Cow::Borrowed(&*record.account)),
            Self::Gateway => Some(Cow::Borrowed(&*record.gateway)),
            Self::Provider => record.provider.as_deref().map(Cow::Borrowed),
            Self::Target => record.target.as_deref().map(Cow::Borrowed),
            Self::Resource => record.resource.as_deref().map(Cow::Borrowed),
            Self::Model => {
                let names = [&record.model, &record.model_requested];
                return names.map(|name| name.as_deref().map(Cow::Borrowed));
            }
            Self::Deployment => record.deployment.as_deref().map(Cow::Borrowed),
            Self::Operation => Some(Cow::Borrowed(record.operation.as_str())),
            Self::Outcome => Some(Cow::Borrowed(record.outcome.as_str())),
            Self::Cache => Some(Cow::Borrowed(match &record.cache {
                Some(cache) => cache.status.as_str(),
                None => CacheStatus::Bypass.as_str(),
            })),
            Self::Blame => record
                .error
                .as_ref()
                .map(|error| error.blame.as_str().into()),
            Self::Code => record
                .error
                .as_ref()
                .map(|error| Cow::Borrowed(&*error.code)),
            Self::Method => Some(Cow::Borrowed(&*record.method)),
            Self::Path => Some(Cow::Borrowed(&*record.path)),
            Self::Token => record.token.as_deref().map(Cow::Borrowed),
            Self::UserAgent => record.user_agent.as_deref().map(Cow::Borrowed),
        };
        [one, None]
    }
}

impl NumberField {
    fn of(self, record: &Record) -> Option<u64> {
        let tokens = |count: fn(&Usage) -> u64| record.usage.as_ref().map(count);
        match self {
            Self::Tokens => tokens(Usage::total),
            Self::TokensIn => tokens(Usage::total_input),
            Self::TokensOut => tokens(Usage::total_output),
            Self::Attempts => u64::try_from(record.attempts.len()).ok(),
            Self::Duration => Some(record.timing.total_us),
            Self::Ttfb => record.timing.ttfb_us,
            Self::Ttft => record.timing.ttft_us,
            Self::Time => Some(record.created_at.as_micros()),
        }
    }
}

impl ReviewField {
    fn of(self, record: &Record) -> Option<f64> {
        let review = record.review.as_ref()?;
        match self {
            Self::Feedback => review.feedback.map(f64::from),
            Self::Score => review.score.as_ref()?.as_f64(),
        }
    }
}

impl Pattern {
    /// A text without holes.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self::of([text])
    }

    /// Any text at all.
    #[must_use]
    pub fn any() -> Self {
        Self::of(["", ""])
    }

    /// A text with holes between these pieces, of which there is at least one.
    #[must_use]
    pub fn of<'p>(pieces: impl IntoIterator<Item = &'p str>) -> Self {
        Self {
            pieces: pieces.into_iter().map(Into::into).collect(),
        }
    }

    /// The one text that is like it, if it has no holes.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [text] => Some(text),
            _ => None,
        }
    }

    /// What each text begins with that is like it.
    #[must_use]
    pub fn beginning(&self) -> &str {
        self.pieces.first().map_or("", |first| first)
    }

    /// Whether a text is like it.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return text == &**first;
        };
        let inner = text
            .strip_prefix(&**first)
            .and_then(|text| text.strip_suffix(&**last));
        let Some(mut inner) = inner else { return false };
        middle.iter().all(|piece| match inner.split_once(&**piece) {
            Some((_, behind)) => {
                inner = behind;
                true
            }
            None => false,
        })
    }
}

impl MetaValue {
    fn matches(&self, found: &MetadataValue) -> bool {
        self.matches_text(&found.to_text())
    }

    /// Whether it matches a value that is written like this ([`MetadataValue::to_text`]).
    #[must_use]
    pub fn matches_text(&self, text: &str) -> bool {
        match self {
            Self::Text(pattern) => pattern.matches(text),
            Self::Number(span) => text.parse().is_ok_and(|number| span.contains(number)),
        }
    }
}

impl StatusValue {
    fn matches(self, record: &Record) -> bool {
        let status = record.status.map(u64::from);
        match self {
            Self::Number(span) => status.is_some_and(|status| span.contains(status)),
            Self::Class(digit) => status.is_some_and(|status| status / 100 == digit),
            Self::Error => record.is_error(),
            Self::Ok => !record.is_error(),
        }
    }
}

impl<T: PartialOrd + Copy> Span<T> {
    /// Whether a number lies in it.
    #[must_use]
    pub fn contains(self, number: T) -> bool {
        match self {
            Self::Any => true,
            Self::Is(value) => number == value,
            Self::Above(value) => number > value,
            Self::AtLeast(value) => number >= value,
            Self::Below(value) => number < value,
            Self::AtMost(value) => number <= value,
            Self::Between(from, to) => number >= from && number <= to,
        }
    }
}

impl Span<u64> {
    /// The first and the last number of the span, or a little outside of them.
    #[must_use]
    pub const fn ends(self) -> (u64, u64) {
        match self {
            Self::Any => (0, u64::MAX),
            Self::Is(value) => (value, value),
            Self::Above(value) | Self::AtLeast(value) => (value, u64::MAX),
            Self::Below(value) | Self::AtMost(value) => (0, value),
            Self::Between(from, to) => (from, to),
        }
    }
}
