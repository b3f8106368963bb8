//! What kind of call a request is.

use serde::{Deserialize, Serialize};

/// The kind of a call, as told by its path. Named after the OpenTelemetry `GenAI` operation
/// names where those exist (`chat`, `text_completion`, `embeddings`, `generate_content`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Chat completions, Anthropic messages, Cohere chat, Bedrock converse.
    Chat,
    /// Legacy text completions.
    TextCompletion,
    /// OpenAI Responses.
    Responses,
    /// Gemini `generateContent` and `streamGenerateContent`.
    GenerateContent,
    /// Embeddings.
    Embeddings,
    /// Image generation, edits and variations.
    Image,
    /// Text to speech.
    Speech,
    /// Speech to text, translations included.
    Transcription,
    /// Video generation.
    Video,
    /// Moderation and other classification.
    Moderation,
    /// Rerank.
    Rerank,
    /// Token counting.
    CountTokens,
    /// Model lists and descriptions.
    Models,
    /// Anything else: files, batches, threads, provider-specific endpoints.
    #[default]
    Other,
}

impl Operation {
    /// The name in records, metrics and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::Responses => "responses",
            Self::GenerateContent => "generate_content",
            Self::Embeddings => "embeddings",
            Self::Image => "image",
            Self::Speech => "speech",
            Self::Transcription => "transcription",
            Self::Video => "video",
            Self::Moderation => "moderation",
            Self::Rerank => "rerank",
            Self::CountTokens => "count_tokens",
            Self::Models => "models",
            Self::Other => "other",
        }
    }

    /// Whether a successful answer is expected to be paid for, so that a missing usage is worth a
    /// word in the record.
    #[must_use]
    pub const fn is_billed(self) -> bool {
        !matches!(
            self,
            Self::CountTokens | Self::Models | Self::Moderation | Self::Other
        )
    }
}
