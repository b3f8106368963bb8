//! Questions answered from frames: which of them can hold an answer, then line by line.
//!
//! The newest records come first without sorting all: frames are taken in the order of their last
//! id, the best records so far are held, and the search ends when no frame that is left can have a
//! better one. A frame that is damaged is passed over with a warning; `verify` tells more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;

use isango_store::analytics::{List, Progress};
use isango_store::logs::{Error, MAX_PAGE, Order, Page, Position, Query, strip_bodies};
use isango_types::{Record, RecordId};
use memchr::memmem::Finder;

use crate::catalog::{Catalog, Volume, journal_path};
use crate::columns::{Columns, Located};
use crate::frame::{Entry, Unpacker, parse, record_lines};
use crate::label::Range;
use crate::list;
use crate::locate::Locator;
use crate::overlay::{Overlay, Ratings, Said};
use crate::slim::{head, slim};
use crate::words::Candidates;

/// A page with bodies, or one round of following, ends when its JSON has reached this many bytes.
const PAGE_BYTES: usize = 32 << 20;

/// The record of an id.
pub(crate) fn get(
    catalog: &Catalog,
    overlay: &Overlay,
    columns: Option<&Columns>,
    id: RecordId,
) -> Result<Option<Record>, Error> {
    let later = overlay.view()?.of(id)?.unwrap_or_default();
    if later.deleted.is_some() {
        return Ok(None);
    }
    let found = match columns.map(|columns| columns.locate(id)).transpose()? {
        Some(Located::At(position)) => Locator::new(catalog)?.record(position)?,
        Some(Located::Nowhere) => None,
        Some(Located::Unknown) | None => find(catalog, id)?,
    };
    let found = found.filter(|record| !record.is_erased());
    Ok(found.map(|mut record| {
        later.dress(&mut record);
        record
    }))
}

/// The record of an id as the journal has it.
fn find(catalog: &Catalog, id: RecordId) -> Result<Option<Record>, Error> {
    let mut source = Source::new(catalog)?;
    let mut buffer = [0; 36];
    let needle = Finder::new(id.encode(&mut buffer));
    for volume in catalog.volumes().iter().rev() {
        if !volume.summary.range.holds(id) {
            continue;
        }
        let Some((file, entries)) = source.open(volume)? else {
            continue;
        };
        for entry in entries
            .iter()
            .rev()
            .filter(|entry| entry.contents.range.holds(id))
        {
            let Some(lines) = source.lines(&file, entry)? else {
                continue;
            };
            let lines = record_lines(entry.contents.records, lines);
            for line in lines.filter(|line| needle.find(line).is_some()) {
                let record = parse(line)?;
                if record.id == id {
                    return Ok(Some(record));
                }
            }
        }
    }
    Ok(None)
}

/// One page, of which the columns tell what belongs to it; `None` if they do not have all records.
pub(crate) fn by_columns(
    columns: &Columns,
    overlay: &Overlay,
    query: &Query,
    progress: &Progress,
) -> Result<Option<Page>, Error> {
    let list = List {
        filter: query.filter.clone(),
        since: query.since,
        until: query.until,
        ascending: query.order == Order::OldestFirst,
        after: query.after,
        limit: query.limit,
        ..List::default()
    };
    let Some((positions, next)) = list::positions(columns, &list, progress)? else {
        return Ok(None);
    };
    let mut locator = Locator::new(columns.catalog())?;
    let mut page = Page {
        records: Vec::with_capacity(positions.len()),
        next,
    };
    let view = overlay.view()?;
    let mut bytes = 0;
    let at_once = if query.with_bodies { 16 } else { 1_000 };
    let mut rest = positions.chunks(at_once);
    for some in rest.by_ref() {
        let mut records = locator.records(some, query.with_bodies)?;
        for record in &mut records {
            if let Some(later) = view.of(record.id)? {
                later.dress(record);
            }
        }
        bytes += records.iter().map(Record::body_bytes).sum::<usize>();
        page.records.extend(records);
        if bytes >= PAGE_BYTES || progress.is_stopped() {
            break;
        }
    }
    if rest.next().is_some() {
        page.next = page.records.last().map(|record| record.id);
    }
    Ok(Some(page))
}

/// One page, by looking into frames.
pub(crate) fn query(
    catalog: &Catalog,
    overlay: &Overlay,
    query: &Query,
    progress: &Progress,
) -> Result<Page, Error> {
    let mut source = Source::new(catalog)?;
    let view = overlay.view()?;
    let needs_review = query.filter.needs_review();
    let words = query.filter.words();
    let mut selection = Selection::new(query);
    let mut volumes = catalog.volumes();
    progress.begin(volumes.iter().map(Volume::records).sum());
    sort_by_range(&mut volumes, query.order, |volume| &volume.summary.range);
    let mut left = volumes.iter().peekable();
    while let Some(volume) = left.next() {
        if progress.is_stopped() {
            return Ok(selection.into_page_before([&volume.summary.range]));
        }
        let behind = left.peek().map(|next| &next.summary.range);
        let opened = match selection.wants(&volume.summary.range) {
            true => source.open(volume)?,
            false => None,
        };
        let Some((file, entries)) = opened else {
            progress.advance(volume.records());
            continue;
        };
        let candidates = Candidates::find(&catalog.dir, volume.summary.number, &file, &words)?;
        let is_candidate = |(at, _): &(usize, &Entry)| candidates.may_hold(*at);
        let mut entries: Vec<&Entry> = match candidates.may_be_in(entries.len()) {
            true => {
                let entries = entries.iter().enumerate().filter(is_candidate);
                entries.map(|(_, entry)| entry).collect()
            }
            false => Vec::new(),
        };
        let read: u64 = entries
            .iter()
            .map(|entry| u64::from(entry.contents.records))
            .sum();
        progress.advance(volume.records().saturating_sub(read));
        sort_by_range(&mut entries, query.order, |entry| &entry.contents.range);
        for entry in entries {
            let range = &entry.contents.range;
            if progress.is_stopped() {
                let rest = std::iter::once(range).chain(behind);
                return Ok(selection.into_page_before(rest));
            }
            progress.advance(entry.contents.records.into());
            if !entry.contents.kind.holds_records() || !selection.wants(range) {
                continue;
            }
            let said = view.between(range.record_ids())?;
            if needs_review && said.is_empty() {
                continue;
            }
            let lines = source.lines(&file, entry)?.unwrap_or_default();
            for line in record_lines(entry.contents.records, lines) {
                selection.offer(line, &said)?;
            }
        }
    }
    Ok(selection.into_page())
}

/// The records from a position on.
pub(crate) fn follow(
    catalog: &Catalog,
    overlay: &Overlay,
    from: Position,
    limit: usize,
) -> Result<(Vec<Record>, Position), Error> {
    let view = overlay.view()?;
    let mut records = Vec::new();
    let (mut said, mut of) = (Said::new(), None);
    let behind = walk(catalog, from, limit, |_, line, entry| {
        // Frames of two files may stand at the same place.
        let frame = Some(entry.contents.sequence);
        if of != frame {
            (said, of) = (view.between(entry.contents.range.record_ids())?, frame);
        }
        let mut record = parse(line)?;
        if let Some(later) = said.get(&record.id) {
            later.dress(&mut record);
        }
        records.push(record);
        Ok(())
    })?;
    Ok((records, behind))
}

/// Records, each with its position.
pub(crate) type Placed = Vec<(u64, Record)>;

/// The records from a position on as the journal has them, without their bodies, and with the costs
/// that they were given later.
pub(crate) fn follow_slim(
    catalog: &Catalog,
    overlay: &Overlay,
    from: Position,
    limit: usize,
) -> Result<(Placed, Position), Error> {
    let view = overlay.view()?;
    let (mut records, mut buffer) = (Vec::new(), Vec::new());
    let (mut ratings, mut of) = (Ratings::new(), None);
    let behind = walk(catalog, from, limit, |position, line, entry| {
        let frame = Some(entry.contents.sequence);
        if of != frame {
            (ratings, of) = (view.ratings(entry.contents.range.record_ids())?, frame);
        }
        let mut record = parse_slim(line, &mut buffer)?;
        if let Some(rating) = ratings.get(&record.id) {
            record.rate(&rating.cost, rating.at);
        }
        records.push((position, record));
        Ok(())
    })?;
    Ok((records, behind))
}

/// Shows at most `limit` lines, each with its position and its frame; says where the next one is.
fn walk(
    catalog: &Catalog,
    from: Position,
    limit: usize,
    mut show: impl FnMut(u64, &[u8], &Entry) -> Result<(), Error>,
) -> Result<Position, Error> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut source = Source::new(catalog)?;
    let (mut shown, mut bytes) = (0, 0);
    let mut at = from.count().min(end(catalog).count());
    for volume in catalog.volumes() {
        if volume.summary.chain.sequence <= at {
            continue;
        }
        let Some((file, entries)) = source.open(&volume)? else {
            continue;
        };
        let start = entries.partition_point(|entry| entry.end_sequence() <= at);
        for entry in entries
            .iter()
            .skip(start)
            .filter(|entry| entry.contents.records > 0)
        {
            let lines = source.lines(&file, entry)?.unwrap_or_default();
            // Retention may have dropped what lies between.
            at = at.max(entry.contents.sequence);
            let passed = usize::try_from(at - entry.contents.sequence).unwrap_or(usize::MAX);
            for line in record_lines(entry.contents.records, lines).skip(passed) {
                if shown == limit || bytes >= PAGE_BYTES {
                    return Ok(Position::after(at));
                }
                show(at, line, entry)?;
                at += 1;
                shown += 1;
                bytes += line.len();
            }
            at = entry.end_sequence();
        }
    }
    Ok(Position::after(at))
}

/// The position behind the last record.
pub(crate) fn end(catalog: &Catalog) -> Position {
    Position::after(catalog.newest().map_or(0, |newest| newest.chain.sequence))
}

/// The record of a line without its bodies.
pub(crate) fn parse_slim(line: &[u8], buffer: &mut Vec<u8>) -> Result<Record, Error> {
    let is_slim = slim(line, buffer);
    let mut record = parse(if is_slim { buffer } else { line })?;
    strip_bodies(&mut record);
    Ok(record)
}

fn sort_by_range<T>(items: &mut [T], order: Order, range: impl Fn(&T) -> &Range) {
    match order {
        Order::NewestFirst => items.sort_by(|a, b| range(b).ids[1].cmp(&range(a).ids[1])),
        Order::OldestFirst => items.sort_by(|a, b| range(a).ids[0].cmp(&range(b).ids[0])),
    }
}

/// A file and its frames.
pub(crate) type Opened = (File, Arc<Vec<Entry>>);

/// The frames of a journal's files, as far as they are still there and whole.
pub(crate) struct Source<'a> {
    catalog: &'a Catalog,
    pub(crate) unpacker: Unpacker,
}

impl<'a> Source<'a> {
    pub(crate) fn new(catalog: &'a Catalog) -> Result<Self, Error> {
        Ok(Self {
            catalog,
            unpacker: Unpacker::new()?,
        })
    }

    /// A file and its frames; `None` if retention has removed it meanwhile.
    pub(crate) fn open(&self, volume: &Volume) -> Result<Option<Opened>, Error> {
        let dir = &self.catalog.dir;
        let opened = File::open(journal_path(dir, volume.summary.number))
            .map_err(Error::Io)
            .and_then(|file| Ok((volume.entries(dir, &file)?, file)));
        match opened {
            Ok((entries, file)) => Ok(Some((file, entries))),
            Err(Error::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The lines of a frame; `None` if it is damaged.
    pub(crate) fn lines(&mut self, file: &File, entry: &Entry) -> Result<Option<&[u8]>, Error> {
        match self.unpacker.lines(file, entry) {
            Ok(lines) => Ok(Some(lines)),
            Err(Error::Damaged(what)) => {
                tracing::warn!(
                    what,
                    "a part of the record store is damaged and was passed over"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The best records of a query so far.
struct Selection<'a> {
    query: &'a Query,
    /// Texts that the head of a line must hold.
    literals: Vec<Finder<'a>>,
    /// First and last moment that records can have.
    created: [u64; 2],
    /// Ids that are wanted lie between these two: the cursor, and the best record that had to go.
    above: Option<RecordId>,
    below: Option<RecordId>,
    /// Records and the bytes of their lines.
    found: BTreeMap<RecordId, (Record, usize)>,
    found_bytes: usize,
    has_more: bool,
    needs_bodies: bool,
    slim: Vec<u8>,
}

impl<'a> Selection<'a> {
    fn new(query: &'a Query) -> Self {
        let (first, last) = query.filter.time_range();
        let first = query.since.map_or(first, |since| since.max(first));
        let last = query.until.map_or(last, |until| until.min(last));
        let (above, below) = match query.order {
            Order::NewestFirst => (None, query.after),
            Order::OldestFirst => (query.after, None),
        };
        Self {
            query,
            literals: query
                .filter
                .literals()
                .into_iter()
                .map(Finder::new)
                .collect(),
            created: [first.as_micros(), last.as_micros()],
            above,
            below,
            found: BTreeMap::new(),
            found_bytes: 0,
            has_more: false,
            needs_bodies: query.filter.needs_bodies(),
            slim: Vec::new(),
        }
    }

    /// Whether records of this range can be among the answer.
    fn wants(&self, range: &Range) -> bool {
        range.created[0] <= self.created[1]
            && range.created[1] >= self.created[0]
            && self
                .above
                .is_none_or(|above| range.ids[1] > *above.as_bytes())
            && self
                .below
                .is_none_or(|below| range.ids[0] < *below.as_bytes())
    }

    fn wants_id(&self, id: RecordId) -> bool {
        self.above.is_none_or(|above| id > above)
            && self.below.is_none_or(|below| id < below)
            && !self.found.contains_key(&id)
    }

    /// Takes a line's record in if it is one of the best.
    fn offer(&mut self, line: &[u8], said: &Said) -> Result<(), Error> {
        let id = leading_id(line);
        if id.is_some_and(|id| !self.wants_id(id)) {
            return Ok(());
        }
        let head = head(line);
        let lacks = |literal: &Finder<'_>| literal.find(head).is_none();
        // What was said later may hold what the line does not.
        let is_said = id.is_none_or(|id| said.contains_key(&id));
        if !is_said && self.literals.iter().any(lacks) {
            return Ok(());
        }
        let is_whole = self.needs_bodies || self.query.with_bodies;
        let is_slim = !is_whole && slim(line, &mut self.slim);
        let mut record = parse(if is_slim { &self.slim } else { line })?;
        if let Some(later) = said.get(&record.id) {
            later.dress(&mut record);
        }
        if !self.wants_id(record.id) || !self.query.admits(&record) {
            return Ok(());
        }
        if !self.query.with_bodies {
            strip_bodies(&mut record);
        }
        let bytes = if self.query.with_bodies {
            line.len()
        } else {
            0
        };
        self.found_bytes += bytes;
        self.found.insert(record.id, (record, bytes));
        while self.found.len() > self.query.page_size()
            || (self.found_bytes > PAGE_BYTES && self.found.len() > 1)
        {
            self.drop_worst();
        }
        Ok(())
    }

    /// Drops the record that would come last; from now on only better ones are wanted.
    fn drop_worst(&mut self) {
        let worst = match self.query.order {
            Order::NewestFirst => self.found.pop_first(),
            Order::OldestFirst => self.found.pop_last(),
        };
        let Some((id, (_, bytes))) = worst else {
            return;
        };
        self.found_bytes -= bytes;
        self.has_more = true;
        match self.query.order {
            Order::NewestFirst => self.above = Some(id),
            Order::OldestFirst => self.below = Some(id),
        }
    }

    /// The page, where the search ended before it came to records of these ranges: what may have one
    /// of theirs before it is left to the next page.
    fn into_page_before<'r>(mut self, rest: impl IntoIterator<Item = &'r Range>) -> Page {
        let id = |id: RecordId| u128::from_be_bytes(*id.as_bytes());
        let after = self.query.after.map(id);
        let ids = rest
            .into_iter()
            .map(|range| range.ids.map(u128::from_be_bytes));
        let found = self.found.len();
        let border = match self.query.order {
            Order::NewestFirst => {
                let border = ids
                    .map(|[_, last]| last)
                    .max()
                    .unwrap_or(0)
                    .saturating_add(1);
                let border = after.map_or(border, |after| border.min(after));
                self.found.retain(|one, _| id(*one) >= border);
                border
            }
            Order::OldestFirst => {
                let border = ids.map(|[first, _]| first).min().unwrap_or(u128::MAX);
                let border = border.saturating_sub(1);
                let border = after.map_or(border, |after| border.max(after));
                self.found.retain(|one, _| id(*one) <= border);
                border
            }
        };
        let is_whole = self.found.len() == found;
        let mut page = self.into_page();
        page.next = page.next.filter(|_| is_whole);
        page.next = page
            .next
            .or(Some(RecordId::from_bytes(border.to_be_bytes())));
        page
    }

    fn into_page(self) -> Page {
        let records = self.found.into_values().map(|(record, _)| record);
        let records: Vec<Record> = match self.query.order {
            Order::NewestFirst => records.rev().collect(),
            Order::OldestFirst => records.collect(),
        };
        let next = if self.has_more {
            records.last().map(|record| record.id)
        } else {
            None
        };
        Page { records, next }
    }
}

/// The id that a record's line begins with.
fn leading_id(line: &[u8]) -> Option<RecordId> {
    let text = line.strip_prefix(b"{\"id\":\"")?.get(..36)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}
