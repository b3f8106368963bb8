//! Models whose `invoke` answers are flat objects: Titan, Llama, Mistral, and pictures.

use std::borrow::Cow;

use isango_types::Usage;
use serde_json::value::RawValue;

use crate::assemble::{Members, Object, settle_cut};
use crate::read::Reading;

/// Where these formats keep text; the order is of no matter, an answer has one of them.
const TEXTS: [&str; 3] = ["outputText", "generation", "text"];
/// Where they keep a list of answers with such a text.
const LISTS: [&str; 3] = ["results", "outputs", "generations"];
/// Where they say why they ended.
const REASONS: [&str; 3] = ["completionReason", "stop_reason", "finish_reason"];

/// The state of one stream.
#[derive(Default)]
pub(super) struct Plain {
    /// The members of all events; later values replace earlier ones.
    answer: Object,
    /// The list that the events wrap their text in, if they do.
    list: Option<&'static str>,
    /// The member that the text stands in.
    member: Option<&'static str>,
    text: String,
    is_ended: bool,
}

/// Reads a whole answer.
pub(super) fn whole(answer: &Members<'_>, out: &mut Reading) {
    let mut output = answer.count("generation_token_count");
    out.finish_reason = reason(answer).or_else(|| out.finish_reason.take());
    for list in LISTS {
        for result in answer.objects(list) {
            output = output.saturating_add(result.count("tokenCount"));
            out.finish_reason = out.finish_reason.take().or_else(|| reason(&result));
            if let Some((_, text)) = text(&result) {
                out.delivered_text.push_str(&text);
            }
        }
    }
    if let Some((_, text)) = text(answer) {
        out.delivered_text.push_str(&text);
    }
    let images = answer.read::<Vec<&RawValue>>("images");
    let usage = Usage {
        input: input(answer),
        output,
        images: images.map_or(0, |images| u64::try_from(images.len()).unwrap_or(u64::MAX)),
        ..Usage::default()
    };
    out.usage = (!usage.is_empty()).then_some(usage);
}

impl Plain {
    /// Reads one event; returns whether there was content in it. `metrics` is Bedrock's own member.
    pub(super) fn event(&mut self, told: &Members<'_>, metrics: &str, out: &mut Reading) -> bool {
        self.is_ended |= told.has(metrics);
        let wrapped = LISTS
            .into_iter()
            .find_map(|list| Some((list, told.objects(list).pop()?)));
        if let Some((list, result)) = wrapped {
            self.list = Some(list);
            return self.grow(&result, metrics, out);
        }
        self.grow(told, metrics, out)
    }

    fn grow(&mut self, told: &Members<'_>, metrics: &str, out: &mut Reading) -> bool {
        if let Some(reason) = reason(told) {
            out.finish_reason = Some(reason);
            self.is_ended = true;
        }
        let (member, text) = text(told).unzip();
        for (name, raw) in told.iter() {
            if name != metrics && Some(name) != member {
                self.answer.put(name, raw);
            }
        }
        let Some(text) = text else { return false };
        self.member = member;
        self.text.push_str(&text);
        out.delivered_text.push_str(&text);
        !text.is_empty()
    }

    /// Settles the usage; returns the whole answer, of what has come.
    pub(super) fn finish(self, out: &mut Reading) -> Option<Vec<u8>> {
        let told = self.answer.members();
        let usage = Usage {
            input: input(&told),
            output: told
                .count("generation_token_count")
                .max(told.count("totalOutputTextTokenCount")),
            ..Usage::default()
        };
        if !usage.is_empty() {
            out.usage = Some(if self.is_ended {
                usage
            } else {
                settle_cut(usage, out)
            });
        }
        self.assemble(usage.output)
    }

    /// The shape of a whole answer: Titan's events are the fields of its only result.
    fn assemble(self, output: u64) -> Option<Vec<u8>> {
        let member = self.member?;
        let mut result = Object::default();
        let mut whole = Object::default();
        if member == "outputText" {
            whole.set("inputTextTokenCount", &input(&self.answer.members()));
            result.set("tokenCount", &output);
            result.set(member, &self.text);
            if let Some(reason) = self.answer.members().get("completionReason") {
                result.put("completionReason", reason);
            }
            whole.set("results", &[result]);
            return whole.into_json();
        }
        result.set(member, &self.text);
        result.merge(&self.answer.members());
        match self.list {
            Some(list) => whole.set(list, &[result]),
            None => whole = result,
        }
        whole.into_json()
    }
}

fn text<'t>(told: &Members<'t>) -> Option<(&'static str, Cow<'t, str>)> {
    TEXTS
        .into_iter()
        .find_map(|name| Some((name, told.text(name)?)))
}

fn reason(told: &Members<'_>) -> Option<Box<str>> {
    REASONS
        .into_iter()
        .find_map(|name| Some((&*told.text(name)?).into()))
}

/// Tokens of the prompt: Titan's name for them, and Llama's.
fn input(told: &Members<'_>) -> u64 {
    told.count("inputTextTokenCount")
        .max(told.count("prompt_token_count"))
}
