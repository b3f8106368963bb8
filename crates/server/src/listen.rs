//! Listeners, and the data plane's: accepts, tells TLS, HTTP/1 and HTTP/2 apart, and ends in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use isango_proxy::Proxy;
use isango_proxy::serve::{self, Protocol};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::tls::Tls;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4_096;
/// How long accepting rests when the system has no room for another connection.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Binds `address` with a deep backlog.
///
/// # Errors
/// The address is taken or not ours; the text names it.
pub(crate) fn bind(address: SocketAddr, what: &str) -> io::Result<TcpListener> {
    let bound = || {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen on {address} for {what}: {error}"),
        )
    })
}

/// What the listener needs besides its socket.
pub(crate) struct Front {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) max_connections: usize,
    /// Bound on a TLS handshake and on the first bytes.
    pub(crate) header_timeout: Option<Duration>,
}

/// Serves clients until `stopping`, then waits until the last connection has ended.
pub(crate) async fn run(front: Front, listener: TcpListener, stopping: watch::Receiver<bool>) {
    let most = front.max_connections;
    let front = Arc::new(front);
    let serve = move |stream, stopping| {
        let front = Arc::clone(&front);
        async move { connection(&front, stream, stopping).await }
    };
    each(listener, most, stopping, serve).await;
}

/// Accepts connections, `most` at once, and has each served until `stopping`; then waits until the
/// last one has ended.
pub(crate) async fn each<F>(
    listener: TcpListener,
    most: usize,
    mut stopping: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, watch::Receiver<bool>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let serving = serve(stream, stopping.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_REST).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

async fn connection(front: &Front, mut stream: TcpStream, stopping: watch::Receiver<bool>) {
    let bound = front.header_timeout.unwrap_or(Duration::MAX);
    let proxy = Arc::clone(&front.proxy);
    let mut order = stopping.clone();
    // A client that has said nothing yet is not waited for.
    let stopped = order.wait_for(|stop| *stop);
    let Some(tls) = &front.tls else {
        let first = tokio::select! {
            biased;
            first = timeout(bound, protocol(&mut stream)) => first,
            _ = stopped => return,
        };
        // Neither is one that says nothing in time.
        if let Ok(Ok((protocol, first))) = first {
            let io = (first, stream);
            Box::pin(serve::connection(proxy, io, protocol, stopping)).await;
        }
        return;
    };
    let handshake = tokio::select! {
        biased;
        handshake = timeout(bound, tls.accept(stream)) => handshake,
        _ = stopped => return,
    };
    match handshake {
        Ok(Ok(stream)) => {
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            let io = (Bytes::new(), stream);
            Box::pin(serve::connection(proxy, io, protocol, stopping)).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_elapsed) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Tells HTTP/2 by prior knowledge from HTTP/1 by the first bytes, and returns those.
async fn protocol(stream: &mut TcpStream) -> io::Result<(Protocol, Bytes)> {
    let mut first = [0; PREFACE.len()];
    let mut length = 0;
    let protocol = loop {
        let read = stream.read(&mut first[length..]).await?;
        length += read;
        if read == 0 || !PREFACE.starts_with(&first[..length]) {
            break Protocol::Http1;
        }
        if length == PREFACE.len() {
            break Protocol::Http2;
        }
    };
    Ok((protocol, Bytes::copy_from_slice(&first[..length])))
}
