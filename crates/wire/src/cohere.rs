//! Cohere: chat (v2, and v1 as server-sent events or lines of JSON), generate, embed, rerank.
//!
//! Sources: Cohere API reference v2, "Chat", "Embed", "Rerank", "Chat with Streaming"; v1, "Chat",
//! "Generate"; read 2026-11-22.

use std::collections::BTreeMap;

use isango_types::{Operation, Usage};
use serde_json::value::RawValue;

use crate::assemble::{Members, Object, frame};
use crate::facts::Facts;
use crate::format::{Event, Format, error_code};
use crate::openai::{self, Openai};
use crate::path;
use crate::read::Reading;

/// What method and path tell.
pub(crate) fn facts<'p>(method: &str, path: &'p str) -> Facts<'p> {
    if path.contains("/compatibility/") {
        return openai::facts(method, path);
    }
    let mut segments = path.trim_end_matches('/').rsplit('/');
    let last = segments.next().unwrap_or_default();
    let parent = segments.next().unwrap_or_default();
    let operation = match (method, parent, last) {
        ("POST", _, "chat") => Operation::Chat,
        ("POST", _, "generate") => Operation::TextCompletion,
        ("POST", _, "embed") => Operation::Embeddings,
        ("POST", _, "rerank") => Operation::Rerank,
        ("POST", _, "classify") => Operation::Moderation,
        ("POST", _, "tokenize") => Operation::CountTokens,
        ("POST", "audio", "transcriptions") => Operation::Transcription,
        ("GET", _, "models") | ("GET", "models", _) => Operation::Models,
        _ => Operation::Other,
    };
    let described = operation == Operation::Models && parent == "models";
    Facts {
        operation,
        model: described.then(|| path::decode(last)),
        stream: None,
    }
}

/// The state of one stream, settled by its first event.
pub(crate) struct Cohere {
    operation: Operation,
    version: Version,
}

enum Version {
    Unknown,
    One(Generation),
    Two(Chat),
    /// The OpenAI-compatible endpoint.
    Compatible(Openai),
}

impl Format for Cohere {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            version: Version::Unknown,
        }
    }

    fn whole(operation: Operation, body: &[u8], out: &mut Reading) {
        let Some(answer) = Members::parse_cut(body) else {
            return;
        };
        if matches!(operation, Operation::CountTokens | Operation::Models) {
            return;
        }
        if answer.has("choices") || answer.has("object") {
            return Openai::whole(operation, body, out);
        }
        describe(&answer, out);
        out.usage = usage(&answer);
        if out.usage.is_none() {
            let message = answer.object("message").unwrap_or_default();
            for content in message.objects("content").iter().chain([&answer]) {
                out.delivered_text
                    .push_str(&content.text("text").unwrap_or_default());
            }
        }
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Reading) -> bool {
        if let Version::Compatible(inner) = &mut self.version {
            return inner.event(event, out);
        }
        let Some(told) = frame(event, out) else {
            return false;
        };
        if matches!(self.version, Version::Unknown) {
            self.version = if told.has("choices") {
                Version::Compatible(Openai::new(self.operation))
            } else if told.has("type") {
                Version::Two(Chat::default())
            } else {
                Version::One(Generation::default())
            };
        }
        match &mut self.version {
            Version::Unknown => false,
            Version::One(generation) => generation.event(&told, out),
            Version::Two(chat) => {
                let before = out.delivered_text.len();
                chat.event(&told, event.data, out);
                out.delivered_text.len() > before
            }
            Version::Compatible(inner) => inner.event(event, out),
        }
    }

    fn finish(self, out: &mut Reading) -> Option<Vec<u8>> {
        match self.version {
            Version::Unknown => None,
            Version::One(generation) => generation.finish(),
            Version::Two(chat) => chat.finish(),
            Version::Compatible(inner) => inner.finish(out),
        }
    }
}

/// A stream of version 2.
#[derive(Default)]
struct Chat {
    /// `id`, `finish_reason`, `usage`.
    answer: Object,
    /// Members of `message` that come whole.
    message: Object,
    /// Entries of `content` by index: as they began, text, thinking.
    content: BTreeMap<u64, (Object, String, String)>,
    tool_plan: String,
    /// Entries of `tool_calls` by index: as they began, arguments.
    tool_calls: BTreeMap<u64, (Object, String)>,
    citations: Vec<Box<RawValue>>,
}

impl Chat {
    fn event(&mut self, told: &Members<'_>, data: &[u8], out: &mut Reading) {
        let kind = told.text("type").unwrap_or_default();
        let delta = told.object("delta").unwrap_or_default();
        let message = delta.object("message").unwrap_or_default();
        let index = told.count("index");
        match &*kind {
            "message-start" => {
                describe(told, out);
                if let Some(id) = told.get("id") {
                    self.answer.put("id", id);
                }
                self.message.merge(&message);
            }
            "content-start" | "content-delta" => self.content(index, &message, out),
            "tool-plan-delta" => {
                let more = message.text("tool_plan").unwrap_or_default();
                self.tool_plan.push_str(&more);
                out.delivered_text.push_str(&more);
            }
            "tool-call-start" | "tool-call-delta" => self.tool_call(index, &message, out),
            "citation-start" => {
                self.citations
                    .extend(message.get("citations").map(ToOwned::to_owned));
            }
            "message-end" => {
                describe(&delta, out);
                out.usage = usage(&delta);
                self.answer.merge(&delta);
                if out
                    .finish_reason
                    .as_deref()
                    .is_some_and(|reason| reason.starts_with("ERROR"))
                {
                    out.error_code = out.finish_reason.clone();
                }
            }
            // `content-end`, `tool-call-end`, `citation-end`, `debug` bring nothing; an error that
            // is none of the format's events may.
            _ if told.has("error") => out.error_code = error_code(data),
            _ => {}
        }
    }

    fn content(&mut self, index: u64, message: &Members<'_>, out: &mut Reading) {
        let Some(content) = message.object("content") else {
            return;
        };
        let (start, text, thinking) = self.content.entry(index).or_default();
        for (name, raw) in content.iter() {
            let grown = match name {
                "text" => &mut *text,
                "thinking" => &mut *thinking,
                _ => {
                    start.put(name, raw);
                    continue;
                }
            };
            let more = content.text(name).unwrap_or_default();
            grown.push_str(&more);
            out.delivered_text.push_str(&more);
        }
    }

    fn tool_call(&mut self, index: u64, message: &Members<'_>, out: &mut Reading) {
        let Some(call) = message.object("tool_calls") else {
            return;
        };
        let (start, arguments) = self.tool_calls.entry(index).or_default();
        let function = call.object("function").unwrap_or_default();
        let more = function.text("arguments").unwrap_or_default();
        out.delivered_text
            .push_str(&function.text("name").unwrap_or_default());
        out.delivered_text.push_str(&more);
        arguments.push_str(&more);
        if start.is_empty() {
            start.merge(&call);
        }
    }

    /// The whole answer, of what has come.
    fn finish(self) -> Option<Vec<u8>> {
        let Self {
            answer,
            mut message,
            content,
            tool_plan,
            tool_calls,
            citations,
        } = self;
        if answer.is_empty() && message.is_empty() && content.is_empty() {
            return None;
        }
        let content: Vec<Object> = content
            .into_values()
            .map(|(mut entry, text, thinking)| {
                let is_thinking = entry.members().text("type").as_deref() == Some("thinking");
                if is_thinking || !thinking.is_empty() {
                    entry.set("thinking", &thinking);
                } else {
                    entry.set("text", &text);
                }
                entry
            })
            .collect();
        message.set("content", &content);
        if !tool_plan.is_empty() {
            message.set("tool_plan", &tool_plan);
        }
        if !tool_calls.is_empty() {
            let calls: Vec<Object> = tool_calls
                .into_values()
                .map(|(mut call, arguments)| {
                    let mut function = Object::default();
                    function.merge(&call.members().object("function").unwrap_or_default());
                    function.set("arguments", &arguments);
                    call.set("function", &function);
                    call
                })
                .collect();
            message.set("tool_calls", &calls);
        }
        if !citations.is_empty() {
            message.set("citations", &citations);
        }
        let mut whole = Object::default();
        if let Some(id) = answer.members().get("id") {
            whole.put("id", id);
        }
        whole.set("message", &message);
        whole.merge(&answer.members());
        whole.into_json()
    }
}

/// A stream of version 1, of chat or generate.
#[derive(Default)]
struct Generation {
    /// The whole answer, which the last event carries.
    response: Option<Object>,
    /// What the events told, should the last one never come.
    answer: Object,
    text: String,
}

impl Generation {
    fn event(&mut self, told: &Members<'_>, out: &mut Reading) -> bool {
        describe(told, out);
        if let Some(response) = told.object("response") {
            describe(&response, out);
            out.usage = usage(&response);
            self.response.get_or_insert_default().merge(&response);
            return false;
        }
        for (name, raw) in told.iter() {
            if !matches!(
                name,
                "text" | "event_type" | "is_finished" | "index" | "tool_call_delta"
            ) {
                self.answer.put(name, raw);
            }
        }
        let before = out.delivered_text.len();
        if let Some(text) = told.text("text") {
            // Beside `tool-calls-chunk`, a text is the plan, not the answer.
            if !told.has("tool_call_delta") {
                self.text.push_str(&text);
            }
            out.delivered_text.push_str(&text);
        }
        if let Some(call) = told.object("tool_call_delta") {
            for name in ["name", "parameters"] {
                out.delivered_text
                    .push_str(&call.text(name).unwrap_or_default());
            }
        }
        out.delivered_text.len() > before
    }

    fn finish(self) -> Option<Vec<u8>> {
        if let Some(response) = self.response {
            return response.into_json();
        }
        if self.answer.is_empty() && self.text.is_empty() {
            return None;
        }
        let mut whole = self.answer;
        whole.set("text", &self.text);
        whole.into_json()
    }
}

/// Reads what an answer, or the end of one, tells about itself.
fn describe(answer: &Members<'_>, out: &mut Reading) {
    let text = |name| answer.text(name).map(|text| Box::from(&*text));
    out.id = text("id")
        .or_else(|| text("generation_id"))
        .or_else(|| out.id.take());
    out.finish_reason = text("finish_reason").or_else(|| out.finish_reason.take());
    let generations = answer.objects("generations");
    if let Some(reason) = generations
        .first()
        .and_then(|first| first.text("finish_reason"))
    {
        out.finish_reason = Some((&*reason).into());
    }
}

/// Reads `usage` (version 2) or `meta` (version 1) of an answer.
///
/// Tokens are `tokens`, everything that the model read and wrote; only where it is absent (embed)
/// are they `billed_units`, which leave out what Cohere adds to the prompt. `cached_tokens` is a
/// part of the input. `search_units` are searches.
fn usage(answer: &Members<'_>) -> Option<Usage> {
    let told = answer.object("usage").or_else(|| answer.object("meta"))?;
    let billed = told.object("billed_units");
    let tokens = told
        .object("tokens")
        .or_else(|| billed.clone())
        .unwrap_or_default();
    let billed = billed.unwrap_or_default();
    let input = tokens.count("input_tokens");
    let cached = told.count("cached_tokens").min(input);
    let usage = Usage {
        input: input - cached,
        cache_read: cached,
        image_input: billed.count("image_tokens"),
        output: tokens.count("output_tokens"),
        searches: billed.count("search_units"),
        ..Usage::default()
    };
    (!usage.is_empty()).then_some(usage)
}

#[cfg(test)]
mod tests;
