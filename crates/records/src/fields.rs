//! Which columns there are, and what they are called in a sealed segment. Every segment has all of
//! them, and one more for each key of metadata.

/// In a column of numbers: there is none.
pub(crate) const NONE: u64 = u64::MAX;
/// In a column of texts: there is none.
pub(crate) const NO_WORD: u32 = u32::MAX;

/// The name of the ids' column.
pub(crate) const ID: &str = "id";
/// What the name of a metadata column begins with.
pub(crate) const METADATA: &str = "metadata.";
/// What the name of the column begins with that tells which values of a key are no texts.
pub(crate) const METADATA_KIND: &str = "metadata_kind.";
/// The column of the metadata whose keys have no column: one JSON object a row.
pub(crate) const METADATA_MORE: &str = "metadata_more";

/// How a number is stored in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An unsigned number of 64 bits.
    Count,
    /// A moment in UTC, in microseconds.
    Moment,
    /// A truth.
    Flag,
}

macro_rules! fields {
    ($(#[$doc:meta])* $enum:ident, $count:ident { $($variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $enum { $($variant),* }

        impl $enum {
            pub(crate) const ALL: [Self; $count] = [$(Self::$variant),*];

            pub(crate) const fn index(self) -> usize {
                self as usize
            }
        }

        pub(crate) const $count: usize = [$($enum::$variant),*].len();
    };
}

fields! {
    /// A column of numbers.
    Number, NUMBERS {
        Position, CreatedAt, Status, Attempts, Step, Duration, Ttfb, Ttft, Queue, Connect,
        Overhead, TokensIn, TokensOut, CacheRead, CacheWrite, CacheWrite1h, AudioInput,
        AudioCacheRead, ImageInput, Reasoning, AudioOutput, ImageOutput, Images, Searches,
        AudioMs, Characters, Estimated, Cost, SavedTokensIn, SavedTokensOut, SavedCost, SavedTime,
        RequestBytes, RequestEvents, ResponseBytes, ResponseEvents, Stream,
    }
}

fields! {
    /// A column of texts, of which there are few different ones.
    Text, TEXTS {
        Event, Account, Gateway, Provider, Target, Resource, Deployment, Operation, Model,
        ModelRequested, Method, Path, Outcome, Code, Blame, Cache, CostStatus, Price, Limit,
        Verdict, FinishReason, Token, UserAgent, RequestType, ResponseType, RequestOmitted,
        ResponseOmitted,
    }
}

impl Number {
    /// The name of the column.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::CreatedAt => "created_at",
            Self::Status => "status",
            Self::Attempts => "attempts",
            Self::Step => "step",
            Self::Duration => "total_us",
            Self::Ttfb => "ttfb_us",
            Self::Ttft => "ttft_us",
            Self::Queue => "queue_us",
            Self::Connect => "connect_us",
            Self::Overhead => "overhead_us",
            Self::TokensIn => "tokens_in",
            Self::TokensOut => "tokens_out",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioInput => "audio_input",
            Self::AudioCacheRead => "audio_cache_read",
            Self::ImageInput => "image_input",
            Self::Reasoning => "reasoning",
            Self::AudioOutput => "audio_output",
            Self::ImageOutput => "image_output",
            Self::Images => "images",
            Self::Searches => "searches",
            Self::AudioMs => "audio_ms",
            Self::Characters => "characters",
            Self::Estimated => "usage_estimated",
            Self::Cost => "cost_nanousd",
            Self::SavedTokensIn => "saved_tokens_in",
            Self::SavedTokensOut => "saved_tokens_out",
            Self::SavedCost => "saved_nanousd",
            Self::SavedTime => "saved_us",
            Self::RequestBytes => "request_bytes",
            Self::RequestEvents => "request_events",
            Self::ResponseBytes => "response_bytes",
            Self::ResponseEvents => "response_events",
            Self::Stream => "stream",
        }
    }

    /// How it is stored.
    pub(crate) const fn kind(self) -> Kind {
        if matches!(self, Self::CreatedAt) {
            Kind::Moment
        } else if matches!(self, Self::Estimated | Self::Stream) {
            Kind::Flag
        } else {
            Kind::Count
        }
    }

    /// What a row has that says nothing else: [`NONE`] where there may be no number.
    pub(crate) const fn absent(self) -> u64 {
        let may_lack = matches!(
            self,
            Self::Status
                | Self::Ttfb
                | Self::Ttft
                | Self::TokensIn
                | Self::TokensOut
                | Self::Estimated
                | Self::Cost
                | Self::SavedTokensIn
                | Self::SavedTokensOut
                | Self::SavedCost
                | Self::SavedTime
        );
        if may_lack { NONE } else { 0 }
    }

    /// Whether few different numbers are to be expected.
    pub(crate) const fn is_repetitive(self) -> bool {
        matches!(self, Self::Status | Self::Attempts | Self::Step)
    }
}

impl Text {
    /// The name of the column.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Event => "event_id",
            Self::Account => "account",
            Self::Gateway => "gateway",
            Self::Provider => "provider",
            Self::Target => "target",
            Self::Resource => "resource",
            Self::Deployment => "deployment",
            Self::Operation => "operation",
            Self::Model => "model",
            Self::ModelRequested => "model_requested",
            Self::Method => "method",
            Self::Path => "path",
            Self::Outcome => "outcome",
            Self::Code => "error_code",
            Self::Blame => "error_blame",
            Self::Cache => "cache_status",
            Self::CostStatus => "cost_status",
            Self::Price => "price",
            Self::Limit => "limit",
            Self::Verdict => "limit_verdict",
            Self::FinishReason => "finish_reason",
            Self::Token => "token",
            Self::UserAgent => "user_agent",
            Self::RequestType => "request_content_type",
            Self::ResponseType => "response_content_type",
            Self::RequestOmitted => "request_omitted",
            Self::ResponseOmitted => "response_omitted",
        }
    }
}

/// Some of the columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) id: bool,
    numbers: u64,
    texts: u64,
    /// Keys of metadata.
    pub(crate) keys: Vec<Box<str>>,
    pub(crate) all_metadata: bool,
}

impl Fields {
    /// All of them.
    pub(crate) const fn all() -> Self {
        Self {
            id: true,
            numbers: u64::MAX,
            texts: u64::MAX,
            keys: Vec::new(),
            all_metadata: true,
        }
    }

    pub(crate) fn number(mut self, number: Number) -> Self {
        self.numbers |= 1 << number.index();
        self
    }

    pub(crate) fn text(mut self, text: Text) -> Self {
        self.texts |= 1 << text.index();
        self
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        if self.keys.iter().all(|known| **known != *key) {
            self.keys.push(key.into());
        }
        self
    }

    pub(crate) const fn id(mut self) -> Self {
        self.id = true;
        self
    }

    /// These and others.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.id |= other.id;
        self.numbers |= other.numbers;
        self.texts |= other.texts;
        self.all_metadata |= other.all_metadata;
        other.keys.iter().fold(self, |fields, key| fields.key(key))
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        let metadata = self.all_metadata || !self.keys.is_empty();
        !self.id && self.numbers == 0 && self.texts == 0 && !metadata
    }

    /// Whether a column is among them, by its name.
    pub(crate) fn holds(&self, name: &str) -> bool {
        if let Some(key) = name.strip_prefix(METADATA) {
            return self.all_metadata || self.keys.iter().any(|known| **known == *key);
        }
        if name == METADATA_MORE {
            return self.all_metadata || !self.keys.is_empty();
        }
        if name.starts_with(METADATA_KIND) {
            return self.all_metadata;
        }
        let is = |bits: u64, at: usize| bits & (1 << at) != 0;
        (name == ID && self.id)
            || Number::ALL
                .iter()
                .any(|one| one.name() == name && is(self.numbers, one.index()))
            || Text::ALL
                .iter()
                .any(|one| one.name() == name && is(self.texts, one.index()))
    }
}
