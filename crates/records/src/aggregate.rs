//! Aggregates: each thread sorts the rows of its parts into cells, one for each group and stretch
//! of time; cells of the same group are merged in the end.

use std::collections::{BTreeMap, HashMap};

use isango_store::analytics::{
    Aggregate, Answer, Group, MAX_DIMENSIONS, Measure, Point, Progress, Quantity,
};
use isango_store::logs::Error;
use isango_types::Timestamp;

use crate::cell::{Cell, Layout, MAX_EXACT, Spread};
use crate::chunk::Chunk;
use crate::columns::Columns;
use crate::fields::{Fields, NONE, Number, Text};
use crate::measure::{Interner, codes, dimension_fields, quantity_fields, values};
use crate::part::{Part, visit};
use crate::select::{Errors, Wanted};

/// Most cells of a thread. The records of further ones go into one cell for all.
const MAX_CELLS: usize = 200_000;
/// A pair of numberings is looked up in a table of at most so many entries.
const MAX_TABLE: usize = 1 << 20;
/// The code of a group that has no cell of its own.
const OTHER: u32 = u32::MAX;

/// The answer to a question.
///
/// # Errors
/// A segment cannot be read.
pub(crate) fn aggregate(
    columns: &Columns,
    question: &Aggregate,
    progress: &Progress,
) -> Result<Answer, Error> {
    let snapshot = columns.snapshot();
    let wanted = Wanted::new(
        &question.filter,
        question.since,
        question.until,
        snapshot.floor,
        columns.catalog(),
    );
    let mut parts = Part::all(&snapshot);
    parts.retain(|part| wanted.may_be_in(part));
    let layout = Layout::new(question.measured());
    let visited = visit(
        &parts,
        progress,
        || Ok(Tally::new(question, &layout)),
        |tally, _, part| tally.visit(&wanted, part),
    )?;
    let mut sum = Sum::new(question, &layout);
    visited.made.into_iter().for_each(|tally| sum.add(tally));
    let mut answer = sum.answer();
    answer.is_complete = visited.is_complete && snapshot.is_complete;
    Ok(answer)
}

/// A group in a stretch of time: codes of its dimensions, and where the stretch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CellKey {
    codes: [u32; MAX_DIMENSIONS],
    start: u64,
}

/// The cells of one thread.
pub(crate) struct Tally<'q> {
    question: &'q Aggregate,
    layout: &'q Layout,
    fields: Fields,
    words: Vec<Interner>,
    places: HashMap<CellKey, u32>,
    keys: Vec<CellKey>,
    cells: Vec<Cell>,
    exact: usize,
    is_coarse: bool,
    is_full: bool,
}

impl<'q> Tally<'q> {
    fn new(question: &'q Aggregate, layout: &'q Layout) -> Self {
        let dimensions = question.dimensions().iter().map(dimension_fields);
        let quantities = layout.quantities.iter().copied().map(quantity_fields);
        let mut fields = dimensions.chain(quantities).fold(Fields::default(), Fields::and);
        if question.every.is_some() {
            fields = fields.number(Number::CreatedAt);
        }
        if layout.needs(|one| matches!(one, Measure::Errors)) {
            fields = fields.number(Number::Status).text(Text::Outcome);
        }
        if layout.needs(|one| matches!(one, Measure::Cached)) {
            fields = fields.text(Text::Cache);
        }
        if layout.needs(|one| matches!(one, Measure::Unpriced)) {
            fields = fields.number(Number::Cost);
        }
        if layout.needs(|one| matches!(one, Measure::Estimated)) {
            fields = fields.text(Text::CostStatus);
        }
        let words = question.dimensions().iter().map(|_| Interner::default());
        Self {
            question,
            layout,
            fields,
            words: words.collect(),
            places: HashMap::new(),
            keys: Vec::new(),
            cells: Vec::new(),
            exact: 0,
            is_coarse: false,
            is_full: false,
        }
    }

    fn visit(&mut self, wanted: &Wanted<'_>, part: &Part) -> Result<(), Error> {
        let selection = wanted.select(part)?;
        if selection.as_ref().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        let chunk = part.read(&self.fields)?;
        let rows = selection.unwrap_or_else(|| (0..).take(chunk.rows).collect());
        let places = self.places(&chunk, &rows);
        self.count(&chunk, &rows, &places);
        for at in 0..self.layout.quantities.len() {
            self.measure(at, &chunk, &rows, &places);
        }
        if self.exact > MAX_EXACT && !self.is_coarse {
            self.is_coarse = true;
            let spreads = self.cells.iter_mut().flat_map(|cell| &mut cell.spreads);
            spreads.for_each(Spread::coarsen);
        }
        Ok(())
    }

    /// The cell of each row.
    fn places(&mut self, chunk: &Chunk, rows: &[u32]) -> Vec<u32> {
        let mut numbering = Numbering::new(rows.len());
        let dimensions = self.question.dimensions().iter().zip(&mut self.words);
        for (dimension, words) in dimensions {
            let codes = codes(dimension, chunk, rows, words);
            numbering.split(&codes, words.len());
        }
        let starts = self.starts(chunk, rows);
        if let Some((codes, starts)) = &starts {
            numbering.split(codes, starts.len());
        }
        let cells: Vec<u32> = numbering
            .keys
            .iter()
            .map(|key| {
                let mut key = key.clone();
                let start = starts.as_ref().and_then(|(_, starts)| {
                    starts.get(usize::try_from(key.pop()?).ok()?).copied()
                });
                let mut codes = [0; MAX_DIMENSIONS];
                codes[..key.len()].copy_from_slice(&key);
                self.cell(CellKey {
                    codes,
                    start: start.unwrap_or(0),
                })
            })
            .collect();
        let index = |id: u32| usize::try_from(id).unwrap_or(usize::MAX);
        numbering.ids.iter().map(|id| cells[index(*id)]).collect()
    }

    /// Which stretch of time each row lies in: numbers, and where the stretches begin.
    fn starts(&self, chunk: &Chunk, rows: &[u32]) -> Option<(Vec<u32>, Vec<u64>)> {
        self.question.every.as_ref()?;
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        let mut starts = Vec::new();
        // Rows are all but sorted by time.
        let (mut start, mut end, mut number) = (0, 0, 0);
        let codes = rows.iter().map(|row| {
            let row = usize::try_from(*row).unwrap_or(usize::MAX);
            let created = chunk.number_at(Number::CreatedAt, row);
            if created < start || end <= created {
                let bucket = self.question.bucket(Timestamp::from_micros(created));
                (start, end) = bucket.map_or((0, u64::MAX), |(from, to)| {
                    (from.as_micros(), to.as_micros())
                });
                number = *numbers.entry(start).or_insert_with(|| {
                    starts.push(start);
                    u32::try_from(starts.len() - 1).unwrap_or(u32::MAX)
                });
            }
            number
        });
        let codes = codes.collect();
        Some((codes, starts))
    }

    fn cell(&mut self, key: CellKey) -> u32 {
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let is_other = self.cells.len() >= MAX_CELLS && key.codes != [OTHER; MAX_DIMENSIONS];
        if is_other {
            self.is_full = true;
            return self.cell(CellKey {
                codes: [OTHER; MAX_DIMENSIONS],
                start: key.start,
            });
        }
        let place = u32::try_from(self.cells.len()).unwrap_or(u32::MAX);
        let mut cell = Cell::new(self.layout);
        if self.is_coarse {
            cell.spreads.iter_mut().for_each(Spread::coarsen);
        }
        self.cells.push(cell);
        self.keys.push(key);
        self.places.insert(key, place);
        place
    }

    fn count(&mut self, chunk: &Chunk, rows: &[u32], places: &[u32]) {
        let index = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let [wants_errors, wants_cached, wants_unpriced, wants_estimated] = [
            Measure::Errors,
            Measure::Cached,
            Measure::Unpriced,
            Measure::Estimated,
        ]
        .map(|wanted| self.layout.needs(|one| *one == wanted));
        for place in places {
            self.cells[index(*place)].counts.all += 1;
        }
        let pairs = || rows.iter().map(|row| index(*row)).zip(places.iter().map(|one| index(*one)));
        if wants_errors {
            let errors = Errors::new(chunk);
            for (row, place) in pairs() {
                self.cells[place].counts.errors += u64::from(errors.holds(row));
            }
        }
        let is = |text, row, words: &[&str]| {
            chunk.text_at(text, row).is_some_and(|word| words.contains(&word))
        };
        if wants_cached {
            for (row, place) in pairs() {
                let cached = is(Text::Cache, row, &["hit", "stale"]);
                self.cells[place].counts.cached += u64::from(cached);
            }
        }
        if wants_unpriced {
            for (row, place) in pairs() {
                let unpriced = chunk.number_at(Number::Cost, row) == NONE;
                self.cells[place].counts.unpriced += u64::from(unpriced);
            }
        }
        if wants_estimated {
            for (row, place) in pairs() {
                let estimated = is(Text::CostStatus, row, &["estimated"]);
                self.cells[place].counts.estimated += u64::from(estimated);
            }
        }
    }

    fn measure(&mut self, at: usize, chunk: &Chunk, rows: &[u32], places: &[u32]) {
        let index = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let quantity: Quantity = self.layout.quantities[at];
        let values = values(quantity, chunk);
        let pairs = || rows.iter().map(|row| values.get(*row)).zip(places);
        for (value, place) in pairs().filter(|(value, _)| *value != NONE) {
            self.cells[index(*place)].stats[at].add(value);
        }
        let Some(spread) = self.layout.spread.iter().position(|one| *one == at) else {
            return;
        };
        for (value, place) in pairs().filter(|(value, _)| *value != NONE) {
            self.cells[index(*place)].spreads[spread].add(value);
        }
        self.exact += rows.len();
    }
}

/// Numbers the combinations of values that rows have, as they turn up.
struct Numbering {
    /// The combination of each row.
    ids: Vec<u32>,
    /// The values of each combination.
    keys: Vec<Vec<u32>>,
}

impl Numbering {
    /// One combination, of nothing.
    fn new(rows: usize) -> Self {
        Self {
            ids: vec![0; rows],
            keys: vec![Vec::new()],
        }
    }

    /// Tells apart rows that have different codes, of which there are so many.
    fn split(&mut self, codes: &[u32], count: usize) {
        let mut table = vec![OTHER; if self.keys.len() * count <= MAX_TABLE { self.keys.len() * count } else { 0 }];
        let mut map: HashMap<(u32, u32), u32> = HashMap::new();
        let mut keys: Vec<Vec<u32>> = Vec::new();
        let old = std::mem::take(&mut self.keys);
        for (id, code) in self.ids.iter_mut().zip(codes) {
            let key = (*id, *code);
            let at = usize::try_from(key.0).unwrap_or(0);
            let place = at * count + usize::try_from(key.1).unwrap_or(0);
            let known = match table.get_mut(place) {
                Some(known) => known,
                None => map.entry(key).or_insert(OTHER),
            };
            if *known == OTHER {
                *known = u32::try_from(keys.len()).unwrap_or(u32::MAX);
                let mut combined = old[at].clone();
                combined.push(key.1);
                keys.push(combined);
            }
            *id = *known;
        }
        self.keys = keys;
    }
}

type Key = Vec<Option<Box<str>>>;

/// The cells of all threads, by what their codes stand for.
struct Sum<'q> {
    question: &'q Aggregate,
    layout: &'q Layout,
    groups: BTreeMap<Key, Whole>,
    /// What had no cell of its own.
    other: Option<Whole>,
    is_coarse: bool,
}

/// All cells of a group.
#[derive(Clone, Debug, Default)]
struct Whole {
    total: Option<Cell>,
    points: BTreeMap<u64, Cell>,
}

impl Whole {
    fn add(&mut self, start: Option<u64>, cell: &Cell) {
        match &mut self.total {
            Some(total) => total.merge(cell),
            total => *total = Some(cell.clone()),
        }
        if let Some(start) = start {
            let point = self.points.entry(start);
            point.and_modify(|point| point.merge(cell)).or_insert_with(|| cell.clone());
        }
    }

    fn merge(&mut self, other: &Self) {
        if let Some(total) = &other.total {
            self.add(None, total);
        }
        for (start, cell) in &other.points {
            let point = self.points.entry(*start);
            point.and_modify(|point| point.merge(cell)).or_insert_with(|| cell.clone());
        }
    }
}

impl<'q> Sum<'q> {
    fn new(question: &'q Aggregate, layout: &'q Layout) -> Self {
        Self {
            question,
            layout,
            groups: BTreeMap::new(),
            other: None,
            is_coarse: false,
        }
    }

    fn add(&mut self, tally: Tally<'_>) {
        self.is_coarse |= tally.is_coarse || tally.is_full;
        let has_time = self.question.every.is_some();
        for (key, cell) in tally.keys.iter().zip(&tally.cells) {
            let start = has_time.then_some(key.start);
            if key.codes == [OTHER; MAX_DIMENSIONS] {
                self.other.get_or_insert_default().add(start, cell);
                continue;
            }
            let words = tally.words.iter().zip(key.codes);
            let words = words.map(|(words, code)| words.word(code).map(Into::into));
            self.groups.entry(words.collect()).or_default().add(start, cell);
        }
    }

    fn answer(self) -> Answer {
        let mut total = self.other.clone().unwrap_or_default();
        self.groups.values().for_each(|group| total.merge(group));
        let layout = self.layout;
        let mut groups: Vec<(Key, Whole)> = match self.question.dimensions() {
            [] => Vec::new(),
            [..] => self.groups.into_iter().collect(),
        };
        let deciding = self.question.measured().get(self.question.order).copied();
        let deciding = deciding.unwrap_or(Measure::Count);
        // Stable: equal ones stay in the order of their keys.
        groups.sort_by_cached_key(|(_, group)| {
            let total = group.total.as_ref();
            std::cmp::Reverse(total.and_then(|total| total.value(deciding, layout)))
        });
        let group_count = groups.len() as u64;
        let rest = groups.split_off(groups.len().min(self.question.most()));
        let mut other = self.other;
        for (_, group) in &rest {
            other.get_or_insert_default().merge(group);
        }
        let shown = groups.into_iter();
        Answer {
            groups: shown.map(|(key, whole)| group(key, &whole, layout)).collect(),
            other: other.map(|whole| group(Vec::new(), &whole, layout)),
            total: group(Vec::new(), &total, layout),
            group_count,
            is_approximate: self.is_coarse,
            is_complete: true,
        }
    }
}

fn group(key: Key, whole: &Whole, layout: &Layout) -> Group {
    let empty = Cell::new(layout);
    let point = |(start, cell): (&u64, &Cell)| Point {
        start: Timestamp::from_micros(*start),
        values: cell.values(layout),
    };
    Group {
        key,
        values: whole.total.as_ref().unwrap_or(&empty).values(layout),
        points: whole.points.iter().map(point).collect(),
    }
}
