//! OpenAI and all that speak like it: chat and text completions, Responses, embeddings, images,
//! audio, moderation, rerank. Azure, Groq, DeepSeek, Mistral, xAI, Perplexity, OpenRouter, Workers
//! AI and others differ in members, not in shape.
//!
//! Sources: OpenAI API reference; Azure OpenAI reference (content filter chunks); Groq API
//! reference (`x_groq`); DeepSeek API reference (`prompt_cache_hit_tokens`); xAI API reference
//! (reasoning beside `completion_tokens`); OpenRouter API reference; read 2026-11-22.

mod completion;
mod merge;
mod path;
mod responses;
mod usage;

use std::borrow::Cow;

use isango_types::{Operation, Usage};
use serde_json::value::RawValue;

use self::merge::{Fields, Row};
use self::responses::Responses;
use crate::cut;
use crate::format::{Event, Format, error_code};
use crate::json::{self, Kind};
use crate::read::Reading;
use crate::repeat::Repeat;

pub(crate) use self::path::facts;

/// The state of one stream.
pub(crate) struct Openai {
    operation: Operation,
    /// Chunks of chat and text completions (and Workers AI's), merged.
    chunks: Fields,
    /// The last of the chunks, and where in `chunks` its text went.
    repeat: Repeat<Vec<usize>>,
    /// A Responses stream.
    responses: Responses,
    /// Images, speech, transcripts: text so far, and the event that ends the stream.
    text: String,
    last: Option<Vec<u8>>,
}

impl Format for Openai {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            chunks: Fields::default(),
            repeat: Repeat::default(),
            responses: Responses::default(),
            text: String::new(),
            last: None,
        }
    }

    fn whole(operation: Operation, body: &[u8], out: &mut Reading) {
        Self::any_whole(operation, body, out);
    }

    fn whole_text(operation: Operation, body: &str, out: &mut Reading) -> bool {
        if !completion::read(operation, body, out) {
            return Self::any_whole(operation, body.as_bytes(), out);
        }
        if out.usage.is_none() {
            json::collect_prose(body.as_bytes(), &mut out.delivered_text);
        }
        true
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Reading) -> bool {
        if let Some((piece, place)) = self.repeat.text(event)
            && let Some(text) = self.chunks.text_at(place)
        {
            text.push_str(&piece);
            return !piece.is_empty();
        }
        let (members, is_whole) = json::try_members(event.data);
        if members.is_empty() {
            return false;
        }
        let member = |name| json::member(&members, name);
        let fails = |error: &&RawValue| matches!(json::kind(error), Kind::Object | Kind::Text);
        if member("error").is_some_and(|error| fails(&error)) || event.name == Some("error") {
            out.error_code = error_code(event.data).or_else(|| Some("error".into()));
        }
        match member("type").and_then(json::text) {
            Some(kind) if member("choices").is_none() => {
                if kind == "error" {
                    out.error_code = error_code(event.data).or_else(|| Some("error".into()));
                }
                if kind.starts_with("response.") {
                    self.responses.event(&kind, &members, out)
                } else {
                    self.typed_event(&kind, &members, out)
                }
            }
            Some(_) | None => {
                let has_content = self.chunk(&members, out);
                if is_whole && has_content && self.repeat.is_eager() {
                    self.learn(event, &members);
                }
                has_content
            }
        }
    }

    fn finish(self, out: &mut Reading) -> Option<Vec<u8>> {
        if self.responses.has_begun() {
            return self.responses.finish(out);
        }
        if let Some(last) = self.last {
            out.delivered_text = self.text;
            return Some(last);
        }
        if !self.text.is_empty() {
            let mut body = b"{\"text\":".to_vec();
            json::write_text(&mut body, &self.text);
            body.push(b'}');
            out.delivered_text = self.text;
            return Some(body);
        }
        if self.chunks.is_empty() {
            return None;
        }
        out.finish_reason = self.chunks.finish_reason();
        self.chunks.collect_prose(&mut out.delivered_text);
        Some(self.chunks.to_json())
    }
}

impl Openai {
    /// Reads an answer of any kind; whether it was one valid JSON document.
    fn any_whole(operation: Operation, body: &[u8], out: &mut Reading) -> bool {
        let mut duration_ms = None;
        let (mut pieces, mut searches) = (0, 0);
        let mut has_error = false;
        let is_json = json::each_member(body, |name, value| {
            if !identify(&name, value, out) {
                match &*name {
                    "usage" => out.usage = usage::read(operation, value).or(out.usage),
                    // Workers AI wraps its answers.
                    "result" if json::kind(value) == Kind::Object => {
                        Self::whole(operation, value.get().as_bytes(), out);
                    }
                    "duration" => duration_ms = json::thousandths(value),
                    "data" if operation == Operation::Image => pieces = elements(value),
                    "output" => searches = usage::count_searches(value),
                    "error" => has_error |= json::kind(value) == Kind::Object,
                    _ => {}
                }
            }
        });
        if has_error {
            out.error_code = error_code(body).or_else(|| Some("error".into()));
        }
        match &mut out.usage {
            Some(usage) => usage.searches = usage.searches.saturating_add(searches),
            None => out.usage = by_piece(operation, duration_ms, pieces),
        }
        if out.usage.is_none() && writes_text(operation) {
            cut::collect_prose(body, is_json, &mut out.delivered_text);
        }
        is_json
    }

    /// A chunk of a completion.
    fn chunk(&mut self, members: &[(Cow<'_, str>, &RawValue)], out: &mut Reading) -> bool {
        let mut has_content = false;
        for (name, value) in members {
            match &**name {
                "model" if out.model.is_none() => out.model = json::label(value),
                "id" if out.id.is_none() => out.id = json::label(value),
                "usage" => out.usage = usage::read(self.operation, value).or(out.usage),
                "x_groq" if out.usage.is_none() => {
                    let usage = member_of(value, "usage");
                    out.usage = usage.and_then(|usage| usage::read(self.operation, usage));
                }
                _ => {}
            }
            has_content |= self.chunks.merge(name, value);
        }
        has_content
    }

    /// Remembers a chunk that brought one text, for those that repeat it.
    fn learn(&mut self, event: &Event<'_>, members: &[(Cow<'_, str>, &RawValue)]) {
        let mut row = Row::default();
        let place = self
            .chunks
            .open(members, &mut row)
            .and_then(|()| row.place.take());
        self.repeat
            .learn(event, place.map(|place| (&*row.open, place)));
    }

    /// An event of an image, speech or transcription stream.
    fn typed_event(
        &mut self,
        kind: &str,
        members: &[(Cow<'_, str>, &RawValue)],
        out: &mut Reading,
    ) -> bool {
        let member = |name| json::member(members, name);
        if let Some(usage) = member("usage") {
            out.usage = usage::read(self.operation, usage).or(out.usage);
        }
        if let Some(model) = member("model").and_then(json::label) {
            out.model = Some(model);
        }
        if kind.ends_with(".delta") {
            let delta = member("delta").and_then(json::text).unwrap_or_default();
            self.text.push_str(&delta);
            return !delta.is_empty() || member("audio").is_some();
        }
        if kind.ends_with(".completed") || kind.ends_with(".done") {
            self.last = Some(without_envelope(members));
            return member("b64_json").is_some();
        }
        kind.ends_with(".partial_image")
    }
}

/// The whole answer that the last event of a typed stream stands for: an image answer has its
/// picture in `data` and the time as `created`; a transcript is the event without its type.
fn without_envelope(members: &[(Cow<'_, str>, &RawValue)]) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    for (name, value) in members {
        let (before, name, after) = match &**name {
            "type" | "sequence_number" | "partial_image_index" => continue,
            "created_at" => ("", "created", ""),
            "b64_json" => ("[{\"b64_json\":", "data", "}]"),
            name => ("", name, ""),
        };
        body.push(if body.is_empty() { b'{' } else { b',' });
        json::write_text(&mut body, name);
        body.push(b':');
        for part in [before, value.get(), after] {
            body.extend_from_slice(part.as_bytes());
        }
    }
    if body.is_empty() {
        body.push(b'{');
    }
    body.push(b'}');
    body
}

/// Takes the members that say which answer this is; whether `name` was one of them.
///
/// Azure's filter chunks name an empty model and id, which say nothing.
fn identify(name: &str, value: &RawValue, out: &mut Reading) -> bool {
    match name {
        "model" => out.model = json::label(value).or(out.model.take()),
        "id" => out.id = json::label(value).or(out.id.take()),
        "choices" => out.finish_reason = finish_reason(value).or(out.finish_reason.take()),
        // Of a Responses object.
        "status" => out.finish_reason = out.finish_reason.take().or(json::label(value)),
        "incomplete_details" => {
            let reason = member_of(value, "reason").and_then(json::label);
            out.finish_reason = reason.or(out.finish_reason.take());
        }
        _ => return false,
    }
    true
}

/// Why the first of `choices` ended.
fn finish_reason(choices: &RawValue) -> Option<Box<str>> {
    let mut first = None;
    json::each_element(choices.get().as_bytes(), |choice| {
        first = first.or(Some(choice))
    });
    member_of(first?, "finish_reason").and_then(json::label)
}

/// The member `name` of an object.
fn member_of<'j>(object: &'j RawValue, name: &str) -> Option<&'j RawValue> {
    let mut found = None;
    json::each_member(object.get().as_bytes(), |key, value| {
        if key == name {
            found = Some(value);
        }
    });
    found
}

fn elements(array: &RawValue) -> u64 {
    let mut count = 0;
    json::each_element(array.get().as_bytes(), |_| count += 1);
    count
}

/// What an answer without tokens used: pictures are billed by piece, transcripts by duration.
fn by_piece(operation: Operation, duration_ms: Option<u64>, pictures: u64) -> Option<Usage> {
    let mut usage = Usage::default();
    if operation == Operation::Image {
        usage.images = pictures;
    } else if operation == Operation::Transcription {
        usage.audio_ms = duration_ms.unwrap_or(0);
    }
    (!usage.is_empty()).then_some(usage)
}

/// Whether an answer of this kind holds text that a model made, and that could be counted.
const fn writes_text(operation: Operation) -> bool {
    match operation {
        Operation::Chat
        | Operation::TextCompletion
        | Operation::Responses
        | Operation::GenerateContent
        | Operation::Transcription => true,
        Operation::Embeddings
        | Operation::Image
        | Operation::Speech
        | Operation::Video
        | Operation::Moderation
        | Operation::Rerank
        | Operation::CountTokens
        | Operation::Models
        | Operation::Other => false,
    }
}

#[cfg(test)]
mod tests;
