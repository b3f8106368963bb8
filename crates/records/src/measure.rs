//! The values of dimensions and quantities in a chunk.

use std::collections::HashMap;

use isango_store::analytics::{Dimension, Quantity};

use crate::chunk::{Chunk, Texts, Words};
use crate::fields::{Fields, NO_WORD, NONE, Number, Text};
use crate::lookup::Lookup;
use crate::select::Errors;

/// Texts that are numbered in the order in which they turn up. 0 is none.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    lookup: Lookup,
    words: Words,
    /// The code of all texts that it does not know, once it takes no more.
    unknown: Option<u32>,
}

impl Interner {
    pub(crate) fn code(&mut self, word: &str) -> u32 {
        let known = match self.unknown {
            None => Some(self.lookup.code(&mut self.words, word)),
            Some(_) => self.lookup.get(&self.words, word),
        };
        match (known, self.unknown) {
            (Some(code), _) => code + 1,
            (None, unknown) => unknown.unwrap_or(0),
        }
    }

    /// From now on, a text that is not known gets a code that stands for all such.
    pub(crate) fn close(&mut self) {
        self.unknown = Some(self.words.push("") + 1);
    }

    pub(crate) fn word(&self, code: u32) -> Option<&str> {
        self.words.get(code.checked_sub(1)?)
    }

    /// How many codes there are, 0 among them.
    pub(crate) fn len(&self) -> usize {
        self.words.len() + 1
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The column of a dimension that is one.
pub(crate) const fn column(dimension: &Dimension) -> Option<Text> {
    Some(match dimension {
        Dimension::Account => Text::Account,
        Dimension::Gateway => Text::Gateway,
        Dimension::Provider => Text::Provider,
        Dimension::Target => Text::Target,
        Dimension::Resource => Text::Resource,
        Dimension::Deployment => Text::Deployment,
        Dimension::Operation => Text::Operation,
        Dimension::ModelRequested => Text::ModelRequested,
        Dimension::Outcome => Text::Outcome,
        Dimension::Code => Text::Code,
        Dimension::Blame => Text::Blame,
        Dimension::Cache => Text::Cache,
        Dimension::CostStatus => Text::CostStatus,
        Dimension::Price => Text::Price,
        Dimension::Limit => Text::Limit,
        Dimension::Verdict => Text::Verdict,
        Dimension::FinishReason => Text::FinishReason,
        Dimension::Token => Text::Token,
        Dimension::UserAgent => Text::UserAgent,
        Dimension::Method => Text::Method,
        Dimension::Path => Text::Path,
        Dimension::RequestType => Text::RequestType,
        Dimension::ResponseType => Text::ResponseType,
        Dimension::Model
        | Dimension::Status
        | Dimension::StatusClass
        | Dimension::Result
        | Dimension::Stream
        | Dimension::Metadata(_) => return None,
    })
}

/// The columns that a dimension takes.
pub(crate) fn dimension_fields(dimension: &Dimension) -> Fields {
    let fields = Fields::default();
    if let Some(column) = column(dimension) {
        return fields.text(column);
    }
    if let Dimension::Metadata(key) = dimension {
        return fields.key(key);
    }
    match *dimension == Dimension::Model {
        true => fields.text(Text::Model).text(Text::ModelRequested),
        // The others come from these.
        false => fields
            .number(Number::Status)
            .number(Number::Stream)
            .text(Text::Outcome),
    }
}

/// The value of a dimension in each of some rows, by its code.
pub(crate) fn codes(
    dimension: &Dimension,
    chunk: &Chunk,
    rows: &[u32],
    interner: &mut Interner,
) -> Vec<u32> {
    if let Some(column) = column(dimension) {
        let absent = if column == Text::Cache {
            interner.code("bypass")
        } else {
            0
        };
        return text_codes(chunk.text(column), rows, interner, |_| absent);
    }
    if let Dimension::Metadata(key) = dimension {
        return metadata_codes(key, chunk, rows, interner);
    }
    if *dimension == Dimension::Model {
        let asked = text_codes(chunk.text(Text::ModelRequested), rows, interner, |_| 0);
        return text_codes(chunk.text(Text::Model), rows, interner, |place| {
            asked[place]
        });
    }
    if *dimension == Dimension::Result {
        let errors = Errors::new(chunk);
        let [ok, error] = ["ok", "error"].map(|word| interner.code(word));
        let code = |row: &u32| if errors.holds(index(*row)) { error } else { ok };
        return rows.iter().map(code).collect();
    }
    if *dimension == Dimension::Stream {
        return number_codes(chunk, Number::Stream, rows, |stream| {
            interner.code(if stream == 1 { "true" } else { "false" })
        });
    }
    let is_class = *dimension == Dimension::StatusClass;
    number_codes(chunk, Number::Status, rows, |status| {
        interner.code(&match is_class {
            true => format!("{}xx", status / 100),
            false => status.to_string(),
        })
    })
}

fn metadata_codes(key: &str, chunk: &Chunk, rows: &[u32], interner: &mut Interner) -> Vec<u32> {
    match chunk.metadata.get(key) {
        Some(column) => text_codes(Some(&column.values), rows, interner, |_| 0),
        None if chunk.more.is_some() => {
            let value = |row: &u32| chunk.more_of(key, index(*row));
            let code = |row| value(row).map_or(0, |value| interner.code(&value.to_text()));
            rows.iter().map(code).collect()
        }
        None => vec![0; rows.len()],
    }
}

/// `absent` gives the code of a row without a text, of which it is told the place in `rows`.
pub(crate) fn text_codes(
    column: Option<&Texts>,
    rows: &[u32],
    interner: &mut Interner,
    absent: impl Fn(usize) -> u32,
) -> Vec<u32> {
    let places = rows.iter().enumerate();
    let Some(column) = column else {
        return places.map(|(place, _)| absent(place)).collect();
    };
    let mut known = vec![0; column.words.len()];
    let code = |(place, row): (usize, &u32)| match column.codes[index(*row)] {
        NO_WORD => absent(place),
        word => {
            let code = &mut known[index(word)];
            if *code == 0 {
                *code = interner.code(column.words.get(word).unwrap_or_default());
            }
            *code
        }
    };
    places.map(code).collect()
}

fn number_codes(
    chunk: &Chunk,
    number: Number,
    rows: &[u32],
    mut word: impl FnMut(u64) -> u32,
) -> Vec<u32> {
    let mut known = HashMap::from([(NONE, 0)]);
    let mut last = (NONE, 0);
    let code = |row: &u32| {
        let value = chunk.number_at(number, index(*row));
        if value != last.0 {
            last = (value, *known.entry(value).or_insert_with(|| word(value)));
        }
        last.1
    };
    rows.iter().map(code).collect()
}

/// The values of a quantity, row by row; [`NONE`] where a row has none.
pub(crate) enum Values<'c> {
    Column(&'c [u64]),
    Constant(u64),
    Made(Vec<u64>),
}

impl Values<'_> {
    pub(crate) fn get(&self, row: u32) -> u64 {
        match self {
            Self::Column(values) => values[index(row)],
            Self::Constant(value) => *value,
            Self::Made(values) => values[index(row)],
        }
    }
}

/// The column of a quantity that is one.
const fn number(quantity: Quantity) -> Option<Number> {
    Some(match quantity {
        Quantity::Cost => Number::Cost,
        Quantity::TokensIn => Number::TokensIn,
        Quantity::TokensOut => Number::TokensOut,
        Quantity::Duration => Number::Duration,
        Quantity::Ttfb => Number::Ttfb,
        Quantity::Ttft => Number::Ttft,
        Quantity::Queue => Number::Queue,
        Quantity::Connect => Number::Connect,
        Quantity::Overhead => Number::Overhead,
        Quantity::Attempts => Number::Attempts,
        Quantity::RequestBytes => Number::RequestBytes,
        Quantity::ResponseBytes => Number::ResponseBytes,
        Quantity::SavedCost => Number::SavedCost,
        Quantity::SavedTime => Number::SavedTime,
        Quantity::SavedTokensIn => Number::SavedTokensIn,
        Quantity::SavedTokensOut => Number::SavedTokensOut,
        Quantity::Tokens | Quantity::CacheRead | Quantity::CacheWrite | Quantity::Reasoning => {
            return None;
        }
    })
}

/// The columns that add up to a quantity that is none itself.
fn parts(quantity: Quantity) -> &'static [Number] {
    const PARTS: [(Quantity, &[Number]); 4] = [
        (Quantity::Tokens, &[Number::TokensIn, Number::TokensOut]),
        (Quantity::CacheRead, &[Number::CacheRead]),
        (
            Quantity::CacheWrite,
            &[Number::CacheWrite, Number::CacheWrite1h],
        ),
        (Quantity::Reasoning, &[Number::Reasoning]),
    ];
    let found = PARTS.iter().find(|(known, _)| *known == quantity);
    found.map_or(&[], |(_, parts)| *parts)
}

/// The columns that a quantity takes.
pub(crate) fn quantity_fields(quantity: Quantity) -> Fields {
    let fields = Fields::default();
    match number(quantity) {
        Some(number) => fields.number(number),
        None => {
            let parts = parts(quantity).iter().copied();
            parts.fold(fields.number(Number::TokensIn), Fields::number)
        }
    }
}

/// The values of a quantity in a chunk that has its columns.
pub(crate) fn values(quantity: Quantity, chunk: &Chunk) -> Values<'_> {
    if let Some(number) = number(quantity) {
        return match chunk.number(number) {
            Some(column) => Values::Column(column),
            None => Values::Constant(number.absent()),
        };
    }
    // Kinds of token are 0 where there is no usage at all.
    let Some(usage) = chunk.number(Number::TokensIn) else {
        return Values::Constant(NONE);
    };
    let parts = parts(quantity);
    let sum = |row: usize| {
        let values = parts.iter().map(|number| chunk.number_at(*number, row));
        values.fold(0, u64::saturating_add).min(NONE - 1)
    };
    let rows = usage.iter().enumerate();
    Values::Made(
        rows.map(|(row, input)| if *input == NONE { NONE } else { sum(row) })
            .collect(),
    )
}
