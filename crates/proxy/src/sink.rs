//! Takes drafts off the request's path: a bounded queue, one thread that makes records of them,
//! counts them and hands them to the store in batches. While the store takes none, a second thread
//! packs what waits (`spilling`).

mod spilling;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use isango_store::checkpoint::CheckpointStore;
use isango_store::logs::{Error, Gap, LogWriter};
use isango_store::pledges::PledgeStore;
use isango_store::spill::Spill;
use isango_types::record::{Message, Omitted};
use isango_types::{Clock, Record};
use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use crate::capture::{Budget, Capture};
use crate::exchange::Draft;
use crate::hold::Receipt;
use crate::limit::{Booked, Limits, Pledges};
use crate::metrics::{Metrics, Observer};
use crate::readings::Readings;
use crate::resolve::Route;
use crate::settle::{settle, settle_without_bodies};
use crate::thin::Thin;

/// Bounds and rhythm of the queue between requests and the store.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long records gather before they are written together.
    pub flush_window: Duration,
    /// Exchanges that may wait; beyond it they are dropped and counted.
    pub max_queue: usize,
    /// Memory for the bodies of exchanges in flight and waiting, in bytes; beyond it bodies are
    /// stored in part.
    pub max_body_bytes: usize,
    /// A write that takes longer than this is a disk that has stalled.
    pub stalled_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flush_window: Duration::from_millis(20),
            max_queue: 16_384,
            max_body_bytes: 256 << 20,
            stalled_after: Duration::from_secs(2),
        }
    }
}

/// How many records one write holds at most.
const MAX_BATCH: usize = 2_048;
/// How many bytes of bodies one write holds at most, but for those of its last record.
const MAX_BATCH_BYTES: usize = 16 << 20;
/// How often an operator is told of a store that keeps failing.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// How long a failed store is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where records go, what requests under way hold of limits, what was drawn from them, and where
/// records wait that the store does not take.
pub(crate) type Kept = (
    Arc<dyn LogWriter>,
    Arc<dyn PledgeStore>,
    Arc<dyn CheckpointStore>,
    Arc<dyn Spill>,
);

#[derive(Default)]
struct Queue {
    #[expect(
        clippy::vec_box,
        reason = "a draft moves by pointer from the request to the thread"
    )]
    drafts: Vec<Box<Draft>>,
    dropped: u64,
    /// Somebody waits for a record.
    is_urgent: bool,
    closing: bool,
    /// So much waits that it is to be packed, if the store takes none.
    is_pressed: bool,
    /// What is packed, the oldest first.
    spilled: VecDeque<Spilled>,
    /// More is being packed.
    spilling: bool,
}

/// Records of a batch, who waits for them, and what they drew.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    receipts: Receipts,
    booked: Booked,
}

/// A batch that is packed.
struct Spilled {
    count: usize,
    booked: Booked,
}

/// Who waits for records of a batch, each with its place in it.
type Receipts = Vec<(usize, Receipt)>;

/// What keeps records from being stored.
#[derive(Debug, Default)]
struct Trouble {
    /// What the store said last, if it failed.
    error: Option<Box<str>>,
    /// When the write under way began.
    writing: Option<Instant>,
}

/// The queue's inner end, where exchanges end.
pub(crate) struct Sink {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// Told when the queue is pressed.
    pressed: Condvar,
    spill: Arc<dyn Spill>,
    budget: Arc<Budget>,
    settings: Settings,
    clock: Clock,
    metrics: Arc<Metrics>,
    cutting: AtomicBool,
    limits: Arc<Limits>,
    refusals: Thin,
    trouble: Mutex<Trouble>,
    full: Mutex<Full>,
}

/// Gateways, by account and id, of which no more records are kept.
pub(crate) type Full = BTreeSet<(Box<str>, Box<str>)>;

impl Sink {
    /// A sink and the thread that empties it into `store`, which has another one to help it.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(
        settings: Settings,
        clock: Clock,
        metrics: Arc<Metrics>,
        (store, pledges, checkpoint, spill): Kept,
    ) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let sink = Arc::new(Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            pressed: Condvar::new(),
            spill,
            budget: Arc::new(Budget::new(settings.max_body_bytes)),
            settings,
            clock,
            metrics,
            cutting: AtomicBool::new(false),
            limits: Arc::new(Limits::noting(Arc::new(Pledges::new(pledges))).saving(checkpoint)),
            refusals: Thin::default(),
            trouble: Mutex::default(),
            full: Mutex::default(),
        });
        let worker = Arc::clone(&sink);
        let thread = std::thread::Builder::new()
            .name("records".into())
            .spawn(move || {
                std::thread::scope(|scope| {
                    let spill = || worker.spill_while_pressed();
                    let helper = std::thread::Builder::new().name("records-spill".into());
                    if let Err(error) = helper.spawn_scoped(scope, spill) {
                        tracing::error!(%error, "records are not spilled while the disk stalls");
                    }
                    worker.run(&*store);
                });
            })?;
        Ok((sink, thread))
    }

    /// A sink beside this one, for an exchange that is only rehearsed: what it draws and tells goes no
    /// further.
    pub(crate) fn aside(&self) -> Arc<Self> {
        let trouble = Trouble {
            error: self.trouble().map(Into::into),
            writing: None,
        };
        Arc::new(Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            pressed: Condvar::new(),
            spill: Arc::clone(&self.spill),
            budget: Arc::new(Budget::new(0)),
            settings: self.settings,
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
            cutting: AtomicBool::new(false),
            limits: Arc::new(self.limits.aside()),
            refusals: Thin::default(),
            trouble: Mutex::new(trouble),
            full: Mutex::default(),
        })
    }

    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How long it takes at most, while the store works, until what has ended is stored.
    pub(crate) fn settles_within(&self) -> Duration {
        2 * self.settings.flush_window + Duration::from_secs(1)
    }

    /// What exchanges draw from limits; most of it is settled here.
    pub(crate) const fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// From now on, answers that end early do so because the gateway stops.
    pub(crate) fn cut(&self) {
        self.cutting.store(true, Ordering::Release);
    }

    /// Whether the gateway is cutting what outlasted its grace.
    pub(crate) fn is_cutting(&self) -> bool {
        self.cutting.load(Ordering::Acquire)
    }

    /// Whether a request that nobody let in leaves a record, and how many before it left none.
    pub(crate) fn records_refusal(&self) -> Option<u64> {
        let recorded = self.refusals.take();
        if recorded.is_none() {
            self.metrics.records_thinned.inc();
        }
        recorded
    }

    /// A copy for one body.
    pub(crate) fn capture(&self, limit: usize) -> Capture {
        Capture::new(Arc::clone(&self.budget), limit)
    }

    /// Takes an exchange that has ended. Never waits.
    pub(crate) fn push(&self, draft: Box<Draft>) {
        let mut queue = self.queue.lock();
        if !draft.outlives_its_client {
            self.metrics.in_flight.dec();
        }
        // What leaves no record takes no room from what does.
        if draft.is_thinned && queue.drafts.len() >= self.settings.max_queue / 2 {
            return;
        }
        if queue.drafts.len() >= self.settings.max_queue {
            queue.dropped += 1;
            self.metrics.records_dropped.inc();
            return;
        }
        let is_urgent = draft.receipt.is_some();
        queue.is_urgent |= is_urgent;
        queue.drafts.push(draft);
        if !queue.is_pressed && self.is_pressed(&queue) {
            queue.is_pressed = true;
            self.pressed.notify_one();
        }
        // The thread wakes once for a batch, not for each record.
        if queue.drafts.len() == 1 || is_urgent {
            self.filled.notify_one();
        }
    }

    /// Writes what is left and ends the thread. Later exchanges are still taken until it has
    /// ended, and written if they come in time.
    pub(crate) fn close(&self) {
        self.queue.lock().closing = true;
        self.filled.notify_one();
        self.pressed.notify_one();
    }

    fn run(&self, store: &dyn LogWriter) {
        let (mut observer, mut readings) = (Observer::default(), Readings::default());
        // Dropped, and not marked yet.
        let mut unmarked = 0;
        loop {
            let mut queue = self.queue.lock();
            while queue.drafts.is_empty()
                && queue.dropped == 0
                && queue.spilled.is_empty()
                && (!queue.closing || queue.spilling)
            {
                if unmarked == 0 {
                    self.filled.wait(&mut queue);
                } else if self.filled.wait_for(&mut queue, RETRY_AFTER).timed_out() {
                    break;
                }
            }
            if let Some(oldest) = queue.spilled.pop_front() {
                drop(queue);
                let count = oldest.count as u64;
                let storing = AssertUnwindSafe(|| self.store_spilled(store, oldest));
                unmarked += catch_unwind(storing).unwrap_or_else(|_panic| {
                    self.metrics.records_dropped.inc_by(count);
                    tracing::error!(count, "records were lost: an error of the gateway");
                    count
                });
                continue;
            }
            if !queue.closing && !queue.is_urgent {
                // From the end of the first on: what came while others were written has waited.
                let waited = queue.drafts.first().map(|first| first.ended().elapsed());
                let rest = self
                    .settings
                    .flush_window
                    .saturating_sub(waited.unwrap_or_default());
                self.filled.wait_for(&mut queue, rest);
            }
            queue.is_urgent = false;
            let drafts = std::mem::take(&mut queue.drafts);
            let mut dropped = unmarked + std::mem::take(&mut queue.dropped);
            let closing = queue.closing && !queue.spilling && queue.spilled.is_empty();
            drop(queue);
            if drafts.is_empty() && dropped == 0 && closing {
                return;
            }
            let count = drafts.len();
            let seen = (&mut observer, &mut readings);
            let keep = |batch| self.store(store, batch);
            let patience = self.settings.flush_window;
            let writing = AssertUnwindSafe(|| self.write(seen, drafts, patience, keep));
            if catch_unwind(writing).is_err() {
                // The thread serves all that come; what it failed on is told and counted.
                self.metrics.records_dropped.inc_by(count as u64);
                tracing::error!(up_to = count, "records were lost: an error of the gateway");
                dropped += count as u64;
                observer = Observer::default();
            }
            let is_told = dropped == unmarked;
            unmarked = dropped;
            if dropped > 0 && self.mark_gap(store, dropped, is_told) {
                unmarked = 0;
            }
            if closing && count == 0 {
                return;
            }
        }
    }

    /// Makes records of drafts, and gives them on in batches, each of which gathers so long at most.
    #[expect(clippy::vec_box, reason = "the queue's own shape")]
    fn write(
        &self,
        (observer, readings): (&mut Observer, &mut Readings),
        drafts: Vec<Box<Draft>>,
        patience: Duration,
        mut keep: impl FnMut(Batch),
    ) {
        let mut batch = Batch::default();
        batch.records.reserve(drafts.len().min(MAX_BATCH));
        let mut bytes = 0;
        let mut begun = Instant::now();
        for mut draft in drafts {
            let collected = draft.is_collected() && !self.is_full(&draft);
            let known = draft.route.is_some();
            let record = record_of(&mut draft, readings);
            // Unpacked, where they were packed on their way.
            bytes += record.body_bytes();
            observer.observe(&self.metrics, &record, known);
            let pledge = draft.pledge.take();
            let receipt = draft.receipt.take();
            let drew = record.limits.iter().any(|one| one.charged > 0);
            let at = batch.records.len();
            if let (true, Some(route)) = (drew, &draft.route) {
                let gateway = Arc::clone(&route.gateway);
                batch.booked.gateways.push((at, gateway));
            }
            if collected || drew {
                batch.receipts.extend(receipt.map(|receipt| (at, receipt)));
            } else if let Some(receipt) = receipt {
                // There is nothing to wait for.
                receipt.send(true).ok();
            }
            if collected {
                batch.records.push(record);
                batch.booked.pledges.extend(pledge);
            } else if drew {
                batch.records.push(ledger_only(record));
                batch.booked.pledges.extend(pledge);
            } else if let Some(pledge) = pledge {
                pledge.void();
            }
            // The first of a batch does not wait longer for the last than for its beginning.
            let late = begun.elapsed() >= patience;
            if batch.records.len() == MAX_BATCH || bytes >= MAX_BATCH_BYTES || late {
                keep(std::mem::take(&mut batch));
                (bytes, begun) = (0, Instant::now());
            }
        }
        if !batch.records.is_empty() {
            keep(batch);
        }
    }

    /// From now on, no more records of these gateways are kept, and of all others.
    pub(crate) fn keep_none_of(&self, full: Full) {
        *self.full.lock() = full;
    }

    fn is_full(&self, draft: &Draft) -> bool {
        let full = self.full.lock();
        let is_one = |route: &Arc<Route>| {
            let gateway = &route.gateway;
            full.iter()
                .any(|(account, id)| *account == gateway.account && *id == gateway.id)
        };
        !full.is_empty() && draft.route.as_ref().is_some_and(is_one)
    }

    /// What keeps records from being stored, in words; `None`: nothing does.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        let stalled = trouble.writing.map(|since| since.elapsed());
        let why = match (
            &trouble.error,
            stalled.filter(|time| *time >= self.settings.stalled_after),
        ) {
            (Some(error), _) => error.to_string(),
            (None, Some(time)) => format!("the disk has not answered for {} s", time.as_secs()),
            (None, None) => return None,
        };
        drop(trouble);
        let (waiting, dropped) = self.backlog();
        Some(format!(
            "records cannot be stored: {why}; {waiting} wait, {dropped} were dropped"
        ))
    }

    /// One try to store a batch.
    fn append(
        &self,
        store: &dyn LogWriter,
        batch: &[Record],
        booked: &mut Booked,
    ) -> Result<(), Error> {
        self.trouble.lock().writing = Some(Instant::now());
        let append = |batch: &[Record]| store.append(batch);
        let stored = self.limits.store(batch, booked, self.clock.now(), append);
        *self.trouble.lock() = Trouble {
            error: stored.as_ref().err().map(|error| error.to_string().into()),
            writing: None,
        };
        stored
    }

    /// Tells those who wait for records that were stored whether these are on disk.
    fn acknowledge(&self, store: &dyn LogWriter, receipts: Receipts) {
        if receipts.is_empty() {
            return;
        }
        self.trouble.lock().writing = Some(Instant::now());
        let synced = store.sync();
        self.trouble.lock().writing = None;
        if let Err(error) = &synced {
            self.metrics.record_errors.inc();
            tracing::error!(%error, waiting = receipts.len(), "records are not on disk: their answers are cut");
        }
        for (_, receipt) in receipts {
            // Who has left waits no more.
            receipt.send(synced.is_ok()).ok();
        }
    }

    /// Stores a batch, and gives back the pledges of its exchanges; without their records they go on
    /// counting. A store that fails is tried again until it works or the sink closes. Meanwhile the
    /// queue fills, and then drops with a count.
    fn store(&self, store: &dyn LogWriter, batch: Batch) {
        let Batch {
            records: mut batch,
            mut receipts,
            mut booked,
        } = batch;
        let batch = &mut batch;
        let mut told: Option<Instant> = None;
        loop {
            match self.append(store, batch, &mut booked) {
                Ok(()) => {
                    self.metrics.records_written.inc_by(batch.len() as u64);
                    self.acknowledge(store, receipts);
                    if told.is_some() {
                        tracing::info!("records are stored again");
                    }
                    return;
                }
                Err(error) => {
                    self.metrics.record_errors.inc();
                    refuse(receipts.drain(..), batch);
                    if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                        let (waiting, dropped) = self.backlog();
                        tracing::error!(%error, waiting, dropped, "records cannot be stored");
                        told = Some(Instant::now());
                    }
                }
            }
            let mut queue = self.queue.lock();
            if !queue.closing {
                self.filled.wait_for(&mut queue, RETRY_AFTER);
            }
            if queue.closing {
                drop(queue);
                if self.append(store, batch, &mut booked).is_ok() {
                    self.metrics.records_written.inc_by(batch.len() as u64);
                } else {
                    let lost = batch.len() as u64;
                    self.metrics.records_dropped.inc_by(lost);
                    tracing::error!(lost, "records were lost: the store failed until the end");
                }
                return;
            }
        }
    }

    /// Exchanges that wait, packed or not, and those that were dropped since the last gap marker.
    fn backlog(&self) -> (usize, u64) {
        let queue = self.queue.lock();
        let spilled: usize = queue.spilled.iter().map(|batch| batch.count).sum();
        (queue.drafts.len() + spilled, queue.dropped)
    }

    /// Marks in the journal that records were dropped; whether it could be. `is_told`: it was tried
    /// before, and the operator knows.
    fn mark_gap(&self, store: &dyn LogWriter, dropped: u64, is_told: bool) -> bool {
        let reason = "the queue of records was full";
        if !is_told {
            tracing::error!(dropped, reason, "records were dropped");
        }
        let gap = Gap {
            dropped,
            reason: reason.into(),
            at: self.clock.now(),
        };
        let Err(error) = store.append_gap(&gap) else {
            return true;
        };
        self.metrics.record_errors.inc();
        if !is_told {
            tracing::error!(%error, "the gap could not be marked in the journal");
        }
        false
    }
}

/// What is kept of an exchange that leaves no record but drew from a limit, so that the counter can
/// be rebuilt: who drew how much, and nothing of what was said.
fn ledger_only(mut record: Record) -> Record {
    let empty = |message: &mut Message| {
        *message = Message {
            bytes: message.bytes,
            omitted: Some(Omitted::PayloadOff),
            ..Message::default()
        }
    };
    empty(&mut record.request);
    empty(&mut record.response);
    record.path = "".into();
    record.user_agent = None;
    record.metadata.clear();
    record.notes = vec!["kept for the counters of limits: no record was asked for".into()];
    record
}

/// Tells those who wait for records that these are not stored in time.
fn refuse(receipts: impl Iterator<Item = (usize, Receipt)>, records: &mut [Record]) {
    for (at, receipt) in receipts {
        if receipt.send(false).is_ok() {
            let note = "its client was not given the end: the record could not be stored in time";
            records[at].notes.push(note.into());
        }
    }
}

/// The record of a draft. A body that the readers fail on costs itself, not the record and not the
/// thread that all records need.
fn record_of(draft: &mut Draft, readings: &mut Readings) -> Record {
    let settled = catch_unwind(AssertUnwindSafe(|| settle(draft, readings)));
    settled.unwrap_or_else(|_panic| {
        tracing::error!(id = %draft.id, "the bodies of an exchange could not be read");
        settle_without_bodies(draft)
    })
}

#[cfg(test)]
mod tests;
