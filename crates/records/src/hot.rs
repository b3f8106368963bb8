//! The columns of what is not sealed yet. The writer appends once the journal has the records;
//! readers take the chunks as they are, which full ones stay for good.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use isango_types::Record;

use crate::builder::Builder;
use crate::chunk::Chunk;
use crate::hash;

/// Rows of a full chunk.
const CHUNK_ROWS: usize = 4_096;
const DAY_MICROS: u64 = 86_400_000_000;

/// When columns that are in memory are written as a segment: at whichever comes first, and with the
/// day (UTC) if they are more than a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealAt {
    /// With so many rows, each of which takes some 200 bytes of memory.
    pub rows: usize,
    /// With so many bytes of bodies, which must be read again after a restart.
    pub bytes: u64,
}

impl Default for SealAt {
    fn default() -> Self {
        Self {
            rows: 65_536,
            bytes: 256 << 20,
        }
    }
}

/// Columns of the newest records.
#[derive(Debug, Default)]
pub(crate) struct Hot {
    /// The positions that they cover.
    pub(crate) first: u64,
    pub(crate) end: u64,
    full: Vec<Full>,
    open: Builder,
    open_bytes: u64,
    /// A record can be appended twice.
    ids: HashSet<u128, hash::Ids>,
    /// The first and the last day (UTC) of what was appended since something was sealed.
    days: Option<[u64; 2]>,
}

#[derive(Debug)]
struct Full {
    chunk: Arc<Chunk>,
    /// The position behind its records.
    end: u64,
    bytes: u64,
}

impl Hot {
    /// None, from a position on.
    pub(crate) fn at(position: u64) -> Self {
        Self {
            first: position,
            end: position,
            ..Self::default()
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn holds_any(&self, ids: &BTreeSet<u128>) -> bool {
        ids.iter().any(|id| self.ids.contains(id))
    }

    /// Adds records that stand in the journal from [`Hot::end`] on, each with its position, up to
    /// `end`; but for those that are known (here, or by `is_sealed`), and what is left of erased
    /// ones.
    pub(crate) fn append<'r>(
        &mut self,
        records: impl Iterator<Item = (u64, &'r Record)>,
        end: u64,
        is_sealed: impl Fn(u128) -> bool,
    ) {
        for (position, record) in records {
            let id = u128::from_be_bytes(*record.id.as_bytes());
            self.end = position + 1;
            if record.is_erased() || is_sealed(id) || !self.ids.insert(id) {
                continue;
            }
            self.open.push(record, position);
            let day = record.created_at.as_micros() / DAY_MICROS;
            let [first, last] = self.days.unwrap_or([day; 2]);
            self.days = Some([first.min(day), last.max(day)]);
            self.open_bytes += record.body_bytes() as u64;
            if self.open.chunk().rows == CHUNK_ROWS {
                self.fill();
            }
        }
        self.end = end;
        self.open.finish();
    }

    /// Ends the open chunk.
    fn fill(&mut self) {
        self.open.finish();
        self.full.push(Full {
            chunk: self.open.take(),
            end: self.end,
            bytes: std::mem::take(&mut self.open_bytes),
        });
    }

    /// The chunks as they are now.
    pub(crate) fn chunks(&self) -> Vec<Arc<Chunk>> {
        let full = self.full.iter().map(|full| &full.chunk);
        let all = full.chain([self.open.chunk()]);
        all.filter(|chunk| chunk.rows > 0).cloned().collect()
    }

    /// Whether it is time to seal.
    pub(crate) fn is_ripe(&self, at: SealAt) -> bool {
        let bytes: u64 = self.full.iter().map(|full| full.bytes).sum();
        let spans_days = self.days.is_some_and(|[first, last]| first < last);
        self.rows() >= at.rows
            || bytes + self.open_bytes >= at.bytes
            || (spans_days && self.rows() > CHUNK_ROWS)
    }

    /// What is to be sealed, and the positions that it covers: as many full chunks as make the rows
    /// that are sealed at once, or else all that is here.
    pub(crate) fn freeze(&mut self, at: SealAt) -> (Vec<Arc<Chunk>>, (u64, u64)) {
        if let Some(last) = at
            .rows
            .checked_div(CHUNK_ROWS)
            .and_then(|n| n.checked_sub(1))
            && let Some(full) = self.full.get(last)
        {
            let chunks = self.full[..=last].iter();
            let chunks = chunks.map(|full| Arc::clone(&full.chunk));
            return (chunks.collect(), (self.first, full.end));
        }
        self.freeze_all()
    }

    /// The same of all that is here.
    pub(crate) fn freeze_all(&mut self) -> (Vec<Arc<Chunk>>, (u64, u64)) {
        if self.open.chunk().rows > 0 {
            self.fill();
        }
        if let Some(last) = self.full.last_mut() {
            last.end = self.end;
        }
        let chunks = self.full.iter().map(|full| Arc::clone(&full.chunk));
        (chunks.collect(), (self.first, self.end))
    }

    /// Drops what lies before a position at which [`Hot::freeze`] ended, and is sealed now.
    pub(crate) fn drop_before(&mut self, position: u64) {
        let sealed = self.full.partition_point(|full| full.end <= position);
        for full in self.full.drain(..sealed) {
            for id in &full.chunk.ids {
                self.ids.remove(id);
            }
        }
        self.ids.shrink_to(2 * self.ids.len());
        self.days = None;
        for chunk in self.chunks() {
            let [first, last] = chunk.created_range().map(|micros| micros / DAY_MICROS);
            let [oldest, newest] = self.days.unwrap_or([first, last]);
            self.days = Some([oldest.min(first), newest.max(last)]);
        }
        self.first = self.first.max(position.min(self.end));
    }
}

#[cfg(test)]
mod tests {
    use isango_store::conformance::sample;
    use isango_types::Timestamp;

    use super::*;

    fn hot(rows: u64) -> Hot {
        let records: Vec<Record> = (0..rows).map(sample::record).collect();
        let mut hot = Hot::at(0);
        hot.append((0..).zip(&records), rows, |_| false);
        hot
    }

    fn check(rows: u64, at: usize, sealed: u64) {
        let at = SealAt {
            rows: at,
            ..SealAt::default()
        };
        let mut hot = hot(rows);
        let (chunks, stretch) = hot.freeze(at);
        assert_eq!(stretch, (0, sealed));
        assert_eq!(
            chunks.iter().map(|chunk| chunk.rows as u64).sum::<u64>(),
            sealed
        );
        hot.drop_before(sealed);
        assert_eq!(hot.rows() as u64, rows - sealed);
    }

    #[test]
    fn what_is_sealed_by_rows_is_full_chunks_and_no_few_rows_more() {
        check(8_300, 8_192, 8_192);
        check(8_192, 8_192, 8_192);
        check(4_500, 4_096, 4_096);
    }

    #[test]
    fn what_is_sealed_for_another_reason_is_all() {
        check(4_500, 65_536, 4_500);
        check(20, 8, 20);
    }

    #[test]
    fn it_is_ripe_by_rows_and_with_the_day_once_there_are_enough() {
        let at = SealAt::default();
        assert!(!hot(20).is_ripe(at));
        assert!(hot(20).is_ripe(SealAt { rows: 20, ..at }));
        let mut days = hot(4_097);
        assert!(!days.is_ripe(at));
        let mut next = sample::record(5_000);
        next.created_at = Timestamp::from_micros(next.created_at.as_micros() + DAY_MICROS);
        days.append(std::iter::once((4_097, &next)), 4_098, |_| false);
        assert!(days.is_ripe(at));
        days.drop_before(4_096);
        assert!(!days.is_ripe(at), "few rows wait for more");
    }
}
