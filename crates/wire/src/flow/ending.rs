//! The end of a stream in its own format, for one that goes no further: the events that a provider
//! sends when an answer has reached its longest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isango_types::Wire;
use serde_json::{Value, json};

use crate::assemble::{Members, Object};
use crate::eventstream;
use crate::format::Event;

/// Longest event that is remembered.
const MAX_REMEMBERED_BYTES: usize = 256 << 10;
/// Most answers side by side that are ended.
const MAX_ANSWERS: u64 = 128;

/// What of a stream is needed to end it.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// The first event, which of some formats describes the answer.
    first: Option<Box<[u8]>>,
    /// The event with which the stream ends.
    last: Option<Box<[u8]>>,
    /// The event's name there.
    name: Option<Box<str>>,
}

impl Ending {
    /// An event passes; `is_last`: nothing is to follow it.
    pub(super) fn see(&mut self, event: &Event<'_>, is_last: bool) {
        let kept = || (event.data.len() <= MAX_REMEMBERED_BYTES).then(|| event.data.into());
        if self.first.is_none() {
            self.first = Some(kept().unwrap_or_default());
        }
        if is_last {
            self.last = kept();
            self.name = event.name.map(Into::into);
        }
    }

    /// The bytes that end the stream behind its last event; `None`: its format is not known.
    pub(super) fn write(&self, wire: Wire, tokens: u64, answers: u64) -> Option<Vec<u8>> {
        let last = Members::parse(self.last.as_deref()?)?;
        match wire {
            Wire::Openai if last.has("choices") => chat(&last, answers),
            Wire::Openai => self.response(&last),
            Wire::Anthropic => Some(sse(&claude(&last, tokens)?)),
            Wire::Gemini if last.has("candidates") => gemini(&last),
            Wire::Bedrock => self.aws(&last, tokens),
            Wire::Cohere => cohere(&last),
            Wire::Gemini | Wire::Opaque => None,
        }
    }

    /// Responses: the answer is incomplete.
    fn response(&self, last: &Members<'_>) -> Option<Vec<u8>> {
        let first = Members::parse(self.first.as_deref()?)?;
        let began = first.object("response")?;
        let mut response = Object::default();
        response.merge(&began);
        response.set("status", "incomplete");
        let why = json!({ "reason": "max_output_tokens" });
        response.set("incomplete_details", &why);
        let mut event = Object::default();
        event.set("type", "response.incomplete");
        event.set("sequence_number", &(last.count("sequence_number") + 1));
        event.set("response", &response);
        Some(named("response.incomplete", &event.into_json()?))
    }

    /// Bedrock: Converse, or the events of a maker in chunks.
    fn aws(&self, last: &Members<'_>, tokens: u64) -> Option<Vec<u8>> {
        let message = |name: &str, payload: &Value| eventstream::event(name, &payload.to_string());
        match self.name.as_deref()? {
            "contentBlockDelta" => {
                let index = last.count("contentBlockIndex");
                let events = [
                    ("contentBlockStop", json!({ "contentBlockIndex": index })),
                    ("messageStop", json!({ "stopReason": "max_tokens" })),
                ];
                let mut bytes = Vec::new();
                for (name, payload) in &events {
                    bytes.extend(message(name, payload)?);
                }
                Some(bytes)
            }
            "chunk" => {
                let inner = STANDARD.decode(last.text("bytes")?.as_bytes()).ok()?;
                let events = claude(&Members::parse(&inner)?, tokens)?;
                let mut bytes = Vec::new();
                for (_, event) in &events {
                    let inner = STANDARD.encode(event.to_string());
                    bytes.extend(message("chunk", &json!({ "bytes": inner }))?);
                }
                Some(bytes)
            }
            _ => None,
        }
    }
}

/// Server-sent events with their names.
fn sse(events: &[(&str, Value)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, event) in events {
        bytes.extend(named(name, event.to_string().as_bytes()));
    }
    bytes
}

fn named(name: &str, data: &[u8]) -> Vec<u8> {
    [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"].concat()
}

fn data(data: &[u8]) -> Vec<u8> {
    [b"data: ", data, b"\n\n"].concat()
}

/// Chat and text completions: each choice has reached its length.
fn chat(last: &Members<'_>, answers: u64) -> Option<Vec<u8>> {
    let mut chunk = Object::default();
    for (name, value) in last.iter() {
        if !matches!(name, "choices" | "usage" | "obfuscation") {
            chunk.put(name, value);
        }
    }
    let is_text = last.text("object").as_deref() == Some("text_completion");
    let choice = |index| match is_text {
        true => json!({ "index": index, "text": "", "finish_reason": "length", "logprobs": null }),
        false => json!({ "index": index, "delta": {}, "finish_reason": "length" }),
    };
    let count = answers.clamp(1, MAX_ANSWERS);
    let choices: Vec<Value> = (0..count).map(choice).collect();
    chunk.set("choices", &choices);
    Some([data(&chunk.into_json()?), data(b"[DONE]")].concat())
}

/// Claude: its block ends, and its message.
fn claude(last: &Members<'_>, tokens: u64) -> Option<[(&'static str, Value); 3]> {
    if last.text("type").as_deref() != Some("content_block_delta") {
        return None;
    }
    let index = last.count("index");
    let stop = json!({ "stop_reason": "max_tokens", "stop_sequence": null });
    Some([
        (
            "content_block_stop",
            json!({ "type": "content_block_stop", "index": index }),
        ),
        (
            "message_delta",
            json!({ "type": "message_delta", "delta": stop, "usage": { "output_tokens": tokens } }),
        ),
        ("message_stop", json!({ "type": "message_stop" })),
    ])
}

/// Gemini: the first candidate has reached its length.
fn gemini(last: &Members<'_>) -> Option<Vec<u8>> {
    let mut chunk = Object::default();
    let candidate = json!({
        "content": { "parts": [{ "text": "" }], "role": "model" },
        "finishReason": "MAX_TOKENS",
        "index": 0,
    });
    chunk.set("candidates", &[candidate]);
    for (name, value) in last.iter().filter(|(name, _)| *name != "candidates") {
        chunk.put(name, value);
    }
    Some([b"data: ", &*chunk.into_json()?, b"\r\n\r\n"].concat())
}

/// Cohere's second version: its block ends, and its message.
fn cohere(last: &Members<'_>) -> Option<Vec<u8>> {
    if last.text("type").as_deref() != Some("content-delta") {
        return None;
    }
    let index = last.count("index");
    Some(sse(&[
        (
            "content-end",
            json!({ "type": "content-end", "index": index }),
        ),
        (
            "message-end",
            json!({ "type": "message-end", "delta": { "finish_reason": "MAX_TOKENS" } }),
        ),
    ]))
}
