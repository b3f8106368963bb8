//! The request as it is sent on: headers, and a body that is held whole or passes through.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

use crate::capture::{Capture, UNTIMED};
use crate::error::{BoxError, Error};
use crate::headers;
use crate::serve::Reading;
use crate::tokens;

/// How much of a body is read before it is sent on when something must be known of it.
pub(crate) const INSPECT_BYTES: usize = 4 << 20;
/// How long the next piece of a body may take.
const BODY_STEP: Duration = Duration::from_secs(30);

/// The copy of a request's body, shared by the body on its way and the record.
pub(crate) type SharedCapture = Arc<Mutex<Capture>>;

/// A request's body before it is sent.
pub(crate) enum CallBody {
    /// All of it; can be sent again.
    Whole(Bytes),
    /// The beginning that was read, and the rest that is still coming; can be sent once.
    Passing(Passing),
    /// It was passed on.
    Gone,
}

/// The body of a request as its client sends it.
pub(crate) struct Upload {
    body: Incoming,
    http2: bool,
    ended: bool,
    reading: Reading,
}

/// The client left while it still sent.
#[derive(Debug, thiserror::Error)]
#[error("the client left before the end of its request")]
struct HungUp;

/// Whether a request failed because its client left while it still sent.
pub(crate) fn is_hang_up(error: &Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source()).any(|error| error.is::<HungUp>())
}

impl Upload {
    pub(crate) fn new(body: Incoming, version: Version, reading: Reading) -> Self {
        Self {
            ended: body.is_end_stream(),
            body,
            http2: version == Version::HTTP_2,
            reading,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = &mut self.body;
        let read = || {
            let frame = Pin::new(&mut *body).poll_frame(cx);
            (frame, body.is_end_stream())
        };
        let (frame, _) = self.reading.take(read, |(_, is_last)| *is_last);
        let frame = match frame {
            // hyper (1.12) takes a stream that was reset without an error for one that has ended.
            Poll::Ready(None) if self.http2 && !self.body.is_end_stream() => Err(HungUp.into()),
            Poll::Ready(None) => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Ok(frame))) => Ok(frame),
            Poll::Ready(Some(Err(error))) if self.http2 || !is_malformed(&error) => {
                Err(HungUp.into())
            }
            Poll::Ready(Some(Err(error))) => Err(error.into()),
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Some(frame.map_err(Error::BodyBroken)))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.reading.left_unread();
        }
    }
}

/// Whether bytes came that are no body, and not too few of them.
fn is_malformed(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &io::Error| {
        matches!(
            cause.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
        )
    })
}

/// A body that passes through.
pub(crate) struct Passing {
    read: Option<Bytes>,
    rest: Upload,
    /// Bytes that may still come before the limit is passed.
    room: u64,
    limit: u64,
    capture: SharedCapture,
    stalled: Option<Pin<Box<Sleep>>>,
    failure: BodyFailure,
}

/// Why a body that passes did not come to its end, for who sends it: HTTP/2 only says that it reset
/// the stream.
pub(crate) type BodyFailure = Arc<Mutex<Option<Error>>>;

/// Reads the body of a request.
///
/// Up to `hold` bytes are read before anything is sent, so that what is usually the whole body can
/// be looked at, or sent again; beyond them, the body passes as it comes.
///
/// # Errors
/// [`Error::BodyTooLarge`], [`Error::BodyTimeout`], [`Error::BodyBroken`].
pub(crate) async fn read(
    mut body: Upload,
    hold: usize,
    limit: u64,
    capture: SharedCapture,
) -> Result<CallBody, Error> {
    if body.body.size_hint().lower() > limit {
        return Err(Error::BodyTooLarge { limit });
    }
    if body.body.is_end_stream() {
        return Ok(CallBody::Whole(Bytes::new()));
    }
    let mut whole = Gathered::default();
    // Of a body that is announced as longer than that, the beginning would be of no more use.
    let hold = match usize::try_from(body.body.size_hint().lower()) {
        Ok(length) if length <= hold => hold,
        Ok(_) | Err(_) => hold.min(INSPECT_BYTES),
    };
    if hold > 0 {
        while whole.len() < hold {
            let Some(frame) = next_frame(&mut body).await? else {
                return Ok(CallBody::Whole(whole.join(&capture)));
            };
            // Trailers of a request say nothing that a provider reads; a body with them that is
            // not inspected passes them on.
            if let Ok(data) = frame.into_data() {
                whole.push(data);
            }
            if whole.len() as u64 > limit {
                return Err(Error::BodyTooLarge { limit });
            }
            if body.body.is_end_stream() {
                return Ok(CallBody::Whole(whole.join(&capture)));
            }
        }
    }
    let read = whole.join(&capture);
    Ok(CallBody::Passing(Passing {
        room: limit - read.len() as u64,
        read: Some(read).filter(|read| !read.is_empty()),
        rest: body,
        limit,
        capture,
        stalled: None,
        failure: BodyFailure::default(),
    }))
}

async fn next_frame(body: &mut Upload) -> Result<Option<Frame<Bytes>>, Error> {
    // The timer is made only when the next piece is not there yet.
    let mut stalled = None;
    std::future::poll_fn(|cx| match body.poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(frame.transpose()),
        Poll::Pending => {
            let timer = stalled.get_or_insert_with(|| Box::pin(sleep(BODY_STEP)));
            timer.as_mut().poll(cx).map(|()| Err(Error::BodyTimeout))
        }
    })
    .await
}

/// Pieces of a body; a single one is not copied.
#[derive(Default)]
struct Gathered {
    first: Bytes,
    all: BytesMut,
}

impl Gathered {
    fn len(&self) -> usize {
        if self.all.is_empty() {
            self.first.len()
        } else {
            self.all.len()
        }
    }

    fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() && self.all.is_empty() {
            self.first = piece;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve(self.first.len() + piece.len());
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&piece);
    }

    fn join(&mut self, capture: &SharedCapture) -> Bytes {
        let whole = match self.all.is_empty() {
            true => std::mem::take(&mut self.first),
            false => self.all.split().freeze(),
        };
        if !whole.is_empty() {
            capture.lock().push(&whole, UNTIMED);
        }
        whole
    }
}

/// A body on its way to the provider.
pub(crate) enum Outgoing {
    /// Held whole.
    Whole(Option<Bytes>),
    /// Passing through.
    Passing(Passing),
}

impl CallBody {
    /// The body, if all of it is held.
    pub(crate) const fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Passing(_) | Self::Gone => None,
        }
    }
}

impl Outgoing {
    /// Puts a body that nothing was taken of back where it came from.
    pub(crate) fn put_back(self, body: &mut CallBody) {
        if let Self::Passing(passing) = self {
            *body = CallBody::Passing(passing);
        }
    }

    /// A body that is held whole; shares it.
    pub(crate) fn whole(body: &Bytes) -> Self {
        Self::Whole(Some(body.clone()).filter(|body| !body.is_empty()))
    }

    /// Where the body will tell why it failed.
    pub(crate) fn failure(&self) -> Option<BodyFailure> {
        match self {
            Self::Whole(_) => None,
            Self::Passing(passing) => Some(Arc::clone(&passing.failure)),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Passing(passing) => passing.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_none(),
            Self::Passing(passing) => passing.read.is_none() && passing.rest.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Self::Passing(passing) => {
                let read = passing.read.as_ref().map_or(0, |read| read.len() as u64);
                let rest = passing.rest.body.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(passing.least_bytes());
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper + read);
                }
                hint
            }
        }
    }
}

impl Passing {
    /// How many bytes it has at least: all that its head announces, else what has come.
    pub(crate) fn least_bytes(&self) -> u64 {
        let read = self.read.as_ref().map_or(0, |read| read.len() as u64);
        self.rest.body.size_hint().lower() + read
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(read) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        self.poll_rest(cx).map_err(|error| {
            *self.failure.lock() = Some(error);
            "the body broke off".into()
        })
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(frame) = self.rest.poll_frame(cx) else {
            let timer = self
                .stalled
                .get_or_insert_with(|| Box::pin(sleep(BODY_STEP)));
            return timer
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err(Error::BodyTimeout)));
        };
        self.stalled = None;
        let mut frame = frame.transpose()?;
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            let Some(room) = self.room.checked_sub(data.len() as u64) else {
                let limit = self.limit;
                return Poll::Ready(Some(Err(Error::BodyTooLarge { limit })));
            };
            self.room = room;
            self.capture.lock().push(data, UNTIMED);
        } else if let Some(trailers) = frame.as_mut().and_then(Frame::trailers_mut) {
            headers::trailers(trailers);
            tokens::take_out_of_trailers(trailers);
        }
        Poll::Ready(frame.map(Ok))
    }
}
