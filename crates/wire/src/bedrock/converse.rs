//! `converse`, and Nova's own format, which is the same.

use std::collections::BTreeMap;

use isango_types::Usage;
use serde_json::value::RawValue;

use crate::assemble::{Members, Object};
use crate::read::Reading;

/// The names of the events of a stream.
pub(super) const EVENTS: [&str; 6] = [
    "messageStart",
    "contentBlockStart",
    "contentBlockDelta",
    "contentBlockStop",
    "messageStop",
    "metadata",
];

/// The state of one stream.
#[derive(Default)]
pub(super) struct Converse {
    role: Option<Box<str>>,
    /// Content blocks by index.
    blocks: BTreeMap<u64, Block>,
    /// Members of `messageStop` and of `metadata`, as the whole answer has them.
    answer: Object,
}

/// One content block under construction: a union in the format, so at most one of these is set.
#[derive(Default)]
struct Block {
    text: Option<String>,
    /// Members of `toolUse` (or `toolResult`) but its input.
    tool: Object,
    /// Which of them it is.
    tool_kind: Option<Box<str>>,
    /// The JSON of the tool's input so far.
    input: String,
    reasoning: Option<String>,
    signature: String,
    redacted: Option<Box<RawValue>>,
    citations: Vec<Box<RawValue>>,
}

/// Whether this is a whole answer, or what is left of one.
pub(super) fn is_whole(answer: &Members<'_>) -> bool {
    answer.has("output")
        || answer
            .object("usage")
            .is_some_and(|usage| usage.has("inputTokens"))
}

/// Whether an event without a name is one of `converse-stream`: a single member that names it.
pub(super) fn is_event(members: &Members<'_>) -> bool {
    EVENTS.iter().any(|name| members.has(name))
}

/// Reads a whole answer.
pub(super) fn whole(answer: &Members<'_>, out: &mut Reading) {
    if let Some(reason) = answer.text("stopReason") {
        out.finish_reason = Some((&*reason).into());
    }
    out.usage = answer.object("usage").map(|told| usage(&told));
    if out.usage.is_none() {
        let message = answer
            .object("output")
            .and_then(|output| output.object("message"));
        for block in message.unwrap_or_default().objects("content") {
            out.delivered_text
                .push_str(&block.text("text").unwrap_or_default());
            if let Some(tool) = block.object("toolUse") {
                out.delivered_text
                    .push_str(&tool.text("name").unwrap_or_default());
                out.delivered_text
                    .push_str(tool.get("input").map_or("", |input| input.get()));
            }
        }
    }
}

impl Converse {
    /// Reads one event; returns whether there was content in it.
    pub(super) fn event(&mut self, name: &str, told: &Members<'_>, out: &mut Reading) -> bool {
        match name {
            "messageStart" => self.role = told.text("role").map(|role| (&*role).into()),
            "contentBlockStart" => return self.open(told, out),
            "contentBlockDelta" => return self.grow(told, out),
            "messageStop" => {
                out.finish_reason = told.text("stopReason").map(|reason| (&*reason).into());
                self.keep(told);
            }
            "metadata" => self.keep(told),
            _ => {}
        }
        false
    }

    /// Takes over the members of an event but its padding.
    fn keep(&mut self, told: &Members<'_>) {
        for (name, raw) in told.iter() {
            if name != "p" {
                self.answer.put(name, raw);
            }
        }
    }

    fn open(&mut self, told: &Members<'_>, out: &mut Reading) -> bool {
        let Some(start) = told.object("start") else {
            return false;
        };
        let block = self
            .blocks
            .entry(told.count("contentBlockIndex"))
            .or_default();
        let mut has_content = false;
        for (kind, raw) in start.iter() {
            if let Some(tool) = Members::parse(raw.get().as_bytes()) {
                out.delivered_text
                    .push_str(&tool.text("name").unwrap_or_default());
                block.tool.merge(&tool);
                block.tool_kind = Some(kind.into());
                has_content = true;
            }
        }
        has_content
    }

    fn grow(&mut self, told: &Members<'_>, out: &mut Reading) -> bool {
        let Some(delta) = told.object("delta") else {
            return false;
        };
        let block = self
            .blocks
            .entry(told.count("contentBlockIndex"))
            .or_default();
        let before = out.delivered_text.len();
        if let Some(text) = delta.text("text") {
            block.text.get_or_insert_default().push_str(&text);
            out.delivered_text.push_str(&text);
        }
        if let Some(input) = delta.object("toolUse").and_then(|tool| tool.text("input")) {
            block.input.push_str(&input);
            out.delivered_text.push_str(&input);
        }
        if let Some(reasoning) = delta.object("reasoningContent") {
            if let Some(text) = reasoning.text("text") {
                block.reasoning.get_or_insert_default().push_str(&text);
                out.delivered_text.push_str(&text);
            }
            block
                .signature
                .push_str(&reasoning.text("signature").unwrap_or_default());
            if let Some(redacted) = reasoning.get("redactedContent") {
                block.redacted = Some(redacted.to_owned());
            }
        }
        if let Some(citation) = delta.get("citation") {
            block.citations.push(citation.to_owned());
        }
        out.delivered_text.len() > before
    }

    /// Settles the usage; returns the whole answer, of what has come.
    pub(super) fn finish(self, out: &mut Reading) -> Option<Vec<u8>> {
        // Only `metadata`, the last event, tells a usage: it is there and final, or absent.
        let told = self.answer.members().object("usage");
        out.usage = out.usage.or(told.map(|told| usage(&told)));
        if self.role.is_none() && self.blocks.is_empty() && self.answer.is_empty() {
            return None;
        }
        let content: Vec<Object> = self.blocks.into_values().map(Block::assemble).collect();
        let mut message = Object::default();
        message.set("role", self.role.as_deref().unwrap_or("assistant"));
        message.set("content", &content);
        let mut output = Object::default();
        output.set("message", &message);
        let mut whole = Object::default();
        whole.set("output", &output);
        whole.merge(&self.answer.members());
        whole.into_json()
    }
}

impl Block {
    fn assemble(mut self) -> Object {
        let mut block = Object::default();
        if let Some(kind) = &self.tool_kind {
            if !self.input.is_empty() || !self.tool.members().has("input") {
                let input = if self.input.is_empty() {
                    "{}"
                } else {
                    &self.input
                };
                self.tool.set_json("input", input);
            }
            block.set(kind, &self.tool);
        }
        let mut reasoning = Object::default();
        if self.reasoning.is_some() || !self.signature.is_empty() {
            let mut text = Object::default();
            text.set("text", &self.reasoning.unwrap_or_default());
            if !self.signature.is_empty() {
                text.set("signature", &self.signature);
            }
            reasoning.set("reasoningText", &text);
        }
        if let Some(redacted) = &self.redacted {
            reasoning.put("redactedContent", redacted);
        }
        if !reasoning.is_empty() {
            block.set("reasoningContent", &reasoning);
        }
        if self.citations.is_empty() {
            if let Some(text) = &self.text {
                block.set("text", text);
            }
        } else {
            let mut text = Object::default();
            text.set("text", &self.text.unwrap_or_default());
            let mut cited = Object::default();
            cited.set("content", &[text]);
            cited.set("citations", &self.citations);
            block.set("citationsContent", &cited);
        }
        block
    }
}

/// Brings a `usage` into disjoint buckets whose sum is `totalTokens`.
///
/// `inputTokens` does not include what the cache gave or took; where a total says that it does, it
/// is taken at its word. `cacheDetails` splits what was written by lifetime. Nova's `invoke` spells
/// the cache members with `Count` at their end.
pub(super) fn usage(told: &Members<'_>) -> Usage {
    let either = |name: &str, other: &str| told.count(name).max(told.count(other));
    let cache_read = either("cacheReadInputTokens", "cacheReadInputTokenCount");
    let written = either("cacheWriteInputTokens", "cacheWriteInputTokenCount");
    let hour = told
        .objects("cacheDetails")
        .iter()
        .filter(|detail| detail.text("ttl").as_deref() == Some("1h"))
        .fold(0_u64, |sum, detail| {
            sum.saturating_add(detail.count("inputTokens"))
        })
        .min(written);
    let output = told.count("outputTokens");
    let mut input = told.count("inputTokens");
    let cached = cache_read.saturating_add(written);
    if told.count("totalTokens") == input.saturating_add(output) && cached <= input {
        input -= cached;
    }
    Usage {
        input,
        cache_read,
        cache_write: written - hour,
        cache_write_1h: hour,
        output,
        ..Usage::default()
    }
}
