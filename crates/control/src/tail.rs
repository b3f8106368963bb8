//! Requests as they are stored, for whoever watches (server-sent events).
//!
//! [`Tails::observe`] is called by the thread that stores records, and does little there: a filter, a
//! row of JSON, a queue with room or without. What a watcher does not take in time is left out, and
//! so is what comes faster than an eye can follow; it is told of how many rows one is sent.

mod pace;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use isango_store::Filter;
use isango_store::row::Row;
use isango_types::{Clock, Record, Timestamp};
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, Interval, Sleep, interval_at, sleep};

use self::pace::Pace;
use crate::Control;
use crate::auth::Caller;
use crate::error::{Failure, FailureBody};
use crate::params::Params;
use crate::requests::scope::Scope;

/// Watchers at most.
const MAX_WATCHERS: usize = 32;
/// Events that wait for a watcher at most.
const QUEUE: usize = 256;
/// How often a silent connection is shown to be alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a watcher may watch before it has to ask again, with what it is then allowed.
const LONGEST: Duration = Duration::from_secs(300);
/// How the stream begins: after how many milliseconds a browser asks again.
const HELLO: &str = "retry: 250\n\n";

/// Everybody who watches.
#[derive(Debug)]
pub struct Tails {
    clock: Clock,
    watchers: Mutex<Watchers>,
    /// How many there are: nobody pays for a lock while there are none.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Watchers {
    all: Vec<Watcher>,
    next: u64,
    is_closed: bool,
}

#[derive(Debug)]
struct Watcher {
    id: u64,
    filter: Filter,
    pace: Pace,
    events: Sender<Bytes>,
    /// Of how many rows one is sent, as it was told.
    told: u32,
    /// When it ends, whether or not it is read.
    ends_at: Timestamp,
}

impl Watchers {
    /// Forgets those whose time is over: their streams end once they are read.
    fn end(&mut self, now: Timestamp) {
        self.all.retain(|watcher| now < watcher.ends_at);
    }
}

impl Tails {
    /// Nobody watches.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            watchers: Mutex::default(),
            count: AtomicUsize::new(0),
        }
    }

    /// Shows records that were stored to those who watch.
    pub fn observe(&self, batch: &[Record]) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let now = self.clock.now();
        let mut watchers = self.watchers.lock();
        watchers.end(now);
        self.count.store(watchers.all.len(), Ordering::Relaxed);
        for watcher in &mut watchers.all {
            watcher.pace.turn(now);
            batch.iter().for_each(|record| watcher.see(record));
        }
    }

    /// Ends every tail; nobody can watch any more.
    pub(crate) fn close(&self) {
        let mut watchers = self.watchers.lock();
        watchers.is_closed = true;
        watchers.all.clear();
        self.count.store(0, Ordering::Relaxed);
    }

    /// Watches; `None` if there are too many who do.
    fn watch(self: &Arc<Self>, filter: Filter) -> Option<Watching> {
        let (events, receiver) = mpsc::channel(QUEUE);
        let now = self.clock.now();
        let mut watchers = self.watchers.lock();
        watchers.end(now);
        if watchers.all.len() >= MAX_WATCHERS || watchers.is_closed {
            return None;
        }
        let id = watchers.next;
        watchers.next += 1;
        watchers.all.push(Watcher {
            id,
            filter,
            pace: Pace::default(),
            events,
            told: 1,
            ends_at: now.plus(LONGEST),
        });
        self.count.store(watchers.all.len(), Ordering::Relaxed);
        Some(Watching {
            tails: Arc::clone(self),
            id,
            hello: Some(Bytes::from_static(HELLO.as_bytes())),
            events: receiver,
            heartbeat: interval_at(Instant::now() + HEARTBEAT, HEARTBEAT),
            end: Box::pin(sleep(LONGEST)),
        })
    }
}

impl Watcher {
    fn see(&mut self, record: &Record) {
        // To look into bodies is the dear part of it: then one of so many is looked at, else sent.
        let looks_inside = self.filter.needs_bodies();
        if looks_inside && !self.pace.takes(bytes(record)) {
            return;
        }
        if !self.filter.matches(record) || (!looks_inside && !self.pace.takes(0)) {
            return;
        }
        let one_in = self.pace.one_in();
        if one_in != self.told {
            let told = self
                .events
                .try_send(format!("event: sampled\ndata: {one_in}\n\n").into());
            if told.is_ok() {
                self.told = one_in;
            }
        }
        let Ok(row) = serde_json::to_string(&Row::of(record)) else {
            return;
        };
        let event = format!("id: {}\nevent: record\ndata: {row}\n\n", record.id);
        match self.events.try_send(event.into()) {
            Ok(()) => self.pace.sent(),
            Err(_full_or_gone) => self.pace.refused(),
        }
    }
}

fn bytes(record: &Record) -> u64 {
    record.request.bytes.saturating_add(record.response.bytes)
}

/// What a watcher is sent.
struct Watching {
    tails: Arc<Tails>,
    id: u64,
    hello: Option<Bytes>,
    events: Receiver<Bytes>,
    heartbeat: Interval,
    end: Pin<Box<Sleep>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watchers = self.tails.watchers.lock();
        watchers.all.retain(|watcher| watcher.id != self.id);
        self.tails
            .count
            .store(watchers.all.len(), Ordering::Relaxed);
    }
}

impl HttpBody for Watching {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        if let Some(hello) = self.hello.take() {
            return frame(hello);
        }
        // First: where there is always another event, it would never be asked.
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        match self.events.poll_recv(context) {
            Poll::Ready(Some(event)) => return frame(event),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        match self.heartbeat.poll_tick(context) {
            Poll::Ready(_tick) => frame(Bytes::from_static(b":\n\n")),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Watch requests
///
/// Server-sent events: `record` with a row for every request that is stored from now on, and
/// `sampled` with a number: of so many rows one is sent from here. A comment every 15 seconds shows
/// that the connection stands; after five minutes it ends, and is to be opened again.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/tail", tag = "requests",
    params(("account_id" = String, Path, description = "The account."),
        ("gateway" = Option<String>, Query, description = "One gateway; without it all."),
        ("filter" = Option<String>, Query, description = "In the language of `isango logs`.")),
    responses((status = 200, description = "Events, until one side ends them."),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn tail(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let params = Params::read(&query.unwrap_or_default(), &["gateway", "filter"])?;
    let what = (params.get("gateway"), params.get("filter"));
    let scope = Scope::new(&control, &caller, &account, what)?;
    let watching = control.tails.watch(scope.filter);
    let watching = watching.ok_or_else(|| Failure::busy("as many as may be watch already"))?;
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        // A proxy before it must not gather events.
        (
            axum::http::HeaderName::from_static("x-accel-buffering"),
            "no",
        ),
    ];
    Ok((headers, Body::new(watching)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use isango_store::conformance::sample;

    fn tails() -> (Arc<Tails>, Clock) {
        let clock = Clock::manual(Timestamp::from_micros(1_795_363_200_000_000));
        (Arc::new(Tails::new(clock.clone())), clock)
    }

    /// The events that wait, without the hello.
    fn waiting(watching: &mut Watching) -> Vec<String> {
        let events = std::iter::from_fn(|| watching.events.try_recv().ok());
        let events = events.map(|event| String::from_utf8(event.to_vec()).unwrap());
        events.collect()
    }

    #[tokio::test]
    async fn who_does_not_read_is_left_behind_and_told_so() {
        let (tails, clock) = tails();
        let mut slow = tails.watch(Filter::default()).unwrap();
        let batch: Vec<Record> = (0..5_000).map(sample::record).collect();
        for second in 0..60 {
            clock.set(clock.now().plus(Duration::from_secs(1 + second / 50)));
            tails.observe(&batch);
        }
        let events = waiting(&mut slow);
        assert_eq!(events.len(), QUEUE, "it waits for nobody and keeps no more");
        assert!(events[0].contains("event: record"));
        // Once there is room again, the watcher learns of how many it sees one.
        tails.observe(&batch);
        let told = waiting(&mut slow);
        let one_in = told[0].strip_prefix("event: sampled\ndata: ").unwrap();
        assert!(one_in.trim_end().parse::<u32>().unwrap() > 64, "{one_in}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tail_ends_in_its_time_however_much_there_is_to_see() {
        let (tails, _clock) = tails();
        let mut watching = tails.watch(Filter::default()).unwrap();
        let batch: Vec<Record> = (0..10).map(sample::record).collect();
        tails.observe(&batch);
        let mut frame = async || {
            let next = std::future::poll_fn(|cx| Pin::new(&mut watching).poll_frame(cx));
            next.await.map(|frame| frame.unwrap().into_data().unwrap())
        };
        assert_eq!(frame().await.unwrap(), HELLO);
        assert!(frame().await.is_some());
        tokio::time::advance(LONGEST).await;
        assert_eq!(frame().await, None);
    }

    #[tokio::test]
    async fn who_never_reads_holds_no_place_longer_than_others() {
        let (tails, clock) = tails();
        let stalled: Vec<Watching> = (0..MAX_WATCHERS)
            .map(|_| tails.watch(Filter::default()).unwrap())
            .collect();
        assert!(tails.watch(Filter::default()).is_none());
        clock.set(clock.now().plus(LONGEST));
        let watching = tails.watch(Filter::default()).unwrap();
        assert_eq!(tails.count.load(Ordering::Relaxed), 1);
        drop(stalled);
        assert_eq!(tails.count.load(Ordering::Relaxed), 1);
        clock.set(clock.now().plus(LONGEST));
        tails.observe(&[sample::record(1)]);
        assert_eq!(tails.count.load(Ordering::Relaxed), 0);
        drop(watching);
    }

    #[tokio::test]
    async fn who_watches_is_known_while_it_does() {
        let (tails, _clock) = tails();
        let one = tails.watch(Filter::default()).unwrap();
        let two = tails.watch(Filter::default()).unwrap();
        drop(one);
        assert_eq!(tails.count.load(Ordering::Relaxed), 1);
        tails.close();
        assert!(tails.watch(Filter::default()).is_none());
        drop(two);
        assert_eq!(tails.count.load(Ordering::Relaxed), 0);
    }
}
