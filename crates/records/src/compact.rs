//! Merges small segments into large ones, so that ten million records are some ten files.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use isango_store::logs::Error;

use crate::chunk::Chunk;
use crate::disk::Disk;
use crate::fields::{Fields, Number};
use crate::gather::{Gather, Place, choose_keys};
use crate::segment::{self, Segment};

/// A segment with so many rows is merged no more.
const LARGE_ROWS: usize = 524_288;
/// Most rows of a merged segment.
const MAX_ROWS: usize = 1_048_576;
/// So many neighbors are merged.
const MIN_SEGMENTS: usize = 16;

/// Which of the segments, which are in order, are to be merged: neighbors that are small.
pub(crate) fn choose(segments: &[Arc<Segment>]) -> Option<Range<usize>> {
    let (mut start, mut rows) = (0, 0);
    for (at, segment) in segments.iter().enumerate() {
        let is_next = at > start && segments[at - 1].end == segment.first;
        if !is_next || rows + segment.rows > MAX_ROWS || segment.rows >= LARGE_ROWS {
            (start, rows) = (at, 0);
        }
        if segment.rows >= LARGE_ROWS {
            start = at + 1;
            continue;
        }
        rows += segment.rows;
        if at + 1 - start >= MIN_SEGMENTS || (rows >= LARGE_ROWS && at > start) {
            return Some(start..at + 1);
        }
    }
    None
}

/// Writes one segment with the rows of all of these, which are neighbors, from a position on.
pub(crate) fn merge(
    (disk, dir): (&dyn Disk, &Path),
    segments: &[Arc<Segment>],
    floor: u64,
    group_rows: usize,
) -> Result<Segment, Error> {
    let first = segments
        .first()
        .map_or(0, |segment| segment.first)
        .max(floor);
    let end = segments.last().map_or(0, |segment| segment.end);
    let has_more = segments.iter().any(|segment| segment.has_more());
    let keys = choose_keys(segments.iter().flat_map(|segment| segment.keys()), has_more);
    let mut rows = Rows::new(segments, floor);
    segment::write(disk, dir, (first, end), &keys, || {
        let (chunks, places) = rows.next(group_rows)?;
        Ok((!places.is_empty()).then(|| Gather::new(chunks, places)))
    })
}

/// The rows of several segments in the order of their ids. Row groups are read when their first
/// row is next, and let go with their last: few of them are in memory at once.
struct Rows {
    /// Not read yet, by their first id.
    waiting: VecDeque<(u128, Arc<Segment>, usize)>,
    open: Vec<(Arc<Chunk>, usize)>,
    /// Rows of records before this position are passed over.
    floor: u64,
}

impl Rows {
    fn new(segments: &[Arc<Segment>], floor: u64) -> Self {
        let groups = segments.iter().flat_map(|segment| {
            let groups = segment.groups.iter().enumerate();
            groups.map(|(at, group)| (group.ids[0], Arc::clone(segment), at))
        });
        let mut waiting: Vec<_> = groups.collect();
        waiting.sort_by_key(|(first, _, _)| *first);
        Self {
            waiting: waiting.into(),
            open: Vec::new(),
            floor,
        }
    }

    /// The next rows: chunks, and places in them.
    fn next(&mut self, count: usize) -> Result<(Vec<Arc<Chunk>>, Vec<Place>), Error> {
        let mut chunks: Vec<Arc<Chunk>> =
            self.open.iter().map(|(one, _)| Arc::clone(one)).collect();
        // Where each open chunk stands among those that are returned.
        let mut slots: Vec<u32> = (0..).take(chunks.len()).collect();
        let mut places = Vec::with_capacity(count);
        while places.len() < count {
            let heads = self.open.iter().map(|(chunk, row)| chunk.ids[*row]);
            let best = heads.enumerate().min_by_key(|(_, id)| *id);
            let next = self.waiting.front().map(|(first, _, _)| *first);
            if let Some(first) = next
                && best.is_none_or(|(_, id)| first <= id)
                && let Some((_, segment, group)) = self.waiting.pop_front()
            {
                let chunk = Arc::new(segment.read(group, &Fields::all(), None)?);
                slots.push(u32::try_from(chunks.len()).unwrap_or(u32::MAX));
                chunks.push(Arc::clone(&chunk));
                self.open.push((chunk, 0));
                continue;
            }
            let Some((at, _)) = best else { break };
            let (chunk, row) = &mut self.open[at];
            if chunk.number_at(Number::Position, *row) >= self.floor {
                places.push((slots[at], u32::try_from(*row).unwrap_or(u32::MAX)));
            }
            *row += 1;
            if *row == chunk.rows {
                self.open.swap_remove(at);
                slots.swap_remove(at);
            }
        }
        Ok((chunks, places))
    }
}
