//! While the store takes no records, those that wait are packed: a thread of its own makes records
//! of the older drafts, so that the room they took is there for others. It sleeps until much
//! waits, and does nothing while the store is merely busy. What is packed is stored first once the
//! store works again. When the spill is full too, exchanges are dropped and counted, as ever.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use isango_store::logs::LogWriter;

use super::{Batch, MAX_BATCH, Queue, Sink, Spilled, refuse};
use crate::metrics::Observer;
use crate::readings::Readings;

/// How often a queue that is pressed is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Sink {
    /// Whether half of the room is taken, for exchanges or for their bodies.
    pub(super) fn is_pressed(&self, queue: &Queue) -> bool {
        queue.drafts.len() >= self.settings.max_queue / 2 || self.budget.is_half_used()
    }

    /// Packs what waits, as far as that is due, until the sink closes.
    pub(super) fn spill_while_pressed(&self) {
        let (mut observer, mut readings) = (Observer::default(), Readings::default());
        let mut queue = self.queue.lock();
        while !queue.closing {
            queue.is_pressed = !queue.drafts.is_empty() && self.is_pressed(&queue);
            if !queue.is_pressed {
                self.pressed.wait(&mut queue);
                continue;
            }
            let is_stalled = self.is_stalled() || self.is_nearly_full(&queue);
            if !is_stalled || !self.spill.has_room() {
                self.pressed.wait_for(&mut queue, LOOK_EVERY);
                continue;
            }
            let count = queue.drafts.len().min(MAX_BATCH);
            let drafts: Vec<_> = queue.drafts.drain(..count).collect();
            queue.spilling = true;
            drop(queue);
            let seen = (&mut observer, &mut readings);
            let keep = |batch| self.put(batch);
            let packing = AssertUnwindSafe(|| self.write(seen, drafts, Duration::MAX, keep));
            let is_lost = catch_unwind(packing).is_err();
            queue = self.queue.lock();
            queue.spilling = false;
            if is_lost {
                tracing::error!(up_to = count, "records were lost: an error of the gateway");
                self.metrics.records_dropped.inc_by(count as u64);
                queue.dropped += count as u64;
                (observer, readings) = (Observer::default(), Readings::default());
            }
            self.filled.notify_one();
        }
    }

    /// Whether there is hardly room left while the store is at work: at many requests a second that
    /// is before anybody would call it stalled.
    fn is_nearly_full(&self, queue: &Queue) -> bool {
        let is_at_work = self.trouble.lock().writing.is_some();
        is_at_work && queue.drafts.len() >= self.settings.max_queue / 4 * 3
    }

    /// Whether the store fails, or has not answered for a while.
    fn is_stalled(&self) -> bool {
        let trouble = self.trouble.lock();
        let waits = |since: tokio::time::Instant| since.elapsed() >= self.settings.stalled_after;
        trouble.error.is_some() || trouble.writing.is_some_and(waits)
    }

    fn put(&self, batch: Batch) {
        let Batch {
            mut records,
            mut receipts,
            booked,
        } = batch;
        refuse(receipts.drain(..), &mut records);
        let count = records.len();
        let put = self.spill.put(&records);
        drop(records);
        let mut queue = self.queue.lock();
        match put {
            Ok(()) => {
                self.metrics.records_spilled.inc_by(count as u64);
                queue.spilled.push_back(Spilled { count, booked });
            }
            Err(error) => {
                tracing::error!(%error, "records could not be packed while they wait");
                self.metrics.records_dropped.inc_by(count as u64);
                queue.dropped += count as u64;
            }
        }
    }

    /// Stores the oldest batch that is packed; says how many records were lost with it.
    pub(super) fn store_spilled(&self, store: &dyn LogWriter, oldest: Spilled) -> u64 {
        let Spilled { count, booked } = oldest;
        let error = match self.spill.take() {
            Ok(Some(records)) if records.len() == count => {
                let receipts = Vec::new();
                self.store(
                    store,
                    Batch {
                        records,
                        receipts,
                        booked,
                    },
                );
                return 0;
            }
            Ok(_) => None,
            Err(error) => Some(error),
        };
        let why = error.map_or_else(|| "they are gone".into(), |error| error.to_string());
        tracing::error!(why, count, "records that were packed cannot be read again");
        self.metrics.records_dropped.inc_by(count as u64);
        count as u64
    }
}
