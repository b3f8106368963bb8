//! Models of others on a cloud's host: Vertex and Bedrock also serve them in the formats of their
//! makers, under paths that the reader of an answer does not see. The answer's own shape tells.

use isango_types::Operation;

use crate::anthropic::Anthropic;
use crate::assemble::Members;
use crate::cohere::Cohere;
use crate::format::{Event, Format};
use crate::openai::Openai;
use crate::read::Reading;

/// A format that is not its host's.
pub(crate) enum Guest {
    /// Claude.
    Anthropic(Anthropic),
    /// Everything with an OpenAI-compatible endpoint.
    Openai(Openai),
    /// Command, version 1 of its format.
    Cohere(Cohere),
}

impl Guest {
    /// Recognizes the format of one whole answer, or of the first event of a stream.
    pub(crate) fn of(operation: Operation, members: &Members<'_>) -> Option<Self> {
        if members.has("choices") || members.has("object") {
            return Some(Self::Openai(Openai::new(operation)));
        }
        if members.has("event_type") || members.has("generation_id") {
            return Some(Self::Cohere(Cohere::new(operation)));
        }
        let kind = members.text("type")?;
        if kind.starts_with("response.") {
            return Some(Self::Openai(Openai::new(operation)));
        }
        Some(Self::Anthropic(Anthropic::new(operation)))
    }

    /// Claude, where something else than its answer's shape tells that it is.
    pub(crate) fn anthropic(operation: Operation) -> Self {
        Self::Anthropic(Anthropic::new(operation))
    }

    /// [`Format::whole`] of the recognized format.
    pub(crate) fn whole(&self, operation: Operation, body: &[u8], out: &mut Reading) {
        match self {
            Self::Anthropic(_) => Anthropic::whole(operation, body, out),
            Self::Openai(_) => Openai::whole(operation, body, out),
            Self::Cohere(_) => Cohere::whole(operation, body, out),
        }
    }

    /// [`Format::event`].
    pub(crate) fn event(&mut self, event: &Event<'_>, out: &mut Reading) -> bool {
        match self {
            Self::Anthropic(state) => state.event(event, out),
            Self::Openai(state) => state.event(event, out),
            Self::Cohere(state) => state.event(event, out),
        }
    }

    /// [`Format::finish`].
    pub(crate) fn finish(self, out: &mut Reading) -> Option<Vec<u8>> {
        match self {
            Self::Anthropic(state) => state.finish(out),
            Self::Openai(state) => state.finish(out),
            Self::Cohere(state) => state.finish(out),
        }
    }
}
