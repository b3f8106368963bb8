//! Google Gemini, on its own host and on Vertex AI; Vertex also serves models of others here.
//!
//! Sources: Gemini API reference, "Generating content", "Counting tokens", "Embeddings"; Vertex AI
//! reference, `GenerateContentResponse`, "Imagen API", "Text embeddings API"; read 2026-11-22.

use std::borrow::Cow;
use std::collections::BTreeMap;

use isango_types::Operation;

use crate::assemble::{Members, Object, frame, settle_cut};
use crate::facts::Facts;
use crate::format::{Event, Format, error_code};
use crate::guest::Guest;
use crate::read::Reading;
use crate::{openai, path};

mod candidate;
mod usage;

use candidate::Candidate;

/// What method and path tell: `…/models/{model}:{method}`.
pub(crate) fn facts<'p>(method: &str, path: &'p str) -> Facts<'p> {
    let path = path.trim_end_matches('/');
    if path.contains("/openai/") || path.contains("/endpoints/openapi/") {
        return openai::facts(method, path);
    }
    let mut segments = path.rsplit('/');
    let last = path::decode(segments.next().unwrap_or_default());
    let parent = segments.next().unwrap_or_default();
    let Some((model, verb)) = split_last(last.clone(), ':') else {
        return match (method, parent, &*last) {
            ("GET", _, "models") => Facts {
                operation: Operation::Models,
                ..Facts::default()
            },
            ("GET", "models", _) => Facts {
                operation: Operation::Models,
                model: Some(last),
                stream: None,
            },
            _ => Facts::default(),
        };
    };
    // An escaped slash stands before it where `models/` is part of the segment.
    let model = split_last(model.clone(), '/').map_or(model, |(_, model)| model);
    let (operation, stream) = verb_facts(&verb, &model);
    Facts {
        operation,
        model: (!model.is_empty()).then_some(model),
        stream,
    }
}

/// Splits at the last `at`; a borrowed text stays borrowed.
fn split_last(text: Cow<'_, str>, at: char) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    match text {
        Cow::Borrowed(text) => text
            .rsplit_once(at)
            .map(|(front, back)| (front.into(), back.into())),
        Cow::Owned(text) => text
            .rsplit_once(at)
            .map(|(front, back)| (front.to_owned().into(), back.to_owned().into())),
    }
}

/// What the method of a model tells, in any case, and whether it streams. `predict` says nothing of
/// what is made; the family of the model does.
fn verb_facts(verb: &str, model: &str) -> (Operation, Option<bool>) {
    const VERBS: [(&str, Operation, Option<bool>); 8] = [
        ("generateContent", Operation::GenerateContent, Some(false)),
        (
            "streamGenerateContent",
            Operation::GenerateContent,
            Some(true),
        ),
        ("countTokens", Operation::CountTokens, Some(false)),
        ("embedContent", Operation::Embeddings, Some(false)),
        ("batchEmbedContents", Operation::Embeddings, Some(false)),
        ("predictLongRunning", Operation::Video, Some(false)),
        // Models of others: whether they stream is said in the body.
        ("rawPredict", Operation::Chat, None),
        ("streamRawPredict", Operation::Chat, Some(true)),
    ];
    let is = |known: &str| verb.eq_ignore_ascii_case(known);
    if is("predict") {
        return if model.starts_with("imagen") || model.starts_with("imagegeneration") {
            (Operation::Image, Some(false))
        } else if model.contains("embedding") || model.contains("gecko") {
            (Operation::Embeddings, Some(false))
        } else {
            (Operation::Other, None)
        };
    }
    if is("rawPredict") && model == "count-tokens" {
        return (Operation::CountTokens, Some(false));
    }
    let found = VERBS.into_iter().find(|(known, ..)| is(known));
    found.map_or((Operation::Other, None), |(_, kind, stream)| (kind, stream))
}

/// The state of one stream.
pub(crate) struct Gemini {
    operation: Operation,
    /// The format of a model of others; settled by the first event.
    guest: Option<Guest>,
    /// Members of the answer but its candidates and its usage.
    answer: Object,
    /// Candidates by index.
    candidates: BTreeMap<u64, Candidate>,
    /// Members of `usageMetadata`; later values replace earlier ones, all of them are cumulative.
    usage: Object,
    /// How many candidates did not tell yet why they ended.
    open: usize,
    /// The prompt was refused: there will be no candidate.
    is_refused: bool,
    /// An `error` that broke the stream off.
    error: Option<Object>,
}

impl Format for Gemini {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            guest: None,
            answer: Object::default(),
            candidates: BTreeMap::new(),
            usage: Object::default(),
            open: 0,
            is_refused: false,
            error: None,
        }
    }

    fn whole(operation: Operation, body: &[u8], out: &mut Reading) {
        let Some(answer) = Members::parse_cut(body) else {
            return;
        };
        // What a count or the description of a cache tells as `usageMetadata` was not used by it.
        if !operation.is_billed() {
            return;
        }
        if let Some(guest) = Guest::of(operation, &answer) {
            return guest.whole(operation, body, out);
        }
        describe(&answer, out);
        for candidate in answer.objects("candidates") {
            ended(&candidate, out);
        }
        out.usage = match answer.object("usageMetadata") {
            Some(told) => Some(usage::generated(&told)),
            None => usage::predicted(&answer),
        };
        if out.usage.is_none() {
            for candidate in answer.objects("candidates") {
                for part in candidate
                    .object("content")
                    .unwrap_or_default()
                    .objects("parts")
                {
                    candidate::deliver(&part, &mut out.delivered_text);
                }
            }
        }
        if answer.has("error") {
            out.error_code = error_code(body);
        }
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Reading) -> bool {
        if let Some(guest) = &mut self.guest {
            return guest.event(event, out);
        }
        let Some(answer) = frame(event, out) else {
            return false;
        };
        if self.is_untouched() {
            self.guest = Guest::of(self.operation, &answer);
            if let Some(guest) = &mut self.guest {
                return guest.event(event, out);
            }
        }
        if answer.has("error") {
            out.error_code = error_code(event.data);
            self.error.get_or_insert_default().merge(&answer);
            return false;
        }
        describe(&answer, out);
        if let Some(told) = answer.object("usageMetadata") {
            self.usage.merge(&told);
        }
        for (name, raw) in answer.iter() {
            if !matches!(name, "candidates" | "usageMetadata") {
                self.answer.put(name, raw);
            }
        }
        self.grow(&answer, out)
    }

    fn finish(self, out: &mut Reading) -> Option<Vec<u8>> {
        if let Some(guest) = self.guest {
            return guest.finish(out);
        }
        // A usage that was found behind a gap is the final one.
        if out.usage.is_none() && !self.usage.is_empty() {
            let told = usage::generated(&self.usage.members());
            out.usage = Some(if self.is_ended() {
                told
            } else {
                settle_cut(told, out)
            });
        }
        self.assemble()
    }
}

impl Gemini {
    fn is_untouched(&self) -> bool {
        self.answer.is_empty() && self.candidates.is_empty() && self.usage.is_empty()
    }

    /// Adds the parts of an event to the candidates; returns whether there was content in them.
    fn grow(&mut self, answer: &Members<'_>, out: &mut Reading) -> bool {
        let mut has_content = false;
        for told in answer.objects("candidates") {
            ended(&told, out);
            let candidate = self
                .candidates
                .entry(told.count("index"))
                .or_insert_with(|| {
                    self.open += 1;
                    Candidate::default()
                });
            let was_ended = candidate.is_ended;
            has_content |= candidate.grow(&told, &mut out.delivered_text);
            self.open -= usize::from(candidate.is_ended && !was_ended);
        }
        self.is_refused |= answer
            .object("promptFeedback")
            .is_some_and(|told| told.has("blockReason"));
        has_content
    }

    /// Whether the usage that was told last is the final one.
    fn is_ended(&self) -> bool {
        self.is_refused || (self.open == 0 && !self.candidates.is_empty())
    }

    /// The whole answer, of what has come. An error that broke it off stands in it as `error`;
    /// when nothing else came, it is the answer.
    fn assemble(self) -> Option<Vec<u8>> {
        if self.is_untouched() {
            return self.error?.into_json();
        }
        let mut whole = Object::default();
        if !self.candidates.is_empty() {
            let candidates: Vec<Object> = self
                .candidates
                .into_values()
                .map(Candidate::assemble)
                .collect();
            whole.set("candidates", &candidates);
        }
        if !self.usage.is_empty() {
            whole.set("usageMetadata", &self.usage);
        }
        whole.merge(&self.answer.members());
        if let Some(error) = self.error {
            whole.merge(&error.members());
        }
        whole.into_json()
    }
}

/// Reads what an answer tells about itself. A refused prompt has no candidate that could tell why
/// it ended.
fn describe(answer: &Members<'_>, out: &mut Reading) {
    let text = |name| answer.text(name).map(|text| Box::from(&*text));
    out.model = text("modelVersion").or_else(|| out.model.take());
    out.id = text("responseId").or_else(|| out.id.take());
    if out.finish_reason.is_none() {
        out.finish_reason = answer
            .object("promptFeedback")
            .and_then(|told| told.text("blockReason"))
            .map(|reason| (&*reason).into());
    }
}

/// Reads why the first candidate ended.
fn ended(candidate: &Members<'_>, out: &mut Reading) {
    if out.finish_reason.is_none() {
        out.finish_reason = candidate
            .text("finishReason")
            .map(|reason| (&*reason).into());
    }
}

#[cfg(test)]
mod tests;
