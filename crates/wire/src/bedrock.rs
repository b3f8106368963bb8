//! Amazon Bedrock runtime: `converse` in one format for all models, `invoke` in each maker's own.
//!
//! Sources: Amazon Bedrock API reference, `Converse`, `ConverseStream`, `InvokeModel`,
//! `InvokeModelWithResponseStream`, `TokenUsage`, `CacheDetail`; user guide, "Inference request
//! parameters and response fields"; read 2026-11-22.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isango_types::{Operation, Usage};

use crate::assemble::{Members, frame};
use crate::facts::Facts;
use crate::format::{Event, Format, error_code};
use crate::guest::Guest;
use crate::read::Reading;
use crate::{openai, path};

mod converse;
mod plain;

use converse::Converse;
use plain::Plain;

/// What Bedrock adds to the last event of an `invoke` stream, whatever the model.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// What method and path tell: `/model/{model}/{verb}`; the model may be a percent-encoded ARN.
pub(crate) fn facts<'p>(method: &str, path: &'p str) -> Facts<'p> {
    let path = path.trim_end_matches('/');
    // An operator's own address may hold a path before these.
    let Some((model, verb)) = path
        .split_once("/model/")
        .and_then(|(_, rest)| rest.rsplit_once('/'))
    else {
        if path.contains("/openai/") {
            return openai::facts(method, path);
        }
        return Facts::default();
    };
    let model = path::decode(model);
    let (operation, stream) = match verb {
        "converse" => (Operation::Chat, Some(false)),
        "converse-stream" => (Operation::Chat, Some(true)),
        "invoke" => (invoked(&model), Some(false)),
        "invoke-with-response-stream" => (invoked(&model), Some(true)),
        "invoke-with-bidirectional-stream" => (Operation::Speech, Some(true)),
        "count-tokens" => (Operation::CountTokens, Some(false)),
        _ => (Operation::Other, None),
    };
    Facts {
        operation,
        model: Some(model),
        stream,
    }
}

/// What invoking a model does; only its name tells.
fn invoked(model: &str) -> Operation {
    const KINDS: [(&str, Operation); 10] = [
        ("rerank", Operation::Rerank),
        ("embed", Operation::Embeddings),
        ("canvas", Operation::Image),
        ("titan-image", Operation::Image),
        ("stability.", Operation::Image),
        ("nova-reel", Operation::Video),
        ("luma.", Operation::Video),
        ("titan-text", Operation::TextCompletion),
        ("titan-tg1", Operation::TextCompletion),
        ("meta.llama", Operation::TextCompletion),
    ];
    KINDS
        .iter()
        .find(|(part, _)| model.contains(part))
        .map_or(Operation::Chat, |(_, kind)| *kind)
}

/// The state of one stream.
pub(crate) struct Bedrock {
    operation: Operation,
    /// Settled by the first event.
    inner: Option<Inner>,
    /// What Bedrock itself measured, in the last event of an `invoke` stream.
    metrics: Option<Usage>,
    /// An exception broke the stream off.
    exception: Option<Vec<u8>>,
}

/// The format inside.
enum Inner {
    /// `converse-stream`, and Nova.
    Converse(Converse),
    /// The format of another provider: Claude, gpt-oss, Command R.
    Guest(Guest),
    /// A flat object per event: Titan, Llama, Mistral.
    Plain(Plain),
}

impl Format for Bedrock {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            inner: None,
            metrics: None,
            exception: None,
        }
    }

    fn whole(operation: Operation, body: &[u8], out: &mut Reading) {
        let Some(answer) = Members::parse_cut(body) else {
            return;
        };
        if operation == Operation::CountTokens {
            return;
        }
        if let Some(guest) = Guest::of(operation, &answer) {
            return guest.whole(operation, body, out);
        }
        if converse::is_whole(&answer) {
            return converse::whole(&answer, out);
        }
        match answer.object("usage") {
            // The tail of an answer of Claude; its beginning was dropped.
            Some(told) if told.has("input_tokens") => {
                Guest::anthropic(operation).whole(operation, body, out);
            }
            Some(_) | None => plain::whole(&answer, out),
        }
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Reading) -> bool {
        if event.exception {
            out.error_code = event
                .name
                .map(Into::into)
                .or_else(|| error_code(event.data));
            self.exception = Some(event.data.to_vec());
            return false;
        }
        match event.name {
            // An `invoke` stream: the maker's JSON in base64.
            Some("chunk") => self.chunk(event.data, out),
            Some(name) if converse::EVENTS.contains(&name) => {
                let Some(told) = frame(event, out) else {
                    return false;
                };
                let inner = self
                    .inner
                    .get_or_insert_with(|| Inner::Converse(Converse::default()));
                match inner {
                    Inner::Converse(converse) => converse.event(name, &told, out),
                    Inner::Guest(_) | Inner::Plain(_) => false,
                }
            }
            // Server-sent events of an endpoint in a maker's own format.
            name => self.unwrapped(event, name.is_none(), out),
        }
    }

    fn finish(self, out: &mut Reading) -> Option<Vec<u8>> {
        let whole = match self.inner {
            Some(Inner::Converse(converse)) => converse.finish(out),
            Some(Inner::Guest(guest)) => guest.finish(out),
            Some(Inner::Plain(plain)) => plain.finish(out),
            None => None,
        };
        // The maker's own usage tells more (lifetimes of the cache, searches), so it comes first.
        if out.usage.is_none_or(|usage| usage.estimated) && self.metrics.is_some() {
            out.usage = self.metrics;
        }
        whole.or(self.exception)
    }
}

impl Bedrock {
    fn chunk(&mut self, data: &[u8], out: &mut Reading) -> bool {
        let json = Members::parse(data)
            .and_then(|chunk| chunk.text("bytes"))
            .and_then(|bytes| STANDARD.decode(bytes.as_bytes()).ok());
        if let Some(json) = json {
            let event = Event {
                name: None,
                data: &json,
                exception: false,
            };
            return self.unwrapped(&event, true, out);
        }
        out.note("a chunk of the stream has no base64 bytes");
        false
    }

    /// An event in the format of the model's maker; one that `may_be_plain` if nothing else fits.
    fn unwrapped(&mut self, event: &Event<'_>, may_be_plain: bool, out: &mut Reading) -> bool {
        let Some(members) = frame(event, out) else {
            return false;
        };
        if let Some(told) = members.object(METRICS) {
            self.metrics = Some(Usage {
                input: told.count("inputTokenCount"),
                cache_read: told.count("cacheReadInputTokenCount"),
                cache_write: told.count("cacheWriteInputTokenCount"),
                output: told.count("outputTokenCount"),
                ..Usage::default()
            });
        }
        if self.inner.is_none() {
            self.inner = match Guest::of(self.operation, &members) {
                Some(guest) => Some(Inner::Guest(guest)),
                None if converse::is_event(&members) => Some(Inner::Converse(Converse::default())),
                None => may_be_plain.then(|| Inner::Plain(Plain::default())),
            };
        }
        match &mut self.inner {
            Some(Inner::Converse(converse)) => {
                let mut has_content = false;
                for (name, raw) in members.iter() {
                    if let Some(told) = Members::parse(raw.get().as_bytes()) {
                        has_content |= converse.event(name, &told, out);
                    }
                }
                has_content
            }
            Some(Inner::Guest(guest)) => guest.event(event, out),
            Some(Inner::Plain(plain)) => plain.event(&members, METRICS, out),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
