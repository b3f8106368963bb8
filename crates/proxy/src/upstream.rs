//! Sends one request to one provider: connection, credential-free. The only place that connects, for
//! the operator's webhooks too (`post`).
//!
//! Stale connections never show: one that the provider closed while it lay idle is noticed before
//! it is used, or the request, which nobody has read, is sent again on a fresh one.

mod connect;
mod pool;
mod post;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Frame;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, timeout_at};

use self::connect::{Connected, Connector};
pub(crate) use self::pool::{Http1, Http2Share};
use self::pool::{Origin, Pool, Pooled, with_connection};
pub use self::post::{Courier, Parcel, Receipt};
use crate::cache::Playback;
use crate::call::{CallBody, Outgoing};
use crate::error::{BoxError, Error};
use crate::exchange::Exchange;
use crate::serve::Interim;

/// Sends that are made again because a connection was stale, before a fresh one is forced.
const STALE_TRIES: usize = 3;

/// How connections to providers are made and kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bound on resolving, connecting and the TLS handshake together.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// Idle HTTP/1 connections kept for each origin.
    pub pool_max_idle_per_host: usize,
    /// Whether HTTP/2 is spoken.
    pub http2: Http2,
    /// PEM file of certificate authorities to trust beside the public ones.
    pub extra_ca_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            pool_idle_timeout: Duration::from_secs(60),
            pool_max_idle_per_host: 256,
            http2: Http2::Auto,
            extra_ca_file: None,
        }
    }
}

/// Whether HTTP/2 is spoken to providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http2 {
    /// Over TLS, where the provider offers it.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always, without TLS by prior knowledge.
    Always,
}

/// What is sent: everything but the body.
#[derive(Debug)]
pub(crate) struct Head<'c> {
    pub(crate) https: bool,
    pub(crate) authority: &'c Authority,
    pub(crate) path: &'c PathAndQuery,
    pub(crate) method: &'c Method,
    /// Sent as they are; what stays is a copy of them.
    pub(crate) headers: &'c mut HeaderMap,
    /// The operator named this address.
    pub(crate) trusted: bool,
    /// How long it may take.
    pub(crate) bounds: &'c Bounds,
    /// Where interim answers go; `None`: the client can take none.
    pub(crate) interim: Option<Interim<'c>>,
}

impl Head<'_> {
    /// The headers to send. The copy is what stays behind for another attempt: it has no room for
    /// more, and the map that is sent comes back from hyper as the one that the answer's headers
    /// are read into.
    fn take_headers(&mut self) -> HeaderMap {
        let copy = self.headers.clone();
        std::mem::replace(self.headers, copy)
    }
}

/// How long a send may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// To make a connection; `None`: as [`Settings::connect_timeout`] says.
    pub(crate) connect: Option<Duration>,
    /// Until the answer begins.
    pub(crate) first_byte: Option<Duration>,
    /// When the request as a whole is over, and how long it could take in all.
    pub(crate) deadline: Option<(Instant, Duration)>,
}

impl Bounds {
    /// The bound that is reached first, and the error that says so.
    fn nearest(&self) -> Option<(Instant, Error)> {
        let first_byte = self.first_byte.map(|limit| {
            let limit_ms = millis(limit);
            (Instant::now() + limit, Error::FirstByteTimeout { limit_ms })
        });
        let total = self.deadline.map(|(at, limit)| {
            let limit_ms = millis(limit);
            (at, Error::TotalTimeout { limit_ms })
        });
        match (first_byte, total) {
            (Some(first_byte), Some(total)) if first_byte.0 < total.0 => Some(first_byte),
            (first_byte, total) => total.or(first_byte),
        }
    }
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

/// What became of the time while sending.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sending {
    pub(crate) connect: Duration,
    pub(crate) reused: bool,
}

/// Where the bytes of an answer come from.
pub(crate) enum Source {
    /// An HTTP/1 connection that the reader of the body drives.
    Http1(Incoming, Box<Http1>),
    /// A stream of an HTTP/2 connection.
    Http2(
        Incoming,
        #[expect(dead_code, reason = "held for its drop, which ends the share")] Http2Share,
    ),
    /// An answer that was asked for before.
    Cached(Box<Playback>),
    /// Held whole: an answer of our own, or a short one that was looked at.
    Whole(Option<Bytes>),
    /// An answer whose beginning was looked at.
    Seen {
        /// The beginning.
        read: Option<Bytes>,
        /// What ended the look: trailers, or how the answer broke off.
        then: Option<Result<Frame<Bytes>, BoxError>>,
        /// What has not been read.
        rest: Option<Box<Source>>,
    },
}

/// The pooled client.
#[derive(Debug)]
pub(crate) struct Upstream {
    connector: Connector,
    pool: Arc<Pool>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Upstream {
    /// # Errors
    /// The extra certificate file cannot be read.
    pub(crate) fn new(settings: &Settings) -> std::io::Result<Self> {
        let mut http1 = http1::Builder::new();
        // hyper's own bound of 100 headers keeps their places on its stack.
        http1.max_buf_size(512 << 10);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(32 << 20)
            .max_header_list_size(256 << 10)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_send_buf_size(1 << 20);
        Ok(Self {
            connector: Connector::new(settings)?,
            pool: Arc::new(Pool::new(
                settings.pool_idle_timeout,
                settings.pool_max_idle_per_host,
            )),
            http1,
            http2,
        })
    }

    /// A courier that connects as this does.
    pub(crate) fn courier(&self) -> Courier {
        Courier::of(&self.connector)
    }

    /// Drops stale idle connections. Called every few seconds.
    pub(crate) fn sweep(&self) {
        self.pool.sweep();
    }

    /// How many connections lie idle.
    pub(crate) fn idle(&self) -> usize {
        self.pool.idle()
    }

    /// Sends `body` under `head` and returns the answer's head and the source of its body.
    ///
    /// A whole body is left in place for another attempt; a passing one is used up. The exchange is
    /// committed to what it holds of limits before the first byte leaves.
    ///
    /// # Errors
    /// Those of [`Error`] with an `attempt_word`, and those of the request's own body.
    pub(crate) async fn send(
        &self,
        head: &mut Head<'_>,
        body: &mut CallBody,
        sending: &mut Sending,
        exchange: Option<&mut Exchange>,
    ) -> Result<Response<Source>, Error> {
        let nearest = head.bounds.nearest();
        let asking = self.ask(head, body, sending, exchange);
        match nearest {
            None => asking.await,
            Some((at, error)) => timeout_at(at, asking)
                .await
                .unwrap_or_else(|_elapsed| Err(error)),
        }
    }

    async fn ask(
        &self,
        head: &mut Head<'_>,
        body: &mut CallBody,
        sending: &mut Sending,
        mut exchange: Option<&mut Exchange>,
    ) -> Result<Response<Source>, Error> {
        let origin = Origin {
            https: head.https,
            authority: head.authority.clone(),
            trusted: head.trusted,
        };
        let mut outgoing = outgoing(body)?;
        let body_failure = outgoing.failure();
        let mut tries = 0;
        loop {
            tries += 1;
            let connection = match self.pool.take(&origin).filter(|_| tries <= STALE_TRIES) {
                Some(pooled) => {
                    sending.reused = true;
                    pooled
                }
                None => {
                    sending.reused = false;
                    let limit = head.bounds.connect;
                    match Box::pin(self.open(&origin, limit, &mut sending.connect)).await {
                        Ok(fresh) => fresh,
                        Err(error) => {
                            outgoing.put_back(body);
                            return Err(error);
                        }
                    }
                }
            };
            if let Some(exchange) = &mut exchange {
                exchange.commits();
            }
            let failure = match connection {
                Pooled::Http1(connection) => over_http1(connection, head, outgoing).await,
                Pooled::Http2(share) => over_http2(share, head, outgoing).await,
            };
            let failure = match failure {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            if let Some(error) = body_failure.as_ref().and_then(|body| body.lock().take()) {
                return Err(error);
            }
            outgoing = match (failure.unsent, failure.unread) {
                (Some(unsent), _) if tries <= STALE_TRIES => unsent,
                (None, true) if tries <= STALE_TRIES => match body {
                    CallBody::Whole(whole) => Outgoing::whole(whole),
                    CallBody::Passing(_) | CallBody::Gone => return Err(failure.error),
                },
                _ => return Err(failure.error),
            };
        }
    }

    async fn open(
        &self,
        origin: &Origin,
        limit: Option<Duration>,
        spent: &mut Duration,
    ) -> Result<Pooled, Error> {
        let _clock = Spending {
            begun: Instant::now(),
            spent,
        };
        let connected =
            self.connector
                .connect(origin.https, &origin.authority, origin.trusted, limit);
        let Connected {
            stream,
            probe,
            http2,
        } = connected.await?;
        let io = TokioIo::new(stream);
        let pooled = if http2 {
            let (send, connection) = self.http2.handshake(io).await.map_err(failed)?;
            TokioExecutor::new().execute(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "an upstream connection ended");
                }
            });
            Pooled::Http2(self.pool.adopt_http2(origin, send))
        } else {
            let parts = self.http1.handshake(io).await.map_err(failed)?;
            Pooled::Http1(self.pool.adopt_http1(origin, probe, parts))
        };
        Ok(pooled)
    }
}

/// Adds the time from its making to its drop, so that a connect which failed or was given up
/// counts, too.
struct Spending<'s> {
    begun: Instant,
    spent: &'s mut Duration,
}

impl Drop for Spending<'_> {
    fn drop(&mut self) {
        *self.spent += self.begun.elapsed();
    }
}

fn failed(error: hyper::Error) -> Error {
    Error::ConnectFailed(error.into())
}

/// The body as it is sent; a whole one stays for another attempt.
fn outgoing(body: &mut CallBody) -> Result<Outgoing, Error> {
    if let CallBody::Whole(whole) = body {
        return Ok(Outgoing::whole(whole));
    }
    match std::mem::replace(body, CallBody::Gone) {
        CallBody::Passing(passing) => Ok(Outgoing::Passing(passing)),
        CallBody::Whole(_) | CallBody::Gone => Err(Error::Internal),
    }
}

/// Why there is no answer, and whether the request may be sent again without doubling it.
struct Failure {
    error: Error,
    /// The body, when nothing of the request was sent.
    unsent: Option<Outgoing>,
    /// The request was sent but surely not read, or may be read twice without harm.
    unread: bool,
}

async fn over_http1(
    mut connection: Http1,
    head: &mut Head<'_>,
    body: Outgoing,
) -> Result<Response<Source>, Failure> {
    // hyper drops the body of a GET or HEAD unless it is told how to send it.
    let in_chunks = !body.is_end_stream() && body.size_hint().exact().is_none();
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    // Only the path stands in the request line (origin form, RFC 9112 section 3.2.1).
    *request.uri_mut() = Uri::from(head.path.clone());
    *request.headers_mut() = head.take_headers();
    if let Ok(host) = HeaderValue::from_str(head.authority.as_str()) {
        match request.headers_mut().get_mut(HOST) {
            // In its place, which is often full.
            Some(clients) => *clients = host,
            None => drop(request.headers_mut().insert(HOST, host)),
        }
    }
    if in_chunks {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
    if let Some(interim) = head.interim {
        *request.extensions_mut() = interim.listening();
    }
    let answer = connection.send.try_send_request(request);
    match with_connection(&mut connection, answer).await {
        Ok(response) => Ok(response.map(|body| Source::Http1(body, Box::new(connection)))),
        Err(mut refused) => {
            let unsent = refused.take_message().map(Request::into_body);
            let error = refused.into_error();
            let harmless = connection.reused && head.method.is_idempotent();
            let unread = !error.is_parse() && (harmless || connection.was_closed_before());
            let cause = connection.failure().unwrap_or(error);
            Err(Failure {
                error: classify(cause),
                unsent,
                unread,
            })
        }
    }
}

async fn over_http2(
    mut share: Http2Share,
    head: &mut Head<'_>,
    body: Outgoing,
) -> Result<Response<Source>, Failure> {
    let scheme = if head.https {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(head.authority.clone())
        .path_and_query(head.path.clone())
        .build();
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri.unwrap_or_default();
    *request.headers_mut() = head.take_headers();
    request.headers_mut().remove(HOST);
    request.headers_mut().remove(CONNECTION);
    *request.version_mut() = http::Version::HTTP_2;
    match share.send.try_send_request(request).await {
        Ok(response) => Ok(response.map(|body| Source::Http2(body, share))),
        Err(mut refused) => {
            let unsent = refused.take_message().map(Request::into_body);
            let error = refused.into_error();
            let unread = was_turned_away(&error);
            Err(Failure {
                error: classify(error),
                unsent,
                unread,
            })
        }
    }
}

/// Whether the provider says that it has not taken the stream: it refused it, or went away with
/// earlier streams than this (RFC 9113 sections 6.8 and 8.7; streams that it may have taken fail
/// otherwise).
fn was_turned_away(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &h2::Error| {
        let refused = cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (refused || cause.is_go_away())
    })
}

/// What a failed exchange means.
fn classify(error: hyper::Error) -> Error {
    if error.is_parse() || error.is_parse_too_large() {
        Error::BadAnswer(error.into())
    } else {
        Error::NoAnswer(error.into())
    }
}
