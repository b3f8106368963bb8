//! The columns of the store: what is hot, what is sealed, and the work of sealing.
//!
//! They are a projection of the journal, with a position of their own. An append adds to the hot
//! columns in passing; a thread of its own writes ripe ones as a segment, merges small segments,
//! and makes up for what is missing or damaged by reading the journal again. Whatever a part of
//! the journal has no columns, answers say that they are not complete.

mod erase;
mod open;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isango_store::logs::{Error, MAX_PAGE, Position};
use isango_types::{Record, RecordId};
use parking_lot::{Mutex, RwLock};

use crate::catalog::Catalog;
use crate::chunk::Chunk;
use crate::compact;
use crate::disk::Disk;
use crate::dressed::Dressed;
use crate::fields::{Fields, Number};
use crate::gather::{Gather, choose_keys, keys_of, sorted};
use crate::hot::{Hot, SealAt};
use crate::overlay::Overlay;
use crate::query;
use crate::rollup;
use crate::sealed::GROUP_ROWS;
use crate::segment::{self, Segment};

pub(crate) use worker::Worker;

/// While sealing does not keep up, so many times what is sealed at once stays in memory, and no
/// fewer rows than these; what comes then is read from the journal later.
const MAX_HOT: usize = 4;
const MIN_HOT_ROWS: usize = 16_384;

/// Columns on disk and in memory.
#[derive(Debug)]
pub(crate) struct Columns {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Where the sums of segments are.
    rollups: PathBuf,
    catalog: Arc<Catalog>,
    overlay: Arc<Overlay>,
    dressed: Mutex<Arc<Dressed>>,
    seal_at: SealAt,
    state: RwLock<State>,
    /// One at a time changes what is sealed.
    work: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// By position, none over another.
    segments: Vec<Arc<Segment>>,
    hot: Hot,
    /// The position behind the last record that was appended, whether it is hot or not.
    appended: u64,
}

/// What the columns show: the journal, and what was said of its records later.
pub(crate) type Projected = (Arc<Catalog>, Arc<Overlay>);

/// Where a record is.
pub(crate) enum Located {
    /// At this position of the journal.
    At(u64),
    /// There is no such record.
    Nowhere,
    /// The columns do not tell.
    Unknown,
}

/// The columns of a moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) hot: Vec<Arc<Chunk>>,
    /// Records of which something was said later. The other columns show them as they were.
    pub(crate) dressed: Arc<Dressed>,
    /// Records before this position were removed.
    pub(crate) floor: u64,
    /// Whether every record of the journal is in them.
    pub(crate) is_complete: bool,
}

impl Snapshot {
    /// Where the record of an id stands in the journal; `None` if it is not in the columns.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(crate) fn position_of(&self, id: RecordId) -> Result<Option<u64>, Error> {
        let id = u128::from_be_bytes(*id.as_bytes());
        for chunk in &self.hot {
            if let Some(row) = chunk.ids.iter().position(|one| *one == id) {
                return Ok(Some(chunk.number_at(Number::Position, row)));
            }
        }
        for segment in self.segments.iter().rev() {
            for group in (0..segment.groups.len()).filter(|group| segment.may_hold(*group, id)) {
                let fields = Fields::default().id().number(Number::Position);
                let chunk = segment.read(group, &fields, None)?;
                if let Ok(row) = chunk.ids.binary_search(&id) {
                    return Ok(Some(chunk.number_at(Number::Position, row)));
                }
            }
        }
        Ok(None)
    }
}

impl Columns {
    /// Opens the columns of a store that this process writes to. What the journal has beyond them
    /// is read into the hot columns, as far as that takes little time; the rest is left to
    /// [`Columns::work`].
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        projected: Projected,
        seal_at: SealAt,
    ) -> Result<Self, Error> {
        let columns = Self::over(disk, dir, projected, seal_at);
        columns.disk.make_dir(dir)?;
        columns.disk.make_dir(&columns.rollups)?;
        columns.load(true)?;
        columns.remove_orphans()?;
        Ok(columns)
    }

    /// The columns of a store that another process may be writing to; [`Columns::refresh`] reads
    /// them.
    pub(crate) fn beside(disk: Arc<dyn Disk>, dir: &Path, projected: Projected) -> Self {
        Self::over(disk, dir, projected, SealAt::default())
    }

    fn over(disk: Arc<dyn Disk>, dir: &Path, projected: Projected, seal_at: SealAt) -> Self {
        let (catalog, overlay) = projected;
        Self {
            disk,
            dir: dir.to_owned(),
            rollups: dir.with_file_name("rollups"),
            catalog,
            overlay,
            dressed: Mutex::default(),
            seal_at,
            state: RwLock::default(),
            work: Mutex::default(),
        }
    }

    /// Takes in what another process has sealed and appended since.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn refresh(&self) -> Result<(), Error> {
        let _one = self.work.lock();
        self.load(false)
    }

    /// Adds records that the journal has at a position.
    pub(crate) fn append(&self, records: &[Record], position: u64) {
        let mut state = self.state.write();
        state.appended = position + records.len() as u64;
        let most = (MAX_HOT * self.seal_at.rows).max(MIN_HOT_ROWS);
        if state.hot.end != position || state.hot.rows() >= most {
            return;
        }
        let State { segments, hot, .. } = &mut *state;
        let end = position + records.len() as u64;
        hot.append((position..).zip(records), end, |id| is_sealed(segments, id));
    }

    /// Whether there is something for [`Columns::work`] to do.
    pub(crate) fn has_work(&self) -> bool {
        let state = self.state.read();
        state.hot.is_ripe(self.seal_at) || state.hot.end < self.end()
    }

    /// Does what there is to do: seals what is ripe, makes up for what is missing, merges what is
    /// small, and removes what the journal no longer has. Stops early when it is told to.
    ///
    /// # Errors
    /// The disk failed; calling it again can help.
    pub(crate) fn work(&self, stop: &dyn Fn() -> bool) -> Result<(), Error> {
        let _one = self.work.lock();
        self.expire()?;
        while !stop() {
            let sealed = self.seal_ripe()?;
            let caught_up = self.catch_up(u64::MAX)?;
            if !sealed && !caught_up && !self.fill_hole()? && !self.merge()? && !self.roll_again() {
                break;
            }
        }
        self.catalog.measure(self.bytes());
        Ok(())
    }

    /// Bytes of segments and their sums; of what cannot be measured, 0.
    fn bytes(&self) -> u64 {
        let segments = self.state.read().segments.clone();
        let length = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
        let both = |one: &Arc<Segment>| match &one.rollup {
            Some(_) => length(one.path()) + length(&self.rollup_path(one)),
            None => length(one.path()),
        };
        segments.iter().map(both).sum()
    }

    /// Makes all of it again, and seals it.
    ///
    /// # Errors
    /// The disk failed; what is missing then is made in the background.
    pub(crate) fn rebuild(&self) -> Result<(), Error> {
        let _one = self.work.lock();
        let old = {
            let mut state = self.state.write();
            state.hot = Hot::at(self.floor());
            std::mem::take(&mut state.segments)
        };
        for segment in old {
            self.remove(&segment)?;
        }
        while self.catch_up(u64::MAX)? || self.seal_ripe()? {}
        self.seal_with(Hot::freeze_all)?;
        while self.merge()? || self.roll_again() {}
        Ok(())
    }

    fn seal_ripe(&self) -> Result<bool, Error> {
        let is_ripe = self.state.read().hot.is_ripe(self.seal_at);
        if is_ripe {
            self.seal_with(|hot| hot.freeze(self.seal_at))?;
        }
        Ok(is_ripe)
    }

    fn seal_with(
        &self,
        freeze: impl FnOnce(&mut Hot) -> (Vec<Arc<Chunk>>, (u64, u64)),
    ) -> Result<(), Error> {
        let (chunks, stretch) = freeze(&mut self.state.write().hot);
        if chunks.is_empty() {
            return Ok(());
        }
        let segment = self.write(&chunks, stretch)?;
        let mut state = self.state.write();
        state.segments.push(segment);
        state.hot.drop_before(stretch.1);
        Ok(())
    }

    /// Writes chunks as a segment.
    fn write(&self, chunks: &[Arc<Chunk>], stretch: (u64, u64)) -> Result<Arc<Segment>, Error> {
        let places = sorted(chunks);
        let has_more = chunks.iter().any(|chunk| chunk.more.is_some());
        let keys = choose_keys(keys_of(chunks), has_more);
        let mut groups = places.chunks(self.group_rows());
        let segment = segment::write(&*self.disk, &self.dir, stretch, &keys, || {
            let places = groups.next();
            Ok(places.map(|places| Gather::new(chunks.to_vec(), places.to_vec())))
        })?;
        Ok(self.roll(Arc::new(segment)))
    }

    /// Gives a segment its sums, if it is large enough for that to be of use.
    fn roll(&self, segment: Arc<Segment>) -> Arc<Segment> {
        if segment.groups.len() < 2 || segment.rollup.is_some() {
            return segment;
        }
        match rollup::write(&*self.disk, &self.rollup_path(&segment), &segment) {
            Ok(rollup) => Arc::new(segment.with_rollup(rollup)),
            Err(error) => {
                tracing::warn!(%error, "a segment has no sums; its columns are read instead");
                segment
            }
        }
    }

    fn rollup_path(&self, segment: &Segment) -> PathBuf {
        self.rollups.join(segment::name(segment.first, segment.end))
    }

    /// Makes the sums of a segment that has lost them; whether there was one.
    fn roll_again(&self) -> bool {
        let segments = self.state.read().segments.clone();
        let lacks = |one: &&Arc<Segment>| one.rollup.is_none() && one.groups.len() > 1;
        let Some(bare) = segments.iter().find(lacks) else {
            return false;
        };
        let rolled = self.roll(Arc::clone(bare));
        let is_new = rolled.rollup.is_some();
        let mut state = self.state.write();
        if let Some(at) = state.segments.iter().position(|one| Arc::ptr_eq(one, bare)) {
            state.segments[at] = rolled;
        }
        is_new
    }

    fn remove(&self, segment: &Segment) -> Result<(), Error> {
        self.disk.remove(segment.path())?;
        if segment.rollup.is_some() {
            self.disk.remove(&self.rollup_path(segment))?;
        }
        Ok(())
    }

    /// Reads into the hot columns what the journal has beyond them up to a position, as far as there
    /// is room; whether that was anything.
    fn catch_up(&self, until: u64) -> Result<bool, Error> {
        let mut found = false;
        loop {
            let (from, room) = {
                let state = self.state.read();
                (state.hot.end, !state.hot.is_ripe(self.seal_at))
            };
            if !room || from >= self.end().min(until) {
                return Ok(found);
            }
            let most = usize::try_from(until - from).unwrap_or(MAX_PAGE).min(1_000);
            let (records, next) = self.follow(Position::after(from), most)?;
            if records.is_empty() && next.count() <= from {
                return Ok(found);
            }
            let mut state = self.state.write();
            if state.hot.end != from {
                continue;
            }
            let State { segments, hot, .. } = &mut *state;
            let records = records.iter().map(|(position, record)| (*position, record));
            hot.append(records, next.count(), |id| is_sealed(segments, id));
            found = true;
        }
    }

    /// Seals the first part of what lies between segments, or before the hot columns; whether there
    /// was such a thing.
    fn fill_hole(&self) -> Result<bool, Error> {
        let Some((first, end)) = self.holes().first().copied() else {
            return Ok(false);
        };
        let mut hot = Hot::at(first);
        let known = self.state.read().segments.clone();
        self.read(&mut hot, end, self.seal_at.rows, &known)?;
        if hot.end == first {
            return Ok(false);
        }
        // Nothing but what is left of erased records is a segment without rows.
        let (chunks, stretch) = hot.freeze(self.seal_at);
        let segment = self.write(&chunks, stretch)?;
        let mut state = self.state.write();
        state.segments.push(segment);
        state.segments.sort_by_key(|segment| segment.first);
        Ok(true)
    }

    /// Adds rows of the journal up to a position, until there are so many; but for those that are in
    /// one of these segments.
    fn read(
        &self,
        hot: &mut Hot,
        end: u64,
        most: usize,
        known: &[Arc<Segment>],
    ) -> Result<(), Error> {
        while hot.end < end && hot.rows() < most {
            let room = usize::try_from(end - hot.end)
                .unwrap_or(MAX_PAGE)
                .min(1_000);
            let from = Position::after(hot.end);
            let (records, next) = self.follow(from, room)?;
            let next = next.count().min(end);
            if next <= hot.end {
                break;
            }
            let records = records.iter().map(|(position, record)| (*position, record));
            let records = records.take_while(|(position, _)| *position < end);
            hot.append(records, next, |id| is_sealed(known, id));
        }
        Ok(())
    }

    /// Records of the journal as columns show them, each with its position.
    fn follow(&self, from: Position, most: usize) -> Result<(query::Placed, Position), Error> {
        query::follow_slim(&self.catalog, &self.overlay, from, most)
    }

    /// Stretches of the journal that have no columns.
    fn holes(&self) -> Vec<(u64, u64)> {
        let state = self.state.read();
        let mut holes = Vec::new();
        let mut at = self.floor();
        for segment in &state.segments {
            if segment.first > at {
                holes.push((at, segment.first));
            }
            at = at.max(segment.end);
        }
        if state.hot.first > at {
            holes.push((at, state.hot.first));
        }
        holes
    }

    /// Merges neighbors that are small; whether there were enough of them.
    fn merge(&self) -> Result<bool, Error> {
        let segments = self.state.read().segments.clone();
        let Some(small) = compact::choose(&segments) else {
            return Ok(false);
        };
        let small = &segments[small];
        let (Some(first), Some(last)) = (small.first(), small.last()) else {
            return Ok(false);
        };
        let stretch = (first.first, last.end);
        let place = (&*self.disk, &*self.dir);
        let merged = compact::merge(place, small, 0, self.group_rows())?;
        let merged = self.roll(Arc::new(merged));
        {
            let mut state = self.state.write();
            state
                .segments
                .retain(|segment| segment.end <= stretch.0 || stretch.1 <= segment.first);
            state.segments.push(merged);
            state.segments.sort_by_key(|segment| segment.first);
        }
        for segment in small {
            self.remove(segment)?;
        }
        Ok(true)
    }

    /// Removes segments of which the journal has no record any more.
    ///
    /// # Errors
    /// The disk failed.
    fn expire(&self) -> Result<(), Error> {
        let floor = self.floor();
        let old: Vec<_> = {
            let mut state = self.state.write();
            let kept = state
                .segments
                .partition_point(|segment| segment.end <= floor);
            state.segments.drain(..kept).collect()
        };
        for segment in old {
            self.remove(&segment)?;
        }
        self.trim(floor)
    }

    /// Takes the rows of removed records out of the segment that has some of them.
    fn trim(&self, floor: u64) -> Result<(), Error> {
        let first = self.state.read().segments.first().cloned();
        let Some(whole) = first.filter(|one| one.first < floor) else {
            return Ok(());
        };
        let segments = std::slice::from_ref(&whole);
        let place = (&*self.disk, &*self.dir);
        let trimmed = compact::merge(place, segments, floor, self.group_rows())?;
        let trimmed = self.roll(Arc::new(trimmed));
        let mut state = self.state.write();
        if let Some(at) = state
            .segments
            .iter()
            .position(|one| Arc::ptr_eq(one, &whole))
        {
            state.segments[at] = trimmed;
        }
        drop(state);
        self.remove(&whole)
    }

    /// What is sealed early is read in small pieces, too.
    fn group_rows(&self) -> usize {
        self.seal_at.rows.clamp(1, GROUP_ROWS)
    }

    /// The columns as they are now, with what was said of records later.
    ///
    /// # Errors
    /// The overlay, or a record that it speaks of, cannot be read.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut snapshot = self.bare();
        let said = self.overlay.view()?.all()?;
        let mut dressed = self.dressed.lock();
        if *dressed.said() != said {
            *dressed = Arc::new(Dressed::new(said, &snapshot, &self.catalog)?);
        }
        snapshot.dressed = Arc::clone(&dressed);
        if !dressed.is_whole() {
            // What it speaks of has no columns yet.
            *dressed = Arc::default();
        }
        Ok(snapshot)
    }

    /// Where the record of an id is, whatever was said of it later.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(crate) fn locate(&self, id: RecordId) -> Result<Located, Error> {
        let snapshot = self.bare();
        Ok(match snapshot.position_of(id)? {
            Some(position) => Located::At(position),
            None if snapshot.is_complete => Located::Nowhere,
            None => Located::Unknown,
        })
    }

    fn bare(&self) -> Snapshot {
        let holes = self.holes();
        let state = self.state.read();
        Snapshot {
            segments: state.segments.clone(),
            hot: state.hot.chunks(),
            dressed: Arc::default(),
            floor: self.floor(),
            is_complete: holes.is_empty() && state.hot.end >= state.appended,
        }
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The position of the oldest record in the journal.
    fn floor(&self) -> u64 {
        let volumes = self.catalog.volumes();
        volumes.first().map_or(0, |volume| volume.summary.sequence)
    }

    /// The position behind the newest.
    fn end(&self) -> u64 {
        query::end(&self.catalog).count()
    }
}

/// Whether a record is in one of the segments.
fn is_sealed(segments: &[Arc<Segment>], id: u128) -> bool {
    segments.iter().rev().any(|segment| {
        (0..segment.groups.len()).any(|group| {
            segment.may_hold(group, id)
                && segment
                    .read(group, &Fields::default().id(), None)
                    .is_ok_and(|chunk| chunk.ids.binary_search(&id).is_ok())
        })
    })
}
