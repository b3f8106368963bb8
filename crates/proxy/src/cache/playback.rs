//! A kept or shared answer as the body of an answer of ours.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use isango_store::cache::Entry;
use isango_types::policy::Replay;
use tokio::time::{Instant, Sleep, sleep_until};

use super::flight::Passenger;
use crate::error::BoxError;
use crate::exchange::Exchange;

/// Where the bytes of an answer come from that was asked for before.
pub(crate) enum Playback {
    /// An answer that is kept.
    Kept(Kept),
    /// One that is on its way.
    Shared(Passenger),
}

/// A kept answer, and how far it has been given.
pub(crate) struct Kept {
    entry: Arc<Entry>,
    next: usize,
    pace: Option<Pace>,
}

/// When the first frame left, and the wait for the next one.
struct Pace {
    begun: Option<Instant>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Playback {
    /// Gives a kept answer again.
    pub(crate) fn of(entry: Arc<Entry>, replay: Replay) -> Self {
        let has_pace = !entry.answer.times_us.is_empty();
        let pace = match replay {
            Replay::Recorded if has_pace => Some(Pace {
                begun: None,
                wait: None,
            }),
            Replay::Recorded | Replay::AtOnce => None,
        };
        Self::Kept(Kept {
            entry,
            next: 0,
            pace,
        })
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Kept(kept) => kept
                .poll_frame(cx)
                .map(|frame| frame.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Shared(passenger) => passenger.poll_frame(cx),
        }
    }

    /// The client of `exchange` leaves before the end.
    pub(crate) fn leaves(&self, exchange: &mut Exchange) {
        match self {
            Self::Kept(_) => {}
            Self::Shared(passenger) => passenger.leaves(exchange),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Kept(kept) => kept.next >= kept.entry.answer.frames.len(),
            Self::Shared(passenger) => passenger.is_end_stream(),
        }
    }

    /// Whether the provider broke it off.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::Kept(_) => false,
            Self::Shared(passenger) => passenger.is_broken(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let length = match self {
            Self::Kept(kept) => kept.length(),
            Self::Shared(passenger) => passenger.length(),
        };
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Kept {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let answer = &self.entry.answer;
        let Some(frame) = answer.frames.get(self.next) else {
            return Poll::Ready(None);
        };
        if let Some(pace) = &mut self.pace {
            let after = answer.times_us.get(self.next).copied().unwrap_or_default();
            if pace.poll_due(after, cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.next += 1;
        Poll::Ready(Some(frame.clone()))
    }

    /// Bytes that are left, where the length was announced when the answer was asked for.
    fn length(&self) -> Option<u64> {
        let answer = &self.entry.answer;
        let left = answer.frames.get(self.next..).unwrap_or_default();
        let length: usize = left.iter().map(Bytes::len).sum();
        (!answer.is_chunked).then_some(length as u64)
    }
}

impl Pace {
    /// Whether a frame is due that came `after_us` microseconds after the first one.
    fn poll_due(&mut self, after_us: u32, cx: &mut Context<'_>) -> Poll<()> {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let due = begun + Duration::from_micros(after_us.into());
        if self.wait.is_none() && due <= Instant::now() {
            return Poll::Ready(());
        }
        let wait = self.wait.get_or_insert_with(|| Box::pin(sleep_until(due)));
        let waited = wait.as_mut().poll(cx);
        if waited.is_ready() {
            self.wait = None;
        }
        waited
    }
}
