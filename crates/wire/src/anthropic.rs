//! Anthropic messages, and the text completions that came before them.
//!
//! Sources: Claude API reference, "Messages", "Streaming messages", "Prompt caching",
//! "Compaction"; read 2026-11-22.

use std::collections::BTreeMap;

use isango_types::{Operation, Usage};
use serde_json::value::RawValue;

use crate::assemble::{Members, Object, frame, settle_cut};
use crate::cut;
use crate::facts::Facts;
use crate::format::{Event, Format};
use crate::read::Reading;
use crate::{json, path};

/// How many members of one content block may grow; the format knows three.
const MAX_GROWING: usize = 16;

/// What method and path tell.
pub(crate) fn facts<'p>(method: &str, path: &'p str) -> Facts<'p> {
    let mut segments = path.trim_end_matches('/').rsplit('/');
    let last = segments.next().unwrap_or_default();
    let parent = segments.next().unwrap_or_default();
    let operation = match (method, parent, last) {
        ("POST", "messages", "count_tokens") => Operation::CountTokens,
        ("POST", _, "messages") => Operation::Chat,
        ("POST", _, "complete") => Operation::TextCompletion,
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

/// The state of one stream.
#[derive(Default)]
pub(crate) struct Anthropic {
    /// The message as it began, and what `message_delta` changed in it.
    message: Object,
    /// Content blocks by index.
    blocks: BTreeMap<u64, Block>,
    /// Members of `usage`; later values replace earlier ones, all of them are cumulative.
    usage: Object,
    /// A `message_delta` told the usage: its output is the final one.
    is_settled: bool,
    /// The text of a legacy completion.
    completion: Option<String>,
    /// An `error` event, whole.
    error: Option<Object>,
}

/// One content block under construction.
#[derive(Default)]
struct Block {
    /// The block as it began.
    start: Object,
    /// Members that grow by deltas: `text`, `thinking`, `signature`.
    grown: Vec<(Box<str>, String)>,
    /// The JSON of `input` so far.
    input: String,
    /// Members of `citations` that came by deltas.
    citations: Vec<Box<RawValue>>,
}

impl Format for Anthropic {
    fn new(_operation: Operation) -> Self {
        Self::default()
    }

    fn whole(operation: Operation, body: &[u8], out: &mut Reading) {
        let Some(answer) = Members::parse_cut(body) else {
            return;
        };
        if matches!(operation, Operation::CountTokens | Operation::Models) {
            return;
        }
        describe(&answer, out);
        out.usage = answer.object("usage").map(|usage| self::usage(&usage));
        if let Some(completion) = answer.text("completion") {
            out.delivered_text.push_str(&completion);
        } else if out.usage.is_none() {
            let is_whole = json::each_member(body, |_, _| {});
            cut::collect_prose(body, is_whole, &mut out.delivered_text);
        }
        if answer.has("error") {
            out.error_code = Self::error_code(body);
        }
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Reading) -> bool {
        let Some(frame) = frame(event, out) else {
            return false;
        };
        match frame.text("type").as_deref() {
            Some("message_start") => self.begin(&frame, out),
            Some("content_block_start") => return self.open(&frame, out),
            Some("content_block_delta") => return self.grow(&frame, out),
            Some("message_delta") => self.change(&frame, out),
            Some("completion") => return self.complete(&frame, out),
            Some("error") => {
                out.error_code = Self::error_code(event.data);
                self.error.get_or_insert_default().merge(&frame);
            }
            // `ping`, `content_block_stop`, `message_stop`, and what is yet to be invented.
            Some(_) | None => {}
        }
        false
    }

    fn finish(self, out: &mut Reading) -> Option<Vec<u8>> {
        // A usage that was found behind a gap is the final one.
        if out.usage.is_none() && !self.usage.is_empty() {
            let told = usage(&self.usage.members());
            out.usage = Some(if self.is_settled {
                told
            } else {
                settle_cut(told, out)
            });
        }
        self.assemble()
    }
}

impl Anthropic {
    fn begin(&mut self, frame: &Members<'_>, out: &mut Reading) {
        let Some(message) = frame.object("message") else {
            return;
        };
        describe(&message, out);
        if let Some(usage) = message.object("usage") {
            self.usage.merge(&usage);
        }
        self.message.merge(&message);
    }

    /// `content_block_start`: text comes by deltas; everything else is content already.
    fn open(&mut self, frame: &Members<'_>, out: &mut Reading) -> bool {
        let Some(start) = frame.object("content_block") else {
            return false;
        };
        let before = out.delivered_text.len();
        for name in ["name", "text", "thinking"] {
            out.delivered_text
                .push_str(&start.text(name).unwrap_or_default());
        }
        let is_silent = matches!(start.text("type").as_deref(), Some("text" | "thinking"));
        self.blocks
            .entry(frame.count("index"))
            .or_default()
            .start
            .merge(&start);
        !is_silent || out.delivered_text.len() > before
    }

    /// `content_block_delta`: each text of a delta continues the member of the same name, whatever
    /// the type of the delta; `partial_json` and `citation` are the two exceptions.
    fn grow(&mut self, frame: &Members<'_>, out: &mut Reading) -> bool {
        let Some(delta) = frame.object("delta") else {
            return false;
        };
        let block = self.blocks.entry(frame.count("index")).or_default();
        let before = out.delivered_text.len();
        let mut is_cited = false;
        for (name, raw) in delta.iter() {
            match name {
                "type" => {}
                "citation" => {
                    block.citations.push(raw.to_owned());
                    is_cited = true;
                }
                name => {
                    let Some(text) = delta.text(name) else {
                        continue;
                    };
                    block.put(name, &text);
                    if name != "signature" {
                        out.delivered_text.push_str(&text);
                    }
                }
            }
        }
        is_cited || out.delivered_text.len() > before
    }

    fn change(&mut self, frame: &Members<'_>, out: &mut Reading) {
        if let Some(delta) = frame.object("delta") {
            describe(&delta, out);
            self.message.merge(&delta);
        }
        for (name, raw) in frame.iter() {
            // `context_management` and the like stand beside the delta.
            if !matches!(name, "type" | "delta" | "usage") {
                self.message.put(name, raw);
            }
        }
        if let Some(usage) = frame.object("usage") {
            self.usage.merge(&usage);
            self.is_settled = true;
        }
    }

    fn complete(&mut self, frame: &Members<'_>, out: &mut Reading) -> bool {
        describe(frame, out);
        self.message.merge(frame);
        let text = frame.text("completion").unwrap_or_default();
        self.completion.get_or_insert_default().push_str(&text);
        out.delivered_text.push_str(&text);
        !text.is_empty()
    }

    /// The whole message, of what has come. An error that broke it off stands in it as `error`;
    /// when nothing else came, it is the answer.
    fn assemble(self) -> Option<Vec<u8>> {
        let Self {
            mut message,
            blocks,
            usage,
            completion,
            error,
            ..
        } = self;
        if let Some(completion) = completion {
            message.set("completion", &completion);
        } else if message.is_empty() && blocks.is_empty() && usage.is_empty() {
            return error?.into_json();
        } else {
            let content: Vec<Object> = blocks.into_values().map(Block::assemble).collect();
            message.set("content", &content);
        }
        if !usage.is_empty() {
            message.set("usage", &usage);
        }
        if let Some(cause) = error
            .as_ref()
            .and_then(|error| error.members().get("error"))
        {
            message.put("error", cause);
        }
        message.into_json()
    }
}

impl Block {
    fn put(&mut self, name: &str, text: &str) {
        if name == "partial_json" {
            self.input.push_str(text);
        } else if let Some((_, grown)) = self.grown.iter_mut().find(|(known, _)| **known == *name) {
            grown.push_str(text);
        } else if self.grown.len() < MAX_GROWING {
            self.grown.push((name.into(), text.to_owned()));
        }
    }

    fn assemble(self) -> Object {
        let mut block = self.start;
        for (name, grown) in &self.grown {
            block.append(name, grown);
        }
        if !self.input.is_empty() {
            block.set_json("input", &self.input);
        }
        if !self.citations.is_empty() {
            block.set("citations", &self.citations);
        }
        block
    }
}

/// Reads what a message, or a change of one, tells about itself.
fn describe(message: &Members<'_>, out: &mut Reading) {
    let text = |name| message.text(name).map(|text| Box::from(&*text));
    out.model = text("model").or_else(|| out.model.take());
    out.id = text("id").or_else(|| out.id.take());
    out.finish_reason = text("stop_reason").or_else(|| out.finish_reason.take());
}

/// Brings a `usage` into disjoint buckets: `input_tokens` does not include what the cache gave or
/// took; tokens written to the cache are split by lifetime where `cache_creation` tells.
///
/// What a server-side compaction used stands only in `iterations`, and is billed too.
fn usage(told: &Members<'_>) -> Usage {
    let mut usage = one_usage(told);
    usage.searches = told
        .object("server_tool_use")
        .map_or(0, |tools| tools.count("web_search_requests"));
    for iteration in told.objects("iterations") {
        if iteration.text("type").as_deref() == Some("compaction") {
            let more = one_usage(&iteration);
            usage.input = usage.input.saturating_add(more.input);
            usage.cache_read = usage.cache_read.saturating_add(more.cache_read);
            usage.cache_write = usage.cache_write.saturating_add(more.cache_write);
            usage.cache_write_1h = usage.cache_write_1h.saturating_add(more.cache_write_1h);
            usage.output = usage.output.saturating_add(more.output);
        }
    }
    usage
}

fn one_usage(told: &Members<'_>) -> Usage {
    let lifetimes = told.object("cache_creation").unwrap_or_default();
    let hour = lifetimes.count("ephemeral_1h_input_tokens");
    let minutes = lifetimes.count("ephemeral_5m_input_tokens");
    let written = told
        .count("cache_creation_input_tokens")
        .max(hour.saturating_add(minutes));
    Usage {
        input: told.count("input_tokens"),
        cache_read: told.count("cache_read_input_tokens"),
        cache_write: written.saturating_sub(hour),
        cache_write_1h: hour,
        output: told.count("output_tokens"),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests;
