//! The admin listener: HTTP/1.1 in the clear, with bounds on how many connections there are, how long
//! a head may take, and how long one may take nothing of what it asked for.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::listen;

/// Connections at once; others wait to be accepted.
const MAX_CONNECTIONS: usize = 1_024;
/// How long a connection may take nothing of what is written to it: a stream, or a file, that nobody
/// reads holds a place that others want.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the listener needs besides its socket.
pub(crate) struct Front {
    pub(crate) router: Router,
    /// How long a head may take, and how long a connection may rest before one.
    pub(crate) header_timeout: Option<Duration>,
}

/// Serves until `stopping`, then waits until the last connection has ended.
pub(crate) async fn run(front: Front, listener: TcpListener, stopping: watch::Receiver<bool>) {
    let serve = move |stream, stopping| {
        let (router, header_timeout) = (front.router.clone(), front.header_timeout);
        async move { connection(router, header_timeout, stream, stopping).await }
    };
    listen::each(listener, MAX_CONNECTIONS, stopping, serve).await;
}

async fn connection(
    router: Router,
    header_timeout: Option<Duration>,
    stream: TcpStream,
    mut stopping: watch::Receiver<bool>,
) {
    let Ok(from) = stream.peer_addr() else {
        return;
    };
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        let is_read = Arc::new(AtomicBool::new(request.body().is_end_stream()));
        let answering = router.call(request.map(|body| {
            Body::new(Asked {
                body,
                is_read: Arc::clone(&is_read),
            })
        }));
        async move {
            let mut answer = answering.await?;
            if !is_read.load(Ordering::Relaxed) {
                // What is left of the request would be taken for the next one: the client is told
                // to make a new connection, instead of finding this one gone.
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(Taking::new(stream)), service);
    let mut serving = std::pin::pin!(serving);
    let stop = async move { drop(stopping.wait_for(|stop| *stop).await) };
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stop => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended");
    }
}

/// The body of a request, which notes that it was read to its end.
struct Asked {
    body: Incoming,
    is_read: Arc<AtomicBool>,
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_read.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose other side has to take what is written to it.
struct Taking<I> {
    io: I,
    /// Runs while nothing is taken.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<I> Taking<I> {
    const fn new(io: I) -> Self {
        Self { io, patience: None }
    }

    /// What came of a write: an error, where nothing was taken for too long.
    fn within<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Taking<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, into)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Taking<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.within(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.within(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.io).poll_shutdown(context);
        self.within(context, closed)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.within(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_and_who_takes_slowly_is_not() {
        let (near, mut far) = duplex(8);
        let mut taking = Taking::new(near);
        let began = Instant::now();
        let slow = async {
            let mut space = [0; 8];
            for _ in 0..4 {
                tokio::time::sleep(PATIENCE / 2).await;
                far.read_exact(&mut space).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(taking.write_all(&[7; 32]), slow);
        written.unwrap();
        assert_eq!(began.elapsed(), PATIENCE * 2);
        taking.write_all(&[7; 8]).await.unwrap();
        let error = taking.write_all(&[7; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), PATIENCE * 3);
    }
}
