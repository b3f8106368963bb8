//! Every role in memory: the reference that other backends are compared with. Keeps everything,
//! scans everything, forgets at exit.

use std::collections::BTreeMap;

use isango_types::{Record, RecordId};
use parking_lot::RwLock;

use crate::logs::{
    Error, Gap, LogReader, LogWriter, MAX_PAGE, Order, Page, Position, Query, strip_bodies,
};

/// Records in memory.
#[derive(Debug, Default)]
pub struct MemoryLogs {
    appended: RwLock<Vec<Record>>,
    gaps: RwLock<Vec<Gap>>,
}

impl MemoryLogs {
    /// The gap markers, in the order of their append.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        self.gaps.read().clone()
    }
}

impl LogWriter for MemoryLogs {
    fn append(&self, batch: &[Record]) -> Result<(), Error> {
        self.appended.write().extend_from_slice(batch);
        Ok(())
    }

    fn append_gap(&self, gap: &Gap) -> Result<(), Error> {
        self.gaps.write().push(gap.clone());
        Ok(())
    }
}

impl LogReader for MemoryLogs {
    fn get(&self, id: RecordId) -> Result<Option<Record>, Error> {
        Ok(self
            .appended
            .read()
            .iter()
            .find(|record| record.id == id)
            .cloned())
    }

    fn query(&self, query: &Query) -> Result<Page, Error> {
        let appended = self.appended.read();
        let found: BTreeMap<RecordId, &Record> = appended
            .iter()
            .filter(|record| query.is_past_cursor(record.id) && query.admits(record))
            .map(|record| (record.id, record))
            .collect();
        let ordered: Vec<&Record> = match query.order {
            Order::NewestFirst => found.into_values().rev().collect(),
            Order::OldestFirst => found.into_values().collect(),
        };
        let more = ordered.len() > query.page_size();
        let mut records: Vec<Record> = ordered
            .into_iter()
            .take(query.page_size())
            .cloned()
            .collect();
        if !query.with_bodies {
            records.iter_mut().for_each(strip_bodies);
        }
        let next = if more {
            records.last().map(|record| record.id)
        } else {
            None
        };
        Ok(Page { records, next })
    }

    fn end(&self) -> Result<Position, Error> {
        Ok(Position::after(self.appended.read().len() as u64))
    }

    fn follow(&self, from: Position, limit: usize) -> Result<(Vec<Record>, Position), Error> {
        let appended = self.appended.read();
        let start = usize::try_from(from.count())
            .unwrap_or(usize::MAX)
            .min(appended.len());
        let end = appended
            .len()
            .min(start.saturating_add(limit.clamp(1, MAX_PAGE)));
        Ok((appended[start..end].to_vec(), Position::after(end as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_conforms() {
        crate::conformance::logs(MemoryLogs::default);
    }

    #[test]
    fn gap_markers_are_kept_in_order() {
        let logs = MemoryLogs::default();
        for dropped in [3, 1] {
            let at = isango_types::Timestamp::from_micros(dropped);
            logs.append_gap(&Gap {
                dropped,
                reason: "queue full".into(),
                at,
            })
            .unwrap();
        }
        assert_eq!(
            logs.gaps()
                .iter()
                .map(|gap| gap.dropped)
                .collect::<Vec<_>>(),
            [3, 1]
        );
    }
}
