//! Sends a message to an address of the operator's: a webhook, or a destination of exports. No pool,
//! no redirects, a bounded answer, and the same look at the address as for a provider.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Body;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use isango_types::Timestamp;
use tokio::time::timeout;

use super::connect::Connector;
use super::{Settings, classify, failed};
use crate::error::Error;
use crate::retry::asked_wait;

/// How long an answer that nobody needs may take to its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is sent, and where to.
#[derive(Debug)]
pub struct Parcel<'p> {
    /// How.
    pub method: Method,
    /// Whether the connection is encrypted.
    pub https: bool,
    /// Host and port, from the configuration.
    pub authority: &'p str,
    /// Path and query, from the configuration.
    pub path: &'p str,
    /// Whether the host may be in a private network.
    pub trusted: bool,
    /// Headers but for `host` and `content-length`.
    pub headers: HeaderMap,
    /// The message.
    pub body: Bytes,
    /// How much of the answer is read, in bytes.
    pub max_answer: usize,
    /// Whether the answer is what it is sent for: otherwise who has said that it took the message need
    /// not end its sentence.
    pub needs_answer: bool,
    /// How long it may take in all.
    pub patience: Duration,
}

/// What the other side said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its status; a redirect is one like any other.
    pub status: StatusCode,
    /// How long it asks us to wait.
    pub retry_after: Option<Duration>,
    /// The beginning of what it said; of an answer that is needed all of it.
    pub body: Bytes,
}

/// Sends messages.
pub struct Courier(Connector);

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}

impl Courier {
    /// A courier that connects as the data plane does, by HTTP/1.1.
    ///
    /// # Errors
    /// The extra certificate file cannot be read.
    pub fn new(settings: &Settings) -> std::io::Result<Self> {
        Ok(Self::of(&Connector::new(settings)?))
    }

    pub(super) fn of(connector: &Connector) -> Self {
        Self(connector.without_http2())
    }

    /// Sends a message on a connection of its own. `now` is what a date in `retry-after` is compared
    /// with.
    ///
    /// # Errors
    /// No answer: no connection, an address that may not be reached, a timeout, no HTTP; no whole one
    /// where it is needed. The text names no address.
    pub async fn post(&self, parcel: Parcel<'_>, now: Timestamp) -> Result<Receipt, Error> {
        let patience = parcel.patience;
        timeout(patience, Box::pin(self.send(parcel, now)))
            .await
            .unwrap_or_else(|_elapsed| {
                let limit_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
                Err(Error::FirstByteTimeout { limit_ms })
            })
    }

    async fn send(&self, parcel: Parcel<'_>, now: Timestamp) -> Result<Receipt, Error> {
        let no_address = |_wrong| Error::Internal;
        let authority = Authority::try_from(parcel.authority).map_err(no_address)?;
        let path = PathAndQuery::try_from(parcel.path).map_err(no_address)?;
        let connected = self
            .0
            .connect(parcel.https, &authority, parcel.trusted, None);
        let stream = TokioIo::new(connected.await?.stream);
        let (mut sender, mut connection) = http1::handshake(stream).await.map_err(failed)?;
        let mut request = Request::new(Full::new(parcel.body));
        let (is_needed, most) = (parcel.needs_answer, parcel.max_answer);
        *request.method_mut() = parcel.method;
        *request.uri_mut() = Uri::from(path);
        *request.headers_mut() = parcel.headers;
        if let Ok(host) = HeaderValue::from_str(parcel.authority) {
            request.headers_mut().insert(HOST, host);
        }
        let mut answer = pin!(async {
            let answer = sender.send_request(request).await?;
            let (head, mut body) = answer.into_parts();
            let mut said = BytesMut::new();
            let reading = async {
                while said.len() < most
                    && let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
                {
                    let frame = frame?;
                    said.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
                Ok::<(), hyper::Error>(())
            };
            if is_needed {
                reading.await?;
            } else {
                timeout(LAST_WORDS, reading).await.ok();
            }
            said.truncate(most);
            Ok(Receipt {
                status: head.status,
                retry_after: asked_wait(head.status, &head.headers, now).map(|asked| asked.wait),
                body: said.freeze(),
            })
        });
        // The connection is driven here, and ends with this post.
        let mut ended = false;
        poll_fn(move |cx| {
            if !ended {
                ended = Pin::new(&mut connection).poll(cx).is_ready();
            }
            match answer.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(answer.map_err(classify)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
