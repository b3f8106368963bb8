//! Aggregates: each thread sorts the rows of its parts into cells, one for each group and stretch
//! of time; cells of the same group are merged in the end.
//!
//! Where there turn out to be many more groups than are to be shown (of the users of a month, the
//! twenty that cost most), percentiles are left out, and asked for again of those that are shown.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use isango_store::analytics::{Aggregate, Answer, Group, Point, Progress};
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
    let wanted = |within| wanted(columns, question, &snapshot, within).heeding(progress);
    let whole = wanted(None);
    let (plan, rolled) = split(question, &snapshot, &whole, min_rolled);
    // What rolled rows do not tell: other segments, what is hot, and what lies before the first
    // whole step that was asked for, or behind the last.
    let is_rolled = |part: &Part| match part {
        Part::Dressed(_) | Part::Hot(_) => false,
        Part::Sealed(segment, _) => rolled.iter().any(|one| Arc::ptr_eq(one, segment)),
    };
    let edges = plan.map(|plan| {
        let [from, until] = plan.inner;
        [wanted(Some([0, from])), wanted(Some([until, u64::MAX]))]
    });
    let mut work = Vec::new();
    for part in Part::all(&snapshot) {
        if !is_rolled(&part) {
            work.push(Work::Columns(part, &whole));
        } else if let Some([before, behind]) = &edges {
            work.push(Work::Columns(part.clone(), before));
            work.push(Work::Columns(part, behind));
        }
    }
    work.retain(Work::may_have_some);
    if let Some(plan) = plan {
        let rollups = rolled.iter().filter_map(|segment| segment.rollup.as_ref());
        work.extend(rollups.map(|rollup| Work::Rolled(rollup, plan)));
    }
    let rows: Vec<usize> = work.iter().map(Work::rows).collect();
    let count = |chosen: Option<&[Key]>| -> Result<(Tally<'_>, bool), Error> {
        let tally = || {
            let by = question.dimensions().iter().cloned();
            let tally = Tally::new(question, &layout, by.map(By::Dimension).collect());
            match chosen {
                Some(chosen) => tally.of(chosen),
                None => tally,
            }
        };
        let visited = visit(
            &rows,
            progress,
            || Ok(tally()),
            |tally, at| work[at].add_to(tally, question, &layout),
        )?;
        let mut tallies = visited.made.into_iter();
        let mut sum = tallies.next().unwrap_or_else(tally);
        tallies.for_each(|tally| sum.merge(tally));
        Ok((sum, visited.stopped_at.is_none() && snapshot.is_complete))
    };
    let (tally, is_complete) = count(None)?;
    let groups = Groups::new(&tally, &layout);
    let mut answer = if tally.is_shed {
        let (tally, is_complete) = count(Some(&groups.shown()))?;
        let mut answer = Groups::new(&tally, &layout).answer(is_complete);
        answer.group_count = groups.len();
        // Of groups that were never told apart, one may belong to those with the most.
        answer.is_approximate |= groups.other.is_some();
        answer
    } else {
        groups.answer(is_complete)
    };
    answer.is_complete &= is_complete;
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

/// What one thread adds to its tally at once.
enum Work<'w> {
    /// Rows of a part that are wanted.
    Columns(Part, &'w Wanted<'w>),
    /// Rolled rows of a segment.
    Rolled(&'w Rollup, Plan),
}

impl Work<'_> {
    fn may_have_some(&self) -> bool {
        match self {
            Self::Columns(part, wanted) => wanted.may_be_in(part),
            Self::Rolled(..) => true,
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Columns(part, _) => part.rows(),
            Self::Rolled(rollup, plan) => rollup.rows(plan.step),
        }
    }

    fn add_to(
        &self,
        tally: &mut Tally<'_>,
        question: &Aggregate,
        layout: &Layout,
    ) -> Result<(), Error> {
        match self {
            Self::Columns(part, wanted) => tally.add(part, Some(wanted)),
            Self::Rolled(rollup, plan) => add_rollup(tally, question, layout, (rollup, *plan)),
        }
    }
}

fn add_rollup(
    tally: &mut Tally<'_>,
    question: &Aggregate,
    layout: &Layout,
    (rollup, plan): (&Rollup, Plan),
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
    let added = tally.add_rolled(&rolled, &selection);
    added.ok_or_else(|| rollup.damaged("a histogram"))
}

type Key = Vec<Option<Box<str>>>;

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

/// The groups of a tally.
struct Groups<'t> {
    tally: &'t Tally<'t>,
    layout: &'t Layout,
    /// Codes of their values, and their cells.
    groups: Vec<(&'t [u32], Whole)>,
    /// What had no cell of its own.
    other: Option<Whole>,
}

impl<'t> Groups<'t> {
    fn new(tally: &'t Tally<'t>, layout: &'t Layout) -> Self {
        let mut places: HashMap<&[u32], usize> = HashMap::new();
        let mut groups: Vec<(&[u32], Whole)> = Vec::new();
        let mut other: Option<Whole> = None;
        let is_split = tally.question().every.is_some();
        for (start, codes, cell) in tally.cells() {
            let start = is_split.then_some(start);
            let whole = match codes {
                None => other.get_or_insert_default(),
                Some(codes) => {
                    let place = *places.entry(codes).or_insert(groups.len());
                    if place == groups.len() {
                        groups.push((codes, Whole::default()));
                    }
                    &mut groups[place].1
                }
            };
            whole.add(start, cell);
        }
        Self {
            tally,
            layout,
            groups,
            other,
        }
    }

    fn len(&self) -> u64 {
        self.groups.len() as u64
    }

    /// Which groups are shown, and which are not: places. The first come in their order, equal ones
    /// in that of their keys.
    fn ranked(&self) -> (Vec<usize>, Vec<usize>) {
        let question = self.tally.question();
        let deciding = question.deciding();
        let values: Vec<Option<u64>> = (self.groups.iter())
            .map(|(_, group)| group.total.as_ref()?.value(deciding, self.layout))
            .collect();
        let words = |place: &usize| -> Vec<_> { self.tally.words(self.groups[*place].0).collect() };
        let order = |one: &usize, next: &usize| {
            let by_value = values[*next].cmp(&values[*one]);
            by_value.then_with(|| words(one).cmp(&words(next)))
        };
        let mut shown: Vec<usize> = (0..self.groups.len()).collect();
        let most = question.most();
        let mut rest = Vec::new();
        if shown.len() > most {
            shown.select_nth_unstable_by(most, order);
            rest = shown.split_off(most);
        }
        shown.sort_by(order);
        (shown, rest)
    }

    fn key(&self, place: usize) -> Key {
        let words = self.tally.words(self.groups[place].0);
        words.map(|word| word.map(Into::into)).collect()
    }

    /// The groups that are shown.
    fn shown(&self) -> Vec<Key> {
        let (shown, _) = self.ranked();
        shown.into_iter().map(|place| self.key(place)).collect()
    }

    fn answer(&self, is_complete: bool) -> Answer {
        let mut total = self.other.clone().unwrap_or_default();
        self.groups.iter().for_each(|(_, group)| total.merge(group));
        let (shown, rest) = match self.tally.question().dimensions() {
            [] => Default::default(),
            [..] => self.ranked(),
        };
        let mut other = self.other.clone();
        for place in &rest {
            other.get_or_insert_default().merge(&self.groups[*place].1);
        }
        let layout = self.layout;
        let shown = shown.into_iter();
        let shown = shown.map(|place| group(self.key(place), &self.groups[place].1, layout));
        let group_count = match self.tally.question().dimensions() {
            [] => 0,
            [..] => self.len(),
        };
        Answer {
            groups: shown.collect(),
            other: other.map(|whole| group(Vec::new(), &whole, layout)),
            total: group(Vec::new(), &total, layout),
            group_count,
            is_approximate: self.tally.is_approximate(),
            is_complete,
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
