//! The columns of what is not sealed yet. The writer appends once the journal has the records;
//! readers take the chunks as they are, which full ones stay for good.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use isango_types::Record;

use crate::builder::Builder;
use crate::chunk::Chunk;

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
    ids: HashSet<u128>,
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
        self.rows() >= at.rows || bytes + self.open_bytes >= at.bytes || self.spans_days()
    }

    fn spans_days(&self) -> bool {
        let oldest = self
            .full
            .first()
            .map_or(self.open.chunk(), |full| &full.chunk);
        let [first, _] = oldest.created_range();
        let [_, last] = self.open.chunk().created_range();
        first / DAY_MICROS < last / DAY_MICROS && self.rows() > CHUNK_ROWS
    }

    /// What is to be sealed: all that is here, and the positions that it covers.
    pub(crate) fn freeze(&mut self) -> (Vec<Arc<Chunk>>, (u64, u64)) {
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
        self.first = self.first.max(position.min(self.end));
    }
}
