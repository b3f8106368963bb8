//! What the path of an upstream request tells.

use std::borrow::Cow;

use isango_types::{Operation, Wire};

use crate::{anthropic, bedrock, cohere, gemini, opaque, openai};

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
#[must_use]
pub fn facts<'p>(wire: Wire, method: &str, path: &'p str) -> Facts<'p> {
    match wire {
        Wire::Openai => openai::facts(method, path),
        Wire::Anthropic => anthropic::facts(method, path),
        Wire::Gemini => gemini::facts(method, path),
        Wire::Bedrock => bedrock::facts(method, path),
        Wire::Cohere => cohere::facts(method, path),
        Wire::Opaque => opaque::facts(method, path),
    }
}
