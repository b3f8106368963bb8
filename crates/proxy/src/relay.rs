//! The response body: passes bytes on in the poll that brought them, and shows them to the record.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http_body::{Body, Frame, SizeHint};
use isango_types::record::Outcome;
use isango_wire::filter::UsageFilter;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::cache::TooSlow;
use crate::error::BoxError;
use crate::exchange::{Cut, Exchange};
use crate::headers;
use crate::hold::{Hold, NotRecorded};
pub(crate) use crate::serve::Activity;
use crate::upstream::Source;

/// Bounds on an answer that has begun; by default none.
#[derive(Default)]
pub(crate) struct Pace {
    /// How long the provider may be silent.
    idle: Option<Duration>,
    /// When the request is over, and how long it could take in all.
    deadline: Option<(Instant, Duration)>,
    /// Set while nothing comes.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(crate) fn new(idle: Option<Duration>, deadline: Option<(Instant, Duration)>) -> Self {
        Self {
            idle,
            deadline,
            timer: None,
        }
    }

    /// Something came; the bound that it came too late for.
    fn came(&mut self) -> Option<Cut> {
        self.timer = None;
        let (at, limit) = self.deadline?;
        (Instant::now() >= at).then_some(Cut::Total(limit))
    }

    /// Nothing has come yet: ready when that has been so for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        let (idle, deadline) = (self.idle, self.deadline);
        if idle.is_none() && deadline.is_none() {
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| {
            let silent = idle.map(|idle| Instant::now() + idle);
            let over = deadline.map(|(at, _)| at);
            let first = silent.into_iter().chain(over).min();
            Box::pin(sleep_until(first.unwrap_or_else(Instant::now)))
        });
        ready!(timer.as_mut().poll(cx));
        let total = deadline.filter(|(at, _)| Instant::now() >= *at);
        Poll::Ready(match (total, idle) {
            (Some((_, limit)), _) => Cut::Total(limit),
            (None, idle) => Cut::Idle(idle.unwrap_or_default()),
        })
    }
}

/// The body of every answer. It carries the exchange's diary; dropping it writes the record.
pub(crate) struct Relay {
    source: Source,
    /// Takes out the frame that only the gateway asked for.
    filter: Option<Box<UsageFilter>>,
    /// The trailers, or how the stream broke off; told after what the filter still held.
    last: Option<Result<Frame<Bytes>, BoxError>>,
    /// What came before the failure was given the time to leave.
    yielded: bool,
    ended: bool,
    pace: Pace,
    exchange: Exchange,
    /// The connection counts as busy until the body is gone.
    activity: Activity,
    /// Keeps the end back until the record is on disk; `None`: it passes at once.
    hold: Option<Box<Hold>>,
}

impl Relay {
    pub(crate) fn new(
        source: Source,
        filter: Option<Box<UsageFilter>>,
        pace: Pace,
        exchange: Exchange,
        activity: Activity,
    ) -> Self {
        Self {
            source,
            filter,
            last: None,
            yielded: false,
            ended: false,
            pace,
            exchange,
            activity,
            hold: None,
        }
    }

    /// The same, whose end waits for the record.
    pub(crate) fn holding(mut self) -> Self {
        self.hold = Some(Box::new(Hold::new(self.exchange.answers_in_events())));
        self
    }

    /// Whether nothing of an answer that waits for its record comes behind the head.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.hold.is_some() && self.source.is_end_stream()
    }

    /// Ends an answer without a body before its head; whether its record is on disk.
    pub(crate) async fn record_now(&mut self) -> bool {
        self.hold = None;
        self.finish();
        self.ended = true;
        let mut waiting = Hold::new(false);
        waiting.begin(&mut self.exchange);
        std::future::poll_fn(|cx| waiting.poll_stored(cx)).await
    }

    /// The body is this instead, which waits for nothing.
    pub(crate) fn replace(&mut self, body: Bytes) {
        (self.source, self.ended) = (Source::Whole(Some(body)), false);
    }

    /// The next frame for the client; a frame that is wholly taken out is passed over.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = match self.source.poll_frame(cx) {
                Poll::Pending => {
                    let cut = ready!(self.pace.poll_silence(cx));
                    return Poll::Ready(Some(Err(self.cut(cut))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => {
                    if self.source.is_broken() {
                        self.exchange.broke_off();
                    }
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            if let Some(cut) = self.pace.came() {
                return Poll::Ready(Some(Err(self.cut(cut))));
            }
            let chunk = match frame.into_data() {
                Ok(chunk) => chunk,
                Err(mut trailers) => {
                    trailers.trailers_mut().map(headers::trailers);
                    return Poll::Ready(Some(Ok(trailers)));
                }
            };
            if let Some(overrun) = self.exchange.answer_chunk(&chunk) {
                let last = self.end_early(chunk.slice(..overrun.end), &overrun.ending);
                return Poll::Ready(Some(Ok(Frame::data(last))));
            }
            let chunk = match &mut self.filter {
                None => chunk,
                Some(filter) => filter.push(chunk),
            };
            if !chunk.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
        }
    }
}

impl Relay {
    /// The answer ends with these last bytes of it and this end, although the provider's goes on:
    /// its connection is closed.
    fn end_early(&mut self, last: Bytes, ending: &[u8]) -> Bytes {
        let mut bytes = BytesMut::new();
        match &mut self.filter {
            None => bytes.extend_from_slice(&last),
            Some(filter) => {
                bytes.extend_from_slice(&filter.push(last));
                bytes.extend_from_slice(&filter.finish());
            }
        }
        bytes.extend_from_slice(ending);
        self.source = Source::Whole(None);
        self.ended = true;
        bytes.freeze()
    }

    /// The answer is over, although the provider's is not.
    fn cut(&mut self, cut: Cut) -> BoxError {
        if matches!(cut, Cut::Idle(_)) {
            self.exchange.broke_off();
        }
        self.exchange.cut(cut);
        "the answer took too long".into()
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match this.hold {
            None => this.pass(cx),
            Some(_) => this.pass_held(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        let has_ended = (self.ended && self.last.is_none())
            || (self.filter.is_none() && self.source.is_end_stream());
        has_ended && self.hold.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.filter.is_some() || self.exchange.is_bounded() {
            true => SizeHint::default(),
            false => self.source.size_hint(),
        }
    }
}

impl Relay {
    /// The next frame, as soon as it is there.
    fn pass(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self;
        if this.ended {
            return this.end(cx);
        }
        match this.next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => {
                this.breaks(&error);
                if this
                    .exchange
                    .draft()
                    .and_then(|draft| draft.version)
                    .is_some_and(|version| version < Version::HTTP_11)
                {
                    this.activity.cut();
                }
                this.last = Some(Err(error));
            }
            // The server does not ask again after trailers.
            Poll::Ready(trailers) => {
                this.finish();
                this.last = trailers;
            }
        }
        this.ended = true;
        let held = this
            .filter
            .as_mut()
            .map(|filter| filter.finish())
            .unwrap_or_default();
        if held.is_empty() {
            return this.end(cx);
        }
        Poll::Ready(Some(Ok(Frame::data(held))))
    }

    /// The next frame, but for the end, which waits until the record is on disk.
    fn pass_held(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let Some(hold) = &mut self.hold else {
                return self.pass(cx);
            };
            if hold.has_begun() {
                let is_stored = ready!(hold.poll_stored(cx));
                let (held, trailers) = hold.release();
                self.hold = None;
                self.last = match is_stored {
                    true => trailers.map(Ok).or(self.last.take()),
                    false => Some(Err(NotRecorded.into())),
                };
                return match held.is_empty() || !is_stored {
                    true => self.end(cx),
                    false => Poll::Ready(Some(Ok(Frame::data(held)))),
                };
            }
            let passed = match ready!(self.pass(cx)) {
                Some(Err(broken)) => {
                    // There is no end to wait for.
                    self.hold = None;
                    return Poll::Ready(Some(Err(broken)));
                }
                Some(Ok(frame)) => self.hold_back(frame),
                None => {
                    self.begin_end();
                    Bytes::new()
                }
            };
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
        }
    }

    /// Keeps back what belongs to the end; returns what does not.
    fn hold_back(&mut self, frame: Frame<Bytes>) -> Bytes {
        let is_last = self.ended || self.filter.is_none() && self.source.is_end_stream();
        let Some(hold) = &mut self.hold else {
            return Bytes::new();
        };
        let passed = match frame.into_data() {
            Ok(chunk) => hold.take_in(chunk, is_last),
            Err(trailers) => {
                hold.trailers = Some(trailers);
                Bytes::new()
            }
        };
        if is_last {
            self.begin_end();
        }
        passed
    }

    /// Nothing comes any more: the record is written.
    fn begin_end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.finish();
        }
        if let Some(hold) = &mut self.hold {
            hold.begin(&mut self.exchange);
        }
    }

    /// The end behind the last byte. Before it is told as a failure, the server is polled once more:
    /// it drops what it has not written yet, head included, when a body fails.
    fn end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let failed = matches!(self.last, Some(Err(_)));
        if failed && !std::mem::replace(&mut self.yielded, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.last.take())
    }

    fn breaks(&mut self, error: &BoxError) {
        if error.is::<TooSlow>() {
            let note =
                "its client read too slowly: others had the answer, and it was not held for it";
            self.exchange.remark(note);
            self.exchange.end(Outcome::Stopped);
        } else {
            self.exchange.end(Outcome::UpstreamCut);
        }
    }

    /// The answer is whole: the connection may serve the next request.
    fn finish(&mut self) {
        self.exchange.finished();
        std::mem::replace(&mut self.source, Source::Whole(None)).give_back();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A body whose last announced byte has passed may be dropped without another poll.
        if !self.ended && self.source.is_end_stream() {
            self.finish();
        } else if let Source::Cached(playback) = &self.source {
            playback.leaves(&mut self.exchange);
        }
    }
}

impl Source {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Http1(body, connection) => connection
                .poll_with(cx, |cx| Pin::new(&mut *body).poll_frame(cx))
                .map_err(Into::into),
            Self::Http2(body, _) => match Pin::new(&mut *body).poll_frame(cx) {
                // hyper (1.12) takes a stream that was reset without an error for one that ended.
                Poll::Ready(None) if !body.is_end_stream() => {
                    Poll::Ready(Some(Err("the provider reset the stream".into())))
                }
                Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
                Poll::Pending => Poll::Pending,
            },
            Self::Cached(playback) => playback.poll_frame(cx),
            Self::Whole(whole) => Poll::Ready(whole.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Seen { read, then, rest } => {
                if let Some(read) = read.take() {
                    return Poll::Ready(Some(Ok(Frame::data(read))));
                }
                match (then.take(), rest) {
                    (Some(then), _) => Poll::Ready(Some(then)),
                    (None, Some(rest)) => rest.poll_frame(cx),
                    (None, None) => Poll::Ready(None),
                }
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body, _) | Self::Http2(body, _) => body.is_end_stream(),
            Self::Cached(playback) => playback.is_end_stream(),
            Self::Whole(whole) => whole.is_none(),
            Self::Seen { read, then, rest } => {
                let ended = rest.as_ref().is_none_or(|rest| rest.is_end_stream());
                read.is_none() && then.is_none() && ended
            }
        }
    }

    /// Whether the provider is to blame, now that the body has failed: not where somebody read too
    /// slowly what others share.
    fn is_broken(&self) -> bool {
        match self {
            Self::Cached(playback) => playback.is_broken(),
            Self::Http1(..) | Self::Http2(..) | Self::Whole(_) | Self::Seen { .. } => true,
        }
    }

    /// The body has wholly passed: its connection may serve the next request.
    pub(crate) fn give_back(self) {
        match self {
            Self::Http1(_, connection) => connection.give_back(),
            Self::Seen {
                rest: Some(rest), ..
            } => rest.give_back(),
            Self::Http2(..) | Self::Cached(_) | Self::Whole(_) | Self::Seen { .. } => {}
        }
    }

    /// Looks at the beginning of a body: up to `limit` bytes, for at most `within`. What was seen,
    /// and the body as it was, to be relayed from its beginning.
    pub(crate) async fn peek(mut self, limit: usize, within: Duration) -> (Bytes, Self) {
        let mut seen = BytesMut::new();
        let deadline = Instant::now() + within;
        let then = loop {
            if seen.len() >= limit {
                break None;
            }
            let next = std::future::poll_fn(|cx| self.poll_frame(cx));
            let Ok(next) = timeout_at(deadline, next).await else {
                break None;
            };
            match next {
                None => {
                    self.give_back();
                    let seen = seen.freeze();
                    let whole = Some(seen.clone()).filter(|seen| !seen.is_empty());
                    return (seen, Self::Whole(whole));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => seen.extend_from_slice(&chunk),
                    Err(trailers) => break Some(Ok(trailers)),
                },
                Some(Err(broken)) => break Some(Err(broken)),
            }
        };
        let seen = seen.freeze();
        let read = Some(seen.clone()).filter(|seen| !seen.is_empty());
        (
            seen,
            Self::Seen {
                read,
                then,
                rest: Some(Box::new(self)),
            },
        )
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body, _) | Self::Http2(body, _) => body.size_hint(),
            Self::Cached(playback) => playback.size_hint(),
            Self::Whole(whole) => {
                SizeHint::with_exact(whole.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            // The length that the provider announced still stands in the head.
            Self::Seen { .. } => SizeHint::default(),
        }
    }
}
