use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};

use http::Request;
use isango_store::later::{Deletion, Patch};
use isango_store::logs::Error;
use isango_store::memory::{MemoryCheckpoint, MemoryLogs, MemoryPledges};
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
}

/// How many records were stored, and the gaps that were marked, where two of four exchanges found
/// the queue full, and so many attempts to mark that failed.
fn stored_and_gaps(failures: usize) -> (usize, Vec<u64>) {
    let (asked, is_asked) = channel();
    let (go, may) = channel();
    let store = Arc::new(Failing {
        logs: MemoryLogs::default(),
        asked: Mutex::new(asked),
        may: Mutex::new(may),
        failures: AtomicUsize::new(failures),
    });
    let settings = Settings {
        max_queue: 1,
        flush_window: Duration::ZERO,
        ..Settings::default()
    };
    let metrics = Arc::new(Metrics::new(&mut Registry::default()));
    let kept: Kept = (
        Arc::clone(&store) as _,
        Arc::new(MemoryPledges::default()),
        Arc::new(MemoryCheckpoint::default()),
    );
    let (sink, thread) = Sink::start(settings, Clock::system(), metrics, kept).unwrap();
    let prices = Arc::new(PriceTable::default());
    let none = Snapshot::new(Vec::new(), Vec::new(), prices, None, Vec::new());
    let config = Arc::new(none);
    let ends = || {
        drop(Exchange::begin(
            &sink,
            Arc::clone(&config),
            &Request::new(()),
        ))
    };
    ends();
    is_asked.recv().unwrap();
    (0..3).for_each(|_| ends());
    drop(go);
    sink.close();
    thread.join().unwrap();
    let gaps = store.logs.gaps().into_iter().map(|gap| gap.dropped);
    let stored = sink.metrics().records_written.get();
    (usize::try_from(stored).unwrap(), gaps.collect())
}

#[test]
fn a_gap_that_cannot_be_marked_is_marked_later() {
    assert_eq!(stored_and_gaps(0), (2, vec![2]));
    assert_eq!(stored_and_gaps(1), (2, vec![2]));
    // Nor does a store that always fails keep the thread from its end.
    assert_eq!(stored_and_gaps(usize::MAX), (2, vec![]));
}
