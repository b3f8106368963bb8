//! Idle connections to providers, kept for the next request.
//!
//! An HTTP/1 connection is driven by the task of the request that uses it, not by a task of its
//! own: bytes reach the client without a hand-over between tasks, and dropping the answer closes
//! the connection. While idle nobody drives it; it is looked at when it is taken out, and swept
//! now and then.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::uri::Authority;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connect::Stream;
use crate::call::Outgoing;
use crate::waking::Waking;

/// Streams that share one HTTP/2 connection at most. Together with the window sizes it keeps a
/// stalled reader from starving the others (16 × 1 MiB < 32 MiB).
const STREAMS_PER_CONNECTION: usize = 16;

/// Where a connection leads.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) https: bool,
    pub(crate) authority: Authority,
    /// Whether its address was let through although it is private.
    pub(crate) trusted: bool,
}

impl Origin {
    fn key(&self) -> (&str, bool, bool) {
        (self.authority.as_str(), self.https, self.trusted)
    }
}

impl Ord for Origin {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Origin {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Origin {}

type Connection = http1::Connection<TokioIo<Stream>, Outgoing>;

/// One HTTP/1 connection in exclusive use; gives itself back when its answer has ended.
pub(crate) struct Http1 {
    pub(crate) send: http1::SendRequest<Outgoing>,
    /// `None` once it has ended. It is dropped then, which tells a request that it still held that
    /// nobody will send it.
    connection: Option<Pin<Box<Connection>>>,
    waking: Arc<Waking>,
    /// `waking` as the connection and its body see it.
    waker: Waker,
    probe: socket2::Socket,
    failure: Option<hyper::Error>,
    /// Whether it has served a request before this one.
    pub(crate) reused: bool,
    origin: Origin,
    home: Weak<Pool>,
}

impl Http1 {
    /// Reads and writes what is possible now. After the connection ended this does nothing.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(end) = connection.as_mut().poll(cx)
        {
            self.connection = None;
            self.failure = end.err();
        }
    }

    /// Polls `reader`, which waits for something that this connection brings; drives the connection
    /// when it is not there yet.
    ///
    /// Connection and reader tell each other of news by waking the task that both run in. Those
    /// calls are taken in here, where both are polled anyway; only what comes from outside wakes
    /// the task.
    pub(crate) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut reader: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let waker = self.waker.clone();
        let mut inner = Context::from_waker(&waker);
        self.waking.enter(cx.waker());
        for _ in 0..2 {
            if let Poll::Ready(value) = reader(&mut inner) {
                self.waking.leave();
                return Poll::Ready(value);
            }
            self.waking.forget();
            self.drive(&mut inner);
            if let Poll::Ready(value) = reader(&mut inner) {
                self.waking.leave();
                return Poll::Ready(value);
            }
            if !self.waking.leave() {
                return Poll::Pending;
            }
            self.waking.enter(cx.waker());
        }
        // Still news: the task's share of the processor is used up, or there is really more to do.
        self.waking.leave();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Why the connection ended, if it failed; told once.
    pub(crate) fn failure(&mut self) -> Option<hyper::Error> {
        self.failure.take()
    }

    /// Whether the peer has not closed it: a look at the socket itself, since the runtime may not
    /// have heard of a close yet.
    fn is_alive(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        match self.probe.peek(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return false,
            // Something came unasked: over TLS a session ticket or a close, else a protocol error.
            Ok(_) if self.origin.https => self.drive(&mut Context::from_waker(Waker::noop())),
            Ok(_) => return false,
        }
        self.connection.is_some() && !self.send.is_closed()
    }

    /// Whether the peer had closed this connection before our request reached it, so that nobody
    /// has read it and sending it again cannot double it.
    ///
    /// A socket that was closed in good order by the peer (FIN) and then reset because of what we
    /// sent reports a broken pipe; a peer that read the request and then left does not.
    pub(crate) fn was_closed_before(&self) -> bool {
        self.reused
            && matches!(self.probe.take_error(), Ok(Some(error)) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Puts the connection back into its pool if its answer has wholly passed.
    pub(crate) fn give_back(mut self) {
        if !self.send.is_ready() {
            self.drive(&mut Context::from_waker(Waker::noop()));
        }
        if self.connection.is_none() || !self.send.is_ready() {
            return;
        }
        if let Some(home) = self.home.upgrade() {
            // An idle connection keeps no task alive that has ended.
            self.waking.retire();
            self.reused = true;
            home.put(self);
        }
    }
}

/// A share in an HTTP/2 connection.
pub(crate) struct Http2Share {
    pub(crate) send: http2::SendRequest<Outgoing>,
    in_flight: Arc<AtomicUsize>,
}

impl Drop for Http2Share {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Http2Entry {
    send: http2::SendRequest<Outgoing>,
    in_flight: Arc<AtomicUsize>,
    last_used: Instant,
}

#[derive(Default)]
struct Idle {
    http1: Vec<(Http1, Instant)>,
    http2: Vec<Http2Entry>,
}

/// Idle connections by origin.
pub(crate) struct Pool {
    origins: Mutex<BTreeMap<Origin, Idle>>,
    idle_timeout: Duration,
    max_idle: usize,
}

/// A connection out of the pool.
pub(crate) enum Pooled {
    Http1(Http1),
    Http2(Http2Share),
}

/// The same before it was looked at: a connection of HTTP/1 with the moment in which it became
/// idle.
enum Popped {
    Http1(Http1, Instant),
    Http2(Http2Share),
}

impl Pool {
    pub(crate) fn new(idle_timeout: Duration, max_idle: usize) -> Self {
        Self {
            origins: Mutex::default(),
            idle_timeout,
            max_idle,
        }
    }

    /// A live connection to `origin`, the one used last first.
    pub(crate) fn take(&self, origin: &Origin) -> Option<Pooled> {
        loop {
            let (mut connection, since) = match self.pop(origin)? {
                Popped::Http1(connection, since) => (connection, since),
                Popped::Http2(share) => return Some(Pooled::Http2(share)),
            };
            // Outside of the lock: this asks the kernel.
            if since.elapsed() < self.idle_timeout && connection.is_alive() {
                return Some(Pooled::Http1(connection));
            }
        }
    }

    fn pop(&self, origin: &Origin) -> Option<Popped> {
        let mut origins = self.origins.lock();
        let idle = origins.get_mut(origin)?;
        idle.http2.retain(|entry| !entry.send.is_closed());
        for entry in &mut idle.http2 {
            let busy = entry.in_flight.load(Ordering::Acquire);
            if entry.send.is_ready() && busy < STREAMS_PER_CONNECTION {
                entry.last_used = Instant::now();
                return Some(Popped::Http2(entry.share()));
            }
        }
        let (connection, since) = idle.http1.pop()?;
        Some(Popped::Http1(connection, since))
    }

    fn put(&self, connection: Http1) {
        let now = Instant::now();
        let mut origins = self.origins.lock();
        match origins.get_mut(&connection.origin) {
            Some(idle) if idle.http1.len() < self.max_idle => idle.http1.push((connection, now)),
            Some(_) => {}
            None if self.max_idle > 0 => {
                let origin = connection.origin.clone();
                origins
                    .entry(origin)
                    .or_default()
                    .http1
                    .push((connection, now));
            }
            None => {}
        }
    }

    /// Makes a fresh HTTP/1 connection one of this pool's.
    pub(crate) fn adopt_http1(
        self: &Arc<Self>,
        origin: &Origin,
        probe: socket2::Socket,
        (send, connection): (http1::SendRequest<Outgoing>, Connection),
    ) -> Http1 {
        let waking = Arc::new(Waking::default());
        Http1 {
            send,
            connection: Some(Box::pin(connection)),
            waker: Waker::from(Arc::clone(&waking)),
            waking,
            probe,
            failure: None,
            reused: false,
            origin: origin.clone(),
            home: Arc::downgrade(self),
        }
    }

    /// Shares a fresh HTTP/2 connection among requests.
    pub(crate) fn adopt_http2(
        &self,
        origin: &Origin,
        send: http2::SendRequest<Outgoing>,
    ) -> Http2Share {
        let mut entry = Http2Entry {
            send,
            in_flight: Arc::new(AtomicUsize::new(0)),
            last_used: Instant::now(),
        };
        let share = entry.share();
        self.origins
            .lock()
            .entry(origin.clone())
            .or_default()
            .http2
            .push(entry);
        share
    }

    /// Drops what was closed or has been idle for too long. Called every few seconds.
    pub(crate) fn sweep(&self) {
        self.origins.lock().retain(|_, idle| {
            idle.http1.retain_mut(|(connection, since)| {
                since.elapsed() < self.idle_timeout && connection.is_alive()
            });
            idle.http2.retain(|entry| {
                let busy = entry.in_flight.load(Ordering::Acquire) > 0;
                !entry.send.is_closed() && (busy || entry.last_used.elapsed() < self.idle_timeout)
            });
            !idle.http1.is_empty() || !idle.http2.is_empty()
        });
    }

    /// How many connections lie idle.
    pub(crate) fn idle(&self) -> usize {
        self.origins
            .lock()
            .values()
            .map(|idle| idle.http1.len())
            .sum()
    }
}

impl Http2Entry {
    fn share(&mut self) -> Http2Share {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Http2Share {
            send: self.send.clone(),
            in_flight: Arc::clone(&self.in_flight),
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("idle", &self.idle())
            .finish_non_exhaustive()
    }
}

/// Drives `connection` until `answer` is there.
pub(crate) async fn with_connection<F: Future>(connection: &mut Http1, answer: F) -> F::Output {
    let mut answer = std::pin::pin!(answer);
    std::future::poll_fn(|cx| connection.poll_with(cx, |cx| answer.as_mut().poll(cx))).await
}
