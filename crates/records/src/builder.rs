//! Fills chunks from records, one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use isango_types::Record;
use isango_types::record::MetadataValue;

use crate::chunk::{Chunk, MAX_KEYS, Texts, kind_of, numbers, texts};
use crate::fields::{NO_WORD, Number, TEXTS, Text};
use crate::lookup::Lookup;

/// A chunk that grows, and what it takes to add to it. Readers may hold the chunk: then the next
/// record is added to a copy.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    chunk: Arc<Chunk>,
    texts: Vec<Lookup>,
    metadata: BTreeMap<Box<str>, Lookup>,
}

impl Builder {
    /// What was added so far.
    pub(crate) const fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// Ends the chunk, and begins another one.
    pub(crate) fn take(&mut self) -> Arc<Chunk> {
        std::mem::take(self).chunk
    }

    /// Adds a record, which stands at a position of the journal.
    pub(crate) fn push(&mut self, record: &Record, position: u64) {
        self.texts.resize_with(TEXTS, Lookup::default);
        let chunk = Arc::make_mut(&mut self.chunk);
        let row = chunk.rows;
        chunk.rows += 1;
        chunk.ids.push(u128::from_be_bytes(*record.id.as_bytes()));
        numbers(record, position, |number, value| {
            set_number(chunk, number, row, value);
        });
        texts(record, |text, value| {
            let codes = &mut self.texts[text.index()];
            set_text(
                chunk.texts[text.index()].get_or_insert_default(),
                codes,
                row,
                value,
            );
        });
        let mut more = BTreeMap::new();
        for (key, value) in &record.metadata {
            if chunk.metadata.len() < MAX_KEYS || chunk.metadata.contains_key(key) {
                let column = chunk.metadata.entry(key.clone()).or_default();
                let codes = self.metadata.entry(key.clone()).or_default();
                set_text(&mut column.values, codes, row, &value.to_text());
                if let Some(kind) = kind_of(value) {
                    let kinds = column.kinds.get_or_insert_default();
                    pad(&mut kinds.codes, row, NO_WORD);
                    let code = code_of_kind(kinds, kind);
                    kinds.codes.push(code);
                }
            } else {
                more.insert(&**key, value);
            }
        }
        if let Some(object) = json(&more) {
            let column = chunk.more.get_or_insert_default();
            pad(&mut column.codes, row, NO_WORD);
            let code = column.words.push(&object);
            column.codes.push(code);
        }
    }

    /// Makes every column as long as the chunk, for a reader.
    pub(crate) fn finish(&mut self) {
        level(Arc::make_mut(&mut self.chunk));
    }
}

pub(crate) fn json(more: &BTreeMap<&str, &MetadataValue>) -> Option<String> {
    if more.is_empty() {
        return None;
    }
    serde_json::to_string(more).ok()
}

/// There are three kinds, which need no table.
pub(crate) fn code_of_kind(kinds: &mut Texts, kind: &str) -> u32 {
    let known = kinds.words.iter().position(|known| known == kind);
    match known {
        Some(at) => u32::try_from(at).unwrap_or(NO_WORD),
        None => kinds.words.push(kind),
    }
}

/// Fills up a column in which the last rows say nothing.
fn pad<T: Copy>(column: &mut Vec<T>, rows: usize, absent: T) {
    if column.len() < rows {
        column.resize(rows, absent);
    }
}

fn set_number(chunk: &mut Chunk, number: Number, row: usize, value: u64) {
    let column = &mut chunk.numbers[number.index()];
    if column.is_none() && value == number.absent() {
        return;
    }
    let column = column.get_or_insert_default();
    pad(column, row, number.absent());
    column.push(value);
}

fn set_text(column: &mut Texts, codes: &mut Lookup, row: usize, value: &str) {
    let last = column.codes.last().copied();
    // Most rows say what the one before them said.
    let code = match last.filter(|last| column.words.is(*last, value)) {
        Some(last) => last,
        None => codes.code(&mut column.words, value),
    };
    pad(&mut column.codes, row, NO_WORD);
    column.codes.push(code);
}

fn level(chunk: &mut Chunk) {
    let rows = chunk.rows;
    for number in Number::ALL {
        if let Some(column) = &mut chunk.numbers[number.index()] {
            pad(column, rows, number.absent());
        }
    }
    for text in Text::ALL {
        if let Some(column) = &mut chunk.texts[text.index()] {
            pad(&mut column.codes, rows, NO_WORD);
        }
    }
    for column in chunk.metadata.values_mut() {
        pad(&mut column.values.codes, rows, NO_WORD);
        if let Some(kinds) = &mut column.kinds {
            pad(&mut kinds.codes, rows, NO_WORD);
        }
    }
    if let Some(more) = &mut chunk.more {
        pad(&mut more.codes, rows, NO_WORD);
    }
}
