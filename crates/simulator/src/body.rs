//! The answer's body: whole, or in pieces at their times; and the ways in which it goes wrong.
//!
//! A timed body is driven by the connection that reads it; no task and no queue stands between.

use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use crate::script::{Mark, Script};
use crate::stats::{Line, Ticket};
use crate::text::Rng;

/// How long a cut waits for what was written before it to leave.
const DRAIN: Duration = Duration::from_millis(2);

/// The answer ends here, by the caller's own wish.
#[derive(Clone, Copy, Debug, Error)]
#[error("connection severed as the request asked")]
pub(crate) struct Severed;

/// What an answer consists of.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Whole(Bytes),
    Stream(Script),
    /// This many bytes of [`pattern`].
    Pattern(usize),
}

/// When and in what pieces a body leaves.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// From the head of the answer to its first byte.
    pub(crate) first: Duration,
    /// From one step of the script to the next.
    pub(crate) per_step: Duration,
    /// Pieces of this size instead of whole events.
    pub(crate) piece: Option<usize>,
    pub(crate) stall: Option<(usize, Duration)>,
    pub(crate) cut: Option<usize>,
    /// The cut resets the connection instead of closing it.
    pub(crate) reset: bool,
    pub(crate) gzip: bool,
}

impl Plan {
    fn is_plain(&self) -> bool {
        self.first.is_zero()
            && self.piece.is_none()
            && self.stall.is_none()
            && self.cut.is_none()
            && !self.gzip
    }
}

/// A body for hyper; settles its [`Ticket`] with its last byte.
#[derive(Debug)]
pub(crate) struct Body {
    kind: Kind,
    ticket: Ticket,
}

#[derive(Debug)]
enum Kind {
    Done,
    Whole(Bytes),
    Timed(Box<Timed>),
}

impl Body {
    /// Nothing: the answer to `HEAD`.
    pub(crate) fn empty(mut ticket: Ticket) -> Self {
        ticket.settle();
        Self {
            kind: Kind::Done,
            ticket,
        }
    }

    /// `content`, as `plan` says.
    pub(crate) fn new(content: Content, plan: Plan, mut ticket: Ticket) -> Self {
        let kind = match content {
            Content::Whole(bytes) if bytes.is_empty() => return Self::empty(ticket),
            Content::Whole(bytes) if plan.is_plain() => Kind::Whole(bytes),
            Content::Whole(_) | Content::Pattern(_) | Content::Stream(_) => {
                if matches!(content, Content::Stream(_)) {
                    ticket.streams();
                }
                Kind::Timed(Box::new(Timed::new(
                    content,
                    plan,
                    Arc::clone(ticket.line()),
                )))
            }
        };
        Self { kind, ticket }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Severed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Severed>>> {
        let this = self.get_mut();
        match &mut this.kind {
            Kind::Done => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Done;
                this.ticket.settle();
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Timed(timed) => {
                let piece = ready!(timed.poll_piece(cx));
                match &piece {
                    Some(Err(Severed)) => this.ticket.sever(),
                    Some(Ok(_)) if !timed.is_done() => {}
                    Some(Ok(_)) | None => this.ticket.settle(),
                }
                Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Done => true,
            Kind::Whole(_) => false,
            Kind::Timed(timed) => timed.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Done => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Timed(timed) => timed.size_hint(),
        }
    }
}

/// The size of [`pattern`].
const PATTERN: usize = 64 * 1_024;

/// A block of well-mixed bytes; binary answers repeat it.
fn pattern() -> &'static Bytes {
    static BLOCK: OnceLock<Bytes> = OnceLock::new();
    BLOCK.get_or_init(|| {
        let mut rng = Rng::new(0);
        (0..PATTERN / 8)
            .flat_map(|_| rng.next().to_le_bytes())
            .collect()
    })
}

#[derive(Debug)]
struct Timed {
    content: Content,
    plan: Plan,
    line: Arc<Line>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// Bytes of the content that have been given out.
    at: usize,
    length: usize,
    /// The event that holds the byte `at`.
    event: usize,
    started: Instant,
    not_before: Option<Instant>,
    /// When a cut looks whether its time has come.
    drained: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether the writer has had its turn since the last piece.
    rested: bool,
    ended: bool,
}

impl Timed {
    fn new(content: Content, plan: Plan, line: Arc<Line>) -> Self {
        let length = match &content {
            Content::Whole(bytes) => bytes.len(),
            Content::Stream(script) => script.bytes.len(),
            Content::Pattern(length) => *length,
        };
        let gzip = plan
            .gzip
            .then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        Self {
            content,
            plan,
            line,
            gzip,
            at: 0,
            length,
            event: 0,
            started: Instant::now(),
            not_before: None,
            drained: None,
            sleep: None,
            rested: false,
            ended: false,
        }
    }

    fn is_done(&self) -> bool {
        let waits = self.plan.cut.is_some() || self.plan.stall.is_some() || self.gzip.is_some();
        self.ended || (self.at == self.length && !waits)
    }

    fn size_hint(&self) -> SizeHint {
        match self.content {
            Content::Stream(_) => SizeHint::default(),
            Content::Whole(_) | Content::Pattern(_) if self.plan.gzip => SizeHint::default(),
            Content::Whole(_) | Content::Pattern(_) => {
                SizeHint::with_exact((self.length - self.at) as u64)
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Severed>>> {
        if let Some((_, wait)) = self.plan.stall.take_if(|(at, _)| *at == self.at) {
            self.not_before = Some(Instant::now() + wait);
            self.started += wait;
        }
        if self.plan.cut == Some(self.at) {
            ready!(self.poll_drained(cx));
            if self.plan.reset {
                self.line.reset();
            }
            return Poll::Ready(Some(Err(Severed)));
        }
        if self.at == self.length {
            if let Some(due) = self.not_before {
                ready!(self.poll_until(cx, due));
            }
            self.ended = true;
            return Poll::Ready(self.gzip.take().map(|gzip| Ok(trailer(gzip))));
        }
        let (end, step) = self.next_end();
        ready!(self.poll_due(cx, step));
        if self.plan.piece.is_some() && !std::mem::replace(&mut self.rested, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.rested = false;
        let piece = self.slice(end);
        Poll::Ready(Some(Ok(match &mut self.gzip {
            Some(gzip) => deflate(gzip, &piece),
            None => piece,
        })))
    }

    /// Where the next piece ends, and the step at which it is due.
    fn next_end(&mut self) -> (usize, u32) {
        let whole = [Mark {
            end: self.length,
            step: 0,
        }];
        let marks = match &self.content {
            Content::Stream(script) => &script.marks[..],
            Content::Whole(_) | Content::Pattern(_) => &whole,
        };
        while marks[self.event].end <= self.at {
            self.event += 1;
        }
        let mut end = self
            .plan
            .piece
            .map_or(marks[self.event].end, |piece| self.at + piece);
        let limits = [
            self.plan.cut,
            self.plan.stall.map(|(at, _)| at),
            Some(self.length),
        ];
        for limit in limits
            .into_iter()
            .flatten()
            .filter(|&limit| limit > self.at)
        {
            end = end.min(limit);
        }
        let last = marks[self.event..].iter().find(|mark| mark.end >= end);
        (end, last.map_or(0, |mark| mark.step))
    }

    fn slice(&mut self, end: usize) -> Bytes {
        let piece = match &self.content {
            Content::Whole(bytes) => bytes.slice(self.at..end),
            Content::Stream(script) => script.bytes.slice(self.at..end),
            Content::Pattern(_) => {
                let from = self.at % PATTERN;
                pattern().slice(from..PATTERN.min(from + (end - self.at)))
            }
        };
        self.at += piece.len();
        piece
    }

    fn poll_due(&mut self, cx: &mut Context<'_>, step: u32) -> Poll<()> {
        let wait = self
            .plan
            .first
            .saturating_add(self.plan.per_step.saturating_mul(step));
        if wait.is_zero() && self.not_before.is_none() {
            return Poll::Ready(());
        }
        let due = (self.started + wait).max(self.not_before.unwrap_or(self.started));
        self.poll_until(cx, due)
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        if Instant::now() >= due {
            return Poll::Ready(());
        }
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx)
    }

    /// Waits until what was given out has left the process, so that the peer gets exactly it.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let soon = Instant::now() + DRAIN;
            let due = *self
                .drained
                .get_or_insert(self.not_before.map_or(soon, |at| at.max(soon)));
            ready!(self.poll_until(cx, due));
            if !self.line.is_stalled() {
                return Poll::Ready(());
            }
            self.drained = None;
        }
    }
}

/// Compresses a piece and flushes it, so that the peer can read it at once.
///
/// Writing to memory cannot fail.
fn deflate(gzip: &mut GzEncoder<Vec<u8>>, piece: &[u8]) -> Bytes {
    gzip.write_all(piece).and_then(|()| gzip.flush()).ok();
    std::mem::take(gzip.get_mut()).into()
}

fn trailer(gzip: GzEncoder<Vec<u8>>) -> Bytes {
    gzip.finish().unwrap_or_default().into()
}

/// A whole body, compressed.
pub(crate) fn gzip(bytes: &[u8]) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).ok();
    trailer(gzip)
}
