use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};

use http::Request;
use isango_store::later::{Deletion, Patch, Rating};
use isango_store::logs::Error;
use isango_store::memory::{MemoryCheckpoint, MemoryLogs, MemoryPledges, MemorySpill};
use isango_types::price::PriceTable;
use isango_types::{RecordId, Snapshot};
use prometheus_client::registry::Registry;

use super::*;
use crate::exchange::Exchange;

/// A store that says when it is asked to append, waits until it may, and fails to mark gaps for
/// some times.
struct Failing {
    logs: MemoryLogs,
    asked: Mutex<Sender<()>>,
    may: Mutex<Receiver<()>>,
    failures: AtomicUsize,
}

impl LogWriter for Failing {
    fn append(&self, batch: &[Record]) -> Result<(), Error> {
        self.asked.lock().send(()).ok();
        self.may.lock().recv().ok();
        self.logs.append(batch)
    }

    fn sync(&self) -> Result<(), Error> {
        self.logs.sync()
    }

    fn append_gap(&self, gap: &Gap) -> Result<(), Error> {
        let left = |left: usize| left.checked_sub(1);
        match self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
        {
            Ok(_failing) => Err(Error::Io(io::Error::other("the disk is full"))),
            Err(_works) => self.logs.append_gap(gap),
        }
    }

    fn patch(&self, id: RecordId, patch: &Patch) -> Result<bool, Error> {
        self.logs.patch(id, patch)
    }

    fn delete(&self, ids: &[RecordId], how: Deletion) -> Result<u64, Error> {
        self.logs.delete(ids, how)
    }

    fn restore(&self, ids: &[RecordId]) -> Result<u64, Error> {
        self.logs.restore(ids)
    }

    fn rate(&self, ratings: &[(RecordId, Rating)]) -> Result<u64, Error> {
        self.logs.rate(ratings)
    }

    fn settle_ratings(&self) -> Result<(), Error> {
        self.logs.settle_ratings()
    }
}

/// A spill that says when something was put.
struct Told {
    spill: MemorySpill,
    told: Mutex<Sender<()>>,
}

impl Spill for Told {
    fn has_room(&self) -> bool {
        self.spill.has_room()
    }

    fn bytes(&self) -> u64 {
        self.spill.bytes()
    }

    fn put(&self, batch: &[Record]) -> Result<(), Error> {
        let put = self.spill.put(batch);
        self.told.lock().send(()).ok();
        put
    }

    fn take(&self) -> Result<Option<Vec<Record>>, Error> {
        self.spill.take()
    }
}

/// A sink over a store that takes nothing until it may.
struct Stalled {
    sink: Arc<Sink>,
    thread: JoinHandle<()>,
    store: Arc<Failing>,
    config: Arc<Snapshot>,
    /// Told when the store is asked.
    is_asked: Receiver<()>,
    /// Told when something is spilled.
    is_told: Receiver<()>,
    spill: Arc<Told>,
    go: Sender<()>,
}

impl Stalled {
    fn new(settings: Settings, failures: usize, spill_bytes: u64) -> Self {
        let (asked, is_asked) = channel();
        let (go, may) = channel();
        let (told, is_told) = channel();
        let store = Arc::new(Failing {
            logs: MemoryLogs::default(),
            asked: Mutex::new(asked),
            may: Mutex::new(may),
            failures: AtomicUsize::new(failures),
        });
        let spill = Arc::new(Told {
            spill: MemorySpill::new(spill_bytes),
            told: Mutex::new(told),
        });
        let settings = Settings {
            flush_window: Duration::ZERO,
            ..settings
        };
        let metrics = Arc::new(Metrics::new(&mut Registry::default()));
        let kept: Kept = (
            Arc::clone(&store) as _,
            Arc::new(MemoryPledges::default()),
            Arc::new(MemoryCheckpoint::default()),
            Arc::clone(&spill) as _,
        );
        let (sink, thread) = Sink::start(settings, Clock::system(), metrics, kept).unwrap();
        let prices = Arc::new(PriceTable::default());
        let none = Snapshot::new(Vec::new(), Vec::new(), prices, None, Vec::new());
        Self {
            sink,
            thread,
            store,
            config: Arc::new(none),
            is_asked,
            is_told,
            spill,
            go,
        }
    }

    /// So many exchanges end.
    fn end(&self, count: usize) {
        for _ in 0..count {
            let config = Arc::clone(&self.config);
            drop(Exchange::begin(&self.sink, config, &Request::new(())));
        }
    }

    /// Lets the store work, and closes the sink; how many records were stored, and the gaps that
    /// were marked.
    fn finish(self) -> (usize, Vec<u64>) {
        drop(self.go);
        self.sink.close();
        self.thread.join().unwrap();
        let gaps = self.store.logs.gaps();
        let stored = self.sink.metrics().records_written.get();
        let gaps = gaps.into_iter().map(|gap| gap.dropped);
        (usize::try_from(stored).unwrap(), gaps.collect())
    }
}

/// The same where two of four exchanges found the queue full, and so many attempts to mark that
/// failed.
fn stored_and_gaps(failures: usize) -> (usize, Vec<u64>) {
    let settings = Settings {
        max_queue: 1,
        ..Settings::default()
    };
    let stalled = Stalled::new(settings, failures, 0);
    stalled.end(1);
    stalled.is_asked.recv().unwrap();
    stalled.end(3);
    stalled.finish()
}

#[test]
fn a_gap_that_cannot_be_marked_is_marked_later() {
    assert_eq!(stored_and_gaps(0), (2, vec![2]));
    assert_eq!(stored_and_gaps(1), (2, vec![2]));
    // Nor does a store that always fails keep the thread from its end.
    assert_eq!(stored_and_gaps(usize::MAX), (2, vec![]));
}

#[test]
fn a_disk_that_stalls_costs_bounded_memory_and_no_record_that_fits() {
    const QUEUE: usize = 64;
    const SPILL: u64 = 2 << 20;
    let settings = Settings {
        max_queue: QUEUE,
        stalled_after: Duration::ZERO,
        ..Settings::default()
    };
    let stalled = Stalled::new(settings, 0, SPILL);
    stalled.end(1);
    stalled.is_asked.recv().unwrap();
    let mut ended = 1;
    while stalled.spill.has_room() {
        // The queue is half full, and so what is in it is packed.
        stalled.end(QUEUE / 2);
        ended += QUEUE / 2;
        stalled.is_told.recv().unwrap();
        assert!(stalled.spill.bytes() < SPILL + 64 * 1_024, "one batch more");
    }
    // Ten minutes with six of them a second.
    assert!(ended > 3_600, "{ended}");
    while stalled.sink.queue.lock().spilling {
        std::thread::yield_now();
    }
    // Now the queue fills, and then they are dropped.
    stalled.end(QUEUE + 36);
    let trouble = stalled.sink.trouble().unwrap();
    let waiting = ended - 1 + QUEUE;
    assert!(
        trouble.ends_with(&format!("; {waiting} wait, 36 were dropped")),
        "{trouble}"
    );
    let spilled = stalled.sink.metrics().records_spilled.get();
    assert_eq!(usize::try_from(spilled).unwrap(), ended - 1);
    let spill = Arc::clone(&stalled.spill);
    assert_eq!(stalled.finish(), (ended + QUEUE, vec![36]));
    assert_eq!(spill.bytes(), 0);
}

/// A store that is slow, and a queue of eight.
fn merely_slow() -> Stalled {
    let settings = Settings {
        max_queue: 8,
        stalled_after: Duration::from_secs(3_600),
        ..Settings::default()
    };
    let stalled = Stalled::new(settings, 0, 1 << 20);
    stalled.end(1);
    stalled.is_asked.recv().unwrap();
    stalled
}

#[test]
fn while_the_store_is_merely_slow_and_there_is_room_nothing_is_packed() {
    let slow = merely_slow();
    slow.end(5);
    assert_eq!(slow.sink.trouble(), None);
    let sink = Arc::clone(&slow.sink);
    assert_eq!(slow.finish(), (1 + 5, vec![]));
    assert_eq!(sink.metrics().records_spilled.get(), 0);
}

#[test]
fn where_there_is_hardly_room_left_what_waits_is_packed_however_soon() {
    let slow = merely_slow();
    slow.end(6);
    slow.is_told.recv().unwrap();
    slow.end(5);
    assert_eq!(slow.finish(), (1 + 6 + 5, vec![]));
}
