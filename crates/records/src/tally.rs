//! Sorts records into cells: one for each group and each stretch of time of it.

use std::collections::{HashMap, HashSet};

use isango_store::analytics::{Aggregate, Dimension, Measure};
use isango_store::logs::Error;
use isango_types::Timestamp;

use crate::cell::{Cell, Layout, MAX_EXACT, Spread, quantity};
use crate::chunk::Chunk;
use crate::fields::{Fields, NONE, Number, Text};
use crate::hash;
use crate::measure::{Interner, codes, dimension_fields, quantity_fields, text_codes, values};
use crate::part::Part;
use crate::rollup::Rolled;
use crate::select::{Errors, Selection, Wanted};

/// Most cells of a tally. The records of further ones go into one cell for all. Tests, which have few
/// records, take fewer.
const MAX_CELLS: usize = if cfg!(test) { 1_500 } else { 200_000 };
/// So many cells are more than anybody looks at.
const MANY_CELLS: usize = if cfg!(test) { 64 } else { 16_384 };
/// A pair of numberings is looked up in a table of at most so many entries.
const MAX_TABLE: usize = 1 << 20;
/// The code of a group that has no cell of its own.
const OTHER: u32 = u32::MAX;

/// What records are grouped by.
#[derive(Clone, Debug)]
pub(crate) enum By {
    /// A dimension.
    Dimension(Dimension),
    /// A column as it is.
    Column(Text),
}

impl By {
    fn fields(&self) -> Fields {
        match self {
            Self::Dimension(dimension) => dimension_fields(dimension),
            Self::Column(text) => Fields::default().text(*text),
        }
    }

    fn codes(&self, chunk: &Chunk, rows: &[u32], words: &mut Interner) -> Vec<u32> {
        match self {
            Self::Dimension(dimension) => codes(dimension, chunk, rows, words),
            Self::Column(text) => text_codes(chunk.text(*text), rows, words, |_| 0),
        }
    }
}

/// A group in a stretch of time: codes of its values, and where the stretch begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CellKey {
    codes: Vec<u32>,
    start: u64,
}

/// The columns that a measure takes.
fn measure_fields(measure: Measure) -> Fields {
    let fields = Fields::default();
    match measure {
        Measure::Count => fields,
        Measure::Errors => fields.number(Number::Status).text(Text::Outcome),
        Measure::Cached => fields.text(Text::Cache),
        Measure::Unpriced => fields.number(Number::Cost),
        Measure::Estimated => fields.text(Text::CostStatus),
        Measure::Known(quantity)
        | Measure::Sum(quantity)
        | Measure::Min(quantity)
        | Measure::Max(quantity)
        | Measure::Percentile(quantity, _) => quantity_fields(quantity),
    }
}

/// What a record says that was answered from the cache.
const KEPT: [&str; 2] = ["hit", "stale"];
const ESTIMATED: [&str; 1] = ["estimated"];

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The cells of one thread.
pub(crate) struct Tally<'q> {
    question: &'q Aggregate,
    layout: &'q Layout,
    by: Vec<By>,
    fields: Fields,
    /// The columns that are left once percentiles were given up.
    few_fields: Fields,
    words: Vec<Interner>,
    places: HashMap<CellKey, u32, hash::Texts>,
    /// The place of the cell of each code, and one more, where nothing but one dimension tells cells
    /// apart; 0 as long as it is not known.
    by_code: Vec<u32>,
    keys: Vec<CellKey>,
    cells: Vec<Cell>,
    exact: usize,
    /// The groups that have cells of their own; `None`: all.
    chosen: Option<HashSet<Vec<u32>>>,
    /// Whether all but the number of records and the measure that groups are ordered by was given
    /// up: there are many more groups than are asked for. A second tally, of those that are shown,
    /// has the rest.
    pub(crate) is_shed: bool,
    /// Whether values are kept as histograms.
    is_coarse: bool,
    /// Whether there is a cell for what had none.
    is_full: bool,
}

/// When the stretch of time of a cell begins, the codes of its group (`None`: it is the one for
/// what had none of its own), and the cell.
pub(crate) type Told<'t> = (u64, Option<&'t [u32]>, &'t Cell);

impl<'q> Tally<'q> {
    /// Nothing so far. Of the question, the measures are in `layout` and the dimensions in `by`.
    pub(crate) fn new(question: &'q Aggregate, layout: &'q Layout, by: Vec<By>) -> Self {
        let keys = by.iter().map(By::fields);
        let mut keys = keys.fold(Fields::default(), |all, some| all.and(&some));
        if question.every.is_some() {
            keys = keys.number(Number::CreatedAt);
        }
        let measures = layout.measures.iter().map(|one| measure_fields(*one));
        let fields = measures.fold(keys.clone(), |all, some| all.and(&some));
        let few_fields = keys.and(&measure_fields(question.deciding()));
        Self {
            question,
            layout,
            words: by.iter().map(|_| Interner::default()).collect(),
            by,
            fields,
            few_fields,
            places: HashMap::default(),
            by_code: Vec::new(),
            keys: Vec::new(),
            cells: Vec::new(),
            exact: 0,
            chosen: None,
            is_shed: false,
            is_coarse: false,
            is_full: false,
        }
    }

    /// The same of these groups alone; all others go into one cell.
    pub(crate) fn of(mut self, groups: &[Vec<Option<Box<str>>>]) -> Self {
        let mut code = |(words, word): (&mut Interner, &Option<Box<str>>)| {
            word.as_ref().map_or(0, |word| words.code(word))
        };
        let chosen = groups.iter();
        let chosen = chosen.map(|key| self.words.iter_mut().zip(key).map(&mut code).collect());
        self.chosen = Some(chosen.collect());
        self.words.iter_mut().for_each(Interner::close);
        self
    }

    /// The columns that it takes.
    pub(crate) const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How many cells there are.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// What was asked.
    pub(crate) const fn question(&self) -> &'q Aggregate {
        self.question
    }

    /// The cells.
    pub(crate) fn cells(&self) -> impl Iterator<Item = Told<'_>> {
        self.keys.iter().zip(&self.cells).map(|(key, cell)| {
            let is_other = key.codes == [OTHER];
            (key.start, (!is_other).then_some(&*key.codes), cell)
        })
    }

    /// What the codes of a group stand for.
    pub(crate) fn words(&self, codes: &[u32]) -> impl Iterator<Item = Option<&str>> {
        let words = self.words.iter().zip(codes);
        words.map(|(words, code)| words.word(*code))
    }

    /// Whether percentiles come from histograms, or groups are missing.
    pub(crate) fn is_approximate(&self) -> bool {
        (self.is_coarse && !self.cells.is_empty()) || self.is_full
    }

    /// Keeps values as histograms from now on.
    pub(crate) fn coarsen(&mut self) {
        self.is_coarse = true;
        let spreads = self.cells.iter_mut().flat_map(|cell| &mut cell.spreads);
        spreads.for_each(Spread::coarsen);
    }

    /// Adds the records of a part that are wanted; all of them, if nobody says which.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(crate) fn add(&mut self, part: &Part, wanted: Option<&Wanted<'_>>) -> Result<(), Error> {
        let selection: Selection = match wanted {
            Some(wanted) => wanted.select(part)?,
            None => None,
        };
        if selection.as_ref().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        let fields = match self.is_shed {
            true => &self.few_fields,
            false => &self.fields,
        };
        let chunk = part.read(fields)?;
        let rows = selection.unwrap_or_else(|| (0..).take(chunk.rows).collect());
        let places = self.places(&chunk, &rows);
        self.count(&chunk, &rows, &places);
        for (at, one) in self.layout.quantities.iter().enumerate() {
            if !self.is_shed || quantity(self.question.deciding()) == Some(*one) {
                self.measure(at, &chunk, &rows, &places);
            }
        }
        if self.exact > MAX_EXACT && !self.is_coarse {
            self.coarsen();
        }
        if self.may_shed() {
            self.shed();
        }
        Ok(())
    }

    /// Whether so many groups are not worth their percentiles.
    fn may_shed(&self) -> bool {
        let is_by_percentile = matches!(self.question.deciding(), Measure::Percentile(..));
        self.cells.len() > MANY_CELLS
            && self.question.most() <= MANY_CELLS / 4
            && !self.by.is_empty()
            && self.chosen.is_none()
            && !self.layout.spread.is_empty()
            && !is_by_percentile
    }

    fn shed(&mut self) {
        self.is_shed = true;
        for cell in &mut self.cells {
            cell.spreads = Vec::new();
        }
    }

    /// Adds the cells of another thread.
    pub(crate) fn merge(&mut self, mut other: Self) {
        if self.is_coarse != other.is_coarse {
            self.coarsen();
            other.coarsen();
        }
        if self.is_shed != other.is_shed {
            self.shed();
            other.shed();
        }
        self.is_full |= other.is_full;
        for (mut key, cell) in other.keys.into_iter().zip(other.cells) {
            if key.codes != [OTHER] {
                let words = self.words.iter_mut().zip(&other.words);
                for (code, (mine, theirs)) in key.codes.iter_mut().zip(words) {
                    *code = theirs.word(*code).map_or(0, |word| mine.code(word));
                }
            }
            let known = self.cells.len();
            let place = index(self.cell(key));
            if place == known {
                self.cells[place] = cell;
            } else {
                self.cells[place].merge(&cell);
            }
        }
    }

    /// Adds rolled rows; `None`: a histogram is damaged.
    pub(crate) fn add_rolled(&mut self, rolled: &Rolled, rows: &[u32]) -> Option<()> {
        if !self.layout.spread.is_empty() && !self.is_coarse {
            self.coarsen();
        }
        let chunk = &rolled.chunk;
        let errors = Errors::new(chunk);
        let places = self.places(chunk, rows);
        for (row, place) in rows.iter().zip(places) {
            let row = index(*row);
            let cell = &mut self.cells[index(place)];
            let count = rolled.counts[row];
            let if_so = |is_so: bool| if is_so { count } else { 0 };
            let is = |text, words: &[&str]| {
                chunk
                    .text_at(text, row)
                    .is_some_and(|word| words.contains(&word))
            };
            cell.counts.all += count;
            cell.counts.errors += if_so(errors.holds(row));
            cell.counts.cached += if_so(is(Text::Cache, &KEPT));
            cell.counts.unpriced += count - rolled.priced[row];
            cell.counts.estimated += if_so(is(Text::CostStatus, &ESTIMATED));
            for (stat, stats) in cell.stats.iter_mut().zip(&rolled.stats) {
                stat.merge(&stats[row]);
            }
            for (spread, histograms) in cell.spreads.iter_mut().zip(&rolled.spreads) {
                if let Spread::Histogram(histogram) = spread {
                    histogram.merge_packed(histograms.row(row)?)?;
                }
            }
        }
        Some(())
    }

    /// The cell of each row.
    fn places(&mut self, chunk: &Chunk, rows: &[u32]) -> Vec<u32> {
        if let ([by], [words], None) = (&*self.by, &mut *self.words, &self.question.every) {
            let codes = by.codes(chunk, rows, words);
            self.by_code.resize(self.by_code.len().max(words.len()), 0);
            return codes.iter().map(|code| self.of_code(*code)).collect();
        }
        let mut numbering = Numbering::new(rows.len());
        for (by, words) in self.by.iter().zip(&mut self.words) {
            let codes = by.codes(chunk, rows, words);
            numbering.split(&codes, words.len());
        }
        let starts = self.starts(chunk, rows);
        if let Some((codes, starts)) = &starts {
            numbering.split(codes, starts.len());
        }
        let mut cells = Vec::with_capacity(numbering.keys.len());
        for mut codes in numbering.keys {
            let start = starts.as_ref().and_then(|(_, starts)| {
                let number = codes.pop()?;
                starts.get(index(number)).copied()
            });
            let start = start.unwrap_or(0);
            cells.push(self.cell(CellKey { codes, start }));
        }
        numbering.ids.iter().map(|id| cells[index(*id)]).collect()
    }

    /// The cell of a code, where nothing else tells cells apart.
    fn of_code(&mut self, code: u32) -> u32 {
        match self.by_code[index(code)].checked_sub(1) {
            Some(place) => place,
            None => {
                let codes = vec![code];
                let place = self.cell(CellKey { codes, start: 0 });
                self.by_code[index(code)] = place + 1;
                place
            }
        }
    }

    /// Which stretch of time each row lies in: numbers, and where the stretches begin.
    fn starts(&self, chunk: &Chunk, rows: &[u32]) -> Option<(Vec<u32>, Vec<u64>)> {
        self.question.every.as_ref()?;
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        let mut starts = Vec::new();
        // Rows are all but sorted by time.
        let (mut start, mut end, mut number) = (0, 0, 0);
        let codes = rows.iter().map(|row| {
            let row = index(*row);
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
        let is_other = key.codes == [OTHER];
        let is_chosen = (self.chosen.as_ref()).is_none_or(|chosen| chosen.contains(&key.codes));
        if !is_other && (!is_chosen || self.cells.len() >= MAX_CELLS) {
            self.is_full |= is_chosen;
            let codes = vec![OTHER];
            return self.cell(CellKey { codes, ..key });
        }
        let place = u32::try_from(self.cells.len()).unwrap_or(OTHER);
        let mut cell = Cell::new(self.layout);
        if self.is_shed {
            cell.spreads = Vec::new();
        } else if self.is_coarse {
            cell.spreads.iter_mut().for_each(Spread::coarsen);
        }
        self.cells.push(cell);
        self.keys.push(key.clone());
        self.places.insert(key, place);
        place
    }

    fn count(&mut self, chunk: &Chunk, rows: &[u32], places: &[u32]) {
        let [wants_errors, wants_cached, wants_unpriced, wants_estimated] = [
            Measure::Errors,
            Measure::Cached,
            Measure::Unpriced,
            Measure::Estimated,
        ]
        .map(|wanted| match self.is_shed {
            true => self.question.deciding() == wanted,
            false => self.layout.needs(|one| *one == wanted),
        });
        for place in places {
            self.cells[index(*place)].counts.all += 1;
        }
        let pairs = || {
            rows.iter()
                .map(|row| index(*row))
                .zip(places.iter().map(|one| index(*one)))
        };
        if wants_errors {
            let errors = Errors::new(chunk);
            for (row, place) in pairs() {
                self.cells[place].counts.errors += u64::from(errors.holds(row));
            }
        }
        let is = |text, row, words: &[&str]| {
            chunk
                .text_at(text, row)
                .is_some_and(|word| words.contains(&word))
        };
        if wants_cached {
            for (row, place) in pairs() {
                let cached = is(Text::Cache, row, &KEPT);
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
                let estimated = is(Text::CostStatus, row, &ESTIMATED);
                self.cells[place].counts.estimated += u64::from(estimated);
            }
        }
    }

    fn measure(&mut self, at: usize, chunk: &Chunk, rows: &[u32], places: &[u32]) {
        let values = values(self.layout.quantities[at], chunk);
        let pairs = || rows.iter().map(|row| values.get(*row)).zip(places);
        for (value, place) in pairs().filter(|(value, _)| *value != NONE) {
            self.cells[index(*place)].stats[at].add(value);
        }
        let spread = self.layout.spread.iter().position(|one| *one == at);
        let Some(spread) = spread.filter(|_| !self.is_shed) else {
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
        let entries = self.keys.len().saturating_mul(count);
        let mut table = vec![OTHER; if entries <= MAX_TABLE { entries } else { 0 }];
        let mut map: HashMap<(u32, u32), u32> = HashMap::new();
        let mut keys: Vec<Vec<u32>> = Vec::new();
        let old = std::mem::take(&mut self.keys);
        for (id, code) in self.ids.iter_mut().zip(codes) {
            let key = (*id, *code);
            let at = index(key.0);
            let place = at * count + index(key.1);
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
