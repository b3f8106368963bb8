//! Fills chunks: from records, one by one, and from other chunks, in another order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use isango_types::Record;
use isango_types::record::MetadataValue;

use crate::chunk::{Chunk, MAX_KEYS, Metadata, Texts, Words, kind_of, numbers, texts};
use crate::fields::{NO_WORD, Number, TEXTS, Text};
use crate::hash;

/// Texts by code, the other way round.
#[derive(Debug, Default)]
pub(crate) struct Codes(HashMap<Box<str>, u32, hash::Texts>);

impl Codes {
    /// The code of a text in a column that these are of.
    fn code(&mut self, column: &mut Texts, word: &str) -> u32 {
        // Most rows say what the one before them said.
        if let Some(last) = column.codes.last()
            && column.words.is(*last, word)
        {
            return *last;
        }
        self.of(&mut column.words, word)
    }

    fn of(&mut self, words: &mut Words, word: &str) -> u32 {
        if let Some(code) = self.0.get(word) {
            return *code;
        }
        let code = words.push(word);
        self.0.insert(word.into(), code);
        code
    }
}

/// A chunk that grows, and what it takes to add to it. Readers may hold the chunk: then the next
/// record is added to a copy.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    chunk: Arc<Chunk>,
    texts: Vec<Codes>,
    metadata: BTreeMap<Box<str>, Codes>,
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
        self.texts.resize_with(TEXTS, Codes::default);
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

fn json(more: &BTreeMap<&str, &MetadataValue>) -> Option<String> {
    if more.is_empty() {
        return None;
    }
    serde_json::to_string(more).ok()
}

/// There are three kinds, which need no table.
fn code_of_kind(kinds: &mut Texts, kind: &str) -> u32 {
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

fn set_text(column: &mut Texts, codes: &mut Codes, row: usize, value: &str) {
    let code = codes.code(column, value);
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

/// A row of several chunks: which chunk, and which row of it.
pub(crate) type Place = (u32, u32);

/// The places of all rows, in the order of their ids.
pub(crate) fn sorted(chunks: &[&Chunk]) -> Vec<Place> {
    let mut places = Vec::with_capacity(chunks.iter().map(|chunk| chunk.rows).sum());
    for (chunk, at) in chunks.iter().zip(0..) {
        let rows = 0..u32::try_from(chunk.rows).unwrap_or(u32::MAX);
        places.extend(rows.map(|row| (at, row)));
    }
    let id = |place: &Place| chunks[index(place.0)].ids[index(place.1)];
    if !places.is_sorted_by_key(id) {
        places.sort_unstable_by_key(id);
    }
    places
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The keys of metadata that have a column, and whether each has values that are no texts.
pub(crate) type Keys = BTreeMap<Box<str>, bool>;

/// Which keys get a column, of those that there are with how many rows have them: the most common.
pub(crate) fn choose_keys<'k>(
    found: impl Iterator<Item = (&'k str, u64, bool)>,
    has_more: bool,
) -> Keys {
    let mut counts: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
    for (key, rows, has_kinds) in found {
        let (sum, kinds) = counts.entry(key).or_default();
        *sum += rows;
        // What has no column here may be anything.
        *kinds |= has_kinds || has_more;
    }
    let mut keys: Vec<_> = counts.into_iter().collect();
    keys.sort_by_key(|(_, (rows, _))| std::cmp::Reverse(*rows));
    keys.truncate(MAX_KEYS);
    let chosen = keys.into_iter();
    chosen
        .map(|(key, (_, kinds))| (key.into(), kinds))
        .collect()
}

/// The keys of chunks, as [`choose_keys`] takes them.
pub(crate) fn keys_of<'c>(chunks: &[&'c Chunk]) -> impl Iterator<Item = (&'c str, u64, bool)> {
    let columns: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.metadata).collect();
    columns.into_iter().map(|(key, column)| {
        let codes = column.values.codes.iter();
        let rows = codes.filter(|code| **code != NO_WORD).count() as u64;
        (&**key, rows, column.kinds.is_some())
    })
}

/// A chunk of rows of others, in the order of `places`.
pub(crate) fn gather(chunks: &[&Chunk], places: &[Place], keys: &Keys) -> Chunk {
    let mut out = Chunk {
        rows: places.len(),
        ids: places
            .iter()
            .map(|(at, row)| chunks[index(*at)].ids[index(*row)])
            .collect(),
        ..Chunk::default()
    };
    for number in Number::ALL {
        let columns: Vec<_> = chunks.iter().map(|chunk| chunk.number(number)).collect();
        if columns.iter().any(Option::is_some) {
            let value = |(at, row): &Place| {
                columns[index(*at)].map_or(number.absent(), |column| column[index(*row)])
            };
            out.numbers[number.index()] = Some(places.iter().map(value).collect());
        }
    }
    for text in Text::ALL {
        let columns: Vec<_> = chunks.iter().map(|chunk| chunk.text(text)).collect();
        out.texts[text.index()] = gather_texts(&columns, places);
    }
    gather_metadata(chunks, places, keys, &mut out);
    out
}

fn gather_texts(columns: &[Option<&Texts>], places: &[Place]) -> Option<Texts> {
    if columns.iter().all(Option::is_none) {
        return None;
    }
    let mut out = Texts::default();
    let mut codes = Codes::default();
    let mut known: Vec<Vec<u32>> = columns
        .iter()
        .map(|column| vec![NO_WORD; column.map_or(0, |column| column.words.len())])
        .collect();
    out.codes.reserve(places.len());
    for (at, row) in places {
        let column = columns[index(*at)];
        let code = column.map_or(NO_WORD, |column| column.codes[index(*row)]);
        let code = match (column, known[index(*at)].get_mut(index(code))) {
            (Some(column), Some(new)) => {
                if *new == NO_WORD {
                    *new = codes.code(&mut out, column.words.get(code).unwrap_or_default());
                }
                *new
            }
            (_, _) => NO_WORD,
        };
        out.codes.push(code);
    }
    Some(out)
}

fn gather_metadata(chunks: &[&Chunk], places: &[Place], keys: &Keys, out: &mut Chunk) {
    for key in keys.keys() {
        let columns: Vec<_> = chunks.iter().map(|chunk| chunk.metadata.get(key)).collect();
        let values: Vec<_> = columns
            .iter()
            .map(|one| one.map(|one| &one.values))
            .collect();
        let kinds: Vec<_> = columns
            .iter()
            .map(|one| one.and_then(|one| one.kinds.as_ref()))
            .collect();
        let column = Metadata {
            values: gather_texts(&values, places).unwrap_or_else(|| Texts::absent(places.len())),
            kinds: gather_texts(&kinds, places),
        };
        out.metadata.insert(key.clone(), column);
    }
    let mut known = chunks.iter().flat_map(|chunk| chunk.metadata.keys());
    let has_more = chunks.iter().any(|chunk| chunk.more.is_some());
    if has_more || known.any(|key| !keys.contains_key(key)) {
        out.more = Some(move_keys(chunks, places, out));
    }
}

/// Puts metadata into the columns that there are, and returns the rest: where a client makes up
/// keys, chunks have columns for other ones.
fn move_keys(chunks: &[&Chunk], places: &[Place], out: &mut Chunk) -> Texts {
    let mut known: BTreeMap<Box<str>, Codes> = BTreeMap::new();
    let mut more = Texts::default();
    for (row, (at, of)) in places.iter().enumerate() {
        let mut object = chunks[index(*at)].metadata_at(index(*of));
        for (key, value) in &object {
            let Some(column) = out.metadata.get_mut(key) else {
                continue;
            };
            if column.values.codes[row] != NO_WORD {
                continue;
            }
            let codes = known.entry(key.clone()).or_insert_with(|| {
                let words = column.values.words.iter().zip(0..);
                Codes(words.map(|(word, code)| (word.into(), code)).collect())
            });
            column.values.codes[row] = codes.of(&mut column.values.words, &value.to_text());
            if let Some(kind) = kind_of(value) {
                let kinds = column
                    .kinds
                    .get_or_insert_with(|| Texts::absent(places.len()));
                kinds.codes[row] = code_of_kind(kinds, kind);
            }
        }
        object.retain(|key, _| !out.metadata.contains_key(key));
        let rest = object.iter().map(|(key, value)| (&**key, value));
        let code = json(&rest.collect());
        more.codes
            .push(code.map_or(NO_WORD, |object| more.words.push(&object)));
    }
    more
}
