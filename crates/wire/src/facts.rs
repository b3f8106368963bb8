//! What the path of an upstream request tells.

use std::borrow::Cow;

use isango_types::{Operation, Wire};

use crate::{anthropic, bedrock, cohere, gemini, opaque, openai, path};

/// What method and path tell about a call before its body is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts<'p> {
    /// The kind of call.
    pub operation: Operation,
    /// The model, where the path names it (Gemini, Bedrock), percent-decoded.
    pub model: Option<Cow<'p, str>>,
    /// Whether the answer is a stream, where the path tells (`:streamGenerateContent`,
    /// `/converse-stream`); `None` where only the body does.
    pub stream: Option<bool>,
}

/// Reads what `path` (of the upstream, without query) tells about a call in the format `wire`.
///
/// A path that tells nothing as it stands there is read once more as the most lenient server would:
/// no spelling of an endpoint hides what it does.
#[must_use]
pub fn facts<'p>(wire: Wire, method: &str, path: &'p str) -> Facts<'p> {
    let facts = as_written(wire, method, path);
    match facts.operation == Operation::Other && path::is_unusual(path) {
        // Rare, and so kept out of the way of every request.
        true => leniently(wire, method, path).unwrap_or(facts),
        false => facts,
    }
}

#[cold]
fn leniently<'p>(wire: Wire, method: &str, path: &str) -> Option<Facts<'p>> {
    let read = path::leniently(path);
    let small = read.to_ascii_lowercase();
    let facts = as_written(wire, method, &small);
    // The name of a model is told in the letters that it was written in.
    let model = facts.model.map(|model| {
        let at = small.rfind(&*model);
        let written = at.and_then(|at| read.get(at..at + model.len()));
        written.unwrap_or(&model).to_owned().into()
    });
    (facts.operation != Operation::Other).then_some(Facts {
        operation: facts.operation,
        model,
        stream: facts.stream,
    })
}

fn as_written<'p>(wire: Wire, method: &str, path: &'p str) -> Facts<'p> {
    match wire {
        Wire::Openai => openai::facts(method, path),
        Wire::Anthropic => anthropic::facts(method, path),
        Wire::Gemini => gemini::facts(method, path),
        Wire::Bedrock => bedrock::facts(method, path),
        Wire::Cohere => cohere::facts(method, path),
        Wire::Opaque => opaque::facts(method, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_hides_what_an_endpoint_does() {
        let model = "anthropic.claude-Sonnet-4";
        for (wire, path, expected, named) in [
            (Wire::Openai, "/v1/chat/Completions", Operation::Chat, None),
            (Wire::Openai, "/v1/chat\\completions", Operation::Chat, None),
            (
                Wire::Openai,
                "/v1/chat/completions;x",
                Operation::Chat,
                None,
            ),
            (Wire::Openai, "/v1/images//edits", Operation::Image, None),
            (Wire::Openai, "/v1/audio/%73peech", Operation::Speech, None),
            (Wire::Anthropic, "/v1/%6Dessages", Operation::Chat, None),
            (Wire::Cohere, "/v2/RERANK", Operation::Rerank, None),
            (
                Wire::Bedrock,
                "/model/anthropic.claude-Sonnet-4/Converse",
                Operation::Chat,
                Some(model),
            ),
            (
                Wire::Gemini,
                "/v1beta/models/Gem-2:GENERATECONTENT",
                Operation::GenerateContent,
                Some("Gem-2"),
            ),
            (Wire::Openai, "/v1/Files", Operation::Other, None),
            (Wire::Opaque, "/v1/Chat/completions", Operation::Other, None),
        ] {
            let facts = facts(wire, "POST", path);
            let told = (facts.operation, facts.model.as_deref());
            assert_eq!(told, (expected, named), "{path}");
        }
    }
}
