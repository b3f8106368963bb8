//! Some records as columns in memory: what is not sealed yet, and what a sealed segment's rows are
//! read into. A column that says nothing of any row takes no memory.

use std::collections::BTreeMap;

use isango_store::row::{Row, RowMessage, RowSaved, first_limit};
use isango_types::record::{Message, MetadataValue, Omitted, Timing};
use isango_types::{Cost, Record, RecordId, Timestamp, Usage};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NameError, StrDeserializer};

use crate::fields::{NO_WORD, NONE, NUMBERS, Number, TEXTS, Text};

/// Most keys of metadata that have a column of their own; those of further ones share one.
pub(crate) const MAX_KEYS: usize = 64;

/// Texts, each once: their bytes one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    bytes: String,
    ends: Vec<u32>,
}

impl Words {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether a code stands for this text.
    pub(crate) fn is(&self, code: u32, word: &str) -> bool {
        let at = usize::try_from(code).unwrap_or(usize::MAX);
        let Some(end) = self.ends.get(at) else {
            return false;
        };
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        let place = usize::try_from(start).unwrap_or(0)..usize::try_from(*end).unwrap_or(0);
        self.bytes.as_bytes().get(place) == Some(word.as_bytes())
    }

    pub(crate) fn get(&self, code: u32) -> Option<&str> {
        let at = usize::try_from(code).ok()?;
        let end = usize::try_from(*self.ends.get(at)?).ok()?;
        let start = match at.checked_sub(1) {
            Some(before) => usize::try_from(self.ends[before]).ok()?,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    /// Adds a text; its code.
    pub(crate) fn push(&mut self, word: &str) -> u32 {
        let code = u32::try_from(self.ends.len()).unwrap_or(NO_WORD);
        self.bytes.push_str(word);
        self.ends
            .push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        code
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let codes = 0..u32::try_from(self.len()).unwrap_or(u32::MAX);
        codes.filter_map(|code| self.get(code))
    }
}

/// A column of texts: a code for each row, and what the codes stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    pub(crate) codes: Vec<u32>,
    pub(crate) words: Words,
}

impl Texts {
    /// A column that says nothing of some rows.
    pub(crate) fn absent(rows: usize) -> Self {
        Self {
            codes: vec![NO_WORD; rows],
            words: Words::default(),
        }
    }

    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        self.words.get(*self.codes.get(row)?)
    }
}

/// The metadata of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The values as text.
    pub(crate) values: Texts,
    /// Which of them are no texts: `number`, `bool` or `null`.
    pub(crate) kinds: Option<Texts>,
}

/// Some rows as columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) rows: usize,
    /// Empty where they were not read.
    pub(crate) ids: Vec<u128>,
    pub(crate) numbers: Vec<Option<Vec<u64>>>,
    pub(crate) texts: Vec<Option<Texts>>,
    pub(crate) metadata: BTreeMap<Box<str>, Metadata>,
    /// The metadata of further keys: a JSON object.
    pub(crate) more: Option<Texts>,
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            rows: 0,
            ids: Vec::new(),
            numbers: vec![None; NUMBERS],
            texts: vec![None; TEXTS],
            metadata: BTreeMap::new(),
            more: None,
        }
    }
}

impl Chunk {
    /// A column of numbers; `None` if no row says anything else than [`Number::absent`].
    pub(crate) fn number(&self, number: Number) -> Option<&[u64]> {
        self.numbers[number.index()].as_deref()
    }

    pub(crate) fn number_at(&self, number: Number, row: usize) -> u64 {
        let column = self.number(number);
        column.map_or(number.absent(), |column| column[row])
    }

    /// The same where there may be none.
    fn some_number(&self, number: Number, row: usize) -> Option<u64> {
        Some(self.number_at(number, row)).filter(|value| *value != NONE)
    }

    /// A column of texts; `None` if no row has any.
    pub(crate) fn text(&self, text: Text) -> Option<&Texts> {
        self.texts[text.index()].as_ref()
    }

    pub(crate) fn text_at(&self, text: Text, row: usize) -> Option<&str> {
        self.text(text)?.get(row)
    }

    pub(crate) fn id(&self, row: usize) -> RecordId {
        let id = self.ids.get(row).copied().unwrap_or_default();
        RecordId::from_bytes(id.to_be_bytes())
    }

    /// First and last id; of no rows the wrong way round.
    pub(crate) fn id_range(&self) -> [u128; 2] {
        let first = self.ids.iter().min().copied().unwrap_or(u128::MAX);
        [first, self.ids.iter().max().copied().unwrap_or(0)]
    }

    /// First and last moment.
    pub(crate) fn created_range(&self) -> [u64; 2] {
        let created = self.number(Number::CreatedAt).unwrap_or_default();
        let first = created.iter().min().copied().unwrap_or(u64::MAX);
        [first, created.iter().max().copied().unwrap_or(0)]
    }

    /// Metadata of a key that has no column.
    pub(crate) fn more_of(&self, key: &str, row: usize) -> Option<MetadataValue> {
        let object = self.more.as_ref()?.get(row)?;
        let mut object: BTreeMap<Box<str>, MetadataValue> = serde_json::from_str(object).ok()?;
        object.remove(key)
    }

    /// A row as a list shows it. All columns must be here.
    pub(crate) fn row(&self, row: usize) -> Row {
        let text = |text| self.text_at(text, row).map(Into::into);
        let sure = |text| self.text_at(text, row).unwrap_or_default().into();
        let id = self.id(row);
        Row {
            id,
            event_id: text(Text::Event).unwrap_or_else(|| id.to_string().into()),
            created_at: Timestamp::from_micros(self.number_at(Number::CreatedAt, row)),
            account: sure(Text::Account),
            gateway: sure(Text::Gateway),
            provider: text(Text::Provider),
            target: text(Text::Target),
            resource: text(Text::Resource),
            deployment: text(Text::Deployment),
            operation: self.name_at(Text::Operation, row).unwrap_or_default(),
            model_requested: text(Text::ModelRequested),
            model: text(Text::Model),
            method: sure(Text::Method),
            path: sure(Text::Path),
            status: self.small_at(Number::Status, row),
            outcome: self
                .name_at(Text::Outcome, row)
                .unwrap_or(isango_types::record::Outcome::Panicked),
            error: text(Text::Code),
            blame: self.name_at(Text::Blame, row),
            attempts: u32::try_from(self.number_at(Number::Attempts, row)).unwrap_or(u32::MAX),
            step: self.small_at(Number::Step, row).unwrap_or_default(),
            timing: self.timing(row),
            stream: self.number_at(Number::Stream, row) == 1,
            usage: self.usage(row),
            cost: Cost {
                status: self.name_at(Text::CostStatus, row).unwrap_or_default(),
                nanousd: self.some_number(Number::Cost, row),
                price: text(Text::Price),
            },
            cache: self.name_at(Text::Cache, row),
            saved: self.saved(row),
            limit: text(Text::Limit),
            verdict: self.name_at(Text::Verdict, row),
            finish_reason: text(Text::FinishReason),
            metadata: self.metadata_at(row),
            token: text(Text::Token),
            user_agent: text(Text::UserAgent),
            feedback: None,
            score: None,
            request: RowMessage {
                content_type: text(Text::RequestType),
                bytes: self.number_at(Number::RequestBytes, row),
                events: self.number_at(Number::RequestEvents, row),
                omitted: self.name_at(Text::RequestOmitted, row),
            },
            response: RowMessage {
                content_type: text(Text::ResponseType),
                bytes: self.number_at(Number::ResponseBytes, row),
                events: self.number_at(Number::ResponseEvents, row),
                omitted: self.name_at(Text::ResponseOmitted, row),
            },
        }
    }

    /// A member of a closed set, by its name.
    fn name_at<'c, T: Deserialize<'c>>(&'c self, text: Text, row: usize) -> Option<T> {
        let name: StrDeserializer<'c, NameError> = self.text_at(text, row)?.into_deserializer();
        T::deserialize(name).ok()
    }

    fn small_at(&self, number: Number, row: usize) -> Option<u16> {
        u16::try_from(self.some_number(number, row)?).ok()
    }

    fn timing(&self, row: usize) -> Timing {
        Timing {
            queue_us: self.number_at(Number::Queue, row),
            connect_us: self.number_at(Number::Connect, row),
            ttfb_us: self.some_number(Number::Ttfb, row),
            ttft_us: self.some_number(Number::Ttft, row),
            total_us: self.number_at(Number::Duration, row),
            overhead_us: self.number_at(Number::Overhead, row),
        }
    }

    /// The kinds of token that have columns add up to the sums, but for plain input and output.
    fn usage(&self, row: usize) -> Option<Usage> {
        let of = |number| self.number_at(number, row);
        let estimated = self.some_number(Number::Estimated, row)? == 1;
        let mut usage = Usage {
            cache_read: of(Number::CacheRead),
            cache_write: of(Number::CacheWrite),
            cache_write_1h: of(Number::CacheWrite1h),
            audio_input: of(Number::AudioInput),
            audio_cache_read: of(Number::AudioCacheRead),
            image_input: of(Number::ImageInput),
            reasoning: of(Number::Reasoning),
            audio_output: of(Number::AudioOutput),
            image_output: of(Number::ImageOutput),
            images: of(Number::Images),
            searches: of(Number::Searches),
            audio_ms: of(Number::AudioMs),
            characters: of(Number::Characters),
            estimated,
            ..Usage::default()
        };
        usage.input = of(Number::TokensIn).saturating_sub(usage.total_input());
        usage.output = of(Number::TokensOut).saturating_sub(usage.total_output());
        Some(usage)
    }

    fn saved(&self, row: usize) -> Option<RowSaved> {
        Some(RowSaved {
            us: self.some_number(Number::SavedTime, row)?,
            tokens_in: self.some_number(Number::SavedTokensIn, row),
            tokens_out: self.some_number(Number::SavedTokensOut, row),
            nanousd: self.some_number(Number::SavedCost, row),
        })
    }

    pub(crate) fn metadata_at(&self, row: usize) -> BTreeMap<Box<str>, MetadataValue> {
        let more = self.more.as_ref().and_then(|more| more.get(row));
        let mut found: BTreeMap<Box<str>, MetadataValue> = more
            .and_then(|object| serde_json::from_str(object).ok())
            .unwrap_or_default();
        for (key, column) in &self.metadata {
            let Some(value) = column.values.get(row) else {
                continue;
            };
            let kind = column.kinds.as_ref().and_then(|kinds| kinds.get(row));
            let value = match kind {
                None => MetadataValue::Text(value.into()),
                Some(_) => serde_json::from_str(value)
                    .unwrap_or_else(|_no_json| MetadataValue::Text(value.into())),
            };
            found.insert(key.clone(), value);
        }
        found
    }
}

/// What a value of metadata is, if it is no text.
pub(crate) const fn kind_of(value: &MetadataValue) -> Option<&'static str> {
    match value {
        MetadataValue::Null => Some("null"),
        MetadataValue::Bool(_) => Some("bool"),
        MetadataValue::Number(_) => Some("number"),
        MetadataValue::Text(_) => None,
    }
}

/// The numbers of a record, as far as they say something.
pub(crate) fn numbers(record: &Record, position: u64, mut put: impl FnMut(Number, u64)) {
    let timing = &record.timing;
    let step = record.attempts.last().map_or(0, |attempt| attempt.step);
    let saved = record.cache.as_ref().and_then(|cache| cache.saved);
    let saved = saved.map(RowSaved::of);
    for (number, value) in [
        (Number::Position, Some(position)),
        (Number::CreatedAt, Some(record.created_at.as_micros())),
        (Number::Status, record.status.map(u64::from)),
        (Number::Attempts, Some(record.attempts.len() as u64)),
        (Number::Step, Some(step.into())),
        (Number::Duration, Some(timing.total_us)),
        (Number::Ttfb, timing.ttfb_us),
        (Number::Ttft, timing.ttft_us),
        (Number::Queue, Some(timing.queue_us)),
        (Number::Connect, Some(timing.connect_us)),
        (Number::Overhead, Some(timing.overhead_us)),
        (Number::Cost, record.cost.nanousd),
        (
            Number::SavedTokensIn,
            saved.and_then(|saved| saved.tokens_in),
        ),
        (
            Number::SavedTokensOut,
            saved.and_then(|saved| saved.tokens_out),
        ),
        (Number::SavedCost, saved.and_then(|saved| saved.nanousd)),
        (Number::SavedTime, saved.map(|saved| saved.us)),
        (Number::RequestBytes, Some(record.request.bytes)),
        (Number::RequestEvents, Some(record.request.events)),
        (Number::ResponseBytes, Some(record.response.bytes)),
        (Number::ResponseEvents, Some(record.response.events)),
        (Number::Stream, Some(record.stream.into())),
    ] {
        // The largest number there is stands for none.
        put(
            number,
            value.map_or(number.absent(), |value| value.min(NONE - 1)),
        );
    }
    if let Some(usage) = &record.usage {
        for (number, value) in tokens(usage) {
            put(number, value.min(NONE - 1));
        }
    }
}

fn tokens(usage: &Usage) -> [(Number, u64); 16] {
    [
        (Number::TokensIn, usage.total_input()),
        (Number::TokensOut, usage.total_output()),
        (Number::CacheRead, usage.cache_read),
        (Number::CacheWrite, usage.cache_write),
        (Number::CacheWrite1h, usage.cache_write_1h),
        (Number::AudioInput, usage.audio_input),
        (Number::AudioCacheRead, usage.audio_cache_read),
        (Number::ImageInput, usage.image_input),
        (Number::Reasoning, usage.reasoning),
        (Number::AudioOutput, usage.audio_output),
        (Number::ImageOutput, usage.image_output),
        (Number::Images, usage.images),
        (Number::Searches, usage.searches),
        (Number::AudioMs, usage.audio_ms),
        (Number::Characters, usage.characters),
        (Number::Estimated, usage.estimated.into()),
    ]
}

/// The texts of a record, as far as it has them.
pub(crate) fn texts<'r>(record: &'r Record, mut put: impl FnMut(Text, &'r str)) {
    let limit = first_limit(record);
    let error = record.error.as_ref();
    let omitted = |message: &Message| message.omitted.map(Omitted::as_str);
    let event = (*record.event_id != *record.id.encode(&mut [0; 36])).then_some(&*record.event_id);
    for (text, value) in [
        (Text::Event, event),
        (Text::Account, Some(&*record.account)),
        (Text::Gateway, Some(&*record.gateway)),
        (Text::Provider, record.provider.as_deref()),
        (Text::Target, record.target.as_deref()),
        (Text::Resource, record.resource.as_deref()),
        (Text::Deployment, record.deployment.as_deref()),
        (Text::Operation, Some(record.operation.as_str())),
        (Text::Model, record.model.as_deref()),
        (Text::ModelRequested, record.model_requested.as_deref()),
        (Text::Method, Some(&*record.method)),
        (Text::Path, Some(&*record.path)),
        (Text::Outcome, Some(record.outcome.as_str())),
        (Text::Code, error.map(|error| &*error.code)),
        (Text::Blame, error.map(|error| error.blame.as_str())),
        (
            Text::Cache,
            record.cache.as_ref().map(|cache| cache.status.as_str()),
        ),
        (Text::CostStatus, Some(record.cost.status.as_str())),
        (Text::Price, record.cost.price.as_deref()),
        (Text::Limit, limit.map(|(rule, _)| rule)),
        (Text::Verdict, limit.map(|(_, verdict)| verdict.as_str())),
        (Text::FinishReason, record.finish_reason.as_deref()),
        (Text::Token, record.token.as_deref()),
        (Text::UserAgent, record.user_agent.as_deref()),
        (Text::RequestType, record.request.content_type.as_deref()),
        (Text::ResponseType, record.response.content_type.as_deref()),
        (Text::RequestOmitted, omitted(&record.request)),
        (Text::ResponseOmitted, omitted(&record.response)),
    ] {
        if let Some(value) = value {
            put(text, value);
        }
    }
}
