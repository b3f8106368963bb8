//! Reads an answer that has passed: model, usage, finish reason, the whole answer of a stream.

use std::borrow::Cow;

use bytes::Bytes;
use isango_types::{Operation, Usage, Wire};
use serde_json::value::RawValue;

use crate::anthropic::Anthropic;
use crate::bedrock::Bedrock;
use crate::body;
use crate::cohere::Cohere;
use crate::decode::Decoder;
use crate::eventstream::{self, Messages};
use crate::format::{Event, Events, Format};
use crate::gemini::Gemini;
use crate::json;
use crate::json_stream::{Elements, Lines};
use crate::opaque::Opaque;
use crate::openai::Openai;
use crate::sse::{self, Frames};

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
    /// Whether the raw frames of a stream are wanted.
    pub keep_raw: bool,
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
    /// The decoded raw frames of a stream, where they were asked for.
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
#[derive(Clone, Debug)]
pub enum Decoded {
    /// One valid JSON document.
    Json(Box<RawValue>),
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
    let pieces = decode(answer, &mut out);
    let stream_body = match Transport::of(answer, &pieces) {
        Transport::Whole => None,
        Transport::Sse => stream::<F, _>(Frames::default(), sse::resync, answer, &pieces, &mut out),
        Transport::Lines => stream::<F, _>(Lines::default(), line_end, answer, &pieces, &mut out),
        Transport::Elements => {
            stream::<F, _>(Elements::default(), nowhere, answer, &pieces, &mut out)
        }
        Transport::Aws => stream::<F, _>(
            Messages::default(),
            eventstream::resync,
            answer,
            &pieces,
            &mut out,
        ),
    };
    if let Some(body) = stream_body {
        out.raw = (out.is_stream && answer.keep_raw).then(|| pieces.concat());
        out.body = Some(Decoded::of(body.into()));
        return out;
    }
    let bytes = body::joined(pieces);
    let is_empty = bytes.is_empty();
    let known = match out.events {
        0 => whole::<F>(answer, &bytes, &mut out),
        _ => None,
    };
    let decoded = match known {
        Some(json) => Some(Decoded::Json(json)),
        None => (!is_empty).then(|| Decoded::of(bytes)),
    };
    // Some errors are one JSON document that calls itself a stream.
    out.is_stream &= out.events > 0 || !matches!(decoded, Some(Decoded::Json(_)));
    out.raw = decoded
        .as_ref()
        .filter(|_| out.is_stream && answer.keep_raw)
        .map(|body| body.as_bytes().to_vec());
    out.body = decoded;
    out
}

/// The captured chunks without their content encoding; one piece for each chunk.
fn decode<'a>(answer: &Answer<'a>, out: &mut Reading) -> Vec<Cow<'a, [u8]>> {
    let mut decoder = match Decoder::new(answer.content_encoding) {
        Ok(decoder) => decoder,
        Err(unknown) => {
            out.note(unknown);
            return answer
                .chunks
                .iter()
                .map(|chunk| Cow::Borrowed(&**chunk))
                .collect();
        }
    };
    let pieces = answer
        .chunks
        .iter()
        .map(|chunk| decoder.push(chunk))
        .collect();
    if let Some(trouble) = decoder.trouble() {
        out.note(trouble);
    }
    pieces
}

/// How the bytes of an answer are cut into events.
enum Transport {
    /// Not at all.
    Whole,
    Sse,
    /// JSON lines.
    Lines,
    /// One JSON array (Gemini without `alt=sse`).
    Elements,
    /// AWS event stream.
    Aws,
}

impl Transport {
    fn of(answer: &Answer<'_>, pieces: &[Cow<'_, [u8]>]) -> Self {
        let content_type = answer.content_type.unwrap_or_default();
        if answer.wire != Wire::Gemini && content_type.eq_ignore_ascii_case("application/json") {
            return Self::Whole;
        }
        let content_type = content_type.to_ascii_lowercase();
        let is = |name: &str| content_type.contains(name);
        if is("event-stream") {
            Self::Sse
        } else if is("amazon.eventstream") {
            Self::Aws
        } else if is("ndjson") || is("jsonl") || is("json-lines") || is("stream+json") {
            Self::Lines
        } else if answer.wire == Wire::Gemini && answer.status < 400 && starts_with(pieces, b"[") {
            Self::Elements
        } else if (content_type.is_empty() || is("text/plain"))
            && SSE_STARTS.iter().any(|start| starts_with(pieces, start))
        {
            Self::Sse
        } else {
            Self::Whole
        }
    }
}

/// How a stream begins whose content type does not tell.
const SSE_STARTS: [&[u8]; 3] = [b"data:", b"event:", b": "];

/// Whether the body begins with `start`, white space aside.
fn starts_with(pieces: &[Cow<'_, [u8]>], start: &[u8]) -> bool {
    let head = pieces.iter().flat_map(|piece| piece.iter());
    let mut head = head.skip_while(|byte| byte.is_ascii_whitespace());
    start.iter().all(|byte| head.next() == Some(byte))
}

/// Reads a stream event by event; gives the whole answer that they make up.
fn stream<F: Format, E: Events + Default>(
    mut events: E,
    resync: fn(&[u8]) -> Option<usize>,
    answer: &Answer<'_>,
    pieces: &[Cow<'_, [u8]>],
    out: &mut Reading,
) -> Option<Vec<u8>> {
    out.is_stream = true;
    let mut state = F::new(answer.operation);
    for (index, piece) in pieces.iter().enumerate() {
        events.push(piece, &mut |event| take(&mut state, &event, index, out));
    }
    let last = pieces.len().saturating_sub(1);
    if answer.tail.is_empty() {
        events.finish(&mut |event| take(&mut state, &event, last, out));
    } else {
        out.note("the middle of the stream was not kept, and is missing in what is put together");
        let is_encoded = pieces.iter().any(|piece| matches!(piece, Cow::Owned(_)));
        if let Some(from) = resync(answer.tail).filter(|_| !is_encoded) {
            let mut rest = E::default();
            rest.push(&answer.tail[from..], &mut |event| {
                take(&mut state, &event, last, out)
            });
            rest.finish(&mut |event| take(&mut state, &event, last, out));
        } else if !is_encoded {
            late_usage::<F>(answer, out);
        }
    }
    if events.dropped() > 0 {
        out.note(format!(
            "{} events are larger than 32 MiB and were left out",
            events.dropped()
        ));
    }
    state.finish(out)
}

fn take<F: Format>(state: &mut F, event: &Event<'_>, chunk: usize, out: &mut Reading) {
    if event.data.is_empty() && !event.exception {
        return;
    }
    out.events += 1;
    if state.event(event, out) && out.first_token_chunk.is_none() {
        out.first_token_chunk = Some(chunk);
    }
}

/// Where the line ends that `bytes` begin in the middle of.
fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes).map(|end| end + 1)
}

/// An array cannot be entered in its middle.
fn nowhere(_: &[u8]) -> Option<usize> {
    None
}

/// Reads a whole answer; gives it where it was seen to be one valid JSON document.
fn whole<F: Format>(answer: &Answer<'_>, body: &[u8], out: &mut Reading) -> Option<Box<RawValue>> {
    if answer.status >= 400 {
        out.error_code = F::error_code(body);
        return None;
    }
    let known = match std::str::from_utf8(body) {
        Ok(text) => F::whole_text(answer.operation, text, out).then(|| json::known_document(text)),
        Err(_) => {
            F::whole(answer.operation, body, out);
            None
        }
    };
    if out.usage.is_none() && !answer.tail.is_empty() && answer.content_encoding.is_none() {
        late_usage::<F>(answer, out);
    }
    known.flatten()
}

/// Names under which the formats tell what was used.
const USAGE_NAMES: [&str; 3] = ["usage", "usageMetadata", "meta"];

/// Reads the usage at the end of an answer whose middle is missing.
fn late_usage<F: Format>(answer: &Answer<'_>, out: &mut Reading) {
    for name in USAGE_NAMES {
        let quoted = format!("\"{name}\"");
        let Some(at) = memchr::memmem::rfind(answer.tail, quoted.as_bytes()) else {
            continue;
        };
        let after = answer.tail[at + quoted.len()..].trim_ascii_start();
        let Some(value) = after.strip_prefix(b":") else {
            continue;
        };
        let mut values = serde_json::Deserializer::from_slice(value).into_iter::<&RawValue>();
        if let Some(Ok(usage)) = values.next() {
            let mut late = Reading::default();
            F::whole(
                answer.operation,
                format!("{{{quoted}:{}}}", usage.get()).as_bytes(),
                &mut late,
            );
            if late.usage.is_some() {
                out.usage = late.usage;
                return;
            }
        }
    }
}

impl Decoded {
    /// The bytes of the body.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(json) => json.get().as_bytes(),
            Self::Bytes(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }

    /// `bytes` that are known to be one JSON document.
    pub(crate) fn known(bytes: Cow<'_, [u8]>) -> Self {
        match std::str::from_utf8(&bytes)
            .ok()
            .and_then(json::known_document)
        {
            Some(json) => Self::Json(json),
            None => Self::of(bytes),
        }
    }

    /// `bytes` as what they are.
    pub(crate) fn of(bytes: Cow<'_, [u8]>) -> Self {
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Self::Bytes(bytes.into_owned());
        };
        match json::document(text) {
            Some(json) => Self::Json(json),
            None => Self::text(bytes),
        }
    }

    /// `bytes` as text, if they are UTF-8.
    pub(crate) fn text(bytes: Cow<'_, [u8]>) -> Self {
        String::from_utf8(bytes.into_owned())
            .map_or_else(|not_text| Self::Bytes(not_text.into_bytes()), Self::Text)
    }
}

impl PartialEq for Decoded {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.as_bytes() == other.as_bytes()
    }
}

#[cfg(test)]
mod tests;
