//! What the simulator counts, so that a test can see from outside what a client or gateway did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::json::Object;
use crate::route::{Operation, Provider};

const OPERATIONS: usize = Operation::ALL.len();

/// Counters of one simulator, from its start. Shared; reading them disturbs nothing.
#[derive(Debug, Default)]
pub struct Stats {
    surfaces: [[AtomicU64; OPERATIONS]; Provider::ALL.len()],
    other: AtomicU64,
    connections: AtomicU64,
    open_connections: AtomicU64,
    running: AtomicU64,
    aborted: AtomicU64,
    streams: AtomicU64,
    aborted_streams: AtomicU64,
    severed: AtomicU64,
    received_bytes: AtomicU64,
}

impl Stats {
    /// Requests to a provider's surface, to any path under a fault, and to unknown paths; not
    /// those to the simulator's own pages.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let known: u64 = self.surfaces.iter().flatten().map(read).sum();
        known + read(&self.other)
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        read(&self.open_connections)
    }

    /// Requests that have begun and whose answer has not ended.
    #[must_use]
    pub fn running(&self) -> u64 {
        read(&self.running)
    }

    /// Requests whose client left before the answer was handed over; streams among them.
    #[must_use]
    pub fn aborted(&self) -> u64 {
        read(&self.aborted)
    }

    /// Streams whose client left before their end.
    #[must_use]
    pub fn aborted_streams(&self) -> u64 {
        read(&self.aborted_streams)
    }

    pub(crate) fn asked(&self, surface: Option<(Provider, Operation)>) {
        match surface {
            Some((provider, operation)) => {
                add(&self.surfaces[provider as usize][operation as usize], 1);
            }
            None => add(&self.other, 1),
        }
    }

    pub(crate) fn received(&self, bytes: u64) {
        add(&self.received_bytes, bytes);
    }

    /// All counters as JSON, the answer to `GET /sim/stats`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut surfaces = Object::new();
        for provider in Provider::ALL {
            for operation in Operation::ALL {
                let asked = read(&self.surfaces[provider as usize][operation as usize]);
                if asked > 0 {
                    let name = format!("{}.{}", provider.name(), operation.name());
                    surfaces = surfaces.number(&name, asked);
                }
            }
        }
        Object::new()
            .number("requests", self.requests())
            .object("surfaces", surfaces)
            .number("other", read(&self.other))
            .number("running", self.running())
            .number("aborted", self.aborted())
            .number("streams", read(&self.streams))
            .number("aborted_streams", self.aborted_streams())
            .number("severed", read(&self.severed))
            .number("received_bytes", read(&self.received_bytes))
            .number("connections", read(&self.connections))
            .number("open_connections", self.open_connections())
            .build()
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn subtract(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}

/// One connection, as its socket, its answers and its driver share it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) stats: Arc<Stats>,
    /// The socket is to be closed with a reset.
    reset: AtomicBool,
    /// The last write found no room: the peer does not read.
    stalled: AtomicBool,
    closing: Notify,
    close_after: Mutex<Duration>,
}

impl Line {
    pub(crate) fn open(stats: Arc<Stats>) -> Self {
        add(&stats.connections, 1);
        add(&stats.open_connections, 1);
        Self {
            stats,
            reset: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            closing: Notify::new(),
            close_after: Mutex::default(),
        }
    }

    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
    }

    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Asks the driver to close the connection `after` the running answer.
    fn close(&self, after: Duration) {
        *self.close_after.lock() = after;
        self.closing.notify_one();
    }

    /// Waits until the connection is to be closed.
    pub(crate) async fn closing(&self) {
        self.closing.notified().await;
        let after = *self.close_after.lock();
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        subtract(&self.stats.open_connections);
    }
}

/// One request from its head to the last byte of its answer; dropped earlier, it counts as aborted.
#[derive(Debug)]
pub(crate) struct Ticket {
    line: Arc<Line>,
    streams: bool,
    settled: bool,
    close_after: Option<Duration>,
}

impl Ticket {
    pub(crate) fn begin(line: Arc<Line>) -> Self {
        add(&line.stats.running, 1);
        Self {
            line,
            streams: false,
            settled: false,
            close_after: None,
        }
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.line.stats
    }

    pub(crate) fn streams(&mut self) {
        self.streams = true;
        add(&self.line.stats.streams, 1);
    }

    pub(crate) const fn close_after(&mut self, after: Duration) {
        self.close_after = Some(after);
    }

    /// The answer has been handed over in full.
    pub(crate) const fn settle(&mut self) {
        self.settled = true;
    }

    /// The answer was cut on purpose.
    pub(crate) fn sever(&mut self) {
        self.settled = true;
        add(&self.line.stats.severed, 1);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let stats = &self.line.stats;
        subtract(&stats.running);
        if !self.settled {
            add(&stats.aborted, 1);
            if self.streams {
                add(&stats.aborted_streams, 1);
            }
        }
        if let Some(after) = self.close_after {
            self.line.close(after);
        }
    }
}
