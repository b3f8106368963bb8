//! Sockets: accepts connections, tells HTTP/1.1 from HTTP/2, ends them as answers ask, and waits
//! for running answers when it shuts down.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::options::Options;
use crate::respond::App;
use crate::stats::{Line, Stats};

/// Rest after a failed accept (no descriptor left, most often).
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Scripted providers on one socket.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let simulator = isango_simulator::Simulator::bind(([127, 0, 0, 1], 8790).into()).await?;
/// simulator.serve(std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Simulator {
    listener: TcpListener,
    options: Options,
    stats: Arc<Stats>,
}

impl Simulator {
    /// Listens on `addr` (port 0: any free one) with default [`Options`].
    ///
    /// Connections wait in the socket's queue until [`Simulator::serve`] runs.
    ///
    /// # Errors
    /// The address is in use or not ours.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        Ok(Self {
            listener,
            options: Options::default(),
            stats: Arc::default(),
        })
    }

    /// Replaces the options.
    #[must_use]
    pub fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// The operating system has forgotten it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The counters, also after `serve` has taken the simulator.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Answers until `shutdown` is ready; then accepts no more, lets running answers end within
    /// [`Options::shutdown_grace`], and drops the rest.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self {
            listener,
            options,
            stats,
        } = self;
        let grace = options.shutdown_grace;
        let permits = Arc::new(Semaphore::new(options.max_connections));
        let app = Arc::new(App::new(options));
        let (stop, stopping) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = accept(&listener, &permits) => match accepted {
                    Ok((stream, permit)) => {
                        let line = Arc::new(Line::open(Arc::clone(&stats)));
                        let stopping = stopping.clone();
                        let app = Arc::clone(&app);
                        connections.spawn(connection(app, stream, line, stopping, permit));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_REST).await,
                },
            }
        }
        drop((listener, stop));
        let all_ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            connections.shutdown().await;
        }
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

async fn connection(
    app: Arc<App>,
    stream: TcpStream,
    line: Arc<Line>,
    mut stopping: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
) {
    let version = tokio::select! {
        version = sniff(&stream) => version,
        _ = stopping.changed() => return,
    };
    let socket = TokioIo::new(Socket {
        stream,
        line: Arc::clone(&line),
    });
    let service = {
        let line = Arc::clone(&line);
        service_fn(move |request: hyper::Request<Incoming>| {
            let (app, line) = (Arc::clone(&app), Arc::clone(&line));
            async move { app.handle(request, line).await }
        })
    };
    match version {
        Ok(Version::Http1) => {
            let connection = http1::Builder::new().serve_connection(socket, service);
            drive(connection, &line, stopping).await;
        }
        Ok(Version::Http2) => {
            let mut builder = http2::Builder::new(Streams::default());
            builder.max_concurrent_streams(1_024);
            drive(builder.serve_connection(socket, service), &line, stopping).await;
        }
        Err(_) => {}
    }
}

enum Version {
    Http1,
    Http2,
}

/// Looks at the first bytes: `PR` begins HTTP/2's preface and no HTTP/1.1 method in use.
async fn sniff(stream: &TcpStream) -> io::Result<Version> {
    let mut start = [0; 2];
    loop {
        match (stream.peek(&mut start).await?, start) {
            (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (1, [b'P', _]) => tokio::time::sleep(Duration::from_millis(1)).await,
            (2, [b'P', b'R']) => return Ok(Version::Http2),
            _ => return Ok(Version::Http1),
        }
    }
}

/// A connection that can be asked to end after its running answers.
trait Graceful: Future {
    fn wind_down(self: Pin<&mut Self>);
}

impl<I, S, B> Graceful for http1::Connection<I, S>
where
    Self: Future,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, B> Graceful for http2::Connection<I, S, Streams>
where
    Self: Future,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection to its end. How it failed is the peer's affair, or was asked for.
async fn drive(connection: impl Graceful, line: &Line, mut stopping: watch::Receiver<()>) {
    let mut connection = pin!(connection);
    let mut winding_down = false;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = line.closing(), if !winding_down => {}
            _ = stopping.changed(), if !winding_down => {}
        }
        winding_down = true;
        connection.as_mut().wind_down();
    }
}

/// The streams of one HTTP/2 connection; they end with it.
#[derive(Clone, Debug, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut streams = self.0.lock();
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }
}

/// A connection's socket; tells its [`Line`] when the peer does not read, and closes as it says.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    line: Arc<Line>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.line.is_reset() {
            // Lingering for no time makes the kernel send RST instead of FIN.
            SockRef::from(&self.stream)
                .set_linger(Some(Duration::ZERO))
                .ok();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.line.set_stalled(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.line.set_stalled(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.is_reset() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
