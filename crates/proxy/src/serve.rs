//! Serves one client connection: HTTP/1.1 or HTTP/2, with bounds on how long a head may take and
//! how long a connection may lie idle.

mod asides;
mod lines;
mod refusal;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::{Extensions, Request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_rustls::server::TlsStream;

use self::asides::Asides;
use self::lines::Lines;
use crate::call::Upload;
use crate::waking::{Bell, Waking};
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

/// How long the rest of a request that was answered already is read; looked at once a step.
const LINGER: Duration = Duration::from_secs(5);

/// What a connection is doing, as seen by its guard.
#[derive(Debug)]
struct State {
    /// Steps of the guard that have begun: what ages are measured in, so that no request has to
    /// read a clock for them.
    steps: AtomicU32,
    /// Requests whose answers have not ended.
    busy: AtomicUsize,
    /// The step in which the head under way began, plus 1; 0: no head is under way.
    head_since: AtomicU32,
    /// The step in which the last request ended.
    idle_since: AtomicU32,
    protocol: Protocol,
    /// An answer broke off whose end is the end of the connection.
    cut: AtomicBool,
    /// The last request was answered before all of it was read.
    unread: AtomicBool,
    lines: Mutex<Lines>,
    /// A request has begun since the last moment at which none was under way and all answers had
    /// left hyper.
    answering: AtomicBool,
    asides: Asides,
    /// A head was refused and its refusal answered.
    refused: AtomicBool,
    /// What makes hyper's client tell of interim answers.
    listening: OnceLock<Extensions>,
    waking: Arc<Waking>,
}

impl State {
    fn new(protocol: Protocol) -> Self {
        Self {
            steps: AtomicU32::new(1),
            busy: AtomicUsize::new(0),
            // The first head is awaited from the very start of the first step.
            head_since: AtomicU32::new(1),
            idle_since: AtomicU32::new(0),
            protocol,
            cut: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            lines: Mutex::default(),
            answering: AtomicBool::new(false),
            asides: Asides::default(),
            refused: AtomicBool::new(false),
            listening: OnceLock::new(),
            waking: Arc::default(),
        }
    }

    fn step(&self) -> u32 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Whether a head is under way.
    fn awaits_head(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) > 0
    }

    /// A step ends and the next begins. Whether the connection has outstayed one of its bounds: by
    /// no more than a `step`, and never less.
    fn is_overdue(&self, settings: &Settings, step: Duration) -> bool {
        let now = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
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
        // Whole steps that lie between, neither the one in which it began nor the one that begins.
        let between = now.saturating_sub(since).saturating_sub(1);
        bound.is_some_and(|bound| step.saturating_mul(between) >= bound)
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
        let have_left = !state.answering.swap(true, Ordering::Relaxed);
        state.asides.begin(have_left);
        Self(Arc::clone(state))
    }

    /// Where interim answers go; only for a request of HTTP/1.1.
    pub(crate) fn interim(&self) -> Interim<'_> {
        Interim(&self.0)
    }

    /// An answer broke off whose end is the end of the connection.
    pub(crate) fn cut(&self) {
        self.0.cut.store(true, Ordering::Relaxed);
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.step(), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The way of interim answers to the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interim<'a>(&'a Arc<State>);

impl Interim<'_> {
    /// Extensions of a request that is sent over HTTP/1, whose interim answers are to be passed on.
    ///
    /// A connection's requests share them: a copy takes 600 instructions, making them 800.
    pub(crate) fn listening(self) -> Extensions {
        let make = || {
            let state = Arc::downgrade(self.0);
            let mut request = Request::new(());
            hyper::ext::on_informational(&mut request, move |answer| {
                if let Some(state) = state.upgrade() {
                    state.asides.interim(answer.status(), answer.headers());
                }
            });
            std::mem::take(request.extensions_mut())
        };
        self.0.listening.get_or_init(make).clone()
    }

    /// How many did not fit.
    pub(crate) fn dropped(self) -> usize {
        self.0.asides.dropped()
    }
}

/// What the body of a request has to do with its connection.
#[derive(Debug)]
pub(crate) struct Reading(Arc<State>);

impl Reading {
    /// It was dropped before its end.
    pub(crate) fn left_unread(&self) {
        self.0.unread.store(true, Ordering::Relaxed);
    }

    /// Does `read`, which tells whether that was the end. Taking a piece of a body wakes the
    /// connection to bring the next one, which behind the last asks for nothing.
    pub(crate) fn take<T>(&self, read: impl FnOnce() -> T, is_last: impl FnOnce(&T) -> bool) -> T {
        self.0.waking.deaf_to(read, is_last)
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

impl Connection for UnixStream {
    fn socket(&self) -> SockRef<'_> {
        self.into()
    }
}

impl Connection for TlsStream<TcpStream> {
    fn socket(&self) -> SockRef<'_> {
        self.get_ref().0.into()
    }
}

/// The socket as hyper sees it. Notes when bytes of a new head begin to arrive, and how its lines
/// end; lets [`Asides`] leave between what hyper writes.
struct Watched<I: Connection> {
    /// What was read before.
    first: Bytes,
    io: I,
    state: Arc<State>,
    proxy: Arc<Proxy>,
    /// hyper has written, and may have more of it: it flushes when all is written.
    writing: bool,
    /// When this side was closed.
    closed: Option<Instant>,
}

impl<I: Connection> Watched<I> {
    /// Before hyper writes: lets asides leave, unless it may be in the middle of a message. It
    /// flushes (1.12, `Buffered::poll_flush`) when all that it holds is written, and an interim
    /// answer comes before the head of its request's answer, and after answers before have left.
    ///
    /// Whether `all`, where hyper writes no more than that, was taken over: it is a head, and no
    /// request has begun that it could be the answer to, so that it is a refusal of hyper's own.
    fn poll_before(&mut self, cx: &mut Context<'_>, all: Option<&[u8]>) -> Poll<io::Result<bool>> {
        if self.writing {
            return Poll::Ready(Ok(false));
        }
        let state = &*self.state;
        ready!(state.asides.poll_write(cx, Pin::new(&mut self.io)))?;
        if state.protocol == Protocol::Http1 && !state.answering.load(Ordering::Relaxed) {
            let answer = all.and_then(|all| refusal::instead_of(all, &self.proxy));
            if let Some(answer) = answer {
                self.proxy.metrics.malformed_requests.inc();
                state.refused.store(true, Ordering::Relaxed);
                // What the client still sends is read, so that it gets to read the answer.
                state.unread.store(true, Ordering::Relaxed);
                state.asides.push(&answer);
                return Poll::Ready(Ok(true));
            }
        }
        self.writing = true;
        Poll::Ready(Ok(false))
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
        if !this.first.is_empty() {
            let length = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..length]);
            this.first.advance(length);
        }
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        let came = &buf.filled()[before..];
        let state = &this.state;
        if came.is_empty() {
            return read;
        }
        if state.protocol == Protocol::Http1 {
            let idle = state.busy.load(Ordering::Relaxed) == 0;
            if idle && state.head_since.load(Ordering::Relaxed) == 0 {
                state.head_since.store(state.step() + 1, Ordering::Relaxed);
            }
            state.lines.lock().read(came, idle);
        }
        // Some bytes came, if not from the socket.
        Poll::Ready(Ok(()))
    }
}

impl<I: Connection> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if ready!(self.poll_before(cx, Some(buf)))? {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.writing = false;
        if this.state.busy.load(Ordering::Relaxed) == 0 {
            this.state.answering.store(false, Ordering::Relaxed);
        }
        ready!(this.state.asides.poll_write(cx, Pin::new(&mut this.io)))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    /// Closes this side. What the client still sends of a request that was answered already is
    /// read for a while: a reset would take the answer from it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closed.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        let closed = *this.closed.get_or_insert_with(Instant::now);
        let mut space = [MaybeUninit::uninit(); 4_096];
        while this.state.unread.load(Ordering::Relaxed) && closed.elapsed() < LINGER {
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
        let all = match bufs {
            [all] => Some(&**all),
            _ => None,
        };
        if ready!(self.poll_before(cx, all))? {
            return Poll::Ready(Ok(all.map_or(0, <[u8]>::len)));
        }
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

/// An extension of a request: lines of its head may end with bare LFs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BareLf;

/// Serves `io`, from which `first` was read before, until it ends, is overdue, or `shutdown` becomes
/// true and its running requests have ended.
pub async fn connection<I: Connection>(
    proxy: Arc<Proxy>,
    (first, io): (Bytes, I),
    protocol: Protocol,
    shutdown: watch::Receiver<bool>,
) {
    let state = Arc::new(State::new(protocol));
    let io = TokioIo::new(Watched {
        first,
        io,
        state: Arc::clone(&state),
        proxy: Arc::clone(&proxy),
        writing: false,
        closed: None,
    });
    let settings = proxy.serving;
    proxy.metrics.connections.inc();
    let service = {
        let (proxy, state) = (Arc::clone(&proxy), Arc::clone(&state));
        service_fn(move |mut request: Request<Incoming>| {
            if protocol == Protocol::Http1 {
                let body = request.body().size_hint().exact();
                if !state.lines.lock().begin(body) {
                    request.extensions_mut().insert(BareLf);
                }
            }
            let (proxy, activity) = (Arc::clone(&proxy), Activity::begin(&state));
            let (version, reading) = (request.version(), Reading(Arc::clone(&state)));
            let request = request.map(|body| Upload::new(body, version, reading));
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
        if error.is_parse() && !state.refused.load(Ordering::Relaxed) {
            proxy.metrics.malformed_requests.inc();
        }
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
    let waker = Waker::from(Arc::clone(&state.waking));
    let bell = Arc::new(Bell::new(&state.waking));
    let bell_waker = Waker::from(Arc::clone(&bell));
    let mut stop = std::pin::pin!(shutdown.wait_for(|stop| *stop));
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
        bell.ring();
        let news = poll_fn(|cx| {
            let poll = |cx: &mut Context<'_>| serving.as_mut().poll(cx);
            if let Poll::Ready(ended) = state.waking.around(&waker, cx, poll) {
                return Poll::Ready(News::Ended(ended));
            }
            if !bell.has_rung() {
                return Poll::Pending;
            }
            let cx = &mut Context::from_waker(&bell_waker);
            if !stopping && stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(News::Stop);
            }
            tick.as_mut().poll(cx).map(|()| News::Tick)
        });
        match news.await {
            News::Ended(ended) => return ended,
            News::Stop => {
                stopping = true;
                state.unread.store(false, Ordering::Relaxed);
                if state.awaits_head() {
                    return Ok(());
                }
                graceful_shutdown(serving.as_mut());
            }
            News::Tick => {
                if state.is_overdue(settings, step) {
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

/// What a connection's guard learns.
enum News {
    Ended(Result<(), hyper::Error>),
    Stop,
    Tick,
}
