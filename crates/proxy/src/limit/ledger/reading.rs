//! Reads the records that counters are made of: all of the windows under way, or what follows the
//! checkpoint.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use isango_store::logs::{Error, LogReader, MAX_PAGE, Order, Query};
use isango_types::{Gateway, Limit, Record, RecordId, Snapshot, Timestamp};

use super::super::time::Present;
use super::checkpoint::{Checkpoint, Saved};
use super::counted;

/// How long before it drew a request may have begun, its body and its turn included.
const SLACK: Duration = Duration::from_secs(3_600);

/// Since when a limit is counted, and what its buckets had drawn.
pub(super) type Covered<'s> = (Timestamp, &'s [Saved]);

/// Where counters are read from.
pub(super) struct Reading<'r> {
    pub(super) config: &'r Snapshot,
    pub(super) reader: &'r dyn LogReader,
    /// What need not be read again; `None`: all must.
    pub(super) checkpoint: Option<&'r Checkpoint>,
    pub(super) time: Present,
}

impl Reading<'_> {
    /// Every limit whose counters outlive the process, and what the checkpoint has of it.
    pub(super) fn limits(
        &self,
    ) -> impl Iterator<Item = (&Arc<Gateway>, &Arc<Limit>, Option<Covered<'_>>)> {
        self.config.gateways().flat_map(move |gateway| {
            counted(gateway).map(move |limit| {
                let saved = self.checkpoint.and_then(|one| one.of(gateway, limit));
                (gateway, limit, saved)
            })
        })
    }

    /// Shows every record since the beginning of the windows under way of limits that the
    /// checkpoint does not have.
    pub(super) fn whole(&self, mut see: impl FnMut(&Record)) -> Result<(), Error> {
        let unknown = self.limits().filter(|(_, _, saved)| saved.is_none());
        let begins = unknown.map(|(_, limit, _)| limit.window.around(self.time.now).0.minus(SLACK));
        let Some(since) = begins.min() else {
            return Ok(());
        };
        let mut query = Query {
            order: Order::OldestFirst,
            limit: MAX_PAGE,
            since: Some(since),
            // A deletion gives nothing back.
            with_deleted: true,
            ..Query::default()
        };
        loop {
            let page = self.reader.query(&query)?;
            page.records.iter().for_each(&mut see);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Shows every record behind the checkpoint, once.
    pub(super) fn rest(&self, mut see: impl FnMut(&Record)) -> Result<(), Error> {
        let Some(checkpoint) = self.checkpoint else {
            return Ok(());
        };
        let mut latest = Latest::default();
        // A store that lost its end, or was made anew, has other records there.
        let mut at = checkpoint.position.min(self.reader.end()?);
        loop {
            let (records, next) = self.reader.follow(at, MAX_PAGE)?;
            let new = records.iter().filter(|record| latest.is_new(record.id));
            new.for_each(&mut see);
            if next <= at {
                return Ok(());
            }
            at = next;
        }
    }
}

/// Ids that were seen lately: a record that was appended again follows its first copy soon.
#[derive(Default)]
struct Latest {
    ids: HashSet<RecordId>,
    order: VecDeque<RecordId>,
}

impl Latest {
    fn is_new(&mut self, id: RecordId) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_PAGE
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// When the oldest record that there still is was made.
pub(super) fn oldest(reader: &dyn LogReader) -> Result<Option<Timestamp>, Error> {
    let query = Query {
        order: Order::OldestFirst,
        limit: 1,
        with_deleted: true,
        ..Query::default()
    };
    let page = reader.query(&query)?;
    Ok(page.records.first().map(|record| record.created_at))
}
