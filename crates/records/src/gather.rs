//! Rows of chunks in another order, a column at a time: what segments are written from.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::builder::{code_of_kind, json};
use crate::chunk::{Chunk, MAX_KEYS, Metadata, Texts, kind_of};
use crate::fields::{NO_WORD, Number, Text};
use crate::lookup::Lookup;

/// A row of several chunks: which chunk, and which row of it.
pub(crate) type Place = (u32, u32);

/// The places of all rows, in the order of their ids.
pub(crate) fn sorted(chunks: &[Arc<Chunk>]) -> Vec<Place> {
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
pub(crate) fn keys_of(chunks: &[Arc<Chunk>]) -> impl Iterator<Item = (&str, u64, bool)> {
    let columns = chunks.iter().flat_map(|chunk| &chunk.metadata);
    columns.map(|(key, column)| {
        let codes = column.values.codes.iter();
        let rows = codes.filter(|code| **code != NO_WORD).count() as u64;
        (&**key, rows, column.kinds.is_some())
    })
}

/// Rows of several chunks, in an order. Each column of them is put together when it is asked for,
/// so that a writer holds one at a time.
#[derive(Debug)]
pub(crate) struct Gather {
    chunks: Vec<Arc<Chunk>>,
    places: Vec<Place>,
}

impl Gather {
    pub(crate) const fn new(chunks: Vec<Arc<Chunk>>, places: Vec<Place>) -> Self {
        Self { chunks, places }
    }

    pub(crate) const fn rows(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u128> {
        let ids = self.places.iter();
        ids.map(|(at, row)| self.chunks[index(*at)].ids[index(*row)])
    }

    /// Whether some chunk has a column of numbers.
    pub(crate) fn has_number(&self, number: Number) -> bool {
        let mut columns = self.chunks.iter().map(|chunk| chunk.number(number));
        columns.any(|column| column.is_some())
    }

    /// Whether some chunk has a column of texts.
    pub(crate) fn has_text(&self, text: Text) -> bool {
        let mut columns = self.chunks.iter().map(|chunk| chunk.text(text));
        columns.any(|column| column.is_some())
    }

    /// Whether metadata is left over where only these keys have columns.
    pub(crate) fn has_more(&self, keys: &Keys) -> bool {
        self.chunks.iter().any(|chunk| {
            let mut known = chunk.metadata.keys();
            chunk.more.is_some() || known.any(|key| !keys.contains_key(key))
        })
    }

    /// A column of numbers; `None` if no chunk has it.
    pub(crate) fn number(&self, number: Number) -> Option<Vec<u64>> {
        if !self.has_number(number) {
            return None;
        }
        let columns = self.chunks.iter().map(|chunk| chunk.number(number));
        let columns: Vec<_> = columns.collect();
        let value = |(at, row): &Place| {
            columns[index(*at)].map_or(number.absent(), |column| column[index(*row)])
        };
        Some(self.places.iter().map(value).collect())
    }

    /// A column of texts; `None` if no chunk has it.
    pub(crate) fn text(&self, text: Text) -> Option<Texts> {
        let columns = self.chunks.iter().map(|chunk| chunk.text(text));
        gather_texts(&columns.collect::<Vec<_>>(), &self.places)
    }

    /// The metadata of these keys, and that of all others, if there is any.
    pub(crate) fn metadata(&self, keys: &Keys) -> (BTreeMap<Box<str>, Metadata>, Option<Texts>) {
        let mut out = BTreeMap::new();
        for key in keys.keys() {
            let columns = self.chunks.iter().map(|chunk| chunk.metadata.get(key));
            let columns: Vec<_> = columns.collect();
            let values = columns.iter().map(|one| one.map(|one| &one.values));
            let kinds = columns
                .iter()
                .map(|one| one.and_then(|one| one.kinds.as_ref()));
            let column = Metadata {
                values: gather_texts(&values.collect::<Vec<_>>(), &self.places)
                    .unwrap_or_else(|| Texts::absent(self.rows())),
                kinds: gather_texts(&kinds.collect::<Vec<_>>(), &self.places),
            };
            out.insert(key.clone(), column);
        }
        let more = self
            .has_more(keys)
            .then(|| move_keys(&self.chunks, &self.places, &mut out));
        (out, more)
    }
}

fn gather_texts(columns: &[Option<&Texts>], places: &[Place]) -> Option<Texts> {
    if columns.iter().all(Option::is_none) {
        return None;
    }
    let mut out = Texts::default();
    let mut lookup = Lookup::default();
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
                    let word = column.words.get(code).unwrap_or_default();
                    *new = lookup.code(&mut out.words, word);
                }
                *new
            }
            (_, _) => NO_WORD,
        };
        out.codes.push(code);
    }
    Some(out)
}

/// Puts metadata into the columns that there are, and returns the rest: where a client makes up
/// keys, chunks have columns for other ones.
fn move_keys(
    chunks: &[Arc<Chunk>],
    places: &[Place],
    out: &mut BTreeMap<Box<str>, Metadata>,
) -> Texts {
    let mut known: BTreeMap<Box<str>, Lookup> = BTreeMap::new();
    let mut more = Texts::default();
    for (row, (at, of)) in places.iter().enumerate() {
        let mut object = chunks[index(*at)].metadata_at(index(*of));
        for (key, value) in &object {
            let Some(column) = out.get_mut(key) else {
                continue;
            };
            if column.values.codes[row] != NO_WORD {
                continue;
            }
            let words = &mut column.values.words;
            let lookup = known.entry(key.clone());
            let lookup = lookup.or_insert_with(|| Lookup::of(words));
            column.values.codes[row] = lookup.code(words, &value.to_text());
            if let Some(kind) = kind_of(value) {
                let kinds = column
                    .kinds
                    .get_or_insert_with(|| Texts::absent(places.len()));
                kinds.codes[row] = code_of_kind(kinds, kind);
            }
        }
        object.retain(|key, _| !out.contains_key(key));
        let rest = object.iter().map(|(key, value)| (&**key, value));
        let code = json(&rest.collect());
        more.codes
            .push(code.map_or(NO_WORD, |object| more.words.push(&object)));
    }
    more
}
