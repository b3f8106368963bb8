//! Lists: the best rows of each part, and then the best of those. Columns that only a row on the
//! page shows are read for the rows of the page alone.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::io::ErrorKind;

use isango_store::analytics::{List, Listing, Progress, Sort};
use isango_store::logs::Error;
use isango_types::RecordId;
use isango_types::record::Omitted;
use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::columns::{Columns, Snapshot};
use crate::fields::{Fields, NONE, Number};
use crate::measure::{Interner, codes, dimension_fields, quantity_fields, values};
use crate::part::{Part, visit};
use crate::rewrite::is_slim;
use crate::select::{Wanted, only_id};

/// A row that may be on the page.
#[derive(Debug)]
struct Candidate {
    /// What it is sorted by before its id.
    key: Key,
    id: u128,
    part: usize,
    row: u32,
}

/// Smaller keys come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Sorted by nothing but the id.
    Same,
    Up(Value),
    Down(Reverse<Value>),
    /// Rows without a value are last.
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(u64),
    Text(Box<str>),
}

/// The rows of a page, found and not read yet.
struct Found {
    parts: Vec<Part>,
    page: Vec<Candidate>,
    next: Option<RecordId>,
    is_complete: bool,
    /// Told to stop, the page ends before this id.
    stopped: Option<RecordId>,
}

/// One page of rows.
///
/// # Errors
/// A segment cannot be read.
pub(crate) fn list(columns: &Columns, list: &List, progress: &Progress) -> Result<Listing, Error> {
    let found = find(columns, list, progress)?;
    let mut slim = Slim::new(columns.catalog());
    let mut rows = Vec::with_capacity(found.page.len());
    for (position, mut row) in read(&found, |part, rows| part.list(rows))? {
        for message in [&mut row.request, &mut row.response] {
            if message.bytes > 0 && message.omitted.is_none() && slim.holds(position)? {
                message.omitted = Some(Omitted::Expired);
            }
        }
        rows.push(row);
    }
    Ok(Listing {
        rows,
        next: found.next,
        is_complete: found.is_complete,
    })
}

/// Which files of the journal have no bodies any more.
struct Slim<'c> {
    catalog: &'c Catalog,
    /// Where each complete file begins and ends, and its number.
    files: Vec<(u64, u64, u64)>,
    known: BTreeMap<u64, bool>,
}

impl<'c> Slim<'c> {
    fn new(catalog: &'c Catalog) -> Self {
        let mut volumes = catalog.volumes();
        // It is written to, and rewritten only when it is complete.
        volumes.pop();
        let files = volumes.iter().map(|volume| {
            let summary = &volume.summary;
            (summary.sequence, summary.chain.sequence, summary.number)
        });
        Self {
            catalog,
            files: files.collect(),
            known: BTreeMap::new(),
        }
    }

    /// Whether the record of a position lies in one.
    fn holds(&mut self, position: u64) -> Result<bool, Error> {
        let at = self.files.partition_point(|(_, end, _)| *end <= position);
        let Some((_, _, number)) = self.files.get(at).filter(|(first, ..)| *first <= position)
        else {
            return Ok(false);
        };
        if let Some(known) = self.known.get(number) {
            return Ok(*known);
        }
        let is_slim = match is_slim(&self.catalog.dir, *number) {
            // Retention has removed it meanwhile.
            Err(Error::Io(error)) if error.kind() == ErrorKind::NotFound => true,
            told => told?,
        };
        self.known.insert(*number, is_slim);
        Ok(is_slim)
    }
}

/// The positions of the records of a page, and the cursor for the next one; `None` if the columns
/// do not have all records.
///
/// # Errors
/// A segment cannot be read.
pub(crate) fn positions(
    columns: &Columns,
    list: &List,
    progress: &Progress,
) -> Result<Option<Positions>, Error> {
    let mut found = find(columns, list, progress)?;
    if let Some(stopped) = found.stopped {
        let border = u128::from_be_bytes(*stopped.as_bytes());
        found.page.retain(|one| match list.ascending {
            true => one.id <= border,
            false => one.id >= border,
        });
        // A page that was full before is not shorter for it.
        let is_full = found.page.len() == list.page_size();
        found.next = found.next.filter(|_| is_full).or(Some(stopped));
    } else if !found.is_complete {
        return Ok(None);
    }
    let positions = read(&found, |part, rows| {
        let chunk = part.read(&Fields::default().number(Number::Position))?;
        let position = |row: &u32| {
            let row = usize::try_from(*row).unwrap_or(usize::MAX);
            chunk.number_at(Number::Position, row)
        };
        Ok(rows.iter().map(position).collect())
    })?;
    Ok(Some((positions, found.next)))
}

/// Where the records of a page are, and the cursor for the next one.
pub(crate) type Positions = (Vec<u64>, Option<RecordId>);

fn find(columns: &Columns, list: &List, progress: &Progress) -> Result<Found, Error> {
    let snapshot = columns.snapshot()?;
    let snapshot = &snapshot;
    let search = Search::new(columns, snapshot, list, progress);
    let parts = search.parts(snapshot);
    let best = Mutex::new(Vec::new());
    let rows: Vec<usize> = parts.iter().map(Part::rows).collect();
    let visited = visit(
        &rows,
        progress,
        || Ok(()),
        |(), at| search.visit(at, &parts[at], &best),
    )?;
    let mut best = best.into_inner();
    best.sort_unstable_by(|a, b| search.compare(a, b));
    let (offset, size) = (list.passed_over(), list.page_size());
    let has_more = best.len() > offset + size;
    let page: Vec<Candidate> = best.into_iter().skip(offset).take(size).collect();
    let last = page.last().filter(|_| has_more && list.sort == Sort::Time);
    let next = last.map(|last| RecordId::from_bytes(last.id.to_be_bytes()));
    let stopped = visited.stopped_at.and_then(|at| parts.get(at));
    let stopped = stopped.map(|part| search.border(part));
    Ok(Found {
        page,
        next,
        is_complete: stopped.is_none() && snapshot.is_complete,
        // Of rows that have no columns nothing can be said.
        stopped: stopped.filter(|_| snapshot.is_complete),
        parts,
    })
}

struct Search<'q> {
    list: &'q List,
    wanted: Wanted<'q>,
    /// Ids of which one must be, by the cursor or the filter.
    ids: [u128; 2],
    /// How many rows can be on the page or before it, and one more.
    needed: usize,
}

impl<'q> Search<'q> {
    fn new(
        columns: &'q Columns,
        snapshot: &'q Snapshot,
        list: &'q List,
        progress: &'q Progress,
    ) -> Self {
        let wanted = Wanted::new(
            &list.filter,
            list.since,
            list.until,
            snapshot,
            columns.catalog(),
        );
        let wanted = wanted.heeding(progress);
        let mut ids = [0, u128::MAX];
        if let Some(id) = only_id(&list.filter) {
            ids = [u128::from_be_bytes(*id.as_bytes()); 2];
        }
        if let (Sort::Time, Some(after)) = (&list.sort, list.after) {
            let after = u128::from_be_bytes(*after.as_bytes());
            if list.ascending {
                ids[0] = ids[0].max(after.saturating_add(1));
            } else {
                ids[1] = ids[1].min(after.saturating_sub(1));
            }
        }
        Self {
            list,
            wanted,
            ids,
            needed: list.passed_over() + list.page_size() + 1,
        }
    }

    /// The parts that may hold rows of the page, those first that most likely do.
    fn parts(&self, snapshot: &Snapshot) -> Vec<Part> {
        let mut parts = Part::all(snapshot);
        parts.retain(|part| {
            let [first, last] = part.ids();
            first <= self.ids[1] && self.ids[0] <= last && self.wanted.may_be_in(part)
        });
        if self.list.sort == Sort::Time && self.list.ascending {
            parts.sort_by_key(|part| part.ids()[0]);
        }
        parts
    }

    /// What lies before this id, in the order of the list, is in the parts before this one.
    fn border(&self, part: &Part) -> RecordId {
        let [first, last] = part.ids();
        // Nor does it lie before the cursor.
        let [least, most] = self.ids;
        let border = match self.list.ascending {
            true => first.max(least).saturating_sub(1),
            false => last.min(most).saturating_add(1),
        };
        RecordId::from_bytes(border.to_be_bytes())
    }

    fn compare(&self, a: &Candidate, b: &Candidate) -> Ordering {
        if self.list.sort == Sort::Time && self.list.ascending {
            return a.id.cmp(&b.id);
        }
        a.key.cmp(&b.key).then_with(|| b.id.cmp(&a.id))
    }

    /// Whether a part can have a row that is better than the worst of enough others.
    fn can_improve(&self, part: &Part, best: &[Candidate]) -> bool {
        if self.list.sort != Sort::Time || best.len() < self.needed {
            return true;
        }
        let [first, last] = part.ids();
        let ids = best.iter().map(|one| one.id);
        if self.list.ascending {
            ids.max().is_some_and(|worst| first < worst)
        } else {
            ids.min().is_some_and(|worst| last > worst)
        }
    }

    fn visit(&self, at: usize, part: &Part, best: &Mutex<Vec<Candidate>>) -> Result<(), Error> {
        if !self.can_improve(part, &best.lock()) {
            return Ok(());
        }
        let selection = self.wanted.select(part)?;
        if selection.as_ref().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        let mut rows = selection.unwrap_or_else(|| (0..).take(part.rows()).collect());
        let chunk = part.read(&Fields::default().id())?;
        let id = |row: &u32| chunk.ids[usize::try_from(*row).unwrap_or(usize::MAX)];
        if self.ids != [0, u128::MAX] {
            rows.retain(|row| (self.ids[0]..=self.ids[1]).contains(&id(row)));
        }
        let mut found = match &self.list.sort {
            Sort::Time => self.by_time(at, &rows, &id),
            Sort::Dimension(_) | Sort::Quantity(_) => self.by_value(at, part, &rows, &id)?,
        };
        let mut best = best.lock();
        best.append(&mut found);
        self.keep_best(&mut best);
        Ok(())
    }

    fn keep_best(&self, found: &mut Vec<Candidate>) {
        if found.len() > self.needed {
            found.select_nth_unstable_by(self.needed - 1, |a, b| self.compare(a, b));
            found.truncate(self.needed);
        }
    }

    fn by_time(&self, part: usize, rows: &[u32], id: &dyn Fn(&u32) -> u128) -> Vec<Candidate> {
        let candidate = |row: &u32| Candidate {
            key: Key::Same,
            id: id(row),
            part,
            row: *row,
        };
        let mut found: Vec<Candidate> = rows.iter().map(candidate).collect();
        self.keep_best(&mut found);
        found
    }

    fn by_value(
        &self,
        at: usize,
        part: &Part,
        rows: &[u32],
        id: &dyn Fn(&u32) -> u128,
    ) -> Result<Vec<Candidate>, Error> {
        let ascending = self.list.ascending;
        let key = |value: Option<Value>| match value {
            None => Key::Absent,
            Some(value) if ascending => Key::Up(value),
            Some(value) => Key::Down(Reverse(value)),
        };
        let candidate = |row: &u32, value| Candidate {
            key: key(value),
            id: id(row),
            part: at,
            row: *row,
        };
        let mut found: Vec<Candidate> = match &self.list.sort {
            Sort::Quantity(quantity) => {
                let chunk = part.read(&quantity_fields(*quantity))?;
                let values = values(*quantity, &chunk);
                let value = |row: &u32| Some(values.get(*row)).filter(|value| *value != NONE);
                let found = rows.iter();
                found
                    .map(|row| candidate(row, value(row).map(Value::Number)))
                    .collect()
            }
            Sort::Dimension(dimension) => {
                let chunk = part.read(&dimension_fields(dimension))?;
                let mut words = Interner::default();
                let codes = codes(dimension, &chunk, rows, &mut words);
                let text = |code| words.word(code).map(|word| Value::Text(word.into()));
                let found = rows.iter().zip(codes);
                found
                    .map(|(row, code)| candidate(row, text(code)))
                    .collect()
            }
            Sort::Time => Vec::new(),
        };
        self.keep_best(&mut found);
        Ok(found)
    }
}

/// Reads something of each row of a page, part by part, and brings it into the page's order.
fn read<T>(
    found: &Found,
    read: impl Fn(&Part, &[u32]) -> Result<Vec<T>, Error>,
) -> Result<Vec<T>, Error> {
    let page = found.page.iter().enumerate();
    let mut places: Vec<_> = page.map(|(at, one)| (one.part, one.row, at)).collect();
    places.sort_unstable();
    let mut made = Vec::with_capacity(places.len());
    for of_part in places.chunk_by(|a, b| a.0 == b.0) {
        let Some((part, _, _)) = of_part.first() else {
            continue;
        };
        let rows: Vec<u32> = of_part.iter().map(|(_, row, _)| *row).collect();
        let read = read(&found.parts[*part], &rows)?;
        made.extend(of_part.iter().map(|(_, _, at)| *at).zip(read));
    }
    made.sort_unstable_by_key(|(at, _)| *at);
    Ok(made.into_iter().map(|(_, one)| one).collect())
}
