//! Reads an answer that has passed: model, usage, finish reason, the whole answer of a stream.

use bytes::Bytes;
use isango_types::{Operation, Usage, Wire};

use crate::anthropic::Anthropic;
use crate::bedrock::Bedrock;
use crate::cohere::Cohere;
use crate::eventstream::Messages;
use crate::format::{Events, Format};
use crate::gemini::Gemini;
use crate::opaque::Opaque;
use crate::openai::Openai;
use crate::sse::Frames;

/// How many notes a reading has at most.
const MAX_NOTES: usize = 4;

/// An answer, as captured while it was relayed.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The format.
    pub wire: Wire,
    /// The kind of call.
    pub operation: Operation,
    /// HTTP status.
    pub status: u16,
    /// `content-type`, if any.
    pub content_type: Option<&'a str>,
    /// `content-encoding`, if any: `gzip`, `deflate`, `br`, `zstd` and lists of them are decoded.
    pub content_encoding: Option<&'a str>,
    /// The captured bytes, in order, as they came (still encoded).
    pub chunks: &'a [Bytes],
    /// Bytes from the end of a capture whose middle was dropped; empty when `chunks` is whole.
    pub tail: &'a [u8],
    /// Whether the answer ended as a whole one. `false`: cut by the provider or left by the client.
    pub complete: bool,
}

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The model that served it.
    pub model: Option<Box<str>>,
    /// The provider's id of the answer.
    pub id: Option<Box<str>>,
    /// What it used; `None` when it told nothing.
    pub usage: Option<Usage>,
    /// Why it ended.
    pub finish_reason: Option<Box<str>>,
    /// The provider's error code or type (`insufficient_quota`, `overloaded_error`), of an error
    /// answer or of an error event in a stream.
    pub error_code: Option<Box<str>>,
    /// Whether the body was a stream of events (SSE, AWS event stream, JSON lines).
    pub is_stream: bool,
    /// The decoded body, or of a stream the whole answer in the provider's own shape, as JSON.
    pub body: Option<Decoded>,
    /// The decoded raw frames of a stream.
    pub raw: Option<Vec<u8>>,
    /// How many events a stream had.
    pub events: u64,
    /// Index into `chunks` of the one that completed the first event with content (a token of
    /// text, reasoning, tool call, audio); `None` when there was none.
    pub first_token_chunk: Option<usize>,
    /// Text that the client received, for counting tokens where the provider told no usage.
    pub delivered_text: String,
    /// What could not be read and why (`"content-encoding \"x\" is unknown"`); at most 4.
    pub notes: Vec<String>,
}

impl Reading {
    /// Adds a note; the fifth and later ones are dropped.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note.into());
        }
    }
}

/// A decoded body.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// One valid JSON document.
    Json(Vec<u8>),
    /// Other text in UTF-8.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

/// Reads `answer`. Never fails: what cannot be read is absent and named in `notes`.
#[must_use]
pub fn read(answer: &Answer<'_>) -> Reading {
    match answer.wire {
        Wire::Openai => read_as::<Openai>(answer),
        Wire::Anthropic => read_as::<Anthropic>(answer),
        Wire::Gemini => read_as::<Gemini>(answer),
        Wire::Bedrock => read_as::<Bedrock>(answer),
        Wire::Cohere => read_as::<Cohere>(answer),
        Wire::Opaque => read_as::<Opaque>(answer),
    }
}

fn read_as<F: Format>(answer: &Answer<'_>) -> Reading {
    let mut out = Reading::default();
    let mut state = F::new(answer.operation);
    let mut events = Frames::default();
    for chunk in answer.chunks {
        events.push(chunk, &mut |event| {
            state.event(&event, &mut out);
        });
    }
    let mut messages = Messages::default();
    messages.finish(&mut |_| {});
    events.finish(&mut |_| {});
    state.finish(&mut out);
    F::whole(answer.operation, answer.tail, &mut out);
    out.error_code = F::error_code(answer.tail);
    out
}
