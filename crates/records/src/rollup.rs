//! Sums of a large segment by minute, by hour and by day (UTC), beside it as `rollups/<name>`, so
//! that a question about a month reads some thousand rows instead of millions.
//!
//! A rolled row is what a cell of an aggregate is: counts, sums, and histograms of times, of all
//! records that agree in what the standard questions filter and group by ([`TEXTS`] and the
//! status). They are made from the segment's columns when it is written, and say the same to the
//! last nano-dollar. Where there would be too many (names that clients make up) there are none of
//! that step, and the columns are asked instead: nothing is ever folded into "others".

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{BinaryBuilder, StringDictionaryBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use isango_store::analytics::{Aggregate, Dimension, Measure, Quantity};
use isango_store::filter::{CostValue, Filter, Test, TextField};
use isango_store::logs::Error;
use isango_types::Timestamp;
use isango_types::limit::Window;

use crate::arrays;
use crate::cell::{Cell, Layout, Spread, Stat};
use crate::chunk::Chunk;
use crate::disk::Disk;
use crate::fields::{Fields, Number, Text};
use crate::part::Part;
use crate::sealed::{self, Sealed, failed};
use crate::segment::Segment;
use crate::tally::{By, Tally};

/// Steps, in microseconds: a minute, an hour, a day.
pub(crate) const STEPS: [u64; 3] = [60_000_000, 3_600_000_000, 86_400_000_000];
/// Most rows of a step.
const MAX_ROWS: usize = 32_768;
/// What records must agree in, apart from their status.
const TEXTS: [Text; 11] = [
    Text::Account,
    Text::Gateway,
    Text::Provider,
    Text::Target,
    Text::Operation,
    Text::ModelRequested,
    Text::Model,
    Text::Token,
    Text::Cache,
    Text::Outcome,
    Text::CostStatus,
];
/// What follows from these.
const RULES: [Dimension; 4] = [
    Dimension::Model,
    Dimension::Status,
    Dimension::StatusClass,
    Dimension::Result,
];
/// The quantities that have histograms.
const SPREAD: [Quantity; 3] = [Quantity::Duration, Quantity::Ttfb, Quantity::Ttft];
const COUNT: &str = "count";
/// Which steps the row groups are of.
const STEPS_KEY: &str = "isango.steps";

/// A file of rolled rows.
#[derive(Debug)]
pub(crate) struct Rollup {
    file: Sealed,
    /// The step of each row group.
    steps: Vec<u64>,
}

/// Some rolled rows.
pub(crate) struct Rolled {
    /// What they agree in, and when their step begins.
    pub(crate) chunk: Chunk,
    pub(crate) counts: Vec<u64>,
    /// How many records have a cost.
    pub(crate) priced: Vec<u64>,
    /// By quantity of the layout, and by row.
    pub(crate) stats: Vec<Vec<Stat>>,
    /// By spread quantity of the layout.
    pub(crate) spreads: Vec<Histograms>,
}

/// Histograms as they lie in the file. A row is added to where it belongs without one of its own
/// being made: there are many rows, and each has few values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histograms {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl Histograms {
    fn push(&mut self, packed: &[u8]) {
        self.bytes.extend_from_slice(packed);
        self.ends.push(self.bytes.len());
    }

    /// A row, packed.
    pub(crate) fn row(&self, row: usize) -> Option<&[u8]> {
        let start = match row.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..*self.ends.get(row)?)
    }
}

impl Rollup {
    /// Opens the rolled rows of a segment.
    ///
    /// # Errors
    /// They cannot be read, or are damaged.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = Sealed::open(path)?;
        let steps = file.value(STEPS_KEY).unwrap_or_default();
        let steps: Result<Vec<u64>, _> = steps.split_whitespace().map(str::parse).collect();
        let steps = steps
            .ok()
            .filter(|steps| steps.len() == file.parquet().num_row_groups());
        match steps {
            Some(steps) => Ok(Self { file, steps }),
            None => Err(Error::Damaged(format!("{}: its steps", path.display()))),
        }
    }

    /// Whether there are rows of a step.
    pub(crate) fn has(&self, step: u64) -> bool {
        self.steps.contains(&step)
    }

    /// Something in the file is not as it was written.
    pub(crate) fn damaged(&self, what: &str) -> Error {
        self.file.damaged(what)
    }

    /// How many rows of a step there are.
    pub(crate) fn rows(&self, step: u64) -> usize {
        let group = self.steps.iter().position(|one| *one == step);
        let rows = group.map(|group| self.file.parquet().row_group(group).num_rows());
        rows.map_or(0, |rows| usize::try_from(rows).unwrap_or(0))
    }

    /// The rows of a step, with what a layout and some dimensions ask for.
    ///
    /// # Errors
    /// They cannot be read, or are damaged.
    pub(crate) fn read(
        &self,
        step: u64,
        fields: &Fields,
        layout: &Layout,
    ) -> Result<Rolled, Error> {
        let Some(group) = self.steps.iter().position(|one| *one == step) else {
            return Err(self.file.damaged("a step is gone"));
        };
        let mut rolled = Rolled {
            chunk: Chunk::default(),
            counts: Vec::new(),
            priced: Vec::new(),
            stats: vec![Vec::new(); layout.quantities.len()],
            spreads: vec![Histograms::default(); layout.spread.len()],
        };
        let of_layout = |name: &str| {
            let mut quantities = layout.quantities.iter();
            let stat =
                quantities.any(|quantity| STATS.iter().any(|stat| column(*quantity, stat) == name));
            let mut spread = layout.spread.iter().map(|at| layout.quantities[*at]);
            stat || spread.any(|quantity| column(quantity, HISTOGRAM) == name)
        };
        let priced = column(Quantity::Cost, "known");
        let wanted =
            |name: &str| fields.holds(name) || name == COUNT || name == priced || of_layout(name);
        for batch in self.file.read(group, wanted, None)? {
            rolled
                .append(&batch, layout)
                .ok_or_else(|| self.file.damaged("a column has another type"))?;
        }
        Ok(rolled)
    }
}

const STATS: [&str; 4] = ["known", "sum", "min", "max"];
const HISTOGRAM: &str = "histogram";

/// The name of a quantity's column.
fn column(quantity: Quantity, what: &str) -> String {
    format!("{}_{what}", quantity.as_str())
}

impl Rolled {
    fn append(&mut self, batch: &RecordBatch, layout: &Layout) -> Option<()> {
        self.chunk.rows += batch.num_rows();
        arrays::append(batch, &mut self.chunk)?;
        let numbers = |name: &str| {
            let column = batch
                .column_by_name(name)?
                .as_primitive_opt::<UInt64Type>()?;
            Some(column.values().to_vec())
        };
        self.counts.extend(numbers(COUNT)?);
        self.priced
            .extend(numbers(&column(Quantity::Cost, "known"))?);
        for (quantity, stats) in layout.quantities.iter().zip(&mut self.stats) {
            let [known, sum, min, max] = STATS.map(|stat| numbers(&column(*quantity, stat)));
            let (known, sum, min, max) = (known?, sum?, min?, max?);
            stats.extend((0..batch.num_rows()).map(|row| Stat {
                known: known[row],
                sum: sum[row],
                min: min[row],
                max: max[row],
            }));
        }
        for (at, spreads) in layout.spread.iter().zip(&mut self.spreads) {
            let name = column(layout.quantities[*at], HISTOGRAM);
            let histograms = batch.column_by_name(&name)?.as_binary_opt::<i32>()?;
            for bytes in histograms {
                spreads.push(bytes?);
            }
        }
        Some(())
    }
}

/// Everything that rolled rows have.
fn layout() -> Layout {
    let quantities = Quantity::ALL.into_iter().map(Measure::Sum);
    let spread = SPREAD.map(|quantity| Measure::Percentile(quantity, 500));
    Layout::new(&quantities.chain(spread).collect::<Vec<_>>())
}

fn by() -> Vec<By> {
    let texts = TEXTS.into_iter().map(By::Column);
    texts.chain([By::Dimension(Dimension::Status)]).collect()
}

/// Makes the rolled rows of a segment, of those steps of which there are not too many.
///
/// # Errors
/// The segment cannot be read, or the disk failed.
pub(crate) fn write(disk: &dyn Disk, path: &Path, segment: &Arc<Segment>) -> Result<Rollup, Error> {
    let layout = layout();
    let questions = STEPS.map(|step| Aggregate {
        every: Some(Window::Fixed(Duration::from_micros(step))),
        ..Aggregate::default()
    });
    let tallies = questions.iter().map(|question| {
        let mut tally = Tally::new(question, &layout, by());
        tally.coarsen();
        tally
    });
    let mut tallies: Vec<(u64, Tally<'_>)> = STEPS.into_iter().zip(tallies).collect();
    for group in 0..segment.groups.len() {
        let Some((_, tally)) = tallies.first() else {
            break;
        };
        // Read once for all steps, which take the same columns.
        let part = Part::Hot(Part::Sealed(Arc::clone(segment), group).read(tally.fields())?);
        for (_, tally) in &mut tallies {
            tally.add(&part, None)?;
        }
        tallies.retain(|(_, tally)| tally.len() <= MAX_ROWS);
    }
    let mut steps = Vec::new();
    for (step, tally) in &tallies {
        steps.push((*step, rolled(tally, &layout)?));
    }
    let names: Vec<String> = steps.iter().map(|(step, _)| step.to_string()).collect();
    let schema = match steps.first() {
        Some((_, batch)) => batch.schema(),
        None => batch(&[], &layout)?.schema(),
    };
    let properties = sealed::properties(&[(STEPS_KEY, names.join(" "))])?.build();
    let mut batches = steps.into_iter();
    sealed::write(disk, path, &schema, &properties, || {
        let batch = batches.next();
        Ok(batch.map(|(_, batch)| batch.columns().to_vec().into_iter().map(Ok)))
    })?;
    Rollup::open(path)
}

fn rolled(tally: &Tally<'_>, layout: &Layout) -> Result<RecordBatch, Error> {
    let cells = tally.cells();
    let mut rows: Vec<Row<'_>> = cells
        .filter_map(|(start, codes, cell)| Some((start, tally.words(codes?).collect(), cell)))
        .collect();
    rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    batch(&rows, layout)
}

/// When its step begins, what it agrees in, and the rest.
type Row<'t> = (u64, Vec<Option<&'t str>>, &'t Cell);

fn batch(rows: &[Row<'_>], layout: &Layout) -> Result<RecordBatch, Error> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    let mut put = |name: String, kind: DataType, nullable: bool, column: ArrayRef| {
        fields.push(Field::new(name, kind, nullable));
        columns.push(column);
    };
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let starts = rows
        .iter()
        .map(|(start, _, _)| i64::try_from(*start).unwrap_or(i64::MAX));
    let starts = TimestampMicrosecondArray::from_iter_values(starts).with_timezone("UTC");
    put(
        Number::CreatedAt.name().into(),
        moment,
        false,
        Arc::new(starts),
    );
    for (at, text) in TEXTS.into_iter().enumerate() {
        let mut words = StringDictionaryBuilder::<UInt32Type>::new();
        rows.iter()
            .for_each(|(_, key, _)| words.append_option(key[at]));
        put(
            text.name().into(),
            arrays::dictionary(),
            true,
            Arc::new(words.finish()),
        );
    }
    let status = rows
        .iter()
        .map(|(_, key, _)| key[TEXTS.len()]?.parse().ok());
    let status: UInt64Array = status.collect();
    put(
        Number::Status.name().into(),
        DataType::UInt64,
        true,
        Arc::new(status),
    );
    let mut number = |name: String, value: &dyn Fn(&Cell) -> u64| {
        let values = rows.iter().map(|(_, _, cell)| value(cell));
        let values = UInt64Array::from_iter_values(values);
        put(name, DataType::UInt64, false, Arc::new(values));
    };
    number(COUNT.into(), &|cell| cell.counts.all);
    for (at, quantity) in layout.quantities.iter().enumerate() {
        number(column(*quantity, "known"), &|cell| cell.stats[at].known);
        number(column(*quantity, "sum"), &|cell| cell.stats[at].sum);
        number(column(*quantity, "min"), &|cell| cell.stats[at].min);
        number(column(*quantity, "max"), &|cell| cell.stats[at].max);
    }
    for (at, quantity) in layout.spread.iter().enumerate() {
        let mut bytes = BinaryBuilder::new();
        for (_, _, cell) in rows {
            bytes.append_value(match &cell.spreads[at] {
                Spread::Histogram(histogram) => histogram.pack(),
                Spread::Exact(_) => Vec::new(),
            });
        }
        let name = column(layout.quantities[*quantity], HISTOGRAM);
        put(name, DataType::Binary, false, Arc::new(bytes.finish()));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)
}

/// How a question is answered from rolled rows: of which step, and of which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) step: u64,
    /// First moment, and the one behind the last, both of them where a step begins; what is asked
    /// for outside of them must be read from columns.
    pub(crate) inner: [u64; 2],
}

/// How a question about `asked` (the first moment, and the one behind the last), of which there
/// are records in `found`, can be answered from rolled rows; `None` if it cannot.
pub(crate) fn plan(question: &Aggregate, asked: [u64; 2], found: [u64; 2]) -> Option<Plan> {
    if !fits(question) {
        return None;
    }
    let mut plans = STEPS.into_iter().rev().map(|step| Plan {
        step,
        inner: [
            asked[0].div_ceil(step).saturating_mul(step),
            asked[1] / step * step,
        ],
    });
    plans.find(|plan| {
        let [from, until] = [
            plan.inner[0].max(found[0] / plan.step * plan.step),
            plan.inner[1].min(found[1].saturating_add(1)),
        ];
        // The rest, which is up to a step on either side, is read from columns.
        let is_long = until.saturating_sub(from) >= 24 * plan.step || plan.step == STEPS[0];
        is_long && from < until && is_aligned(question, plan.step, [from, until])
    })
}

/// Whether no step lies in two of the question's stretches of time.
fn is_aligned(question: &Aggregate, step: u64, [from, until]: [u64; 2]) -> bool {
    if question.every.is_none() {
        return true;
    }
    let start = |micros| question.bucket(Timestamp::from_micros(micros));
    let mut at = from;
    while at < until {
        // A whole stretch at once.
        let Some((begin, end)) = start(at) else {
            return false;
        };
        if begin.as_micros() % step != 0 || end.as_micros() % step != 0 {
            return false;
        }
        at = end.as_micros().max(at + 1);
    }
    true
}

/// Whether rolled rows tell all that a question asks.
fn fits(question: &Aggregate) -> bool {
    let by = question.dimensions().iter().all(|dimension| {
        let column = crate::measure::column(dimension);
        RULES.contains(dimension) || column.is_some_and(|text| TEXTS.contains(&text))
    });
    let measures = question.measured().iter().all(|measure| match measure {
        Measure::Percentile(quantity, _) => SPREAD.contains(quantity),
        Measure::Count
        | Measure::Errors
        | Measure::Cached
        | Measure::Unpriced
        | Measure::Estimated
        | Measure::Known(_)
        | Measure::Sum(_)
        | Measure::Min(_)
        | Measure::Max(_) => true,
    });
    by && measures && filter_fits(&question.filter)
}

fn filter_fits(filter: &Filter) -> bool {
    filter.terms().iter().all(|term| match &term.test {
        Test::Text(TextField::Model, _) | Test::Status(_) => true,
        Test::Text(field, _) => {
            crate::select::column(*field).is_some_and(|text| TEXTS.contains(&text))
        }
        Test::Cost(any) => any
            .iter()
            .all(|value| matches!(value, CostValue::Status(_))),
        Test::Body(_) | Test::Meta(..) | Test::Number(..) | Test::Review(..) | Test::Stream(_) => {
            false
        }
    })
}

/// The columns that every answer from rolled rows takes.
pub(crate) fn always() -> Fields {
    Fields::default()
        .number(Number::CreatedAt)
        .number(Number::Status)
        .text(Text::Outcome)
        .text(Text::Cache)
        .text(Text::CostStatus)
}

/// The columns that a filter on rolled rows looks at.
pub(crate) fn filter_fields(filter: &Filter) -> Fields {
    let terms = filter.terms().iter();
    let fields = terms.map(|term| crate::select::fields(&term.test));
    fields.fold(Fields::default(), |all, some| all.and(&some))
}
