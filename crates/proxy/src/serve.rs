//! Serves one client connection: HTTP/1.1 or HTTP/2, with bounds on how long a head may take and
//! how long a connection may lie idle.

use std::convert::Infallible;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_rustls::server::TlsStream;

use crate::call::Upload;
use crate::{Proxy, pipeline};

/// Bounds on client connections.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long the head of a request may take from its first byte to its last; `None`: as long
    /// as it likes.
    pub header_timeout: Option<Duration>,
    /// How long a connection may lie idle between requests; `None`: as long as it likes.
    pub idle_timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Some(Duration::from_secs(120)),
        }
    }
}

/// How often a connection is looked at, by the tightest of its bounds.
const SHORTEST_STEP: Duration = Duration::from_millis(5);
const LONGEST_STEP: Duration = Duration::from_secs(30);

/// How long the rest of a request that was answered already is read, in microseconds; looked at
/// once a step.
const LINGER_US: u64 = 5_000_000;

/// What a connection is doing, as seen by its guard.
#[derive(Debug)]
struct State {
    born: Instant,
    /// Requests whose answers have not ended.
    busy: AtomicUsize,
    /// When the head under way began, in microseconds since `born`, plus 1; 0: no head is under
    /// way.
    head_since: AtomicU64,
    /// When the last request ended, in microseconds since `born`.
    idle_since: AtomicU64,
    protocol: Protocol,
    /// An answer broke off whose end is the end of the connection.
    cut: AtomicBool,
    /// The last request was answered before all of it was read.
    unread: AtomicBool,
}

impl State {
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX - 1)
    }

    /// Whether a head is under way.
    fn awaits_head(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) > 0
    }

    /// Whether the connection has outstayed one of its bounds.
    fn is_overdue(&self, settings: &Settings) -> bool {
        if self.busy.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let (since, bound) = match self.head_since.load(Ordering::Relaxed).checked_sub(1) {
            Some(since) => (since, settings.header_timeout),
            None => (
                self.idle_since.load(Ordering::Relaxed),
                settings.idle_timeout,
            ),
        };
        let age = Duration::from_micros(self.now().saturating_sub(since));
        bound.is_some_and(|bound| age >= bound)
    }
}

/// A request under way; the connection counts as busy until it is dropped.
#[derive(Debug)]
pub(crate) struct Activity(Arc<State>);

impl Activity {
    fn begin(state: &Arc<State>) -> Self {
        state.busy.fetch_add(1, Ordering::Relaxed);
        state.head_since.store(0, Ordering::Relaxed);
        state.unread.store(false, Ordering::Relaxed);
        Self(Arc::clone(state))
    }

    /// An answer broke off whose end is the end of the connection.
    pub(crate) fn cut(&self) {
        self.0.cut.store(true, Ordering::Relaxed);
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the body of a request tells that it was dropped before its end.
#[derive(Debug)]
pub(crate) struct Unread(Arc<State>);

impl Unread {
    pub(crate) fn tell(&self) {
        self.0.unread.store(true, Ordering::Relaxed);
    }
}

/// The socket of a client, encrypted or not.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The socket itself.
    fn socket(&self) -> SockRef<'_>;
}

impl Connection for TcpStream {
    fn socket(&self) -> SockRef<'_> {
        self.into()
    }
}

impl Connection for TlsStream<TcpStream> {
    fn socket(&self) -> SockRef<'_> {
        self.get_ref().0.into()
    }
}

/// Notes when bytes of a new head begin to arrive, and takes only heads whose lines end as they
/// must.
struct Watched<I: Connection> {
    io: I,
    state: Arc<State>,
    lines: Lines,
    /// When this side was closed, in microseconds since the connection's birth.
    closed: Option<u64>,
}

/// The lines of a head as far as they have come.
///
/// hyper takes a bare LF for the end of a line, as it may (RFC 9112 section 2.2); another server
/// before the gateway may not, and would see another request.
#[derive(Debug, Default)]
struct Lines {
    /// Bytes since the last LF.
    length: usize,
    last: u8,
    /// A line that is not empty has come.
    begun: bool,
    ended: bool,
}

impl Lines {
    /// Reads on; whether a line ends with a bare LF.
    fn has_bare_lf(&mut self, bytes: &[u8]) -> bool {
        let mut from = 0;
        for lf in memchr::memchr_iter(b'\n', bytes) {
            if self.ended {
                return false;
            }
            let before = if lf > 0 { bytes[lf - 1] } else { self.last };
            if before != b'\r' {
                return true;
            }
            let is_empty = self.length + (lf - from) == 1;
            self.ended = is_empty && self.begun;
            self.begun |= !is_empty;
            self.length = 0;
            from = lf + 1;
        }
        self.length += bytes.len() - from;
        self.last = bytes.last().copied().unwrap_or(self.last);
        false
    }
}

impl<I: Connection> Drop for Watched<I> {
    /// In HTTP/1.0 an answer ends with its connection; only a reset tells that it broke off.
    fn drop(&mut self) {
        if self.state.cut.load(Ordering::Relaxed) {
            let _closed_already = self.io.socket().set_linger(Some(Duration::ZERO));
        }
    }
}

impl<I: Connection> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        let state = &this.state;
        let came = &buf.filled()[before..];
        let is_head = state.protocol == Protocol::Http1 && state.busy.load(Ordering::Relaxed) == 0;
        if is_head && !came.is_empty() {
            if state.head_since.load(Ordering::Relaxed) == 0 {
                state.head_since.store(state.now() + 1, Ordering::Relaxed);
                this.lines = Lines::default();
            }
            if this.lines.has_bare_lf(came) {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        read
    }
}

impl<I: Connection> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Closes this side. What the client still sends of a request that was answered already is
    /// read for a while: a reset would take the answer from it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closed.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        let closed = *this.closed.get_or_insert_with(|| this.state.now());
        let mut space = [MaybeUninit::uninit(); 4_096];
        while this.state.unread.load(Ordering::Relaxed) && this.state.now() - closed < LINGER_US {
            let mut read = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// The protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Serves `io` until it ends, is overdue, or `shutdown` becomes true and its running requests have
/// ended.
pub async fn connection<I: Connection>(
    proxy: Arc<Proxy>,
    io: I,
    protocol: Protocol,
    shutdown: watch::Receiver<bool>,
) {
    let state = Arc::new(State {
        born: Instant::now(),
        busy: AtomicUsize::new(0),
        // The first head is awaited from the start.
        head_since: AtomicU64::new(1),
        idle_since: AtomicU64::new(0),
        protocol,
        cut: AtomicBool::new(false),
        unread: AtomicBool::new(false),
    });
    let io = TokioIo::new(Watched {
        io,
        state: Arc::clone(&state),
        lines: Lines::default(),
        closed: None,
    });
    let settings = proxy.serving;
    proxy.metrics.connections.inc();
    let service = {
        let (proxy, state) = (Arc::clone(&proxy), Arc::clone(&state));
        service_fn(move |request: Request<Incoming>| {
            let (proxy, activity) = (Arc::clone(&proxy), Activity::begin(&state));
            let (version, unread) = (request.version(), Unread(Arc::clone(&state)));
            let request = request.map(|body| Upload::new(body, version, unread));
            async move { Ok::<_, Infallible>(pipeline::handle(&proxy, request, activity).await) }
        })
    };
    let ended = match protocol {
        Protocol::Http1 => {
            let serving = http1::Builder::new().serve_connection(io, service);
            guarded(
                serving,
                http1::Connection::graceful_shutdown,
                &state,
                &settings,
                shutdown,
            )
            .await
        }
        Protocol::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(256)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .max_header_list_size(64 << 10)
                .keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(10));
            let serving = builder.serve_connection(io, service);
            guarded(
                serving,
                http2::Connection::graceful_shutdown,
                &state,
                &settings,
                shutdown,
            )
            .await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client connection ended");
    }
    proxy.metrics.connections.dec();
}

async fn guarded<C>(
    serving: C,
    graceful_shutdown: fn(Pin<&mut C>),
    state: &State,
    settings: &Settings,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut serving = std::pin::pin!(serving);
    let mut stopping = false;
    // One coarse timer for a connection instead of one for each request.
    let tightest = settings
        .header_timeout
        .into_iter()
        .chain(settings.idle_timeout)
        .min();
    let step = (tightest.unwrap_or(LONGEST_STEP) / 4).clamp(SHORTEST_STEP, LONGEST_STEP);
    let mut tick = std::pin::pin!(sleep(step));
    loop {
        tokio::select! {
            biased;
            ended = serving.as_mut() => return ended,
            _ = shutdown.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                state.unread.store(false, Ordering::Relaxed);
                if state.awaits_head() {
                    return Ok(());
                }
                graceful_shutdown(serving.as_mut());
            }
            () = tick.as_mut() => {
                if state.is_overdue(settings) {
                    // HTTP/2 is told before, so that a request on its way is not lost.
                    if stopping || state.protocol == Protocol::Http1 {
                        return Ok(());
                    }
                    stopping = true;
                    graceful_shutdown(serving.as_mut());
                }
                tick.as_mut().reset(Instant::now() + step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head in any two parts; what follows it is not looked at.
    fn check(head: &str, expected: bool) {
        let bytes = head.as_bytes();
        for at in 0..=bytes.len() {
            let mut lines = Lines::default();
            let found = lines.has_bare_lf(&bytes[..at]) || lines.has_bare_lf(&bytes[at..]);
            assert_eq!(found, expected, "{head:?} cut at {at}");
        }
    }

    #[test]
    fn a_bare_lf_is_found_in_a_head_and_only_there() {
        check("GET / HTTP/1.1\r\nhost: x\r\n\r\n", false);
        check("\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\na\nb\n\n", false);
        check("GET / HTTP/1.1\nhost: x\r\n\r\n", true);
        check("GET / HTTP/1.1\r\nhost: x\n\r\n", true);
        check("GET / HTTP/1.1\r\nhost: x\r\n\n", true);
        check("\r\nGET / HTTP/1.1\r\nx: a\ny: b\r\n\r\n", true);
        check("\nGET / HTTP/1.1\r\n\r\n", true);
    }
}
