//! What a strict gateway keeps back of an answer until its record is on disk: the last frame of a
//! body whose length is known, the event that ends a stream, and in any case the end itself.
//!
//! Everything before passes in the poll that brought it. Nothing of this is there for a relaxed
//! gateway.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use memchr::memmem;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use crate::exchange::Exchange;

/// Told whether the record is on disk; dropped, it is not.
pub(crate) type Receipt = oneshot::Sender<bool>;

/// How long an answer waits for its record.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes that are held behind an event that ends a stream; with more, it was none.
const MAX_HELD: usize = 64 << 10;
/// How the events begin that tell a client that a stream is whole: of OpenAI's chat completions, of
/// Anthropic's messages, of OpenAI's responses.
const LAST_EVENTS: [&[u8]; 4] = [
    b"data: [DONE]",
    b"data:[DONE]",
    b"event: message_stop",
    b"event: response.completed",
];

/// Why an answer has no end.
#[derive(Debug, thiserror::Error)]
#[error("the record of this answer could not be stored in time")]
pub(crate) struct NotRecorded;

/// The end of an answer.
pub(crate) struct Hold {
    is_stream: bool,
    held: BytesMut,
    pub(crate) trailers: Option<Frame<Bytes>>,
    waiting: Option<(oneshot::Receiver<bool>, Pin<Box<Sleep>>)>,
}

impl Hold {
    /// Of a stream of events, or of another body.
    pub(crate) fn new(is_stream: bool) -> Self {
        Self {
            is_stream,
            held: BytesMut::new(),
            trailers: None,
            waiting: None,
        }
    }

    /// Takes a chunk of the answer in; returns what may pass.
    pub(crate) fn take_in(&mut self, mut chunk: Bytes, is_last: bool) -> Bytes {
        if self.held.is_empty() {
            let end = match self.is_stream {
                true => last_event(&chunk),
                false => None,
            };
            let kept = chunk.split_off(end.unwrap_or(match is_last {
                true => 0,
                false => chunk.len(),
            }));
            self.held.extend_from_slice(&kept);
            return chunk;
        }
        self.held.extend_from_slice(&chunk);
        if self.held.len() > MAX_HELD && !is_last {
            return self.held.split().freeze();
        }
        Bytes::new()
    }

    /// The record is written now.
    pub(crate) fn begin(&mut self, exchange: &mut Exchange) {
        let (receipt, waiting) = oneshot::channel();
        self.waiting = Some((waiting, Box::pin(sleep(PATIENCE))));
        exchange.leave(Some(receipt));
    }

    pub(crate) const fn has_begun(&self) -> bool {
        self.waiting.is_some()
    }

    /// Ready when it is known whether the record is on disk, or was waited for long enough.
    pub(crate) fn poll_stored(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some((waiting, patience)) = &mut self.waiting else {
            return Poll::Ready(false);
        };
        match Pin::new(waiting).poll(cx) {
            Poll::Ready(told) => Poll::Ready(told.unwrap_or(false)),
            Poll::Pending => patience.as_mut().poll(cx).map(|()| false),
        }
    }

    /// What was held.
    pub(crate) fn release(&mut self) -> (Bytes, Option<Frame<Bytes>>) {
        (self.held.split().freeze(), self.trailers.take())
    }
}

/// Where the event begins that ends a stream.
fn last_event(chunk: &[u8]) -> Option<usize> {
    let starts = |at: &usize| *at == 0 || chunk[at - 1] == b'\n';
    let found = LAST_EVENTS.iter();
    found
        .filter_map(|event| memmem::rfind(chunk, event).filter(starts))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes of each chunk, the last of which is the body's last one, and what is held.
    fn check(is_stream: bool, chunks: &[&'static str], passed: &[&str], held: &str) {
        let mut hold = Hold::new(is_stream);
        let last = chunks.len() - 1;
        let all: Vec<Bytes> = chunks
            .iter()
            .enumerate()
            .map(|(at, chunk)| hold.take_in(Bytes::from_static(chunk.as_bytes()), at == last))
            .collect();
        assert_eq!(all, passed);
        assert_eq!(hold.release().0, held);
    }

    #[test]
    fn the_last_chunk_of_a_body_is_held_and_what_comes_before_passes() {
        check(false, &["{\"a\":", "1}"], &["{\"a\":", ""], "1}");
        check(
            false,
            &["data: [DONE]\n\n", "x"],
            &["data: [DONE]\n\n", ""],
            "x",
        );
    }

    #[test]
    fn the_event_that_ends_a_stream_is_held_with_what_follows() {
        let done = "data: [DONE]\n\n";
        check(
            true,
            &["data: 1\n\n", done, ""],
            &["data: 1\n\n", "", ""],
            done,
        );
        check(
            true,
            &["data: 1\n\ndata: [DONE]\n\n", "\n"],
            &["data: 1\n\n", ""],
            "data: [DONE]\n\n\n",
        );
        check(
            true,
            &["event: message_stop\ndata: {}\n\n"],
            &[""],
            "event: message_stop\ndata: {}\n\n",
        );
    }

    #[test]
    fn text_that_looks_like_the_end_is_no_end() {
        let text = "data: {\"a\":\"data: [DONE]\"}\n\n";
        check(true, &[text, "data: 2\n\n"], &[text, ""], "data: 2\n\n");
    }

    #[test]
    fn an_end_that_goes_on_for_long_was_none() {
        let mut hold = Hold::new(true);
        assert_eq!(hold.take_in("data: [DONE]\n\n".into(), false), "");
        let more = Bytes::from(vec![b'x'; MAX_HELD]);
        assert_eq!(hold.take_in(more, false).len(), MAX_HELD + 14);
    }
}
