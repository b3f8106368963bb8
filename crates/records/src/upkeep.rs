//! What is done now and then: files that are too old or too many go, erased records leave the disk,
//! and bodies go where they are kept shorter than records.

use std::collections::BTreeSet;
use std::time::Duration;

use isango_store::logs::{Error, LogWriter as _};
use isango_types::{RecordId, Timestamp};
use serde::Serialize;

use crate::Records;
use crate::catalog::Summary;
use crate::journal::is_too_old;
use crate::rewrite::{Orders, is_slim, rewrite};

/// How long an erased record is looked for: it may still be on its way to the journal.
const LOOKED_FOR: Duration = Duration::from_secs(86_400);

/// What a round of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Upkeep {
    /// Bytes of files that were removed.
    pub freed_bytes: u64,
    /// Files that were rewritten.
    pub rewritten: u64,
    /// Bytes that they lost.
    pub rewritten_bytes: u64,
    /// Records that were erased from the disk.
    pub erased: u64,
}

impl Records {
    /// Removes what [`Options::retain`](crate::Options::retain) no longer keeps at `now`, and what
    /// was erased. Appends see to the limit of bytes themselves; the rest needs this call, once an
    /// hour or so. Appends go on meanwhile, and so do queries.
    ///
    /// # Errors
    /// The disk failed. What was done before stays done; the next call goes on from there.
    pub fn upkeep(&self, now: Timestamp) -> Result<Upkeep, Error> {
        let _alone = self.upkeep.lock();
        let mut done = Upkeep {
            freed_bytes: self.journal.lock().expire(now)?,
            ..Upkeep::default()
        };
        let overlay = self.reader.overlay();
        if done.freed_bytes > 0 {
            self.forget_removed()?;
        }
        let due = overlay.due()?;
        let max_age = self.retain.max_body_age;
        let is_aged = |summary: &Summary| max_age.is_some_and(|age| is_too_old(summary, now, age));
        let concerns = |summary: &Summary| {
            let [first, last] = summary.range.record_ids();
            first <= last && due.range(first..=last).next().is_some()
        };
        let mut journal = self.journal.lock();
        journal.complete_if(|newest| is_aged(newest) || concerns(newest))?;
        drop(journal);
        let mut erased = BTreeSet::new();
        let mut volumes = self.reader.catalog().volumes();
        volumes.pop();
        for volume in volumes {
            let summary = &volume.summary;
            let bodies = is_aged(summary) && !is_slim(&self.reader.catalog().dir, summary.number)?;
            if bodies || concerns(summary) {
                let orders = Orders {
                    erase: &due,
                    bodies,
                    at: now,
                };
                erased.append(&mut self.rewrite(summary, orders, &mut done)?);
            }
        }
        // Also after a round that ended between the two.
        self.reader.columns().renew(&due)?;
        let is_settled = |id: &&RecordId| {
            let horizon = now.minus(LOOKED_FOR).as_micros() / 1_000;
            erased.contains(*id) || id.created_at_millis() < horizon
        };
        let settled: BTreeSet<RecordId> = due.iter().filter(is_settled).copied().collect();
        if !settled.is_empty() {
            overlay.settle(&settled)?;
        }
        if done.rewritten > 0 {
            self.indexer.make_again();
        }
        // Where nobody came to the end of it.
        self.settle_ratings()?;
        // Segments of which nothing is left go.
        self.worker.wake();
        done.erased = erased.len() as u64;
        Ok(done)
    }

    /// Rewrites one file; says which records were erased.
    fn rewrite(
        &self,
        summary: &Summary,
        orders: Orders<'_>,
        done: &mut Upkeep,
    ) -> Result<BTreeSet<RecordId>, Error> {
        let dir = &self.reader.catalog().dir;
        let Some(rewritten) = rewrite(&*self.disk, dir, summary.number, orders)? else {
            return Ok(BTreeSet::new());
        };
        if !self.journal.lock().put_in_place(&rewritten)? {
            drop(self.disk.remove(&rewritten.path));
            return Ok(BTreeSet::new());
        }
        done.rewritten += 1;
        done.rewritten_bytes += summary.bytes.saturating_sub(rewritten.scan.end);
        Ok(rewritten.erased)
    }

    /// Takes out of the overlay what was said of records that are gone.
    fn forget_removed(&self) -> Result<(), Error> {
        let volumes = self.reader.catalog().volumes();
        let firsts = volumes
            .iter()
            .map(|volume| volume.summary.range.record_ids()[0]);
        match firsts.min() {
            Some(first) => self.reader.overlay().forget_before(first),
            None => Ok(()),
        }
    }
}
