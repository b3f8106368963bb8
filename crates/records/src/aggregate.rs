//! Aggregates: each thread sorts the rows of its parts into cells, one for each group and stretch
//! of time; cells of the same group are merged in the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use isango_store::analytics::{Aggregate, Answer, Group, Measure, Point, Progress};
use isango_store::logs::Error;
use isango_types::Timestamp;

use crate::cell::{Cell, Layout};
use crate::columns::{Columns, Snapshot};
use crate::fields::Number;
use crate::part::{Part, visit};
use crate::rollup::{self, Plan, Rollup};
use crate::segment::Segment;
use crate::select::{self, Wanted};
use crate::tally::{By, Tally};

/// A question about fewer records is answered from their columns, so that percentiles are exact.
const MIN_ROLLED: usize = 524_288;

/// The answer to a question.
///
/// # Errors
/// A segment cannot be read.
pub(crate) fn aggregate(
    columns: &Columns,
    question: &Aggregate,
    progress: &Progress,
) -> Result<Answer, Error> {
    answer(columns, question, progress, MIN_ROLLED)
}

/// The answer; rolled rows are asked if it is about so many records.
///
/// # Errors
/// A segment cannot be read.
pub(crate) fn answer(
    columns: &Columns,
    question: &Aggregate,
    progress: &Progress,
    min_rolled: usize,
) -> Result<Answer, Error> {
    let snapshot = columns.snapshot()?;
    let layout = Layout::new(question.measured());
    let tally = || {
        let by = question.dimensions().iter().cloned();
        Tally::new(question, &layout, by.map(By::Dimension).collect())
    };
    let whole = wanted(columns, question, &snapshot, None);
    let (plan, rolled) = split(question, &snapshot, &whole, min_rolled);
    let mut sum = Sum::new(question, &layout);
    let mut from_rollups = tally();
    if let Some(plan) = plan {
        for segment in &rolled {
            if let Some(rollup) = &segment.rollup {
                add_rollup(&mut from_rollups, question, &layout, rollup, plan)?;
            }
        }
    }
    // What rolled rows do not tell: other segments, what is hot, and what lies before the first
    // whole step that was asked for, or behind the last.
    let is_rolled = |part: &Part| match part {
        Part::Dressed(_) | Part::Hot(_) => false,
        Part::Sealed(segment, _) => rolled.iter().any(|one| Arc::ptr_eq(one, segment)),
    };
    let edges = plan.map(|plan| {
        let [from, until] = plan.inner;
        let before = wanted(columns, question, &snapshot, Some([0, from]));
        [
            before,
            wanted(columns, question, &snapshot, Some([until, u64::MAX])),
        ]
    });
    let mut work: Vec<(Part, &Wanted<'_>)> = Vec::new();
    for part in Part::all(&snapshot) {
        if !is_rolled(&part) {
            work.push((part, &whole));
        } else if let Some([before, behind]) = &edges {
            work.push((part.clone(), before));
            work.push((part, behind));
        }
    }
    work.retain(|(part, wanted)| wanted.may_be_in(part));
    let (parts, wanted): (Vec<Part>, Vec<&Wanted<'_>>) = work.into_iter().unzip();
    let visited = visit(
        &parts,
        progress,
        || Ok(tally()),
        |tally, at, part| tally.add(part, Some(wanted[at])),
    )?;
    visited
        .made
        .iter()
        .chain([&from_rollups])
        .for_each(|tally| sum.add(tally));
    let mut answer = sum.answer();
    answer.is_complete = visited.is_complete && snapshot.is_complete;
    Ok(answer)
}

/// Whether the answer to a question comes from rolled rows, at least in part.
#[cfg(test)]
pub(crate) fn uses_rollups(
    columns: &Columns,
    question: &Aggregate,
    snapshot: &Snapshot,
    min_rolled: usize,
) -> bool {
    let whole = wanted(columns, question, snapshot, None);
    !split(question, snapshot, &whole, min_rolled).1.is_empty()
}

/// The records that a question is about, within some time.
fn wanted<'q>(
    columns: &'q Columns,
    question: &'q Aggregate,
    snapshot: &'q Snapshot,
    within: Option<[u64; 2]>,
) -> Wanted<'q> {
    let wanted = Wanted::new(
        &question.filter,
        question.since,
        question.until,
        snapshot,
        columns.catalog(),
    );
    within.map_or(wanted.clone(), |within| wanted.within(within))
}

/// The segments whose rolled rows are asked, and how.
fn split(
    question: &Aggregate,
    snapshot: &Snapshot,
    wanted: &Wanted<'_>,
    min_rolled: usize,
) -> (Option<Plan>, Vec<Arc<Segment>>) {
    let has_rollup = |segment: &&Arc<Segment>| {
        segment.rollup.is_some()
            && segment.first >= snapshot.floor
            // Sums do not know what was said of records later.
            && snapshot.dressed.between(segment.ids()).is_empty()
            && wanted.overlaps(segment.created())
    };
    let segments = snapshot.segments.iter().filter(has_rollup);
    let mut segments: Vec<Arc<Segment>> = segments.cloned().collect();
    let rows: usize = segments.iter().map(|segment| segment.rows).sum();
    if segments.is_empty() || rows < min_rolled {
        return (None, Vec::new());
    }
    let first = segments.iter().map(|segment| segment.created()[0]).min();
    let last = segments.iter().map(|segment| segment.created()[1]).max();
    let found = [first.unwrap_or(0), last.unwrap_or(0)];
    let Some(plan) = rollup::plan(question, wanted.created(), found) else {
        return (None, Vec::new());
    };
    segments.retain(|segment| {
        let rollup = segment.rollup.as_ref();
        rollup.is_some_and(|rollup| rollup.has(plan.step))
    });
    (Some(plan), segments)
}

fn add_rollup(
    tally: &mut Tally<'_>,
    question: &Aggregate,
    layout: &Layout,
    rollup: &Rollup,
    plan: Plan,
) -> Result<(), Error> {
    let fields = rollup::filter_fields(&question.filter).and(tally.fields());
    let rolled = rollup.read(plan.step, &rollup::always().and(&fields), layout)?;
    let mut selection = select::by_filter(&rolled.chunk, &question.filter)
        .unwrap_or_else(|| (0..).take(rolled.chunk.rows).collect());
    selection.retain(|row| {
        let row = usize::try_from(*row).unwrap_or(usize::MAX);
        let start = rolled.chunk.number_at(Number::CreatedAt, row);
        plan.inner[0] <= start && start.saturating_add(plan.step) <= plan.inner[1]
    });
    tally.add_rolled(&rolled, &selection);
    Ok(())
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
            point
                .and_modify(|point| point.merge(cell))
                .or_insert_with(|| cell.clone());
        }
    }

    fn merge(&mut self, other: &Self) {
        if let Some(total) = &other.total {
            self.add(None, total);
        }
        for (start, cell) in &other.points {
            let point = self.points.entry(*start);
            point
                .and_modify(|point| point.merge(cell))
                .or_insert_with(|| cell.clone());
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

    fn add(&mut self, tally: &Tally<'_>) {
        self.is_coarse |= (tally.is_coarse && tally.len() > 0) || tally.is_full;
        for (start, words, cell) in tally.cells() {
            let start = self.question.every.as_ref().map(|_| start);
            let whole = match words {
                None => self.other.get_or_insert_default(),
                Some(words) => {
                    let words = words.into_iter().map(|word| word.map(Into::into));
                    self.groups.entry(words.collect()).or_default()
                }
            };
            whole.add(start, cell);
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
            groups: shown
                .map(|(key, whole)| group(key, &whole, layout))
                .collect(),
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
